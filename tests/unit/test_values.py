"""Addresses, ports, names, times and choices: which spellings are taken, how they are rewritten, which are refused."""

import ipaddress
import re
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftsvc.values import (
    Address,
    ClusterIP,
    DetectLocalMode,
    Family,
    InterfaceName,
    IPMode,
    Label,
    NodePort,
    NodePortAddress,
    OptionalAddress,
    Port,
    Prefix,
    Protocol,
    Scalar,
    Seconds,
    ServiceType,
    SessionAffinity,
    Subdomain,
    TargetPort,
    Timestamp,
    TrafficPolicy,
    address_order,
    without_overlaps,
)

HUGE = 10**5000
EVERY_KIND: tuple[type[Scalar] | type[Port], ...] = (
    Address,
    ClusterIP,
    DetectLocalMode,
    IPMode,
    Label,
    NodePort,
    OptionalAddress,
    Port,
    Protocol,
    ServiceType,
    SessionAffinity,
    Subdomain,
    TargetPort,
    Timestamp,
    TrafficPolicy,
)
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(HUGE),
    st.floats(),
    st.text(st.characters()),
    st.binary(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


def refusal(kind: type[Scalar] | type[Port] | type[Seconds], value: object) -> str:
    with pytest.raises(ValueError, match=r"\S") as refused:
        kind.parse(value)
    return str(refused.value)


# Addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_as", "canonical"),
    [
        ("10.96.0.1", "10.96.0.1"),
        ("172.30.0.041", "172.30.0.41"),
        ("010.000.000.008", "10.0.0.8"),
        ("FD00:0:0:0:0:0:0:1", "fd00::1"),
        ("fd00:0096:0000::FA2C", "fd00:96::fa2c"),
        ("2001:db8::192.0.2.1", "2001:db8::c000:201"),
    ],
)
def test_an_address_is_rewritten_in_canonical_spelling(given_as: str, canonical: str) -> None:
    assert Address.parse(given_as) == canonical


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - refused here
        "0.1.2.3",
        "::",
        "127.0.0.1",
        "127.255.0.9",
        "127.0.0.01",
        "::1",
        "169.254.0.1",
        "169.254.169.254",
        "fe80::1",
        "febf::1",
        "224.0.0.1",
        "239.255.255.255",
        "ff02::1",
        "255.255.255.255",
        "::ffff:10.0.0.1",
        "::ffff:7f00:1",
    ],
)
def test_an_address_that_must_not_get_traffic_is_refused_and_named(address: str) -> None:
    assert address in refusal(Address, address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "web",
        "10.0.0",
        "10.0.0.1.2",
        "10.0.0.256",
        "10.0.0.-1",
        "10.0.0.1 ",
        " 10.0.0.1",
        "10.0.0.1\n",
        "10.0.0.1/32",
        "10.0.0.1:80",
        "0x0a.0.0.1",
        "167772161",
        "\u0661\u0660.0.0.1",
        "fd00::1%eth0",
        "fe80::1%1",
        "fd00::1\n",
        "[fd00::1]",
        "fd00::1::2",
        "fd00:::1",
        "fd00::12345",
        "g000::1",
        "10.0.0.1 drop; flush ruleset",
        "None",
    ],
)
def test_text_that_is_no_address_is_refused(text: str) -> None:
    assert "is not an IP address" in refusal(Address, text)


@pytest.mark.parametrize("value", [None, True, 1, 167772161, 1.5, ["10.0.0.1"], {"ip": "10.0.0.1"}, b"10.0.0.1"])
def test_an_address_must_be_text(value: object) -> None:
    assert "is not an IP address" in refusal(Address, value)


@pytest.mark.parametrize(("address", "family"), [("10.0.0.1", Family.IPV4), ("fd00::1", Family.IPV6)])
def test_an_address_knows_its_family(address: str, family: Family) -> None:
    assert Address.parse(address).family is family


@given(st.ip_addresses())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_every_address_is_either_canonical_or_one_of_the_refused_kinds(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    special = address.is_unspecified or address.is_loopback or address.is_link_local or address.is_multicast or mapped
    if special or address in ipaddress.ip_network("0.0.0.0/8") or str(address) == "255.255.255.255":
        refusal(Address, str(address))
    else:
        assert Address.parse(address.exploded.upper()) == str(address)


@settings(max_examples=500, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){3}", fullmatch=True),
        st.tuples(*[st.sampled_from((0, 1, 9, 10, 99, 127, 169, 199, 223, 224, 240, 254, 255, 256))] * 4).map(
            lambda octets: ".".join(map(str, octets))
        ),
    )
)
def test_an_ipv4_address_is_taken_or_refused_as_the_standard_library_sees_it(text: str) -> None:
    octets = [int(part) for part in text.split(".")]
    wanted = None
    if max(octets) < 256:
        address = ipaddress.IPv4Address(bytes(octets))
        special = (
            address.is_loopback,
            address.is_link_local,
            address.is_multicast,
            octets == [255] * 4,
            octets[0] == 0,
        )
        wanted = None if any(special) else str(address)
    try:
        found: str | None = str(Address.parse(text))
    except ValueError:
        found = None
    assert found == wanted


