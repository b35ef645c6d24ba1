"""What a Prometheus expression speaks of: enough of the language to find metrics, labels and functions."""

import re
from dataclasses import dataclass, field

_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
  | (?P<duration>(?:\d+(?:ms|[smhdwy]))+)
  | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
  | (?P<word>[a-zA-Z_:][a-zA-Z0-9_:]*)
  | (?P<symbol>=~|!~|!=|==|>=|<=|[-+*/%^<>=(){}\[\],])
    """,
    re.VERBOSE,
)
_WORDS = {"and", "or", "unless", "bool", "offset"}
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_AGGREGATIONS = {"sum", "max", "min", "avg", "count"}
_FUNCTIONS = {"rate", "increase", "changes", "histogram_quantile", "last_over_time"}
_CLOSING = {")": "(", "}": "{", "]": "["}


@dataclass(frozen=True)
class Expression:
    """`metrics` with the labels that each selects by; `grouped` are the label lists of by, on and the like."""

    metrics: dict[str, set[str]] = field(default_factory=dict)
    grouped: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)


def tokens(text: str) -> list[str]:
    found, at = [], 0
    while at < len(text):
        one = _TOKEN.match(text, at)
        assert one is not None, f"cannot be read from here: {text[at:]!r}"
        if one.lastgroup != "space":
            found.append(one[0])
        at = one.end()
    return found


def parse(text: str) -> Expression:
    """Read an expression; AssertionError where it is none, or one that is beyond this reader."""
    found, said = tokens(text), Expression()
    brackets: list[str] = []
    grouping = metric = ""
    for one, after in zip(found, [*found[1:], ""], strict=True):
        if one in _CLOSING.values():
            brackets.append(one)
        elif one in _CLOSING:
            assert brackets, text
            assert brackets.pop() == _CLOSING[one], text
            grouping = ""
        elif not re.match(r"[a-zA-Z_:]", one) or one in _WORDS:
            continue
        elif one in _GROUPING:
            assert after == "(", text
            grouping = one
            said.grouped.append((one, ()))
        elif grouping:
            said.grouped[-1] = (grouping, (*said.grouped[-1][1], one))
        elif brackets[-1:] == ["{"]:
            assert after in {"=", "!=", "=~", "!~"}, text
            said.metrics[metric].add(one)
        elif one in _AGGREGATIONS | _FUNCTIONS:
            assert after in {"(", "by", "without"}, text
        else:
            assert after != "(", f"no such function: {one}"
            metric = one
            said.metrics.setdefault(one, set())
    assert not brackets, text
    return said
