"""What nft lists, as values; in the spelling of nft 1.0.6 and of nft 1.1."""

import json
from typing import Any

import pytest

from nftsvc.kernel.listing import parse_table
from nftsvc.ruleset import Entry, Hook, NamedSet, Table
from nftsvc.values import Family

TYPES = ["ipv4_addr", "inet_proto", "inet_service"]
ENDPOINT_TYPES = {
    "1.0.6": ["ipv4_addr", "inet_service", "integer"],
    "1.1": {
        "typeof": {
            "concat": [
                {"payload": {"protocol": "ip", "field": "daddr"}},
                {"payload": {"protocol": "tcp", "field": "dport"}},
                {"numgen": {"mode": "random", "mod": 65536, "offset": 0}},
            ]
        }
    },
}
every_version = pytest.mark.parametrize("version", ENDPOINT_TYPES)


def parsed(*items: dict[str, Any], family: Family = Family.IPV4) -> Table:
    ours = {"family": "ip", "table": "nftsvc"}
    listed = [{kind: {**ours, **fields} for kind, fields in item.items()} for item in items]
    metainfo = {"metainfo": {"version": "1.0.6", "json_schema_version": 1}}
    table = {"table": {"family": "ip", "name": "nftsvc", "handle": 1}}
    return parse_table(json.dumps({"nftables": [metainfo, table, *listed]}), family)


def verdicts(*elements: Any, types: Any = TYPES, name: str = "service-ips") -> dict[str, Any]:
    return {"map": {"name": name, "handle": 2, "type": types, "map": "verdict", "elem": list(elements)}}


def element(value: Any, verdict: Any, **fields: Any) -> list[Any]:
    return [{"elem": {"val": value, **fields}}, verdict]


def test_empty_table_is_an_empty_value() -> None:
    assert parsed() == Table(Family.IPV4, (), (), {})


@pytest.mark.parametrize(("number", "name"), [(6, "tcp"), (17, "udp"), (132, "sctp")])
def test_verdict_element_has_its_protocol_by_name_its_comment_and_where_it_goes(number: int, name: str) -> None:
    key = {"concat": ["10.96.0.10", number, 53]}
    counted = {"counter": {"packets": 7, "bytes": 420}}
    table = parsed(verdicts(element(key, {"goto": {"target": "tcp-lb-2"}}, comment="a/b:c", **counted)))
    assert table.sets == (NamedSet("service-ips", "", "verdict"),)
    assert table.elements == {"service-ips": {("10.96.0.10", name, 53): Entry(("goto tcp-lb-2",), "a/b:c")}}


def test_unknown_protocol_is_a_key_that_we_would_not_have_made() -> None:
    table = parsed(verdicts([{"concat": ["10.96.0.10", 41, 53]}, {"drop": None}]))
    assert table.elements == {"service-ips": {("10.96.0.10", "41", 53): Entry(("drop",))}}


@pytest.mark.parametrize(
    ("verdict", "value"),
    [
        ({"goto": {"target": "x"}}, ("goto x",)),
        ({"jump": {"target": "x"}}, ("jump x",)),
        ({"drop": None}, ("drop",)),
    ],
)
def test_verdicts_are_told_apart(verdict: Any, value: tuple[str, ...]) -> None:
    table = parsed(verdicts([{"concat": ["10.96.0.10", 6, 53]}, verdict]))
    assert list(table.elements["service-ips"].values()) == [Entry(value)]


@pytest.mark.parametrize("verdict", [{"accept": None}, {"return": None}, {"continue": None}])
def test_verdict_that_we_never_make_is_none_of_ours(verdict: Any) -> None:
    table = parsed(verdicts([{"concat": ["10.96.0.10", 6, 53]}, verdict]))
    (entry,) = table.elements["service-ips"].values()
    assert entry.value
    assert entry.value != ("drop",)
    assert not str(entry.value[0]).startswith(("goto", "jump"))


def endpoints(version: str, *elements: Any) -> dict[str, Any]:
    data = ["ipv4_addr", "inet_service"]
    if version == "1.0.6":
        return {"map": {"name": "tcp-endpoints", "type": ENDPOINT_TYPES[version], "map": data, "elem": list(elements)}}
    typed = {"typeof": {"concat": [{"payload": {"protocol": "ip", "field": "daddr"}}]}}
    return {"map": {"name": "tcp-endpoints", "type": ENDPOINT_TYPES[version], "map": typed, "elem": list(elements)}}


