"""`nftsvc lint`: what is odd about manifests, with codes that stay."""

import io
import re
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nftsvc import __version__
from nftsvc.cli.options import Color, ColorChoice, Node, Settings, existing
from nftsvc.cli.output import errors_reported, write
from nftsvc.errors import ExitCode, UsageError
from nftsvc.lint import BY_CODE, RULES, Finding, Level, Report
from nftsvc.lint import lint as look
from nftsvc.report.lint import annotations, findings_json, print_findings, print_rules, rules_json, summary
from nftsvc.report.sarif import sarif
from nftsvc.settings import settings_for
from nftsvc.sources.lines import field_lines
from nftsvc.sources.manifests import STDIN, load
from nftsvc.state import State
from nftsvc.values import quoted


class LintFormat(StrEnum):
    """`--output`."""

    TEXT = "text"
    JSON = "json"
    SARIF = "sarif"
    GITHUB = "github"


class FailOn(StrEnum):
    """`--fail-on`."""

    ERROR = "error"
    WARNING = "warning"
    NEVER = "never"


def _existing(paths: list[Path] | None) -> list[Path]:
    return existing(paths or [])


LintPaths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATH...",
        help="Manifests: files, folders (read whole, in path order), `-` for standard input.",
        readable=False,
        show_default=False,
        callback=_existing,
    ),
]
Output = Annotated[
    LintFormat,
    typer.Option("--output", "-o", help="For people, for scripts, for code scanning, for GitHub Actions."),
]
Failing = Annotated[
    FailOn, typer.Option("--fail-on", help="Exit with 1 if there is a finding as bad as that, or worse.")
]
Ignore = Annotated[
    list[str] | None,
    typer.Option("--ignore", metavar="CODE", help="Leave a code out; may be given again.", show_default=False),
]
ListRules = Annotated[
    bool, typer.Option("--list", help="Say what every code means and what helps, and do nothing else.")
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Name what annotations ignore, and say what could not be looked at."),
]


def lint(
    paths: LintPaths = None,
    node: Node = None,
    settings: Settings = None,
    output: Output = LintFormat.TEXT,
    fail_on: Failing = FailOn.ERROR,
    ignore: Ignore = None,
    color: Color = ColorChoice.AUTO,
    *,
    list_rules: ListRules = False,
    verbose: Verbose = False,
) -> None:
    """Find what does not do what it seems to: Services that lead nowhere, ports that do not meet, open doors.

    Asks the input only: no root, no kernel, no cluster. What cannot be read is a finding as well, and the rest is
    looked at all the same. A Service is said to have no endpoints only where the input would show them.

    nftsvc lint manifests/

    nftsvc lint manifests/ --fail-on warning -o github

    kubectl get svc,endpointslices,pods,nodes -A -o yaml | nftsvc lint --node node-a -

    nftsvc lint manifests/ -o sarif --fail-on never > nftsvc.sarif

    nftsvc lint --list

    A finding that is to stay is ignored by an annotation on its object, with the reason:
    `nftsvc/lint-ignore: "NS415 a firewall guards the nodes"`.
    """
    with errors_reported():
        if list_rules:
            _list(output, color)
            return
        if not paths:
            raise UsageError("nothing to lint: name manifests, or `-` for standard input")
        names = [_named(path, output) for path in paths]
        report, lines = _found(names, node, settings or (), ignore or (), output)
        _write(report, lines, output, color, verbose=verbose)
        if fail_on is not FailOn.NEVER and report.any_at_least(Level(fail_on)):
            raise typer.Exit(ExitCode.DIFFERS)


def _named(path: Path, output: LintFormat) -> str:
    """Return how a file is called; code scanning and GitHub know files by where they are in the repository."""
    inside = output in (LintFormat.SARIF, LintFormat.GITHUB) and path.is_relative_to(Path.cwd())
    return str(path.relative_to(Path.cwd()) if inside else path)


def _list(output: LintFormat, color: ColorChoice) -> None:
    if output is LintFormat.JSON:
        write(None, rules_json(RULES) + "\n")
    elif output is LintFormat.TEXT:
        print_rules(color.console(), RULES)
    else:
        raise UsageError(f"--list is for -o text and -o json, not for {output}")


def _found(
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


def _write(
    report: Report, lines: Mapping[Finding, int], output: LintFormat, color: ColorChoice, *, verbose: bool
) -> None:
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
