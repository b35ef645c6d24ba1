"""The plan as nftables objects: a forwarding table with a constant number of chains, rules and sets.

In: a Plan and the ruleset the kernel has (its slots and its clients' affinity are kept). Out: a Ruleset, one table per
IP family. Every name of a table, chain, map and set is given in `names`, every rule is written in `layout` and
`affinity`, every element in `elements`. What the layout is and why: docs/kernel.md.
"""

from nftsvc.plan import Plan
from nftsvc.ruleset.elements import COMMENT_BYTES, UNCUT_BYTES, cut_comment, elements_of, verdicts_of
from nftsvc.ruleset.layout import LAYOUT, chains_of, sets_of
from nftsvc.ruleset.names import (
    AFFINITY_ENDPOINTS,
    AFFINITY_MAPS,
    AFFINITY_NODEPORT_ENDPOINTS,
    BY_ADDRESS,
    CLUSTER_IPS,
    NODEPORT_IPS,
    POD_CIDRS,
    POOL_OF_MAP,
    SERVICE_CIDRS,
    TABLE,
    WAYS,
    frontend_key,
)
from nftsvc.ruleset.objects import (
    EMPTY,
    EMPTY_TABLE,
    LAYOUT_CHAIN,
    NFT_FAMILY,
    VERDICT,
    VERDICTS,
    Chain,
    Elements,
    Entry,
    Hook,
    Key,
    NamedSet,
    Rule,
    Ruleset,
    Table,
)
from nftsvc.ruleset.records import kept_records
from nftsvc.ruleset.wanted import Part, Wanted
from nftsvc.settings import DetectorKind
from nftsvc.values import Address, Family, Prefix, address_order


def make_ruleset(plan: Plan, current: Ruleset = EMPTY, before: Ruleset | None = None) -> Ruleset:
    """Lower a plan to nft objects, keeping the slots that endpoints hold in the current ruleset.

    What packets have recorded there (session affinity) stays where it still holds; `before` is the ruleset that they
    were recorded under, if that is not the current one.
    """
    earlier = (before or current).tables
    return Ruleset(
        {
            family: _table(plan, family, current.tables.get(family), earlier.get(family))
            for family in plan.settings.families
        }
    )


def _table(plan: Plan, family: Family, current: Table | None, before: Table | None) -> Table:
    settings = plan.settings
    elements = elements_of(plan, family, current)
    detector = settings.detectors.get(family)
    networks: dict[str, tuple[str, ...]] = {
        NODEPORT_IPS: settings.node_port_addresses.get(family) or settings.node_port_networks.get(family, ()),
        SERVICE_CIDRS: settings.service_cidrs.get(family, ()),
        POD_CIDRS: (detector.value,) if detector is not None and detector.kind is DetectorKind.SOURCE else (),
    }
    for name, listed in networks.items():
        elements[name] = {(one,): Entry() for one in listed}
    if current is not None:
        elements.update(kept_records(family, current.elements, elements, ((before or current).elements, elements)))
    sets = sets_of(settings, family)
    chains = chains_of(settings, family, frozenset(verdicts_of(elements)))
    named = {one.name: dict(sorted(elements[one.name].items(), key=_order)) for one in sets}
    return Table(family, sets, chains, named)


def _order(item: tuple[Key, Entry]) -> tuple[bytes | int | str, ...]:
    """Sort elements by address as a number, then protocol, port, slot."""
    return tuple(address_order(part) if isinstance(part, (Address, Prefix)) else part for part in item[0])


__all__ = [
    "AFFINITY_ENDPOINTS",
    "AFFINITY_MAPS",
    "AFFINITY_NODEPORT_ENDPOINTS",
    "BY_ADDRESS",
    "CLUSTER_IPS",
    "COMMENT_BYTES",
    "EMPTY",
    "EMPTY_TABLE",
    "LAYOUT",
    "LAYOUT_CHAIN",
    "NFT_FAMILY",
    "POOL_OF_MAP",
    "TABLE",
    "UNCUT_BYTES",
    "VERDICT",
    "VERDICTS",
    "WAYS",
    "Chain",
    "Elements",
    "Entry",
    "Hook",
    "Key",
    "NamedSet",
    "Part",
    "Rule",
    "Ruleset",
    "Table",
    "Wanted",
    "cut_comment",
    "frontend_key",
    "make_ruleset",
]
