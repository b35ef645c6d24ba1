"""Transactions of elements alone, as the kernel's own messages (<linux/netfilter/nf_tables.h>).

In: operations. Out: netlink requests. libnftables would parse the same from text, and it asks the kernel for every set
of every table before each command; both take it longer than the kernel takes for the elements.
"""

import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import repeat
from operator import add
from typing import Any

from nftsvc.changes import AddElements, DeleteElements, Transaction
from nftsvc.kernel.datatypes import PROTOCOLS, Known
from nftsvc.kernel.elements import VERDICT_WORDS
from nftsvc.kernel.netlink import ACK, CREATE, NESTED, Request, Socket, attribute, name, nested, netfilter_header
from nftsvc.kernel.notifications import NFTABLES
from nftsvc.render import COMMENT, VALUE
from nftsvc.ruleset import TABLE, VERDICT, Entry, Key
from nftsvc.values import Family

_BEGIN, _END = 16, 17  # of a batch, <linux/netfilter/nfnetlink.h>
_NEW, _DELETE = (NFTABLES << 8 | kind for kind in (12, 14))
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_ELEMENT, _KEY, _DATA, _USER_DATA = 1, 1, 2, 6
_VALUE, _VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 1, 2, 1, 2
_COMMENT = 0
_TAG = struct.Struct("=HH")
_CODES = {word: code for code, word in VERDICT_WORDS.items()}
_PROTOCOLS = {word: number for number, word in PROTOCOLS.items()}

# What comes of an address that is none (OSError), a number out of range, an unknown word, a key of another type.
_UNWRITABLE = (OSError, ValueError, OverflowError, LookupError, AttributeError, TypeError)

_FEW = 4  # values, which are made sooner than told apart

# An attribute counts its bytes in 16 bits.
_MOST_BYTES = 60_000


def element_requests(transaction: Transaction) -> tuple[Request, ...] | None:
    """Return the messages of a transaction; None if it has to be nft text: nft, and the gate of the text, judge then.

    That is so where there is more in it than elements of plain sets and maps. Sets of networks are left to libnftables,
    which makes intervals of them, and those that packets fill; and so is whatever no set of ours has.
    """
    try:
        return _requests(transaction) or None
    except _UNWRITABLE:
        return None


def _requests(transaction: Transaction) -> tuple[Request, ...]:
    found: list[Request] = []
    for one in transaction:
        if not isinstance(one, AddElements | DeleteElements) or one.set.interval or one.set.dynamic:
            return ()
        where = _where(one.family, one.set.name)
        coming = isinstance(one, AddElements)
        parts = _parts(_elements(one.set.key, one.set.data, one.entries, coming=coming))
        kind, flags = (_NEW, CREATE) if coming else (_DELETE, 0)
        found += [Request(kind, where + nested(_LIST_ELEMENTS, part), flags) for part in parts]
    return tuple(found)


@cache
def _where(family: Family, named: str) -> bytes:
    """Return what a message about elements of a set begins with."""
    begin = netfilter_header(family) + attribute(_LIST_TABLE, name(TABLE))
    return begin + attribute(_LIST_SET, name(named))


def size_of(requests: Iterable[Request]) -> int:
    """Return how many bytes messages have, without their headers."""
    return sum(len(one.body) for one in requests)


def run_transaction(asked: Socket, requests: Sequence[Request]) -> None:
    """Run requests as one transaction: all of them or, with OSError, none."""
    # The last one's answer comes after every refusal, and one answer for each would not fit the socket's buffer.
    *first, last = requests
    begin, end = (Request(kind, netfilter_header(None, NFTABLES), 0) for kind in (_BEGIN, _END))
    asked.request(begin, *first, last._replace(flags=last.flags | ACK), end)


def _elements(key: str, data: str, entries: Sequence[tuple[Key, Entry]], *, coming: bool) -> list[bytes]:
    """Return elements of a set with such keys and data, each as an attribute of the list of elements."""
    bodies = _values(_KEY, key, [one for one, _ in entries])
    if coming and data:
        values = [entry.value for _, entry in entries]
        leads = map(_verdict, values) if data == VERDICT else _values(_DATA, data, values)
        bodies = map(add, bodies, leads)
    said = [entry.comment for _, entry in entries] if coming else []
    if any(said):
        comments = COMMENT.all(said)
        bodies = map(add, bodies, _user_data(comments))
    tags = Known[int, bytes](lambda size: _TAG.pack(_TAG.size + size, _ELEMENT | NESTED))
    return [tags[len(body)] + body for body in bodies]


