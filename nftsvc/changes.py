"""What must be done to get from one ruleset to another.

In: the ruleset as it is and as it should be. Out: Changes, cut into transactions. Values are compared, never text. The
full ruleset is the change from nothing; a restart is the change from what the kernel has; nothing else writes.

Order inside a transaction, as the kernel needs it: tables, sets and chains, then elements out, then elements in
(whatever others refer to first), then base chains. Chains that nobody needs any more go in a transaction of their own:
kernels before 6.2 hold on to a verdict's chain until the deletion of the element is committed. With them go slots that
no verdict leads to any more: a packet that found its verdict just before a transaction looks for its slot after it.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from nftsvc.ruleset import (
    BY_ADDRESS,
    CLUSTER_IPS,
    POOL_OF_MAP,
    UNCUT_BYTES,
    VERDICT,
    Chain,
    Elements,
    Entry,
    Key,
    NamedSet,
    Ruleset,
    Table,
    frontend_key,
)
from nftsvc.values import Family

# Loads fastest and keeps the process small: one batch of 250,000 elements needs 700 MB, 50 of 5,000 need 40.
ELEMENTS_PER_TRANSACTION = 5000


@dataclass(frozen=True, slots=True)
class AddTable:
    """Create a table."""

    family: Family


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Delete a table with all that is in it."""

    family: Family


@dataclass(frozen=True, slots=True)
class AddSet:
    """Create a set or map, empty."""

    family: Family
    set: NamedSet


@dataclass(frozen=True, slots=True)
class AddChain:
    """Create a chain with its rules."""

    family: Family
    chain: Chain


@dataclass(frozen=True, slots=True)
class ReplaceRules:
    """Give a chain other rules."""

    family: Family
    chain: Chain


@dataclass(frozen=True, slots=True)
class DeleteChains:
    """Delete chains with their rules, whatever rules of theirs lead from one to the other."""

    family: Family
    chains: tuple[Chain, ...]


@dataclass(frozen=True, slots=True)
class DeleteSet:
    """Delete a set or map with its elements."""

    family: Family
    set: NamedSet


class ElementChange(msgspec.Struct, frozen=True, gc=False):
    """One key of a set: what it leads to before and after (None: not there), and the Service it serves ("": many)."""

    key: Key
    old: Entry | None
    new: Entry | None
    owner: str


@dataclass(frozen=True, slots=True)
class DeleteElements:
    """Take elements out of a set."""

    family: Family
    set: NamedSet
    elements: tuple[ElementChange, ...]

    @property
    def entries(self) -> list[tuple[Key, Entry | None]]:
        """What goes: the key and what it leads to."""
        return [(one.key, one.old) for one in self.elements]


@dataclass(frozen=True, slots=True)
class AddElements:
    """Put elements into a set."""

    family: Family
    set: NamedSet
    elements: tuple[ElementChange, ...]

    @property
    def entries(self) -> list[tuple[Key, Entry | None]]:
        """What comes: the key and what it leads to."""
        return [(one.key, one.new) for one in self.elements]


Operation = (
    AddTable | DeleteTable | AddSet | AddChain | ReplaceRules | DeleteChains | DeleteSet | DeleteElements | AddElements
)
Transaction = tuple[Operation, ...]


class _Place(NamedTuple):
    """A set in a table."""

    family: Family
    set: NamedSet


