"""The bytes of a manifest as documents: plain values, whatever they mean.

In: the bytes of a file with YAML or JSON. Out: its documents, one after the other. Nothing in a file can do more than
fail: tags make no objects, aliases cost no more than their text, nesting is bounded. The only importer of `yaml`.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import ClassVar, cast

import yaml

# Deeper than any Kubernetes object, and far less than what the parsers can take.
MOST_LEVELS = 100

_TOO_DEEP = f"nested deeper than {MOST_LEVELS} levels"
_BRACKETS = re.compile(r"[\[\]{}]")
_DEEP_LINE = re.compile(rf"^ {{{MOST_LEVELS},}}|(?:[-?:] +){{{MOST_LEVELS},}}", re.MULTILINE)

# YAML 1.1 as Kubernetes' parser reads it: no base 60, in which 1:30 would be 90.
_NUMBERS = {
    "tag:yaml.org,2002:int": r"[-+]?(?:0b[01_]+|0[0-7_]*|[1-9][0-9_]*|0x[0-9a-fA-F_]+)",
    "tag:yaml.org,2002:float": r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|\.[0-9_]+(?:[eE][-+]?[0-9]+)?"
    r"|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
}
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
    for document in _parsed(text, is_json=is_json):
        if _depth_exceeds(document, MOST_LEVELS):
            raise Unreadable(_TOO_DEEP)
        yield document


def _parsed(text: str, *, is_json: bool) -> Iterator[object]:
    if not is_json and not text.lstrip().startswith(("{", "[")):
        yield from _from_yaml(text)
        return
    try:
        document = json.loads(text, object_pairs_hook=_without_repeats)
    except _RepeatedKeyError as error:
        raise Unreadable(str(error)) from error
    except (ValueError, RecursionError) as error:
        if is_json:
            raise Unreadable(f"not JSON: {_reason(error)}") from error
        yield from _from_yaml(text)
    else:
        yield document


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return _TOO_DEEP
    return "a number has too many digits" if "digits" in str(error) else str(error)


def _depth_exceeds(document: object, levels: int) -> bool:
    """Tell whether a document nests deeper; walks level by level, so that parts used twice (YAML aliases) cost once."""
    level = {id(document): document}
    for _ in range(levels):
        children = (
            child
            for one in level.values()
            for child in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        )
        level = {id(child): child for child in children if isinstance(child, (dict, list))}
        if not level:
            return False
    return True


def _may_be_deep(text: str) -> bool:
    """Tell, at little cost, whether YAML text might nest too deeply for libyaml, which crashes the process then."""
    brackets = _BRACKETS.findall(text)
    depths = accumulate((1 if one in "[{" else -1 for one in brackets), lambda depth, step: max(0, depth + step))
    return max(depths, default=0) > MOST_LEVELS or _DEEP_LINE.search(text) is not None


def _events_are_deep(text: str) -> bool:
    depth = 0
    try:
        for event in yaml.parse(text, _Loader):
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MOST_LEVELS:
                return True
    except yaml.YAMLError:
        pass  # said again, and in the right place, when the documents are read
    return False


def _from_yaml(text: str) -> Iterator[object]:
    if _may_be_deep(text) and _events_are_deep(text):
        raise Unreadable(_TOO_DEEP)
    try:
        yield from yaml.load_all(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise Unreadable(f"not YAML: {place}{error.problem}") from error
    except yaml.YAMLError as error:
        raise Unreadable(f"not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, OverflowError, RecursionError) as error:
        raise Unreadable(f"not YAML: {_reason(error)}") from error


class _RepeatedKeyError(ValueError):
    """A mapping gives a key twice."""


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
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

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Build a mapping, refusing a key given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != _MERGE and isinstance(key.value, str):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice in one mapping", key.start_mark
                    )
                seen.add(key.value)
        return cast("dict[object, object]", super().construct_mapping(node, deep))
