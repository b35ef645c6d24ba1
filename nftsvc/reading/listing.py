"""The JSON that nft lists, as values.

What differs by version: protocols are names or, with -n, numbers; a single flag is a word in 1.1.4 and a list in all
others; `typeof` is lost up to 1.1.1, and the flag `dynamic` up to 1.0.8; the statement that records what packets show
is text up to 1.0.8, because there was no JSON for it; chains come before sets or after them. The flags of a table are
whatever is in the memory of nft 1.0.6, if it does not crash over them.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import getitem
from typing import TypeAlias

from nftsvc.reading.chains import priority
from nftsvc.reading.columns import EVERYTHING, Column, Columns, name_of, types_of
from nftsvc.reading.faults import Unreadable
from nftsvc.ruleset import NFT_FAMILY, TABLE, VERDICT, VERDICTS, Chain, Entry, Hook, Key, NamedSet, Rule, Table
from nftsvc.values import Family, quoted

Json: TypeAlias = "str | int | float | list[Json] | dict[str, Json] | None"
_Fields = Mapping[str, Json]

_FAMILIES = {word: family for family, word in NFT_FAMILY.items()}


@dataclass(slots=True)
class _Found:
    """What there is of one table so far."""

    flags: list[str] = field(default_factory=list)
    sets: list[NamedSet] = field(default_factory=list)
    elements: dict[str, dict[Key, Entry]] = field(default_factory=dict)
    hooks: dict[str, Hook | None] = field(default_factory=dict)
    rules: dict[str, list[Rule]] = field(default_factory=dict)

    def table(self, family: Family) -> Table:
        """Return the table."""
        chains = tuple(Chain(name, tuple(self.rules.get(name, ())), hook) for name, hook in self.hooks.items())
        return Table(family, tuple(self.sets), chains, self.elements, tuple(self.flags))


def parse_table(text: str, family: Family) -> Table:
    """Read a table's listing. Whatever cannot be read makes the table one that we would not want, an empty one."""
    empty = Table(family, (), (), {})
    try:
        return read_listing(text).get(family, empty)
    except Unreadable:
        return empty


def read_listing(text: str) -> dict[Family, Table]:
    """Return our tables in a listing; Unreadable says what in them is not as nft lists it."""
    found: dict[Family, _Found] = {}
    columns = Columns()
    for at, item in enumerate(_items(text)):
        for kind, fields in item.items() if isinstance(item, dict) else ():
            family = _ours(kind, fields)
            if family is None or not isinstance(fields, dict):
                continue
            try:
                _take(found.setdefault(family, _Found()), kind, fields, columns)
            except (KeyError, TypeError, ValueError, RecursionError) as error:
                where = f"nftables[{at}] {kind} {fields.get('name', '')}"
                why = f"{error} is missing" if isinstance(error, KeyError) else error
                raise Unreadable(where.rstrip(), str(why)) from None
    return {family: one.table(family) for family, one in found.items()}


