"""How traffic differs, and in which words: one change at a time, and what is no change."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from rich.console import Console

from nftsvc.comparison import Comparison, Kind, compare_traffic
from nftsvc.explain import Outcome
from nftsvc.plan import make_plan
from nftsvc.report.comparison import (
    comparison_github,
    comparison_json,
    comparison_junit,
    comparison_lines,
    comparison_markdown,
    print_comparison,
)
from nftsvc.report.comparison_lines import shares
from nftsvc.ruleset import Chain, Ruleset, make_ruleset
from nftsvc.settings import Detector, DetectorKind, NodeSettings
from nftsvc.state import State
from nftsvc.traffic import traffic_of
from nftsvc.values import FAMILIES, Address, Family, Prefix
from tests.support.builders import NODE, NODE_ADDRESSES, Raw, decoded, endpoint_slice, service

HTTP = [{"name": "http", "port": 80}]
TARGET = [{"name": "http", "port": 8080}]
ONE, TWO, THREE = "10.244.1.5", "10.244.2.6", "10.244.3.4"
SOURCE = Detector(DetectorKind.SOURCE, "10.244.1.0/24")


def ruleset_of(raws: Iterable[Raw], **settings: object) -> Ruleset:
    known = {"name": NODE, "families": (Family.IPV4,), "node_port_addresses": NODE_ADDRESSES, **settings}
    return make_ruleset(make_plan(State.of(map(decoded, raws)), NodeSettings(**known)))  # type: ignore[arg-type]


def compared(old: Iterable[Raw], new: Iterable[Raw], **settings: object) -> Comparison:
    return compare_traffic(traffic_of(ruleset_of(old, **settings)), traffic_of(ruleset_of(new, **settings)))


def web(*endpoints: str, name: str = "web", address: str = "10.96.7.1", **spec: Any) -> list[Raw]:
    """Return a Service; its first endpoint is on this node, the others are elsewhere."""
    ports = spec.pop("ports", HTTP)
    targets = [{**TARGET[0], "name": one.get("name")} for one in ports]
    return [
        service(name, [address], ports, **spec),
        *(
            endpoint_slice(name, [one], targets, node=None if number else NODE, suffix=str(number))
            for number, one in enumerate(endpoints)
        ),
    ]


def told(comparison: Comparison) -> list[str]:
    """Return the lines without the summary and the empty ones."""
    return [line for line in list(comparison_lines(comparison))[1:] if line]


# Endpoints ------------------------------------------------------------------------------------------------------------


def test_endpoints_that_come_stay_and_go_are_told_with_their_share() -> None:
    found = compared(web(ONE, TWO), web(ONE, THREE, "10.244.3.5"))
    assert not found.same
    assert list(comparison_lines(found)) == [
        "1 Service changed, 0 added, 0 removed; 0 unchanged",
        "",
        "shop/web:http 10.96.7.1:80/TCP",
        "  + 10.244.3.4:8080  share 33 %",
        "  + 10.244.3.5:8080  share 33 %",
        "  ~ 10.244.1.5:8080  share 50 % -> 33 %",
        "  - 10.244.2.6:8080  share 50 %",
    ]


def test_many_endpoints_that_stay_are_told_in_one_line() -> None:
    many = [f"10.244.9.{number}" for number in range(1, 10)]
    assert told(compared(web(*many), web(*many, ONE)))[1:] == [
        "  + 10.244.1.5:8080  share 10 %",
        "  ~ 9 endpoints that stay  share 11 % -> 10 %",
    ]


def test_no_endpoint_any_more_is_a_reject() -> None:
    assert told(compared(web(ONE), web()))[1:] == [
        "  ~ connections  forward -> reject",
        "  - 10.244.1.5:8080  share 100 %",
    ]


@pytest.mark.parametrize(
    ("listed", "written"),
    [
        ((Fraction(1, 2), Fraction(1, 3)), ("50 %", "33 %")),
        ((Fraction(1), Fraction(1, 8)), ("100 %", "12 %")),
        ((Fraction(1, 100), Fraction(1, 101)), ("1 %", "0.99 %")),
        ((Fraction(1, 300), Fraction(1, 301)), ("0.333 %", "0.332 %")),
        ((Fraction(999, 1000), Fraction(1)), ("99.9 %", "100 %")),
        ((Fraction(0), Fraction(1, 3)), ("0 %", "33 %")),
        ((Fraction(1, 10**9), Fraction(1, 10**9 + 1)), ("1/1000000000", "1/1000000001")),
        ((Fraction(1, 7), Fraction(1, 7)), ("14 %", "14 %")),
    ],
)
def test_shares_have_as_few_digits_as_tell_them_apart(listed: tuple[Fraction, ...], written: tuple[str, ...]) -> None:
    assert shares(*listed) == written


def test_an_endpoint_that_comes_to_this_node_is_told_where_it_matters() -> None:
    here, there = (
        [service("web", ["10.96.7.1"], HTTP), endpoint_slice("web", [ONE], TARGET, node=node)]
        for node in (NODE, "node-b")
    )
    assert told(compared(there, here))[1:] == [
        "  ~ 10.244.1.5:8080  reaching itself not masqueraded -> masqueraded",
    ]
    assert compared(there, here, masquerade_all=True).same
    assert compared(there, here, detectors={Family.IPV4: Detector(DetectorKind.SOURCE, "10.244.9.0/24")}).same
    assert not compared(there, here, detectors={Family.IPV4: SOURCE}).same


def test_an_endpoint_that_everybody_is_refused_at_is_told() -> None:
    """Connections that are sent to another Service's address meet what others meet there."""
    front = [service("front", ["10.96.7.9"]), endpoint_slice("front", ["203.0.113.1"], [{"port": 80}])]
    found = compared([*web(ONE, externalIPs=["203.0.113.1"]), *front], [*web(externalIPs=["203.0.113.1"]), *front])
    assert told(found)[:2] == ["shop/front 10.96.7.9:80/TCP", "  ~ 203.0.113.1:80  share 100 %  then forward -> reject"]


