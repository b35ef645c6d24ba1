"""What was read, what was changed, the table of Services."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from nftsvc.changes import Changes
from nftsvc.pipeline import Planned
from nftsvc.plan import Plan, PortPlan
from nftsvc.state import ServiceKey
from nftsvc.values import Family, authority

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def input_summary(plan: Plan) -> str:
    """Say in one line what was read."""
    node = f" for node {plan.settings.name}" if plan.settings.name else ""
    served = {port.service for port in plan.ports}
    endpoints = {(one.address, one.port) for port in plan.ports for one in (*port.cluster, *port.local)}
    return f"{_count(len(served), 'Service')}, {_count(len(endpoints), 'endpoint')}{node}"


def print_skipped(console: "Console", planned: Planned, *, verbose: bool) -> None:
    """Say what was left aside; `verbose` names it."""
    loaded, plan = planned.loaded, planned.plan
    others = sum(loaded.skipped.values())
    if others and not verbose:
        console.print(f"skipped {_count(others, 'object')} of other kinds (-v names them)", highlight=False)
    if verbose:
        for kind, count in loaded.skipped.items():
            console.print(f"skipped {count} {kind}", highlight=False, markup=False)
        for key, reason in plan.skipped:
            console.print(f"skipped Service {key}: {reason}", highlight=False, markup=False, soft_wrap=True)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def change_summary(changes: Changes, transactions: int) -> str:
    """Say in one line how much changed."""
    if not changes:
        return "nothing to do: the kernel has it already"
    if not changes.elements:
        return f"structure repaired in {_count(transactions, 'transaction')}"
    return (
        f"+{changes.added} -{changes.removed} elements"
        f" of {_count(len(changes.services), 'Service')} in {_count(transactions, 'transaction')}"
    )


def service_table(plan: Plan) -> "Table":
    """Return the Services of a plan, in the columns `kubectl get services` has, with their endpoints."""
    from rich.table import Table  # noqa: PLC0415 - most commands print none
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("SERVICE", "PROTOCOL", "ADDRESS", "NODE PORT", "ENDPOINTS"):
        table.add_column(column, overflow="fold")
    grouped: dict[tuple[ServiceKey, str, str], list[PortPlan]] = defaultdict(list)
    for port in plan.ports:
        grouped[port.service, port.port, port.protocol].append(port)
    for ports in grouped.values():
        table.add_row(*map(Text, _row(ports)))
    return table


def _row(ports: Sequence[PortPlan]) -> tuple[str, ...]:
    frontends = [frontend for port in ports for frontend in port.frontends]
    endpoints = [authority(one.address, one.port) for port in ports for one in port.cluster]
    node_ports = {str(one.port) for one in frontends if one.address is None}
    return (
        ports[0].name,
        ports[0].protocol,
        "\n".join(authority(one.address, one.port) for one in frontends if one.address is not None) or "-",
        ", ".join(sorted(node_ports)) or "-",
        "\n".join(endpoints) or "none: rejected",
    )


def bars(counts: Sequence[tuple[str, int]], width: int = 40) -> "Table":
    """Return counts as horizontal bars, the largest `width` characters wide."""
    from rich.table import Table  # noqa: PLC0415 - most commands print none
    from rich.text import Text  # noqa: PLC0415

    most = max((count for _, count in counts), default=0)
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, count in counts:
        length = round(count * width / most) if most else 0
        table.add_row(name, str(count).rjust(4), Text("#" * length, style="green"))
    return table


def family_names(families: Iterable[Family]) -> str:
    """Write families as in `IPv4 and IPv6`."""
    return " and ".join(families)
