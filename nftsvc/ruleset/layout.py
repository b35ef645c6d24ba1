"""The sets, maps, chains and rules of a table: all that is the same whatever Services there are.

packet --> filter prerouting/output (before DNAT): source ranges
--> nat prerouting/output --> services --> tcp-lb-N (DNAT to one of N endpoints; udp, sctp alike)
|-> tcp-lb-N-affinity (the endpoint it had, else tcp-lb-N)
|-> local-ips (traffic policy Local) --> tcp-lb-N, tcp-local-lb-N
`-> tcp-nodeport-lb-N and so on: the same by node port
--> filter input/forward/output (after DNAT) --> reject-connection, drop
--> nat postrouting/input --> remember (affinity); hairpin, masquerade
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property, lru_cache
from typing import NamedTuple

from nftsvc.plan import Masquerade, cluster_ip_masquerade
from nftsvc.ruleset import affinity
from nftsvc.ruleset.names import (
    ALLOWED_SOURCES,
    BY_ADDRESS,
    BY_PORT,
    CLUSTER_IPS,
    GUARDED_IPS,
    HAIRPIN,
    MASQUERADE_ALWAYS,
    MASQUERADE_CLUSTER_IP,
    MASQUERADE_OWN,
    MASQUERADING,
    NODEPORT_IPS,
    POD_CIDRS,
    POOLS,
    REJECT,
    REMEMBER,
    SERVICE_CIDRS,
    UNSERVED,
    Pool,
    Way,
)
from nftsvc.ruleset.objects import (
    LAYOUT_CHAIN,
    NFT_FAMILY,
    VERDICT,
    Chain,
    Entry,
    Hook,
    Key,
    NamedSet,
    Rule,
)
from nftsvc.settings import Detector, DetectorKind, NodeSettings
from nftsvc.values import MAX_INTERFACE, Family

LAYOUT = 3

_UNTRANSLATED = "ct state new ct status ! dnat"
_TRANSPORT = "meta l4proto { tcp, udp, sctp }"
_BEFORE_DNAT, _DNAT, _FILTER, _SNAT = -110, -100, 0, 100


def sets_of(settings: NodeSettings, family: Family) -> tuple[NamedSet, ...]:
    """Return the sets and maps in reading order."""
    address = "ipv4_addr" if family == Family.IPV4 else "ipv6_addr"
    frontend = f"{address} . inet_proto . inet_service"
    sets = (
        *_way_sets(BY_ADDRESS, frontend, "address . protocol . port", family),
        NamedSet(CLUSTER_IPS, address, purpose="cluster IPs; their other ports are closed"),
        NamedSet(SERVICE_CIDRS, address, interval=True, purpose="where cluster IPs come from; nobody is at the others"),
        NamedSet(GUARDED_IPS, frontend, purpose="load-balancer IPs that are for some sources only"),
        NamedSet(ALLOWED_SOURCES, f"{frontend} . {address}", interval=True, purpose="those sources"),
        NamedSet(
            NODEPORT_IPS,
            address,
            interval=family in settings.node_port_networks,
            purpose="this node's addresses that node ports answer on",
        ),
        *_way_sets(BY_PORT, "inet_proto . inet_service", "protocol . node port", family),
        NamedSet(POD_CIDRS, address, interval=True, purpose="sources that are Pods of this node"),
        NamedSet(HAIRPIN, f"{address} . {address}", purpose="endpoints on this node, to see one that reaches itself"),
        *affinity.affinity_sets(family),
    )
    return sets if _is_restricted(settings, family) else tuple(one for one in sets if one.name != NODEPORT_IPS)


def _is_restricted(settings: NodeSettings, family: Family) -> bool:
    return bool(settings.node_port_addresses.get(family) or settings.node_port_networks.get(family))


def _way_sets(way: Way, key: str, words: str, family: Family) -> Iterator[NamedSet]:
    yield NamedSet(way.verdicts, key, VERDICT, counter=True, purpose=f"Service ports: {words}")
    for pool in POOLS:
        if pool.way is way and not pool.local:
            yield _endpoint_map(family, pool)
    yield NamedSet(way.inside, key, VERDICT, purpose="traffic policy Local, from this node and its Pods")
    yield NamedSet(way.outside, key, VERDICT, purpose="traffic policy Local, from everybody else")
    for pool in POOLS:
        if pool.way is way and pool.local:
            yield _endpoint_map(family, pool)
    yield NamedSet(way.rejected, key, VERDICT, counter=True, purpose="Service ports that lead to no endpoint")
    yield NamedSet(way.masquerade, key, VERDICT, purpose="whose answers must come back through this node")
    address = "ipv4_addr" if family == Family.IPV4 else "ipv6_addr"
    yield NamedSet(
        way.affinity,
        f"{key} . {address} . inet_service",
        VERDICT,
        purpose="Service ports with affinity . endpoint : for how long",
    )


def _endpoint_map(family: Family, pool: Pool) -> NamedSet:
    ip, protocol = NFT_FAMILY[family], pool.protocol
    key = f"{ip} daddr . {protocol} dport" if pool.way is BY_ADDRESS else f"{protocol} dport"
    words = "address . port" if pool.way is BY_ADDRESS else "node port"
    purpose = f"{'on this node: ' * pool.local}{words} . slot : endpoint"
    return NamedSet(
        pool.endpoints, f"{key} . numgen random mod 65536", f"{ip} daddr . {protocol} dport", purpose=purpose
    )


# Chains --------------------------------------------------------------------------------------------------------------


class Layout:
    """What one family's table has under some settings, whatever Services there are."""

    def __init__(self, settings: NodeSettings, family: Family) -> None:
        self.family = family
        self._settings = settings
        self._made: tuple[_Used | None, tuple[Chain, ...]] = None, ()

    @cached_property
    def sets(self) -> tuple[NamedSet, ...]:
        """The sets and maps in reading order."""
        return sets_of(self._settings, self.family)

    @cached_property
    def networks(self) -> dict[str, dict[Key, Entry]]:
        """The elements that come from the settings, by the name of their set."""
        settings, family = self._settings, self.family
        detector = settings.detectors.get(family)
        listed: dict[str, tuple[str, ...]] = {
            NODEPORT_IPS: settings.node_port_addresses.get(family) or settings.node_port_networks.get(family, ()),
            SERVICE_CIDRS: settings.service_cidrs.get(family, ()),
            POD_CIDRS: (detector.value,) if detector is not None and detector.kind is DetectorKind.SOURCE else (),
        }
        return {name: {(one,): Entry() for one in found} for name, found in listed.items()}

    @cached_property
    def _name(self) -> Chain:
        """The chain that names the layout, whatever of it is in use."""
        family = self.family
        samples = [
            *(chain for pool in POOLS for chain in (_balancer(family, pool, 1), affinity.lookup(family, pool, 1))),
            affinity.recording(family, 1),
        ]
        everything, least = _Used(*_Used._fields), _Used.of(())
        return _layout(self.sets, (*self._fixed(everything), *self._fixed(least), *samples))

    def _fixed(self, used: "_Used") -> tuple[Chain, ...]:
        """Return the chains that do not depend on what elements lead to, but on whether there are any."""
        if self._made[0] != used:
            self._made = used, _fixed_chains(self._settings, self.family, used)
        return self._made[1]

    def chains(self, verdicts: Collection[str]) -> tuple[Chain, ...]:
        """Return the chains in reading order, base chains last; of those that come and go those that are in use.

        `verdicts` are those of the elements and the names of sets that are not empty, each once: see `verdicts_of`.
        """
        varying = [
            *(chain for pool in POOLS for chain in _balancers(self.family, pool, verdicts)),
            *(affinity.recording(self.family, seconds) for seconds in affinity.timeouts(verdicts)),
        ]
        first, *others = self._fixed(_Used.of(verdicts))
        return (self._name, first, *varying, *others)


