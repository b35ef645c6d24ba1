"""The plan as nftables objects: a forwarding table with a constant number of chains, rules and sets.

In: a Plan and the ruleset the kernel has (its slots are kept). Out: a Ruleset, one table per IP family. Every name of
a table, chain, map and set is given here, and every rule is written here. What the layout is and why: docs/kernel.md.

    packet --> nat prerouting/output --> services --> tcp-lb-N (DNAT to one of N endpoints; udp, sctp alike)
                                                  `-> tcp-nodeport-lb-N
           --> filter input/forward/output --> reject-connection (nobody to forward to)
           --> nat postrouting --> masquerade (node ports, hairpin)
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from nftsvc.plan import Frontend, FrontendKind, Plan, PortPlan
from nftsvc.slots import assign
from nftsvc.values import Address, Family, address_order

TABLE = "nftsvc"
LAYOUT = 1
NFT_FAMILY = {Family.IPV4: "ip", Family.IPV6: "ip6"}

SERVICE_IPS = "service-ips"
NODEPORT_IPS = "nodeport-ips"
NODEPORTS = "nodeports"
NO_ENDPOINTS = "no-endpoints"
NO_ENDPOINT_NODEPORTS = "no-endpoint-nodeports"
CLUSTER_IPS = "cluster-ips"
MASQUERADE_NODEPORTS = "masquerade-nodeports"
HAIRPIN = "hairpin"

VERDICT = "verdict"

LAYOUT_CHAIN = "layout"
REJECT = "reject-connection"

# One endpoint map for each protocol, because nft 1.0.6 cannot add a rule that uses a map it finds in the kernel if that
# map was declared with `th dport`: "conflicting protocols specified: tcp vs. th".
PROTOCOLS = ("tcp", "udp", "sctp")

# nft 1.0.6 takes 128 bytes of comment and refuses 129.
COMMENT_BYTES = 128
UNCUT_BYTES = COMMENT_BYTES - 9

Key = tuple[str | int, ...]


class Entry(NamedTuple):
    """What a key of a map leads to: the parts of the value (empty in a set), and the element's comment."""

    value: Key = ()
    comment: str = ""


Elements = Mapping[Key, Entry]


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set, or a map if it has `data`. `key` and `data` are nft type expressions; `counter` counts per element."""

    name: str
    key: str
    data: str = ""
    counter: bool = False
    purpose: str = field(default="", compare=False)

    @property
    def keyword(self) -> str:
        """Return nft's word for it."""
        return "map" if self.data else "set"

    @property
    def declaration(self) -> str:
        """Return nft's type statement; `typeof` where the key is made of expressions."""
        statement = "typeof" if "numgen" in self.key else "type"
        return f"{statement} {self.key} : {self.data}" if self.data else f"{statement} {self.key}"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Its text reads back from the kernel differently with each nft version, so rules are compared by their comments and
    `words`: the sets they look into, the chains they lead to, their verdicts.
    """

    text: str = field(compare=False)
    comment: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str, comment: str) -> "Rule":
        """Return a rule of ours."""
        return cls(text, comment, tuple(sorted(set(_WORDS.findall(text)))))


VERDICTS = ("accept", "drop", "return", "reject", "masquerade", "dnat", "jump", "goto")
_WORDS = re.compile(rf"@[\w-]+|(?<=jump )[\w-]+|(?<=goto )[\w-]+|(?<!status )\b(?:{'|'.join(VERDICTS)})\b")


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain meets packets."""

    type: str
    hook: str
    priority: int
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; a base chain if it has a hook."""

    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None
    purpose: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Table:
    """One family's table: named sets and maps, chains, and the elements of each set by its name."""

    family: Family
    sets: tuple[NamedSet, ...]
    chains: tuple[Chain, ...]
    elements: Mapping[str, Elements]
    flags: tuple[str, ...] = ()

    @property
    def layout(self) -> str:
        """The layout that the table says it has, or "" if it says nothing."""
        for chain in self.chains:
            if chain.name == LAYOUT_CHAIN and chain.rules:
                return chain.rules[0].comment
        return ""


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All of nftsvc's tables, by family; a family without a table is not in it."""

    tables: Mapping[Family, Table]


