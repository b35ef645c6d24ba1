"""The bytes of a manifest as documents: plain values, whatever they mean.

In: the bytes of a file with YAML or JSON. Out: its documents, one after the other; or on which lines parts of them are.
Nothing in a file can do more than fail: tags make no objects, aliases cost no more than their text, nesting is bounded.
With `simple_yaml` the only importer of `yaml`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar

import msgspec
import yaml

from nftsvc.sources.simple_yaml import NotSimple, simple_documents

# Deeper than any Kubernetes object, and far less than what the parsers can take.
MOST_LEVELS = 100

# Without aliases a value takes a character at least.
_MOST_NODES_PER_CHARACTER = 10

_TOO_DEEP = f"nested deeper than {MOST_LEVELS} levels"
_DOCUMENT = re.compile(r"^---(?=[ \t\r\n])", re.MULTILINE)  # other spaces are none to libyaml
_DEEP_LINE = re.compile(rf"^ {{{MOST_LEVELS},}}|(?:[-?:] +){{{MOST_LEVELS},}}")

# YAML 1.1 as Kubernetes' parser reads it: no base 60, in which 1:30 would be 90.
_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)",
    "tag:yaml.org,2002:float": r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
}
_HOLDERS = frozenset((dict, list))
_SPACED_KEY = re.compile(r'"[ \t\r\n]+:')
_ENDS_IN_BACKSLASH = '\\\\"'
_JSON_WORDS = {"Input data was truncated": "the text ends too early"}
_TIME = "tag:yaml.org,2002:timestamp"
_MERGE = "tag:yaml.org,2002:merge"


class Unreadable(Exception):
    """What comes next in the file cannot be read; the message says why."""


def documents(data: bytes, *, is_json: bool = False) -> Iterator[object]:
    """Yield the documents of a file; an empty one is None.

    Raises Unreadable where the text stops making sense; what was yielded before is good. `is_json` says that the text
    must be JSON; else JSON is tried first where it looks like it.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 text (byte {error.start})") from error
    yield from _parsed(text, is_json=is_json)


def _bounded(documents: Iterable[object], text: str) -> Iterator[object]:
    """Yield documents whose depth and size are what one may expect of a text."""
    nodes, aliases = 0, "*" in text
    for document in documents:
        if _keys_of(document, aliases=aliases) is None:
            raise Unreadable(_TOO_DEEP)
        nodes += _size(document, {}) if aliases else 0
        if nodes > _MOST_NODES_PER_CHARACTER * (len(text) + 1000):
            raise Unreadable("aliases make far more of this than is written")
        yield document


def _parsed(text: str, *, is_json: bool) -> Iterator[object]:
    if not is_json and not text.lstrip().startswith(("{", "[")):
        yield from _from_yaml(text)
        return
    document, fault = _from_json(text)
    if fault and not is_json:
        yield from _from_yaml(text)
    elif fault:
        raise Unreadable(f"not JSON: {fault}")
    else:
        yield _without_repeats(document, text)


def _from_json(text: str) -> tuple[object, str]:
    """Return the value of JSON text, and why there is none in words that no Python version changes ("": it is JSON)."""
    try:
        return msgspec.json.decode(text), ""
    except RecursionError:
        return None, _TOO_DEEP
    except msgspec.DecodeError as error:
        message, _, place = str(error).rpartition(" (byte ")
        before = text.encode()[: int(place.rstrip(")"))].decode(errors="replace") if message else text.rstrip()
        lines = before.split("\n")
        return None, f"line {len(lines)}, column {len(lines[-1]) + 1}: {message or _JSON_WORDS.get(place, place)}"


def _without_repeats(document: object, text: str) -> object:
    """Return the value of JSON text; Unreadable if a mapping in it gives a key twice, or if it nests too deeply.

    The parser keeps the last of two keys, so there are as many as are written only where none is repeated. Where it is
    not plain how many are written a parser is asked that tells, and takes three times as long.
    """
    keys, written = _keys_of(document), text.count('":') - text.count('\\":')
    if keys != written or _SPACED_KEY.search(text) or _ENDS_IN_BACKSLASH in text:
        try:
            json.loads(text, object_pairs_hook=_refuse_repeated)
        except _RepeatedKeyError as error:
            raise Unreadable(str(error)) from error
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"not JSON: {_reason(error)}") from error
    if keys is None:
        raise Unreadable(_TOO_DEEP)
    return document