# Facts ----------------------------------------------------------------------------------------------------------------

EXTERNAL = {"type": "LoadBalancer", "externalIPs": ["203.0.113.1"]}


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({}, {"sessionAffinity": "ClientIP"}, ["  + session affinity  10800 s"]),
        ({"sessionAffinity": "ClientIP"}, {}, ["  - session affinity  10800 s"]),
        (
            {"sessionAffinity": "ClientIP"},
            {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}},
            ["  ~ session affinity  10800 s -> 60 s"],
        ),
    ],
)
def test_session_affinity(old: Raw, new: Raw, lines: list[str]) -> None:
    assert told(compared(web(ONE, TWO, **old), web(ONE, TWO, **new)))[1:] == lines


def test_traffic_policy_local_is_told_for_those_it_concerns() -> None:
    found = compared(web(ONE, TWO, **EXTERNAL), web(ONE, TWO, **EXTERNAL, externalTrafficPolicy="Local"))
    assert told(found) == [
        "shop/web:http 203.0.113.1:80/TCP",
        "  ~ traffic policy  Cluster -> Local",
        "  ~ masquerade  everybody -> this node",
        "  ~ 10.244.1.5:8080  share 50 % -> 100 %  from elsewhere",
        "  - 10.244.2.6:8080  share 50 %  from elsewhere",
    ]


def test_traffic_policy_local_without_local_endpoint_drops() -> None:
    spec = {**EXTERNAL, "externalTrafficPolicy": "Local"}
    found = compared([web(ONE, **spec)[0]], web(ONE, **spec), name="node-c")
    assert "  ~ connections  reject -> drop  from elsewhere" in told(found)
    assert "  ~ connections  reject -> forward  from this node and its Pods" in told(found)


def ranged(*ranges: str) -> list[Raw]:
    raws = web(ONE, type="LoadBalancer", loadBalancerSourceRanges=list(ranges))
    raws[0]["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    return raws


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ((), ("10.0.0.0/8",), "  ~ allowed sources  everybody -> 10.0.0.0/8"),
        (("10.0.0.0/8",), ("10.0.0.0/9",), "  ~ allowed sources  10.0.0.0/8 -> 10.0.0.0/9"),
        (("10.0.0.0/8",), ("0.0.0.0/0",), "  ~ allowed sources  10.0.0.0/8 -> everybody"),
        (
            tuple(f"10.{number}.0.0/17" for number in range(5)),
            tuple(f"10.{number}.0.0/17" for number in range(1, 6)),
            "  ~ allowed sources  +10.5.0.0/17, -10.0.0.0/17, 4 stay",
        ),
    ],
)
def test_source_ranges(old: tuple[str, ...], new: tuple[str, ...], line: str) -> None:
    assert told(compared(ranged(*old), ranged(*new))) == ["shop/web:http 203.0.113.1:80/TCP", line]


