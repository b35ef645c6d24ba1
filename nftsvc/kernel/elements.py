"""Sets and their elements, from the kernel's own messages (<linux/netfilter/nf_tables.h>).

In: the messages of NFT_MSG_GETSET and NFT_MSG_GETSETELEM. Out: keys and entries as `nftsvc.ruleset` makes them.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from nftsvc.kernel.datatypes import Reader, Undecodable, data_name, data_reader, intervals
from nftsvc.kernel.netlink import Message, attributes, text
from nftsvc.ruleset import Entry, Key, NamedSet

HEADER = 4  # struct nfgenmsg

_ANONYMOUS, _INTERVAL, _MAP, _CONCATENATION = 0x1, 0x4, 0x8, 0x80
_NAME, _FLAGS, _KEY_TYPE, _KEY_SIZE, _DATA_TYPE, _DATA_SIZE = 2, 3, 4, 5, 6, 7

_LIST, _ELEMENT = 3, 1
_KEY, _DATA, _ELEMENT_FLAGS, _USER_DATA, _EXPRESSION, _KEY_END, _EXPRESSIONS = 1, 2, 3, 6, 7, 10, 11
_INTERVAL_END, _CATCH_ALL = 0x1, 0x2
_VALUE, _VERDICT = 1, 2
_VERDICT_CODE, _VERDICT_CHAIN = 1, 2
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_PACKETS = 2
_COMMENT = 0
_TAG = struct.Struct("=HH")

# Those of <linux/netfilter.h> and NFT_CONTINUE and on of nf_tables.h, by the word of nft's that they are written with.
VERDICT_WORDS = {0: "drop", 1: "accept", -1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"}


@dataclass(frozen=True, slots=True)
class Declared:
    """A set or map as the kernel has it declared; types are the kernel's numbers, sizes in bytes."""

    name: str
    flags: int
    key_type: int
    key_size: int
    data_type: int
    data_size: int

    @classmethod
    def of(cls, message: Message) -> "Declared":
        """Read a message of NFT_MSG_GETSET."""
        said = dict(attributes(message.body, HEADER))
        numbers = (_FLAGS, _KEY_TYPE, _KEY_SIZE, _DATA_TYPE, _DATA_SIZE)
        return cls(text(said.get(_NAME, b"")), *(int.from_bytes(said.get(one, b""), "big") for one in numbers))

    @property
    def anonymous(self) -> bool:
        """Whether it belongs to a rule and has no name of its own."""
        return bool(self.flags & _ANONYMOUS)

    @property
    def is_map(self) -> bool:
        """Whether its elements lead to something."""
        return bool(self.flags & _MAP)

    @property
    def named(self) -> NamedSet:
        """What is compared with the sets that are wanted: the name, and what a map has for data."""
        return NamedSet(self.name, "", data_name(self.data_type, self.data_size) if self.is_map else "")


def entries(declared: Declared, messages: Iterable[Message]) -> dict[Key, Entry]:
    """Return a set's elements. Undecodable if it has such as no set of ours has; one that comes twice is one."""
    key = Reader(declared.key_type, declared.key_size)
    data = data_reader(declared.data_type, declared.data_size) if declared.is_map else None
    lead = _leads(declared, data)
    interval = bool(declared.flags & _INTERVAL)
    if interval and declared.is_map:
        raise Undecodable("a map of intervals")
    if interval and not declared.flags & _CONCATENATION:
        return _networks(key, messages)
    prefix = _TAG.pack(_TAG.size + declared.key_size, _VALUE)
    found: dict[Key, Entry] = {}
    for said in _elements(messages if data is None else _all_but_alike(messages, key, data, found)):
        first = _raw(said, _KEY, prefix, declared.key_size)
        if interval and _KEY_END in said:
            at = key.between(first, _raw(said, _KEY_END, prefix, declared.key_size))
        else:
            at = key.value(first)
        user = said.get(_USER_DATA)
        found[at] = Entry(lead(said.get(_DATA, b"")), comment(user) if user else "")
    return found


def counted(declared: Declared, messages: Iterable[Message]) -> dict[Key, int]:
    """Return how many packets have met each element of a set that counts them; Undecodable as for `entries`."""
    key = Reader(declared.key_type, declared.key_size)
    prefix = _TAG.pack(_TAG.size + declared.key_size, _VALUE)
    found: dict[Key, int] = {}
    for said in _elements(messages):
        packets = _packets(said)
        if packets is not None:
            found[key.value(_raw(said, _KEY, prefix, declared.key_size))] = packets
    return found


def comment(user_data: bytes) -> str:
    """Return the comment among what nft keeps with an element or a rule: type and length in a byte each, the value."""
    at = 0
    while at + 2 <= len(user_data):
        kind, size = user_data[at], user_data[at + 1]
        if kind == _COMMENT:
            return text(user_data[at + 2 : at + 2 + size])
        at += 2 + size
    return ""