def _items(text: str) -> Sequence[Json]:
    try:
        listed = json.loads(text.lstrip("\ufeff"))
    except RecursionError:
        raise Unreadable("", "JSON that is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Unreadable(f"line {error.lineno}", f"not JSON: {error.msg}") from None
    except ValueError as error:
        raise Unreadable("", f"not JSON: {error}") from None
    items = listed.get("nftables") if isinstance(listed, dict) else None
    if not isinstance(items, list):
        raise Unreadable("", 'JSON, but not as nft lists it: no list "nftables"')
    return items


def _ours(kind: str, fields: Json) -> Family | None:
    if not isinstance(fields, dict) or fields.get("name" if kind == "table" else "table") != TABLE:
        return None
    return _FAMILIES.get(str(fields.get("family")))


def _take(found: _Found, kind: str, fields: _Fields, columns: Columns) -> None:
    match kind:
        case "table":
            found.flags += _words_of(fields.get("flags"))
        case "set" | "map":
            declared = _declared(kind, fields)
            found.sets.append(declared)
            found.elements[declared.name] = dict(_elements(declared, fields.get("elem"), columns))
        case "chain":
            found.hooks[name_of(_text(fields["name"]))] = _hook(fields)
        case "rule":
            words = tuple(sorted(set(_words(fields.get("expr")))))
            rule = Rule("", _text(fields.get("comment", "")), words)
            found.rules.setdefault(_text(fields["chain"]), []).append(rule)
        case _:  # named objects that no table of ours has, and that have no effect of their own
            return


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{quoted(value)} where a text should be")
    return value


def _words_of(listed: Json) -> list[str]:
    return list(map(_text, listed)) if isinstance(listed, list) else [_text(listed)] if listed else []


def _hook(chain: _Fields) -> Hook | None:
    if "hook" not in chain:
        return None
    policy = _text(chain.get("policy", "accept"))
    return Hook(_text(chain["type"]), _text(chain["hook"]), priority(str(chain["prio"])), policy)


def _words(statements: Json) -> Iterator[str]:
    """Yield what a rule looks into, where it leads, and its verdicts, as `Rule.words` has them."""
    left = list(statements) if isinstance(statements, list) else []
    for text in left:
        if isinstance(text, str):  # a statement that this nft has no JSON for
            yield from Rule.of(text, "").words
    while left:
        one = left.pop()
        if isinstance(one, list):
            left += one
        elif isinstance(one, str) and one.startswith("@"):
            yield one
        elif isinstance(one, dict):
            yield from (name for name in one if name in VERDICTS)
            if "target" in one:
                yield _text(one["target"])
            left += one.values()


# Sets and elements ----------------------------------------------------------------------------------------------------


def _declared(kind: str, fields: _Fields) -> NamedSet:
    flags = _words_of(fields.get("flags"))
    statements = fields.get("stmt")
    counter = isinstance(statements, list) and any(isinstance(one, dict) and "counter" in one for one in statements)
    return NamedSet(
        name_of(_text(fields["name"])),
        _type(fields["type"]),
        _type(fields["map"]) if kind == "map" else "",
        counter=counter,
        interval="interval" in flags,
        dynamic="dynamic" in flags or "timeout" in flags,  # 1.0.6 says that elements run out, not who puts them there
    )


def _type(listed: Json) -> str:
    """Return a type as text declares it: a name, several, or the expressions that values come from."""
    if isinstance(listed, dict):
        return _expression(listed["typeof"])
    return " . ".join(map(_text, listed)) if isinstance(listed, list) else _text(listed)


def _expression(listed: Json) -> str:
    match listed:
        case {"concat": list(parts)}:
            return " . ".join(map(_expression, parts))
        case {"payload": {"protocol": str(protocol), "field": str(name)}}:
            return f"{protocol} {name}"
        case {"meta": {"key": str(key)}}:
            return f"meta {key}"
        case {"ct": {"key": str(key), "dir": str(direction)}}:
            return f"ct {direction} {key}"
        case {"numgen": {"mode": str(mode), "mod": int(modulus)}}:
            return f"numgen {mode} mod {modulus}"
        case _:
            return json.dumps(listed)


def _elements(declared: NamedSet, listed: Json, columns: Columns) -> Iterator[tuple[Key, Entry]]:
    if listed is None:
        return
    if not isinstance(listed, list):
        raise TypeError(f"{quoted(listed)} where elements should be")
    keys, data = columns.of(types_of(declared.key)), columns.of(types_of(declared.data))
    for item in listed:
        bare, value = item if data and isinstance(item, list) else (item, None)
        comment = ""
        if isinstance(bare, dict) and isinstance(element := bare.get("elem"), dict):
            bare, comment = element["val"], _text(element.get("comment", ""))
        if (value is None) == bool(data):
            raise ValueError(f"{quoted(bare)} leads to nothing")
        if declared.data == VERDICT:
            yield _parts(bare, keys), Entry((data[0][_verdict(value)],), comment)
        else:
            yield _parts(bare, keys), Entry(_parts(value, data) if data else (), comment)


def _parts(value: Json, columns: tuple[Column, ...]) -> Key:
    parts = value.get("concat") if isinstance(value, dict) else None
    written = list(map(_written, parts if isinstance(parts, list) else [value]))
    if len(written) != len(columns):
        if written == [EVERYTHING]:
            return (EVERYTHING,)
        raise ValueError(f"{quoted(' . '.join(written))} has {len(written)} parts, not {len(columns)}")
    return tuple(map(getitem, columns, written))


def _written(part: Json) -> str:
    """Return one part of a key or of data as text has it."""
    if isinstance(part, (str, int)):
        return str(part)
    match part:
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return f"{_written(first)}-{_written(last)}"
        case _:
            raise TypeError(f"{quoted(part)} where a value should be")


def _verdict(value: Json) -> str:
    match value:
        case {"goto": {"target": str(target)}}:
            return f"goto {target}"
        case {"jump": {"target": str(target)}}:
            return f"jump {target}"
        case dict() if len(value) == 1:
            return next(iter(value))
        case _:
            raise TypeError(f"{quoted(value)} where a verdict should be")
