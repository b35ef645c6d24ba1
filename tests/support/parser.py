"""Reads rulesets strictly, and without help from what printed them.

Whatever is not in the dialect, down to a single word, is an `UnknownSyntax` that quotes the line. What can be read but
not loaded is for `tests.support.consistency` to say.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import MappingProxyType

from tests.support.dialect import (
    ADDRESS,
    PROTOCOLS,
    TERMINAL,
    BadRuleset,
    Chain,
    Dispatch,
    Dnat,
    Field,
    Fixed,
    Hook,
    Interface,
    Key,
    Line,
    Lookup,
    Member,
    NamedSet,
    Outside,
    Protocol,
    Rule,
    Statement,
    Table,
    UnknownSyntax,
    Update,
    Value,
    Verdict,
)
from tests.support.words import Lines, Words, concatenation

TABLE = "nftsvc"
_HOOKS = {
    *(("filter", hook, -110) for hook in ("prerouting", "output")),
    *(("nat", hook, -100) for hook in ("prerouting", "output")),
    *(("filter", hook, 0) for hook in ("input", "forward", "output")),
    *(("nat", hook, 100) for hook in ("postrouting", "input")),
}
_HOOK = re.compile(r"type (\w+) hook (\w+) priority (0|-?[1-9]\d*); policy accept;")
_ADDRESSES: dict[str, tuple[type[IPv4Address | IPv6Address], type[IPv4Network | IPv6Network]]] = {
    "ipv4_addr": (IPv4Address, IPv4Network),
    "ipv6_addr": (IPv6Address, IPv6Network),
}
_TYPES = (*_ADDRESSES, "inet_proto", "inet_service")


def parse_tables(text: str) -> dict[str, Table]:
    """Return the tables of a ruleset, by family."""
    lines = Lines(text)
    tables: dict[str, Table] = {}
    while lines:
        line = lines.take()
        family = next((one for one in ADDRESS if line.text == f"table {one} {TABLE}"), None)
        if family is None or family in tables:
            raise UnknownSyntax(line, "a table of a family of its own expected")
        for wanted in (f"delete table {family} {TABLE}", f"table {family} {TABLE} {{"):
            line = lines.take()
            if line.text != wanted:
                raise UnknownSyntax(line, f"{wanted!r} expected, not")
        tables[family] = _table(family, lines)
    return tables


def _table(family: str, lines: Lines) -> Table:
    sets: dict[str, NamedSet] = {}
    chains: dict[str, Chain] = {}
    for line in lines.block():
        words = Words(line)
        keyword = words.match("set|map|chain", "a set, a map or a chain")
        name = words.name()
        words.expect("{")
        words.end()
        if name in (chains if keyword == "chain" else sets):
            raise BadRuleset(line, "a name twice")
        if keyword == "chain":
            chains[name] = _chain(line, name, family, lines)
        else:
            sets[name] = _SetReader(line, name, family, is_map=keyword == "map").read(lines)
    return Table(family, MappingProxyType(sets), MappingProxyType(chains))


def _chain(line: Line, name: str, family: str, lines: Lines) -> Chain:
    hook = None
    rules: list[Rule] = []
    for one in lines.block():
        if one.text.startswith("type "):
            if hook is not None or rules:
                raise UnknownSyntax(one, "a hook comes first, and once")
            hook = _hook(one)
        else:
            rules.append(_rule(one, family))
    return Chain(line, name, hook, tuple(rules))


def _hook(line: Line) -> Hook:
    match = _HOOK.fullmatch(line.text)
    if match is None or (match[1], match[2], int(match[3])) not in _HOOKS:
        raise UnknownSyntax(line, "an unknown hook")
    return Hook(match[1], match[2], int(match[3]))


# Sets and elements ----------------------------------------------------------------------------------------------------


class _SetReader:
    """Reads one set or map."""

    def __init__(self, line: Line, name: str, family: str, *, is_map: bool) -> None:
        self._line = line
        self._name = name
        self._family = family
        self._is_map = is_map
        self._types: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._properties: dict[str, int] = {}
        self._elements: dict[Key, Key | Verdict] = {}
        self._element_lines: dict[Key, Line] = {}

    def read(self, lines: Lines) -> NamedSet:
        for line in lines.block():
            words = Words(line)
            if self._types is None:
                self._types = self._read_types(words)
            elif words.take("elements", "=", "{"):
                words.end()
                self._note(line, "elements", 1)
                self._read_elements(lines)
            else:
                self._read_property(words)
            words.end()
        if self._types is None:
            raise UnknownSyntax(self._line, "a set without a type")
        key, data = self._types
        if "flags dynamic" in self._properties and self._elements:
            raise UnknownSyntax(self._line, "elements where packets put them")
        return NamedSet(
            line=self._line,
            name=self._name,
            key=key,
            data=data,
            interval="flags interval" in self._properties,
            dynamic="flags dynamic" in self._properties,
            size=self._properties.get("size"),
            elements=MappingProxyType(self._elements),
            element_lines=MappingProxyType(self._element_lines),
        )

    def _read_types(self, words: Words) -> tuple[tuple[str, ...], tuple[str, ...]]:
        read = _types_of if words.take("typeof") else _type_names
        if read is _type_names:
            words.expect("type")
        key = read(words)
        data: tuple[str, ...] = ()
        if self._is_map:
            words.expect(":")
            data = ("verdict",) if words.take("verdict") else read(words)
        other = next(kind for ip, kind in ADDRESS.items() if ip != self._family)
        if other in key + data:
            raise UnknownSyntax(words.line, "addresses of the other family")
        return key, data

    def _read_property(self, words: Words) -> None:
        line = words.line
        if self._elements:
            raise UnknownSyntax(line, "a property after the elements")
        if words.take("counter"):
            self._note(line, "counter", 1)
        elif words.take("size"):
            self._note(line, "size", words.number(1 << 32))
        elif words.take("flags", "interval") and not self._is_map:
            self._note(line, "flags interval", 1)
        elif words.take("flags", "dynamic", ",", "timeout") and self._is_map:
            self._note(line, "flags dynamic", 1)
        else:
            raise UnknownSyntax(line, "an unknown property")

    def _note(self, line: Line, name: str, value: int) -> None:
        if name in self._properties or (name.startswith("flags") and "elements" in self._properties):
            raise UnknownSyntax(line, "a property twice or too late")
        self._properties[name] = value

    def _read_elements(self, lines: Lines) -> None:
        more = True
        for line in lines.block():
            words = Words(line)
            if not more:
                raise UnknownSyntax(line, "a comma is missing before")
            key, data = self._element(words)
            more = words.take(",")
            words.end()
            if key in self._elements:
                raise BadRuleset(line, "an element twice")
            self._elements[key] = data
            self._element_lines[key] = line
        if more:
            raise UnknownSyntax(self._line, "an element is missing in")

    def _element(self, words: Words) -> tuple[Key, Key | Verdict]:
        assert self._types is not None
        key_types, data_types = self._types
        key = _values(words, key_types, interval="flags interval" in self._properties)
        words.comment()
        if not self._is_map:
            return key, ()
        words.expect(":")
        if data_types != ("verdict",):
            return key, _values(words, data_types, interval=False)
        if words.take("drop"):
            return key, Verdict("drop")
        words.expect("goto")
        return key, Verdict("goto", words.name())


def _type_names(words: Words) -> tuple[str, ...]:
    names = [words.match("|".join(_TYPES), "a type")]
    while words.take("."):
        names.append(words.match("|".join(_TYPES), "a type"))
    return tuple(names)


def _types_of(words: Words) -> tuple[str, ...]:
    return tuple(one.type for one in concatenation(words))


def _values(words: Words, types: tuple[str, ...], *, interval: bool) -> Key:
    values: list[Value] = []
    for kind in types:
        if values:
            words.expect(".")
        values.append(_value(words, kind, interval=interval))
    return tuple(values)


def _value(words: Words, kind: str, *, interval: bool = False) -> Value:
    if kind == "inet_proto":
        return words.match("|".join(PROTOCOLS), "a protocol")
    if kind in _ADDRESSES:
        return _address(words, kind, interval=interval)
    return words.number(1 << (16 if kind == "inet_service" else 32))


def _address(words: Words, kind: str, *, interval: bool) -> Value:
    text = words.match(r"[0-9a-f.:]+(/\d+)?", "an address")
    address, network = _ADDRESSES[kind]
    try:
        made: IPv4Address | IPv6Address | IPv4Network | IPv6Network = network(text) if interval else address(text)
    except ValueError as error:
        raise UnknownSyntax(words.line, str(error)) from error
    if text.removesuffix(f"/{made.max_prefixlen}") != str(made).removesuffix(f"/{made.max_prefixlen}"):
        raise UnknownSyntax(words.line, f"{text} is written {made}")
    return made


# Statements -----------------------------------------------------------------------------------------------------------

_FIXED: dict[str, Fixed | Verdict] = {
    **{words: Fixed(words) for words in ("ct state new", "ct status ! dnat", "ct status dnat")},
    **{words: Fixed(words) for words in ("fib saddr type local", "fib daddr type local")},
    "masquerade fully-random": Verdict("masquerade"),
    "drop": Verdict("drop"),
    "reject": Verdict("reject"),
    "return": Verdict("return"),
}


def _rule(line: Line, family: str) -> Rule:
    words = Words(line)
    statements: list[Statement] = []
    while words and not words.sees("comment"):
        if statements and isinstance(statements[-1], TERMINAL):
            raise words.error("nothing after a verdict")
        statements.append(_statement(words, family))
    if not statements:
        raise UnknownSyntax(line, "a rule that does nothing")
    words.comment()
    words.end()
    return Rule(line, tuple(statements))


def _statement(words: Words, family: str) -> Statement:
    for known, statement in _FIXED.items():
        if words.take(*known.split()):
            return statement
    for known, read in _READERS.items():
        if words.take(known):
            return read(words, family)
    key = concatenation(words)
    if words.take("vmap"):
        return Dispatch(key, words.reference())
    negated = words.take("!=")
    if words.sees("@"):
        return Member(key, words.reference(), negated)
    match key:
        case (Field("meta l4proto"),) if not negated:
            return Protocol(_protocols(words))
        case (Field("ip saddr" | "ip daddr" | "ip6 saddr" | "ip6 daddr") as of,) if negated:
            network = _address(words, of.type, interval=True)
            assert isinstance(network, IPv4Network | IPv6Network)
            return Outside(of, network)
        case _:
            raise words.error("a set, a vmap or a value")


def _protocols(words: Words) -> tuple[str, ...]:
    protocol = "|".join(PROTOCOLS)
    if not words.take("{"):
        return (words.match(protocol, "a protocol"),)
    names = [words.match(protocol, "a protocol")]
    while words.take(","):
        names.append(words.match(protocol, "a protocol"))
    words.expect("}")
    if len(set(names)) < len(names):
        raise BadRuleset(words.line, "an element twice")
    return tuple(names)


def _interface(words: Words, _: str) -> Interface:
    negated = words.take("!=")
    name = words.string()
    if re.fullmatch(r"[A-Za-z0-9._-]+\*?", name) is None:
        raise UnknownSyntax(words.line, "an odd name of an interface")
    return Interface(name, negated)


def _dnat(words: Words, family: str) -> Dnat:
    words.expect(family, "to")
    lookups = [_lookup(words)]
    if words.take(":"):
        lookups.append(_lookup(words))
    return Dnat(tuple(lookups))


def _lookup(words: Words) -> Lookup:
    key = concatenation(words)
    words.expect("map")
    return Lookup(key, words.reference())


def _update(words: Words, _: str) -> Update:
    name = words.reference()
    words.expect("{")
    key = concatenation(words)
    words.expect("timeout")
    seconds = words.number(1 << 32, "s")
    words.expect(":")
    data = concatenation(words)
    words.expect("}")
    return Update(name, key, seconds, data)


_READERS: dict[str, Callable[[Words, str], Statement]] = {
    "goto": lambda words, _: Verdict("goto", words.name()),
    "jump": lambda words, _: Verdict("jump", words.name()),
    "iifname": _interface,
    "dnat": _dnat,
    "update": _update,
}