def verdict(data: bytes) -> tuple[str, ...]:
    """Read nested data: the verdict's word and, if it leads to one, the chain; nothing if it is no verdict."""
    inner = dict(attributes(data)).get(_VERDICT)
    if inner is None:
        return ()
    said = dict(attributes(inner))
    code = int.from_bytes(said.get(_VERDICT_CODE, b""), "big", signed=True)
    word = VERDICT_WORDS.get(code, str(code))
    return (word, text(said[_VERDICT_CHAIN])) if _VERDICT_CHAIN in said else (word,)


def _leads(declared: Declared, reader: Reader | None) -> Callable[[bytes], Key]:
    """Return what reads an element's data; `reader` is for data that are no verdicts."""
    if not declared.is_map:
        return lambda _: ()
    if reader is None:
        verdicts: dict[bytes, Key] = {}  # thousands of elements lead to the same few chains

        def read(data: bytes) -> Key:
            known = verdicts.get(data)
            if known is None:
                known = verdicts[data] = (" ".join(verdict(data)),)
            return known

        return read
    prefix = _TAG.pack(_TAG.size + declared.data_size, _VALUE)
    return lambda data: reader.value(_unwrapped(data, prefix, declared.data_size))


def _all_but_alike(
    messages: Iterable[Message], key: Reader, data: Reader, found: dict[Key, Entry]
) -> Iterator[Message]:
    """Put the elements of messages that have nothing but elements with key and data alone to those `found`, at once.

    Yield the other messages: nearly all elements there are have their place in a map of endpoints, and are alike.
    """
    between = _TAG.size * 2
    row = struct.Struct(f"={_TAG.size + between}s{key.format}{between}s{data.format}")
    tags = (
        _TAG.pack(row.size, _ELEMENT) + _tags(_KEY, key.size),
        _tags(_DATA, data.size),
    )
    parts = key.format.count("s")
    for message in messages:
        listed = dict(attributes(message.body, HEADER)).get(_LIST, b"")
        columns = list(zip(*row.iter_unpack(listed), strict=True)) if listed and len(listed) % row.size == 0 else []
        if columns and [set(columns[0]), set(columns[parts + 1])] == [{one} for one in tags]:
            keys, values = key.values(columns[1 : parts + 1]), data.values(columns[parts + 2 :])
            found.update(zip(keys, map(Entry, values), strict=True))
        else:
            yield message


def _tags(kind: int, size: int) -> bytes:
    """Return what comes before a value of so many bytes in an element."""
    return _TAG.pack(2 * _TAG.size + size, kind) + _TAG.pack(_TAG.size + size, _VALUE)


def _elements(messages: Iterable[Message]) -> Iterator[dict[int, bytes]]:
    """Yield the attributes of each element by their kinds."""
    for message in messages:
        listed = dict(attributes(message.body, HEADER)).get(_LIST, b"")
        for _, element in attributes(listed):
            yield dict(attributes(element))


def _raw(said: Mapping[int, bytes], kind: int, prefix: bytes, size: int) -> bytes:
    try:
        return _unwrapped(said[kind], prefix, size)
    except KeyError as error:  # an element for all keys (`*`) has none
        raise Undecodable("an element without a key") from error


def _unwrapped(nested: bytes, prefix: bytes, size: int) -> bytes:
    """Return the value in NFTA_DATA_VALUE, the only attribute in there."""
    if not nested.startswith(prefix):
        raise Undecodable(f"{nested.hex()} is not {size} bytes")
    return nested[_TAG.size : _TAG.size + size]


def _networks(key: Reader, messages: Iterable[Message]) -> dict[Key, Entry]:
    """Read a set that has the starts of its intervals, and what comes after them, as elements."""
    prefix = _TAG.pack(_TAG.size + key.size, _VALUE)
    bounds: list[tuple[bytes, bool]] = []
    comments: dict[bytes, str] = {}
    for said in _elements(messages):
        value = _raw(said, _KEY, prefix, key.size)
        ends = bool(int.from_bytes(said.get(_ELEMENT_FLAGS, b""), "big") & _INTERVAL_END)
        bounds.append((value, ends))
        if not ends:
            comments[value] = comment(said.get(_USER_DATA, b""))
    return {key.between(*one): Entry((), comments[one[0]]) for one in intervals(bounds, key.size)}


def _packets(said: Mapping[int, bytes]) -> int | None:
    """Return what an element's counter says; None if it has none."""
    listed = [value for _, value in attributes(said.get(_EXPRESSIONS, b""))]
    for one in (said[_EXPRESSION], *listed) if _EXPRESSION in said else listed:
        parts = dict(attributes(one))
        if text(parts.get(_EXPRESSION_NAME, b"")) == "counter":
            return int.from_bytes(dict(attributes(parts.get(_EXPRESSION_DATA, b""))).get(_PACKETS, b""), "big")
    return None
