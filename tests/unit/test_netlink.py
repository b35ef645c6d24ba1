"""Netlink's bytes: what fits is read, what does not is refused; and what the kernel tells of transactions."""

import errno
import socket
import struct
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftsvc.kernel.netlink import (
    ACK,
    ROUTE,
    Malformed,
    Message,
    Request,
    Socket,
    attribute,
    attributes,
    family_number,
    messages,
    name,
    nested,
    netfilter_header,
    text,
)
from nftsvc.kernel.notifications import Reader, Transaction, in_words
from nftsvc.values import FAMILIES, Family

BOUNDED = settings(max_examples=200, derandomize=True, deadline=None, database=None)

NEWTABLE, DELTABLE, NEWCHAIN, NEWRULE, DELRULE, NEWSET, NEWELEMENT, DELELEMENT, NEWGEN, GETTABLE = (
    10 << 8 | number for number in (0, 2, 3, 6, 8, 9, 12, 14, 15, 1)
)


def message(kind: int, body: bytes, port: int = 7, sequence: int = 1, flags: int = 0) -> bytes:
    header = struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, port)
    return header + body + bytes(-len(body) % 4)


# Bytes ---------------------------------------------------------------------------------------------------------------

listed_attributes = st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=8)


@BOUNDED
@given(listed_attributes)
def test_attributes_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    data = b"".join(attribute(*one) for one in written)
    assert len(data) % 4 == 0
    assert list(attributes(data)) == written
    assert list(attributes(b"1234" + data, 4)) == written
    assert list(attributes(nested(5, data))) == [(5, data)]


@BOUNDED
@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.binary(max_size=40)), max_size=8))
def test_messages_are_read_as_they_were_written(written: list[tuple[int, bytes]]) -> None:
    data = b"".join(message(kind, body) for kind, body in written)
    assert list(messages(data)) == [Message(kind, 0, 1, 7, body) for kind, body in written]


@BOUNDED
@given(st.binary(max_size=200))
def test_any_bytes_are_read_to_their_end_or_refused(data: bytes) -> None:
    for read in (messages, attributes):
        with suppress(Malformed):
            assert len(list(read(data))) <= len(data) // 4 + 1


@BOUNDED
@given(listed_attributes.filter(bool), st.data())
def test_whatever_is_cut_short_is_refused(written: list[tuple[int, bytes]], data: st.DataObject) -> None:
    body = b"".join(attribute(*one) for one in written)
    whole = message(NEWTABLE, body)
    cut = data.draw(st.integers(1, len(whole) - 1))
    with pytest.raises(Malformed):
        list(messages(whole[:cut]))


@pytest.mark.parametrize("length", [0, 1, 3, 9, 0xFFFF])
def test_attribute_that_lies_about_its_length_is_refused(length: int) -> None:
    data = struct.pack("=HH", length, 1) + b"1234"
    with pytest.raises(Malformed, match=r"an attribute of \d+ bytes in 8"):
        list(attributes(data))


@pytest.mark.parametrize("length", [0, 15, 21, 0xFFFFFFFF])
def test_message_that_lies_about_its_length_is_refused(length: int) -> None:
    data = struct.pack("=IHHII", length, NEWTABLE, 0, 1, 7) + b"1234"
    with pytest.raises(Malformed, match=r"a message of \d+ bytes in 20"):
        list(messages(data))


def test_last_message_and_last_attribute_need_no_padding() -> None:
    assert list(messages(message(NEWTABLE, b"12345")[:21])) == [Message(NEWTABLE, 0, 1, 7, b"12345")]
    assert list(attributes(attribute(1, b"12345")[:9])) == [(1, b"12345")]


def test_names_end_with_a_zero_byte_and_odd_ones_are_spelled_out() -> None:
    assert name("nftsvc") == b"nftsvc\0"
    assert text(b"nftsvc\0\0rest") == "nftsvc"
    assert text(b"nftsvc") == "nftsvc"
    assert text(b"\xff\0") == "\\xff"


