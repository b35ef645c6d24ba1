"""The program: its commands by name, each in a module of its own, which is imported when it is wanted.

So are `typer` and `rich`: the page that `nftsvc --help` prints needs only one of them.
"""

import gc
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from nftsvc.cli.commands import COMMANDS, EXIT_CODES, HELP, Command

if TYPE_CHECKING:
    from typer import Typer

_COMPLETE = "_NFTSVC_COMPLETE"
_TYPED = ("COMP_WORDS", "_TYPER_COMPLETE_ARGS")  # what the shells' scripts put the line in that is to be completed


def make_app(names: Collection[str] = COMMANDS.keys()) -> "Typer":
    """Return the program with these commands; of the others it knows what they are called and what they do."""
    import typer

    from nftsvc.cli.root import root

    app = typer.Typer(
        name="nftsvc",
        help=HELP,
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="markdown",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(root)
    for name, command in COMMANDS.items():
        if name in names:
            _add(app, command)
        else:
            _mention(app, name, command)
    return app


def _add(app: "Typer", command: Command) -> None:
    """Import a command."""
    from importlib import import_module

    found = getattr(import_module(f"nftsvc.cli.{command.module}"), command.name)
    if command.is_group:
        app.add_typer(found, rich_help_panel=command.panel)
    else:
        app.command(epilog=EXIT_CODES, rich_help_panel=command.panel)(found)


def _mention(app: "Typer", name: str, command: Command) -> None:
    """Say that there is a command, for help, completion and whoever mistypes another one."""
    import typer

    if command.is_group:
        app.add_typer(typer.Typer(), name=name, help=command.summary, rich_help_panel=command.panel)
    else:
        app.command(name, help=command.summary, rich_help_panel=command.panel)(_not_imported)


def _not_imported() -> None:
    raise RuntimeError("this command was only mentioned")


def wanted(arguments: Sequence[str], environment: Mapping[str, str]) -> set[str]:
    """Return the names of the commands that these arguments (without the program) can be about.

    A shell that completes a line has that in the environment, quoted in any way.
    """
    line = " ".join(environment.get(name, "") for name in _TYPED) if environment.get(_COMPLETE) else ""
    named = next((one for one in arguments if one in COMMANDS), "")
    return {name for name in COMMANDS if name == named or name in line}


def main() -> None:
    """Run the command line; an error that nobody foresaw has an exit code of its own."""
    arguments = sys.argv[1:]
    if arguments[:1] != ["run"]:
        gc.disable()  # a command ends soon; looking through a large input again and again takes longer than the rest
    try:
        if arguments in ([], ["-h"], ["--help"]) and not os.environ.get(_COMPLETE):
            _show_front_page(failing=not arguments)
        make_app(wanted(arguments, os.environ))()
    except Exception:  # noqa: BLE001 - told apart from every documented outcome
        _report_bug()


def _show_front_page(*, failing: bool) -> None:
    from nftsvc.cli.front_page import print_front_page
    from nftsvc.errors import ExitCode

    print_front_page()
    sys.exit(ExitCode.USAGE if failing else ExitCode.FINE)


def _report_bug() -> None:
    import traceback

    from nftsvc.errors import ExitCode

    traceback.print_exc()
    sys.exit(ExitCode.BUG)
