"""The elements of a set or map, from nft text: `10.96.0.1 . tcp . 80 counter packets 0 bytes 0 comment "a/b" : drop`.

What stands between key and data differs by version and by how it was listed: counters before comments or after them
(nft 1.0.1 to 1.0.9 print counters first, earlier and later ones also time limits), several elements in a line or one.
Only the comment is kept. The text may have 250,000 elements, so one expression finds each of them as a whole.
"""

import re
from operator import getitem

from nftsvc.reading.columns import EVERYTHING, Column, Columns, types_of
from nftsvc.reading.words import Source
from nftsvc.ruleset import VERDICT, Entry, Key, NamedSet
from nftsvc.values import quoted

_WORD = r'(?:[^\s{}",;]++|"[^"]*+")'
# Groups are bounded, not possessive: before Python 3.11.5 possessive groups miss matches (gh-106052).
_ELEMENT = re.compile(
    rf"\s*+(?P<key>{_WORD}(?:\s++\.\s++{_WORD}){{0,15}})"
    rf"(?P<options>(?:\s++(?!:\s){_WORD}){{0,40}})"
    rf"(?:\s*+:\s++(?P<data>{_WORD}(?:\s++{_WORD}){{0,40}}))?"
    r"\s*+(?:,|\Z)"
)
_AMOUNT = r"(?:\d+(?:\s+\w+)?)"
_OPTION = re.compile(
    r"\s+(?:"
    r'comment\s+(?P<comment>"[^"]*"|\w+)'
    r"|counter(?:\s+packets\s+\d+\s+bytes\s+\d+)?"
    r"|(?:timeout|expires)\s+\w+"
    r"|last(?:\s+used\s+\w+)?"
    rf"|quota\s+(?:over\s+|until\s+)?{_AMOUNT}(?:\s+used\s+{_AMOUNT})?"
    r"|limit\s+rate\s+(?:over\s+|until\s+)?\d+(?:\s+\w+)?/\w+(?:\s+burst\s+\d+\s+\w+)?"
    r"|ct\s+count\s+(?:over\s+)?\d+"
    r")(?=\s|$)"
)
_OPTION_WORD = re.compile(r"\s+(?:comment|counter|timeout|expires|last|quota|limit|ct)(?=\s|$)")


def read_elements(source: Source, span: tuple[int, int], named: NamedSet, columns: Columns) -> dict[Key, Entry]:
    """Return the elements in a part of the text. Unreadable for what is no element of such a set, and for one twice."""
    at, end = span
    keys, data = columns.of(types_of(named.key)), columns.of(types_of(named.data))
    found: dict[Key, Entry] = {}
    while (match := _ELEMENT.match(source.text, at, end)) is not None:
        try:
            key, entry = _element(match, keys, data, verdicts=named.data == VERDICT)
        except ValueError as error:
            raise source.fault(match.start("key"), f"{named.keyword} {named.name}: {error}") from None
        if found.setdefault(key, entry) != entry:
            message = (
                f"{named.keyword} {named.name}: {quoted(match['key'])} is in it twice, and leads to different things"
            )
            raise source.fault(match.start("key"), message)
        at = match.end()
    rest = source.text[at:end]
    if rest and not rest.isspace():
        start = at + len(rest) - len(rest.lstrip())
        line = source.text[start : min(end, start + 200)].partition("\n")[0].rstrip()
        raise source.fault(start, f"{named.keyword} {named.name}: {quoted(line)} is not an element")
    return found


def _element(
    match: re.Match[str], keys: tuple[Column, ...], data: tuple[Column, ...], *, verdicts: bool
) -> tuple[Key, Entry]:
    written, options, leads = match.groups()
    comment = _comment(options) if options else ""
    if (leads is None) == bool(data):
        raise ValueError(f"{quoted(written)} {'leads to nothing' if leads is None else 'leads somewhere, in a set'}")
    if leads is None:
        return _parts(written, keys), Entry((), comment)
    if options == "" and (behind := _OPTION_WORD.search(leads)) is not None:
        leads, comment = leads[: behind.start()], _comment(leads[behind.start() :])
    value = (data[0][leads],) if verdicts else _parts(leads, data)
    return _parts(written, keys), Entry(value, comment)


def _parts(text: str, columns: tuple[Column, ...]) -> Key:
    parts = text.split(" . ")
    if len(parts) != len(columns):
        if text == EVERYTHING:
            return (text,)
        parts = re.split(r"\s+\.\s+", text)
        if len(parts) != len(columns):
            raise ValueError(f"{quoted(text)} has {len(parts)} parts, not {len(columns)}")
    return tuple(map(getitem, columns, parts))


def _comment(options: str) -> str:
    """Return the comment among what stands between key and data; ValueError if there is anything unknown."""
    at, comment = 0, ""
    while at < len(options):
        match = _OPTION.match(options, at)
        if match is None:
            raise ValueError(f"{quoted(options[at:].strip())} is nothing that an element can have")
        comment = (match["comment"] or comment).strip('"')
        at = match.end()
    return comment
