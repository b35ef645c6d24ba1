"""The program: its commands by name, each in a module of its own, which is imported when it is wanted."""

import gc
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, NamedTuple

import typer

from nftsvc import __version__
from nftsvc.cli.output import EXIT_CODES
from nftsvc.errors import ExitCode

_OFFLINE, _CI, _NODE, _MORE = "Anywhere (no root, no cluster)", "For CI", "On a node (root)", "More"


class Command(NamedTuple):
    """A command, or a group of commands: where it is, and under which heading `--help` lists it."""

    module: str
    name: str
    panel: str

    def add_to(self, app: typer.Typer) -> None:
        """Import it."""
        found = getattr(import_module(f"nftsvc.cli.{self.module}"), self.name)
        if isinstance(found, typer.Typer):
            app.add_typer(found, rich_help_panel=self.panel)
        else:
            app.command(epilog=EXIT_CODES, rich_help_panel=self.panel)(found)


COMMANDS = {
    "render": Command("render", "render", _OFFLINE),
    "check": Command("check", "check", _OFFLINE),
    "explain": Command("explain", "explain", _OFFLINE),
    "diff": Command("diff", "diff", _CI),
    "lint": Command("lint", "lint", _CI),
    "golden": Command("golden", "golden_app", _CI),
    "run": Command("run", "run", _NODE),
    "apply": Command("apply", "apply", _NODE),
    "clean": Command("clean", "clean", _NODE),
    "demo": Command("demo", "demo", _MORE),
    "config": Command("config", "config_app", _MORE),
}


def make_app(names: Iterable[str] = COMMANDS) -> typer.Typer:
    """Return the program with some of its commands."""
    app = typer.Typer(
        name="nftsvc",
        help="""Kubernetes Services as an nftables ruleset: render it, check it, run it.

        Reads Services with their EndpointSlices, Endpoints or Pods from manifests (YAML, JSON, what kubectl prints) or
        from a cluster and makes one forwarding table of them, with a constant number of chains and rules.

        nftsvc render manifests/             # print the ruleset: no root, no cluster

        nftsvc diff main/ branch/            # what a change does to traffic

        sudo nftsvc run --manifests DIR      # keep this machine in step with a folder, or with a cluster""",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        COMMANDS[name].add_to(app)
    return app


def wanted(arguments: Sequence[str]) -> Iterable[str]:
    """Return the names of the commands that these arguments (without the program) can be about."""
    first = arguments[0] if arguments else ""
    return (first,) if first in COMMANDS else () if first == "--version" else COMMANDS


def main() -> None:
    """Run the command line; an error that nobody foresaw has an exit code of its own."""
    if sys.argv[1:2] != ["run"]:
        gc.disable()  # a command ends soon; looking through a large input again and again takes longer than the rest
    try:
        make_app(wanted(sys.argv[1:]))()
    except Exception:  # noqa: BLE001 - told apart from every documented outcome
        traceback.print_exc()
        sys.exit(ExitCode.BUG)


def _version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"nftsvc {__version__}")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass
