"""What must be done to get from one ruleset to another.

In: the ruleset as it is and as it should be. Out: Changes, cut into transactions. Values are compared, never text. The
full ruleset is the change from nothing; a restart is the change from what the kernel has; nothing else writes.

Order inside a transaction, as the kernel needs it: tables, sets and chains, then elements out, then elements in
(whatever others refer to first), then base chains. Chains that nobody needs any more go in a transaction of their own:
kernels before 6.2 hold on to a verdict's chain until the deletion of the element is committed. With them go slots that
no verdict leads to any more: a packet that found its verdict just before a transaction looks for its slot after it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nftsvc.ruleset import (
    POOL_OF_MAP,
    VERDICT,
    Chain,
    Elements,
    Entry,
    Key,
    NamedSet,
    Owners,
    Ruleset,
    Table,
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


_Element = tuple[Key, Entry]
Entries = Sequence[_Element]


@dataclass(frozen=True, slots=True)
class _OfElements:
    """Keys of a set, and what they lead to."""

    family: Family
    set: NamedSet
    entries: Entries
    owners: Owners = field(compare=False, repr=False)

    def owner(self, key: Key) -> str:
        """Return the Service that an element serves, "" for many."""
        return self.owners.within(self.set.name)(key)


@dataclass(frozen=True, slots=True)
class DeleteElements(_OfElements):
    """Take elements out of a set."""


@dataclass(frozen=True, slots=True)
class AddElements(_OfElements):
    """Put elements into a set."""


Operation = (
    AddTable | DeleteTable | AddSet | AddChain | ReplaceRules | DeleteChains | DeleteSet | DeleteElements | AddElements
)
Transaction = tuple[Operation, ...]


class _Place(NamedTuple):
    """A set in a table."""

    family: Family
    set: NamedSet


class _Difference(NamedTuple):
    """What goes from a set and what comes to it. A key that leads elsewhere is in both."""

    going: Entries
    coming: Entries

    @property
    def size(self) -> int:
        """How many keys that are."""
        if not self.going or not self.coming:
            return len(self.going) + len(self.coming)
        return len(dict(self.going).keys() | dict(self.coming).keys())


_NONE: Elements = {}
_Differences = Mapping[_Place, _Difference]


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything to do: structure first, then elements by place, then base chains, and what is left over at the end.

    `unused` are slots that no verdict leads to any more once the rest is done. `indivisible` says that a live table is
    replaced, or all of its rules, which has to happen in one transaction.
    """

    structure: tuple[Operation, ...]
    elements: _Differences
    hooks: tuple[Operation, ...]
    unused: _Differences
    leftovers: tuple[Operation, ...]
    owners: Mapping[Family, Owners] = field(compare=False, repr=False)
    indivisible: bool = False

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.structure or self.elements or self.hooks or self.unused or self.leftovers)

    @property
    def added(self) -> int:
        """How many elements come or change."""
        return sum([len(one.coming) for one in self.elements.values()])

    @property
    def removed(self) -> int:
        """How many elements go or change."""
        return sum([len(one.going) for part in (self.elements, self.unused) for one in part.values()])

    @property
    def services(self) -> tuple[str, ...]:
        """The Services whose elements change, sorted."""
        found: set[str] = set()
        for part in (self.elements, self.unused):
            for place, difference in part.items():
                owner = self.owners[place.family].within(place.set.name)
                found.update(owner(key) for entries in difference for key, _ in entries)
        return tuple(sorted(found - {""}))

    def transactions(self, limit: int = ELEMENTS_PER_TRANSACTION) -> tuple[Transaction, ...]:
        """Cut the changes into transactions of about `limit` elements each, never through a Service.

        What fits goes in one. A first load that does not fit is staged: nothing is live before the last transaction
        adds the base chains.
        """
        size = sum([one.size for one in self.elements.values()])
        if self.indivisible or size + len(self.structure) <= limit:
            batches = [(*self.structure, *self._operations(self.elements), *self.hooks)]
        else:
            structure = [self.structure[at : at + limit] for at in range(0, len(self.structure), limit)]
            batches = [*structure, *self._cut(self.elements, limit), self.hooks]
        return (*(batch for batch in batches if batch), *self.cleanup(limit))

    def cleanup(self, limit: int = ELEMENTS_PER_TRANSACTION) -> tuple[Transaction, ...]:
        """Return the last of the transactions, which take out what nothing uses any more.

        They wait for the others to be over, because a packet may have found its verdict before a transaction and look
        for its slot after it.
        """
        parts = list(self._cut(self.unused, limit)) if self.unused else []
        last = (*(parts.pop() if parts else ()), *self.leftovers)
        return tuple(batch for batch in (*parts, last) if batch)

    def _operations(self, elements: _Differences) -> Transaction:
        """Write the changes of one transaction: what goes, verdicts first, then what comes, verdicts last."""
        owners = self.owners
        going = [
            DeleteElements(place.family, place.set, one.going, owners[place.family])
            for place, one in reversed(list(elements.items()))
            if one.going
        ]
        coming = [
            AddElements(place.family, place.set, one.coming, owners[place.family])
            for place, one in elements.items()
            if one.coming
        ]
        return (*going, *coming)

    def _cut(self, elements: _Differences, limit: int) -> Iterator[Transaction]:
        """Yield transactions of about `limit` elements; a Service's are never in two.

        Elements that serve many Services come before all others and go after them.
        """
        part: dict[_Place, tuple[list[_Element], list[_Element]]] = {}
        size = 0
        for group in self._groups(elements, limit):
            if size and size + len(group) > limit:
                yield self._operations(_in_order(part, elements))
                part, size = {}, 0
            for place, key, was, becomes in group:
                going, coming = part.setdefault(place, ([], []))
                if was is not None:
                    going.append((key, was))
                if becomes is not None:
                    coming.append((key, becomes))
            size += len(group)
        yield self._operations(_in_order(part, elements))

    def _groups(self, elements: _Differences, limit: int) -> Iterator["_Group"]:
        """Yield what must stay together: each Service's changes; shared additions in pieces before, removals after."""
        owned: dict[str, _Group] = {}
        before: _Group = []
        after: _Group = []
        for place, (going, coming) in elements.items():
            owner = self.owners[place.family].within(place.set.name)
            left = dict(going)
            for key, entry in coming:
                name = owner(key)
                (owned.setdefault(name, []) if name else before).append((place, key, left.pop(key, None), entry))
            for key, entry in left.items():
                name = owner(key)
                (owned.setdefault(name, []) if name else after).append((place, key, entry, None))
        yield from _pieces(before, limit)
        yield from owned.values()
        yield from _pieces(after, limit)


