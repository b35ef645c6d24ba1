"""What a ruleset does to traffic, read off its elements: those that nftsvc makes, and those that others have edited."""

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import msgspec
import pytest

from nftsvc.explain import Outcome
from nftsvc.plan import Masquerade, make_plan
from nftsvc.reading import read_ruleset
from nftsvc.render import Renderer
from nftsvc.ruleset import EMPTY, Chain, Entry, Hook, Key, Rule, Ruleset, Table, make_ruleset
from nftsvc.settings import Detector, DetectorKind, NodeSettings
from nftsvc.state import State
from nftsvc.traffic import (
    AS_CLUSTER_IP,
    EVERY_ADDRESS,
    IN_NETWORKS,
    LISTED,
    UNNAMED_INTERFACE,
    Frontend,
    Target,
    Traffic,
    Where,
    traffic_of,
)
from nftsvc.values import Address, Family, Prefix
from tests.support.builders import NODE, NODE_ADDRESSES, Raw, decoded, endpoint_slice, service
from tests.support.cases import all_cases

IPV4, IPV6 = Family.IPV4, Family.IPV6
WEB = Where(IPV4, "10.96.0.1", "TCP", 80)
NODE_PORT = Where(IPV4, "", "TCP", 30080)
EXTERNAL = Where(IPV4, "203.0.113.1", "TCP", 80)
LOCAL, AWAY = Target("10.244.1.5", 8080), Target("10.244.2.6", 8080)
HALF = Fraction(1, 2)

Edit = Callable[[dict[str, dict[Key, Entry]]], None]


def made(*raws: Raw, **settings: object) -> Ruleset:
    """Return a node's ruleset of IPv4; settings are those of the node."""
    known = {"name": NODE, "families": (IPV4,), "node_port_addresses": NODE_ADDRESSES, **settings}
    return make_ruleset(make_plan(State.of(map(decoded, raws)), NodeSettings(**known)))  # type: ignore[arg-type]


def web(**spec: object) -> list[Raw]:
    """Return a Service with an endpoint on this node and one elsewhere."""
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    return [
        service("web", ["10.96.0.1"], ports, **{"type": "NodePort", "externalIPs": ["203.0.113.1"], **spec}),
        endpoint_slice("web", [LOCAL.address], [{"name": "http", "port": 8080}]),
        endpoint_slice("web", [AWAY.address], [{"name": "http", "port": 8080}], node="node-b", suffix="2"),
    ]


def edited(ruleset: Ruleset, edit: Edit, **changes: object) -> Ruleset:
    """Return a ruleset after an edit of its elements, with other chains or flags if they are given."""
    table = ruleset.tables[IPV4]
    elements = {name: dict(listed) for name, listed in table.elements.items()}
    edit(elements)
    return Ruleset({IPV4: replace(table, elements=elements, **changes)})  # type: ignore[arg-type]


def nothing(_: dict[str, dict[Key, Entry]]) -> None:
    """Edit nothing."""


def reached(frontend: Frontend, *, inside: bool = False) -> dict[Target, Fraction]:
    fate = frontend.inside if inside else frontend.outside
    return {endpoint: one.share for endpoint, one in fate.endpoints.items()}


def odd(traffic: Traffic) -> list[str]:
    return [f"{one.where}: {one.what}" for one in traffic.oddities]


# What nftsvc makes ----------------------------------------------------------------------------------------------------


def test_every_way_into_a_service_port_has_its_name_and_its_endpoints() -> None:
    found = traffic_of(made(*web()))
    assert set(found.frontends) == {WEB, NODE_PORT, EXTERNAL}
    for frontend in found.frontends.values():
        assert (frontend.name, frontend.service) == ("shop/web:http", "shop/web")
        assert reached(frontend) == reached(frontend, inside=True) == {LOCAL: HALF, AWAY: HALF}
        assert (frontend.outside.outcome, frontend.outside.lost) == (Outcome.FORWARD, 0)
        assert frontend.sources is None
        assert not frontend.by_client
    assert found.oddities == ()


