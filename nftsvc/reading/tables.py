"""Our tables in nft text: what `nft list ruleset` prints, and what nftsvc itself writes for `nft -f`.

Of commands only those are known that make a table, delete it or empty it, as a file has them before its tables. A file
that goes on to add to our tables, includes others or has variables is refused. Other people's tables are passed over.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

from nftsvc.reading.chains import read_chain
from nftsvc.reading.columns import Columns, name_of
from nftsvc.reading.elements import read_elements
from nftsvc.reading.sets import read_set
from nftsvc.reading.words import Item, Source
from nftsvc.ruleset import NFT_FAMILY, TABLE, Chain, Elements, NamedSet, Table
from nftsvc.values import Family, quoted

_FAMILIES = {word: family for family, word in NFT_FAMILY.items()}
_FAMILY_WORDS = (*_FAMILIES, "inet", "arp", "bridge", "netdev")
_CHANGING = ("add", "create", "insert", "replace", "delete", "destroy", "flush", "rename")
_LOOKING = ("list", "get", "reset", "export")
# Named objects other than sets, maps and chains: no table of ours has any, and none has an effect of its own.
_OBJECTS = ("flowtable", "counter", "quota", "limit", "ct", "secmark", "synproxy", "tunnel")
_KINDS = (*_OBJECTS, "table", "ruleset", "chain", "rule", "set", "map", "element", "meter")

_Tables = dict[Family, Table]


class _Command(NamedTuple):
    """A command without its block: `delete`, `table`, and the words behind. Without a verb it adds."""

    verb: str
    kind: str
    words: list[str]

    @classmethod
    def of(cls, words: list[str]) -> "_Command":
        """Read the words of a command."""
        verb, *named = words if words and words[0] in (*_CHANGING, *_LOOKING) else ["add", *words]
        return cls(verb, named[0] if named else "", named[1:])

    @property
    def family(self) -> Family | None:
        """The family of the table that it is about, if that is ours; where none is said it is IPv4's."""
        words = self.words[1:] if self.kind == "ct" else self.words
        family, *rest = words if words and words[0] in _FAMILY_WORDS else ["ip", *words]
        return _FAMILIES.get(family) if rest and rest[0].strip('"') == TABLE else None


def read_tables(text: str) -> dict[Family, Table]:
    """Return our tables; Unreadable says what cannot be read in them, or around them."""
    source, columns = Source(text), Columns()
    tables: _Tables = {}
    for item in source.items():
        command = _Command.of(source.words(item))
        if command.kind not in _KINDS:
            raise source.unknown(item, "is no nft command")
        family = command.family
        if (command.verb, command.kind) == ("flush", "ruleset"):
            _flush(tables, command.words)
        elif family is not None and command.kind == "table" and command.verb in _CHANGING:
            _do(source, item, command.verb, family, tables, columns)
        elif family is not None and command.verb in _CHANGING:
            raise source.unknown(item, "is not read; give whole tables, as `nft list ruleset` prints them")
    return tables


def _flush(tables: _Tables, words: list[str]) -> None:
    for family, word in NFT_FAMILY.items():
        if not words or words[0] == word:
            tables.pop(family, None)


def _do(source: Source, item: Item, verb: str, family: Family, tables: _Tables, columns: Columns) -> None:
    """Do what a command does to one of our tables."""
    known = tables.get(family)
    if verb in {"delete", "destroy"}:
        tables.pop(family, None)
    elif verb in {"add", "create"} and item.body is None:
        tables.setdefault(family, Table(family, (), (), {}))
    elif known is not None and (known.sets or known.chains):
        raise source.unknown(item, f"is about table {NFT_FAMILY[family]} {TABLE} once more")
    elif item.body is not None:
        _end(source, item)
        tables[family] = _table(source, item, family, columns)


def _table(source: Source, table: Item, family: Family, columns: Columns) -> Table:
    sets: list[NamedSet] = []
    chains: list[Chain] = []
    elements: dict[str, Elements] = {}
    flags: tuple[str, ...] = ()
    for item in source.inside(table):
        match source.words(item):
            case ["set" | "map" as keyword, name] if item.body is not None:
                declared, span = read_set(source, item, keyword, _new(source, item, name, elements))
                sets.append(declared)
                elements[declared.name] = read_elements(source, span, declared, columns) if span is not None else {}
                _end(source, item)
            case ["chain", name] if item.body is not None:
                chains.append(read_chain(source, item, _new(source, item, name, {one.name for one in chains})))
                _end(source, item)
            case ["flags", *words] if item.body is None:
                flags += tuple(re.findall(r"\w+", " ".join(words)))
            case ["comment", *_] if item.body is None:
                pass
            case [word, *_] if word in _OBJECTS and item.body is not None:
                _end(source, item)
            case _:
                raise source.unknown(item, "is nothing that is known in a table")
    return Table(family, tuple(sets), tuple(chains), elements, flags)


def _new(source: Source, item: Item, text: str, known: Collection[str]) -> str:
    """Return the name of a set, map or chain, which no other may have."""
    try:
        name = name_of(text)
    except ValueError as error:
        raise source.fault(source.place(item), str(error)) from None
    if name in known:
        raise source.fault(source.place(item), f"a second {source.words(item)[0]} {quoted(name)}")
    return name


def _end(source: Source, item: Item) -> None:
    """See to it that nothing is behind a block but the end of its statement."""
    rest = source.rest(item)
    if item.body is not None and rest:
        raise source.fault(item.body[1], f"{quoted(rest)} behind the end of a block")
