"""nft text, cut into statements and the blocks that they have; each knows its line.

A statement ends with its line, with a `;` or with the block it is in; not inside braces or quotes. Blocks are found
once, for the whole text, so nothing here calls itself, however deep they are nested, and blocks are skipped as a
whole. Of other people's tables nothing else is asked than that braces and quotes have an end.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from nftsvc.reading.faults import Unreadable
from nftsvc.values import quoted

# Strings have no escapes, and may span lines; a comment ends with its line, whatever is in it.
_HIDDEN = re.compile(r'"[^"]*"|#[^\n]*|\\\r?\n|[\r\ufeff]')
_BRACE = re.compile(r'"[^"]*"|[{}]')
_BREAK = re.compile(r'"[^"]*"|[{;\n]')
_BLANKS = re.compile(r'"[^"]*"|\s+')
_CONFLICT = re.compile(r"^(?:<{7}|>{7})(?= |$)", re.MULTILINE)


# A file with these is a program; what it makes only nft can tell.
NOT_READ = ("include", "define", "redefine", "undefine")


class Item(NamedTuple):
    """A statement: where it starts and ends, and where the first of its blocks does, without braces."""

    start: int
    end: int
    body: tuple[int, int] | None


class Source:
    """A text, without its comments. Places in it are offsets, the same as in the text with comments.

    Unreadable if a string or a block has no end, if a block has no beginning, or if git could not merge the file.
    """

    def __init__(self, text: str) -> None:
        self._lines = text
        self.text = _HIDDEN.sub(_blanked, text)
        conflict = _CONFLICT.search(self.text)
        if conflict is not None:
            raise self.fault(conflict.start(), "git left a merge conflict here")
        if self.text.count('"') % 2:
            raise self.fault(self.text.rindex('"'), "a string that has no end")
        self._ends = self._blocks()

    def _blocks(self) -> dict[int, int]:
        """Return where each opening brace is closed."""
        ends: dict[int, int] = {}
        opened: list[int] = []
        for match in _BRACE.finditer(self.text):
            brace, at = match[0], match.start()
            if brace == "{":
                opened.append(at)
            elif brace == "}":
                if not opened:
                    raise self.fault(at, "a } without its {")
                ends[opened.pop()] = at
        if opened:
            raise self.fault(opened[-1], "a { without its }")
        return ends

    def fault(self, at: int, message: str) -> Unreadable:
        """Return the error that something is wrong at some place."""
        return Unreadable(f"line {self._lines.count(chr(10), 0, at) + 1}", message)

    def unknown(self, item: Item, message: str) -> Unreadable:
        """Return the error that a statement is not what the message says, or is one that is not read on purpose."""
        text = self.written(item)
        word = text.partition(" ")[0]
        if word in NOT_READ:
            message = f"{word} is not read; give the ruleset as `nft list ruleset` prints it"
        else:
            message = f"{quoted(text)} {message}"
        return self.fault(self.place(item), message)

    def inside(self, item: Item) -> Iterator[Item]:
        """Yield the statements in the first block of one."""
        return self.items(*item.body) if item.body is not None else iter(())

    def items(self, start: int = 0, end: int | None = None) -> Iterator[Item]:
        """Yield the statements between two places; empty ones are left out."""
        last = len(self.text) if end is None else end
        at = start
        while at < last:
            item, at = self._item(at, last)
            if not self.text[item.start : item.end].isspace() and item.start < item.end:
                yield item

    def _item(self, start: int, last: int) -> tuple[Item, int]:
        """Return the statement that starts at a place, and where the next one does."""
        body: tuple[int, int] | None = None
        at = start
        while (match := _BREAK.search(self.text, at, last)) is not None:
            mark = match[0]
            if mark == "{":
                at = self._ends[match.start()] + 1
                body = body or (match.end(), at - 1)
            elif mark in {";", "\n"}:
                return Item(start, match.start(), body), match.end()
            else:
                at = match.end()
        return Item(start, last, body), last

    def place(self, item: Item) -> int:
        """Return where the first word of a statement is."""
        text = self.text[item.start : item.end]
        return item.start + len(text) - len(text.lstrip())

    def written(self, item: Item) -> str:
        """Return a statement in one line, with single blanks; strings are left as they are."""
        return _BLANKS.sub(_narrowed, self.text[item.start : item.end]).strip()

    def words(self, item: Item) -> list[str]:
        """Return the words of a statement before its first block; `=` is one."""
        end = item.end if item.body is None else item.body[0] - 1
        return self.text[item.start : end].replace("=", " = ").split()

    def rest(self, item: Item) -> str:
        """Return what is behind the first block of a statement."""
        return "" if item.body is None else self.text[item.body[1] + 1 : item.end].strip()


def _blanked(match: re.Match[str]) -> str:
    """Keep a string; put as many blanks in place of anything else."""
    found = match[0]
    return found if found.startswith('"') else " " * len(found)


def _narrowed(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else " "
