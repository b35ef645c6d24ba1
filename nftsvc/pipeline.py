"""The way from manifests to a plan, and a plan's way into a private kernel: the steps that every command shares.

paths -> sources.manifests -> decode -> State -> settings, plan -> ruleset -> changes -> render -> kernel
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from nftsvc.changes import ELEMENTS_PER_TRANSACTION, compare
from nftsvc.errors import InputError, KernelError, Problem, Severity
from nftsvc.kernel import elements_per_transaction, load_privately
from nftsvc.plan import Plan, make_plan
from nftsvc.render import Renderer
from nftsvc.ruleset import EMPTY, Ruleset
from nftsvc.settings import settings_for
from nftsvc.sources.manifests import Loaded, load
from nftsvc.state import State
from nftsvc.values import FAMILIES, Family


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan with where it came from; `warnings` say which file their object was read from."""

    loaded: Loaded
    state: State
    plan: Plan
    warnings: tuple[Problem, ...]


def plan_from_manifests(
    paths: Sequence[str],
    stdin: BinaryIO | None = None,
    node: str | None = None,
    families: Iterable[Family] = FAMILIES,
) -> Planned:
    """Read manifests and say what the node must do.

    Raises InputError with every error of every file, and UsageError where `node` is no Node of the input.
    """
    loaded = load(paths, stdin)
    if loaded.errors:
        raise InputError(loaded.errors)
    state = State.of(loaded.objects)
    plan = make_plan(state, settings_for(state.nodes, node, families))
    warnings = sorted(map(loaded.locate, plan.problems), key=_place)
    if node is None and len(state.nodes) > 1:
        message = f"the input has {len(state.nodes)} Nodes: without --node the ruleset is for none in particular"
        warnings.append(Problem(message, severity=Severity.WARNING))
    if not state.services:
        warnings.append(Problem("the input has no Service", severity=Severity.WARNING))
    return Planned(loaded, state, plan, tuple(warnings))


def _place(problem: Problem) -> tuple[str, int, int]:
    """Sort problems by where their object was read; those of one object keep their order."""
    origin = problem.origin
    return ("", 0, 0) if origin is None else (origin.file, origin.document, origin.item or 0)


def check_in_kernel(ruleset: Ruleset, renderer: Renderer) -> None:
    """Load a ruleset into a private kernel namespace and read it back.

    Raises KernelRefused if the kernel does not take it, and KernelError if it understands something else.
    """
    limit = elements_per_transaction(ELEMENTS_PER_TRANSACTION)
    scripts = renderer.scripts(compare(EMPTY, ruleset).transactions(limit))
    found = load_privately(scripts, tuple(ruleset.tables))
    difference = compare(found, ruleset)
    if difference:
        names = ", ".join(difference.services) or "the table's structure"
        raise KernelError(f"the kernel took the ruleset but reads it back differently: {names}")
