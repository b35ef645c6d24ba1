"""The way from manifests to a plan, and a plan's way into a private kernel: the steps that every command shares.

paths -> sources.manifests -> decode -> State -> settings, plan -> ruleset -> changes -> render -> kernel
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from nftsvc.changes import ELEMENTS_PER_TRANSACTION, compare
from nftsvc.errors import InputError, KernelError, Problem, Severity, UsageError
from nftsvc.plan import Plan, make_plan
from nftsvc.render import Renderer
from nftsvc.ruleset import EMPTY, Ruleset
from nftsvc.settings import settings_for
from nftsvc.sources.manifests import Loaded, load
from nftsvc.state import State
from nftsvc.values import FAMILIES, Address, Family, Port, Protocol, any_address, quoted

if TYPE_CHECKING:
    from nftsvc.explain import Explanation


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
    overrides: Sequence[str] = (),
) -> Planned:
    """Read manifests and say what the node must do.

    Raises InputError with every error of every file, and UsageError where `node` is no Node of the input.
    """
    loaded = load(paths, stdin)
    if loaded.errors:
        raise InputError(loaded.errors)
    state = State.of(loaded.objects)
    plan = make_plan(state, settings_for(state, node, families, overrides))
    warnings = sorted(map(loaded.locate, plan.problems), key=_place)
    named = {*state.nodes, *state.configurations} - {""}
    if plan.settings.name is None and len(named) > 1:
        message = f"the input is about {len(named)} Nodes: without --node the ruleset is for none in particular"
        warnings.append(Problem(message, severity=Severity.WARNING))
    if not state.services:
        warnings.append(Problem("the input has no Service", severity=Severity.WARNING))
    return Planned(loaded, state, plan, tuple(warnings))


def _place(problem: Problem) -> tuple[str, int, int]:
    """Sort problems by where their object was read; those of one object keep their order."""
    origin = problem.origin
    return ("", 0, 0) if origin is None else (origin.file, origin.document, origin.item or 0)


def explain_packet(
    planned: Planned, source: str, target: str, interface: str | None = None, own: Sequence[str] = ()
) -> "Explanation":
    """Say what happens to a packet from `source` (or `node`, this node itself) to `target` (`address:port/protocol`).

    `own` are more addresses of the node. UsageError says what is wrong with one of them.
    """
    from nftsvc.explain import Packet, explain  # noqa: PLC0415 - one command explains

    destination, port, protocol = _target(target)
    if source == "node":
        known = planned.plan.settings.addresses.get(destination.family)
        if known is None:
            raise UsageError(f"--from node: the input does not say which {destination.family} address the node has")
        sender = known
    else:
        sender = _address("--from", source)
    if sender.family != destination.family:
        raise UsageError(f"--from {sender} --to {destination}: not of the same IP family")
    packet = Packet(sender, destination, port, protocol, interface)
    return explain(planned.state, planned.plan, packet, [_address("--local", one) for one in own])


_TARGET = re.compile(r"(\[(?P<six>[^]]*)\]|(?P<four>[^:/]*)):(?P<port>[0-9]{1,5})(/(?P<protocol>\w+))?", re.ASCII)


def _target(text: str) -> tuple[Address, Port, Protocol]:
    match = _TARGET.fullmatch(text)
    if match is None:
        raise UsageError(f"--to {quoted(text)}: not ADDRESS:PORT or ADDRESS:PORT/PROTOCOL (IPv6: [2001:db8::1]:80)")
    try:
        port = Port.parse(int(match["port"]))
        return (
            _address("--to", match["six"] or match["four"]),
            port,
            Protocol.parse((match["protocol"] or "TCP").upper()),
        )
    except ValueError as error:
        raise UsageError(f"--to {quoted(text)}: {error}") from error


def _address(option: str, text: str) -> Address:
    try:
        return any_address(text)
    except ValueError as error:
        raise UsageError(f"{option} {quoted(text)}: {error}") from error


def check_in_kernel(ruleset: Ruleset, renderer: Renderer) -> None:
    """Load a ruleset into a private kernel namespace and read it back.

    Raises KernelRefused if the kernel does not take it, and KernelError if it understands something else.
    """
    from nftsvc.kernel import elements_per_transaction, load_privately  # noqa: PLC0415 - most commands ask no kernel

    limit = elements_per_transaction(ELEMENTS_PER_TRANSACTION)
    scripts = renderer.scripts(compare(EMPTY, ruleset).transactions(limit))
    found = load_privately(scripts, tuple(ruleset.tables))
    difference = compare(found, ruleset)
    if difference:
        names = ", ".join(difference.services) or "the table's structure"
        raise KernelError(f"the kernel took the ruleset but reads it back differently: {names}")
