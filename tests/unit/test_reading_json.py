"""What nft lists as JSON, as values; in the spelling of nft 1.0.6 and of nft 1.1."""

import json
from typing import Any

import pytest

from nftsvc.errors import InputError
from nftsvc.reading import parse_table, read_ruleset
from nftsvc.ruleset import NFT_FAMILY, Entry, Hook, NamedSet, Table
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


def listing(*items: dict[str, Any], family: Family = Family.IPV4) -> str:
    ours = {"family": NFT_FAMILY[family], "table": "nftsvc"}
    listed = [{kind: {**ours, **fields} for kind, fields in item.items()} for item in items]
    metainfo = {"metainfo": {"version": "1.0.6", "json_schema_version": 1}}
    table = {"table": {"family": NFT_FAMILY[family], "name": "nftsvc", "handle": 1}}
    return json.dumps({"nftables": [metainfo, table, *listed]})


def parsed(*items: dict[str, Any], family: Family = Family.IPV4) -> Table:
    """Return the table, read both ways."""
    text = listing(*items, family=family)
    table = parse_table(text, family)
    assert read_ruleset(text, "ruleset.json").tables == {family: table}
    return table


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
    assert table.sets == (NamedSet("service-ips", "ipv4_addr . inet_proto . inet_service", "verdict"),)
    assert table.elements == {"service-ips": {("10.96.0.10", name, 53): Entry(("goto tcp-lb-2",), "a/b:c")}}


def test_unknown_protocol_is_a_key_that_we_would_not_have_made() -> None:
    table = parsed(verdicts([{"concat": ["10.96.0.10", 41, 53]}, {"drop": None}]))
    assert table.elements == {"service-ips": {("10.96.0.10", "41", 53): Entry(("drop",))}}


@pytest.mark.parametrize(
    ("verdict", "value"),
    [
        ({"accept": None}, ("accept",)),
        ({"return": None}, ("return",)),
        ({"goto": {"target": "x"}}, ("goto x",)),
        ({"jump": {"target": "x"}}, ("jump x",)),
        ({"drop": None}, ("drop",)),
    ],
)
def test_verdicts_are_told_apart(verdict: Any, value: tuple[str, ...]) -> None:
    table = parsed(verdicts([{"concat": ["10.96.0.10", 6, 53]}, verdict]))
    assert list(table.elements["service-ips"].values()) == [Entry(value)]


def endpoints(version: str, *elements: Any) -> dict[str, Any]:
    data = ["ipv4_addr", "inet_service"]
    listed = " . ".join(data) if version == "1.0.6" else data
    return {"map": {"name": "tcp-endpoints", "type": ENDPOINT_TYPES[version], "map": listed, "elem": list(elements)}}


@every_version
def test_endpoint_element_is_read_whatever_its_type_is_listed_as(version: str) -> None:
    listed = [{"concat": ["10.96.0.1", 80, 6]}, {"concat": ["10.244.1.1", 8080]}]
    table = parsed(endpoints(version, listed))
    assert table.elements == {"tcp-endpoints": {("10.96.0.1", 80, 6): Entry(("10.244.1.1", 8080))}}
    key = {"1.0.6": "ipv4_addr . inet_service . integer", "1.1": "ip daddr . tcp dport . numgen random mod 65536"}
    assert table.sets == (NamedSet("tcp-endpoints", key[version], "ipv4_addr . inet_service"),)


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
        NamedSet("cluster-ips", "ipv4_addr"),
        NamedSet("hairpin", "ipv4_addr . ipv4_addr"),
        NamedSet("masquerade-nodeports", "inet_proto . inet_service"),
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
    ("listed", "canonical"),
    [
        ("::192.0.2.1", "::c000:201"),
        ("aaaa::1.2.3.4", "aaaa::102:304"),  # nft 1.1.0
        ("fd00:96::1", "fd00:96::1"),
    ],
)
def test_addresses_are_spelled_as_we_spell_them(listed: str, canonical: str) -> None:
    table = parsed({"set": {"name": "cluster-ips", "type": "ipv6_addr", "elem": [listed]}}, family=Family.IPV6)
    assert table.elements == {"cluster-ips": {(canonical,): Entry()}}
    value = [{"concat": ["fd00:96::1", 80, 0]}, {"concat": [listed, 8080]}]
    types = {"type": ["ipv6_addr", "inet_service", "integer"], "map": ["ipv6_addr", "inet_service"]}
    table = parsed({"map": {"name": "tcp-endpoints", **types, "elem": [value]}}, family=Family.IPV6)
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


# What differs by version and by how it was listed ---------------------------------------------------------------------


@pytest.mark.parametrize("flags", ["interval", ["interval"]])
def test_single_flag_is_a_word_or_a_list(flags: object) -> None:
    networks = [{"prefix": {"addr": "10.96.0.0", "len": 16}}, "192.0.2.1", {"range": ["10.0.0.3", "10.0.0.9"]}]
    table = parsed({"set": {"name": "service-cidrs", "type": "ipv4_addr", "flags": flags, "elem": networks}})
    assert table.sets == (NamedSet("service-cidrs", "ipv4_addr", interval=True),)
    assert list(table.elements["service-cidrs"]) == [("10.96.0.0/16",), ("192.0.2.1",), ("10.0.0.3-10.0.0.9",)]


@pytest.mark.parametrize("flags", [["timeout"], ["timeout", "dynamic"]])
def test_map_that_packets_fill_is_dynamic_though_old_versions_do_not_say_so(flags: list[str]) -> None:
    record = [{"elem": {"val": "10.244.1.5", "timeout": 10800, "expires": 10790}}, "10.244.2.9"]
    table = parsed(
        {"map": {"name": "affinity", "type": "ipv4_addr", "map": "ipv4_addr", "flags": flags, "elem": [record]}}
    )
    assert table.sets == (NamedSet("affinity", "ipv4_addr", "ipv4_addr", dynamic=True),)
    assert table.elements == {"affinity": {("10.244.1.5",): Entry(("10.244.2.9",))}}


