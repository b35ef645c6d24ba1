"""Errors, warnings and other lines for people, to the console they are given."""

from collections.abc import Iterable

from rich.console import Console
from rich.text import Text

from nftsvc.errors import Problem, Severity, printable

_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}


def print_problems(console: Console, problems: Iterable[Problem]) -> None:
    """Print one line for each problem, its severity first."""
    for problem in problems:
        print_line(console, problem.severity, str(problem), _STYLES[problem.severity])


def print_line(console: Console, label: str, text: str, style: str = "bold red") -> None:
    """Print `label: text`, the label in colour where the console has any. Never wraps or interprets the text."""
    safe = "\n".join(map(printable, text.split("\n")))
    console.print(Text.assemble((f"{label}:", style), " ", safe), soft_wrap=True)
