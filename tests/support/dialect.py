"""The nft dialect that full rulesets are printed in, as values: what `tests.support.parser` makes of a text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import MappingProxyType
from typing import Literal

PROTOCOLS = ("tcp", "udp", "sctp")
ADDRESS = {"ip": "ipv4_addr", "ip6": "ipv6_addr"}
FIELDS = {
    "meta l4proto": "inet_proto",
    "th dport": "inet_service",
    **{f"{protocol} dport": "inet_service" for protocol in PROTOCOLS},
    "ct original proto-dst": "inet_service",
    **{
        f"{of}{ip} {end}": kind
        for ip, kind in ADDRESS.items()
        for of, end in (("", "saddr"), ("", "daddr"), ("ct original ", "daddr"))
    },
}
Value = IPv4Address | IPv6Address | IPv4Network | IPv6Network | str | int
Key = tuple[Value, ...]


class BadRuleset(ValueError):
    """A text that is no ruleset of this dialect, or none that a kernel would take."""

    def __init__(self, line: "Line", why: str) -> None:
        super().__init__(f"line {line.number}: {why}: {line.text}")


class UnknownSyntax(BadRuleset):
    """A line with something in it that is not part of the dialect."""


@dataclass(frozen=True)
class Line:
    """A line of the text, without the blanks around it."""

    number: int
    text: str


# Values ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """Something about the packet or its connection, by nft's words for it."""

    words: str

    @property
    def type(self) -> str:
        return FIELDS[self.words]


@dataclass(frozen=True)
class Numgen:
    """A random number below the modulus."""

    modulus: int
    type = "integer"


@dataclass(frozen=True)
class Jhash:
    """A hash below the modulus."""

    of: Field
    modulus: int
    seed: int
    type = "integer"


Expression = Field | Numgen | Jhash
Concatenation = tuple[Expression, ...]


@dataclass(frozen=True)
class Fixed:
    """A match without variable parts: ct state new, ct status dnat, fib saddr (daddr) type local."""

    words: str


@dataclass(frozen=True)
class Interface:
    """Matches the incoming interface's name; one that ends in * is a prefix."""

    name: str
    negated: bool


@dataclass(frozen=True)
class Protocol:
    """Matches one of some transport protocols."""

    names: tuple[str, ...]


@dataclass(frozen=True)
class Outside:
    """Matches addresses that are not in a network."""

    of: Field
    network: IPv4Network | IPv6Network


@dataclass(frozen=True)
class Member:
    """Matches what is in a set, or what is not."""

    key: Concatenation
    set: str
    negated: bool


@dataclass(frozen=True)
class Lookup:
    """Looks a key up in a map."""

    key: Concatenation
    map: str


@dataclass(frozen=True)
class Dispatch(Lookup):
    """Does what a verdict map says: vmap."""


@dataclass(frozen=True)
class Dnat:
    """Gives the connection the destination that is found in a map, or address and port in a map each."""

    lookups: tuple[Lookup, ...]


@dataclass(frozen=True)
class Update:
    """Adds an element to a map, or has the one that is there live on."""

    map: str
    key: Concatenation
    seconds: int
    data: Concatenation


@dataclass(frozen=True)
class Verdict:
    """What becomes of the packet, or where it goes on."""

    kind: Literal["drop", "reject", "return", "masquerade", "goto", "jump"]
    chain: str = ""


Statement = Fixed | Interface | Protocol | Outside | Member | Dispatch | Dnat | Update | Verdict
TERMINAL = (Dispatch, Dnat, Verdict)


@dataclass(frozen=True)
class Rule:
    """Statements, done from left to right until one does not match."""

    line: Line
    statements: tuple[Statement, ...]


@dataclass(frozen=True)
class Hook:
    """Where a base chain meets packets."""

    type: str
    name: str
    priority: int


@dataclass(frozen=True)
class Chain:
    """Rules in their order; a base chain if it has a hook."""

    line: Line
    name: str
    hook: Hook | None
    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class NamedSet:
    """A set, or a map if it has types of data. `elements` is empty where `dynamic`: packets fill such maps."""

    line: Line
    name: str
    key: tuple[str, ...]
    data: tuple[str, ...] = ()
    interval: bool = False
    dynamic: bool = False
    size: int | None = None
    elements: Mapping[Key, Key | Verdict] = field(default_factory=lambda: MappingProxyType({}))
    element_lines: Mapping[Key, Line] = field(default_factory=lambda: MappingProxyType({}), compare=False, repr=False)


@dataclass(frozen=True)
class Table:
    """The table of one family, ip or ip6."""

    family: str
    sets: Mapping[str, NamedSet]
    chains: Mapping[str, Chain]

    def at(self, hook: str) -> list[Chain]:
        """Return a hook's chains in the order in which packets meet them."""
        found = [
            (chain.hook.priority, chain) for chain in self.chains.values() if chain.hook and chain.hook.name == hook
        ]
        return [chain for _, chain in sorted(found, key=lambda one: one[0])]


@dataclass(frozen=True)
class Ruleset:
    """The tables that a text makes, by family."""

    tables: Mapping[str, Table]
