"""The judge of rulesets by their text: what each statement does, and how packets go through hooks and chains."""

import random
from fractions import Fraction

import pytest

from tests.support.cases import EXAMPLES
from tests.support.dialect import Ruleset
from tests.support.interpreter import Fate, Interpreter, Where, judge, parse, shares
from tests.support.packets import Outcome, Packet
from tests.support.samples import LOOKUP, RECORD, TO_SERVICES, bare, text_of

VIP = "10.96.0.10"
POD, OTHER, FAR, CLIENT, NODE = "10.244.1.5", "10.244.1.6", "10.244.2.9", "198.51.100.7", "192.0.2.11"
BALANCED = {(POD, 8080), (FAR, 8080)}


def made(**chains: list[str]) -> Ruleset:
    return parse(text_of(**{**TO_SERVICES, **chains}))


def packet(source: str = CLIENT, to: str = VIP, port: int = 80, protocol: str = "TCP", **more: str | bool) -> Packet:
    return Packet(
        source, to, port, protocol, "", affinity=more.get("affinity") is True, interface=str(more.get("interface", ""))
    )


DNS = packet(port=53, protocol="UDP", affinity=True)


def verdict(ruleset: Ruleset, one: Packet) -> str:
    return judge(ruleset, one).verdict


# Ways through hooks ---------------------------------------------------------------------------------------------------


def test_balances_evenly_and_lets_go_what_is_no_service() -> None:
    ruleset = made()
    assert judge(ruleset, packet()) == Outcome("forward", frozenset(BALANCED))
    assert shares(ruleset, packet()) == dict.fromkeys(BALANCED, Fraction(1, 2))
    assert set(shares(ruleset, DNS).values()) == {Fraction(1, 3)}
    assert judge(ruleset, packet(port=81)) == Outcome("pass")
    assert judge(ruleset, packet(to="10.96.0.11")) == Outcome("drop")
    assert judge(ruleset, packet("2001:db8:100::7", "fd00:96::10")) == Outcome("pass")


def test_shares_of_a_slot_that_is_not_there() -> None:
    text = text_of(**TO_SERVICES).replace("mod 3", "mod 4")
    assert set(shares(parse(text), DNS).values()) == {Fraction(1, 4)}
    assert judge(parse(text), DNS).verdict == "forward+pass"


@pytest.mark.parametrize(
    ("chain", "source", "to", "seen"),
    [
        ("guard", CLIENT, FAR, True),
        ("guard", NODE, FAR, False),
        ("guard", NODE, NODE, True),
        ("guard_output", NODE, FAR, True),
        ("guard_output", CLIENT, FAR, False),
        ("forward", CLIENT, FAR, True),
        ("forward", POD, "192.0.2.111", False),
        ("forward", NODE, FAR, False),
        ("input", POD, "192.0.2.111", True),
        ("input", NODE, "10.244.1.1", True),
        ("input", CLIENT, FAR, False),
        ("input", NODE, FAR, False),
        ("output", NODE, FAR, True),
        ("output", POD, FAR, False),
        ("postrouting", CLIENT, FAR, True),
        ("postrouting", NODE, FAR, True),
        ("postrouting", NODE, NODE, True),
        ("postrouting", CLIENT, NODE, False),
        ("nat_input", CLIENT, NODE, True),
        ("nat_input", NODE, NODE, False),
        ("nat_input", CLIENT, FAR, False),
        ("nat", CLIENT, FAR, True),
        ("nat", NODE, NODE, False),
        ("nat_output", NODE, NODE, True),
        ("nat_output", CLIENT, FAR, False),
    ],
)
def test_hooks_that_packets_meet(chain: str, source: str, to: str, seen: bool) -> None:
    ruleset = parse(bare("", {chain.replace("_", "-"): ["drop"]}))
    assert verdict(ruleset, packet(source, to)) == ("drop" if seen else "pass")


