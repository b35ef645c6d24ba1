"""Which frontends flows may be stale at: flows that lead to an endpoint that is gone, or to nobody at all.

In: the plans of Services before and after a change, or the ruleset before and after a repair. Out: the frontends for
which that takes a look at the flows, and the endpoints there. A flow keeps what its first packet met. One of UDP has no
end that the kernel could see, so if it is busy it goes on for ever, wherever it leads. One of TCP or SCTP is stale only
if it met no rule of ours and has no answer: a client repeats its first packet for minutes, and each goes the same way.
Source: kube-proxy 1.36 and later (k/k#139629, k/k#141371) for UDP: all ways that endpoints, ports and Services change,
matched by address and port; nothing where nothing has changed, as on a restart.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from types import MappingProxyType

import msgspec

from nftsvc.endpoints import Endpoint
from nftsvc.plan import PortPlan, ServicePlan
from nftsvc.ruleset import BY_ADDRESS, POOL_OF_MAP, WAYS, Key, Ruleset, Table, frontend_key
from nftsvc.ruleset.names import NODEPORT_IPS
from nftsvc.values import Address, Family, Protocol

UDP = Protocol("UDP")

End = tuple[Address, int]
Endpoints = AbstractSet[End]


class Ends(AbstractSet[End]):
    """Addresses and ports of a plan's endpoints, as a set that takes no memory: hardly any is ever looked into."""

    __slots__ = ("_listed",)

    def __init__(self, *listed: tuple[Endpoint, ...]) -> None:
        self._listed = listed

    def __iter__(self) -> Iterator[End]:
        return iter({(one.address, int(one.port)) for part in self._listed for one in part})

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return any(self._listed)

    def __contains__(self, end: object) -> bool:
        return any(end == one for one in self)

    def __hash__(self) -> int:
        return hash(frozenset(self))


_LEADING = frozenset({*POOL_OF_MAP, *(name for way in WAYS for name in (way.verdicts, way.inside, way.outside))})
_NONE = Ends()


class Target(msgspec.Struct, frozen=True, gc=False):
    """Where flows are sent to: an address and port, or (address None) a node port."""

    family: Family
    protocol: Protocol
    address: Address | None
    port: int


# What flows are looked at by: frontends, and the endpoints that flows to each may lead to.
Tracked = Mapping[Target, Endpoints]
NONE_TRACKED: Tracked = MappingProxyType({})


def stale_frontends(
    old: Iterable[ServicePlan], new: Iterable[ServicePlan], found: Ruleset | None = None, owed: Tracked = NONE_TRACKED
) -> Tracked:
    """Return the frontends that had no endpoint before, and those of UDP that one has left.

    `found` is what the kernel had where nobody remembers the plans that it was made from. `owed` are frontends that
    were returned earlier and have not been looked at yet: they are among the result, with the endpoints of now.
    """
    before = _serving(old) if found is None else {**_listed(found), **_serving(old)}
    after = _serving(new)
    stale = dict(owed)
    for target in {**before, **after} if before else after:
        was, becomes = before.get(target, _NONE), after.get(target, _NONE)
        left = target.protocol == UDP and _left(was, becomes)
        if target in stale or left or bool(becomes) > bool(was):
            stale[target] = becomes
    return stale


def _left(was: Endpoints, becomes: Endpoints) -> bool:
    """Tell whether an endpoint has left."""
    return bool(was) and not frozenset(was) <= frozenset(becomes)


