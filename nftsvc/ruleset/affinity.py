"""Session affinity: where a client that was here before goes again.

The endpoint that a new connection got is recorded once its destination has been translated, together with the client
and the frontend; the next connection finds the record before it would be balanced. Only pairs of frontend and endpoint
that the map of such pairs has are recorded, so nothing is recorded for an endpoint once it is gone.

IPv4 keeps one record of both the endpoint's address and its port, by client, frontend address, protocol and port. nft
1.0.6 writes records with at most 16 bytes of key and 16 of data (more, and the library aborts the process), which is
too little for IPv6. There the client is known by a hash of 32 bits, so some clients share an endpoint, the frontend's
address by one of 64, and address and port of the endpoint are in a map each.
"""

from collections.abc import Collection, Iterable
from functools import lru_cache

from nftsvc.ruleset.jhash import MODULUS
from nftsvc.ruleset.names import (
    AFFINITY,
    AFFINITY_ENDPOINTS,
    AFFINITY_NODEPORT_ENDPOINTS,
    PROTOCOLS,
    Pool,
    affinity_maps,
    remember,
)
from nftsvc.ruleset.objects import NFT_FAMILY, Chain, NamedSet, Rule
from nftsvc.ruleset.records import SEEDS
from nftsvc.values import Family

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


@lru_cache(maxsize=4096)
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


@lru_cache(maxsize=4096)
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
    hashed = (("ip6 saddr", SEEDS[0]), *((address, seed) for seed in SEEDS))
    return " . ".join(f"jhash {what} mod {MODULUS} seed {seed}" for what, seed in hashed) + f" . {port}"


def timeouts(verdicts: Collection[str]) -> Iterable[int]:
    """Return the time spans that records are made for, in seconds."""
    prefix = f"goto {remember(0)}".removesuffix("0")
    return sorted(int(one.removeprefix(prefix)) for one in verdicts if one.startswith(prefix))