@every_version
def test_endpoint_element_is_read_whatever_its_type_is_listed_as(version: str) -> None:
    listed = [{"concat": ["10.96.0.1", 80, 6]}, {"concat": ["10.244.1.1", 8080]}]
    table = parsed(endpoints(version, listed))
    assert table.elements == {"tcp-endpoints": {("10.96.0.1", 80, 6): Entry(("10.244.1.1", 8080))}}
    assert [(one.name, one.keyword) for one in table.sets] == [("tcp-endpoints", "map")]


@every_version
def test_map_without_elements_is_empty(version: str) -> None:
    listed = endpoints(version)
    del listed["map"]["elem"]
    assert parsed(listed).elements == {"tcp-endpoints": {}}


def test_sets_hold_plain_values_and_concatenations() -> None:
    table = parsed(
        {"set": {"name": "cluster-ips", "type": "ipv4_addr", "elem": ["10.96.0.1", "10.96.0.2"]}},
        {"set": {"name": "hairpin", "type": ["ipv4_addr"] * 2, "elem": [{"concat": ["10.244.1.1", "10.244.1.1"]}]}},
        {
            "set": {
                "name": "masquerade-nodeports",
                "type": ["inet_proto", "inet_service"],
                "elem": [{"concat": [6, 30080]}],
            }
        },
    )
    assert table.sets == (
        NamedSet("cluster-ips", ""),
        NamedSet("hairpin", ""),
        NamedSet("masquerade-nodeports", ""),
    )
    assert table.elements == {
        "cluster-ips": {("10.96.0.1",): Entry(), ("10.96.0.2",): Entry()},
        "hairpin": {("10.244.1.1", "10.244.1.1"): Entry()},
        "masquerade-nodeports": {("tcp", 30080): Entry()},
    }


def test_element_of_a_set_with_a_comment_is_read() -> None:
    one = {"elem": {"val": "10.96.0.1", "comment": "mine"}}
    table = parsed({"set": {"name": "cluster-ips", "type": "ipv4_addr", "elem": [one]}})
    assert table.elements == {"cluster-ips": {("10.96.0.1",): Entry((), "mine")}}


@pytest.mark.parametrize(
    ("listed", "canonical"), [("::192.0.2.1", "::c000:201"), ("fd00:96::1", "fd00:96::1"), ("192.0.2.1", "192.0.2.1")]
)
def test_addresses_are_spelled_as_we_spell_them(listed: str, canonical: str) -> None:
    table = parsed({"set": {"name": "cluster-ips", "type": "ipv6_addr", "elem": [listed]}}, family=Family.IPV6)
    assert table.elements == {"cluster-ips": {(canonical,): Entry()}}
    value = [{"concat": ["fd00:96::1", 80, 0]}, {"concat": [listed, 8080]}]
    table = parsed(endpoints("1.1", value), family=Family.IPV6)
    assert table.elements["tcp-endpoints"]["fd00:96::1", 80, 0] == Entry((canonical, 8080))


def test_chains_have_their_hook_and_their_rules_by_comment() -> None:
    hook = {"type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}
    table = parsed(
        {"chain": {"name": "services", "handle": 3}},
        {"chain": {"name": "nat-prerouting", "handle": 4, **hook}},
        {"rule": {"chain": "services", "handle": 5, "comment": "one", "expr": []}},
        {"rule": {"chain": "nat-prerouting", "handle": 6, "comment": "to Services", "expr": []}},
        {"rule": {"chain": "services", "handle": 7, "expr": [{"drop": None}]}},
    )
    assert [(chain.name, [rule.comment for rule in chain.rules], chain.hook) for chain in table.chains] == [
        ("services", ["one", ""], None),
        ("nat-prerouting", ["to Services"], Hook("nat", "prerouting", -100)),
    ]


def test_layout_is_what_the_layout_chains_rule_says() -> None:
    table = parsed(
        {"chain": {"name": "layout"}}, {"rule": {"chain": "layout", "comment": "nftsvc layout 1.x", "expr": []}}
    )
    assert table.layout == "nftsvc layout 1.x"
    assert parsed().layout == ""
