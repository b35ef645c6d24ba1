"""Values of elements: from nft's spelling, whichever version's, to the one that `nftsvc.ruleset` has.

Text and JSON are read by the same rules; what JSON has as an object comes here as it would be written in text. Every
function that reads a value raises ValueError for what is none of its type.
"""

import re
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from nftsvc.reading.services import PORTS
from nftsvc.values import quoted

_MOST_DIGITS = 10
_MAX_PORT = 65535
_MAX_PROTOCOL = 255
EVERYTHING = "*"  # the element for all other keys

# Protocols are numbers to the kernel; ours have names, as in the text that nftsvc writes.
_PROTOCOLS = {"6": "tcp", "17": "udp", "132": "sctp"}
_NAME = re.compile(r"[A-Za-z_.][\w./-]*", re.ASCII)
_VERDICT = re.compile(rf"(?:goto|jump) {_NAME.pattern}|accept|drop|continue|break|return", re.ASCII)
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUP = "[1-9a-f][0-9a-f]{0,3}"
# What nearly every address looks like; to see that it is written as Python writes it costs less than to make it one. Of
# IPv6 those without a zero between two colons, and with `::` for two or more (seven colons would be seven groups).
_CANONICAL = {
    "IPv4": re.compile(rf"{_OCTET}(?:[.]{_OCTET}){{3}}"),
    "IPv6": re.compile(rf"(?!(?:[^:]*:){{7}}){_GROUP}(?::{_GROUP})*::(?:{_GROUP}(?::{_GROUP})*)?"),
}
_DECIMAL = re.compile(r"[0-9]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,8}")

Value = str | int

# What the expressions in a `typeof` are values of; nothing else is in the declarations of our sets.
_EXPRESSIONS = (
    (re.compile(r"(?:ct (?:original |reply )?)?ip [sd]addr"), "ipv4_addr"),
    (re.compile(r"(?:ct (?:original |reply )?)?ip6 [sd]addr"), "ipv6_addr"),
    (re.compile(r"meta l4proto|ip protocol|ip6 nexthdr"), "inet_proto"),
    (
        re.compile(r"(?:tcp|udp|udplite|sctp|dccp|th) [sd]port|ct (?:original |reply )?proto-(?:src|dst)"),
        "inet_service",
    ),
    (re.compile(r"(?:numgen|jhash|symhash) .*"), "integer"),
)


def types_of(declared: str) -> tuple[str, ...]:
    """Return the type of each part of a key or of data, declared by names of types or by expressions."""
    return tuple(map(_type_of, declared.removeprefix("interval ").split(" . "))) if declared else ()


def _type_of(part: str) -> str:
    return next((kind for expression, kind in _EXPRESSIONS if expression.fullmatch(part)), part)


def name_of(text: str) -> str:
    """Return the name of a set, map or chain without its quotes; ValueError if nft would not take it without them."""
    name = text.removeprefix('"').removesuffix('"')
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{quoted(name)} is no name")
    return name


class Column(dict[str, Value]):
    """Values of one type by how they are written, each read once: most occur in many elements."""

    def __init__(self, read: Callable[[str], Value]) -> None:
        super().__init__()
        self._read = read

    def __missing__(self, text: str) -> Value:
        """Read a value for the first time; ValueError says what is wrong with it."""
        value = self[text] = self._read(text)
        return value


class Columns:
    """The columns of a ruleset, by type; tables and sets share them."""

    def __init__(self) -> None:
        self._known: dict[str, Column] = {}

    def of(self, types: tuple[str, ...]) -> tuple[Column, ...]:
        """Return the column of each type."""
        return tuple(self._known.setdefault(kind, Column(_READERS.get(kind, _anything))) for kind in types)


def _address(
    text: str, kind: str, address: type[IPv4Address | IPv6Address], network: type[IPv4Network | IPv6Network]
) -> str:
    """Read an address, a network, or a range of addresses; a network of one address is that address."""
    if text == EVERYTHING or _CANONICAL[kind].fullmatch(text):
        return text
    try:
        if "%" in text:
            raise ValueError  # noqa: TRY301 - Python takes a zone, nft does not
        first, dash, last = text.partition("-")
        if dash:
            return f"{address(first)}-{address(last)}"
        if "/" not in text:
            return str(address(text))
        made = network(text, strict=False)
        return str(made.network_address if made.prefixlen == made.max_prefixlen else made)
    except ValueError:
        names = " (names are not looked up; list without -N)" if re.match(r'[A-Za-z_"][^:]*$', text) else ""
        raise ValueError(f"{quoted(text)} is not an {kind} address{names}") from None


def _port(text: str) -> Value:
    if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS and int(text) <= _MAX_PORT:
        return int(text)
    low, dash, high = text.partition("-")
    if dash and all(_DECIMAL.fullmatch(one) for one in (low, high)):
        return text
    name = text.strip('"')
    if name in PORTS:
        return PORTS[name]
    if text == EVERYTHING:
        return text
    names = " (few names of ports are known here; list without -S)" if name.strip("0123456789") else ""
    raise ValueError(f"{quoted(text)} is not a port number{names}")


def _protocol(text: str) -> str:
    name = text.strip('"')
    if not _DECIMAL.fullmatch(name):
        return name
    if len(name) > _MOST_DIGITS or int(name) > _MAX_PROTOCOL:
        raise ValueError(f"{quoted(text)} is not the number of a protocol")
    return _PROTOCOLS.get(str(int(name)), str(int(name)))


def _integer(text: str) -> Value:
    """Read a number, as nft prints what `numgen` and `jhash` make: decimal, or hexadecimal with 0x."""
    if text.isdecimal() and text.isascii() and len(text) <= _MOST_DIGITS:
        return int(text)
    if _HEXADECIMAL.fullmatch(text):
        return int(text, 16)
    if text == EVERYTHING:
        return text
    raise ValueError(f"{quoted(text)} is not a number")


def _anything(text: str) -> Value:
    """Read a value of a type that none of our sets has."""
    try:
        return _integer(text)
    except ValueError:
        return text.strip('"')


def _verdict(text: str) -> str:
    verdict = " ".join(text.split())
    if _VERDICT.fullmatch(verdict) is None:
        raise ValueError(f"{quoted(text)} is not a verdict")
    return verdict


_READERS: dict[str, Callable[[str], Value]] = {
    "ipv4_addr": partial(_address, kind="IPv4", address=IPv4Address, network=IPv4Network),
    "ipv6_addr": partial(_address, kind="IPv6", address=IPv6Address, network=IPv6Network),
    "inet_service": _port,
    "inet_proto": _protocol,
    "integer": _integer,
    "verdict": _verdict,
}