def remade_frontends(
    found: Ruleset, wanted: Ruleset, plans: Iterable[ServicePlan], owed: Tracked = NONE_TRACKED
) -> Tracked:
    """Return the frontends with endpoints that clients did not get to by what was found in the kernel.

    `owed` is as for `stale_frontends`. Where rules differ that is all frontends of the family, else those of which an
    element does that leads to endpoints.
    """
    other = {family for family, table in wanted.tables.items() if not _same_rules(found.tables.get(family), table)}
    remade = {
        target
        for family, table in wanted.tables.items()
        if family not in other
        for target in _remade(found.tables[family], table)
    }

    def concerned(target: Target) -> bool:
        whole = Target(target.family, target.protocol, None, 0)
        return (
            target.family in other or target in remade or target in owed or (target.address is None and whole in remade)
        )

    serving = _serving(plans, concerned)
    return {**owed, **{target: serves for target, serves in serving.items() if serves or target in owed}}


def served_frontends(old: Iterable[ServicePlan], new: Iterable[ServicePlan], before: Tracked = NONE_TRACKED) -> Tracked:
    """Return all UDP frontends of Services that change, with the endpoints of now; and those told `before`.

    Whoever is looking through flows goes by them: a flow to an endpoint that has come since is not stale.
    """
    gone = dict.fromkeys(_serving(old, only=UDP), _NONE)
    return {**before, **gone, **_serving(new, only=UDP)}


def _serving(
    plans: Iterable[ServicePlan], concerned: Callable[[Target], bool] | None = None, *, only: str = ""
) -> dict[Target, Endpoints]:
    """Return the endpoints of the frontends that are concerned, or of all; `only` those of one protocol."""
    found: dict[Target, Endpoints] = {}
    for plan in plans:
        for port in plan.ports:
            if only and port.protocol != only:
                continue
            endpoints = _endpoints(port)
            for one in port.frontends:
                target = Target(port.family, port.protocol, one.address, one.port)
                if concerned is None or concerned(target):
                    found[target] = endpoints
    return found


def _endpoints(port: PortPlan) -> Endpoints:
    if port.protocol == UDP:
        return Ends(port.serving)
    return Ends(port.cluster, port.local) if port.local else Ends(port.cluster)


def _listed(found: Ruleset) -> Mapping[Target, Endpoints]:
    """Return the endpoints that a ruleset sends packets to. Of a first load that was cut short there are none."""
    listed: dict[Target, set[tuple[Address, int]]] = {}
    for family, table in found.tables.items():
        live = any(chain.hook is not None for chain in table.chains)
        for name, pool in POOL_OF_MAP.items() if live else ():
            protocol = Protocol(pool.protocol.upper())
            for key, entry in table.elements.get(name, {}).items():
                address = Address(key[0]) if pool.way is BY_ADDRESS else None
                end = (Address(entry.value[0]), int(entry.value[1]))
                listed.setdefault(Target(family, protocol, address, int(key[-2])), set()).add(end)
    return {target: frozenset(endpoints) for target, endpoints in listed.items()}


def _same_rules(found: Table | None, wanted: Table) -> bool:
    """Tell whether packets met the rules that are wanted; a chain that is missing is one that no rule led to."""
    if found is None or found.flags != wanted.flags:
        return False
    kept = {chain.name: chain for chain in found.chains}
    return all(kept.get(chain.name, chain if chain.hook is None else None) == chain for chain in wanted.chains)


def _remade(found: Table, wanted: Table) -> Iterator[Target]:
    """Yield the frontends of elements that differ; port 0 stands for all node ports."""
    for name in _LEADING:
        before = found.elements.get(name, {})
        for key, entry in wanted.elements.get(name, {}).items():
            if before.get(key) != entry:
                yield _target(wanted.family, name, key)
    if wanted.elements.get(NODEPORT_IPS, {}).keys() - found.elements.get(NODEPORT_IPS, {}).keys():
        yield from (Target(wanted.family, Protocol(one), None, 0) for one in Protocol.choices)


def _target(family: Family, name: str, key: Key) -> Target:
    """Return the frontend that an element of a map leads from."""
    frontend = frontend_key(name, key)
    assert frontend is not None  # noqa: S101 - these maps have frontends for keys
    *address, protocol, port = frontend
    return Target(family, Protocol(str(protocol).upper()), Address(address[0]) if address else None, int(port))