EMPTY = Ruleset({})
EMPTY_TABLE = Table(Family.IPV4, (), (), {})


def make_ruleset(plan: Plan, current: Ruleset = EMPTY) -> Ruleset:
    """Lower a plan to nft objects, keeping the slots that endpoints hold in the current ruleset."""
    return Ruleset({family: _table(plan, family, current.tables.get(family)) for family in plan.settings.families})


def _table(plan: Plan, family: Family, current: Table | None) -> Table:
    addresses = plan.settings.node_port_addresses.get(family, ())
    elements = _elements(plan, family, _Slots(current))
    elements[NODEPORT_IPS] = {(address,): Entry() for address in addresses}
    sets = _sets(family, restricted=bool(addresses))
    chains = _chains(family, elements, restricted=bool(addresses))
    named = {one.name: dict(sorted(elements[one.name].items(), key=_order)) for one in sets}
    return Table(family, sets, chains, named)


def _order(item: tuple[Key, Entry]) -> tuple[bytes | int | str, ...]:
    """Sort elements by address as a number, then protocol, port, slot."""
    return tuple(address_order(part) if isinstance(part, Address) else part for part in item[0])


# Elements ------------------------------------------------------------------------------------------------------------


class _Slots:
    """The slots in a table, by the endpoint map they are in and the frontend's part of the key."""

    def __init__(self, table: Table | None) -> None:
        self._found: dict[tuple[str, Key], dict[int, Key]] = defaultdict(dict)
        for name, elements in table.elements.items() if table is not None else ():
            if name in _ENDPOINT_MAPS:
                for key, entry in elements.items():
                    if isinstance(key[-1], int):
                        self._found[name, key[:-1]][key[-1]] = entry.value

    def of(self, name: str, frontend: Key, endpoints: int) -> tuple[Key | None, ...]:
        """Return who holds each slot; no further than twice the endpoints wanted, whatever the kernel has."""
        held = self._found.get((name, frontend), {})
        last = min(max(held, default=-1) + 1, 2 * (endpoints + len(held)))
        return tuple(held.get(slot) for slot in range(last))


def _elements(plan: Plan, family: Family, slots: _Slots) -> dict[str, dict[Key, Entry]]:
    elements: dict[str, dict[Key, Entry]] = defaultdict(dict)
    for port in plan.ports:
        if port.family == family:
            for frontend in port.frontends:
                _add_frontend(elements, port, frontend, slots)
            for endpoint in port.endpoints:
                if endpoint.on_node:
                    elements[HAIRPIN][endpoint.address, endpoint.address] = Entry()
    return elements


def _add_frontend(elements: dict[str, dict[Key, Entry]], port: PortPlan, frontend: Frontend, slots: _Slots) -> None:
    """Add one way in: its verdict, its endpoints in their slots, and what else must know of it."""
    protocol, number = port.protocol.lower(), int(frontend.port)
    address: Key = () if frontend.address is None else (frontend.address,)
    maps, key, without_protocol = _maps(frontend, protocol), (*address, protocol, number), (*address, number)
    comment = cut_comment(port.name)
    if not port.endpoints:
        elements[maps.rejected][key] = Entry((f"goto {REJECT}",), comment)
    else:
        elements[maps.verdicts][key] = Entry((f"goto {maps.chain}{len(port.endpoints)}",), comment)
        wanted: list[Key] = [(endpoint.address, int(endpoint.port)) for endpoint in port.endpoints]
        for slot, endpoint in enumerate(assign(wanted, slots.of(maps.endpoints, without_protocol, len(wanted)))):
            elements[maps.endpoints][*without_protocol, slot] = Entry(endpoint)
        if frontend.masquerade:
            elements[MASQUERADE_NODEPORTS][key] = Entry()
    if frontend.address is not None:
        elements[CLUSTER_IPS][address] = Entry()


class _Maps(NamedTuple):
    """The maps and the chain prefix that a kind of frontend lives in."""

    verdicts: str
    endpoints: str
    rejected: str
    chain: str


def _maps(frontend: Frontend, protocol: str) -> _Maps:
    return (_BY_PORT if frontend.kind is FrontendKind.NODE_PORT else _BY_ADDRESS)[protocol]


