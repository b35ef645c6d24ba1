"""What passes are: why they are made, what they are made for, what came of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from nftsvc.errors import NftsvcError
from nftsvc.flows import Tracked
from nftsvc.values import Family


class PassKind(StrEnum):
    """Why a pass compared what it compared."""

    FIRST = (
        "first"  # everything, with what the kernel has: a first load, or the adoption of an earlier process's tables
    )
    CHANGE = "change"  # the Services that events touched
    FULL = "full"  # everything, because the node's settings changed
    RETRY = "retry"  # everything, because the kernel refused something and its content counts as unknown
    REPAIR = "repair"  # what another process changed
    VERIFY = "verify"  # everything, because it is time


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What another process may have changed: some sets' elements, or (None) anything."""

    sets: Mapping[Family, frozenset[str]] | None = None

    def __or__(self, other: "Suspicion") -> "Suspicion":
        """Return both."""
        if self.sets is None or other.sets is None:
            return Suspicion()
        families = self.sets.keys() | other.sets.keys()
        none: frozenset[str] = frozenset()
        return Suspicion({one: self.sets.get(one, none) | other.sets.get(one, none) for one in families})


@dataclass(frozen=True, slots=True)
class Progress:
    """What a pass did. `error` is why it did not get to its end; the kernel's content then counts as unknown.

    `services` counts those that were planned anew, `added` and `removed` elements, `bytes` what was sent.
    `operations` are the commands in that.
    `left_out` is the Service that it has come to leave out because the kernel refuses it, else "".
    `stale` are the frontends whose flows may lead to nobody, `served` all UDP frontends of Services that changed.
    """

    kind: PassKind
    services: int = 0
    added: int = 0
    removed: int = 0
    transactions: int = 0
    operations: int = 0
    bytes: int = 0
    stale: Tracked = field(default_factory=dict)
    error: NftsvcError | None = None
    left_out: str = ""
    served: Tracked = field(default_factory=dict)
