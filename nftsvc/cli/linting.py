"""What `nftsvc lint` does with its arguments: reads manifests, looks at them, and prints what it finds."""

import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nftsvc import __version__
from nftsvc.cli.lint import LintFormat
from nftsvc.cli.options import ColorChoice
from nftsvc.cli.output import write
from nftsvc.errors import UsageError
from nftsvc.lint import BY_CODE, RULES, Finding, Report
from nftsvc.lint import lint as look
from nftsvc.report.lint import annotations, findings_json, print_findings, print_rules, rules_json, summary
from nftsvc.report.sarif import sarif
from nftsvc.settings import settings_for
from nftsvc.sources.lines import field_lines
from nftsvc.sources.manifests import STDIN, load
from nftsvc.state import State
from nftsvc.values import quoted


def named(path: Path, output: LintFormat) -> str:
    """Return how a file is called; code scanning and GitHub know files by where they are in the repository."""
    inside = output in (LintFormat.SARIF, LintFormat.GITHUB) and path.is_relative_to(Path.cwd())
    return str(path.relative_to(Path.cwd()) if inside else path)


def list_rules_as(output: LintFormat, color: ColorChoice) -> None:
    """Print all codes with what they mean; UsageError for a format that has none of that."""
    if output is LintFormat.JSON:
        write(None, rules_json(RULES) + "\n")
    elif output is LintFormat.TEXT:
        print_rules(color.console(), RULES)
    else:
        raise UsageError(f"--list is for -o text and -o json, not for {output}")


def look_at(
    names: Sequence[str], node: str | None, settings: Sequence[str], ignore: Sequence[str], output: LintFormat
) -> tuple[Report, Mapping[Finding, int]]:
    """Read the manifests and look at them; lines are looked up where the output has a use for them."""
    for code in ignore:
        if code not in BY_CODE:
            raise UsageError(f"--ignore {quoted(code)}: no such code (nftsvc lint --list has them all)")
    stdin = sys.stdin.buffer.read() if "-" in names and sys.stdin is not None else b""
    loaded = load(names, io.BytesIO(stdin))
    state = State.of(loaded.objects)
    report = look(
        loaded.objects,
        state,
        settings_for(state, node, overrides=settings),
        loaded.problems,
        loaded.origins,
        frozenset(ignore),
    )
    return report, {} if output is LintFormat.TEXT else _lines(report, stdin)


def _lines(report: Report, stdin: bytes) -> dict[Finding, int]:
    findings = [*report.findings, *(one.finding for one in report.suppressed)]
    places = {one: (one.origin, one.field) for one in findings if one.origin is not None}
    found = field_lines(places.values(), {STDIN: stdin})
    lines = {one: found[place] for one, place in places.items() if place in found}
    return lines | {one: line for one in findings if (line := _said_line(one))}


def _said_line(finding: Finding) -> int:
    """Return the line that a message names, as those about text that is no YAML or JSON do; 0 if it names none."""
    match = re.match(r"not (?:YAML|JSON): line (\d+),", finding.message)
    return int(match[1]) if match is not None else 0


def write_report(
    report: Report, lines: Mapping[Finding, int], output: LintFormat, color: ColorChoice, *, verbose: bool
) -> None:
    """Print what was found, `lines` saying where."""
    match output:
        case LintFormat.TEXT:
            print_findings(color.console(), report, verbose=verbose)
        case LintFormat.JSON:
            write(None, findings_json(report, lines) + "\n")
        case LintFormat.SARIF:
            write(None, sarif(report, RULES, lines, __version__) + "\n")
        case LintFormat.GITHUB:
            files = {one.origin.file for one in report.findings if one.origin is not None} - {STDIN}
            write(None, "".join(f"{line}\n" for line in (*annotations(report, lines, files), summary(report))))