_BY_ADDRESS = {one: _Maps(SERVICE_IPS, f"{one}-endpoints", NO_ENDPOINTS, f"{one}-lb-") for one in PROTOCOLS}
_BY_PORT = {
    one: _Maps(NODEPORTS, f"{one}-nodeport-endpoints", NO_ENDPOINT_NODEPORTS, f"{one}-nodeport-lb-")
    for one in PROTOCOLS
}
_ENDPOINT_MAPS = {maps.endpoints: protocol for by in (_BY_ADDRESS, _BY_PORT) for protocol, maps in by.items()}


def frontend_key(name: str, key: Key) -> Key | None:
    """Return the frontend (its key in a verdict map) of an element of the named set; None if it may serve several."""
    if name in _ENDPOINT_MAPS:
        return (*key[:-2], _ENDPOINT_MAPS[name], *key[-2:-1])
    return None if name in (HAIRPIN, NODEPORT_IPS, CLUSTER_IPS) else key


def cut_comment(text: str) -> str:
    """Return the text, or its beginning and a digest of the whole where it is longer than nft's comments may be."""
    if len(text.encode()) <= COMMENT_BYTES:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return text.encode()[:UNCUT_BYTES].decode(errors="ignore") + "~" + digest


# Skeleton ------------------------------------------------------------------------------------------------------------


def _sets(family: Family, *, restricted: bool) -> tuple[NamedSet, ...]:
    """Return the sets and maps in reading order."""
    address = "ipv4_addr" if family == Family.IPV4 else "ipv6_addr"
    by_address, by_port = f"{address} . inet_proto . inet_service", "inet_proto . inet_service"
    sets = (
        NamedSet(SERVICE_IPS, by_address, VERDICT, counter=True, purpose="Service address . protocol . port"),
        *(_endpoint_map(family, maps, protocol) for protocol, maps in _BY_ADDRESS.items()),
        NamedSet(NO_ENDPOINTS, by_address, VERDICT, counter=True, purpose="Service ports that nobody answers"),
        NamedSet(CLUSTER_IPS, address, purpose="addresses of Services; their other ports are closed"),
        NamedSet(NODEPORT_IPS, address, purpose="this node's addresses that node ports answer on"),
        NamedSet(NODEPORTS, by_port, VERDICT, counter=True, purpose="protocol . node port"),
        *(_endpoint_map(family, maps, protocol) for protocol, maps in _BY_PORT.items()),
        NamedSet(NO_ENDPOINT_NODEPORTS, by_port, VERDICT, counter=True, purpose="node ports that nobody answers"),
        NamedSet(MASQUERADE_NODEPORTS, by_port, purpose="node ports whose answers must come back through this node"),
        NamedSet(HAIRPIN, f"{address} . {address}", purpose="endpoints on this node, to see one that reaches itself"),
    )
    return sets if restricted else tuple(one for one in sets if one.name != NODEPORT_IPS)


def _endpoint_map(family: Family, maps: _Maps, protocol: str) -> NamedSet:
    ip = NFT_FAMILY[family]
    if maps is _BY_ADDRESS[protocol]:
        key, purpose = f"{ip} daddr . {protocol} dport", "Service address . port . slot : endpoint"
    else:
        key, purpose = f"{protocol} dport", "node port . slot : endpoint"
    slot, endpoint = "numgen random mod 65536", f"{ip} daddr . {protocol} dport"
    return NamedSet(maps.endpoints, f"{key} . {slot}", endpoint, purpose=purpose)


def _chains(family: Family, elements: Mapping[str, Elements], *, restricted: bool) -> tuple[Chain, ...]:
    """Return the chains in reading order, base chains last."""
    fixed = _fixed_chains(family, restricted=restricted)
    balancers = [
        _balancer(family, maps, protocol, count)
        for by in (_BY_ADDRESS, _BY_PORT)
        for protocol, maps in by.items()
        for count in sorted(_counts(elements.get(maps.verdicts, {}), maps.chain))
    ]
    return (_layout(family, fixed, restricted=restricted), *fixed[:1], *balancers, *fixed[1:])


def _counts(verdicts: Elements, prefix: str) -> set[int]:
    """Return the numbers of endpoints that verdicts into the chains with a prefix need."""
    chains = {str(entry.value[0]).removeprefix("goto ") for entry in verdicts.values()}
    return {int(name.removeprefix(prefix)) for name in chains if name.startswith(prefix)}


