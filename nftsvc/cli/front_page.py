"""`nftsvc --help` and `nftsvc` alone: the page that typer would print, without typer and the commands.

Importing those takes several times as long as all of this. A test holds the page to typer's.
"""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.panel import Panel as Frame
from rich.table import Table
from rich.text import Text

from nftsvc.cli.commands import COMMANDS, EXIT_CODES, HELP, VERSION_HELP, Panel

# Long, short, what it does; all but the first are typer's own.
_OPTIONS = (
    ("--version", "", VERSION_HELP),
    ("--install-completion", "", "Install completion for the current shell."),
    ("--show-completion", "", "Show completion for the current shell, to copy it or customize the installation."),
    ("--help", "-h", "Show this message and exit."),
)
_WITH_COLOUR = ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS")  # as typer decides it for the other pages


def print_front_page() -> None:
    """Print the page to standard output, in colour on terminals."""
    forced = any(os.environ.get(name) for name in _WITH_COLOUR)
    console = Console(markup=False, emoji=False, highlight=False, force_terminal=True if forced else None)
    usage = Text.assemble(("Usage: ", "yellow"), f"{_program()} [OPTIONS] COMMAND [ARGS]...", style="bold")
    console.print(Padding(usage, 1))
    title, *paragraphs = HELP.split("\n\n")
    console.print(Padding(Text(title), (0, 1, 1, 1)))
    for paragraph in paragraphs:
        console.print(Padding(Text(" ".join(paragraph.split("\n")), style="dim"), (0, 1, 1, 1)))
    console.print(_framed("Options", _options()))
    for panel in Panel:
        console.print(_framed(panel, _commands(panel)))
    console.print(Padding(Text(" ".join(EXIT_CODES.split("\n"))), 1))


def _program() -> str:
    """Return how the program was called."""
    as_module = bool(getattr(sys.modules["__main__"], "__package__", None))
    return "python -m nftsvc" if as_module else Path(sys.argv[0]).name


def _framed(title: str, table: Table) -> Frame:
    return Frame(table, title=Text(title), title_align="left", border_style="dim")


def _options() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(style="bold green", no_wrap=True)
    table.add_column(ratio=1)
    for option in _OPTIONS:
        table.add_row(*option)
    return table


def _commands(panel: Panel) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="bold cyan", no_wrap=True, width=max(map(len, COMMANDS)))
    table.add_column(ratio=1)
    for name, command in COMMANDS.items():
        if command.panel is panel:
            table.add_row(name, _summary(command.summary))
    return table


def _summary(text: str) -> Text:
    """Return a sentence; what stands between backticks is code."""
    found = Text()
    for number, part in enumerate(text.split("`")):
        found.append(part, style="bold cyan on black" if number % 2 else "")
    return found
