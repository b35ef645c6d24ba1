"""Writing that nobody sees half of."""

import os
import tempfile
from pathlib import Path

from nftsvc.errors import UsageError


def replace_text(file: Path, text: str) -> None:
    """Write a file whole or not at all, in place of what was there; a link stays one. UsageError says why not."""
    try:
        path = file.resolve()
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        made = Path(name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
            made.chmod(path.stat().st_mode & 0o7777 if path.exists() else 0o644)
            made.replace(path)
        except BaseException:
            made.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
