"""Elements, sets, chains and rules from the bytes of the kernel's messages, and bytes that nobody of ours has sent."""

import contextlib
import random
import struct
from collections.abc import Iterable
from contextlib import suppress

import pytest

from nftsvc.kernel.datatypes import Reader, Undecodable, data_name, intervals
from nftsvc.kernel.elements import Declared, comment, counted, entries
from nftsvc.kernel.netlink import Malformed, Message, attribute, name, nested
from nftsvc.kernel.structure import chains, table_flags
from nftsvc.ruleset import Chain, Entry, Hook, NamedSet, Rule

INTEGER, IPV4, IPV6, PROTOCOL, PORT, MARK = 4, 7, 8, 12, 13, 19
VERDICT = 0xFFFFFF00
INTERVAL, MAP, CONCATENATION = 0x4, 0x8, 0x80
HEADER = bytes((2, 0, 0, 1))
NUMBER = struct.Struct("!I")


def concatenated(*parts: int) -> int:
    number = 0
    for part in parts:
        number = number << 6 | part
    return number


FRONTEND = concatenated(IPV4, PROTOCOL, PORT)
SERVICE_IPS = Declared("service-ips", MAP, FRONTEND, 12, VERDICT, 0)
HAIRPIN = Declared("hairpin", CONCATENATION, concatenated(IPV4, IPV4), 8, 0, 0)
CIDRS = Declared("service-cidrs", INTERVAL, IPV4, 4, 0, 0)
SOURCES = Declared("allowed-sources", INTERVAL | CONCATENATION, concatenated(PORT, IPV4), 8, 0, 0)


def frontend(last: int, protocol: int = 6, port: int = 80) -> bytes:
    return bytes((10, 96, 0, last)) + bytes((protocol, 0, 0, 0)) + port.to_bytes(2, "big") + bytes(2)


def value(kind: int, raw: bytes) -> bytes:
    return nested(kind, attribute(1, raw))


def verdict(code: int, chain: str = "") -> bytes:
    inner = attribute(1, struct.pack("!i", code))
    return nested(2, nested(2, inner, attribute(2, name(chain)) if chain else b""))


def remark(text: str) -> bytes:
    return attribute(6, bytes((0, len(text) + 1)) + name(text))


def counter(packets: int) -> bytes:
    data = nested(2, attribute(1, bytes(8)), attribute(2, packets.to_bytes(8, "big")))
    return attribute(1, name("counter")) + data


def message(*elements: bytes, kind: int = 1) -> Message:
    """Return a message with elements, or with other things of which each is one attribute's value."""
    listed = nested(3, *(nested(kind, one) for one in elements))
    return Message(0xA0C, 2, 1, 0, HEADER + attribute(1, name("nftsvc")) + attribute(2, name("x")) + listed)


# Types ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("types", "raw", "key", "words"),
    [
        ((IPV4,), bytes((10, 96, 0, 1)), ("10.96.0.1",), "ipv4_addr"),
        ((IPV6,), bytes(12) + bytes((192, 0, 2, 1)), ("::c000:201",), "ipv6_addr"),
        ((IPV6,), bytes((0xFD,)) + bytes(14) + b"\1", ("fd00::1",), "ipv6_addr"),
        ((PROTOCOL,), b"\x84", ("sctp",), "inet_proto"),
        ((PORT,), b"\0\x50", (80,), "inet_service"),
        (
            (IPV4, PROTOCOL, PORT),
            frontend(1, 17, 53),
            ("10.96.0.1", "udp", 53),
            "ipv4_addr . inet_proto . inet_service",
        ),
        ((PROTOCOL, PORT), bytes((41, 0, 0, 0, 0, 1, 0, 0)), ("41", 1), "inet_proto . inet_service"),
        ((PORT, INTEGER), b"\0\x50\0\0" + struct.pack("=I", 65536), (80, 65536), "inet_service . integer"),
        ((INTEGER,) * 3 + (PORT,), struct.pack("=3I", 1, 2, 3) + b"\0\7\0\0", (1, 2, 3, 7), None),
    ],
)
def test_a_value_is_read_as_its_types_say(
    types: tuple[int, ...], raw: bytes, key: tuple[str | int, ...], words: str | None
) -> None:
    reader = Reader(concatenated(*types), len(raw))
    assert reader.value(raw) == key
    assert reader.between(raw, raw) == key
    assert words in (None, reader.name)
    with pytest.raises(Undecodable):
        reader.value(raw + bytes(4))
    with pytest.raises(Undecodable):
        reader.between(raw, raw[1:])


