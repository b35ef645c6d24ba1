"""Annotations for GitHub Actions: workflow commands on standard output, which show beside the file in a pull request.

Source: GitHub's documentation of workflow commands: `::error file=F,title=T::MESSAGE`; `%`, line ends and, in
properties, `:` and `,` are written in percent encoding.
"""

from enum import StrEnum

from nftsvc.errors import printable


class Level(StrEnum):
    """How an annotation looks."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


def annotation(level: Level, message: str, *, title: str = "", file: str = "", line: int = 0) -> str:
    """Return one annotation as a line of text, without its end; what is not given is left out."""
    given = {"file": file, "line": str(line or ""), "title": title}
    properties = ",".join(f"{name}={_property(value)}" for name, value in given.items() if value)
    return f"::{level}{' ' * bool(properties)}{properties}::{_escaped(message)}"


def _escaped(text: str) -> str:
    return "%0A".join(printable(line).replace("%", "%25") for line in text.splitlines())


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
