"""Which endpoints a node may use for one port of a Service, and why not the others.

In: the Service's slices and the node's place. Out: a verdict on every endpoint, in canonical order, without duplicates.
There are two lists: the cluster's, and that of the node itself (traffic policy Local); each falls back to draining
endpoints on its own. Source: KEP-1669 (termination), KEP-2433 and KEP-3015 (hints), kube-proxy 1.36.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from nftsvc.objects import LABEL_HEADLESS, TCP, EndpointSlice, ServicePort, SliceEndpoint
from nftsvc.values import Address, Family, Port, address_order


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One place that traffic can go to. `on_node` says that it runs, or for all we know may run, on this node."""

    address: Address
    port: Port
    on_node: bool = True


class Place(msgspec.Struct, frozen=True, gc=False):
    """Where the ruleset is for: the node's name (None: no node in particular) and its zone ("": none)."""

    node: str | None
    zone: str


class Judged(NamedTuple):
    """An endpoint and why it is on neither list: "" if it is.

    `ready_here`: it runs on this node and is ready; `serving`: it answers, whether or not it is to get new connections;
    `ready`: it is, wherever it runs.
    """

    endpoint: Endpoint
    not_in_cluster: str
    not_local: str
    ready_here: bool = False
    serving: bool = True
    ready: bool = True


class Usable(msgspec.Struct, frozen=True, gc=False):
    """Who is on which list: the cluster's, and the node's own; in canonical order, without duplicates.

    `serving` are those that answer, whether or not they get new connections, `ready_here` those that run here and are
    ready.
    """

    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...]
    serving: tuple[Endpoint, ...]
    ready_here: tuple[Endpoint, ...]


class _Member(NamedTuple):
    endpoint: Endpoint
    source: SliceEndpoint
    local: bool


def judge(slices: Iterable[EndpointSlice], port: ServicePort, family: Family, place: Place) -> tuple[Judged, ...]:
    """Say of every endpoint that the slices give a Service port whether it may be used, sorted by address and port.

    On the cluster's list are the ready ones, narrowed by topology hints; where none is ready, those that terminate but
    still serve. On the node's own list the same, of those that run here, whatever the hints. Slice ports are matched by
    name and protocol, an unnamed port by the empty name; a slice port without a number is ignored. Where slices repeat
    an endpoint, one that does not terminate wins.
    """
    members = _unique(_members(slices, port, family, place.node))
    ready = [one for one in members if one.source.ready]
    hinted = _topology(ready, place)
    any_ready_here = any(one.local for one in ready)
    return tuple(
        Judged(
            one.endpoint,
            _why_unfit(one.source, ready_ones=bool(ready)) or hinted.get(one.endpoint, ""),
            "not local" if not one.local else _why_unfit(one.source, ready_ones=any_ready_here),
            one.local and one.source.ready,
            one.source.serving,
            one.source.ready,
        )
        for one in members
    )


def usable(slices: Sequence[EndpointSlice], port: ServicePort, family: Family, place: Place) -> Usable:
    """Return what `judge` comes to, without the reasons.

    Nearly always all endpoints are ready and none has a hint; then there is little to be judged.
    """
    plain = _all_ready(slices, port, family, place.node)
    if plain is not None:
        return plain
    judged = judge(slices, port, family, place)
    return Usable(
        tuple(one.endpoint for one in judged if not one.not_in_cluster),
        tuple(one.endpoint for one in judged if not one.not_local),
        tuple(one.endpoint for one in judged if one.serving),
        tuple(one.endpoint for one in judged if one.ready_here),
    )


def _all_ready(slices: Sequence[EndpointSlice], port: ServicePort, family: Family, node: str | None) -> Usable | None:
    """Return what is usable where all endpoints are ready, without hints, each only once; else None."""
    found: dict[tuple[Address, Port], Endpoint] = {}
    local: list[Endpoint] = []
    count = 0
    for part in slices:
        for number in _numbers(part, port, family):
            for source in part.endpoints or ():
                conditions = source.conditions
                if source.hints is not None or (conditions is not None and conditions.ready is False):
                    return None
                if source.addresses:
                    address, name = source.addresses[0], source.node_name
                    here = name is not None and name == node
                    endpoint = Endpoint(address, number, here or node is None or name is None)
                    found[address, number] = endpoint
                    count += 1
                    if here:
                        local.append(endpoint)
    if len(found) < count:
        return None
    everybody = tuple(sorted(found.values(), key=_order)) if count > 1 else tuple(found.values())
    here_first = tuple(sorted(local, key=_order) if len(local) > 1 else local)
    return Usable(everybody, here_first, everybody, here_first)


