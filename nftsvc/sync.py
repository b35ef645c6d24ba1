"""One pass: what the kernel has, what it should have, and the transactions in between.

In: a plan. Out: what was done. The kernel is always read first, so an unchanged input sends nothing and a changed one
sends the difference; what other programs did to our tables is repaired on the way.
"""

from dataclasses import dataclass
from typing import Protocol

from nftsvc.changes import ELEMENTS_PER_TRANSACTION, Changes, Transaction, compare
from nftsvc.errors import KernelError
from nftsvc.plan import Plan
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import EMPTY, Ruleset, make_ruleset
from nftsvc.values import FAMILIES, Family


class Door(Protocol):
    """What a pass needs of the kernel (`nftsvc.kernel.Kernel`)."""

    def read(self, families: tuple[Family, ...] = FAMILIES) -> Ruleset:
        """Return nftsvc's tables."""
        ...

    def run(self, script: Script) -> None:
        """Run one transaction."""
        ...

    def preflight(self) -> None:
        """Raise FeatureMissing if something is."""
        ...


@dataclass(frozen=True, slots=True)
class Pass:
    """The ruleset found, the one wanted, how they differ, and the transactions sent (or that would be)."""

    found: Ruleset
    wanted: Ruleset
    changes: Changes
    transactions: tuple[Transaction, ...]


def compare_with_kernel(door: Door, plan: Plan, limit: int = ELEMENTS_PER_TRANSACTION) -> Pass:
    """Say what a pass would do. Reads the kernel and writes nothing."""
    found = door.read(plan.settings.families)
    wanted = make_ruleset(plan, found)
    changes = compare(found, wanted)
    return Pass(found, wanted, changes, changes.transactions(limit))


def synchronise(door: Door, plan: Plan, renderer: Renderer, limit: int = ELEMENTS_PER_TRANSACTION) -> Pass:
    """Bring the kernel to what the plan wants.

    Every transaction is atomic. A first load that is too large for one is taken back if the kernel refuses a part of
    it, so that nothing is left half-applied.
    """
    done = compare_with_kernel(door, plan, limit)
    if done.changes.structure:
        door.preflight()
    try:
        for script in renderer.scripts(done.transactions):
            door.run(script)
    except KernelError:
        _take_back(door, renderer, done.found, plan.settings.families)
        raise
    return done


def _take_back(door: Door, renderer: Renderer, found: Ruleset, families: tuple[Family, ...]) -> None:
    """Remove the tables of a first load that failed."""
    new = {family: table for family, table in door.read(families).tables.items() if family not in found.tables}
    for script in renderer.scripts(compare(Ruleset(new), EMPTY).transactions()):
        door.run(script)


def remove(door: Door, renderer: Renderer) -> tuple[Family, ...]:
    """Remove nftsvc's tables and nothing else; return the families that had one."""
    found = door.read()
    for script in renderer.scripts(compare(found, EMPTY).transactions()):
        door.run(script)
    return tuple(found.tables)
