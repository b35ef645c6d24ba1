"""What sources say happened, in the words that every source shares.

A source first says what there is of each of its kinds (`Replaced`), then what comes, changes and goes. `State.apply`
takes events in any order.
"""

from dataclasses import dataclass

from nftsvc.errors import ObjectRef
from nftsvc.objects import KubernetesObject


@dataclass(frozen=True, slots=True)
class Replaced:
    """All there is of one kind; whatever else of that kind was known is gone."""

    kind: type[KubernetesObject]
    objects: tuple[KubernetesObject, ...]


@dataclass(frozen=True, slots=True)
class Put:
    """An object is new or has changed."""

    object: KubernetesObject


@dataclass(frozen=True, slots=True)
class Removed:
    """An object is gone."""

    ref: ObjectRef


Event = Replaced | Put | Removed