@given(st.lists(st.ip_addresses(v=6), min_size=2, max_size=5) | st.lists(st.ip_addresses(v=4), min_size=2, max_size=5))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_addresses_of_one_family_are_ordered_by_number(
    addresses: list[ipaddress.IPv4Address] | list[ipaddress.IPv6Address],
) -> None:
    by_number = [str(address) for address in sorted(addresses, key=int)]
    assert sorted((str(address) for address in addresses), key=address_order) == by_number


def test_an_optional_address_may_be_empty() -> None:
    assert OptionalAddress.parse("") == ""
    assert OptionalAddress.parse("010.0.0.1") == "10.0.0.1"
    assert "127.0.0.1" in refusal(OptionalAddress, "127.0.0.1")
    assert "is not an IP address" in refusal(OptionalAddress, "None")


@pytest.mark.parametrize("value", ["", "None"])
def test_a_cluster_ip_may_be_empty_or_none_and_then_has_no_address(value: str) -> None:
    assert ClusterIP.parse(value) == value
    assert ClusterIP.parse(value).address is None


def test_a_cluster_ip_is_an_address_in_canonical_spelling() -> None:
    assert ClusterIP.parse("010.96.0.1") == "10.96.0.1"
    assert ClusterIP.parse("FD00::1").address == "fd00::1"


@pytest.mark.parametrize("value", ["none", "NONE", "Headless", "127.0.0.1", "10.96.0.0/16", None, 0])
def test_other_cluster_ips_are_refused(value: object) -> None:
    refusal(ClusterIP, value)


# Networks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_as", "canonical"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.1.2.3/8", "10.0.0.0/8"),
        ("010.000.000.001/24", "10.0.0.0/24"),
        ("10.0.0.0/08", "10.0.0.0/8"),
        ("  192.0.2.0/24\t", "192.0.2.0/24"),
        ("192.0.2.0/24\n", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("203.0.113.7/0", "0.0.0.0/0"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("FD00:0096::/108", "fd00:96::/108"),
        ("fd00:244:1::5/64", "fd00:244:1::/64"),
        ("2001:db8::1/128", "2001:db8::1"),
        ("::/0", "::/0"),
        ("2001:db8::/0", "::/0"),
    ],
)
def test_a_network_is_rewritten_in_canonical_spelling(given_as: str, canonical: str) -> None:
    assert Prefix.parse(given_as) == canonical


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "/", "/8", "10.0.0.0", "10.0.0.0/", "10.0.0/8", "10.0.0.256/8", "fd00::", "all", "primary"),
        *("10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/+8", "10.0.0.0/8.0", "10.0.0.0/255.0.0.0", "10.0.0.0/0008"),
        *(
            "10.0.0.0/8/8",
            "10.0.0.0 /8",
            "10.0.0.0/ 8",
            "10.0.0.0/8; drop",
            "10.0.0.0/8,11.0.0.0/8",
            "10.0.0.0-10.0.0.9",
        ),
        *("fd00::/129", "fd00::%eth0/64", "[fd00::]/64", "10.0.0.0/\u0668", "10.0.0.0/\u00b2"),
    ],
)
def test_text_that_is_no_network_is_refused_and_shown(text: str) -> None:
    message = refusal(Prefix, text)
    assert repr(text.strip()) in message or repr(text.strip().partition("/")[0]) in message


@pytest.mark.parametrize("value", [None, True, 8, 10.0, ["10.0.0.0/8"], {"cidr": "10.0.0.0/8"}, b"10.0.0.0/8"])
def test_a_network_must_be_text(value: object) -> None:
    assert "is not a network" in refusal(Prefix, value)