class HintUse(NamedTuple):
    """What the ready endpoints of a Service port say about whose they are, by "node" or by "zone".

    `hinted` of them say something, `without` are those that do not; `here` tells whether one is for this node or zone.
    Such hints are followed where all have one and one is for here; those for nodes come before those for zones.
    """

    kind: str
    hinted: int
    without: tuple[Endpoint, ...]
    here: bool


def hint_uses(slices: Iterable[EndpointSlice], port: ServicePort, family: Family, place: Place) -> tuple[HintUse, ...]:
    """Return what becomes of the topology hints of a Service port: for nodes, then for zones."""
    ready = [one for one in _unique(_members(slices, port, family, place.node)) if one.source.ready]
    uses: list[HintUse] = []
    for kind, here in _kinds_of_hints(place):
        hints = [(one.endpoint, _hints(one.source, kind)) for one in ready]
        without = tuple(endpoint for endpoint, names in hints if not names)
        for_here = bool(here) and any(here in names for _, names in hints)
        uses.append(HintUse(kind, len(ready) - len(without), without, for_here))
    return tuple(uses)


def _kinds_of_hints(place: Place) -> tuple[tuple[str, str], ...]:
    """Return the kinds of hints with what they must name, first those that come first."""
    return ("node", place.node or ""), ("zone", place.zone)


def _why_unfit(source: SliceEndpoint, *, ready_ones: bool) -> str:
    """Return why an endpoint's conditions keep it from new connections, or ""."""
    if source.ready:
        return ""
    if source.draining:
        return "terminating" if ready_ones else ""
    conditions = source.conditions
    return "terminating, no longer serving" if conditions is not None and conditions.terminating else "not ready"


def _topology(ready: list[_Member], place: Place) -> dict[Endpoint, str]:
    """Return the ready endpoints that hints leave to others, with the reason; none where the hints are not followed.

    Hints are followed if every ready endpoint has one of the kind and at least one is for this node or zone; those for
    nodes come before those for zones.
    """
    for kind, here in _kinds_of_hints(place):
        hints = {one.endpoint: _hints(one.source, kind) for one in ready}
        if here and all(hints.values()) and any(here in names for names in hints.values()):
            return {endpoint: f"other {kind}" for endpoint, names in hints.items() if here not in names}
    return {}


def _hints(source: SliceEndpoint, kind: str) -> tuple[str, ...]:
    if source.hints is None:
        return ()
    return tuple(one.name for one in (source.hints.for_nodes if kind == "node" else source.hints.for_zones) or ())


def _unique(members: Iterable[_Member]) -> list[_Member]:
    """Keep one of each address and port, in canonical order: the one in the best condition, then the nearest."""
    best: dict[tuple[Address, Port], _Member] = {}
    for one in members:
        key = (one.endpoint.address, one.endpoint.port)
        if key not in best or _rank(one) < _rank(best[key]):
            best[key] = one
    return sorted(best.values(), key=lambda one: _order(one.endpoint))


def _order(endpoint: Endpoint) -> tuple[bytes, Port]:
    return address_order(endpoint.address), endpoint.port


def _rank(one: _Member) -> tuple[object, ...]:
    source = one.source
    terminating = source.conditions is not None and source.conditions.terminating is True
    named = (source.node_name is None, source.node_name or "")
    return (
        terminating,
        not source.ready,
        not source.draining,
        not one.local,
        *named,
        _hints(source, "node"),
        _hints(source, "zone"),
    )


def _members(slices: Iterable[EndpointSlice], port: ServicePort, family: Family, node: str | None) -> Iterator[_Member]:
    """Yield every endpoint that the slices give a Service port, whatever its condition."""
    for part in slices:
        numbers = _numbers(part, port, family)
        for source in (part.endpoints or ()) if numbers else ():
            if source.addresses:
                local = node is not None and source.node_name == node
                on_node = local or node is None or source.node_name is None
                for number in numbers:
                    yield _Member(Endpoint(source.addresses[0], number, on_node), source, local)


def _numbers(part: EndpointSlice, port: ServicePort, family: Family) -> list[Port]:
    """Return the ports that a Service port leads to in a slice; none where it has no endpoint there."""
    if part.address_type != family or LABEL_HEADLESS in part.labels:
        return []
    name, protocol = port.name, port.protocol
    return [
        one.port
        for one in part.ports or ()
        if one.port is not None and (one.name or "") == name and (one.protocol or TCP) == protocol
    ]
