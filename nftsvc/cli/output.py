"""Text to standard output or to a file."""

import sys
import tempfile
from pathlib import Path

from nftsvc.errors import UsageError


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