class _Used(NamedTuple):
    """Which parts of the layout anybody uses; rules of the others would cost every new connection for nothing."""

    affinity: object
    guards: object
    external: object
    node_ports: object

    @classmethod
    def of(cls, verdicts: Collection[str]) -> "_Used":
        """Find out from what elements lead to."""
        remembers = any(True for _ in affinity.timeouts(verdicts))
        return cls(remembers, *(name in verdicts for name in (GUARDED_IPS, BY_ADDRESS.masquerade, BY_PORT.masquerade)))


def chains_of(settings: NodeSettings, family: Family, verdicts: Collection[str]) -> tuple[Chain, ...]:
    """Return the chains of a table; see Layout."""
    return Layout(settings, family).chains(verdicts)


def _balancers(family: Family, pool: Pool, verdicts: Collection[str]) -> Iterator[Chain]:
    """Yield the chains of a pool that verdicts lead to."""
    named = re.compile(rf"goto {re.escape(pool.chain(0)).removesuffix('0')}(\d+)(-affinity)?")
    found = {(int(match[1]), bool(match[2])) for verdict in verdicts if (match := named.fullmatch(verdict))}
    for count in sorted({count for count, _ in found}):
        yield _balancer(family, pool, count)
        if (count, True) in found:
            yield affinity.lookup(family, pool, count)