def test_families_have_the_kernels_numbers() -> None:
    assert [family_number(one) for one in FAMILIES] == [2, 10]
    assert netfilter_header(Family.IPV6, 10) == bytes((10, 0, 0, 10))
    assert netfilter_header(None) == bytes(4)


# A socket ------------------------------------------------------------------------------------------------------------

GETLINK, SETLINK = 18, 19
ANY_LINK = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
NO_SUCH_LINK = struct.pack("=BxHiII", 0, 0, 0x7FFFFFF0, 0, 0)


def test_dump_has_what_there_is() -> None:
    with Socket(ROUTE) as asked:
        names = [text(dict(attributes(one.body, 16))[3]) for one in asked.everything(GETLINK, ANY_LINK)]
        assert names == [found for _, found in socket.if_nameindex()]
        assert len(list(asked.dump(GETLINK, ANY_LINK))) == len(names)


def test_refusals_have_the_kernels_number() -> None:
    wanted = Request(GETLINK, NO_SUCH_LINK, ACK)
    with Socket(ROUTE) as asked:
        with pytest.raises(OSError, match="No such device") as refused:
            asked.request(wanted)
        assert refused.value.errno == errno.ENODEV
        assert asked.ask(wanted, wanted) == (errno.ENODEV, errno.ENODEV)
        with pytest.raises(OSError, match="No such device"):
            asked.ask(Request(GETLINK, NO_SUCH_LINK, 0), wanted)


def test_requests_that_want_no_answer_are_not_waited_for() -> None:
    with Socket(ROUTE) as asked:
        assert asked.ask(Request(17, b"", 0)) == (0,)


# Notifications -------------------------------------------------------------------------------------------------------


def about(kind: int, family: int, table: str, *more: bytes, port: int = 7) -> bytes:
    return message(kind, bytes((family, 0, 0, 0)) + attribute(1, name(table)) + b"".join(more), port)


def elements(kind: int, family: int, of: str, count: int, table: str = "nftsvc", port: int = 7) -> bytes:
    listed = nested(3, *(nested(1, attribute(1, b"key!")) for _ in range(count)))
    return about(kind, family, table, attribute(2, name(of)), listed, port=port)


def end(pid: int = 1234, process: str = "nft", port: int = 7) -> bytes:
    said = attribute(1, bytes(4)) + attribute(2, struct.pack("!I", pid)) + attribute(3, name(process))
    return message(NEWGEN, bytes(4) + said, port)


def read(*datagrams: bytes) -> list[Transaction]:
    reader = Reader()
    return [one for datagram in datagrams for one in reader.feed(datagram)]


def test_transaction_is_told_when_it_ends() -> None:
    started = about(NEWTABLE, 2, "nftsvc") + elements(NEWELEMENT, 2, "service-ips", 2)
    assert read(started) == []
    (one,) = read(started, elements(NEWELEMENT, 10, "hairpin", 1), end())
    assert (one.port, one.pid, one.process) == (7, 1234, "nft")
    assert one.families == set(FAMILIES)
    assert one.sets == {(Family.IPV4, "service-ips"), (Family.IPV6, "hairpin")}
    assert one.structural
    assert in_words(one.changes) == "added table ip nftsvc, added 2 elements of service-ips, added 1 of hairpin"


def test_other_tables_and_families_do_not_count() -> None:
    (one,) = read(
        about(NEWTABLE, 2, "nftsvc-other")
        + about(NEWTABLE, 1, "nftsvc")
        + about(NEWTABLE, 2, "nftsv")
        + elements(DELELEMENT, 2, "hairpin", 1, table="other")
        + message(11 << 8, b"another subsystem")
        + end()
    )
    assert not one.changes
    assert not one.families
    assert not one.structural