def test_source_ranges_in_other_words_are_the_same() -> None:
    assert compared(ranged("10.0.0.0/9", "10.128.0.0/9"), ranged("10.0.0.0/8")).same


def test_masquerade_of_a_cluster_ip_that_becomes_external() -> None:
    old = web(ONE)
    new = [*web(ONE, address="10.96.7.2", externalIPs=["10.96.7.1"])]
    assert "  ~ masquerade  nobody -> everybody" in told(compared(old, new))
    assert "  ~ masquerade" not in "\n".join(told(compared(old, new, masquerade_all=True)))


# Services and frontends -----------------------------------------------------------------------------------------------


def test_services_that_come_and_go() -> None:
    old, new = web(ONE, name="old"), web(ONE, name="new", address="10.96.7.2", sessionAffinity="ClientIP")
    found = compared(
        [*old, *web(TWO, name="stays", address="10.96.7.3")], [*new, *web(TWO, name="stays", address="10.96.7.3")]
    )
    assert found.summary == "0 Services changed, 1 added, 1 removed; 1 unchanged"
    assert [(one.service, one.kind) for one in found.services] == [
        ("shop/new", Kind.ADDED),
        ("shop/old", Kind.REMOVED),
    ]
    assert told(found) == [
        "shop/new:http 10.96.7.2:80/TCP  new Service",
        "  + session affinity  10800 s",
        "  + 10.244.1.5:8080  share 100 %",
        "shop/old:http 10.96.7.1:80/TCP  Service removed, connections pass untouched",
        "  - 10.244.1.5:8080  share 100 %",
    ]


def test_a_new_service_without_endpoints_says_so() -> None:
    assert told(compared([], web()))[1:] == ["  + connections  reject"]


@pytest.mark.parametrize(
    ("cidrs", "then"),
    [((), "connections pass untouched"), ((Prefix("10.96.0.0/16"),), "connections are dropped")],
)
def test_what_becomes_of_connections_to_a_service_that_went(cidrs: tuple[Prefix, ...], then: str) -> None:
    found = compared(web(ONE), [], service_cidrs={Family.IPV4: cidrs})
    assert told(found)[0].endswith(f"Service removed, {then}")


def test_a_port_that_went_is_rejected_as_long_as_others_are_there() -> None:
    ports = [*HTTP, {"name": "admin", "port": 81}]
    found = compared(web(ONE, ports=ports), web(ONE))
    assert told(found)[0] == "shop/web:admin 10.96.7.1:81/TCP  removed, connections are rejected"
    assert found.summary == "1 Service changed, 0 added, 0 removed; 0 unchanged"


def test_a_port_without_endpoints_that_went_is_no_change_while_others_are_there() -> None:
    """Connections to it are rejected before and after."""
    ports = [*HTTP, {"name": "admin", "port": 81}]
    raws = web(ONE)
    with_admin = [{**raws[0], "spec": {**raws[0]["spec"], "ports": ports}}, *raws[1:]]
    assert compared(with_admin, raws).same
    assert not compared(with_admin, raws[1:]).same


def test_frontends_at_which_the_same_changes_are_told_together() -> None:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    old = web(ONE, ports=ports, type="NodePort", externalIPs=["203.0.113.1"])
    new = web(ONE, TWO, ports=ports, type="NodePort", externalIPs=["203.0.113.1"])
    assert told(compared(old, new))[0] == ("shop/web:http 10.96.7.1:80/TCP, 203.0.113.1:80/TCP, node port 30080/TCP")


def dual(**spec: Any) -> list[Raw]:
    return [
        service("web", ["10.96.7.1", "fd00:96::1"], [{"name": "http", "port": 80, "nodePort": 30080}], **spec),
        endpoint_slice("web", [ONE, TWO], TARGET),
        endpoint_slice("web", ["fd00:244:1::5", "fd00:244:1::6"], TARGET),
    ]


