"""Text to standard output or to a file, and errors to standard error with their exit code."""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from nftsvc.errors import InputError, NftsvcError, Problem, UsageError, printable

if TYPE_CHECKING:
    from rich.console import Console

_LIKE_A_TERMINAL = ("FORCE_COLOR", "TTY_COMPATIBLE")  # for which `rich` takes what is none for one


def write(output: Path | None, text: str) -> None:
    """Write to standard output, or to a file so that no reader ever sees half of it; devices and pipes as they are."""
    try:
        if output is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        elif output.exists() and not output.is_file():
            output.write_text(text, encoding="ascii")
        else:
            _replace(output.resolve(), text)
    except BrokenPipeError:
        raise  # typer ends quietly: whoever read from us has had enough
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise UsageError(f"cannot write to {output or 'standard output'}: {reason}") from error


def _replace(path: Path, text: str) -> None:
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        made = Path(file.name)
        try:
            file.write(text)
            file.flush()
            made.chmod(path.stat().st_mode if path.exists() else 0o644)
            made.replace(path)
        except BaseException:
            made.unlink(missing_ok=True)
            raise


class Messages:
    """Standard error, for people; `rich` takes long to import and comes with the first word that may be in colour."""

    @cached_property
    def console(self) -> "Console":
        """The console for what has colours."""
        from rich.console import Console

        return Console(stderr=True, highlight=False, emoji=False)

    def say(self, text: str) -> None:
        """Print a line without any."""
        typer.echo(text, err=True)

    def problems(self, problems: Sequence[Problem]) -> None:
        """Print a line for each problem."""
        if problems:
            from nftsvc.report.problems import print_problems

            print_problems(self.console, problems)

    def line(self, label: str, text: str, style: str = "bold red") -> None:
        """Print `label: text`."""
        from nftsvc.report.problems import print_line

        print_line(self.console, label, text, style)

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Say what is being done, as long as it takes, where somebody may be looking."""
        seen = sys.stderr is not None and sys.stderr.isatty()
        if not (seen or any(os.environ.get(name) for name in _LIKE_A_TERMINAL)):
            return nullcontext()
        from rich.text import Text

        return self.console.status(Text(printable(what)))


@contextmanager
def errors_reported() -> Iterator[Messages]:
    """Turn what goes wrong into messages on standard error and the documented exit code."""
    err = Messages()
    try:
        yield err
    except InputError as error:
        err.problems(error.problems)
        raise typer.Exit(error.exit_code) from error
    except NftsvcError as error:
        err.line("error", str(error))
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
