"""What libnftables lists, as values: the way back from the kernel to a Table.

In: the JSON of `list table`. Out: the same value that `nftsvc.ruleset` would have made, as far as it can be read back.
nft 1.0.6 leaves out of its JSON what a set's type was written as, and table comments; a rule is known by its comment.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from itertools import zip_longest
from typing import TypeAlias

from nftsvc.ruleset import VERDICTS, Chain, Entry, Hook, Key, NamedSet, Rule, Table
from nftsvc.values import Family

Json: TypeAlias = "str | int | list[Json] | dict[str, Json] | None"
_Fields = Mapping[str, "Json"]

_PROTOCOLS: Mapping[Json, str] = {6: "tcp", 17: "udp", 132: "sctp"}


def parse_table(text: str, family: Family) -> Table:
    """Read a table's listing. Whatever we would not have made makes the table one that we would not want."""
    items = json.loads(text)["nftables"]
    sets: list[NamedSet] = []
    elements: dict[str, dict[Key, Entry]] = {}
    try:
        for kind in ("set", "map"):
            for one in _of_kind(items, kind):
                name = str(one["name"])
                sets.append(NamedSet(name, "", str(one.get("map", "")) if kind == "map" else ""))
                elements[name] = dict(_elements(one.get("elem"), _types(one.get("type")), is_map=kind == "map"))
        rules: dict[str, list[Rule]] = {}
        for one in _of_kind(items, "rule"):
            rule = Rule("", str(one.get("comment", "")), tuple(sorted(set(_words(one.get("expr"))))))
            rules.setdefault(str(one["chain"]), []).append(rule)
        chains = tuple(
            Chain(str(one["name"]), tuple(rules.get(str(one["name"]), ())), _hook(one))
            for one in _of_kind(items, "chain")
        )
        flags = [flag for one in _of_kind(items, "table") for flag in _flags(one.get("flags"))]
    except (KeyError, TypeError, ValueError):
        return Table(family, (), (), {})
    return Table(family, tuple(sets), chains, elements, tuple(flags))


def _flags(listed: Json) -> list[str]:
    return [str(flag) for flag in listed] if isinstance(listed, list) else [str(listed)] if listed else []


def _words(expression: Json) -> Iterator[str]:
    """Yield what a rule looks into, where it leads, and its verdicts, as `Rule.words` has them."""
    if isinstance(expression, list):
        for part in expression:
            yield from _words(part)
    elif isinstance(expression, dict):
        for name, value in expression.items():
            if name in VERDICTS:
                yield name
            if name == "target":
                yield str(value)
            yield from _words(value)
    elif isinstance(expression, str):
        # nft 1.0.6 has no JSON for the statement that records what packets show; it comes as text.
        yield from re.findall(r"@[\w-]+", expression)


def _of_kind(items: Iterable[Mapping[str, _Fields]], kind: str) -> Iterator[_Fields]:
    return (item[kind] for item in items if kind in item)


def _hook(chain: _Fields) -> Hook | None:
    if "hook" not in chain:
        return None
    return Hook(str(chain["type"]), str(chain["hook"]), int(str(chain["prio"])), str(chain.get("policy")))


def _types(listed: Json) -> tuple[str, ...]:
    """Return the types of a key's parts; none for a `typeof` key, which nft 1.1 lists as expressions."""
    if isinstance(listed, dict):
        return ()
    return tuple(map(str, listed)) if isinstance(listed, list) else (str(listed),)


def _elements(listed: Json, types: tuple[str, ...], *, is_map: bool) -> Iterator[tuple[Key, Entry]]:
    for item in listed if isinstance(listed, list) else ():
        bare, value = item if is_map and isinstance(item, list) else (item, None)
        comment = ""
        if isinstance(bare, dict) and isinstance(element := bare.get("elem"), dict):
            bare, comment = element["val"], str(element.get("comment", ""))
        key = tuple(_part(part, kind) for part, kind in zip_longest(_parts(bare), types, fillvalue=""))
        yield key, Entry(_value(value), comment)


def _parts(value: Json) -> list[Json]:
    parts = value.get("concat") if isinstance(value, dict) else None
    return parts if isinstance(parts, list) else [value]


def _part(part: Json, kind: Json) -> str | int:
    """Read one part of a key: protocols are listed as numbers, which are the same on every machine; names are not."""
    if kind == "inet_proto":
        return _PROTOCOLS.get(part, str(part))
    if isinstance(part, dict):
        network = part["prefix"]
        return _network(network) if isinstance(network, dict) else ""
    return part if isinstance(part, int) else _canonical(str(part))


def _network(prefix: _Fields) -> str:
    return str(ip_network((str(prefix["addr"]), int(str(prefix["len"])))))


def _canonical(text: str) -> str:
    """Undo the C library's spelling of addresses such as ::192.0.2.1, which Python writes in hexadecimal."""
    try:
        return str(ip_address(text)) if "." in text and ":" in text else text
    except ValueError:
        return text


def _value(value: Json) -> Key:
    match value:
        case None:
            return ()
        case {"goto": {"target": target}}:
            return (f"goto {target}",)
        case {"jump": {"target": target}}:
            return (f"jump {target}",)
        case {"drop": None}:
            return ("drop",)
        case _:
            return tuple(part if isinstance(part, int) else _canonical(str(part)) for part in _parts(value))