@pytest.mark.parametrize(
    ("text", "family", "length"),
    [
        ("10.0.0.0/8", Family.IPV4, 8),
        ("192.0.2.7/32", Family.IPV4, 32),
        ("0.0.0.0/0", Family.IPV4, 0),
        ("fd00::/8", Family.IPV6, 8),
        ("fd00::1/128", Family.IPV6, 128),
        ("::/0", Family.IPV6, 0),
    ],
)
def test_a_network_knows_its_family_and_length(text: str, family: Family, length: int) -> None:
    network = Prefix.parse(text)
    assert (network.family, network.length) == (family, length)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0", "fd00::1", "::a00:1"]),
        ("192.0.2.7/32", ["192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
        ("0.0.0.0/0", ["0.0.0.1", "203.0.113.9"], ["::1", "fd00::1"]),
        ("fd00:96::/108", ["fd00:96::", "fd00:96::f:ffff"], ["fd00:96::10:0", "10.0.0.1"]),
        ("::/0", ["fd00::1"], ["10.0.0.1"]),
    ],
)
def test_a_network_covers_its_addresses_and_none_of_the_other_family(
    text: str, inside: list[str], outside: list[str]
) -> None:
    network = Prefix.parse(text)
    assert [address for address in inside + outside if network.covers(address)] == inside


@given(st.ip_addresses(), st.integers(0, 128))
@settings(max_examples=200, derandomize=True, deadline=None)
def test_a_network_covers_the_address_it_was_made_of(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address, length: int
) -> None:
    length = min(length, address.max_prefixlen)
    network = Prefix.parse(f"{address}/{length}")
    assert network.covers(str(address))
    assert network.length == length


def prefixes(*texts: str) -> list[Prefix]:
    return [Prefix.parse(text) for text in texts]


@pytest.mark.parametrize(
    ("given_as", "left"),
    [
        ((), ()),
        (("10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32"), ("10.0.0.0/8",)),
        (("10.1.2.3/32", "10.0.0.0/8"), ("10.0.0.0/8",)),
        (("10.0.0.0/8", "10.0.0.0/8"), ("10.0.0.0/8",)),
        (("192.0.2.0/25", "192.0.2.128/25"), ("192.0.2.0/24",)),
        (("192.0.2.6/32", "192.0.2.7/32"), ("192.0.2.6/31",)),
        (("192.0.2.0/24", "10.0.0.0/8"), ("10.0.0.0/8", "192.0.2.0/24")),
        (("0.0.0.0/1", "128.0.0.0/1"), ("0.0.0.0/0",)),
        (("fd00::1/128", "fd00::/64"), ("fd00::/64",)),
    ],
)
def test_networks_are_joined_until_none_overlaps(given_as: tuple[str, ...], left: tuple[str, ...]) -> None:
    assert without_overlaps(prefixes(*given_as)) == left


# Where node ports answer ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["primary", "all", " primary", "all\n"])
def test_node_ports_may_answer_on_what_a_word_says(word: str) -> None:
    parsed = NodePortAddress.parse(word)
    assert (parsed, parsed.network) == (word.strip(), None)


@pytest.mark.parametrize(
    ("given_as", "network"),
    [
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.11/24", "192.0.2.0/24"),
        ("192.0.2.11/32", "192.0.2.11"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::/64", "2001:db8::/64"),
    ],
)
def test_node_ports_may_answer_on_a_network(given_as: str, network: str) -> None:
    parsed = NodePortAddress.parse(given_as)
    assert (parsed, parsed.network) == (network, network)
    assert isinstance(parsed.network, Prefix)


@pytest.mark.parametrize("text", ["localhost", "127.0.0.0/8", "127.0.0.1/32", "127.1.0.0/16", "::1/128"])
def test_node_ports_do_not_answer_on_loopback_and_the_refusal_says_why(text: str) -> None:
    message = refusal(NodePortAddress, text)
    assert message.startswith(str(text).removesuffix("/32").removesuffix("/128"))
    assert "is not served" in message
    assert "loopback" in message
    assert "route_localnet" in message


@pytest.mark.parametrize("value", ["", "Primary", "ALL", "none", "192.0.2.11", "eth0", "192.0.2.0/33", None, 1, []])
def test_other_places_for_node_ports_are_refused(value: object) -> None:
    assert "is not" in refusal(NodePortAddress, value)


# Interfaces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cbr0", "eth0", "veth", "cali", "lo", "eth0.100", "br-lan", "wlan_0", "E", "a" * 15])
def test_interfaces_have_names(name: str) -> None:
    assert InterfaceName.parse(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "eth 0", " eth0", "eth0 ", "eth0\n", "eth0\t", "\neth0", "eth0\x00", "et\u0127h0", "\u0665"),
        *("*", "veth*", "eth?", 'eth0"', 'x" accept', "'eth0'", "eth0;", "{eth0}", "eth0,lo", "$eth", "@set", "#eth"),
        *("-eth0", ".", "..", "/", "a/b", "eth0:1", "a\\b", "a" * 16),
    ],
)
def test_text_that_could_be_more_than_an_interface_is_refused_and_shown(name: str) -> None:
    message = refusal(InterfaceName, name)
    assert repr(name) in message
    assert message.isprintable()