def test_who_is_masqueraded() -> None:
    told = {where: one.masquerade for where, one in traffic_of(made(*web())).frontends.items()}
    assert told == {WEB: AS_CLUSTER_IP, NODE_PORT: Masquerade.EVERYBODY, EXTERNAL: Masquerade.EVERYBODY}
    told = {
        where: one.masquerade for where, one in traffic_of(made(*web(externalTrafficPolicy="Local"))).frontends.items()
    }
    assert told == {WEB: AS_CLUSTER_IP, NODE_PORT: Masquerade.THIS_NODE, EXTERNAL: Masquerade.THIS_NODE}


def test_traffic_policy_local_depends_on_the_client() -> None:
    found = traffic_of(made(*web(externalTrafficPolicy="Local"))).frontends
    for where in (NODE_PORT, EXTERNAL):
        assert reached(found[where], inside=True) == {LOCAL: HALF, AWAY: HALF}
        assert reached(found[where]) == {LOCAL: Fraction(1)}
        assert found[where].by_client
    assert found[WEB].inside is found[WEB].outside


def test_nobody_outside_is_served_where_no_endpoint_is_local() -> None:
    found = traffic_of(made(*web(externalTrafficPolicy="Local"), name="node-c")).frontends[EXTERNAL]
    assert (found.inside.outcome, found.outside.outcome) == (Outcome.FORWARD, Outcome.DROP)


def test_service_without_endpoints_is_rejected() -> None:
    found = traffic_of(made(web()[0])).frontends
    assert {one.outside.outcome for one in found.values()} == {Outcome.REJECT}
    assert {one.masquerade for one in found.values()} == {""}
    assert {one.forwards for one in found.values()} == {False}


def test_session_affinity_is_told_in_seconds() -> None:
    config = {"clientIP": {"timeoutSeconds": 60}}
    found = traffic_of(made(*web(sessionAffinity="ClientIP", sessionAffinityConfig=config)))
    times = {one.seconds for where in found.frontends.values() for one in where.outside.endpoints.values()}
    assert times == {60}


def test_endpoints_on_this_node_see_it_where_they_reach_themselves() -> None:
    endpoints = traffic_of(made(*web())).frontends[WEB].outside.endpoints
    assert (endpoints[LOCAL].hairpin, endpoints[AWAY].hairpin) == (True, False)


def test_source_ranges_are_networks_in_order() -> None:
    ranges = ["198.51.100.128/25", "10.0.0.0/8", "198.51.100.0/25"]
    raws = web(type="LoadBalancer", externalIPs=[], loadBalancerSourceRanges=ranges)
    raws[0]["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    found = traffic_of(made(*raws)).frontends
    assert found[EXTERNAL].sources == ("10.0.0.0/8", "198.51.100.0/24")
    assert found[WEB].sources is None


@pytest.mark.parametrize(
    ("detector", "pods", "networks"),
    [
        (None, "", ()),
        (Detector(DetectorKind.SOURCE, "10.244.1.0/24"), "source in 10.244.1.0/24", ("10.244.1.0/24",)),
        (Detector(DetectorKind.INTERFACE, "cbr0"), "comes in on cbr0", ()),
        (Detector(DetectorKind.INTERFACE_PREFIX, "veth"), "comes in on veth*", ()),
    ],
)
def test_how_pods_are_told_from_others(detector: Detector | None, pods: str, networks: tuple[str, ...]) -> None:
    ruleset = made(*web(), detectors={IPV4: detector} if detector else {})
    node = traffic_of(ruleset).nodes[IPV4]
    assert (node.pods, node.pod_networks) == (pods, networks)
    whose = Masquerade.OTHERS_THAN_LOCAL_PODS if detector else Masquerade.NOBODY
    assert (node.masquerade, node.standard, node.rules) == (whose, True, {})


def test_masquerading_all_is_told_with_and_without_a_detector() -> None:
    detector = Detector(DetectorKind.INTERFACE, "cbr0")
    for detectors in ({}, {IPV4: detector}):
        node = traffic_of(made(*web(), detectors=detectors, masquerade_all=True)).nodes[IPV4]
        assert (node.masquerade, node.standard) == (Masquerade.EVERYBODY, True)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, (LISTED, ("192.0.2.11",))),
        ({"node_port_addresses": {}}, (EVERY_ADDRESS, ())),
        (
            {"node_port_addresses": {}, "node_port_networks": {IPV4: (Prefix("192.0.2.0/24"),)}},
            (IN_NETWORKS, ("192.0.2.0/24",)),
        ),
        (
            {"node_port_addresses": {}, "node_port_networks": {IPV4: (Prefix("192.0.2.11"),)}},
            (IN_NETWORKS, ("192.0.2.11",)),
        ),
    ],
)
def test_where_node_ports_answer(settings: dict[str, object], told: tuple[str, tuple[str, ...]]) -> None:
    ruleset = made(*web(), **settings)
    for one in (ruleset, as_the_kernel_has_it(ruleset)):
        node = traffic_of(one).nodes[IPV4]
        assert (node.node_ports, node.listed) == told