def _keys_of(document: object, *, aliases: bool = False) -> int | None:
    """Return how many keys all mappings of a document have together; None if it nests too deeply.

    Walks level by level. Where `aliases` (of YAML) may lead to one part from several places each costs once.
    """
    count = 0
    level = [document]
    for _ in range(MOST_LEVELS):
        mappings = [one for one in level if type(one) is dict]
        count += sum(map(len, mappings))
        parts = [one.values() for one in mappings] + [one for one in level if type(one) is list]
        level = [one for part in parts for one in part if type(one) in _HOLDERS]
        if aliases:
            level = list({id(one): one for one in level}.values())
        if not level:
            return count
    return None


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    if not isinstance(error, ValueError):
        return "a value does not fit its tag"
    return "a number has too many digits" if "digits" in str(error) else str(error)


def _size(document: object, known: dict[int, int]) -> int:
    """Return how many values a document has, those of aliases counted wherever they are used."""
    if not isinstance(document, (dict, list)):
        return 1
    if id(document) not in known:
        children = document.values() if isinstance(document, dict) else document
        known[id(document)] = 1 + sum(_size(child, known) for child in children)
    return known[id(document)]


def _may_be_deep(text: str) -> bool:
    """Tell, at little cost, whether YAML text might nest so deeply that libyaml crashes the process.

    Nothing is open at the end of a document, or in a pair of brackets with nothing between.
    """
    for part in _DOCUMENT.split(text):
        if sum(map(part.count, "[{")) - sum(map(part.count, ("[]", "{}"))) > MOST_LEVELS:
            return True
    return any(len(line) >= MOST_LEVELS and _DEEP_LINE.search(line) is not None for line in text.split("\n"))


def _deep_document(text: str) -> int | None:
    """Return the line (from 0) at which a document starts that nests too deeply; None if none does."""
    depth = start = 0
    try:
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.DocumentStartEvent):
                depth, start = 0, event.start_mark.line if event.start_mark is not None else 0
            elif isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MOST_LEVELS:
                return start
    except yaml.YAMLError:
        pass  # said again, and in the right place, when the documents are read
    return None


def _from_yaml(text: str) -> Iterator[object]:
    deep = _deep_document(text) if _may_be_deep(text) else None
    if deep is not None:
        yield from _from_yaml("".join(text.splitlines(keepends=True)[:deep]))
        raise Unreadable(_TOO_DEEP)
    count = 0
    try:
        for document in simple_documents(text, _Loader, MOST_LEVELS):
            yield document
            count += 1
    except NotSimple:
        yield from islice(_from_any_yaml(text), count, None)