@pytest.mark.parametrize(
    ("number", "size"),
    [(0, 0), (0, 4), (MARK, 4), (IPV4, 5), (IPV4, 0), (concatenated(IPV4, MARK), 8), (concatenated(IPV4, PORT), 6)],
)
def test_types_that_no_set_of_ours_has_are_told(number: int, size: int) -> None:
    with pytest.raises(Undecodable):
        Reader(number, size)
    assert data_name(number, size)


@pytest.mark.parametrize(
    ("first", "last", "network"),
    [
        ("00000000", "ffffffff", "0.0.0.0/0"),
        ("0a000000", "0a0000ff", "10.0.0.0/24"),
        ("0a000001", "0a000001", "10.0.0.1"),
        ("0a000002", "0a000003", "10.0.0.2/31"),
    ],
)
def test_two_ends_are_a_network(first: str, last: str, network: str) -> None:
    assert Reader(IPV4, 4).between(bytes.fromhex(first), bytes.fromhex(last)) == (network,)


@pytest.mark.parametrize(("first", "last"), [("0a000001", "0a000002"), ("0a000000", "0a000002"), ("02", "01")])
def test_ranges_that_are_no_network_are_told(first: str, last: str) -> None:
    with pytest.raises(Undecodable):
        Reader(IPV4, 4).between(bytes.fromhex(first).rjust(4, b"\0"), bytes.fromhex(last).rjust(4, b"\0"))
    with pytest.raises(Undecodable):
        Reader(PORT, 2).between(b"\0\0", b"\0\1")


@pytest.mark.parametrize(
    ("bounds", "found"),
    [
        ([], []),
        ([(0, True)], []),
        ([(0, False)], [(0, 255)]),
        ([(0, True), (4, False), (8, True)], [(4, 7)]),
        ([(8, True), (4, False)], [(4, 7)]),
        ([(4, False), (8, True), (8, False), (16, True)], [(4, 7), (8, 15)]),
        ([(4, False), (8, False), (16, True)], [(4, 7), (8, 15)]),
        ([(4, False), (4, False), (8, True), (8, True)], [(4, 7)]),
        ([(4, False), (5, True), (255, False)], [(4, 4), (255, 255)]),
    ],
)
def test_intervals_go_from_bound_to_bound(bounds: list[tuple[int, bool]], found: list[tuple[int, int]]) -> None:
    made = intervals([(bytes((one,)), ends) for one, ends in bounds], 1)
    assert made == [(bytes((first,)), bytes((last,))) for first, last in found]


# Elements -------------------------------------------------------------------------------------------------------------


def test_verdicts_with_their_comments_are_read() -> None:
    elements = message(
        value(1, frontend(1)) + verdict(-4, "tcp-lb-2") + remark("a/b:c") + nested(7, counter(3)),
        value(1, frontend(2)) + verdict(-4, "tcp-lb-2"),
        value(1, frontend(3)) + verdict(-3, "x") + attribute(6, bytes((1, 4, 0, 0, 0, 1)) + bytes((0, 2)) + name("y")),
        value(1, frontend(4)) + verdict(0),
        value(1, frontend(5)) + verdict(1),
        value(1, frontend(6)) + verdict(-99),
    )
    assert entries(SERVICE_IPS, [elements]) == {
        ("10.96.0.1", "tcp", 80): Entry(("goto tcp-lb-2",), "a/b:c"),
        ("10.96.0.2", "tcp", 80): Entry(("goto tcp-lb-2",)),
        ("10.96.0.3", "tcp", 80): Entry(("jump x",), "y"),
        ("10.96.0.4", "tcp", 80): Entry(("drop",)),
        ("10.96.0.5", "tcp", 80): Entry(("accept",)),
        ("10.96.0.6", "tcp", 80): Entry(("-99",)),
    }


def test_elements_that_come_twice_are_one_and_messages_may_be_many_or_empty() -> None:
    key = bytes((10, 0, 0, 1)) * 2
    empty = Message(0xA0C, 2, 1, 0, HEADER + attribute(1, name("nftsvc")) + attribute(2, name("hairpin")))
    several = [message(value(1, key)), empty, message(value(1, key), value(1, key[:7] + b"\2"))]
    assert entries(HAIRPIN, several) == {("10.0.0.1", "10.0.0.1"): Entry(), ("10.0.0.1", "10.0.0.2"): Entry()}
    assert entries(HAIRPIN, [empty]) == entries(HAIRPIN, []) == {}