def test_hooks_of_a_translated_packet_are_those_of_its_new_destination() -> None:
    ruleset = made(input=["drop"], forward=["ct status dnat reject"])
    assert judge(ruleset, DNS).verdict == "drop+reject"
    assert judge(ruleset, packet(FAR, NODE, 99)).verdict == "drop"


def test_priorities_decide_whatever_the_order_of_the_text() -> None:
    late = parse(text_of(**TO_SERVICES, guard=["ip daddr @cluster-ips drop"]))
    early = parse(text_of(**{"guard": ["ip daddr @cluster-ips drop"], **TO_SERVICES}))
    assert verdict(late, packet()) == verdict(early, packet()) == "drop"


# Chains and rules -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("caller", "called", "expected"),
    [
        (["jump sub", "drop"], [], "drop"),
        (["goto sub", "drop"], [], "pass"),
        (["jump sub", "drop"], ["return", "reject"], "drop"),
        (["goto sub", "drop"], ["return", "reject"], "pass"),
        (["return", "drop"], [], "pass"),
        (["jump middle", "drop"], ["return"], "drop"),
        (["goto middle", "drop"], ["return"], "pass"),
        (["jump sub", "drop"], ["reject"], "reject"),
        (["goto middle", "drop"], ["reject"], "reject"),
        (["jump twice"], [], "drop"),
        (["ct status dnat goto sub", "drop"], ["reject"], "drop"),
        ([], ["reject"], "pass"),
    ],
)
def test_goto_does_not_come_back_and_jump_does(caller: list[str], called: list[str], expected: str) -> None:
    chains = {
        "forward": caller,
        "sub": called,
        "middle": ["goto sub", "reject"],
        "twice": ["jump sub", "jump sub", "drop"],
    }
    assert verdict(parse(bare("", chains)), packet(to=FAR)) == expected


def test_dispatch_without_match_leaves_the_rest_of_the_chain() -> None:
    sets = "map m {\n type inet_proto : verdict\n elements = {\n tcp : drop\n }\n }\n"
    ruleset = parse(bare(sets, {"forward": ["meta l4proto vmap @m", "reject"]}))
    assert verdict(ruleset, packet(to=FAR)) == "drop"
    assert verdict(ruleset, packet(to=FAR, protocol="UDP")) == "reject"


def test_goto_from_a_map_ends_the_chain_that_was_jumped_to() -> None:
    services = ["ip daddr . meta l4proto . th dport vmap @service-ips", "drop"]
    ruleset = made(services=services, nat=["jump services"])
    assert verdict(ruleset, packet()) == "forward"
    assert verdict(ruleset, packet(port=81)) == "drop"


def test_dnat_without_match_leads_to_the_next_rule() -> None:
    ruleset = parse(
        text_of(**TO_SERVICES).replace(
            "        elements = {\n            10.96.0.10 . 80 . 0",
            "        elements = {\n            10.96.0.12 . 80 . 0",
        )
    )
    assert judge(ruleset, packet()).verdict == "forward+pass"