def test_two_transactions_in_a_row_are_two() -> None:
    first, second = read(about(DELTABLE, 2, "nftsvc") + end(1), about(DELTABLE, 10, "nftsvc") + end(2))
    assert (first.pid, in_words(first.changes)) == (1, "deleted table ip nftsvc")
    assert (second.pid, in_words(second.changes)) == (2, "deleted table ip6 nftsvc")


def test_what_packets_cause_in_between_breaks_nothing_up() -> None:
    (one,) = read(
        elements(DELELEMENT, 2, "hairpin", 1),
        about(10 << 8 | 18, 2, "nftsvc", attribute(2, name("quota")), port=0),
        elements(DELELEMENT, 2, "hairpin", 1) + end(),
    )
    assert in_words(one.changes) == "removed 2 elements of hairpin"


def test_what_never_ended_is_not_put_down_to_the_next() -> None:
    (one,) = read(about(DELTABLE, 2, "nftsvc", port=9), elements(NEWELEMENT, 2, "hairpin", 1) + end())
    assert in_words(one.changes) == "added 1 element of hairpin"


def test_table_to_look_out_for_is_seen_in_its_own_transaction_only() -> None:
    reader = Reader()
    reader.mark = "nftsvc-1234"
    made = about(NEWTABLE, 2, "nftsvc-1234") + about(DELTABLE, 2, "nftsvc-1234") + end()
    assert [one.marked for one in reader.feed(made)] == [True]
    assert [one.marked for one in reader.feed(about(DELTABLE, 2, "nftsvc-1234") + end())] == [False]
    reader.mark = None
    assert [one.marked for one in reader.feed(made)] == [False]


def test_kernel_that_does_not_say_who_it_was() -> None:
    (one,) = read(about(DELTABLE, 2, "nftsvc") + message(NEWGEN, bytes(4) + attribute(1, bytes(4))))
    assert (one.pid, one.process) == (0, "")


def test_names_cannot_do_more_to_a_terminal_than_be_read() -> None:
    (one,) = read(about(NEWCHAIN, 2, "nftsvc", attribute(3, name("a\x1b[2J"))) + end(process="x\ny"))
    assert one.process == "x\\ny"
    assert in_words(one.changes) == "added chain a\\x1b[2J"


@pytest.mark.parametrize(
    ("datagram", "words"),
    [
        (about(NEWSET, 2, "nftsvc", attribute(2, name("s"))), "added set s"),
        (about(NEWRULE, 2, "nftsvc", attribute(2, name("c"))), "added 1 rule of chain c"),
        (2 * about(DELRULE, 2, "nftsvc", attribute(2, name("c"))), "removed 2 rules of chain c"),
        (elements(DELELEMENT, 2, "s", 3) + elements(DELELEMENT, 10, "s", 1), "removed 4 elements of s"),
        (elements(DELELEMENT, 2, "s", 0), "removed 1 element of s"),
        (
            about(DELRULE, 2, "nftsvc", attribute(2, name("c")))
            + elements(DELELEMENT, 10, "s", 1)
            + about(DELTABLE, 2, "nftsvc"),
            "removed 1 element of s, deleted table ip nftsvc",
        ),
        (
            b"".join(about(NEWCHAIN, 2, "nftsvc", attribute(3, name(f"c{n}"))) for n in range(8)),
            "added chain c0, added chain c1, added chain c2, added chain c3, added chain c4, 3 other changes",
        ),
        (about(GETTABLE, 2, "nftsvc"), ""),
    ],
)
def test_changes_in_words(datagram: bytes, words: str) -> None:
    (one,) = read(datagram + end())
    assert in_words(one.changes) == words


@BOUNDED
@given(st.data())
def test_notifications_that_are_cut_short_are_refused_or_end_nothing(data: st.DataObject) -> None:
    whole = about(NEWTABLE, 2, "nftsvc") + elements(NEWELEMENT, 2, "service-ips", 2) + end()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with suppress(Malformed):
        assert read(whole[:cut]) == []