def test_networks_are_read_in_both_ways_that_the_kernel_has_them() -> None:
    bounds = message(
        value(1, bytes(4)) + attribute(3, NUMBER.pack(1)),
        value(1, bytes((10, 0, 1, 0))) + attribute(3, NUMBER.pack(1)),
        value(1, bytes((10, 0, 0, 0))) + remark("ten"),
    )
    assert entries(CIDRS, [bounds]) == {("10.0.0.0/24",): Entry((), "ten")}
    port = b"\0\x50\0\0"
    ranges = message(
        value(1, port + bytes((10, 0, 0, 0))) + value(10, port + bytes((10, 255, 255, 255))),
        value(1, port + bytes((192, 0, 2, 1))) + value(10, port + bytes((192, 0, 2, 1))),
        value(1, port + bytes((192, 0, 2, 2))),
    )
    assert set(entries(SOURCES, [ranges])) == {(80, "10.0.0.0/8"), (80, "192.0.2.1"), (80, "192.0.2.2")}


def test_counters_are_read_alone_or_among_others() -> None:
    elements = message(
        value(1, frontend(1)) + verdict(0) + nested(7, counter(2**40)),
        value(1, frontend(2)) + verdict(0) + nested(11, nested(1, attribute(1, name("quota"))), nested(1, counter(7))),
        value(1, frontend(3)) + verdict(0) + nested(7, attribute(1, name("quota"))),
        value(1, frontend(4)) + verdict(0),
    )
    assert counted(SERVICE_IPS, [elements]) == {("10.96.0.1", "tcp", 80): 2**40, ("10.96.0.2", "tcp", 80): 7}


@pytest.mark.parametrize(
    ("declared", "element"),
    [
        (SERVICE_IPS, verdict(0)),
        (SERVICE_IPS, attribute(3, NUMBER.pack(2)) + verdict(0)),
        (SERVICE_IPS, value(1, frontend(1)[:8]) + verdict(0)),
        (SERVICE_IPS, nested(1) + verdict(0)),
        (SERVICE_IPS, nested(1, attribute(2, frontend(1))) + verdict(0)),
        (HAIRPIN, value(1, bytes(4))),
        (CIDRS, value(1, bytes(16))),
        (CIDRS, value(1, bytes((10, 0, 0, 3)))),
        (SOURCES, value(1, bytes(8)) + value(10, bytes(4))),
        (SOURCES, value(1, bytes(8)) + value(10, b"\0\1" + bytes(6))),
        (Declared("m", MAP, IPV4, 4, PORT, 2), value(1, bytes(4))),
        (Declared("m", MAP, IPV4, 4, MARK, 4), value(1, bytes(4)) + value(2, bytes(4))),
        (Declared("m", MAP | INTERVAL, IPV4, 4, PORT, 2), value(1, bytes(4)) + value(2, bytes(2))),
    ],
)
def test_elements_that_none_of_ours_can_have_are_told(declared: Declared, element: bytes) -> None:
    with pytest.raises(Undecodable):
        entries(declared, [message(element)])


def test_comments_are_found_among_what_nft_keeps() -> None:
    assert comment(b"") == comment(b"\1") == comment(bytes((1, 1, 0))) == comment(bytes((1, 200, 0))) == ""
    assert comment(bytes((0, 200)) + b"cut") == "cut"
    assert comment(bytes((0, 3)) + b"\xff\n\0") == "\\xff\n"


def shaken(data: bytes, seed: int) -> Iterable[bytes]:
    """Yield cut and damaged copies."""
    for end in range(len(data)):
        yield data[:end]
    chance = random.Random(seed)
    for _ in range(4000):
        copy = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            copy[chance.randrange(len(copy))] = chance.choice((0, 1, 2, 4, 8, 255, chance.randrange(256)))
        yield bytes(copy)


@pytest.mark.parametrize("declared", [SERVICE_IPS, HAIRPIN, CIDRS, SOURCES], ids=lambda one: one.name)
def test_damaged_elements_are_told_or_read_but_never_crash(declared: Declared) -> None:
    size = declared.key_size
    whole = message(
        value(1, bytes(range(size))) + verdict(-4, "x") + remark("c") + nested(7, counter(1)) + value(10, bytes(size))
    )
    for body in shaken(whole.body, declared.key_size):
        for function in (entries, counted):
            with contextlib.suppress(Malformed, Undecodable):
                function(declared, [whole._replace(body=body)])


