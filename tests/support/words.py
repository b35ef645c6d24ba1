"""A ruleset's text as lines, words and expressions."""

import re
from collections.abc import Iterator

from tests.support.dialect import FIELDS, Concatenation, Expression, Field, Jhash, Line, Numgen, UnknownSyntax

_COMMENT_BYTES = 128
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_WORD = re.compile(r'"[^"]*"|[,;{}]|[^\s,;{}"]+')


class Lines:
    """The lines that say something, one after the other."""

    def __init__(self, text: str) -> None:
        numbered = (Line(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1))
        self._lines = [line for line in numbered if line.text and not line.text.startswith("#")]
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._lines)

    def take(self) -> Line:
        if not self:
            last = self._lines[-1] if self._lines else Line(0, "")
            raise UnknownSyntax(last, "the text ends too early, after")
        self._at += 1
        return self._lines[self._at - 1]

    def block(self) -> Iterator[Line]:
        """Yield lines until the one that closes the block."""
        while (line := self.take()).text != "}":
            yield line


class Words:
    """The words of one line."""

    def __init__(self, line: Line) -> None:
        self.line = line
        if line.text.count('"') % 2:
            raise UnknownSyntax(line, "odd quotes")
        self._words: list[str] = _WORD.findall(line.text)

    def __bool__(self) -> bool:
        return bool(self._words)

    def error(self, wanted: str) -> UnknownSyntax:
        found = " ".join(self._words[:4])
        return UnknownSyntax(self.line, f"{wanted} expected, not {found!r}")

    def take(self, *words: str) -> bool:
        """Take these words if they are the next ones."""
        if tuple(self._words[: len(words)]) != words:
            return False
        del self._words[: len(words)]
        return True

    def sees(self, start: str) -> bool:
        """Tell whether the next word begins like this."""
        return bool(self._words) and self._words[0].startswith(start)

    def expect(self, *words: str) -> None:
        if not self.take(*words):
            raise self.error(repr(" ".join(words)))

    def match(self, pattern: str | re.Pattern[str], wanted: str) -> str:
        """Take the next word, which must look like this."""
        if not self._words or re.fullmatch(pattern, self._words[0]) is None:
            raise self.error(wanted)
        return self._words.pop(0)

    def name(self) -> str:
        return self.match(_NAME, "a name")

    def reference(self) -> str:
        return self.match(f"@{_NAME.pattern}", "@ and a name").removeprefix("@")

    def number(self, below: int, unit: str = "") -> int:
        number = int(self.match(f"(?:0|[1-9][0-9]{{0,9}}){unit}", "a number").removesuffix(unit))
        if number >= below:
            raise UnknownSyntax(self.line, f"{number} is too large")
        return number

    def string(self) -> str:
        return self.match('"[^"]*"', "a quoted string").strip('"')

    def comment(self) -> None:
        """Take a comment if there is one."""
        if self.take("comment") and len(self.string().encode()) > _COMMENT_BYTES:
            raise UnknownSyntax(self.line, "a comment of more than 128 bytes")

    def end(self) -> None:
        if self._words:
            raise self.error("the end of the line")


# Expressions ----------------------------------------------------------------------------------------------------------


def concatenation(words: Words) -> Concatenation:
    parts = [_expression(words)]
    while words.take("."):
        parts.append(_expression(words))
    return tuple(parts)


def _expression(words: Words) -> Expression:
    if words.take("numgen", "random", "mod"):
        return Numgen(_modulus(words))
    if not words.take("jhash"):
        return _field(words)
    of = _field(words)
    words.expect("mod")
    modulus = _modulus(words)
    words.expect("seed")
    return Jhash(of, modulus, words.number(1 << 32))


def _modulus(words: Words) -> int:
    if modulus := words.number(1 << 32):
        return modulus
    raise UnknownSyntax(words.line, "modulo 0")


def _field(words: Words) -> Field:
    for known in FIELDS:
        if words.take(*known.split()):
            return Field(known)
    raise words.error("an expression")
