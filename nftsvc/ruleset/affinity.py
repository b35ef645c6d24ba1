"""Session affinity: where a client that was here before goes again.

The endpoint that a new connection got is recorded once its destination has been translated, together with the client
and the frontend; the next connection finds the record before it would be balanced. Only pairs of frontend and endpoint
that the map of such pairs has are recorded, so nothing is recorded for an endpoint once it is gone.

IPv4 keeps one record of both the endpoint's address and its port, by client, frontend address, protocol and port. nft
1.0.6 writes records with at most 16 bytes of key and 16 of data (more, and the library aborts the process), which is
too little for IPv6. There the client is known by a hash of 32 bits, so some clients share an endpoint, the frontend's
address by one of 64, and address and port of the endpoint are in a map each.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from functools import cache

from nftsvc.ruleset.jhash import MODULUS, jhash
from nftsvc.ruleset.names import (
    AFFINITY,
    AFFINITY_ENDPOINTS,
    AFFINITY_NODEPORT_ENDPOINTS,
    BY_ADDRESS,
    BY_PORT,
    PROTOCOLS,
    Pool,
    affinity_maps,
    remember,
)
from nftsvc.ruleset.objects import NFT_FAMILY, Chain, Elements, Entry, Key, NamedSet, Rule, Table
from nftsvc.values import Family

_SEEDS = (1, 2)
_TRANSPORT = "meta l4proto { tcp, udp, sctp }"


def affinity_sets(family: Family) -> tuple[NamedSet, ...]:
    """Return the maps that packets write their records into."""
    purpose = "client . Service address . port : {} of the endpoint it had"
    if family == Family.IPV4:
        key = "ipv4_addr . ipv4_addr . inet_proto . inet_service"
        return (
            NamedSet(AFFINITY, key, "ipv4_addr . inet_service", dynamic=True, purpose=purpose.format("address . port")),
        )
    hashes = " . ".join(["numgen random mod 65536"] * 3)
    return tuple(
        NamedSet(name, f"{hashes} . {protocol} dport", data, dynamic=True, purpose=purpose.format(what))
        for protocol in PROTOCOLS
        for name, data, what in zip(
            affinity_maps(protocol), ("ip6 daddr", f"{protocol} dport"), ("address", "port"), strict=True
        )
    )


def lookup(family: Family, pool: Pool, count: int) -> Chain:
    """Return the chain that sends a client to the endpoint it had, or on to the chain that chooses one."""
    protocol = pool.protocol
    if family == Family.IPV4:
        where = f"ip saddr . ip daddr . meta l4proto . {protocol} dport map @{AFFINITY}"
    else:
        key = _hashed_key("ip6 daddr", f"{protocol} dport")
        where = " : ".join(f"{key} map @{name}" for name in affinity_maps(protocol))
    return Chain(
        pool.chain(count, affinity=True),
        (
            Rule.of(f"meta l4proto {protocol} dnat {NFT_FAMILY[family]} to {where}", "the endpoint that it had"),
            Rule.of(f"goto {pool.chain(count)}", "else any"),
        ),
    )


def recording(family: Family, seconds: int) -> Chain:
    """Return the chain that records a connection's endpoint, or starts the time anew."""
    timeout = f"timeout {seconds}s"
    if family == Family.IPV4:
        key = "ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst"
        rules = [(f"{_TRANSPORT} update @{AFFINITY} {{ {key} {timeout} : ip daddr . th dport }}", f"for {seconds} s")]
    else:
        key = _hashed_key("ct original ip6 daddr", "ct original proto-dst")
        rules = []
        for protocol in PROTOCOLS:
            addresses, ports = affinity_maps(protocol)
            updates = (
                f"update @{addresses} {{ {key} {timeout} : ip6 daddr }}"
                f" update @{ports} {{ {key} {timeout} : {protocol} dport }}"
            )
            rules.append((f"meta l4proto {protocol} {updates}", f"{protocol} for {seconds} s"))
    return Chain(remember(seconds), tuple(Rule.of(text, comment) for text, comment in rules))