def test_facts_of_both_families_are_told_together() -> None:
    found = compared(dual(), dual(sessionAffinity="ClientIP"), families=FAMILIES)
    assert told(found) == [
        "shop/web:http 10.96.7.1:80/TCP, [fd00:96::1]:80/TCP, node port 30080/TCP",
        "  + session affinity  10800 s",
    ]


def test_a_node_port_in_one_family_only_says_which() -> None:
    less = [*dual()[:2], endpoint_slice("web", ["fd00:244:1::5"], TARGET)]
    assert told(compared(dual(), less, families=FAMILIES)) == [
        "shop/web:http [fd00:96::1]:80/TCP, node port 30080/TCP (IPv6)",
        "  ~ [fd00:244:1::5]:8080  share 50 % -> 100 %",
        "  - [fd00:244:1::6]:8080  share 50 %",
    ]


def test_a_frontend_that_goes_from_one_service_to_another_is_told_at_both() -> None:
    old = [*web(ONE, externalIPs=["203.0.113.1"]), *web(TWO, name="api", address="10.96.7.2")]
    new = [*web(ONE), *web(TWO, name="api", address="10.96.7.2", externalIPs=["203.0.113.1"])]
    found = compared(old, new)
    assert found.summary == "2 Services changed, 0 added, 0 removed; 0 unchanged"
    assert [line for line in told(found) if not line.startswith(" ")] == [
        "shop/api:http 203.0.113.1:80/TCP  added, was of shop/web:http",
        "shop/web:http 203.0.113.1:80/TCP  removed, now of shop/api:http",
    ]


def test_other_names_for_the_same_traffic_are_no_change() -> None:
    found = compared(web(ONE), web(ONE, name="site"))
    assert found.same
    assert found.renamed == (("shop/web:http", "shop/site:http"),)
    assert found.summary == "0 Services changed, 0 added, 0 removed; 1 unchanged; 1 renamed"
    assert told(found) == ["renamed, with the same traffic:", "  shop/web:http -> shop/site:http"]


def test_another_port_name_is_told_beside_what_changes() -> None:
    found = compared(web(ONE), web(ONE, TWO, ports=[{"name": "www", "port": 80}]))
    assert "  ~ port name  shop/web:http -> shop/web:www" in told(found)


# All Services ---------------------------------------------------------------------------------------------------------


def across(old: Mapping[str, Any], new: Mapping[str, Any], *raws: Raw) -> Comparison:
    given = raws or tuple(web(ONE, TWO, **EXTERNAL, externalTrafficPolicy="Local"))
    return compare_traffic(*(traffic_of(ruleset_of(given, **one)) for one in (old, new)))


INTERFACE = Detector(DetectorKind.INTERFACE_PREFIX, "veth")


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ({}, {"masquerade_all": True}, ["  ~ masquerade at cluster IPs  nobody -> everybody"]),
        (
            {"detectors": {Family.IPV4: SOURCE}},
            {"detectors": {Family.IPV4: INTERFACE}},
            ["  ~ Pods of this node  source in 10.244.1.0/24 -> comes in on veth*"],
        ),
        (
            {},
            {"detectors": {Family.IPV4: SOURCE}},
            [
                "  ~ masquerade at cluster IPs  nobody -> all but local Pods",
                "  + Pods of this node  source in 10.244.1.0/24",
            ],
        ),
        (
            {},
            {"service_cidrs": {Family.IPV4: (Prefix("10.96.0.0/16"),)}},
            ["  + other addresses are dropped in  10.96.0.0/16"],
        ),
    ],
)
def test_what_concerns_all_services_is_told_once(old: Raw, new: Raw, lines: list[str]) -> None:
    found = across(old, new)
    assert told(found) == ["all Services", *lines]
    assert found.summary.endswith(f"; {len(lines)} node-wide change{'s' * (len(lines) > 1)}")
    assert not found.same


def test_where_node_ports_answer_counts_where_there_are_any() -> None:
    elsewhere = {"node_port_addresses": {Family.IPV4: (Address("192.0.2.111"),)}}
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    assert told(across({}, elsewhere, *web(ONE, type="NodePort", ports=ports))) == [
        "all Services",
        "  ~ node ports answer on  these addresses: 192.0.2.11 -> these addresses: 192.0.2.111",
    ]
    assert across({}, elsewhere, *web(ONE)).same