# Sets, chains, rules --------------------------------------------------------------------------------------------------


def said(*attributes: bytes, table: str = "nftsvc") -> Message:
    return Message(0xA00, 2, 1, 0, HEADER + attribute(1, name(table)) + b"".join(attributes))


def numbers(**of: int) -> bytes:
    return b"".join(attribute(int(kind[1:]), NUMBER.pack(number)) for kind, number in of.items())


def expression(kind: str, *data: bytes) -> bytes:
    return nested(1, attribute(1, name(kind)), nested(2, *data))


def test_sets_are_known_by_their_names_and_by_what_maps_lead_to() -> None:
    one = Declared.of(said(attribute(2, name("service-ips")), numbers(_3=MAP, _4=FRONTEND, _5=12, _6=VERDICT, _7=16)))
    assert one.named == NamedSet("service-ips", "", "verdict")
    assert one.is_map
    assert not one.anonymous
    plain = Declared.of(said(attribute(2, name("__set0")), numbers(_3=1, _4=IPV4, _5=4)))
    assert plain.anonymous
    assert plain.named == NamedSet("__set0", "")
    endpoints = Declared("e", MAP, FRONTEND, 12, concatenated(IPV4, PORT), 8)
    assert endpoints.named.data == "ipv4_addr . inet_service"
    assert Declared.of(said()).named == NamedSet("", "")


def test_a_tables_flags_are_words_and_other_tables_are_others() -> None:
    assert table_flags([], "nftsvc") is None
    assert table_flags([said(table="nftsvc-2")], "nftsvc") is None
    assert table_flags([said(table="a"), said(numbers(_2=0))], "nftsvc") == ()
    assert table_flags([said(numbers(_2=3))], "nftsvc") == ("dormant", "owner")
    assert table_flags([said(numbers(_2=0x11))], "nftsvc") == ("dormant", "0x10")


def test_chains_have_their_hook_and_their_rules_what_is_compared() -> None:
    hook = nested(4, attribute(1, NUMBER.pack(1)), attribute(2, struct.pack("!i", -100)))
    found = [
        said(attribute(3, name("services"))),
        said(attribute(3, name("nat-input")), hook, numbers(_5=1), attribute(7, name("nat"))),
        said(attribute(3, name("services")), table="other"),
        said(attribute(3, name("services"))),
    ]
    immediate = expression("immediate", attribute(1, NUMBER.pack(0)), verdict(-4, "tcp-lb-2"))
    everything = nested(
        4,
        expression("payload"),
        expression("lookup", attribute(1, name("hairpin"))),
        expression("lookup", attribute(1, name("__set0"))),
        expression("dynset", attribute(1, name("affinity"))),
        expression("nat", numbers(_1=1)),
        expression("masq"),
        expression("reject"),
        expression("immediate", attribute(1, NUMBER.pack(1)), value(2, bytes(4))),
        expression("immediate", verdict(-1)),
        immediate,
    )
    rules = [
        said(attribute(2, name("services")), everything, attribute(7, bytes((0, 4)) + name("one"))),
        said(attribute(2, name("services")), table="other"),
        said(attribute(2, name("services"))),
    ]
    words = ("@affinity", "@hairpin", "dnat", "goto", "masquerade", "reject", "tcp-lb-2")
    assert chains(found, rules, "nftsvc", {"hairpin", "affinity"}) == (
        Chain("services", (Rule("", "one", words), Rule("", "", ()))),
        Chain("nat-input", (), Hook("nat", "input", -100)),
    )


def test_damaged_chains_and_rules_never_crash() -> None:
    hook = nested(4, attribute(1, NUMBER.pack(1)), attribute(2, struct.pack("!i", -100)))
    chain = said(attribute(3, name("nat-input")), hook, numbers(_5=1), attribute(7, name("nat")))
    parts = nested(4, expression("lookup", attribute(1, name("hairpin"))), expression("immediate", verdict(-4, "x")))
    rule = said(attribute(2, name("services")), parts, attribute(7, bytes((0, 4)) + name("one")))
    for body in (*shaken(chain.body, 1), *shaken(rule.body, 2)):
        odd = [chain._replace(body=body)]
        with suppress(Malformed):
            chains(odd, odd, "nftsvc", {"hairpin"})
            table_flags(odd, "nftsvc")
            Declared.of(odd[0])
