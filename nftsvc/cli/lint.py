"""`nftsvc lint`: what is odd about manifests, with codes that stay."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nftsvc.cli.options import Color, ColorChoice, Node, Settings, existing
from nftsvc.cli.output import errors_reported
from nftsvc.errors import ExitCode, UsageError


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
    from nftsvc.cli.linting import list_rules_as, look_at, named, write_report
    from nftsvc.lint import Level

    with errors_reported():
        if list_rules:
            list_rules_as(output, color)
            return
        if not paths:
            raise UsageError("nothing to lint: name manifests, or `-` for standard input")
        names = [named(path, output) for path in paths]
        report, lines = look_at(names, node, settings or (), ignore or (), output)
        write_report(report, lines, output, color, verbose=verbose)
        if fail_on is not FailOn.NEVER and report.any_at_least(Level(fail_on)):
            raise typer.Exit(ExitCode.DIFFERS)