@lru_cache(maxsize=4096)
def _balancer(family: Family, pool: Pool, count: int) -> Chain:
    """Return the DNAT chain of every frontend with that many endpoints: statistic mode, one random slot of N."""
    ip, protocol = NFT_FAMILY[family], pool.protocol
    address = f"{ip} daddr . " if pool.way is BY_ADDRESS else ""
    # nft wants the protocol said before a dnat that takes the port from a map.
    text = (
        f"meta l4proto {protocol} dnat {ip} to"
        f" {address}{protocol} dport . numgen random mod {count} map @{pool.endpoints}"
    )
    return Chain(pool.chain(count), (Rule.of(text, f"one of {count}"),))


def _layout(sets: tuple[NamedSet, ...], chains: Iterable[Chain]) -> Chain:
    """Return the chain that names the layout: a number for people, a digest of the sets and one of the rules."""
    declared = [(one.name, one.declaration) for one in sets]
    ruled = [(chain.name, chain.hook, *(rule.text for rule in chain.rules)) for chain in chains]
    comment = f"nftsvc layout {LAYOUT}.{_digest(declared)}.{_digest(ruled)}"
    return Chain(LAYOUT_CHAIN, (Rule.of("return", comment),), purpose="never entered")


def _digest(parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _fixed_chains(settings: NodeSettings, family: Family, used: _Used) -> tuple[Chain, ...]:
    ip = NFT_FAMILY[family]
    by_address, by_port = f"{ip} daddr . meta l4proto . th dport", "meta l4proto . th dport"
    node = f"{_node(settings, family)} {by_port}"
    original_node = f"ct original {ip} daddr @{NODEPORT_IPS} " if _is_restricted(settings, family) else ""
    services = Chain(
        "services",
        (
            Rule.of(f"{by_address} vmap @{BY_ADDRESS.verdicts}", "Service addresses"),
            Rule.of(f"{node} vmap @{BY_PORT.verdicts}", "node ports"),
        ),
        purpose="finds the Service of a new connection",
    )
    to_services = (Rule.of("jump services", "to Services"),)
    remember = affinity.records(family, original_node)
    recording = Chain(REMEMBER, remember, purpose="records the endpoints of clients that stay")
    return (
        Chain(REJECT, (Rule.of("reject", "port unreachable"),), purpose="tells the client at once"),
        _by_source(settings, family, BY_ADDRESS, by_address),
        _by_source(settings, family, BY_PORT, by_port),
        services,
        *((recording,) if used.affinity else ()),
        Chain(MASQUERADE_ALWAYS, (Rule.of("masquerade fully-random", "whoever it is"),)),
        Chain(MASQUERADE_OWN, (Rule.of("fib saddr type local masquerade fully-random", "this node"),)),
        Chain(MASQUERADE_CLUSTER_IP, tuple(_cluster_ip_masquerading(settings, family))),
        Chain(
            MASQUERADING,
            tuple(_masquerading(settings, family, original_node, used)),
            purpose="connections to Services: whose answers must come back through this node",
        ),
        _unserved(ip, by_address),
        *(_guard_chains(ip, by_address) if used.guards else ()),
        Chain("nat-prerouting", to_services, Hook("nat", "prerouting", _DNAT)),
        Chain("nat-output", to_services, Hook("nat", "output", _DNAT)),
        Chain(
            "nat-postrouting",
            (Rule.of(f"ct status dnat goto {MASQUERADING}", "connections to Services"),),
            Hook("nat", "postrouting", _SNAT),
        ),
        *((Chain("nat-input", (_affinity(),), Hook("nat", "input", _SNAT)),) if used.affinity else ()),
        *_filter_chains(by_address, node),
    )


def _node(settings: NodeSettings, family: Family) -> str:
    """Return what matches the addresses that node ports answer on."""
    ip, loopback = NFT_FAMILY[family], "127.0.0.0/8" if family == Family.IPV4 else "::1"
    listed = f"{ip} daddr @{NODEPORT_IPS}"
    if settings.node_port_addresses.get(family):
        return listed
    local = f"fib daddr type local {ip} daddr != {loopback}"
    return f"{local} {listed}" if settings.node_port_networks.get(family) else local


def _inside(detector: Detector, family: Family, operator: str = "") -> str:
    """Return what matches packets of this node's Pods, or with the operator != all others."""
    match detector.kind:
        case DetectorKind.SOURCE:
            return f"{NFT_FAMILY[family]} saddr {operator}@{POD_CIDRS}"
        case DetectorKind.INTERFACE:
            return f'iifname {operator}"{detector.value}"'
        case DetectorKind.INTERFACE_PREFIX:
            star = "*" * (len(detector.value) < MAX_INTERFACE)  # nft 1.0.6 takes no longer name, and there is none
            return f'iifname {operator}"{detector.value}{star}"'


def _by_source(settings: NodeSettings, family: Family, way: Way, key: str) -> Chain:
    """Return the chain for traffic policy Local: whose endpoints it is depends on the client."""
    detector = settings.detectors.get(family)
    pods = (Rule.of(f"{_inside(detector, family)} {key} vmap @{way.inside}", "Pods of this node"),) if detector else ()
    rules = (
        *pods,
        Rule.of(f"fib saddr type local {key} vmap @{way.inside}", "this node"),
        Rule.of(f"{key} vmap @{way.outside}", "everybody else"),
    )
    return Chain(way.by_source, rules, purpose="traffic policy Local")


def _affinity() -> Rule:
    return Rule.of(f"ct status dnat jump {REMEMBER}", "affinity")


def _masquerading(settings: NodeSettings, family: Family, original_node: str, used: _Used) -> Iterator[Rule]:
    ip = NFT_FAMILY[family]
    original, port = f"ct original {ip} daddr", "meta l4proto . ct original proto-dst"
    if used.affinity:
        yield Rule.of(f"jump {REMEMBER}", "affinity")
    yield Rule.of(f"{ip} saddr . {ip} daddr @{HAIRPIN} masquerade fully-random", "hairpin")
    if used.external:
        yield Rule.of(f"{_TRANSPORT} {original} . {port} vmap @{BY_ADDRESS.masquerade}", "external addresses")
    masquerade = cluster_ip_masquerade(settings, family)
    if masquerade is not Masquerade.NOBODY or used.node_ports:
        detector = settings.detectors.get(family)
        # The last rule must not see what is for a cluster IP, unless it asks for addresses that are the node's own.
        ends = used.node_ports and not settings.node_port_addresses.get(family)
        # Most connections are those of Pods: they need no look at a set that is too large for the processor's cache.
        others = detector if masquerade is Masquerade.OTHERS_THAN_LOCAL_PODS and not ends else None
        who = f"{_inside(others, family, '!= ')} " if others is not None else ""
        yield Rule.of(f"{who}{original} @{CLUSTER_IPS} goto {MASQUERADE_CLUSTER_IP}", "cluster IPs")
    # Without a list of node addresses, what is no Service address must be one: nft cannot ask the routing table (fib)
    # about the original destination.
    if used.node_ports:
        yield Rule.of(f"{_TRANSPORT} {original_node}{port} vmap @{BY_PORT.masquerade}", "node ports")


def _cluster_ip_masquerading(settings: NodeSettings, family: Family) -> Iterator[Rule]:
    detector = settings.detectors.get(family)
    match cluster_ip_masquerade(settings, family):
        case Masquerade.EVERYBODY:
            yield Rule.of("masquerade fully-random", "whoever it is")
        case Masquerade.OTHERS_THAN_LOCAL_PODS if detector is not None:
            yield Rule.of(f"{_inside(detector, family, '!= ')} masquerade fully-random", "no Pod of this node")


def _guard_chains(ip: str, by_address: str) -> tuple[Chain, ...]:
    rule = Rule.of(
        f"ct state new {by_address} @{GUARDED_IPS} {by_address} . {ip} saddr != @{ALLOWED_SOURCES} drop",
        "source ranges",
    )
    return (
        Chain("guard-prerouting", (rule,), Hook("filter", "prerouting", _BEFORE_DNAT)),
        Chain("guard-output", (rule,), Hook("filter", "output", _BEFORE_DNAT)),
    )


def _unserved(ip: str, by_address: str) -> Chain:
    """Return the chain for new connections that no Service took."""
    rules = (
        Rule.of(f"{by_address} vmap @{BY_ADDRESS.rejected}", "Services without endpoints"),
        Rule.of(f"{ip} daddr @{CLUSTER_IPS} goto {REJECT}", "ports that no Service has"),
        Rule.of(f"{ip} daddr @{SERVICE_CIDRS} drop", "addresses that no Service has"),
    )
    return Chain(UNSERVED, rules, purpose="connections that no Service took, although it might have")


def _filter_chains(by_address: str, node: str) -> tuple[Chain, ...]:
    to_unserved = Rule.of(f"{_UNTRANSLATED} jump {UNSERVED}", "connections that no Service took")
    rejected = Rule.of(f"{_UNTRANSLATED} {by_address} vmap @{BY_ADDRESS.rejected}", "Services without endpoints")
    rejected_nodeports = Rule.of(f"{_UNTRANSLATED} {node} vmap @{BY_PORT.rejected}", "node ports without endpoints")
    return (
        Chain("filter-input", (rejected, rejected_nodeports), Hook("filter", "input", _FILTER)),
        Chain("filter-forward", (to_unserved,), Hook("filter", "forward", _FILTER)),
        Chain("filter-output", (to_unserved,), Hook("filter", "output", _FILTER)),
    )