def _from_any_yaml(text: str) -> Iterator[object]:
    try:
        yield from _bounded(yaml.load_all(text, _Loader), text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise Unreadable(f"not YAML: {place}{error.problem}") from error
    except yaml.YAMLError as error:
        raise Unreadable(f"not YAML: {' '.join(str(error).split())}") from error
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(f"not YAML: {_reason(error)}") from error


class _RepeatedKeyError(ValueError):
    """A mapping gives a key twice."""


def _refuse_repeated(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _RepeatedKeyError(f"key {repeated!r} is given twice in one mapping")
    return mapping


_SafeLoader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[misc, valid-type]
    """Loads plain data only; times stay text, as in Kubernetes, and a repeated key is an error."""

    yaml_implicit_resolvers: ClassVar = {
        first: [
            (tag, re.compile(f"(?:{_NUMBERS[tag]})$") if tag in _NUMBERS else pattern)
            for tag, pattern in known
            if tag != _TIME
        ]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a key given twice, then merge (`<<`) what the mapping asks for.

        PyYAML merges in place and keeps entries that later ones hide; without them, merges of merges stay small.
        """
        if vars(node).setdefault("merged", False):
            return
        vars(node)["merged"] = True
        _refuse_repeats(node)
        super().flatten_mapping(node)
        last = {_name(key) or id(key): (key, value) for key, value in node.value}
        node.value = list(last.values())


def _refuse_repeats(node: yaml.MappingNode) -> None:
    seen: set[object] = set()
    for key, _ in node.value:
        name = _name(key)
        if name is not None and name in seen and key.tag != _MERGE:
            message = f"key {key.value!r} is given twice in one mapping"
            raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
        seen.add(name)


def _name(key: yaml.Node) -> object:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None


def _refuse_tag(_loader: _Loader, node: yaml.Node) -> object:
    raise yaml.constructor.ConstructorError(None, None, f"tag {node.tag!r} is not supported", node.start_mark)


for _tag in ("binary", "timestamp", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _refuse_tag)


# Lines ---------------------------------------------------------------------------------------------------------------

Path = tuple[str | int, ...]


@dataclass(slots=True)
class _Part:
    """A part of a document whose line is asked for, or that holds such parts; line 0: not seen."""

    line: int = 0
    parts: dict[str | int, "_Part"] = field(default_factory=dict)

    def at(self, path: Path) -> "_Part":
        """Return the part at a path, made if it is not there."""
        part = self
        for step in path:
            part = part.parts.setdefault(step, _Part())
        return part

    def line_of(self, path: Path) -> int:
        """Return the line of the part at a path, or of the nearest that holds it."""
        line, part = self.line, self
        for step in path:
            part = part.parts[step]
            line = part.line or line
        return line


def lines(data: bytes, wanted: Mapping[int, Iterable[Path]]) -> dict[tuple[int, Path], int]:
    """Say on which lines of a file parts of its documents are; lines and documents count from 1.

    `wanted` has paths by document, each of keys and positions. In place of a part that is not there stands what would
    hold it. Nothing is said of documents that cannot be read.
    """
    places = [(number, path) for number, paths in wanted.items() for path in paths]
    documents: dict[int, _Part] = {}
    for number, path in places:
        documents.setdefault(number, _Part()).at(path)
    with suppress(UnicodeDecodeError, yaml.YAMLError):  # said where the documents are read
        _find(yaml.parse(_shallow(data.decode("utf-8-sig")), _Loader), documents)
    found = {(number, path): documents[number].line_of(path) for number, path in places}
    return {place: line for place, line in found.items() if line}


def _shallow(text: str) -> str:
    """Return as much of a text as may be given to libyaml, which crashes on what nests too deeply."""
    if text.lstrip().startswith(("{", "[")):
        document, fault = _from_json(text)
        if not fault:
            return "" if _keys_of(document) is None else text
    deep = _deep_document(text) if _may_be_deep(text) else None
    return text if deep is None else "".join(text.splitlines(keepends=True)[:deep])


def _find(events: Iterator[yaml.Event], documents: Mapping[int, _Part]) -> None:
    """Note the lines of the parts that are asked for."""
    number = 0
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            number += 1
            _enter(next(events), events, documents.get(number))


def _enter(first: yaml.Event, events: Iterator[yaml.Event], part: _Part | None, line: int = 0) -> None:
    """Take the events of one value, the first of which has come, and note the lines of what is wanted in it."""
    if part is not None:
        part.line = line or _line(first)
    if isinstance(first, yaml.MappingStartEvent) and part is not None:
        for key in events:
            if isinstance(key, yaml.MappingEndEvent):
                return
            name = key.value if isinstance(key, yaml.ScalarEvent) else None
            _skip(key, events)
            _enter(next(events), events, part.parts.get(name) if name is not None else None, _line(key))
    elif isinstance(first, yaml.SequenceStartEvent) and part is not None:
        for position, item in enumerate(events):
            if isinstance(item, yaml.SequenceEndEvent):
                return
            _enter(item, events, part.parts.get(position))
    else:
        _skip(first, events)


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark is not None else 0


def _skip(first: yaml.Event, events: Iterator[yaml.Event]) -> None:
    """Take the events of one value, the first of which has come."""
    depth = int(isinstance(first, yaml.CollectionStartEvent))
    while depth:
        event = next(events)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
