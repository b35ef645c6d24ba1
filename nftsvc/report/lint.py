"""What `nftsvc lint` found, as text, as JSON and as annotations; and what it looks for.

`lines` has the line of a finding where that is known.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Console
from rich.text import Text

from nftsvc.errors import printable
from nftsvc.lint import Finding, Level, Report, Rule
from nftsvc.report import github

Lines = Mapping[Finding, int]

_STYLES = {Level.ERROR: "bold red", Level.WARNING: "yellow", Level.INFO: "cyan"}
_ANNOTATIONS = {
    Level.ERROR: github.Level.ERROR,
    Level.WARNING: github.Level.WARNING,
    Level.INFO: github.Level.NOTICE,
}


# Text ----------------------------------------------------------------------------------------------------------------


_Line = Sequence[tuple[str, str]]  # parts of text, each with its style


def print_findings(console: Console, report: Report, *, verbose: bool) -> None:
    """Print each finding with what helps, a blank line between files, the summary last.

    `verbose` adds what annotations ignore, and of how many Services nothing could be said.
    """
    _print(console, _finding_lines(report, verbose=verbose))


def _finding_lines(report: Report, *, verbose: bool) -> Iterator[_Line]:
    file = None
    for finding in report.findings:
        here = finding.origin.file if finding.origin is not None else ""
        if file not in (None, here):
            yield ()
        file = here
        yield from _told(finding, finding.severity, _STYLES[finding.severity], "remedy", finding.remedy)
    if verbose:
        for one in report.suppressed:
            yield from _told(one.finding, "ignored", "dim", "reason", one.reason)
        if report.unjudged:
            yield (("endpoints of " + _count(report.unjudged, "Service") + " are not in the input: not looked at", ""),)
    if report.findings or (verbose and report.suppressed):
        yield ()
    yield ((summary(report), ""),)


def _told(finding: Finding, label: str, style: str, topic: str, text: str) -> Iterator[_Line]:
    place = " ".join(str(part) for part in (finding.origin, finding.ref) if part is not None)
    told = ": ".join(part for part in (finding.field, finding.message) if part)
    yield (
        (f"{printable(place)}: " if place else "", ""),
        (f"{finding.code} ", "bold"),
        (f"{label}:", style),
        (f" {printable(told)}", ""),
    )
    yield (f"    {topic}: ", "dim"), (printable(text), "")


def _print(console: Console, lines: Iterable[_Line]) -> None:
    """Print lines as they are; where nobody looks at colours, at once, for there may be very many."""
    if console.is_terminal:
        for line in lines:
            console.print(Text.assemble(*line), soft_wrap=True)
    else:
        console.file.write("".join("".join(text for text, _ in line) + "\n" for line in lines))


def summary(report: Report) -> str:
    """Say in one line how much was found in how many Services."""
    found = [_count(number, _NOUNS[level]) for level, number in report.counts.items() if number]
    ignored = f"; {len(report.suppressed)} ignored" if report.suppressed else ""
    return f"{', '.join(found) or 'no findings'} in {_count(report.services, 'Service')}{ignored}"


_NOUNS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "note"}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# For others ----------------------------------------------------------------------------------------------------------


def findings_json(report: Report, lines: Lines) -> str:
    """Return everything as JSON: the findings, those that are ignored with the reason, and the numbers."""
    return json.dumps(
        {
            "findings": [_as_json(one, lines) for one in report.findings],
            "ignored": [_as_json(one.finding, lines) | {"reason": one.reason} for one in report.suppressed],
            "summary": {
                **report.counts,
                "ignored": len(report.suppressed),
                "services": report.services,
                "servicesWithoutEvidence": report.unjudged,
            },
        },
        indent=2,
    )


def _as_json(finding: Finding, lines: Lines) -> dict[str, object]:
    ref, origin = finding.ref, finding.origin
    return {
        "code": finding.code,
        "severity": finding.severity,
        "kind": ref.kind if ref is not None else None,
        "namespace": (ref.namespace or None) if ref is not None else None,
        "name": ref.name if ref is not None else None,
        "field": finding.field or None,
        "message": finding.message,
        "remedy": finding.remedy,
        "file": origin.file if origin is not None else None,
        "document": origin.document if origin is not None else None,
        "item": origin.item if origin is not None else None,
        "line": lines.get(finding),
    }


def annotations(report: Report, lines: Lines, files: Iterable[str]) -> Iterator[str]:
    """Yield a workflow command of GitHub for each finding; `files` are those that can be pointed at."""
    known = frozenset(files)
    for one in report.findings:
        file = one.origin.file if one.origin is not None and one.origin.file in known else ""
        told = ": ".join(part for part in (str(one.ref or ""), one.field, one.message) if part)
        yield github.annotation(
            _ANNOTATIONS[one.severity],
            f"{told}\n{one.remedy}",
            title=one.code,
            file=file,
            line=lines.get(one, 0) if file else 0,
        )


# Rules ---------------------------------------------------------------------------------------------------------------


def print_rules(console: Console, rules: Sequence[Rule]) -> None:
    """Print each rule: code, name, severity and title, then what it means and what helps."""
    _print(console, (line for rule in rules for line in _rule_lines(rule)))


def _rule_lines(rule: Rule) -> Iterator[_Line]:
    yield (rule.code, "bold"), (f" {rule.name} ", ""), (rule.level, _STYLES[rule.level]), (f": {rule.title}", "")
    yield ((f"    {rule.explanation}", ""),)
    yield ("    remedy: ", "dim"), (rule.remedy, "")


def rules_json(rules: Sequence[Rule]) -> str:
    """Return the rules as JSON."""
    return json.dumps(
        {
            "rules": [
                {
                    "code": one.code,
                    "name": one.name,
                    "severity": one.level,
                    "title": one.title,
                    "explanation": one.explanation,
                    "remedy": one.remedy,
                }
                for one in rules
            ]
        },
        indent=2,
    )
