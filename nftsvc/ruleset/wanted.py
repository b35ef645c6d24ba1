"""The ruleset wanted, kept up to date Service by Service.

In: the plans of Services as they were and as they are. Out: two partial rulesets, before and after, which hold the
elements of these Services only and every chain of their families; `nftsvc.changes` compares them as whole ones.

Elements follow from the plans, so none are kept: only the slots that are not in the order of the addresses, how many
need what several may need, and how often each verdict is used. The whole ruleset is made when somebody asks for it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from nftsvc.plan import PortPlan, ServicePlan
from nftsvc.ruleset.elements import (
    NOTHING,
    Elements,
    FoundSlots,
    elements_of,
    shared_key,
    shared_of,
    verdict_key,
    verdicts_of,
    way_of,
)
from nftsvc.ruleset.layout import Layout
from nftsvc.ruleset.names import AFFINITY_MAPS
from nftsvc.ruleset.objects import EMPTY, Chain, Entry, Key, Ruleset, Table
from nftsvc.ruleset.records import in_doubt, kept_records
from nftsvc.settings import NodeSettings
from nftsvc.slots import assign
from nftsvc.values import Family, ServiceKey


class Part(NamedTuple):
    """The elements of some Services before and after a change, in the families that they have any of."""

    before: Ruleset
    after: Ruleset

    @property
    def records_in_doubt(self) -> bool:
        """Whether clients may be on record (session affinity) with endpoints that they must not come back to."""
        return any(
            in_doubt(self.before.tables[family].elements, table.elements)
            for family, table in self.after.tables.items()
            if family in self.before.tables
        )


class Wanted:
    """A whole ruleset that changes in parts; it has no records, and no Services in the beginning.

    One that is `hooked` has base chains, through which packets come to it.
    """

    def __init__(self, settings: NodeSettings, *, hooked: bool = True) -> None:
        self._plans: dict[ServiceKey, ServicePlan] = {}
        self._tables = {
            family: _Table(Layout(settings, family), self._plans, hooked=hooked) for family in settings.families
        }

    @property
    def families(self) -> tuple[Family, ...]:
        """The families that have a table."""
        return tuple(self._tables)

    @property
    def layout(self) -> str:
        """The layout of the tables."""
        return next((table.frame().layout for table in self._tables.values()), "")

    @property
    def counts(self) -> dict[Family, int]:
        """How many elements each table has."""
        return {family: table.count for family, table in self._tables.items()}

    @property
    def ruleset(self) -> Ruleset:
        """The whole ruleset."""
        return Ruleset({family: table.whole() for family, table in self._tables.items()})

    @property
    def frame(self) -> Ruleset:
        """The ruleset without the elements that Services have."""
        return Ruleset({family: table.frame() for family, table in self._tables.items()})

    def hook(self) -> Part:
        """Let packets come to the tables."""
        before: dict[Family, Table] = {}
        after: dict[Family, Table] = {}
        for family, table in self._tables.items():
            before[family] = table.some({})
            table.hooked = True
            table.renew_chains()
            after[family] = table.some({})
        return Part(Ruleset(before), Ruleset(after))

    def change(self, old: Sequence[ServicePlan], new: Sequence[ServicePlan]) -> Part:
        """Take in how the plans of some Services have changed. Endpoints that stay keep their slots."""
        return self._take(old, new, EMPTY)

    def adopt(self, services: Iterable[ServicePlan], found: Ruleset) -> Ruleset:
        """Take in all Services, their endpoints in the slots that they have in `found`; return the whole ruleset."""
        part = self._take((), tuple(services), found)
        nothing: Mapping[str, Mapping[Key, Entry]] = {}
        return Ruleset(
            {
                family: table.completed(part.after.tables[family].elements if family in part.after.tables else nothing)
                for family, table in self._tables.items()
            }
        )

    def _take(self, old: Sequence[ServicePlan], new: Sequence[ServicePlan], found: Ruleset) -> Part:
        before: dict[Family, Table] = {}
        after: dict[Family, Table] = {}
        for one in old:
            self._plans.pop(one.service, None)
        self._plans.update((one.service, one) for one in new)
        was, becomes = _sides(old), _sides(new)
        for family, table in self._tables.items():
            if family in was or family in becomes:
                slots = FoundSlots(found.tables.get(family))
                sides = was.get(family, _NOBODY), becomes.get(family, _NOBODY)
                before[family], after[family] = table.change(*sides, slots)
        return Part(Ruleset(before), Ruleset(after))

    def against(self, found: Ruleset, whole: Ruleset | None = None) -> Part:
        """Return what leads from what was found in the kernel to the whole ruleset, and keeps records that may stay.

        `whole` is the whole ruleset, where somebody has it already.
        """
        after: dict[Family, Table] = {}
        for family, table in (self.ruleset if whole is None else whole).tables.items():
            listed = found.tables[family].elements if family in found.tables else {}
            kept = kept_records(family, listed, table.elements, (listed, table.elements))
            after[family] = replace(table, elements={**table.elements, **kept})
        return Part(found, Ruleset(after))

    def without_stale_records(self, start: Ruleset, part: Part, found: Ruleset) -> Part:
        """Return what leads from `start` to the part's outcome, and takes stale records out of those found.

        `start` is what the kernel has: the part's beginning, or its outcome where only records are left to be seen to.
        """
        before: dict[Family, Table] = {}
        after: dict[Family, Table] = {}
        for family, table in part.after.tables.items():
            old, begin = part.before.tables.get(family, table), start.tables[family]
            listed = found.tables[family].elements if family in found.tables else {}
            records = {name: elements for name, elements in listed.items() if name in AFFINITY_MAPS}
            allowing = self._tables[family].allowing_records()
            kept = kept_records(family, records, allowing, (old.elements, table.elements))
            before[family] = replace(begin, elements={**begin.elements, **records})
            after[family] = replace(table, elements={**table.elements, **{name: {} for name in records}, **kept})
        return Part(Ruleset(before), Ruleset(after))


class _Side(NamedTuple):
    """What there is of one family before or after a change: Service ports, and what Services need that others may."""

    ports: Sequence[PortPlan]
    shared: Sequence[tuple[str, str]]


_NOBODY = _Side((), ())


def _as_planned(_name: str, _frontend: Key, wanted: Sequence[Key]) -> Sequence[Key]:
    """Return the slots where nobody has held any: an Order."""
    return wanted


class _Slots:
    """The slots of frontends: as they are while they are asked for, and as they become."""

    def __init__(self, kept: dict[tuple[str, Key], Sequence[Key]]) -> None:
        self._kept = kept
        self._held: dict[tuple[str, Key], Sequence[Key]] = {}

    def as_kept(self, name: str, frontend: Key, wanted: Sequence[Key]) -> Sequence[Key]:
        """Return the slots as they are: an Order."""
        return self._kept.get((name, frontend), wanted)

    def held(self, name: str, frontend: Key, wanted: Sequence[Key]) -> Sequence[Key]:
        """Return the slots as they are, for the last time: an Order."""
        where = (name, frontend)
        slots = self._held[where] = self._kept.pop(where, wanted)
        return slots

    def moved(self, found: FoundSlots, name: str, frontend: Key, wanted: Sequence[Key]) -> Sequence[Key]:
        """Return the slots as they become, from now on; frontends that are new take those found."""
        where = (name, frontend)
        held = self._held.get(where)
        slots = found.order(name, frontend, wanted) if held is None else assign(wanted, held)
        if slots is not wanted and tuple(slots) != tuple(wanted):
            self._kept[where] = tuple(slots)
        return slots


class _Table:
    """One family's table: how often shared elements and verdicts are used, and slots that are out of order."""

    def __init__(self, layout: Layout, plans: Mapping[ServiceKey, ServicePlan], *, hooked: bool) -> None:
        self.hooked = hooked
        self._layout = layout
        self._plans = plans
        self._slots: dict[tuple[str, Key], Sequence[Key]] = {}
        self._needed: Counter[tuple[str, str]] = Counter()
        self._verdicts: Counter[str] = Counter()
        self._known: frozenset[str] = frozenset()
        self._sets = {one.name for one in layout.sets}
        self._own = {name: entries for name, entries in layout.networks.items() if name in self._sets}
        self.count = sum(map(len, self._own.values()))
        self.chains: tuple[Chain, ...] = ()
        self.renew_chains()

    def some(self, elements: Mapping[str, Mapping[Key, Entry]], chains: tuple[Chain, ...] | None = None) -> Table:
        """Return the table with some of its elements only."""
        return Table(self._layout.family, self._layout.sets, self.chains if chains is None else chains, elements)

    def frame(self) -> Table:
        """Return the table with the elements only that come from the settings."""
        return self.some(self._own)

    def whole(self) -> Table:
        """Return the table with all of its elements."""
        elements = self._elements(self._ports)
        for name, address in self._needed:
            elements[name][shared_key(name, address)] = NOTHING
        return self.completed(elements)

    def completed(self, elements: Mapping[str, Mapping[Key, Entry]]) -> Table:
        """Return the table with all elements that Services have, given, and those that come from the settings."""
        return self.some({one.name: elements.get(one.name) or self._own.get(one.name, {}) for one in self._layout.sets})

    def allowing_records(self) -> Mapping[str, Mapping[Key, Entry]]:
        """Return the elements that decide which records may stay.

        All those of Service ports with affinity, and the other frontends' keys in the maps of verdicts.
        """
        elements = self._elements(port for port in self._ports if port.affinity)
        family = self._layout.family
        for port in self._ports:
            if port.family == family and not port.affinity:
                for one in port.frontends:
                    elements[way_of(one).verdicts][verdict_key(port.protocol.lower(), one)] = NOTHING
        return elements

    def change(self, old: _Side, new: _Side, found: FoundSlots) -> tuple[Table, Table]:
        """Put the elements of some plans in the place of others'; return both as they were and are."""
        chains, slots = self.chains, _Slots(self._slots)
        family = self._layout.family
        held = elements_of(old.ports, family, slots.held)
        nobody_held_any = not old.ports and not found
        wanted = elements_of(new.ports, family, _as_planned if nobody_held_any else partial(slots.moved, found))
        if held:
            self._verdicts.subtract(verdicts_of(held))
        self._verdicts.update(verdicts_of(wanted))
        self._share(old.shared, new.shared, held, wanted)
        self.count += sum(map(len, wanted.values())) - sum(map(len, held.values()))
        self.renew_chains()
        return self.some(held, chains), self.some(wanted)

    def renew_chains(self) -> None:
        """Make the chains anew where other verdicts lead to them than before."""
        gone = [verdict for verdict, count in self._verdicts.items() if not count]
        for verdict in gone:
            del self._verdicts[verdict]
        if not self.chains or self._verdicts.keys() != self._known or self.hooked != bool(self.chains[-1].hook):
            self._known = frozenset(self._verdicts)
            chains = self._layout.chains(self._known)
            self.chains = chains if self.hooked else tuple(one for one in chains if one.hook is None)

    @property
    def _ports(self) -> Iterator[PortPlan]:
        return _ports_of(self._plans.values())

    def _elements(self, ports: Iterable[PortPlan]) -> Elements:
        return elements_of(ports, self._layout.family, _Slots(self._slots).as_kept)

    def _share(
        self, gone: Sequence[tuple[str, str]], come: Sequence[tuple[str, str]], held: Elements, wanted: Elements
    ) -> None:
        """Let shared elements go when the last that needs them goes, and come with the first."""
        needed = self._needed
        before = {one: needed[one] for one in gone}
        for one in come:
            count = needed.get(one, 0)
            needed[one] = count + 1
            before.setdefault(one, count)
        needed.subtract(gone)
        for one, was in before.items():
            name, address = one
            if not needed[one]:
                del needed[one]
                if was:
                    held[name][shared_key(name, address)] = NOTHING
            elif not was:
                wanted[name][shared_key(name, address)] = NOTHING


def _sides(services: Sequence[ServicePlan]) -> dict[Family, _Side]:
    shared = shared_of(services)
    ports: dict[Family, list[PortPlan]] = {family: [] for family in shared}
    for port in _ports_of(services):
        ports.setdefault(port.family, []).append(port)
    return {family: _Side(found, shared.get(family, ())) for family, found in ports.items()}


def _ports_of(services: Iterable[ServicePlan]) -> Iterator[PortPlan]:
    return (port for service in services for port in service.ports)