def _values(kind: int, expression: str, values: list[Key]) -> Iterable[bytes]:
    """Return an attribute for each value of a type: what it is for, and in it the value; shorter parts are padded."""
    tag, pack, writers = _shape(kind, expression)
    parts = zip(*values, strict=True)
    columns = [_written(write, part) for write, part in zip(writers, parts, strict=True)]
    return map(pack, repeat(tag), *columns)


def _written(write: Callable[[Any], bytes], column: tuple[str | int, ...]) -> Iterator[bytes]:
    """Yield the bytes of values, each made once where there are many: most occur in many elements."""
    if len(column) <= _FEW:
        return map(write, column)
    different = set(column)
    return map(dict(zip(different, map(write, different), strict=True)).__getitem__, column)


@cache
def _shape(kind: int, expression: str) -> tuple[bytes, Callable[..., bytes], list[Callable[[Any], bytes]]]:
    """Return how an attribute with a value of a type begins, what packs that with the parts, and what makes these."""
    sizes, writers = zip(*(_WRITERS[part] for part in expression.split(" . ")), strict=True)
    inner = _TAG.pack(_TAG.size + sum(sizes), _VALUE)
    tag = _TAG.pack(_TAG.size + len(inner) + sum(sizes), kind | NESTED) + inner
    return tag, struct.Struct("".join(f"{size}s" for size in (len(tag), *sizes))).pack, list(writers)


def _port(number: int) -> bytes:
    return number.to_bytes(2, "big")


def _slot(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)


def _protocol(word: str) -> bytes:
    """Write a protocol; others than ours, which somebody may have put there, are numbers as they are read."""
    return bytes((_PROTOCOLS.get(word) or int(word),))


# By nft's expression: the bytes that a value takes as a part of a key (a multiple of 4), and what makes them.
_WRITERS: Mapping[str, tuple[int, Callable[[Any], bytes]]] = {
    **dict.fromkeys(("ipv4_addr", "ip daddr"), (4, partial(socket.inet_pton, socket.AF_INET))),
    **dict.fromkeys(("ipv6_addr", "ip6 daddr"), (16, partial(socket.inet_pton, socket.AF_INET6))),
    **dict.fromkeys(("inet_service", *(f"{one} dport" for one in _PROTOCOLS)), (4, _port)),
    "inet_proto": (4, _protocol),
    "numgen random mod 65536": (4, _slot),
}


@cache
def _verdict(value: Key) -> bytes:
    """Return the attribute with the data of a verdict such as `("goto reject-connection",)`."""
    word, _, chain = VALUE.one(str(value[0])).partition(" ")
    code = attribute(_VERDICT_CODE, _CODES[word].to_bytes(4, "big", signed=True))
    leads = attribute(_VERDICT_CHAIN, name(chain)) if chain else b""
    return nested(_DATA, nested(_VERDICT, code, leads))


def _user_data(comments: Iterable[str]) -> Iterator[bytes]:
    """Yield the attribute with each element's comment, as nft keeps it; nothing where there is none."""
    for one in comments:
        begin, end = _around(len(one))
        yield begin + one.encode("ascii") + end if one else b""


@cache
def _around(size: int) -> tuple[bytes, bytes]:
    """Return what comes before a comment of so many characters in its attribute, and after it."""
    length = size + len(b"\0")
    whole = attribute(_USER_DATA, bytes((_COMMENT, length)) + bytes(length))
    begin = _TAG.size + 2
    return whole[:begin], whole[begin + size :]


def _parts(elements: list[bytes]) -> Iterator[bytes]:
    """Yield the elements, as many in each part as fit into one attribute."""
    if sum(map(len, elements)) <= _MOST_BYTES:
        yield b"".join(elements)
        return
    start = size = 0
    for number, one in enumerate(elements):
        size += len(one)
        if size > _MOST_BYTES:
            yield b"".join(elements[start:number])
            start, size = number, len(one)
    yield b"".join(elements[start:])
