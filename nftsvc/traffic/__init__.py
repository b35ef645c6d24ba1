"""What a ruleset does to traffic, by Service port: read off its elements, whoever made them.

In: a Ruleset, made from manifests, read from a file or from a kernel. Out: Traffic, in words of the domain. Two
rulesets that do the same have equal Traffic, whatever slots their endpoints are in. What is not understood is told.
"""

from collections.abc import Iterator
from dataclasses import replace

from nftsvc.ruleset import Ruleset, Table
from nftsvc.traffic.frontends import Frontends
from nftsvc.traffic.rules import (
    EVERY_ADDRESS,
    IN_NETWORKS,
    LISTED,
    UNNAMED_INTERFACE,
    Rules,
    alike,
    described,
    recognised,
)
from nftsvc.traffic.values import (
    AS_CLUSTER_IP,
    Fate,
    Frontend,
    NodeTraffic,
    Oddity,
    Reached,
    Target,
    Traffic,
    Where,
    service_of,
)
from nftsvc.values import Family

_DORMANT = "dormant"


def traffic_of(ruleset: Ruleset) -> Traffic:
    """Say what a ruleset does to traffic. Never raises: what cannot be understood is told as it is."""
    frontends: dict[Where, Frontend] = {}
    nodes: dict[Family, NodeTraffic] = {}
    oddities: list[Oddity] = []
    for family, table in sorted(ruleset.tables.items()):
        if _DORMANT in table.flags:
            nodes[family] = NodeTraffic(layout=table.layout, unread=(f"{_DORMANT}: nothing in it is in effect",))
        else:
            rules = Rules(table)
            found = Frontends(table, rules)
            frontends.update((one.where, one) for one in found.read())
            nodes[family] = replace(rules.node, unread=(*_flags(table), *found.unread))
            oddities += found.oddities
        oddities += (Oddity(family, "table", one) for one in _oddities(nodes[family]))
    return Traffic(frontends, nodes, tuple(oddities))


def _flags(table: Table) -> Iterator[str]:
    """Yield what a table's flags say that concerns its packets; who owns it does not."""
    yield from (one for one in table.flags if one not in {"owner", "persist"})


def _oddities(node: NodeTraffic) -> Iterator[str]:
    if not node.standard:
        named = f"layout {node.layout!r} is not this version's" if node.layout else "it names no layout"
        yield f"{named}: its rules are not looked into"
    for name, chain in node.rules.items() if node.standard else ():
        what = f"is not as nftsvc makes it: {described(chain)}" if chain is not None else "is not there"
        yield f"chain {name} {what}"
    yield from (f"not understood: {one}" for one in node.unread)


__all__ = [
    "AS_CLUSTER_IP",
    "EVERY_ADDRESS",
    "IN_NETWORKS",
    "LISTED",
    "UNNAMED_INTERFACE",
    "Fate",
    "Frontend",
    "NodeTraffic",
    "Oddity",
    "Reached",
    "Target",
    "Traffic",
    "Where",
    "alike",
    "described",
    "recognised",
    "service_of",
    "traffic_of",
]
