"""What changes at one frontend."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from nftsvc.comparison.nodes import covered, no_frontend
from nftsvc.comparison.values import Change, Clients, EndpointChange, Fact, FactChange, Kind, PortChange
from nftsvc.explain import Outcome
from nftsvc.plan import Masquerade
from nftsvc.traffic import AS_CLUSTER_IP, Fate, Frontend, NodeTraffic, Reached, Target, Traffic, Where
from nftsvc.values import address_order


def frontend_changes(
    was: Frontend | None, becomes: Frontend | None, old: Traffic, new: Traffic
) -> Iterator[tuple[str, PortChange]]:
    """Yield what changes at one frontend, with the Service that it concerns; nothing if it comes to the same.

    It is None where it was, or is, not there. The changes do not say which frontend they are of.
    """
    if was is not None and becomes is not None:
        nodes = old.nodes[was.where.family], new.nodes[was.where.family]
        changes = _changes(was, becomes, nodes)
        if not changes:
            return
        if was.service == becomes.service:
            named = (FactChange(Fact.NAME, (was.name,), (becomes.name,)),) if was.name != becomes.name else ()
            for change in (*named, *changes):
                yield becomes.service, PortChange(becomes.name, Kind.CHANGED, (), (change,))
            return
    elif _alike(was, becomes, old, new):
        return
    if was is not None:
        other = becomes.name if becomes is not None else ""
        then = "" if other else _absent(was.where, new.nodes.get(was.where.family))
        yield was.service, PortChange(was.name, Kind.REMOVED, (), tuple(_told(was, Kind.REMOVED)), other, then)
    if becomes is not None:
        other = was.name if was is not None else ""
        yield becomes.service, PortChange(becomes.name, Kind.ADDED, (), tuple(_told(becomes, Kind.ADDED)), other)


def _alike(was: Frontend | None, becomes: Frontend | None, old: Traffic, new: Traffic) -> bool:
    """Tell whether it makes no difference that there is a frontend on one side only: all are refused there anyway."""
    for frontend, other in ((was, new), (becomes, old)):
        if frontend is not None:
            fate = _absent(frontend.where, other.nodes.get(frontend.where.family))
            fates = {one.outcome for one in (frontend.inside, frontend.outside)}
            return fates == {fate} and frontend.sources is None
    return False


def _absent(where: Where, node: NodeTraffic | None) -> str:
    """Say what happens to connections to an address and port that is no frontend."""
    return Outcome.PASS if node is None or not where.address else no_frontend(where.address, node)


def _changes(was: Frontend, becomes: Frontend, nodes: tuple[NodeTraffic, NodeTraffic]) -> tuple[Change, ...]:
    """Return what changes at a frontend that stays with its Service."""
    facts: list[FactChange] = []
    if was.forwards and becomes.forwards:
        resolved = [
            node.masquerade if one.masquerade == AS_CLUSTER_IP else one.masquerade
            for one, node in zip((was, becomes), nodes, strict=True)
        ]
        if was.masquerade != becomes.masquerade and resolved[0] != resolved[1]:
            facts.append(FactChange(Fact.MASQUERADE, (resolved[0],), (resolved[1],)))
    if was.sources != becomes.sources:
        facts.append(FactChange(Fact.SOURCES, _sources(was.sources), _sources(becomes.sources)))
    known = _Hairpins((was, becomes), nodes)
    inside = tuple(_fate_changes(was.inside, becomes.inside, known, inside=True))
    outside = tuple(_fate_changes(was.outside, becomes.outside, known, inside=False))
    changes = [*facts, *_by_clients(inside, outside)]
    if changes and was.by_client != becomes.by_client:
        changes.append(FactChange(Fact.POLICY, (_policy(was),), (_policy(becomes),)))
    return tuple(sorted(changes, key=rank))


def _policy(frontend: Frontend) -> str:
    return "Local" if frontend.by_client else "Cluster"


def _sources(sources: tuple[str, ...] | None) -> tuple[str, ...]:
    return ("everybody",) if sources is None else sources or ("nobody",)


def _by_clients(inside: Iterable[Change], outside: Iterable[Change]) -> Iterator[Change]:
    """Yield each change once where it is the same for all clients, else with those it concerns."""
    inside, outside = dict.fromkeys(inside), dict.fromkeys(outside)
    yield from (one for one in outside if one in inside)
    yield from (one._replace(clients=Clients.INSIDE) for one in inside if one not in outside)
    yield from (one._replace(clients=Clients.OUTSIDE) for one in outside if one not in inside)


_FACTS, _CLIENTS = list(Fact), list(Clients)


def rank(change: Change) -> tuple[int, int, int, bytes, int]:
    """Sort facts before endpoints; of these first who comes, last who goes, by address."""
    clients = _CLIENTS.index(change.clients)
    if isinstance(change, FactChange):
        return 0, _FACTS.index(change.fact), clients, b"", 0
    sign = 1 if change.old is None else 3 if change.new is None else 2
    return sign, clients, 0, *_endpoint_order(change.endpoint)


def _endpoint_order(endpoint: Target) -> tuple[bytes, int]:
    try:
        return address_order(endpoint.address), endpoint.port
    except ValueError:  # not an address
        return endpoint.address.encode(), endpoint.port


class _Hairpins(NamedTuple):
    """Knows where it matters that an endpoint sees an address of the node where it reaches itself."""

    frontends: tuple[Frontend, Frontend]
    nodes: tuple[NodeTraffic, NodeTraffic]

    def differ(self, endpoint: Target, was: Reached, becomes: Reached, *, inside: bool) -> bool:
        """Tell whether packets of clients inside, or outside, differ for it; that is of the endpoint itself."""
        if was.hairpin == becomes.hairpin or not any(self._is(side, endpoint, inside=inside) for side in (0, 1)):
            return False
        return self._seen(0, endpoint, was) != self._seen(1, endpoint, becomes)

    def _rule(self, side: int) -> str:
        frontend, node = self.frontends[side], self.nodes[side]
        return node.masquerade if frontend.masquerade == AS_CLUSTER_IP else frontend.masquerade

    def _is(self, side: int, endpoint: Target, *, inside: bool) -> bool:
        """Tell whether the endpoint may be a client that is inside, or outside."""
        frontend, node = self.frontends[side], self.nodes[side]
        if not frontend.by_client:
            return True
        if node.pod_networks:
            return covered(endpoint.address, node.pod_networks) == inside
        return not inside or bool(node.pods) or self._rule(side) != Masquerade.THIS_NODE

    def _seen(self, side: int, endpoint: Target, reached: Reached) -> bool:
        """Tell whether it sees an address of the node: for this reason, or as others do."""
        rule, networks = self._rule(side), self.nodes[side].pod_networks
        if rule == Masquerade.OTHERS_THAN_LOCAL_PODS and networks:
            return reached.hairpin or not covered(endpoint.address, networks)
        return reached.hairpin or rule == Masquerade.EVERYBODY


def _fate_changes(old: Fate, new: Fate, known: _Hairpins, *, inside: bool) -> Iterator[Change]:
    """Yield what changes for clients that the fate is of."""
    if old == new:
        return
    if old.outcome != new.outcome:
        yield FactChange(Fact.OUTCOME, (old.outcome,), (new.outcome,))
    if old.endpoints and new.endpoints:
        pairs = [(Fact.AFFINITY, _affinity), (Fact.LOST, _lost)]
        yield from (FactChange(fact, tell(old), tell(new)) for fact, tell in pairs if tell(old) != tell(new))
    for endpoint in {**old.endpoints, **new.endpoints}:
        was, becomes = old.endpoints.get(endpoint), new.endpoints.get(endpoint)
        if was is not None and becomes is not None and not known.differ(endpoint, was, becomes, inside=inside):
            becomes = becomes._replace(seconds=was.seconds, hairpin=was.hairpin)
        if was != becomes:
            yield EndpointChange(endpoint, was, becomes)


def _affinity(fate: Fate) -> tuple[str, ...]:
    """Return for how many seconds clients come back, by endpoint where it is not the same for all; nothing if never."""
    times = {one.seconds for one in fate.endpoints.values()}
    if len(times) <= 1:
        return tuple(str(one) for one in times if one)
    return tuple(f"{one} at {where}" for where, one in sorted((at, how.seconds) for at, how in fate.endpoints.items()))


def _lost(fate: Fate) -> tuple[str, ...]:
    """Return which share finds no endpoint, and what happens to it."""
    return (str(fate.lost), fate.rest) if fate.lost else ()


def _told(frontend: Frontend, kind: Kind) -> Iterator[Change]:
    """Yield all that there is to tell of a frontend that comes or goes; masquerading only where it is not as usual."""
    usual = (AS_CLUSTER_IP, "", Masquerade.THIS_NODE if frontend.by_client else Masquerade.EVERYBODY)
    facts = [
        (Fact.POLICY, (_policy(frontend),) * frontend.by_client),
        (Fact.MASQUERADE, (frontend.masquerade,) * (frontend.masquerade not in usual)),
        (Fact.SOURCES, () if frontend.sources is None else _sources(frontend.sources)),
    ]
    inside, outside = (tuple(_fate_told(one)) for one in (frontend.inside, frontend.outside))
    changes = [*(FactChange(fact, (), words) for fact, words in facts if words), *_by_clients(inside, outside)]
    for one in sorted(changes, key=rank):
        yield one if kind is Kind.ADDED else _gone(one)


def _gone(come: Change) -> Change:
    """Return the change back."""
    if isinstance(come, FactChange):
        return come._replace(old=come.new, new=come.old)
    return come._replace(old=come.new, new=come.old)


def _fate_told(fate: Fate) -> Iterator[Change]:
    if fate.outcome != Outcome.FORWARD:
        yield FactChange(Fact.OUTCOME, (), (fate.outcome,))
    for fact, words in ((Fact.AFFINITY, _affinity(fate)), (Fact.LOST, _lost(fate) if fate.endpoints else ())):
        if words:
            yield FactChange(fact, (), words)
    yield from (EndpointChange(endpoint, None, reached) for endpoint, reached in fate.endpoints.items())
