"""The ruleset wanted, kept up to date Service by Service.

In: the plans of Services as they were and as they are. Out: two partial rulesets, before and after, which hold the
elements of these Services only and every chain; `nftsvc.changes` compares them as it compares whole ones.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from nftsvc.plan import Plan, ServicePlan
from nftsvc.ruleset.elements import elements_of, verdicts_of
from nftsvc.ruleset.layout import chains_of
from nftsvc.ruleset.names import AFFINITY_MAPS, CLUSTER_IPS, HAIRPIN
from nftsvc.ruleset.objects import Chain, Elements, Entry, Key, Ruleset, Table
from nftsvc.ruleset.records import in_doubt, kept_records
from nftsvc.settings import NodeSettings
from nftsvc.values import Family


class Part(NamedTuple):
    """The elements of some Services before and after a change."""

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
    """A whole ruleset that changes in parts. `ruleset` is not to be changed from outside; it has no records."""

    def __init__(self, settings: NodeSettings, ruleset: Ruleset, services: Iterable[ServicePlan]) -> None:
        self._settings = settings
        self._tables = {family: _Table(settings, table) for family, table in ruleset.tables.items()}
        for service in services:
            for family, table in self._tables.items():
                table.needed.update(_shared(service, family))

    @property
    def ruleset(self) -> Ruleset:
        """The whole ruleset."""
        return Ruleset({family: table.value for family, table in self._tables.items()})

    def change(self, old: Sequence[ServicePlan], new: Sequence[ServicePlan]) -> Part:
        """Take in how the plans of some Services have changed. Endpoints that stay keep their slots."""
        plans = (Plan.of(self._settings, old), Plan.of(self._settings, new))
        before: dict[Family, Table] = {}
        after: dict[Family, Table] = {}
        for family, table in self._tables.items():
            needs = [Counter(key for one in services for key in _shared(one, family)) for services in (old, new)]
            before[family], after[family] = table.change(plans, needs)
        return Part(Ruleset(before), Ruleset(after))

    def against(self, found: Ruleset) -> Part:
        """Return what leads from what was found in the kernel to the whole ruleset, and keeps records that may stay."""
        after: dict[Family, Table] = {}
        for family, table in self.ruleset.tables.items():
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
            kept = kept_records(family, records, self._tables[family].value.elements, (old.elements, table.elements))
            before[family] = replace(begin, elements={**begin.elements, **records})
            after[family] = replace(table, elements={**table.elements, **{name: {} for name in records}, **kept})
        return Part(Ruleset(before), Ruleset(after))


def _shared(service: ServicePlan, family: Family) -> set[tuple[str, Key]]:
    """Return the elements that a Service needs and others may need, too."""
    endpoints = (one for port in service.ports if port.family == family for one in (*port.cluster, *port.local))
    return {
        *((CLUSTER_IPS, (one,)) for one in service.cluster_ips if one.family == family),
        *((HAIRPIN, (one.address, one.address)) for one in endpoints if one.on_node),
    }


_SHARED = (CLUSTER_IPS, HAIRPIN)
_Elements = dict[str, dict[Key, Entry]]


class _Table:
    """One family's table, its elements in dictionaries of its own; how often shared elements and verdicts are used."""

    def __init__(self, settings: NodeSettings, table: Table) -> None:
        self._settings = settings
        self._elements: _Elements = {
            name: {} if name in AFFINITY_MAPS else dict(entries) for name, entries in table.elements.items()
        }
        self.value = replace(table, elements=self._elements)
        self.needed: Counter[tuple[str, Key]] = Counter()
        self._verdicts = Counter(verdicts_of(self._elements))
        self._known = frozenset(self._verdicts)

    def change(self, plans: tuple[Plan, Plan], needs: Sequence[Counter[tuple[str, Key]]]) -> tuple[Table, Table]:
        """Put the elements of one plan in the place of another's; return both as they were and are."""
        family, chains = self.value.family, self.value.chains
        held: _Elements = {
            name: {key: self._elements[name][key] for key in entries}
            for name, entries in elements_of(plans[0], family, None).items()
            if name not in _SHARED
        }
        wanted = elements_of(plans[1], family, replace(self.value, elements=held))
        for name in _SHARED:
            held[name], wanted[name] = {}, {}
        self._share(needs, held, wanted)
        self._put(held, wanted)
        self._verdicts.subtract(verdicts_of(held))
        self._verdicts.update(verdicts_of(wanted))
        self._renew_chains()
        return replace(self.value, chains=chains, elements=held), replace(
            self.value, elements={name: wanted.get(name, {}) for name in self._elements}
        )

    def _share(self, needs: Sequence[Counter[tuple[str, Key]]], held: _Elements, wanted: _Elements) -> None:
        """Let shared elements go when the last that needs them goes, and come with the first."""
        old, new = needs
        for one in old.keys() | new.keys():
            name, key = one
            before = self.needed[one]
            self.needed[one] += new[one] - old[one]
            if before and not self.needed[one]:
                held[name][key] = Entry()
            elif self.needed[one] and not before:
                wanted[name][key] = Entry()
            if not self.needed[one]:
                del self.needed[one]

    def _put(self, held: Mapping[str, Elements], wanted: Mapping[str, Elements]) -> None:
        for name, entries in held.items():
            for key in entries:
                del self._elements[name][key]
        for name, entries in wanted.items():
            self._elements[name].update(entries)

    def _renew_chains(self) -> None:
        gone = [verdict for verdict, count in self._verdicts.items() if not count]
        for verdict in gone:
            del self._verdicts[verdict]
        if self._verdicts.keys() != self._known:
            self._known = frozenset(self._verdicts)
            chains: tuple[Chain, ...] = chains_of(self._settings, self.value.family, self._known)
            self.value = replace(self.value, chains=chains)