def _balancer(family: Family, maps: _Maps, protocol: str, count: int) -> Chain:
    """Return the DNAT chain of every frontend with that many endpoints: statistic mode, one random slot of N."""
    ip = NFT_FAMILY[family]
    address = f"{ip} daddr . " if maps is _BY_ADDRESS[protocol] else ""
    # nft wants the protocol said before a dnat that takes the port from a map.
    text = (
        f"meta l4proto {protocol} dnat {ip} to"
        f" {address}{protocol} dport . numgen random mod {count} map @{maps.endpoints}"
    )
    return Chain(f"{maps.chain}{count}", (Rule.of(text, f"one of {count}"),))


def _layout(family: Family, fixed: Iterable[Chain], *, restricted: bool) -> Chain:
    """Return the chain that names the layout: a number for people and a digest of everything that makes it up."""
    parts: list[object] = [_sets(family, restricted=restricted)]
    balancers = [
        _balancer(family, maps, protocol, 1) for by in (_BY_ADDRESS, _BY_PORT) for protocol, maps in by.items()
    ]
    for chain in (*fixed, *balancers):
        parts += [chain.name, chain.hook, *(rule.text for rule in chain.rules)]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
    return Chain(LAYOUT_CHAIN, (Rule.of("return", f"nftsvc layout {LAYOUT}.{digest}"),), purpose="never entered")


def _fixed_chains(family: Family, *, restricted: bool) -> tuple[Chain, ...]:
    ip = NFT_FAMILY[family]
    loopback = "127.0.0.0/8" if family == Family.IPV4 else "::1"
    node = f"{ip} daddr @{NODEPORT_IPS}" if restricted else f"fib daddr type local {ip} daddr != {loopback}"
    by_address, by_port = f"{ip} daddr . meta l4proto . th dport", "meta l4proto . th dport"
    services = Chain(
        "services",
        (
            Rule.of(f"{by_address} vmap @{SERVICE_IPS}", "Service addresses"),
            Rule.of(f"{node} {by_port} vmap @{NODEPORTS}", "node ports"),
        ),
        purpose="finds the Service of a new connection",
    )
    rejected = Rule.of(f"ct state new {by_address} vmap @{NO_ENDPOINTS}", "Services without endpoints")
    closed = Rule.of(f"ct state new {ip} daddr @{CLUSTER_IPS} goto {REJECT}", "ports that no Service has")
    rejected_nodeports = Rule.of(
        f"ct state new {node} {by_port} vmap @{NO_ENDPOINT_NODEPORTS}", "node ports without endpoints"
    )
    to_services = (Rule.of("jump services", "to Services"),)
    return (
        Chain(REJECT, (Rule.of("reject", "port unreachable"),), purpose="tells the client at once"),
        services,
        Chain("nat-prerouting", to_services, Hook("nat", "prerouting", -100)),
        Chain("nat-output", to_services, Hook("nat", "output", -100)),
        Chain("nat-postrouting", tuple(_masquerading(ip, restricted=restricted)), Hook("nat", "postrouting", 100)),
        Chain("filter-input", (rejected, rejected_nodeports), Hook("filter", "input", 0)),
        Chain("filter-forward", (rejected, closed), Hook("filter", "forward", 0)),
        Chain("filter-output", (rejected, closed), Hook("filter", "output", 0)),
    )


def _masquerading(ip: str, *, restricted: bool) -> Iterator[Rule]:
    yield Rule.of(f"ct status dnat {ip} saddr . {ip} daddr @{HAIRPIN} masquerade fully-random", "hairpin")
    # Without a list of node addresses, what is no Service address must be one: nft cannot ask the routing table (fib)
    # about the original destination.
    original = f"ct original {ip} daddr"
    node = f"{original} @{NODEPORT_IPS}" if restricted else f"{original} != @{CLUSTER_IPS}"
    yield Rule.of(
        f"ct status dnat {node} meta l4proto {{ tcp, udp, sctp }}"
        f" meta l4proto . ct original proto-dst @{MASQUERADE_NODEPORTS} masquerade fully-random",
        "node ports",
    )
