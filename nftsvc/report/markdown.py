"""Markdown as GitHub and GitLab show it, for job summaries and comments on pull requests.

What comes from manifests shows as it is: nothing in it is taken for markup.
"""

import re
from collections.abc import Iterable, Sequence

from nftsvc.errors import printable

_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@-])")

_BAR = re.compile(r"(?<!\\)\|")  # in code, where `plain` has not been


def plain(text: str) -> str:
    """Return text in one line that shows as it is."""
    return _MARKUP.sub(r"\\\1", " ".join(map(printable, text.split())))


def code(text: str) -> str:
    """Return text in one line as code."""
    shown = " ".join(map(printable, text.split()))
    fence = _fence(shown, 1)
    space = " " * (shown.startswith("`") or shown.endswith("`"))
    return f"{fence}{space}{shown}{space}{fence}"


def block(text: str, language: str = "") -> str:
    """Return lines as a block of code."""
    lines = "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.rstrip("\n").split("\n"))
    fence = _fence(lines, 3)
    return f"{fence}{language}\n{lines}\n{fence}\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are Markdown already."""
    return "".join(_row(cells) for cells in (heads, ["---"] * len(heads), *rows))


def _escape_bars(cell: str) -> str:
    return _BAR.sub(r"\|", cell)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(_escape_bars(cell) for cell in cells)} |\n"


def details(summary: str, content: str) -> str:
    """Return content that opens when its summary (plain text) is clicked."""
    return f"<details><summary>{plain(summary)}</summary>\n\n{content}\n</details>\n"


def _fence(text: str, least: int) -> str:
    longest = max(map(len, re.findall("`+", text)), default=0)
    return "`" * max(least, longest + 1)
