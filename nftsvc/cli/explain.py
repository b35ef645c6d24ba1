"""`nftsvc explain`: what happens to a packet, and why."""

from enum import StrEnum
from typing import Annotated

import typer

from nftsvc.cli.options import FamilyChoice, Node, Output, OutputFormat, Paths, Settings
from nftsvc.cli.output import errors_reported
from nftsvc.errors import ExitCode


class Expected(StrEnum):
    """`--expect`: the outcomes of `nftsvc.explain`."""

    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"
    PASS = "pass"  # noqa: S105 - not a password


Source = Annotated[
    str, typer.Option("--from", metavar="ADDRESS", help="Where the packet comes from; `node` is this node itself.")
]
Target = Annotated[
    str,
    typer.Option(
        "--to", metavar="ADDRESS:PORT[/PROTO]", help="Where it goes; TCP if not said. IPv6: [2001:db8::1]:80."
    ),
]
Interface = Annotated[
    str | None,
    typer.Option(
        "--interface",
        metavar="NAME",
        help="Where it comes in on the node, if that decides who is a local Pod.",
        show_default=False,
    ),
]
LocalAddresses = Annotated[
    list[str] | None,
    typer.Option(
        "--local", metavar="ADDRESS", help="An address of the node that the input does not name.", show_default=False
    ),
]
Expect = Annotated[
    Expected | None,
    typer.Option("--expect", help="Exit with 1 if something else happens to the packet.", show_default=False),
]


def explain(
    paths: Paths,
    source: Source,
    target: Target,
    node: Node = None,
    settings: Settings = None,
    interface: Interface = None,
    local: LocalAddresses = None,
    output: Output = OutputFormat.TEXT,
    expect: Expect = None,
) -> None:
    """Say what happens to a packet and why: which Service, which endpoints with which share, which not and why not.

    Asks the input, not the kernel: no root, no cluster. What it says is the first packet of a new connection.

    nftsvc explain manifests/ --from 10.244.1.10 --to 10.96.0.10:53/UDP

    nftsvc explain manifests/ --from 198.51.100.7 --to 192.0.2.11:30080 --expect drop
    """
    from rich.console import Console

    from nftsvc.cli.planning import read_from
    from nftsvc.explain import Outcome
    from nftsvc.pipeline import explain_packet
    from nftsvc.report.explanation import explanation_json, print_explanation

    with errors_reported() as err:
        planned = read_from(paths, node, FamilyChoice.DUAL, settings, err)
        err.problems(planned.warnings)
        found = explain_packet(planned, source, target, interface, local or ())
        if output is OutputFormat.JSON:
            typer.echo(explanation_json(found))
        else:
            print_explanation(Console(highlight=False), found)
        if expect is not None and found.outcome is not Outcome(expect):
            err.line("differs", f"{found.outcome}, but {expect} was expected")
            raise typer.Exit(ExitCode.DIFFERS)
