"""Text to standard output or to a file, and errors to standard error with their exit code."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from nftsvc.errors import InputError, NftsvcError, UsageError
from nftsvc.report.problems import print_line, print_problems

EXIT_CODES = """Exit codes: 0 fine - 1 differs - 2 wrong usage - 3 bad input - 4 the kernel refused or cannot be used -
5 the cluster cannot be reached - 70 a bug in nftsvc"""


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


@contextmanager
def errors_reported() -> Iterator[Console]:
    """Turn what goes wrong into messages on standard error and the documented exit code."""
    err = Console(stderr=True, highlight=False)
    try:
        yield err
    except InputError as error:
        print_problems(err, error.problems)
        raise typer.Exit(error.exit_code) from error
    except NftsvcError as error:
        print_line(err, "error", str(error))
        raise typer.Exit(error.exit_code) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
