"""One pass: what the kernel has, what it should have, and the transactions in between.

In: a plan. Out: what was done. The kernel is always read first, so an unchanged input sends nothing and a changed one
sends the difference; what other programs did to our tables is repaired on the way.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from nftsvc.changes import ELEMENTS_PER_TRANSACTION, Changes, Transaction, compare
from nftsvc.errors import KernelError, KernelRefused
from nftsvc.plan import Plan
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import (
    AFFINITY_ENDPOINTS,
    AFFINITY_NODEPORT_ENDPOINTS,
    EMPTY,
    EMPTY_TABLE,
    Ruleset,
    make_ruleset,
)
from nftsvc.values import FAMILIES, Family


class Door(Protocol):
    """What a pass needs of the kernel (`nftsvc.kernel.Kernel`)."""

    def present(self) -> tuple[Family, ...]:
        """Return the families that have a table of ours."""
        ...

    def read(self, families: tuple[Family, ...] = FAMILIES) -> Ruleset:
        """Return nftsvc's tables."""
        ...

    def read_sets(self, names: Mapping[Family, Collection[str]]) -> Ruleset:
        """Return some sets and maps of nftsvc's tables; what is not there is not in the result."""
        ...

    def begin(self, script: Script) -> Callable[[], int]:
        """Begin to run one transaction and return what waits for its end and says how many bytes that took.

        Both may raise KernelError.
        """
        ...

    def preflight(self, families: tuple[Family, ...] = FAMILIES) -> None:
        """Raise FeatureMissing if something is."""
        ...


@dataclass(frozen=True, slots=True)
class Pass:
    """The ruleset found, the one wanted, how they differ, and the transactions sent (or that would be)."""

    found: Ruleset
    wanted: Ruleset
    changes: Changes
    transactions: tuple[Transaction, ...]


def compare_with_kernel(
    door: Door,
    plan: Plan,
    limit: int = ELEMENTS_PER_TRANSACTION,
    before: Ruleset | None = None,
    *,
    in_order: bool = True,
) -> Pass:
    """Say what a pass would do. Reads the kernel and writes nothing.

    `before` is the ruleset that connections were made under which may still be under way. `in_order` is for people who
    read what would be sent.
    """
    found = door.read(plan.settings.families)
    wanted = make_ruleset(plan, found, before, in_order=in_order)
    changes = compare(found, wanted)
    return Pass(found, wanted, changes, changes.transactions(limit))


def synchronise(door: Door, plan: Plan, renderer: Renderer, limit: int = ELEMENTS_PER_TRANSACTION) -> Pass:
    """Bring the kernel to what the plan wants.

    Every transaction is atomic. A first load that is too large for one is taken back if the kernel refuses a part of
    it, so that nothing is left half-applied. Where endpoints of Services with session affinity have gone, what
    connections have recorded meanwhile is looked through once more.
    """
    families = plan.settings.families
    try:
        done = compare_with_kernel(door, plan, limit, in_order=False)
    except KernelRefused:
        door.preflight(families)  # it knows what a kernel lacks that cannot even list
        raise
    if done.changes.structure:
        door.preflight(families)
    send(door, renderer, done, families, limit)
    if done.changes.removed and any(map(_remembers, (done.found, done.wanted))):
        late = compare_with_kernel(door, plan, limit, done.found, in_order=False)
        send(door, renderer, late, families, limit)
    return done


def _remembers(ruleset: Ruleset) -> bool:
    """Tell whether clients may be on record with an endpoint (session affinity)."""
    names = (AFFINITY_ENDPOINTS, AFFINITY_NODEPORT_ENDPOINTS)
    return any(table.elements.get(name) for table in ruleset.tables.values() for name in names)


def send(door: Door, renderer: Renderer, done: Pass, families: tuple[Family, ...], limit: int) -> None:
    """Run a pass's transactions. KernelRefused if one is refused; those before it have taken effect.

    Where the first is refused nothing of ours is there to be taken back, and where only one of the last, which remove
    what is left over, the rest stands.
    """
    ended = 0
    try:
        for _ in _run(door, renderer.scripts(done.transactions)):
            ended += 1
    except KernelError as error:
        if 0 < ended < len(done.transactions) - len(done.changes.cleanup(limit)):
            take_back(door, renderer, done.found, families, error)
        raise


def _run(door: Door, scripts: Iterable[Script]) -> Iterator[Script]:
    """Run scripts one after the other, and yield each that has come to a good end.

    While the kernel is busy with one the next is written.
    """
    before: tuple[Script, Callable[[], int]] | None = None
    try:
        for script in scripts:
            if before is not None:
                begun, wait = before
                before = None
                wait()
                yield begun
            before = (script, door.begin(script))
    finally:
        if before is not None:  # the last one, or one that is under way when the next cannot be written
            before[1]()
    if before is not None:
        yield before[0]


def take_back(door: Door, renderer: Renderer, found: Ruleset, families: tuple[Family, ...], error: KernelError) -> None:
    """Remove the tables of a first load that failed; a failure of that is noted on the error that led here."""
    try:
        _delete_tables(door, renderer, [one for one in door.present() if one in families and one not in found.tables])
    except KernelError as second:
        error.add_note(f"and what had been loaded could not be removed: {second}")


def remove(door: Door, renderer: Renderer) -> tuple[Family, ...]:
    """Remove nftsvc's tables, whatever is in them, and nothing else; return the families that had one."""
    found = door.present()
    _delete_tables(door, renderer, found)
    return found


def _delete_tables(door: Door, renderer: Renderer, families: Iterable[Family]) -> None:
    gone = compare(Ruleset(dict.fromkeys(families, EMPTY_TABLE)), EMPTY)
    for _ in _run(door, renderer.scripts(gone.transactions())):
        pass
