"""How traffic differs: for people, for scripts, and in the formats of CI systems."""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from types import MappingProxyType

from rich.console import Console
from rich.segment import Segment, Segments

from nftsvc.comparison import Change, Comparison, FactChange, Kind, PortChange, ServiceChange
from nftsvc.errors import printable
from nftsvc.report.comparison_lines import Line, end_lines, node_lines, service_lines
from nftsvc.report.github import Level, annotation
from nftsvc.report.junit import TestCase, junit
from nftsvc.report.markdown import block, plain
from nftsvc.traffic import Reached, Where

_NO_FILES: Mapping[str, str] = MappingProxyType({})
_NODE = "all Services"
_SUITE = "nftsvc diff"
_UNIFIED = {"+": "green", "-": "red", "@": "cyan"}
_MOST_MARKDOWN = 50_000  # characters: a comment at GitHub holds 65,536


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Print the summary, what changes for all Services alike, what changes for each Service, what else is to know."""
    _print(console, _lines(comparison))


def comparison_lines(comparison: Comparison) -> Iterator[str]:
    """Yield the same lines without colour."""
    return (text for text, _ in _lines(comparison))


def print_unified(console: Console, lines: Iterable[str]) -> None:
    """Print a unified diff, an empty line before it; nothing if there is none."""
    safe = (("\t".join(map(printable, line.split("\t"))), _UNIFIED.get(line[:1], "")) for line in lines)
    first = next(safe, None)
    if first is not None:
        _print(console, chain([("", ""), first], safe))


_Styled = tuple[str, str]


def _print(console: Console, lines: Iterable[_Styled]) -> None:
    """Print lines as they are, with their styles: nothing is wrapped, marked up or indented otherwise (tabs)."""
    pairs = ((Segment(text, console.get_style(style)), Segment.line()) for text, style in lines)
    console.print(Segments(chain.from_iterable(pairs)), soft_wrap=True, end="")


def _lines(comparison: Comparison) -> Iterator[_Styled]:
    yield comparison.summary, "bold"
    if comparison.node:
        yield "", ""
        yield from (one.styled() for one in node_lines(comparison))
    for service in comparison.services:
        yield "", ""
        yield from (one.styled() for one in service_lines(service, comparison.families))
    for number, line in enumerate(end_lines(comparison)):
        if number == 0:
            yield "", ""
        yield printable(line), "dim"


# For scripts ----------------------------------------------------------------------------------------------------------


def comparison_json(comparison: Comparison, files: Mapping[str, str] = _NO_FILES) -> str:
    """Return all of it as JSON, with the keys of docs/diff.md; `files` are where Services were read, by their names."""
    old, new = comparison.oddities
    return json.dumps(
        {
            "same": comparison.same,
            "summary": comparison.summary,
            "services": {
                **{kind.value: comparison.count(kind) for kind in Kind},
                "unchanged": len(comparison.unchanged),
            },
            "layouts": [{"family": one.family, "old": one.old, "new": one.new} for one in comparison.layouts],
            "node": [
                {
                    "families": list(one.families),
                    "fact": one.fact,
                    "subject": one.subject or None,
                    "old": list(one.old),
                    "new": list(one.new),
                }
                for one in comparison.node
            ],
            "changes": [_service_json(one, files) for one in comparison.services],
            "renamed": [{"old": was, "new": becomes} for was, becomes in comparison.renamed],
            "oddities": [
                {"side": side, "family": one.family, "where": one.where, "what": one.what}
                for side, oddities in (("old", old), ("new", new))
                for one in oddities
            ],
        },
        indent=2,
    )


def _service_json(service: ServiceChange, files: Mapping[str, str]) -> dict[str, object]:
    return {
        "service": service.service,
        "change": service.kind,
        "file": files.get(service.service),
        "ports": [_port_json(one) for one in service.ports],
    }


def _port_json(port: PortChange) -> dict[str, object]:
    return {
        "port": port.name,
        "change": port.kind,
        "frontends": [_frontend_json(one) for one in port.frontends],
        "other": port.other or None,
        "then": port.then or None,
        "changes": [_change_json(one) for one in port.changes],
    }


def _frontend_json(where: Where) -> dict[str, object]:
    return {
        "family": where.family,
        "address": where.address or None,
        "protocol": where.protocol,
        "port": where.port,
    }


def _change_json(change: Change) -> dict[str, object]:
    if isinstance(change, FactChange):
        return {"fact": change.fact, "clients": change.clients, "old": list(change.old), "new": list(change.new)}
    return {
        "fact": "endpoint",
        "clients": change.clients,
        "address": change.endpoint.address,
        "port": change.endpoint.port,
        "old": _reached_json(change.old),
        "new": _reached_json(change.new),
    }


def _reached_json(reached: Reached | None) -> dict[str, object] | None:
    if reached is None:
        return None
    return {
        "share": round(float(reached.share), 6),
        "then": reached.refused or "forward",
        "hairpin": reached.hairpin,
    }


# For CI systems -------------------------------------------------------------------------------------------------------


def comparison_markdown(comparison: Comparison) -> str:
    """Return a comment for a pull request: the summary, then the lines in the colours of a diff.

    Of very many Services the first ones, as many as a comment holds.
    """
    made = [f"**{plain(comparison.summary)}**\n"]
    pieces = [
        list(node_lines(comparison)),
        *(list(service_lines(one, comparison.families)) for one in comparison.services),
    ]
    shown: list[str] = []
    left = 0
    for piece in pieces:
        text = "\n".join(_marked(one) for one in piece)
        if left or sum(map(len, shown)) + len(text) > _MOST_MARKDOWN:
            left += bool(piece)
        elif piece:
            shown.append(text)
    if shown:
        made.append(block("\n\n".join(shown), "diff"))
    if left:
        made.append(f"and {left} more that this comment has no room for\n")
    rest = "\n".join(end_lines(comparison))
    if rest:
        made.append(block(rest))
    return "\n".join(made)


def _marked(line: Line) -> str:
    """Write a line so that a block of type diff has it in colour."""
    if not line.sign:
        return f"@@ {line.words} @@"
    return f"{'!' if line.sign == '~' else line.sign} {line.words}"


def comparison_github(comparison: Comparison, files: Mapping[str, str] = _NO_FILES) -> Iterator[str]:
    """Yield annotations: a warning for each Service that changes or goes, a notice for each that comes.

    `files` are where Services were read, by `namespace/name`.
    """
    if comparison.node:
        yield annotation(Level.WARNING, _joined(node_lines(comparison)), title=f"{_NODE}: traffic changes")
    for one in comparison.services:
        level = Level.NOTICE if one.kind is Kind.ADDED else Level.WARNING
        message = _joined(service_lines(one, comparison.families))
        yield annotation(level, message, title=f"{one.service}: {one.kind}", file=files.get(one.service, ""))


def comparison_junit(comparison: Comparison, files: Mapping[str, str] = _NO_FILES) -> str:
    """Return JUnit XML: a test for each Service and one for what they have in common; what changes has failed.

    `files` are where Services were read, by `namespace/name`: the tests' groups.
    """
    node = _joined(node_lines(comparison))
    cases = [TestCase(_NODE, _SUITE, failure="traffic changes" if node else "", details=node)]
    changed = [
        TestCase(
            one.service,
            files.get(one.service, _SUITE),
            failure=f"Service {one.kind}",
            details=_joined(service_lines(one, comparison.families)),
        )
        for one in comparison.services
    ]
    same = [TestCase(name, files.get(name, _SUITE)) for name in comparison.unchanged]
    return junit(_SUITE, chain(cases, sorted((*changed, *same), key=lambda one: one.name)))


def _joined(lines: Iterable[Line]) -> str:
    return "\n".join(one.styled()[0] for one in lines)