def compare(old: Ruleset, new: Ruleset) -> Changes:
    """Return what turns the old ruleset into the new one; a table that only the old one has is deleted."""
    structure: list[Operation] = []
    hooks: list[Operation] = []
    leftovers: list[Operation] = []
    elements: dict[_Place, _Difference] = {}
    unused: dict[_Place, _Difference] = {}
    owners: dict[Family, Owners] = {}
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
        held: Mapping[str, Elements] = {} if before is None else before.elements
        owners[family] = Owners(held, after.elements)
        for named, going, coming in _compare_elements(held, after):
            place = _Place(family, named)
            stays = after.elements.get(named.name, _NONE) if named.name in POOL_OF_MAP else None
            now = going if stays is None or not going else [one for one in going if one[0] in stays]
            if now or coming:
                elements[place] = _Difference(now, coming)
            if len(now) < len(going) and stays is not None:
                unused[place] = _Difference([one for one in going if one[0] not in stays], [])
    return Changes(tuple(structure), elements, tuple(hooks), unused, tuple(leftovers), owners, indivisible)


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


def _compare_elements(before: Mapping[str, Elements], new: Table) -> Iterator[tuple[NamedSet, Entries, Entries]]:
    """Yield each set in which something differs, with what goes and what comes; maps of verdicts last."""
    concerned = [one for one in new.sets if before.get(one.name) or new.elements.get(one.name)]
    for one in sorted(concerned, key=lambda named: named.data == VERDICT):
        there, wanted = before.get(one.name, _NONE), new.elements.get(one.name, _NONE)
        if one.dynamic:  # packets fill it; all there is to do is to take out what leads nowhere
            yield one, [(key, entry) for key, entry in there.items() if key not in wanted], []
        elif not there:
            yield one, [], list(wanted.items())
        elif there != wanted:
            going = [(key, entry) for key, entry in there.items() if wanted.get(key) != entry]
            coming = [(key, entry) for key, entry in wanted.items() if there.get(key) != entry]
            yield one, going, coming


# Cutting -------------------------------------------------------------------------------------------------------------


# Keys of sets, each with what it leads to before and after.
_Group = list[tuple[_Place, Key, Entry | None, Entry | None]]


def _in_order(part: Mapping[_Place, tuple[Entries, Entries]], order: Iterable[_Place]) -> _Differences:
    return {place: _Difference(*part[place]) for place in order if place in part}


def _pieces(group: _Group, limit: int) -> Iterator[_Group]:
    for start in range(0, len(group), limit):
        yield group[start : start + limit]
