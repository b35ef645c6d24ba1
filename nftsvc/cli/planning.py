"""From the arguments that commands share to a plan, with a word on standard error about what was read."""

import sys
from pathlib import Path

from rich.console import Console

from nftsvc.cli.options import FamilyChoice
from nftsvc.pipeline import Planned, plan_from_manifests
from nftsvc.report.summary import print_input_summary


def planned_from(
    paths: list[Path],
    node: str | None,
    family: FamilyChoice,
    settings: list[str] | None,
    err: Console,
    *,
    verbose: bool,
) -> Planned:
    """Read manifests, plan, and print what they hold and what is wrong with it; `verbose` names what was skipped."""
    planned = read_from(paths, node, family, settings, err)
    print_input_summary(err, planned, verbose=verbose)
    return planned


def read_from(
    paths: list[Path], node: str | None, family: FamilyChoice, settings: list[str] | None, err: Console
) -> Planned:
    """Read manifests and plan. InputError and UsageError as for `plan_from_manifests`."""
    names = [str(path) for path in paths]
    stdin = sys.stdin.buffer if "-" in names and sys.stdin is not None else None
    with err.status("reading manifests"):
        return plan_from_manifests(names, stdin, node, family.families, settings or ())
