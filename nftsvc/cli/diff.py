"""`nftsvc diff`: what a change does to traffic."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nftsvc.cli.options import (
    Color,
    ColorChoice,
    FamilyChoice,
    FamilyOption,
    Node,
    Settings,
    Templates,
    existing,
)
from nftsvc.cli.output import errors_reported
from nftsvc.errors import ExitCode, UsageError


class DiffFormat(StrEnum):
    """`--output` of `diff`."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    GITHUB = "github"
    JUNIT = "junit"


Sides = Annotated[
    list[Path],
    typer.Argument(
        metavar="OLD NEW | PATH...",
        help="Two sides, each a manifest, a folder of them, a ruleset (*.nft) or `-` for standard input; with --against"
        " or --live the paths of the new side.",
        readable=False,
        show_default=False,
        callback=existing,
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="The old side is this ruleset: what nftsvc renders or nft lists, as text or JSON; `-` for standard input.",
        show_default=False,
        callback=lambda path: path if path is None else existing([path])[0],
    ),
]
Live = Annotated[bool, typer.Option("--live", help="The old side is this machine's kernel; needs root.")]
Output = Annotated[DiffFormat, typer.Option("--output", "-o", help="For people, for scripts, or for a CI system.")]
WithRuleset = Annotated[bool, typer.Option("--ruleset", help="After that the rulesets' texts as a unified diff.")]
WithScript = Annotated[bool, typer.Option("--script", help="After that the nft commands that `apply` would run.")]


def diff(
    paths: Sides,
    against: Against = None,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
    settings: Settings = None,
    templates: Templates = None,
    output: Output = DiffFormat.TEXT,
    color: Color = ColorChoice.AUTO,
    *,
    live: Live = False,
    ruleset: WithRuleset = False,
    script: WithScript = False,
) -> None:
    """Say what a change does to traffic: by Service, which endpoints come and go with which share, and what else.

    The order of endpoints, slots and elements never shows. Exit code 0: no packet is treated differently; 1: some are.
    Colour on terminals only. With NFTSVC_EXTERNAL_DIFF set, that command gets both rulesets as files instead.

    nftsvc diff main/manifests/ branch/manifests/

    nftsvc diff manifests/ --against golden/ruleset.nft --ruleset

    sudo nftsvc diff manifests/ --node $(hostname) --live --script

    kustomize build . | nftsvc diff before.yaml - -o markdown
    """
    from nftsvc.cli.diffing import Shown, show_difference
    from nftsvc.sides import Asked, find_sources

    with errors_reported() as err:
        if output not in (DiffFormat.TEXT, DiffFormat.MARKDOWN) and (ruleset or script):
            raise UsageError(f"--ruleset and --script go with -o text and -o markdown, not with {output}")
        sources = find_sources([str(one) for one in paths], None if against is None else str(against), live=live)
        asked = Asked(node, family.families, tuple(settings or ()))
        if not show_difference(sources, asked, Shown(output, color, templates, ruleset, script), err):
            raise typer.Exit(ExitCode.DIFFERS)
