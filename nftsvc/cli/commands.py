"""The commands: arguments to one call and one exit code."""

import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nftsvc import __version__
from nftsvc.cli.config import config_app
from nftsvc.cli.options import (
    Expect,
    FamilyChoice,
    FamilyOption,
    Interface,
    LocalAddresses,
    Node,
    Output,
    OutputFormat,
    Paths,
    Settings,
    Source,
    Target,
    Templates,
    Verbose,
)
from nftsvc.cli.output import EXIT_CODES, errors_reported, write
from nftsvc.cli.run import run
from nftsvc.demo import run_demo
from nftsvc.errors import ExitCode, InputError
from nftsvc.kernel import Kernel
from nftsvc.kernel.kubeproxy import find_leftovers, remove_leftovers
from nftsvc.pipeline import Planned, check_in_kernel, explain_packet, plan_from_manifests
from nftsvc.render import Renderer
from nftsvc.report import (
    change_summary,
    explanation_json,
    family_names,
    print_explanation,
    print_input_summary,
    print_line,
    print_problems,
)
from nftsvc.ruleset import make_ruleset
from nftsvc.sync import compare_with_kernel, remove, synchronise

app = typer.Typer(
    name="nftsvc",
    help="""Kubernetes Services as an nftables ruleset: render it, check it, apply it.

    Reads Services with their EndpointSlices, Endpoints or Pods from manifests (YAML, JSON, what kubectl prints) and
    makes one forwarding table of them, with a constant number of chains and rules.

    nftsvc render manifests/    # print the ruleset: no root, no cluster

    nftsvc check manifests/     # and ask a real kernel whether it takes it

    sudo nftsvc apply manifests/""",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.command(epilog=EXIT_CODES)(run)
app.add_typer(config_app)


def main() -> None:
    """Run the command line; an error that nobody foresaw has an exit code of its own."""
    try:
        app()
    except Exception:  # noqa: BLE001 - told apart from every documented outcome
        traceback.print_exc()
        sys.exit(ExitCode.BUG)


def _version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"nftsvc {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog=EXIT_CODES)
def render(
    paths: Paths,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE, whole or not at all.", show_default=False),
    ] = None,
    settings: Settings = None,
    templates: Templates = None,
    *,
    verbose: Verbose = False,
) -> None:
    """Print the full ruleset of a node as nft text. Needs no root, no kernel and no cluster.

    The same input gives the same bytes, in whatever order its files are. The text loads with `nft -f`.

    nftsvc render manifests/

    kubectl get svc,endpointslices,nodes -A -o yaml | nftsvc render --node node-a -

    nftsvc render web.yaml --family ipv4 -o web.nft
    """
    with errors_reported() as err:
        planned = _plan(paths, node, family, settings, err, verbose=verbose)
        write(output, Renderer(templates).ruleset(make_ruleset(planned.plan)))


@app.command(epilog=EXIT_CODES)
def check(
    paths: Paths,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
    settings: Settings = None,
    templates: Templates = None,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    verbose: Verbose = False,
) -> None:
    """Report every error in the input, then let a real kernel load the ruleset in a private network namespace.

    Nothing outside that namespace is touched. Works without root where the system allows user namespaces.

    nftsvc check manifests/

    nftsvc check --strict manifests/ && git push
    """
    with errors_reported() as err:
        planned = _plan(paths, node, family, settings, err, verbose=verbose)
        if strict and planned.warnings:
            raise InputError(())  # said above, as warnings
        with err.status("asking the kernel"):
            check_in_kernel(make_ruleset(planned.plan), Renderer(templates))
        typer.echo("ok: the kernel takes this ruleset")


@app.command(epilog=EXIT_CODES)
def apply(
    paths: Paths,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
    settings: Settings = None,
    templates: Templates = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the nft commands that would be run; read the kernel, write nothing."),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Bring this machine's nftables to what the input says, in one atomic load.

    Only differences are sent: the same input a second time sends nothing, a changed one leaves all other connections,
    counters and Services alone. Other tables are never read or touched, and with `--family` the other family's table
    stays as it is. Needs root (CAP_NET_ADMIN).

    sudo nftsvc apply manifests/ --node $(hostname)

    sudo nftsvc apply manifests/ --dry-run
    """
    with errors_reported() as err, Kernel() as kernel:
        planned = _plan(paths, node, family, settings, err, verbose=verbose)
        renderer = Renderer(templates)
        if dry_run:
            found = compare_with_kernel(kernel, planned.plan)
            write(None, "".join(script.text for script in renderer.scripts(found.transactions)))
            print_line(err, "dry run", change_summary(found.changes, len(found.transactions)), "bold")
            return
        with err.status("loading"):
            done = synchronise(kernel, planned.plan, renderer)
        typer.echo(f"applied: {change_summary(done.changes, len(done.transactions))}")


@app.command(epilog=EXIT_CODES)
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
    with errors_reported() as err:
        planned = _read(paths, node, FamilyChoice.DUAL, settings, err)
        print_problems(err, planned.warnings)
        found = explain_packet(planned, source, target, interface, local or ())
        if output is OutputFormat.JSON:
            typer.echo(explanation_json(found))
        else:
            print_explanation(Console(highlight=False), found)
        if expect is not None and found.outcome is not expect:
            print_line(err, "differs", f"{found.outcome}, but {expect} was expected")
            raise typer.Exit(ExitCode.DIFFERS)


@app.command(epilog=EXIT_CODES)
def clean(
    *,
    kube_proxy: Annotated[
        bool,
        typer.Option("--kube-proxy", help="Remove what kube-proxy has left (any of its modes), and nothing of ours."),
    ] = False,
) -> None:
    """Remove nftsvc's own tables (`ip nftsvc`, `ip6 nftsvc`) and nothing else; or kube-proxy's leftovers.

    Connections that are established go on; new ones to Services find nobody. Needs root (CAP_NET_ADMIN).

    sudo nftsvc clean

    sudo nftsvc clean --kube-proxy    # after kube-proxy has been stopped
    """
    with errors_reported():
        if kube_proxy:
            if not find_leftovers():
                typer.echo("nothing to remove")
            remove_leftovers(typer.echo)
            return
        with Kernel() as kernel:
            removed = remove(kernel, Renderer())
            typer.echo(f"removed: {family_names(removed)}" if removed else "nothing to remove")


@app.command(epilog=EXIT_CODES)
def demo(
    requests: Annotated[int, typer.Option("--requests", min=1, max=100_000, help="HTTP requests of each round.")] = 300,
) -> None:
    """Build a small cluster out of network namespaces on this machine and send real traffic through its Services.

    A node, pods with HTTP servers and a client outside, each in a namespace of its own; nothing outside them is touched
    and everything is removed in the end, on Ctrl-C too. Needs root and the commands ip and nft's library.

    sudo nftsvc demo
    """
    with errors_reported():
        run_demo(Console(highlight=False), requests)


def _plan(
    paths: list[Path],
    node: str | None,
    family: FamilyChoice,
    settings: list[str] | None,
    err: Console,
    *,
    verbose: bool,
) -> Planned:
    planned = _read(paths, node, family, settings, err)
    print_input_summary(err, planned, verbose=verbose)
    return planned


def _read(
    paths: list[Path], node: str | None, family: FamilyChoice, settings: list[str] | None, err: Console
) -> Planned:
    names = [str(path) for path in paths]
    stdin = sys.stdin.buffer if "-" in names and sys.stdin is not None else None
    with err.status("reading manifests"):
        return plan_from_manifests(names, stdin, node, family.families, settings or ())
