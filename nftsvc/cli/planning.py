"""From the arguments that commands share to a plan, with a word on standard error about what was read."""

import sys
from pathlib import Path

from nftsvc.cli.options import FamilyChoice
from nftsvc.cli.output import Messages
from nftsvc.pipeline import Planned, plan_from_manifests
from nftsvc.report.summary import input_summary, print_skipped


def planned_from(
    paths: list[Path],
    node: str | None,
    family: FamilyChoice,
    settings: list[str] | None,
    err: Messages,
    *,
    verbose: bool,
) -> Planned:
    """Read manifests, plan, and print what they hold and what is wrong with it; `verbose` names what was skipped."""
    planned = read_from(paths, node, family, settings, err)
    err.problems(planned.warnings)
    err.say(input_summary(planned.plan))
    if planned.loaded.skipped or verbose:
        print_skipped(err.console, planned, verbose=verbose)
    return planned


def read_from(
    paths: list[Path], node: str | None, family: FamilyChoice, settings: list[str] | None, err: Messages
) -> Planned:
    """Read manifests and plan. InputError and UsageError as for `plan_from_manifests`."""
    names = [str(path) for path in paths]
    stdin = sys.stdin.buffer if "-" in names and sys.stdin is not None else None
    with err.waiting("reading manifests"):
        return plan_from_manifests(names, stdin, node, family.families, settings or ())
