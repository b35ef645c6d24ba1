"""nftables objects as values: what a ruleset is made of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from nftsvc.values import Family

NFT_FAMILY = {Family.IPV4: "ip", Family.IPV6: "ip6"}
VERDICT = "verdict"
LAYOUT_CHAIN = "layout"

# A client that comes back takes an element of about 200 bytes; more clients than this are served, but not remembered.
DYNAMIC_SIZE = 1_048_576

Key = tuple[str | int, ...]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What a key of a map leads to: the parts of the value (empty in a set), and the element's comment."""

    value: Key = ()
    comment: str = ""


Elements = Mapping[Key, Entry]


@dataclass(frozen=True, slots=True)
class NamedSet:
    """A set, or a map if it has `data`. `key` and `data` are nft type expressions; `counter` counts per element.

    An `interval` set holds networks. A `dynamic` map is filled by packets, up to `DYNAMIC_SIZE` elements, each for as
    long as the rule says that puts it there.
    """

    name: str
    key: str
    data: str = ""
    counter: bool = False
    interval: bool = False
    dynamic: bool = False
    purpose: str = field(default="", compare=False)

    @property
    def keyword(self) -> str:
        """Return nft's word for it."""
        return "map" if self.data else "set"

    @property
    def declaration(self) -> tuple[str, ...]:
        """Return nft's statements about it, its type first; `typeof` where the key is made of expressions."""
        statement = "typeof" if "numgen" in self.key else "type"
        of_type = f"{statement} {self.key} : {self.data}" if self.data else f"{statement} {self.key}"
        flags = ("flags interval",) * self.interval + (f"size {DYNAMIC_SIZE}", "flags dynamic, timeout") * self.dynamic
        return (of_type, *(("counter",) * self.counter), *flags)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Its text reads back from the kernel differently with each nft version, so rules are compared by their comments and
    `words`: the sets they look into, the chains they lead to, their verdicts.
    """

    text: str = field(compare=False)
    comment: str
    words: tuple[str, ...]

    @classmethod
    def of(cls, text: str, comment: str) -> "Rule":
        """Return a rule of ours."""
        return cls(text, comment, tuple(sorted(set(_WORDS.findall(_QUOTED.sub("", text))))))


VERDICTS = ("accept", "drop", "return", "reject", "masquerade", "dnat", "jump", "goto")
_QUOTED = re.compile('"[^"]*"')  # the name of an interface, which may be any word
_WORDS = re.compile(
    rf"@[\w-]+|(?<=jump )[\w-]+|(?<=goto )[\w-]+|(?<!status )(?<!status ! )\b(?:{'|'.join(VERDICTS)})\b"
)


@dataclass(frozen=True, slots=True)
class Hook:
    """Where a base chain meets packets."""

    type: str
    hook: str
    priority: int
    policy: str = "accept"


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; a base chain if it has a hook."""

    name: str
    rules: tuple[Rule, ...]
    hook: Hook | None = None
    purpose: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Table:
    """One family's table: named sets and maps, chains, and the elements of each set by its name."""

    family: Family
    sets: tuple[NamedSet, ...]
    chains: tuple[Chain, ...]
    elements: Mapping[str, Elements]
    flags: tuple[str, ...] = ()

    @property
    def layout(self) -> str:
        """The layout that the table says it has, or "" if it says nothing."""
        for chain in self.chains:
            if chain.name == LAYOUT_CHAIN and chain.rules:
                return chain.rules[0].comment
        return ""

    @property
    def sets_layout(self) -> str:
        """The part of the layout that is about sets and maps: tables in which it is the same can keep elements."""
        return self.layout.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Ruleset:
    """All of nftsvc's tables, by family; a family without a table is not in it."""

    tables: Mapping[Family, Table]


EMPTY = Ruleset({})
EMPTY_TABLE = Table(Family.IPV4, (), (), {})
