"""Keys and data of set elements as the kernel has them: bytes that only the set's types say how to read.

The kernel keeps a type as the number that nft gave it (`enum datatypes` of nft, the same in every version), a
concatenation as those of its parts in 6 bits each. The parts of a concatenation are padded to 4 bytes.
"""

import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from ipaddress import ip_address
from operator import getitem
from typing import Generic, NamedTuple, TypeVar

from nftsvc.ruleset import VERDICT, Key

_BITS = 6
_IPV4_BYTES = 4
_VERDICT = 0xFFFFFF00  # NFT_DATA_VERDICT
PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}


class Undecodable(ValueError):
    """These are bytes that no element of ours has."""


_From = TypeVar("_From")
_To = TypeVar("_To")


class Known(dict[_From, _To], Generic[_From, _To]):
    """Values by what they are made from, each made once: most occur in many elements."""

    def __init__(self, make: Callable[[_From], _To]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, given: _From) -> _To:
        """Make a value for the first time."""
        made = self[given] = self._make(given)
        return made


class _Type(NamedTuple):
    name: str
    width: int
    read: Callable[[bytes], str | int]
    network: bool = False


def _address(raw: bytes) -> str:
    """Write an address as Python does; the C library spells some of IPv6 in decimal (::192.0.2.1)."""
    text = socket.inet_ntop(socket.AF_INET if len(raw) == _IPV4_BYTES else socket.AF_INET6, raw)
    return str(ip_address(text)) if "." in text and ":" in text else text


def _protocol(raw: bytes) -> str:
    return PROTOCOLS.get(raw[0], str(raw[0]))


def _port(raw: bytes) -> int:
    return int.from_bytes(raw[:2], "big")


def _integer(raw: bytes) -> int:
    """Read what `numgen` and `jhash` make: unlike all else it is in the machine's byte order."""
    return int.from_bytes(raw, sys.byteorder)


_TYPES = {
    4: _Type("integer", 4, _integer),
    7: _Type("ipv4_addr", 4, _address, network=True),
    8: _Type("ipv6_addr", 16, _address, network=True),
    12: _Type("inet_proto", 1, _protocol),
    13: _Type("inet_service", 2, _port),
}


class Reader:
    """Reads the values of one type. `name` is nft's expression for it, `size` the number of bytes that a value takes.

    Raises Undecodable for a type that no set of ours has, and for a size that does not fit it.
    """

    def __init__(self, number: int, size: int) -> None:
        types = [_TYPES.get(part) for part in _split(number)]
        known = [one for one in types if one is not None]
        if not known or len(known) < len(types):
            raise Undecodable(f"type {number:#x}")
        self.name = " . ".join(one.name for one in known)
        self.size = size
        widths = [one.width if len(known) == 1 else -(-one.width // 4) * 4 for one in known]
        if sum(widths) != size:
            raise Undecodable(f"{self.name} in {size} bytes")
        self.format = "".join(f"{width}s" for width in widths)
        self._parts = struct.Struct(self.format).unpack
        self._texts = tuple(Known(one.read) for one in known)
        self._networks = tuple(one.network for one in known)

    def value(self, raw: bytes) -> Key:
        """Return the parts of a value."""
        if len(raw) != self.size:
            raise Undecodable(f"{len(raw)} bytes for {self.name}")
        return tuple(map(getitem, self._texts, self._parts(raw)))

    def values(self, parts: Iterable[tuple[bytes, ...]]) -> Iterator[Key]:
        """Return many values: of each part, as `format` has them, what it is in all of them."""
        return zip(*(map(texts.__getitem__, part) for texts, part in zip(self._texts, parts, strict=True)), strict=True)

    def between(self, first: bytes, last: bytes) -> Key:
        """Return the parts of a value that stands for all from one to another, networks among them.

        Undecodable if it is a range of addresses that is no network, or of anything else.
        """
        if len(first) != self.size or len(last) != self.size:
            raise Undecodable(f"{len(first)} and {len(last)} bytes for {self.name}")
        parts = zip(self._texts, self._networks, self._parts(first), self._parts(last), strict=True)
        return tuple(
            texts[low] if low == high else _network(low, high, ranged=ranged) for texts, ranged, low, high in parts
        )


def intervals(bounds: Sequence[tuple[bytes, bool]], size: int) -> list[tuple[bytes, bytes]]:
    """Return first and last value of each interval. A bound is a value, and whether it is the first after an interval.

    An interval that goes on to the next one's start, or to the last value there is, may lack its end.
    """
    found: list[tuple[bytes, bytes]] = []
    start: bytes | None = None
    for value, ends in sorted(bounds, key=lambda bound: (bound[0], not bound[1])):
        if start is not None and value != start:
            found.append((start, (int.from_bytes(value, "big") - 1).to_bytes(size, "big")))
            start = None
        if not ends:
            start = value
    if start is not None:
        found.append((start, b"\xff" * size))
    return found


def data_reader(number: int, size: int) -> "Reader | None":
    """Return what reads a map's data; None if they are verdicts. Undecodable as for Reader."""
    return None if number == _VERDICT else Reader(number, size)


def data_name(number: int, size: int) -> str:
    """Return the name of a type of data, be it one that we know or not."""
    try:
        reader = data_reader(number, size)
    except Undecodable as error:
        return str(error)
    return VERDICT if reader is None else reader.name


def _split(number: int) -> list[int]:
    """Return the numbers of a type's parts."""
    parts: list[int] = []
    while number:
        parts.insert(0, number & (1 << _BITS) - 1)
        number >>= _BITS
    return parts


def _network(first: bytes, last: bytes, *, ranged: bool) -> str:
    low, high = (int.from_bytes(one, "big") for one in (first, last))
    count = high - low + 1
    if not ranged or count < 1 or count & count - 1 or low % count:
        raise Undecodable(f"{first.hex()}-{last.hex()} is no network")
    return f"{_address(first)}/{len(first) * 8 - count.bit_length() + 1}"