def test_settings_that_no_service_is_concerned_by_are_no_change() -> None:
    assert across({}, {"masquerade_all": True}, *web()).same
    assert across({}, {"detectors": {Family.IPV4: SOURCE}}, *web()).same


def test_a_family_without_a_table_is_told() -> None:
    old, new = (traffic_of(ruleset_of(dual(), families=one)) for one in (FAMILIES, (Family.IPV4,)))
    found = compare_traffic(old, new)
    assert told(found)[:2] == ["all Services", "  ~ table  present -> absent  (IPv6)"]
    assert compare_traffic(old, old).same


def test_cluster_ips_whose_other_ports_open_or_close() -> None:
    old = web(ONE, externalIPs=["10.96.7.5"])
    new = [*old, *web(TWO, name="late", address="10.96.7.5")]
    assert told(compared(old, new))[:2] == ["all Services", "  ~ other ports of 10.96.7.5  pass -> reject"]


# Layouts --------------------------------------------------------------------------------------------------------------


def of_an_older_layout(ruleset: Ruleset) -> Ruleset:
    def aged(chain: Chain) -> Chain:
        rules = (replace(one, comment=one.comment.replace("layout 3.", "layout 1.")) for one in chain.rules)
        return replace(chain, rules=tuple(rules))

    return Ruleset(
        {family: replace(table, chains=tuple(map(aged, table.chains))) for family, table in ruleset.tables.items()}
    )


def test_another_layout_alone_is_the_same_traffic() -> None:
    new = ruleset_of(web(ONE))
    found = compare_traffic(traffic_of(of_an_older_layout(new)), traffic_of(new))
    assert found.same
    assert found.layout_differs
    lines = told(found)
    assert lines[0] == "same traffic, new layout:"
    assert lines[1].startswith("  IPv4: nftsvc layout 1.")


def test_other_settings_are_no_other_layout() -> None:
    assert not across({}, {"masquerade_all": True}).layout_differs


def test_rules_that_somebody_added_are_a_change() -> None:
    made = ruleset_of(web(ONE))
    table = made.tables[Family.IPV4]
    chains = tuple(replace(one, rules=()) if one.name == "filter-output" else one for one in table.chains)
    found = compare_traffic(traffic_of(made), traffic_of(Ruleset({Family.IPV4: replace(table, chains=chains)})))
    assert not found.same
    assert told(found) == [
        "all Services",
        "  ~ rules of chain filter-output  as usual -> no rule",
        "odd in the new ruleset:",
        "  IPv4 table: chain filter-output is not as nftsvc makes it: no rule",
    ]


# Formats --------------------------------------------------------------------------------------------------------------

CHANGED = (
    [*web(ONE), *web(TWO, name="gone", address="10.96.7.2")],
    [*web(ONE, TWO), *web(ONE, name="new", address="10.96.7.3")],
)
FILES = {"shop/web": "shop/web.yaml", "shop/gone": "old.yaml"}


def test_json_has_every_change() -> None:
    made = json.loads(comparison_json(compared(*CHANGED), FILES))
    assert list(made) == ["same", "summary", "services", "layouts", "node", "changes", "renamed", "oddities"]
    assert (made["same"], made["services"]) == (False, {"changed": 1, "added": 1, "removed": 1, "unchanged": 0})
    assert {one["service"]: (one["change"], one["file"]) for one in made["changes"]} == {
        "shop/gone": ("removed", "old.yaml"),
        "shop/new": ("added", None),
        "shop/web": ("changed", "shop/web.yaml"),
    }
    (port,) = made["changes"][2]["ports"]
    assert port == {
        "port": "shop/web:http",
        "change": "changed",
        "frontends": [{"family": "IPv4", "address": "10.96.7.1", "protocol": "TCP", "port": 80}],
        "other": None,
        "then": None,
        "changes": [
            {
                "fact": "endpoint",
                "clients": "everybody",
                "address": TWO,
                "port": 8080,
                "old": None,
                "new": {"share": 0.5, "then": "forward", "hairpin": True},
            },
            {
                "fact": "endpoint",
                "clients": "everybody",
                "address": ONE,
                "port": 8080,
                "old": {"share": 1.0, "then": "forward", "hairpin": True},
                "new": {"share": 0.5, "then": "forward", "hairpin": True},
            },
        ],
    }
    assert made["changes"][0]["ports"][0]["then"] == "pass"


