"""Which frontends UDP flows may be stale at: flows that lead to an endpoint that is gone, or to nobody at all.

In: the plans of Services before and after a change. Out: the frontends for which that takes a look at the flows, and
which endpoints flows there may lead to. A flow of UDP has no end that the kernel could see, so one that is busy goes on
for ever, wherever it leads. Source: kube-proxy 1.36 and later (k/k#139629, k/k#141371): all ways that endpoints, ports
and Services change, matched by address and port; nothing where nothing has changed, as on a restart.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nftsvc.plan import ServicePlan
from nftsvc.ruleset import BY_ADDRESS, POOL_OF_MAP, Ruleset
from nftsvc.values import Address, Family, address_order

_UDP = "udp"


@dataclass(frozen=True, slots=True)
class UdpFrontend:
    """Where flows go to: an address and port, or (address None) a node port; and the endpoints they may lead to."""

    family: Family
    address: Address | None
    port: int
    endpoints: frozenset[tuple[Address, int]]


_Key = tuple[Family, Address | None, int]
_Endpoints = frozenset[tuple[Address, int]]


def stale_frontends(
    old: Iterable[ServicePlan],
    new: Iterable[ServicePlan],
    found: Ruleset | None = None,
    owed: Iterable[UdpFrontend] = (),
) -> tuple[UdpFrontend, ...]:
    """Return the frontends that an endpoint has left, that had none before, or that are gone; sorted.

    `found` is what the kernel had where nobody remembers the plans that it was made from. `owed` are frontends that
    were returned earlier and have not been looked at yet: they are among the result, with the endpoints of now.
    """
    before = _serving(old) if found is None else {**_listed(found), **_serving(old)}
    after = _serving(new)
    none: _Endpoints = frozenset()
    stale = {(one.family, one.address, one.port): one.endpoints for one in owed}
    for key in before.keys() | after.keys():
        was, becomes = before.get(key, none), after.get(key, none)
        if key in stale or was - becomes or bool(becomes) > bool(was):
            stale[key] = becomes
    return tuple(sorted((UdpFrontend(*key, endpoints) for key, endpoints in stale.items()), key=_order))


def _order(one: UdpFrontend) -> tuple[str, bytes, int]:
    return (one.family, address_order(one.address) if one.address is not None else b"", one.port)


def _serving(plans: Iterable[ServicePlan]) -> dict[_Key, _Endpoints]:
    return {
        (port.family, frontend.address, int(frontend.port)): frozenset(
            (one.address, int(one.port)) for one in port.serving
        )
        for plan in plans
        for port in plan.ports
        if port.protocol.lower() == _UDP
        for frontend in port.frontends
    }


def _listed(found: Ruleset) -> Mapping[_Key, _Endpoints]:
    """Return the endpoints that a ruleset sends UDP to."""
    listed: dict[_Key, set[tuple[Address, int]]] = {}
    for family, table in found.tables.items():
        for name, pool in POOL_OF_MAP.items():
            for key, entry in table.elements.get(name, {}).items() if pool.protocol == _UDP else ():
                address = Address(key[0]) if pool.way is BY_ADDRESS else None
                place = (family, address, int(key[-2]))
                listed.setdefault(place, set()).add((Address(entry.value[0]), int(entry.value[1])))
    return {key: frozenset(endpoints) for key, endpoints in listed.items()}
