"""How two rulesets differ in what they do to traffic, by Service.

In: the Traffic of each. Out: a Comparison, whose `same` is true exactly when no packet is treated differently, now or
(session affinity) once there are other endpoints. What cannot be understood counts as different unless it is the same
in both. Frontends are compared one by one; a name alone changes nothing for packets. What concerns all Services alike
is told once.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from nftsvc.comparison.frontends import frontend_changes, rank
from nftsvc.comparison.nodes import layout_changes, node_changes
from nftsvc.comparison.values import (
    Change,
    Clients,
    Comparison,
    EndpointChange,
    Fact,
    FactChange,
    Kind,
    LayoutChange,
    NodeChange,
    PortChange,
    ServiceChange,
)
from nftsvc.traffic import Traffic, Where
from nftsvc.values import address_order


def compare_traffic(old: Traffic, new: Traffic) -> Comparison:
    """Say how the new traffic differs from the old."""
    found: dict[str, dict[PortChange, list[Where]]] = defaultdict(lambda: defaultdict(list))
    renamed: dict[tuple[str, str], None] = {}
    for where in {**old.frontends, **new.frontends}:
        was, becomes = old.frontends.get(where), new.frontends.get(where)
        if was == becomes and was is not None and becomes is not None:
            if was.name != becomes.name:
                renamed[was.name, becomes.name] = None
            continue
        for service, change in frontend_changes(was, becomes, old, new):
            found[service][change].append(where)
    served = [{one.service for one in side.frontends.values()} for side in (old, new)]
    services = tuple(
        ServiceChange(service, _kind(service, *served), tuple(_ports(found[service]))) for service in sorted(found)
    )
    moved = {
        (where.family, where.address)
        for changes in found.values()
        for change, frontends in changes.items()
        for where in frontends
        if change.kind is not Kind.CHANGED
    }
    return Comparison(
        node=tuple(node_changes(old, new, moved)),
        services=services,
        unchanged=tuple(sorted(served[1] - found.keys())),
        renamed=tuple(sorted(renamed)),
        layouts=tuple(layout_changes(old, new)),
        families=tuple(sorted({where.family for where in (*old.frontends, *new.frontends)})),
        oddities=(old.oddities, new.oddities),
    )


def _kind(service: str, before: set[str], after: set[str]) -> Kind:
    if service not in before:
        return Kind.ADDED
    return Kind.CHANGED if service in after else Kind.REMOVED


def _ports(found: Mapping[PortChange, Iterable[Where]]) -> Iterator[PortChange]:
    """Yield the changes of a Service in the order of its ports; those at the same frontends in one.

    What comes or goes is told as a whole, once for all frontends at which it is the same.
    """
    together: dict[PortChange, list[Change]] = defaultdict(list)
    for change, frontends in found.items():
        known = replace(change, frontends=tuple(sorted(frontends, key=_place)), changes=())
        together[known] += change.changes
    ports = [replace(port, changes=tuple(sorted(changes, key=rank))) for port, changes in together.items()]
    yield from sorted(ports, key=_order)


def _order(port: PortChange) -> tuple[object, ...]:
    """Sort by name; first what changes, facts before endpoints, then what comes and goes; by frontend."""
    changed = port.kind is Kind.CHANGED
    facts = changed and any(isinstance(one, FactChange) for one in port.changes)
    return port.name, not changed, not facts, [_place(one) for one in port.frontends]


def _place(where: Where) -> tuple[bool, str, bytes, int, str]:
    """Sort frontends: addresses before node ports, IPv4 before IPv6, by number."""
    address = where.address
    return not address, where.family, address_order(address) if address else b"", where.port, where.protocol


__all__ = [
    "Change",
    "Clients",
    "Comparison",
    "EndpointChange",
    "Fact",
    "FactChange",
    "Kind",
    "LayoutChange",
    "NodeChange",
    "PortChange",
    "ServiceChange",
    "compare_traffic",
]