@pytest.mark.parametrize(
    ("rule", "one", "matches"),
    [
        ("ct state new", packet(to=FAR), True),
        ("ct status dnat", packet(to=FAR), False),
        ("ct status dnat", packet(), True),
        ("fib saddr type local", packet(NODE, FAR), True),
        ("fib saddr type local", packet(), False),
        ("fib daddr type local", packet(to="127.0.0.1"), True),
        ("fib daddr type local", packet(to="10.244.1.1"), True),
        ("fib daddr type local", packet(to=FAR), False),
        ('iifname "eth0"', packet(), True),
        ('iifname "eth0"', packet(POD), False),
        ('iifname "veth5"', packet(POD), True),
        ('iifname "veth*"', packet(POD), True),
        ('iifname "veth*"', packet("10.244.1.201"), False),
        ('iifname "cbr0"', packet("10.244.1.201"), True),
        ('iifname "cbr*"', packet(interface="cbr0"), True),
        ('iifname != "veth*"', packet(POD), False),
        ('iifname != "veth*"', packet(NODE, FAR), True),
        ("meta l4proto tcp", packet(), True),
        ("meta l4proto { udp, sctp }", packet(), False),
        ("meta l4proto { udp, sctp }", packet(protocol="SCTP"), True),
        ("ip saddr != 198.51.100.0/24", packet(), False),
        ("ip saddr != 198.51.100.0/24", packet(POD, FAR), True),
        ("ip daddr != 10.244.2.9", packet(to=FAR), False),
        ("ip daddr @cluster-ips", packet(to=FAR), False),
        ("ct original ip daddr @cluster-ips", packet(), True),
        ("ip daddr != @cluster-ips", packet(), True),
        ("meta l4proto tcp ct original ip daddr . ct original proto-dst . ip saddr @clients", packet(), True),
        ("meta l4proto tcp ct original ip daddr . ct original proto-dst . ip saddr @clients", packet(POD), True),
        ("meta l4proto tcp ct original ip daddr . ct original proto-dst . ip saddr @clients", packet(OTHER), False),
        ("ct original ip daddr . tcp dport . ip saddr != @clients", packet(protocol="UDP", port=53), False),
    ],
)
def test_matches(rule: str, one: Packet, matches: bool) -> None:
    ruleset = made(postrouting=[f"{rule} drop"], nat_input=[f"{rule} drop"])
    assert verdict(ruleset, one).split("+")[0] == ("drop" if matches else verdict(made(), one))


def test_connection_that_is_translated_to_where_it_went_anyway_does_not_count_as_dnat() -> None:
    text = text_of(**TO_SERVICES, postrouting=["ct status dnat drop"]).replace(
        "10.96.0.10 . 80 . 0 : 10.244.1.5 . 8080", "10.96.0.10 . 80 . 0 : 10.96.0.10 . 80"
    )
    assert judge(parse(text), packet()) == Outcome("drop+forward", frozenset({(VIP, 80)}))


# Masquerade -----------------------------------------------------------------------------------------------------------


def test_hairpin_is_masqueraded_where_the_endpoint_is_the_sender() -> None:
    ruleset = made(postrouting=["ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random", "drop"])
    assert judge(ruleset, packet(POD)) == Outcome("drop+forward", frozenset({(POD, 8080)}), frozenset({(POD, 8080)}))


def test_masquerade_does_not_reach_what_goes_to_the_node_itself() -> None:
    ruleset = made(postrouting=["masquerade fully-random"])
    here = (NODE, 5353)
    assert judge(ruleset, DNS).masqueraded == judge(ruleset, DNS).endpoints - {here}
    from_node = packet(NODE, port=53, protocol="UDP")
    assert here in judge(ruleset, from_node).masqueraded
    assert judge(ruleset, packet(to=FAR)) == Outcome("pass", masqueraded=frozenset({(FAR, 80)}))


def test_masqueraded_source_is_the_nodes_from_then_on() -> None:
    chains = {
        "postrouting": ["masquerade fully-random"],
        "guard": ["ip saddr @cluster-ips drop", "fib saddr type local reject"],
    }
    where = Where(addresses=frozenset({NODE, VIP}), own=(NODE, "::"))
    ruleset = parse(text_of(**chains))
    assert judge(ruleset, packet(VIP, VIP), where).verdict == "reject"
    assert judge(ruleset, packet(VIP, VIP), Where(frozenset({NODE, VIP}), (VIP, "::"))).verdict == "drop"


# Affinity -------------------------------------------------------------------------------------------------------------


def first(_: int) -> int:
    return 0


def last(count: int) -> int:
    return count - 1