def test_cluster_ips_and_the_networks_that_they_come_from() -> None:
    node = traffic_of(made(*web(), service_cidrs={IPV4: (Prefix("10.96.0.0/16"),)})).nodes[IPV4]
    assert (node.closed, node.unused) == ({"10.96.0.1"}, ("10.96.0.0/16",))


def test_an_endpoint_that_everybody_is_refused_at_is_told() -> None:
    raws = [*web(), service("other", ["10.96.0.9"]), endpoint_slice("other", ["10.96.0.1"], [{"port": 81}])]
    found = traffic_of(made(*raws)).frontends[Where(IPV4, "10.96.0.9", "TCP", 80)]
    assert [one.refused for one in found.outside.endpoints.values()] == [Outcome.REJECT]


def test_an_empty_ruleset_does_nothing() -> None:
    assert traffic_of(EMPTY) == Traffic({}, {}, ())


@pytest.mark.parametrize(
    ("comment", "name", "of_service"),
    [
        ("shop/web:http", "shop/web:http", "shop/web"),
        ("shop/web", "shop/web", "shop/web"),
        ("", "10.96.0.1:80/TCP", "10.96.0.1:80/TCP"),
        ("mine: do not touch", "mine: do not touch", "mine: do not touch"),
        ("a/very-long~0123abcd", "a/very-long~0123abcd", "a/very-long~0123abcd"),
        ("a/very-long:port-na~0123abcd", "a/very-long:port-na~0123abcd", "a/very-long"),
    ],
)
def test_names_come_from_comments(comment: str, name: str, of_service: str) -> None:
    def rename(elements: dict[str, dict[Key, Entry]]) -> None:
        elements["service-ips"] = {
            key: msgspec.structs.replace(entry, comment=comment) for key, entry in elements["service-ips"].items()
        }

    found = traffic_of(edited(made(*web()), rename)).frontends[WEB]
    assert (found.name, found.service) == (name, of_service)


# However it was read --------------------------------------------------------------------------------------------------


def as_the_kernel_has_it(ruleset: Ruleset) -> Ruleset:
    """Return the ruleset as it is read from a kernel: without texts and types."""
    return Ruleset(
        {
            family: replace(
                table,
                sets=tuple(replace(one, key="", counter=False, interval=False, dynamic=False) for one in table.sets),
                chains=tuple(
                    replace(one, rules=tuple(replace(rule, text="") for rule in one.rules)) for one in table.chains
                ),
            )
            for family, table in ruleset.tables.items()
        }
    )


@pytest.mark.parametrize("case", [one for one in all_cases() if not one.refused], ids=lambda case: case.name)
def test_a_ruleset_that_is_read_back_does_the_same(case: object) -> None:
    ruleset = case.ruleset()  # type: ignore[attr-defined]
    told = traffic_of(ruleset)
    assert told.oddities == ()
    assert all(one.standard and not one.rules for one in told.nodes.values())
    assert traffic_of(read_ruleset(Renderer().ruleset(ruleset), "ruleset.nft")) == told
    from_kernel = traffic_of(as_the_kernel_has_it(ruleset))
    assert from_kernel.frontends == told.frontends
    assert from_kernel.oddities == ()
    for family, node in from_kernel.nodes.items():
        known = told.nodes[family]
        assert node == replace(known, pods=UNNAMED_INTERFACE if "comes in" in known.pods else known.pods)