@pytest.mark.parametrize("value", [None, 0, True, 1.5, ["eth0"], {}])
def test_the_name_of_an_interface_must_be_text(value: object) -> None:
    assert "is not the name of a network interface" in refusal(InterfaceName, value)


# Time spans ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [1, 10800, 86400])
def test_a_time_span_is_of_one_second_to_a_day(seconds: int) -> None:
    assert Seconds.parse(seconds) == seconds


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        *[(0, "0"), (-1, "-1"), (86401, "86401"), (60.0, "60.0"), ("60", "'60'"), ("1h", "'1h'")],
        *[(True, "true"), (None, "null"), ([60], "a list"), ({}, "a mapping")],
    ],
)
def test_anything_else_is_no_time_span_and_is_shown(value: object, shown: str) -> None:
    message = refusal(Seconds, value)
    assert shown in message
    assert "1-86400" in message


def test_a_number_too_long_to_print_is_no_time_span() -> None:
    assert "more than 40 digits" in refusal(Seconds, HUGE)


# Ports ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [1, 80, 65535])
@pytest.mark.parametrize("kind", [Port, NodePort])
def test_a_port_is_a_number_from_1_to_65535(kind: type[Port], number: int) -> None:
    assert kind.parse(number) == number


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (70000, "70000"),
        (65536, "65536"),
        (-1, "-1"),
        (True, "true"),
        (False, "false"),
        (80.0, "80.0"),
        (float("nan"), "nan"),
        ("80", "'80'"),
        ("", "''"),
        (None, "null"),
        ([80], "a list"),
        ({"port": 80}, "a mapping"),
    ],
)
@pytest.mark.parametrize("kind", [Port, NodePort])
def test_anything_else_is_no_port_and_is_shown(kind: type[Port], value: object, shown: str) -> None:
    assert refusal(kind, value) == f"{shown} is not a port number (1-65535)"


def test_zero_is_no_port_but_means_none_as_a_node_port() -> None:
    assert refusal(Port, 0) == "0 is not a port number (1-65535)"
    assert NodePort.parse(0) == 0


def test_a_number_too_long_to_print_is_still_said_to_be_no_port() -> None:
    assert "is not a port number (1-65535)" in refusal(Port, HUGE)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (8080, "8080"),
        (65535, "65535"),
        ("http", "http"),
        ("dns-tcp", "dns-tcp"),
        ("8080a", "8080a"),
        ("a" * 15, "a" * 15),
    ],
)
def test_a_target_port_is_a_number_or_a_port_name(value: object, text: str) -> None:
    assert TargetPort.parse(value) == text


@pytest.mark.parametrize("value", [0, ""])
def test_a_target_port_of_zero_or_empty_means_the_default(value: object) -> None:
    assert TargetPort.parse(value) == ""


@pytest.mark.parametrize(
    "value",
    [
        70000,
        -1,
        pytest.param(HUGE, id="huge"),
        True,
        80.0,
        None,
        ["http"],
        "8080",
        "1-2",
        "Http",
        "-http",
        "http-",
        "a--b",
        "a.b",
        "a_b",
        "http ",
        "http\n",
        "a" * 16,
        "\u00e4",
        "\u0661a",
    ],
)
def test_other_target_ports_are_refused(value: object) -> None:
    assert "is not a port number" in refusal(TargetPort, value)


# Names ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a", "web", "my-service", "0a", "80", "a--b", "a" * 63])
def test_dns_labels_are_names(name: str) -> None:
    assert Label.parse(name) == name


@pytest.mark.parametrize("name", ["", "web", "a.b", "node-1.example.com", "0.1", ".".join(["a" * 63] * 3) + ".b"])
def test_dns_subdomains_are_names(name: str) -> None:
    assert Subdomain.parse(name) == name


BAD_NAMES = [
    "A",
    "-a",
    "a-",
    "a_b",
    "a b",
    "a\n",
    "\na",
    "a/b",
    "a;b",
    'a"',
    "a{",
    "a\x00",
    "\u00e4",
    "\u0661",
    "a" * 254,
]


@pytest.mark.parametrize("name", [*BAD_NAMES, "a.b", "a" * 64])
def test_other_text_is_no_dns_label_and_is_shown(name: str) -> None:
    assert repr(name)[:40] in refusal(Label, name)


