"""Can the world for packets be believed? Rules written by hand, one for each fate, and packets from everywhere."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from string import Template

import pytest

from tests.support.packets import Endpoint, Outcome, Packet, disagreement
from tests.support.world import World

ADDRESSES = {
    "plain": ("10.96.0.10", "fd00:96::10"),
    "masqueraded": ("10.96.0.11", "fd00:96::11"),
    "own": ("10.96.0.12", "fd00:96::12"),
    "lonely": ("10.96.0.13", "fd00:96::13"),
    "sticky": ("10.96.0.14", "fd00:96::14"),
    "other": ("203.0.113.5", "2001:db8:203::5"),
    "node": ("192.0.2.11", "2001:db8::11"),
    "second": ("192.0.2.111", "2001:db8::111"),
    "neighbour": ("192.0.2.12", "2001:db8::12"),
    "pod": ("10.244.1.7", "fd00:244:1::7"),
    "sender": ("10.244.1.8", "fd00:244:1::8"),
    "bridged": ("10.244.1.200", "fd00:244:1::200"),
    "bridgedsender": ("10.244.1.201", "fd00:244:1::201"),
    "remote": ("10.244.2.9", "fd00:244:2::9"),
    "remotesender": ("10.244.2.20", "fd00:244:2::20"),
    "client": ("198.51.100.10", "2001:db8:100::10"),
}
REJECTED, DROPPED, FREE = 81, 82, 83
RULES = Template("""
table $ip nftsvc
delete table $ip nftsvc
table $ip nftsvc {
    chain services {
        $ip daddr { $plain, $masqueraded } $service dnat $ip to numgen inc mod 3 map $endpoints
        $ip daddr $own $service dnat $ip to $at_node
        $ip daddr $lonely $service dnat $ip to $at_pod
        $ip daddr $sticky $service dnat $ip to jhash $ip saddr mod 3 map $endpoints
    }
    chain nat-prerouting {
        type nat hook prerouting priority -100
        jump services
    }
    chain nat-output {
        type nat hook output priority -100
        jump services
    }
    chain nat-postrouting {
        type nat hook postrouting priority 100
        ct original $ip daddr { $masqueraded, $own } masquerade fully-random
        $hairpin
    }
    chain verdicts {
        meta l4proto { tcp, udp, sctp } th dport $rejected reject
        meta l4proto { tcp, udp, sctp } th dport $dropped drop
    }
    chain filter-input {
        type filter hook input priority 0
        jump verdicts
    }
    chain filter-forward {
        type filter hook forward priority 0
        jump verdicts
    }
    chain filter-output {
        type filter hook output priority 0
        jump verdicts
    }
}
""")
THREE = ("pod", "bridged", "remote")
SENDERS = ("sender", "bridgedsender", "node", "client", "neighbour", "remotesender")
every_protocol = pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
both_families = pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])


def rules(hairpin: str = "ct status dnat $ip saddr . $ip daddr { $pod . $pod } masquerade fully-random") -> str:
    return "".join(map(RULES.substitute, (words(six=False, hairpin=hairpin), words(six=True, hairpin=hairpin))))


def words(*, six: bool, hairpin: str) -> dict[str, str]:
    made = {name: pair[six] for name, pair in ADDRESSES.items()}
    made |= {"ip": "ip6" if six else "ip", "rejected": str(REJECTED), "dropped": str(DROPPED)}
    made |= {f"at_{name}": (f"[{made[name]}]" if six else made[name]) + ":8080" for name in ("node", "pod")}
    made["service"] = "meta l4proto { tcp, udp, sctp } th dport 80"
    three = enumerate(made[name] for name in THREE)
    made["endpoints"] = "{ " + ", ".join(f"{slot} : {address} . 8080" for slot, address in three) + " }"
    return made | {"hairpin": Template(hairpin).substitute(made)}


def ends(six: bool, *names: str) -> frozenset[Endpoint]:
    return frozenset((ADDRESSES[name][six], 8080) for name in names)


def packet(source: str, to: str, port: int, protocol: str, expect: str, *, six: bool) -> Packet:
    return Packet(ADDRESSES[source][six], ADDRESSES[to][six], port, protocol, expect)


def forwarded(source: str, to: str, protocol: str, names: Iterable[str], *, six: bool, masquerade: bool) -> Packet:
    bare = packet(source, to, 80, protocol, "forward", six=six)
    return replace(bare, endpoints=ends(six, *names), masquerade=masquerade)


def everything(protocol: str) -> Iterator[Packet]:
    """Yield every fate from every sender, in both families."""
    for six in (False, True):
        for sender in SENDERS:
            yield forwarded(sender, "plain", protocol, THREE, six=six, masquerade=False)
            yield forwarded(sender, "masqueraded", protocol, THREE, six=six, masquerade=True)
            # Only the node's own packets leave it, through lo, before they come back in.
            yield forwarded(sender, "own", protocol, ["node"], six=six, masquerade=sender == "node")
            for to in ("plain", "node"):
                yield packet(sender, to, REJECTED, protocol, "reject", six=six)
                yield packet(sender, to, DROPPED, protocol, "drop", six=six)
            for to in ("plain", "other", "node", "second", *THREE):
                yield packet(sender, to, FREE, protocol, "pass", six=six)


def judged(world: World, packets: Iterable[Packet], endpoints: Iterable[tuple[str, int, str]] = ()) -> list[str]:
    packets = list(packets)
    outcomes = world.judge(packets, endpoints)
    return [text for one, outcome in zip(packets, outcomes, strict=True) if (text := disagreement(one, outcome))]


@pytest.fixture(name="world")
def loaded_world(world: World) -> Iterator[World]:
    world.load(rules())
    yield world
    world.clear()


@every_protocol
def test_every_fate_is_told_from_every_place(world: World, protocol: str) -> None:
    assert judged(world, everything(protocol)) == []


@every_protocol
@both_families
def test_wrong_expectations_are_noticed(world: World, protocol: str, six: bool) -> None:
    fates = {80: "forward", REJECTED: "reject", FREE: "pass"}
    packets = [
        packet(sender, "plain", port, protocol, wrong, six=six)
        for port, right in fates.items()
        for wrong in (*fates.values(), "drop")
        for sender in ("sender", "node", "client")
        if wrong != right
    ]
    outcomes = world.judge(packets, [(address, port, protocol) for address, port in ends(six, *THREE)])
    assert [one.verdict for one in outcomes] == [fates[one.port] for one in packets]


@every_protocol
@both_families
def test_endpoints_that_are_not_expected_or_not_reached_are_noticed(world: World, protocol: str, six: bool) -> None:
    three = forwarded("client", "plain", protocol, THREE, six=six, masquerade=False)
    fewer = replace(three, endpoints=ends(six, "pod", "bridged"))
    more = replace(three, endpoints=three.endpoints | ends(six, "sender"))
    everywhere = [(address, 8080, protocol) for address, _ in three.endpoints]
    assert world.judge([fewer], everywhere)[0].endpoints >= ends(six, "remote")
    assert world.judge([more], everywhere)[0].endpoints == three.endpoints


@every_protocol
@both_families
def test_pod_that_reaches_itself(world: World, protocol: str, six: bool) -> None:
    one = forwarded("pod", "lonely", protocol, ["pod"], six=six, masquerade=True)
    among = replace(forwarded("pod", "plain", protocol, THREE, six=six, masquerade=False))
    assert judged(world, [one, replace(one, masquerade="hairpin"), replace(among, masquerade="hairpin")]) == []
    assert world.judge([replace(one, masquerade=False)], ())[0].masqueraded == one.endpoints
    world.load(rules(hairpin=""))
    assert world.judge([replace(one, expect="drop")], ()) == [Outcome("drop")]


@every_protocol
@both_families
def test_affinity(world: World, protocol: str, six: bool) -> None:
    sticky = forwarded("client", "sticky", protocol, THREE, six=six, masquerade=False)
    loose = replace(sticky, address=ADDRESSES["plain"][six])
    found = world.judge([replace(one, affinity=True) for one in (sticky, loose)], ())
    assert [(one.verdict, one.sticky) for one in found] == [("forward", True), ("forward", False)]
    assert judged(world, [replace(sticky, affinity=True)]) == []


@pytest.mark.parametrize("protocol", ["TCP", "UDP"])
@both_families
def test_port_where_nobody_listens_is_no_reject(world: World, protocol: str, six: bool) -> None:
    world.load(rules().replace("8080", "8099"))
    found = world.judge([packet("client", "lonely", 80, protocol, "reject", six=six)], ())
    assert [one.verdict for one in found] == ["closed"]


@both_families
def test_masquerade_without_translation_is_noticed(world: World, six: bool) -> None:
    world.load(rules(hairpin="masquerade"))
    (found,) = world.judge([packet("sender", "other", FREE, "TCP", "pass", six=six)], ())
    assert found == Outcome("pass", masqueraded=frozenset({(ADDRESSES["other"][six], FREE)}))


def test_clearing_forgets_rules_and_connections(world: World) -> None:
    def connections() -> int:
        return int(Path("/proc/sys/net/netfilter/nf_conntrack_count").read_text(encoding="ascii"))

    world.judge([packet("client", "lonely", 80, "UDP", "forward", six=False)], [("10.244.1.7", 8080, "UDP")])
    assert world.node.call(connections) > 0
    world.clear()
    assert world.node.call(connections) == 0
    assert world.kernel.present() == ()
    assert judged(world, [packet("client", "lonely", 80, "UDP", "pass", six=False)]) == []
