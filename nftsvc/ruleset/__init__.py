"""The plan as nftables objects: a forwarding table with a constant number of chains, rules and sets.

In: a Plan and the ruleset the kernel has (its slots and its clients' affinity are kept). Out: a Ruleset, one table per
IP family. Every name of a table, chain, map and set is given in `names`, every rule is written in `layout` and
`affinity`, every element in `elements`. What the layout is and why: docs/kernel.md.
"""

from nftsvc.plan import Plan
from nftsvc.ruleset.elements import (
    COMMENT_BYTES,
    NOTHING,
    FoundSlots,
    cut_comment,
    elements_of,
    on_node,
    shared_key,
    verdicts_of,
)
from nftsvc.ruleset.layout import LAYOUT, Layout
from nftsvc.ruleset.names import (
    AFFINITY_ENDPOINTS,
    AFFINITY_MAPS,
    AFFINITY_NODEPORT_ENDPOINTS,
    BY_ADDRESS,
    CLUSTER_IPS,
    HAIRPIN,
    POOL_OF_MAP,
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
from nftsvc.ruleset.owners import Owners
from nftsvc.ruleset.records import kept_records
from nftsvc.ruleset.wanted import Part, Wanted
from nftsvc.values import Address, Family, Prefix, address_order


def make_ruleset(
    plan: Plan, current: Ruleset = EMPTY, before: Ruleset | None = None, *, in_order: bool = True
) -> Ruleset:
    """Lower a plan to nft objects, keeping the slots that endpoints hold in the current ruleset.

    What packets have recorded there (session affinity) stays where it still holds; `before` is the ruleset that they
    were recorded under, if that is not the current one. Elements come in canonical order, unless nobody will read them.
    """
    earlier = (before or current).tables
    return Ruleset(
        {
            family: _table(plan, family, current.tables.get(family), earlier.get(family), in_order=in_order)
            for family in plan.settings.families
        }
    )


def _table(plan: Plan, family: Family, current: Table | None, before: Table | None, *, in_order: bool) -> Table:
    settings = plan.settings
    layout = Layout(settings, family)
    elements = elements_of(plan.ports, family, FoundSlots(current).order)
    own = [address for where, address in on_node(plan.ports) if where == family]
    elements[HAIRPIN] = {shared_key(HAIRPIN, one): NOTHING for one in own}
    elements[CLUSTER_IPS] = {shared_key(CLUSTER_IPS, one): NOTHING for one in plan.cluster_ips if one.family == family}
    elements.update(layout.networks)
    if current is not None:
        elements.update(kept_records(family, current.elements, elements, ((before or current).elements, elements)))
    chains = layout.chains(frozenset(verdicts_of(elements)))
    named = {one.name: elements[one.name] for one in layout.sets}
    return Table(
        family, layout.sets, chains, {name: _sorted(one) for name, one in named.items()} if in_order else named
    )


def _sorted(elements: Elements) -> Elements:
    """Sort elements by address as a number, then protocol, port, slot."""
    orders: dict[str, bytes] = {}  # an address has many slots

    def order(item: tuple[Key, Entry]) -> tuple[bytes | int | str, ...]:
        parts: list[bytes | int | str] = []
        for part in item[0]:
            if isinstance(part, (Address, Prefix)):
                known = orders.get(part)
                if known is None:
                    known = orders[part] = address_order(part)
                parts.append(known)
            else:
                parts.append(part)
        return tuple(parts)

    return dict(sorted(elements.items(), key=order))


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
    "VERDICT",
    "VERDICTS",
    "WAYS",
    "Chain",
    "Elements",
    "Entry",
    "Hook",
    "Key",
    "NamedSet",
    "Owners",
    "Part",
    "Rule",
    "Ruleset",
    "Table",
    "Wanted",
    "cut_comment",
    "frontend_key",
    "make_ruleset",
]