# What others have edited ----------------------------------------------------------------------------------------------


def test_an_unknown_chain_is_told_with_its_rules() -> None:
    ruleset = made(*web())

    def lead(elements: dict[str, dict[Key, Entry]]) -> None:
        elements["service-ips"]["10.96.0.1", "tcp", 80] = Entry(("goto mine",), "shop/web:http")

    chains = (*ruleset.tables[IPV4].chains, Chain("mine", (Rule.of("dnat to 192.0.2.99", "by hand"),)))
    found = traffic_of(edited(ruleset, lead, chains=chains))
    assert found.frontends[WEB].outside.outcome == "goto mine (dnat to 192.0.2.99)"
    assert odd(found) == ["shop/web:http 10.96.0.1:80/TCP: leads to goto mine (dnat to 192.0.2.99)"]
    missing = traffic_of(edited(ruleset, lead))
    assert missing.frontends[WEB].outside.outcome == "goto mine, a chain that is not there"


def slot(number: int) -> Key:
    return ("10.96.0.1", 80, number)


def without_a_slot(elements: dict[str, dict[Key, Entry]]) -> None:
    del elements["tcp-endpoints"][slot(1)]


def the_same_twice(elements: dict[str, dict[Key, Entry]]) -> None:
    elements["tcp-endpoints"][slot(1)] = elements["tcp-endpoints"][slot(0)]


def one_too_many(elements: dict[str, dict[Key, Entry]]) -> None:
    elements["tcp-endpoints"][slot(2)] = Entry(("10.244.9.9", 8080))


@pytest.mark.parametrize(
    ("edit", "shares", "lost", "told"),
    [
        (without_a_slot, {LOCAL: HALF}, HALF, ["1 of the 2 slots that connections are sent to hold no endpoint"]),
        (the_same_twice, {LOCAL: Fraction(1)}, 0, []),
        (one_too_many, {LOCAL: HALF, AWAY: HALF}, 0, ["1 endpoints are in slots that no connection is sent to"]),
    ],
)
def test_shares_are_those_of_slots(edit: Edit, shares: dict[Target, Fraction], lost: Fraction, told: list[str]) -> None:
    found = traffic_of(edited(made(*web()), edit))
    frontend = found.frontends[WEB]
    assert reached(frontend) == shares
    assert (frontend.outside.lost, frontend.outside.rest if lost else "") == (lost, Outcome.REJECT if lost else "")
    assert odd(found) == [f"shop/web:http 10.96.0.1:80/TCP: {one}" for one in told]


def test_a_chain_that_chooses_from_fewer_slots_than_it_says_is_believed_its_text() -> None:
    ruleset = made(*web())
    chains = tuple(
        replace(one, rules=tuple(replace(rule, text=rule.text.replace("mod 2", "mod 1")) for rule in one.rules))
        for one in ruleset.tables[IPV4].chains
    )
    found = traffic_of(edited(ruleset, nothing, chains=chains))
    assert reached(found.frontends[WEB]) == {LOCAL: Fraction(1)}


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        ("drop", Outcome.DROP),
        ("goto udp-lb-2", Outcome.REJECT),
        ("goto tcp-lb-7", "chain tcp-lb-7, which is not there"),
        ("jump tcp-lb-2", "jump tcp-lb-2 (meta l4proto tcp"),
        ("goto local-ips", Outcome.REJECT),
    ],
)
def test_other_verdicts(verdict: str, outcome: str) -> None:
    """A chain of another protocol matches nothing; what is not translated is rejected as a port nobody has."""
    ruleset = made(*web(), service("dns", ["10.96.0.10"], [{"port": 53, "protocol": "UDP"}]))
    udp = made(
        service("dns", ["10.96.0.10"], [{"port": 53, "protocol": "UDP"}]),
        endpoint_slice("dns", ["10.244.1.5", "10.244.1.6"], [{"port": 53, "protocol": "UDP"}]),
    )
    more = tuple(one for one in udp.tables[IPV4].chains if one.name == "udp-lb-2")

    def lead(elements: dict[str, dict[Key, Entry]]) -> None:
        elements["service-ips"]["10.96.0.1", "tcp", 80] = Entry((verdict,), "shop/web:http")

    found = traffic_of(edited(ruleset, lead, chains=(*ruleset.tables[IPV4].chains, *more)))
    assert found.frontends[WEB].outside.outcome.startswith(outcome)