@pytest.mark.parametrize("name", [*BAD_NAMES, ".a", "a.", "a..b", "a.-b", "a-.b"])
def test_other_text_is_no_dns_subdomain_and_is_shown(name: str) -> None:
    assert repr(name)[:40] in refusal(Subdomain, name)


@pytest.mark.parametrize("kind", [Label, Subdomain])
@pytest.mark.parametrize("value", [None, 5, True, 1.5, ["web"], {}])
def test_a_name_must_be_text(kind: type[Scalar], value: object) -> None:
    assert "is not a name" in refusal(kind, value)


# Times ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("2026-11-22T23:46:58Z", "2026-11-22T23:46:59Z"),
        ("2026-11-22T23:00:00+02:00", "2026-11-22T22:00:00Z"),
        ("2026-11-23T01:00:00+05:30", "2026-11-22T20:00:00Z"),
        ("2026-11-22T20:00:00Z", "2026-11-22T19:00:00-08:00"),
        ("2026-11-22T23:46:58Z", "2026-11-22T23:46:58.5Z"),
        ("2026-11-22T23:46:58.000001Z", "2026-11-22T23:46:58.1Z"),
        ("0999-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
    ],
)
def test_times_sort_as_text_across_time_zones(earlier: str, later: str) -> None:
    assert str(Timestamp.parse(earlier)) < str(Timestamp.parse(later))


@pytest.mark.parametrize("same", ["2026-11-22T23:46:58+00:00", "2026-11-23T01:46:58+02:00", "2026-11-22T23:46:58.000Z"])
def test_one_moment_has_one_spelling(same: str) -> None:
    assert Timestamp.parse(same) == Timestamp.parse("2026-11-22T23:46:58Z")


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
YEAR_2000, YEAR_2100 = datetime(2000, 1, 1), datetime(2100, 1, 1)  # noqa: DTZ001 - given a zone by the strategy
MOMENTS = st.datetimes(YEAR_2000, YEAR_2100, timezones=ZONES)


@given(MOMENTS, MOMENTS)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_text_order_is_time_order(one: datetime, other: datetime) -> None:
    texts = Timestamp.parse(one.isoformat()), Timestamp.parse(other.isoformat())
    assert (texts[0] < texts[1], texts[0] == texts[1]) == (one < other, one == other)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "yesterday",
        "2026-11-22",
        "2026-11-22T23:46:58",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-22T25:00:00Z",
        1763855218,
        None,
        True,
        {"seconds": 1},
    ],
)
def test_other_values_are_no_times(value: object) -> None:
    refusal(Timestamp, value)


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"])
def test_a_time_outside_the_calendar_in_utc_is_refused(value: str) -> None:
    assert value in refusal(Timestamp, value)


# Choices -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Protocol, ("TCP", "UDP", "SCTP")),
        (ServiceType, ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")),
        (TrafficPolicy, ("Cluster", "Local")),
        (SessionAffinity, ("None", "ClientIP")),
        (IPMode, ("VIP", "Proxy")),
        (DetectLocalMode, ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")),
    ],
)
def test_a_choice_is_one_of_its_words_and_a_refusal_lists_them(kind: type[Scalar], words: tuple[str, ...]) -> None:
    assert [kind.parse(word) for word in words] == list(words)
    for wrong in (
        "",
        words[0].lower(),
        words[0].swapcase(),
        f"{words[0]} ",
        f"{words[0]}\n",
        "ICMP",
        "FQDN",
        None,
        6,
        True,
        [],
    ):
        message = refusal(kind, wrong)
        assert all(word in message for word in words)


# All of them ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVERY_KIND)
@given(value=ANYTHING)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_a_value_parses_or_is_refused_with_one_short_line(kind: type[Scalar] | type[Port], value: object) -> None:
    try:
        parsed = kind.parse(value)
    except ValueError as error:
        message = str(error)
        assert message.isprintable()
        assert "is not" in message or "must not" in message
        assert len(message) < 250
    else:
        assert re.fullmatch(r"[A-Za-z0-9.:+-]*", str(parsed))


@pytest.mark.parametrize("kind", [kind for kind in EVERY_KIND if kind is not Timestamp])
@given(text=st.text(st.sampled_from("09afAz.:-% \n;{}\"'/_$#"), max_size=12))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_what_parses_once_parses_again_to_the_same(kind: type[Scalar] | type[Port], text: str) -> None:
    try:
        parsed = kind.parse(text)
    except ValueError:
        return
    assert kind.parse(str(parsed)) == parsed
    assert re.fullmatch(r"[A-Za-z0-9.:-]*", parsed)