def test_json_of_facts_and_of_what_concerns_all() -> None:
    made = json.loads(comparison_json(across({}, {"masquerade_all": True}, *dual())))
    assert made["node"] == [
        {
            "families": ["IPv4"],
            "fact": "clusterIPMasquerade",
            "subject": None,
            "old": ["nobody"],
            "new": ["everybody"],
        }
    ]
    made = json.loads(comparison_json(compared(web(ONE), web(ONE, sessionAffinity="ClientIP"))))
    assert made["changes"][0]["ports"][0]["changes"] == [
        {"fact": "sessionAffinity", "clients": "everybody", "old": [], "new": ["10800"]}
    ]


def test_markdown_is_a_diff_in_colour() -> None:
    assert comparison_markdown(compared(*CHANGED)).splitlines()[:6] == [
        "**1 Service changed, 1 added, 1 removed; 0 unchanged**",
        "",
        "```diff",
        "@@ shop/gone:http 10.96.7.2:80/TCP  Service removed, connections pass untouched @@",
        "- 10.244.2.6:8080  share 100 %",
        "",
    ]


def test_markdown_stays_within_what_a_comment_holds() -> None:
    old, new = (
        [
            raw
            for number in range(1200)
            for raw in web(one, name=f"s-{number}", address=f"10.97.{number // 200}.{number % 200 + 1}")
        ]
        for one in (ONE, TWO)
    )
    text = comparison_markdown(compared(old, new))
    assert len(text) < 65_536
    assert "more that this comment has no room for" in text


def test_github_has_a_line_for_each_service_and_names_its_file() -> None:
    lines = list(comparison_github(compared(*CHANGED), FILES))
    assert [line.partition("::")[2].partition("::")[0].replace("%3A", ":") for line in lines] == [
        "warning file=old.yaml,title=shop/gone: removed",
        "notice title=shop/new: added",
        "warning file=shop/web.yaml,title=shop/web: changed",
    ]
    assert "%0A  + 10.244.2.6:8080  share 50 %25" in lines[2]


def test_junit_fails_for_what_changes() -> None:
    same = web(THREE, name="same", address="10.96.7.9")
    root = ET.fromstring(comparison_junit(compared(*([*one, *same] for one in CHANGED)), FILES))  # noqa: S314 - ours
    cases = {
        (one.get("name"), one.get("classname")): [part.get("message") for part in one] for one in root.iter("testcase")
    }
    assert cases == {
        ("all Services", "nftsvc diff"): [],
        ("shop/gone", "old.yaml"): ["Service removed"],
        ("shop/new", "nftsvc diff"): ["Service added"],
        ("shop/same", "nftsvc diff"): [],
        ("shop/web", "shop/web.yaml"): ["Service changed"],
    }
    assert root.get("failures") == "3"


def test_text_is_coloured_by_what_comes_and_goes(capsys: pytest.CaptureFixture[str]) -> None:
    print_comparison(Console(force_terminal=True, no_color=False, highlight=False), compared(*CHANGED))
    printed = capsys.readouterr().out
    assert "\x1b[32m  + 10.244.2.6:8080  share 50 %\x1b[0m" in printed
    assert "\x1b[31m  - 10.244.2.6:8080  share 100 %\x1b[0m" in printed


def test_what_somebody_wrote_into_a_comment_does_nothing_to_a_terminal() -> None:
    made = ruleset_of(web(ONE))
    table = made.tables[Family.IPV4]
    elements = {
        **table.elements,
        "service-ips": {
            key: msgspec.structs.replace(one, comment="a/b:\x1b[2J[red]")
            for key, one in table.elements["service-ips"].items()
        },
    }
    other = traffic_of(Ruleset({Family.IPV4: replace(table, elements=elements)}))
    found = compare_traffic(traffic_of(ruleset_of([])), other)
    lines = list(comparison_lines(found))
    assert "a/b:\\x1b[2J[red] 10.96.7.1:80/TCP  new Service" in lines
    for text in (*lines, comparison_markdown(found), comparison_json(found), *comparison_github(found)):
        assert "\x1b" not in text


def test_outcomes_are_those_of_explain() -> None:
    assert {one.value for one in Outcome} == {"forward", "reject", "drop", "pass"}