def test_client_stays_until_its_record_expires() -> None:
    there = Interpreter(made(postrouting=[RECORD], nat_input=[RECORD]))
    assert there.send(DNS, last) == Fate("forward", (NODE, 5353))
    assert there.send(DNS, first) == Fate("forward", (NODE, 5353))
    assert there.send(packet(OTHER, port=53, protocol="UDP"), first) == Fate("forward", (POD, 5353))
    there.advance(59)
    assert there.send(DNS, first) == Fate("forward", (NODE, 5353))
    there.advance(59)
    assert there.send(DNS, first) == Fate("forward", (NODE, 5353))
    there.advance(60)
    assert there.send(DNS, first) == Fate("forward", (POD, 5353))
    assert there.send(DNS, last) == Fate("forward", (POD, 5353))


def test_judge_looks_at_a_second_connection() -> None:
    everywhere = made(postrouting=[RECORD], nat_input=[RECORD])
    assert judge(everywhere, DNS).sticky
    assert not judge(made(postrouting=[RECORD]), DNS).sticky
    assert not judge(made(), DNS).sticky
    assert not judge(everywhere, packet(affinity=True)).sticky
    assert judge(everywhere, packet(port=53, protocol="UDP")).sticky
    assert len(judge(everywhere, DNS).endpoints) == 3


def test_what_is_dropped_leaves_no_record() -> None:
    refusing = made(forward=["ct status dnat reject"], postrouting=[RECORD], nat_input=[RECORD])
    there = Interpreter(refusing)
    assert there.send(DNS, first) == Fate("reject")
    assert there.send(DNS, last) == Fate("forward", (NODE, 5353))
    assert there.send(DNS, first) == Fate("forward", (NODE, 5353))


def test_update_does_not_change_what_is_there_but_lets_it_live_on() -> None:
    sticky = [f'iifname "eth0" {LOOKUP}', "goto udp-lb-3"]
    there = Interpreter(made(sticky=sticky, postrouting=[RECORD]))
    anew = packet(port=53, protocol="UDP", interface="eth1")
    assert there.send(DNS, first).endpoint == (POD, 5353)
    there.advance(40)
    assert there.send(anew, lambda _: 1).endpoint == (FAR, 5353)
    there.advance(40)
    assert there.send(DNS, last).endpoint == (POD, 5353)


def test_full_map_takes_no_more_records() -> None:
    rules = {**TO_SERVICES, "postrouting": [RECORD]}
    there = Interpreter(parse(text_of(**rules).replace("size 1048576", "size 1")))
    other = packet(OTHER, port=53, protocol="UDP")
    assert [there.send(DNS, first).endpoint, there.send(other, first).endpoint] == [(POD, 5353)] * 2
    assert [there.send(DNS, last).endpoint, there.send(other, last).endpoint] == [(POD, 5353), (NODE, 5353)]
    there.advance(60)
    there.send(other, first)
    assert [there.send(DNS, last).endpoint, there.send(other, last).endpoint] == [(NODE, 5353), (POD, 5353)]


def test_trying_out_leaves_no_trace() -> None:
    there = Interpreter(made(postrouting=[RECORD], nat_input=[RECORD]))
    assert len(list(there.fates(DNS))) == 3
    assert {fate.endpoint for _, fate, _ in there.fates(DNS)} == {(POD, 5353), (FAR, 5353), (NODE, 5353)}


def test_hashed_records_of_ipv6() -> None:
    ruleset = parse((EXAMPLES / "400-client-affinity" / "ruleset.nft").read_text())
    chains = ruleset.tables["ip6"].chains
    assert any("jhash" in rule.line.text for chain in chains.values() for rule in chain.rules)
    element = next(iter(ruleset.tables["ip6"].sets["service-ips"].elements))
    address, protocol, port = map(str, element)
    clients = [packet(f"2001:db8:100::{number}", address, int(port), protocol.upper()) for number in range(1, 20)]
    there, chance = Interpreter(ruleset), random.Random(1)
    before = [there.send(one, chance.randrange) for one in clients]
    assert len(set(before)) > 1
    assert [there.send(one, chance.randrange) for one in clients] == before