def records(family: Family, original_node: str) -> tuple[Rule, ...]:
    """Return the rules that find out whether and for how long a connection's endpoint is to be recorded.

    `original_node` matches connections that were made to an address of this node.
    """
    original = f"ct original {NFT_FAMILY[family]} daddr"
    endpoint = f"{NFT_FAMILY[family]} daddr . th dport"
    port = "meta l4proto . ct original proto-dst"
    return (
        Rule.of(f"{_TRANSPORT} {original} . {port} . {endpoint} vmap @{AFFINITY_ENDPOINTS}", "Service addresses"),
        Rule.of(f"{_TRANSPORT} {original_node}{port} . {endpoint} vmap @{AFFINITY_NODEPORT_ENDPOINTS}", "node ports"),
    )


def _hashed_key(address: str, port: str) -> str:
    hashed = (("ip6 saddr", _SEEDS[0]), *((address, seed) for seed in _SEEDS))
    return " . ".join(f"jhash {what} mod {MODULUS} seed {seed}" for what, seed in hashed) + f" . {port}"


# What stays of the records -------------------------------------------------------------------------------------------


def kept_records(
    family: Family, current: Table | None, elements: Mapping[str, Elements]
) -> dict[str, dict[Key, Entry]]:
    """Return the records of the current table that still lead where they may, by map.

    Those of an endpoint that its frontend has no longer are left out, and all of a frontend whose traffic policy has
    changed, because who was outside may now be sent to this node's endpoints only.
    """
    if current is None:
        return {}
    changed = _changed_policy(current.elements, elements)
    if family == Family.IPV4:
        valid = {
            key: entry
            for key, entry in current.elements.get(AFFINITY, {}).items()
            if _is_valid(key[1:], entry.value, elements, changed)
        }
        return {AFFINITY: valid}
    return _kept_pairs(current, elements, changed)


def _kept_pairs(current: Table, elements: Mapping[str, Elements], changed: set[Key]) -> dict[str, dict[Key, Entry]]:
    kept: dict[str, dict[Key, Entry]] = {}
    known = {key[0] for key in elements.get(AFFINITY_ENDPOINTS, {})}
    by_hash: dict[Key, str] = {hashed_address(str(address)): str(address) for address in known}
    for protocol in PROTOCOLS:
        names = affinity_maps(protocol)
        addresses, ports = (current.elements.get(name, {}) for name in names)
        valid = []
        for key in addresses.keys() & ports.keys():
            frontend = (by_hash.get((key[1], key[2]), ""), protocol, key[3])
            if _is_valid(frontend, addresses[key].value + ports[key].value, elements, changed):
                valid.append(key)
        for name, records_there in zip(names, (addresses, ports), strict=True):
            kept[name] = {key: records_there[key] for key in valid}
    return kept


def _is_valid(frontend: Key, endpoint: Key, elements: Mapping[str, Elements], changed: set[Key]) -> bool:
    """Tell whether a record is of a frontend and an endpoint that belong together, by address or else by node port."""
    for key, name, way in (
        (frontend, AFFINITY_ENDPOINTS, BY_ADDRESS),
        (frontend[1:], AFFINITY_NODEPORT_ENDPOINTS, BY_PORT),
    ):
        if (*key, *endpoint) in elements.get(name, {}):
            return key not in changed
        if key in elements.get(way.verdicts, {}):
            return False
    return False


def _changed_policy(old: Mapping[str, Elements], new: Mapping[str, Elements]) -> set[Key]:
    """Return the frontends whose endpoints depend on where a client is, but did not, or the other way round."""
    changed: set[Key] = set()
    for way in (BY_ADDRESS, BY_PORT):
        changed |= old.get(way.inside, {}).keys() ^ new.get(way.inside, {}).keys()
    return changed


@cache
def hashed_address(address: str) -> tuple[int, int]:
    """Return what the records have in place of a frontend's IPv6 address."""
    packed = ipaddress.IPv6Address(address).packed
    first, second = (jhash(packed, seed) for seed in _SEEDS)
    return first, second


def timeouts(elements: Mapping[str, Elements]) -> Iterable[int]:
    """Return the time spans that records are made for, in seconds."""
    prefix = f"goto {remember(0)}".removesuffix("0")
    found = {
        str(entry.value[0]).removeprefix(prefix)
        for name in (AFFINITY_ENDPOINTS, AFFINITY_NODEPORT_ENDPOINTS)
        for entry in elements.get(name, {}).values()
    }
    return sorted(map(int, found))