def test_clients_inside_get_what_others_get_where_nothing_is_there_for_them() -> None:
    def forget(elements: dict[str, dict[Key, Entry]]) -> None:
        elements["inside-ips"].clear()

    found = traffic_of(edited(made(*web(externalTrafficPolicy="Local")), forget)).frontends[EXTERNAL]
    assert reached(found, inside=True) == reached(found) == {LOCAL: Fraction(1)}


def test_affinity_that_is_not_the_same_for_all_is_told() -> None:
    def forget(elements: dict[str, dict[Key, Entry]]) -> None:
        del elements["affinity-endpoints"]["10.96.0.1", "tcp", 80, *LOCAL]

    found = traffic_of(edited(made(*web(sessionAffinity="ClientIP")), forget))
    assert {one.seconds for one in found.frontends[WEB].outside.endpoints.values()} == {0, 10800}
    assert odd(found) == [
        "shop/web:http 10.96.0.1:80/TCP: session affinity is not the same for all endpoints",
    ]


def test_a_rule_that_somebody_added_or_removed_is_told() -> None:
    ruleset = made(*web())
    by_hand = Rule.of("ip saddr 198.51.100.7 accept", "")
    chains = tuple(
        replace(one, rules=(by_hand, *one.rules)) if one.name == "services" else one
        for one in ruleset.tables[IPV4].chains
        if one.name != "filter-output"
    )
    found = traffic_of(edited(ruleset, nothing, chains=(*chains, Chain("mine", (), Hook("filter", "input", 5)))))
    assert set(found.nodes[IPV4].rules) == {"services", "filter-output", "mine"}
    assert [one.partition(": ip")[0] for one in odd(found)] == [
        "table: chain filter-output is not there",
        "table: chain mine is not as nftsvc makes it: no rule",
        "table: chain services is not as nftsvc makes it",
    ]


@pytest.mark.parametrize(
    ("chain", "old", "new"),
    [
        ("local-ips", 'iifname "veth*"', 'iifname "cali*"'),
        ("masquerade-cluster-ip", "!= ", ""),
        ("masquerade-own", "fib saddr type local ", ""),
        ("remember-60", "timeout 60s", "timeout 90s"),
    ],
)
def test_a_rule_that_somebody_reworded_is_told_where_its_text_is_known(chain: str, old: str, new: str) -> None:
    config = {"clientIP": {"timeoutSeconds": 60}}
    detector = Detector(DetectorKind.INTERFACE_PREFIX, "veth")
    raws = web(externalTrafficPolicy="Local", sessionAffinity="ClientIP", sessionAffinityConfig=config)
    ruleset = made(*raws, detectors={IPV4: detector})
    text = Renderer().ruleset(ruleset)
    at = text.index(f"chain {chain} {{")
    changed = text[:at] + text[at:].replace(old, new, 1)
    assert traffic_of(read_ruleset(text, "a.nft")).oddities == ()
    found = traffic_of(read_ruleset(changed, "a.nft"))
    assert found.oddities


def test_a_time_is_the_same_however_it_is_spelled() -> None:
    config = {"clientIP": {"timeoutSeconds": 5400}}
    text = Renderer().ruleset(made(*web(sessionAffinity="ClientIP", sessionAffinityConfig=config)))
    found = traffic_of(read_ruleset(text.replace("timeout 5400s", "timeout 1h30m"), "a.nft"))
    assert "1h30m" in text.replace("timeout 5400s", "timeout 1h30m")
    assert found.oddities == ()


