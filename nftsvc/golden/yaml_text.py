"""Plain values as YAML that people read: block style, quotes where a word could be taken for something else.

Any YAML reader must agree on what is written, whichever version of YAML it knows: what is not beyond doubt is written
as a JSON string, which is YAML, too, but for characters beyond ASCII.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence

Plain = Mapping[str, "Plain"] | Sequence["Plain"] | str | int | bool | None

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?", re.ASCII)
_BEYOND = re.compile(r"[^\x20-\x7e]")
_NO_TEXT = frozenset(("true", "false", "yes", "no", "on", "off", "y", "n", "null"))


def yaml_text(value: Plain) -> str:
    """Return a mapping or a list as a document in block style, keys in the order given."""
    return "".join(f"{line}\n" for line in _lines(value, ""))


def _lines(value: Plain, indent: str) -> Iterator[str]:
    if _is_nested(value) and isinstance(value, Mapping):
        for key, one in value.items():
            if _is_nested(one):
                yield f"{indent}{_scalar(key)}:"
                yield from _lines(one, indent if not isinstance(one, Mapping) else f"{indent}  ")
            else:
                yield f"{indent}{_scalar(key)}: {_scalar(one)}"
    elif _is_nested(value) and isinstance(value, Sequence):
        for one in value:
            first, *others = _lines(one, f"{indent}  ")
            yield f"{indent}- {first.removeprefix(f'{indent}  ')}"
            yield from others
    else:
        yield f"{indent}{_scalar(value)}"


def _escaped(match: re.Match[str]) -> str:
    """Write a character as an escape of YAML's, which has no pairs of surrogates as JSON has."""
    return f"\\U{ord(match[0]):08x}"


def _is_nested(value: Plain) -> bool:
    return isinstance(value, (Mapping, Sequence)) and not isinstance(value, str) and len(value) > 0


def _scalar(value: Plain) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case int():
            return str(int(value))
        case str():
            plain = _WORD.fullmatch(value) and value.lower() not in _NO_TEXT
            return value if plain else _BEYOND.sub(_escaped, json.dumps(str(value), ensure_ascii=False))
        case Mapping():
            return "{}"
        case _:
            return "[]"
