"""What lint says: a finding, the rule that it comes from, and how bad it is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from nftsvc.errors import ObjectRef, Origin

MOST_NAMED = 3


class Level(StrEnum):
    """How bad a finding is, the worst first.

    `error`: something does certainly not work as written, whatever the node. `warning`: it probably does not do what
    its author wants. `info`: right, and good to know.
    """

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"

    def at_least(self, other: "Level") -> bool:
        """Tell whether this is as bad as the other, or worse."""
        order = tuple(Level)
        return order.index(self) <= order.index(other)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: the rule's code and severity, the object and the field in it, what is wrong, what helps.

    `ref` is None where no object is concerned, `origin` where the object or problem has no place in a file.
    """

    code: str
    severity: Level
    ref: ObjectRef | None
    field: str
    message: str
    remedy: str
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind of finding. Its code never changes its meaning; `name` says it in words, as in `NS101-no-endpoints`."""

    code: str
    name: str
    level: Level
    title: str
    explanation: str
    remedy: str

    def at(self, ref: ObjectRef | None, field: str, message: str, origin: Origin | None = None) -> Finding:
        """Return a finding of this rule."""
        return Finding(self.code, self.level, ref, field, message, self.remedy, origin)


def enumerated(items: Sequence[str]) -> str:
    """Write a few of the items as in `a, b and c`, and how many more there are."""
    shown = list(items[:MOST_NAMED])
    if len(items) > MOST_NAMED:
        shown.append(f"{len(items) - MOST_NAMED} more")
    return " and ".join(part for part in (", ".join(shown[:-1]), shown[-1]) if part) if shown else ""


def counted(number: int, noun: str) -> str:
    """Write `1 Pod` or `3 Pods`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