def test_a_table_of_another_layout_is_read_by_its_elements() -> None:
    ruleset = made(*web(externalTrafficPolicy="Local"))
    chains = tuple(
        Chain(
            one.name,
            tuple(
                replace(rule, comment=rule.comment.replace("layout 3", "layout 1"), text=rule.text + " counter")
                for rule in one.rules
            ),
            one.hook,
        )
        for one in ruleset.tables[IPV4].chains
    )
    found = traffic_of(edited(ruleset, nothing, chains=chains))
    assert found.frontends == traffic_of(ruleset).frontends
    assert not found.nodes[IPV4].standard
    assert len(odd(found)) == 1
    assert "is not this version's" in odd(found)[0]


def test_a_table_that_names_no_layout_is_read_by_its_elements() -> None:
    ruleset = made(*web())
    chains = tuple(one for one in ruleset.tables[IPV4].chains if one.name != "layout")
    found = traffic_of(edited(ruleset, nothing, chains=chains))
    assert found.frontends == traffic_of(ruleset).frontends
    assert odd(found) == ["table: it names no layout: its rules are not looked into"]


def test_what_cannot_be_understood_is_told() -> None:
    def spoil(elements: dict[str, dict[Key, Entry]]) -> None:
        elements["service-ips"]["10.96.0.1", 80] = Entry(("drop",))
        elements["affinity-endpoints"]["10.96.0.1", "tcp", 80, *AWAY] = Entry(("accept",))
        elements["allowed-sources"]["10.96.0.1", "tcp", 80, "10.0.0.1-10.0.0.9"] = Entry()
        elements["guarded-ips"]["10.96.0.1", "tcp", 80] = Entry()
        elements["tcp-endpoints"][slot(0)] = Entry(("nonsense",))
        elements["masquerade-ips"]["203.0.113.1", "tcp", 80] = Entry(("goto mine",))

    found = traffic_of(edited(made(*web(sessionAffinity="ClientIP")), spoil, flags=("owner", "0x8")))
    assert [one for one in odd(found) if one.startswith("table: ")] == [
        "table: chain guard-output is not there",
        "table: chain guard-prerouting is not there",
        "table: not understood: 0x8",
        "table: not understood: affinity-endpoints: 10.96.0.1 . tcp . 80 . 10.244.2.6 . 8080 leads to accept",
        "table: not understood: service-ips: 10.96.0.1 . 80",
    ]
    assert found.frontends[WEB].sources == ("10.0.0.1-10.0.0.9",)
    assert Target("nonsense", 0) in found.frontends[WEB].outside.endpoints
    assert found.frontends[EXTERNAL].masquerade == "goto mine, a chain that is not there"


def test_a_dormant_table_does_nothing() -> None:
    found = traffic_of(edited(made(*web()), nothing, flags=("dormant",)))
    assert found.frontends == {}
    assert found.nodes[IPV4].closed == frozenset()
    assert odd(found) == ["table: not understood: dormant: nothing in it is in effect"]


def test_a_source_range_for_a_frontend_that_nobody_serves_is_told() -> None:
    def guard(elements: dict[str, dict[Key, Entry]]) -> None:
        elements["guarded-ips"]["203.0.113.9", "tcp", 443] = Entry()

    found = traffic_of(edited(made(*web()), guard)).frontends[Where(IPV4, "203.0.113.9", "TCP", 443)]
    assert (found.name, found.sources, found.outside.outcome) == ("203.0.113.9:443/TCP", (), Outcome.PASS)


def test_a_table_without_anything_is_no_trouble() -> None:
    found = traffic_of(Ruleset({IPV6: Table(IPV6, (), (), {})}))
    assert (found.frontends, odd(found)) == ({}, ["table: it names no layout: its rules are not looked into"])


def test_addresses_are_values_or_plain_text_alike() -> None:
    """Those of manifests are `Address`, those that were read are `str`."""
    plain = edited(made(*web()), nothing)
    assert any(type(key[0]) is not str for key in plain.tables[IPV4].elements["service-ips"])
    assert isinstance(next(iter(plain.tables[IPV4].elements["service-ips"]))[0], Address)
    assert traffic_of(read_ruleset(Renderer().ruleset(plain), "a.nft")) == traffic_of(plain)