_NONE: Elements = {}
_Elements = Mapping[_Place, Sequence[ElementChange]]


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything to do: structure first, then elements by place, then base chains, and what is left over at the end.

    `unused` are slots that no verdict leads to any more once the rest is done. `indivisible` says that a live table is
    replaced, or all of its rules, which has to happen in one transaction.
    """

    structure: tuple[Operation, ...]
    elements: _Elements
    hooks: tuple[Operation, ...]
    unused: _Elements
    leftovers: tuple[Operation, ...]
    indivisible: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.structure or self.elements or self.hooks or self.unused or self.leftovers)

    @property
    def _all(self) -> list[ElementChange]:
        return [one for part in (self.elements, self.unused) for changes in part.values() for one in changes]

    @property
    def added(self) -> int:
        """How many elements come or change."""
        return sum([one.new is not None for one in self._all])

    @property
    def removed(self) -> int:
        """How many elements go or change."""
        return sum([one.old is not None for one in self._all])

    @property
    def services(self) -> tuple[str, ...]:
        """The Services whose elements change, sorted."""
        return tuple(sorted({one.owner for one in self._all} - {""}))

    def transactions(self, limit: int = ELEMENTS_PER_TRANSACTION) -> tuple[Transaction, ...]:
        """Cut the changes into transactions of about `limit` elements each, never through a Service.

        What fits goes in one. A first load that does not fit is staged: nothing is live before the last transaction
        adds the base chains.
        """
        size = sum(map(len, self.elements.values()))
        if self.indivisible or size + len(self.structure) <= limit:
            batches = [(*self.structure, *_operations(self.elements), *self.hooks)]
        else:
            structure = [self.structure[at : at + limit] for at in range(0, len(self.structure), limit)]
            batches = [*structure, *map(_operations, _cut(self.elements, limit)), self.hooks]
        return (*(batch for batch in batches if batch), *self.cleanup(limit))

    def cleanup(self, limit: int = ELEMENTS_PER_TRANSACTION) -> tuple[Transaction, ...]:
        """Return the last of the transactions, which take out what nothing uses any more.

        They wait for the others to be over, because a packet may have found its verdict before a transaction and look
        for its slot after it.
        """
        parts = [_operations(part) for part in _cut(self.unused, limit)] if self.unused else []
        last = (*(parts.pop() if parts else ()), *self.leftovers)
        return tuple(batch for batch in (*parts, last) if batch)


def compare(old: Ruleset, new: Ruleset) -> Changes:
    """Return what turns the old ruleset into the new one; a table that only the old one has is deleted."""
    structure: list[Operation] = []
    hooks: list[Operation] = []
    leftovers: list[Operation] = []
    elements: dict[_Place, Sequence[ElementChange]] = {}
    unused: dict[_Place, Sequence[ElementChange]] = {}
    indivisible = False
    for family in sorted(old.tables.keys() | new.tables.keys()):
        before, after = old.tables.get(family), new.tables.get(family)
        if before is not None and (after is None or not _alike(before, after)):
            structure.append(DeleteTable(family))
            indivisible, before = True, None
        if after is None:
            continue
        indivisible |= before is not None and before.layout != after.layout
        structure += _structure(before, after)
        hooks += _chains(before, after, base=True)
        leftovers += _leftovers(before, after)
        for place, changes in _compare_elements(before, after):
            if place.set.name not in POOL_OF_MAP:
                elements[place] = changes
                continue
            for part, chosen in (
                (elements, [one for one in changes if one.new is not None]),
                (unused, [one for one in changes if one.new is None]),
            ):
                if chosen:
                    part[place] = chosen
    return Changes(tuple(structure), elements, tuple(hooks), unused, tuple(leftovers), indivisible)


def _alike(old: Table, new: Table) -> bool:
    """Tell whether the new table can be made from the old one; if not, it has to be replaced.

    Whether its rules differ does not matter: they are replaced, and affinity and counters stay.
    """
    if old.sets is new.sets and old.chains is new.chains and old.flags == new.flags:
        return True
    kept = {chain.name: chain.hook for chain in old.chains}
    return (
        old.sets_layout == new.sets_layout
        and old.flags == new.flags
        and {one.name for one in old.sets} >= {one.name for one in new.sets}
        and all(kept.get(chain.name, chain.hook) == chain.hook for chain in new.chains)
    )


def _structure(old: Table | None, new: Table) -> Iterator[Operation]:
    if old is None:
        yield AddTable(new.family)
        for one in new.sets:
            yield AddSet(new.family, one)
    yield from _chains(old, new, base=False)


def _chains(old: Table | None, new: Table, *, base: bool) -> Iterator[Operation]:
    if old is not None and old.chains is new.chains:
        return
    existing = {} if old is None else {chain.name: chain for chain in old.chains}
    others = old is not None and old.layout != new.layout  # what a rule says is not compared; that layouts differ is
    for chain in new.chains:
        if (chain.hook is not None) == base:
            if chain.name not in existing:
                yield AddChain(new.family, chain)
            elif others or ((was := existing[chain.name]) is not chain and was != chain):
                yield ReplaceRules(new.family, chain)


def _leftovers(old: Table | None, new: Table) -> Iterator[Operation]:
    if old is not None and old.chains is new.chains and old.sets is new.sets:
        return
    wanted = {chain.name for chain in new.chains}
    unwanted = tuple(chain for chain in (old.chains if old is not None else ()) if chain.name not in wanted)
    if unwanted:
        yield DeleteChains(new.family, unwanted)
    named = {one.name for one in new.sets}
    for one in old.sets if old is not None else ():
        if one.name not in named:
            yield DeleteSet(new.family, one)


def _compare_elements(old: Table | None, new: Table) -> Iterator[tuple[_Place, Sequence[ElementChange]]]:
    before: Mapping[str, Elements] = {} if old is None else old.elements
    owners: dict[Key, str] | None = None
    concerned = [one for one in new.sets if before.get(one.name) or new.elements.get(one.name)]
    for one in sorted(concerned, key=lambda named: named.data == VERDICT):
        changes = _changed(before.get(one.name, _NONE), new.elements.get(one.name, _NONE))
        if one.dynamic:  # packets fill it; all there is to do is to take out what leads nowhere
            changes = [change for change in changes if change[2] is None]
        if changes:
            if owners is None:
                owners = _owners(before) | _owners(new.elements)
            place = _Place(new.family, one)
            owner = _owner_in(owners, one.name)
            yield place, [ElementChange(key, was, becomes, owner(key)) for key, was, becomes in changes]


def _changed(old: Elements, new: Elements) -> list[tuple[Key, Entry | None, Entry | None]]:
    """Return (key, before, after) of each difference: what goes, in the old order, then what comes, in the new."""
    if not old:
        return [(key, None, entry) for key, entry in new.items()]
    gone = [(key, entry, None) for key, entry in old.items() if key not in new]
    return gone + [(key, old.get(key), entry) for key, entry in new.items() if old.get(key) != entry]


def _owners(elements: Mapping[str, Elements]) -> dict[Key, str]:
    """Return the Service behind each frontend: what the comment of its verdict says, less the port.

    Of names so long that comments are cut only the part counts that no cut takes away.
    """
    owners: dict[Key, str] = {}
    for entries in elements.values():
        for key, entry in entries.items():
            if entry.comment:
                owners[key] = entry.comment[:UNCUT_BYTES].partition(":")[0]
                owners[key[:1]] = owners[key]
    return owners


def _owner_in(owners: Mapping[Key, str], name: str) -> Callable[[Key], str]:
    """Return what says whom the elements of a set serve."""
    if name == CLUSTER_IPS:
        return lambda key: owners.get(key, "")
    pool = POOL_OF_MAP.get(name)
    if pool is not None:
        protocol = pool.protocol
        if pool.way is BY_ADDRESS:
            return lambda key: owners.get((key[0], protocol, key[1]), "")
        return lambda key: owners.get((protocol, key[0]), "")
    return lambda key: owners.get(frontend, "") if (frontend := frontend_key(name, key)) is not None else ""


# Cutting -------------------------------------------------------------------------------------------------------------


def _operations(elements: _Elements) -> Transaction:
    """Write the changes of one transaction: what goes, verdicts first, then what comes, verdicts last."""
    operations: list[Operation] = []
    for place, changes in reversed(list(elements.items())):
        gone = tuple([one for one in changes if one.old is not None])
        if gone:
            operations.append(DeleteElements(place.family, place.set, gone))
    for place, changes in elements.items():
        coming = tuple([one for one in changes if one.new is not None])
        if coming:
            operations.append(AddElements(place.family, place.set, coming))
    return tuple(operations)


def _cut(elements: _Elements, limit: int) -> Iterator[_Elements]:
    """Yield parts of about `limit` elements; a Service's are never in two.

    Elements that serve many Services come before all others and go after them.
    """
    part: dict[_Place, list[ElementChange]] = {}
    size = 0
    for group in _groups(elements, limit):
        if size and size + len(group) > limit:
            yield _in_order(part, elements)
            part, size = {}, 0
        for place, change in group:
            part.setdefault(place, []).append(change)
        size += len(group)
    yield _in_order(part, elements)


def _in_order(part: Mapping[_Place, Sequence[ElementChange]], order: Iterable[_Place]) -> _Elements:
    return {place: part[place] for place in order if place in part}


_Group = list[tuple[_Place, ElementChange]]


def _groups(elements: _Elements, limit: int) -> Iterator[_Group]:
    """Yield what must stay together: each Service's changes; shared additions in pieces before, removals after."""
    owned: dict[str, _Group] = {}
    shared: dict[bool, _Group] = {True: [], False: []}
    for place, changes in elements.items():
        for change in changes:
            group = owned.setdefault(change.owner, []) if change.owner else shared[change.new is not None]
            group.append((place, change))
    yield from _pieces(shared[True], limit)
    yield from owned.values()
    yield from _pieces(shared[False], limit)


def _pieces(group: _Group, limit: int) -> Iterator[_Group]:
    for start in range(0, len(group), limit):
        yield group[start : start + limit]
