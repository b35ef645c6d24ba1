"""The plan as nftables objects: what is where, and that only elements depend on the Services."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest

from nftsvc.plan import Plan
from nftsvc.ruleset import (
    EMPTY,
    Chain,
    Elements,
    Entry,
    Rule,
    Ruleset,
    Table,
    cut_comment,
    elements,
    frontend_key,
    layout,
    make_ruleset,
)
from nftsvc.ruleset.layout import chains_of
from nftsvc.ruleset.names import BY_PORT
from nftsvc.settings import Detector, DetectorKind, NodeSettings
from nftsvc.values import Address, Family, Prefix
from tests.support.builders import NODE_ADDRESSES, Raw, endpoint_slice, many_services, plan_of, service

V4, V6 = Family.IPV4, Family.IPV6
NODE_PORT: Raw = {"port": 80, "nodePort": 30080}
VERDICT_MAPS = ("service-ips", "no-endpoints", "nodeports", "no-endpoint-nodeports")


def table(*raws: Raw, family: Family = V4, **settings: object) -> Table:
    return make_ruleset(plan_of(*raws, **settings)).tables[family]  # type: ignore[arg-type]


def web(*addresses: str, port: Raw = NODE_PORT) -> tuple[Raw, Raw]:
    return service("web", ["10.96.0.1"], [port]), endpoint_slice("web", addresses)


def filled(one: Table) -> dict[str, Elements]:
    return {name: elements for name, elements in one.elements.items() if elements}


def rules(one: Table) -> Iterator[tuple[str, Rule]]:
    return ((chain.name, rule) for chain in one.chains for rule in chain.rules)


# Elements ------------------------------------------------------------------------------------------------------------


def test_service_with_endpoints_is_these_elements_and_no_others() -> None:
    node = NODE_ADDRESSES[V4][0]
    assert filled(table(*web("10.244.1.1", "10.244.1.2"))) == {
        "service-ips": {("10.96.0.1", "tcp", 80): Entry(("goto tcp-lb-2",), "shop/web")},
        "tcp-endpoints": {
            ("10.96.0.1", 80, 0): Entry(("10.244.1.1", 8080)),
            ("10.96.0.1", 80, 1): Entry(("10.244.1.2", 8080)),
        },
        "cluster-ips": {("10.96.0.1",): Entry()},
        "nodeport-ips": {(node,): Entry()},
        "nodeports": {("tcp", 30080): Entry(("goto tcp-nodeport-lb-2",), "shop/web")},
        "tcp-nodeport-endpoints": {
            (30080, 0): Entry(("10.244.1.1", 8080)),
            (30080, 1): Entry(("10.244.1.2", 8080)),
        },
        "masquerade-nodeports": {("tcp", 30080): Entry(("goto masquerade-always",))},
        "hairpin": {
            ("10.244.1.1", "10.244.1.1"): Entry(),
            ("10.244.1.2", "10.244.1.2"): Entry(),
        },
    }


def test_service_without_endpoints_is_rejected_and_nothing_else() -> None:
    found = filled(table(service("web", ["10.96.0.1"], [{"name": "http", **NODE_PORT}])))
    assert found == {
        "no-endpoints": {("10.96.0.1", "tcp", 80): Entry(("goto reject-connection",), "shop/web:http")},
        "no-endpoint-nodeports": {("tcp", 30080): Entry(("goto reject-connection",), "shop/web:http")},
        "cluster-ips": {("10.96.0.1",): Entry()},
        "nodeport-ips": {(NODE_ADDRESSES[V4][0],): Entry()},
    }


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
def test_each_protocol_has_its_own_endpoint_maps_and_chains(protocol: str) -> None:
    low = protocol.lower()
    port = {**NODE_PORT, "protocol": protocol}
    raws = service("web", ["10.96.0.1"], [port]), endpoint_slice("web", ["10.244.1.1"], [{**port, "port": 8080}])
    one = table(*raws)
    assert one.elements["service-ips"]["10.96.0.1", low, 80].value == (f"goto {low}-lb-1",)
    assert one.elements["nodeports"][low, 30080].value == (f"goto {low}-nodeport-lb-1",)
    maps = {name for name in filled(one) if name.endswith("endpoints") and not name.startswith("no")}
    assert maps == {f"{low}-endpoints", f"{low}-nodeport-endpoints"}
    balancers = {chain.name for chain in one.chains if "-lb-" in chain.name}
    assert balancers == {f"{low}-lb-1", f"{low}-nodeport-lb-1"}
    for name, rule in rules(one):
        if name in balancers:
            assert rule.text.startswith(f"meta l4proto {low} dnat ip to ")
            assert re.search(rf"numgen random mod 1 map @{name.replace('lb-1', 'endpoints')}$", rule.text)


def test_families_have_the_same_names_and_their_own_elements() -> None:
    plan = plan_of(
        service("web", ["10.96.0.1", "fd00:96::1"]),
        endpoint_slice("web", ["10.244.1.1"]),
        endpoint_slice("web", ["fd00:244:1::1"]),
    )
    four, six = (make_ruleset(plan).tables[family] for family in (V4, V6))
    names = [[one.name for one in table.sets if "affinity" not in one.name] for table in (four, six)]
    assert names[0] == names[1]
    assert [one.name for one in four.chains] == [one.name for one in six.chains]
    assert list(six.elements["tcp-endpoints"].items()) == [
        (("fd00:96::1", 80, 0), Entry(("fd00:244:1::1", 8080))),
    ]
    assert not re.search(
        r"(?<!-)\bip\b|ipv4",
        " ".join([*(rule.text for _, rule in rules(six)), *(" ".join(one.declaration) for one in six.sets)]),
    )


@pytest.mark.parametrize("families", [(V4,), (V6,), (V4, V6)])
def test_there_is_a_table_for_each_family_of_the_node(families: tuple[Family, ...]) -> None:
    assert tuple(make_ruleset(plan_of(families=families)).tables) == families


def test_hairpin_holds_only_endpoints_that_may_be_on_the_node() -> None:
    slices = [
        endpoint_slice("web", [f"10.244.{number}.1"], node=node, suffix=str(number))
        for number, node in enumerate(("node-a", "node-b", None), 1)
    ]
    raws = (service("web", ["10.96.0.1"]), *slices)
    here = [("10.244.1.1", "10.244.1.1"), ("10.244.3.1", "10.244.3.1")]
    assert list(table(*raws).elements["hairpin"]) == here
    assert len(table(*raws, node=None).elements["hairpin"]) == 3


def test_endpoint_of_two_services_is_in_hairpin_once() -> None:
    raws = [*web("10.244.1.1"), service("api", ["10.96.0.2"]), endpoint_slice("api", ["10.244.1.1"])]
    assert len(table(*raws).elements["hairpin"]) == 1


def test_elements_are_ordered_by_number_not_by_spelling() -> None:
    raws = [
        service(f"s-{number}", [address], [{"name": "a", "port": 443}, {"name": "b", "port": 80}])
        for number, address in enumerate(("10.96.0.10", "10.96.0.9", "9.0.0.1"))
    ]
    keys = list(table(*raws).elements["no-endpoints"])
    assert [key[0] for key in keys[::2]] == ["9.0.0.1", "10.96.0.9", "10.96.0.10"]
    assert [key[2] for key in keys[:2]] == [80, 443]
    slots = table(*web(*(f"10.244.1.{number}" for number in range(1, 13)))).elements["tcp-endpoints"]
    assert [key[-1] for key in slots] == list(range(12))


# Slots ---------------------------------------------------------------------------------------------------------------


def slots(ruleset: Ruleset, name: str = "tcp-endpoints") -> list[str | int]:
    return [entry.value[0] for entry in ruleset.tables[V4].elements[name].values()]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("235", "1235", "2351"),  # who is new comes last, though first in order
        ("1234", "234", "423"),  # the last one takes the place of who goes
        ("123", "423", "423"),  # a replacement takes the place of who goes
        ("123", "12", "12"),
        ("123", "123", "123"),
    ],
)
def test_slots_are_kept_from_the_ruleset_as_it_is(before: str, after: str, expected: str) -> None:
    def plan(numbers: str) -> Plan:
        return plan_of(*web(*(f"10.244.1.{number}" for number in numbers)))

    current = make_ruleset(plan(before))
    wanted = make_ruleset(plan(after), current)
    for name in ("tcp-endpoints", "tcp-nodeport-endpoints"):
        assert slots(wanted, name) == [f"10.244.1.{number}" for number in expected]
    assert slots(make_ruleset(plan(after))) == [f"10.244.1.{number}" for number in sorted(after)]


def test_slots_of_other_frontends_are_none_of_mine() -> None:
    current = make_ruleset(plan_of(*web("10.244.1.2")))
    api = (service("api", ["10.96.0.2"]), endpoint_slice("api", ["10.244.1.1", "10.244.1.2"]))
    assert slots(make_ruleset(plan_of(*api), current)) == ["10.244.1.1", "10.244.1.2"]


# Names and comments --------------------------------------------------------------------------------------------------


def test_comment_of_128_bytes_stays_and_a_longer_one_is_cut_to_that() -> None:
    assert cut_comment("a" * 128) == "a" * 128
    assert len(cut_comment("a" * 129)) == 128
    assert len(cut_comment("é" * 100).encode()) <= 128
    assert cut_comment("a" * 300).startswith("a" * 110)


def test_comments_that_differ_only_where_they_are_cut_stay_different() -> None:
    texts = ["a" * 128, *("a" * 128 + end for end in ("b", "c", "bb")), "a" * 127 + "b"]
    assert len({cut_comment(text) for text in texts}) == len(texts)


def test_longest_names_there_can_be_fit_and_stay_different() -> None:
    label = "x" * 62
    ports = [{"name": label + end, "port": number} for number, end in enumerate("ab", 80)]
    raws = [service(label + end, [f"10.96.0.{number}"], ports, label + "n") for number, end in enumerate("ab", 1)]
    comments = [entry.comment for entry in table(*raws).elements["no-endpoints"].values()]
    assert len(set(comments)) == 4
    assert max(len(comment.encode()) for comment in comments) == 128


def test_frontend_of_an_element_is_its_key_in_the_verdict_map() -> None:
    assert frontend_key("udp-endpoints", ("10.96.0.1", 53, 4)) == ("10.96.0.1", "udp", 53)
    assert frontend_key("sctp-nodeport-endpoints", (30053, 4)) == ("sctp", 30053)
    assert frontend_key("service-ips", ("10.96.0.1", "tcp", 80)) == ("10.96.0.1", "tcp", 80)
    assert frontend_key("masquerade-nodeports", ("tcp", 30080)) == ("tcp", 30080)
    for shared in ("hairpin", "cluster-ips", "nodeport-ips"):
        assert frontend_key(shared, ("10.244.1.1",)) is None


# Skeleton ------------------------------------------------------------------------------------------------------------


def everything() -> Plan:
    return plan_of(*web("10.244.1.1", "10.244.1.2"), service("empty", ["10.96.0.2"], [{"port": 1, "nodePort": 30001}]))


@pytest.mark.parametrize("restricted", [True, False])
@pytest.mark.parametrize("family", [V4, V6])
def test_everything_that_rules_and_verdicts_lead_to_is_there(restricted: bool, family: Family) -> None:
    one = table(node_port_addresses=NODE_ADDRESSES if restricted else {}, family=family)
    full = make_ruleset(everything()).tables[V4]
    for made in (one, full):
        text = " ".join(rule.text for _, rule in rules(made))
        chains = {chain.name for chain in made.chains}
        assert set(re.findall(r"@([\w-]+)", text)) <= {each.name for each in made.sets}
        verdicts = " ".join(
            str(part) for elements in made.elements.values() for entry in elements.values() for part in entry.value
        )
        assert set(re.findall(r"(?:goto|jump) ([\w-]+)", f"{text} {verdicts}")) <= chains
        assert made.elements.keys() == {each.name for each in made.sets}


def test_every_verdict_map_counts_and_no_endpoint_map_does() -> None:
    sets = {one.name: one for one in make_ruleset(everything()).tables[V4].sets}
    assert {name for name, one in sets.items() if one.counter} == set(VERDICT_MAPS)
    assert all(sets[name].data == "verdict" for name in VERDICT_MAPS)


def test_maps_with_expressions_as_keys_are_declared_by_typeof_and_others_by_type() -> None:
    for one in make_ruleset(everything()).tables[V4].sets:
        word = "typeof" if one.name.startswith(("tcp-", "udp-", "sctp-")) else "type"
        assert one.declaration[0].split()[0] == word
        assert (" : " in one.declaration[0]) == (one.keyword == "map")


ALWAYS = {
    ("nat", "prerouting", -100),
    ("nat", "output", -100),
    ("nat", "postrouting", 100),
    ("filter", "input", 0),
    ("filter", "forward", 0),
    ("filter", "output", 0),
}
STAYS: Raw = {"sessionAffinity": "ClientIP"}
GUARDED: Raw = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["198.51.100.0/24"]}


@pytest.mark.parametrize(
    ("spec", "more"),
    [
        ({}, set()),
        (STAYS, {("nat", "input", 100)}),
        (GUARDED, {("filter", "prerouting", -110), ("filter", "output", -110)}),
    ],
    ids=["nothing special", "affinity", "source ranges"],
)
def test_base_chains_are_where_packets_meet_them_and_only_those_in_use(
    spec: Raw, more: set[tuple[str, str, int]]
) -> None:
    balanced = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
    plan = plan_of({**service("other", ["10.96.0.9"], **spec), **balanced}, endpoint_slice("other", ["10.244.1.1"]))
    hooks = [chain.hook for chain in make_ruleset(plan).tables[V4].chains if chain.hook]
    assert {(hook.type, hook.hook, hook.priority) for hook in hooks} == ALWAYS | more
    assert len(hooks) == len(ALWAYS | more)


def test_every_rule_has_a_comment_that_no_other_of_its_chain_has() -> None:
    for chain in make_ruleset(everything()).tables[V4].chains:
        comments = [rule.comment for rule in chain.rules]
        assert all(comments)
        assert len(set(comments)) == len(comments)


def test_balancers_exist_for_the_endpoint_counts_in_use_only() -> None:
    plan = plan_of(
        *web("10.244.1.1", "10.244.1.2"), service("api", ["10.96.0.2"]), endpoint_slice("api", ["10.244.1.1"])
    )
    chains = [chain.name for chain in make_ruleset(plan).tables[V4].chains if "-lb-" in chain.name]
    assert chains == ["tcp-lb-1", "tcp-lb-2", "tcp-nodeport-lb-2"]


def shape(plan: Plan) -> dict[Family, tuple[tuple[Chain, ...], tuple[object, ...]]]:
    return {family: (one.chains, one.sets) for family, one in make_ruleset(plan).tables.items()}


def test_chains_rules_sets_and_maps_do_not_depend_on_the_number_of_services() -> None:
    assert shape(many_services(10)) == shape(many_services(500))
    first, second = (make_ruleset(many_services(count)).tables[V4] for count in (10, 500))
    assert [rule.text for _, rule in rules(first)] == [rule.text for _, rule in rules(second)]
    assert len(second.elements["service-ips"]) == 50 * len(first.elements["service-ips"])


# Layout --------------------------------------------------------------------------------------------------------------


def test_layout_does_not_change_with_services_or_node_addresses() -> None:
    other = {V4: (Address("192.0.2.99"), Address("192.0.2.98"))}
    layouts = {
        make_ruleset(plan).tables[V4].layout
        for plan in (everything(), many_services(3), plan_of(), plan_of(node_port_addresses=other), plan_of(node="x"))
    }
    assert len(layouts) == 1
    assert re.fullmatch(r"nftsvc layout \d+\.[0-9a-f]{8}\.[0-9a-f]{8}", layouts.pop())


def test_layout_changes_with_the_way_node_ports_are_found() -> None:
    layouts = [table(node_port_addresses=addresses).layout for addresses in (NODE_ADDRESSES, {})]
    assert layouts[0] != layouts[1]
    assert ("nodeport-ips" in table().elements) is True
    assert ("nodeport-ips" in table(node_port_addresses={}).elements) is False


def test_layout_differs_between_families() -> None:
    tables = make_ruleset(plan_of()).tables
    assert tables[V4].layout != tables[V6].layout


@pytest.mark.parametrize(
    ("name", "value"),
    [("COMMENT_BYTES", 100), ("REJECT", "reject-it"), ("HAIRPIN", "to-itself"), ("LAYOUT", 1)],
)
def test_layout_changes_with_rules_and_sets_and_nothing_else(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, sets = table().layout, table().sets_layout
    monkeypatch.setattr(elements if name == "COMMENT_BYTES" else layout, name, value)
    assert (table().layout == before) == (name == "COMMENT_BYTES")
    assert (table().sets_layout == sets) == (name not in {"HAIRPIN", "LAYOUT"})


@pytest.mark.parametrize("function", ["_masquerading", "_balancer"])
def test_layout_changes_with_the_text_of_a_rule_whose_comment_stays(
    function: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, plain = table().layout, getattr(layout, function)

    def with_another_text(*arguments: object, **more: object) -> object:
        made = plain(*arguments, **more)
        if isinstance(made, Chain):
            return Chain(made.name, tuple(Rule.of(f"counter {rule.text}", rule.comment) for rule in made.rules))
        return (Rule.of(f"counter {rule.text}", rule.comment) for rule in made)

    sets = table().sets_layout
    monkeypatch.setattr(layout, function, with_another_text)
    assert table().layout != before
    assert table().sets_layout == sets, "sets are the same, so elements may stay"


def test_node_ports_of_a_node_whose_addresses_are_unknown_are_those_of_the_machine_but_loopback() -> None:
    for family, loopback in ((V4, "ip daddr != 127.0.0.0/8"), (V6, "ip6 daddr != ::1")):
        texts = [
            rule.text for _, rule in rules(table(node_port_addresses={}, family=family)) if "nodeports" in rule.text
        ]
        assert [text for text in texts if f"fib daddr type local {loopback}" in text]


def test_rulesets_without_services_are_not_empty() -> None:
    made = make_ruleset(plan_of())
    assert made != EMPTY
    assert all(one.layout for one in made.tables.values())


def test_ruleset_is_a_value() -> None:
    assert make_ruleset(everything()) == make_ruleset(everything())
    assert all(one != two for one, two in pairwise([make_ruleset(everything()), EMPTY, make_ruleset(plan_of())]))


@pytest.mark.parametrize("name", ["drop", "jump evil", "@x"])
def test_words_of_a_rule_are_not_those_of_an_interfaces_name(name: str) -> None:
    assert Rule.of(f'iifname "{name}" goto local-ips', "").words == ("goto", "local-ips")


POD_NETWORK = Detector(DetectorKind.SOURCE, Prefix("10.244.0.0/16"))
NODE_PORTS_AT: dict[str, dict[str, Any]] = {
    "anywhere": {},
    "networks, which may hold cluster IPs": {"node_port_networks": {V4: (Prefix("10.0.0.0/8"),)}},
    "the node's addresses": {"node_port_addresses": {V4: (Address("192.0.2.11"),)}},
}


@pytest.mark.parametrize("where", NODE_PORTS_AT)
@pytest.mark.parametrize("node_ports", [False, True])
def test_pods_are_told_before_cluster_ips_unless_those_must_be_kept_from_the_rule_for_node_ports(
    where: str, node_ports: bool
) -> None:
    settings = NodeSettings(families=(V4,), detectors={V4: POD_NETWORK}, **NODE_PORTS_AT[where])
    used = (BY_PORT.masquerade,) * node_ports
    (chain,) = (one for one in chains_of(settings, V4, used) if one.name == "masquerading")
    (rule,) = (one for one in chain.rules if one.comment == "cluster IPs")
    ends = node_ports and where != "the node's addresses"
    who = "" if ends else "ip saddr != @pod-cidrs "
    assert rule.text == f"{who}ct original ip daddr @cluster-ips goto masquerade-cluster-ip"