@pytest.mark.parametrize("statements", [[{"counter": None}], [{"last": None}, {"counter": {"packets": 1, "bytes": 2}}]])
def test_set_that_counts_says_so(statements: object) -> None:
    fields = {"name": "service-ips", "type": "ipv4_addr", "map": "verdict", "stmt": statements}
    assert parsed({"map": fields}).sets[0].counter


UPDATES = (
    "update @affinity { ip saddr timeout 3h : ip daddr }",  # nft 1.0.6 has text where others have JSON
    {"map": {"op": "update", "elem": {"payload": {"protocol": "ip", "field": "saddr"}}, "map": "@affinity"}},
)


@pytest.mark.parametrize("update", UPDATES)
def test_rule_that_records_what_packets_show_looks_into_its_map(update: object) -> None:
    matched = {"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]}}}
    rule = {"rule": {"chain": "remember-60", "comment": "for 60 s", "expr": [matched, update]}}
    (chain,) = parsed({"chain": {"name": "remember-60"}}, rule).chains
    assert [one.words for one in chain.rules] == [("@affinity",)]


def test_flags_of_the_table_are_kept() -> None:
    text = json.dumps({"nftables": [{"table": {"family": "ip", "name": "nftsvc", "flags": ["owner", "persist"]}}]})
    assert read_ruleset(text, "x").tables[Family.IPV4].flags == ("owner", "persist")


def test_tables_and_objects_of_others_are_passed_over() -> None:
    ours = json.loads(listing({"chain": {"name": "services"}}))
    others = [
        {"table": {"family": "inet", "name": "nftsvc"}},
        {"set": {"family": "ip", "table": "filter", "name": "s", "type": {"odd": 1}, "elem": 7}},
        {"rule": {"family": "ip6", "table": "filter", "chain": "x", "expr": "?"}},
        {"counter": {"family": "ip", "table": "nftsvc", "name": "c", "packets": 1}},
        {"flush": {"ruleset": None}},
        [],
        None,
    ]
    ours["nftables"] += others
    ruleset = read_ruleset(json.dumps(ours), "x")
    assert ruleset.tables.keys() == {Family.IPV4}
    assert [one.name for one in ruleset.tables[Family.IPV4].chains] == ["services"]


# What cannot be read --------------------------------------------------------------------------------------------------

SERVICE = {"name": "service-ips", "type": TYPES, "map": "verdict"}
BAD = {
    "port": ({"map": {**SERVICE, "elem": [[{"concat": ["10.0.0.1", 6, 70000]}, {"drop": None}]]}}, "'70000'"),
    "parts": ({"map": {**SERVICE, "elem": [[{"concat": ["10.0.0.1", 6]}, {"drop": None}]]}}, "2 parts, not 3"),
    "nowhere": ({"map": {**SERVICE, "elem": [{"concat": ["10.0.0.1", 6, 80]}]}}, "leads to nothing"),
    "verdict": ({"map": {**SERVICE, "elem": [[{"concat": ["10.0.0.1", 6, 80]}, "x"]]}}, "where a verdict should be"),
    "elements": ({"map": {**SERVICE, "elem": 7}}, "7 where elements should be"),
    "value": ({"set": {"name": "s", "type": "ipv4_addr", "elem": [{"odd": 1}]}}, "where a value should be"),
    "family": ({"set": {"name": "s", "type": "ipv4_addr", "elem": ["fd00::1"]}}, "not an IPv4 address"),
    "no type": ({"set": {"name": "s"}}, "'type' is missing"),
    "no data": ({"map": {"name": "s", "type": "ipv4_addr"}}, "'map' is missing"),
    "priority": ({"chain": {"name": "c", "hook": "input", "type": "nat", "prio": "odd"}}, "'odd' is no priority"),
    "name": ({"chain": {"name": 7}}, "7 where a text should be"),
    "odd name": ({"chain": {"name": "a b"}}, "'a b' is no name"),
}


@pytest.mark.parametrize(("item", "words"), BAD.values(), ids=BAD)
def test_what_nft_would_not_have_listed_is_named(item: dict[str, Any], words: str) -> None:
    text = listing(item)
    with pytest.raises(InputError) as caught:
        read_ruleset(text, "live.json")
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"live.json #1: nftables[2] {next(iter(item))}")
    assert words in str(problem)
    assert parse_table(text, Family.IPV4) == Table(Family.IPV4, (), (), {})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "line 1: not JSON"),
        ('{\n"nftables": [\n1 2]}', "line 3: not JSON"),
        ("{}", 'no list "nftables"'),
        ('{"nftables": {}}', 'no list "nftables"'),
        ('{"nftables": []}', "no table ip nftsvc or ip6 nftsvc in it"),
        ('{"nftables": [' + "[" * 100_000, "nested too deeply"),
        ('{"nftables": [' + "9" * 10_000 + "]}", "not JSON"),
    ],
)
def test_what_is_no_listing_is_refused(text: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_ruleset(text, "live.json")
    assert words in str(caught.value)


def test_expressions_may_be_nested_as_deeply_as_json_allows() -> None:
    expression: Any = {"jump": {"target": "services"}}
    for _ in range(300):
        expression = {"x": [expression]}
    (chain,) = parsed({"chain": {"name": "c"}}, {"rule": {"chain": "c", "expr": [expression]}}).chains
    assert chain.rules[0].words == ("jump", "services")
