"""Rulesets and changes as nft text, through the templates.

In: values. Out: text. Formatting only: nothing is decided, sorted or left out here. The filters are the last gate: a
key, value or comment with a character that nft gives a meaning to raises ValueError, whatever let it come this far.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from importlib.resources import files
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nftsvc.changes import (
    AddChain,
    AddElements,
    AddSet,
    DeleteChains,
    DeleteElements,
    DeleteSet,
    Operation,
    ReplaceRules,
    Transaction,
)
from nftsvc.errors import UsageError
from nftsvc.ruleset import NFT_FAMILY, TABLE, Entry, Key, Ruleset


class _Gate:
    """Lets no text through that has more than an allowed pattern; texts of `plain` characters alone pass quickly."""

    def __init__(self, allowed: str, plain: str, what: str) -> None:
        self._allowed = re.compile(allowed)
        self._plain = plain.encode("ascii")
        self._what = what

    def one(self, text: str) -> str:
        """Return the text; ValueError if it must not pass."""
        if self._allowed.fullmatch(text) is None:
            raise ValueError(f"refusing to write {self._what} {text!r} into nft text")
        return text

    def all(self, texts: list[str]) -> list[str]:
        """Return the texts; ValueError if one of them must not pass."""
        try:
            others = "\n".join(texts).encode("ascii").translate(None, self._plain)
        except UnicodeEncodeError:
            others = b"?"
        if others != b"\n" * (len(texts) - 1) or not all(texts):
            for one in texts:
                self.one(one)
        return texts


# What may be in an element's key, in what it leads to, in a comment.
_LOWER, _UPPER, _DIGITS = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
KEY = _Gate(r"[0-9a-z.: ]+(/[0-9]{1,3})?", f"{_DIGITS}{_LOWER}.: ", "key")
VALUE = _Gate(r"[0-9a-z.: -]+", f"{_DIGITS}{_LOWER}.: -", "value")
COMMENT = _Gate(r"[0-9A-Za-z.:/~ -]*", f"{_DIGITS}{_UPPER}{_LOWER}.:/~ -", "comment")


class _Written(NamedTuple):
    """nft commands, and which operation each part of them, from some line on, was made from."""

    text: str
    parts: tuple[tuple[int, Operation], ...]


class Script:
    """One transaction: its operations, and the nft commands that say the same, written when they are first asked for.

    `verbatim` are commands that need not say the same, as those of a user's templates: they are to be run as they are.
    """

    def __init__(self, operations: Transaction, write: Callable[[Transaction], _Written], *, verbatim: bool) -> None:
        self.operations = operations
        self.verbatim = verbatim
        self._write = write

    @classmethod
    def of_text(cls, text: str, parts: tuple[tuple[int, Operation], ...] = ()) -> "Script":
        """Return commands to be run as they are; `parts` says which operation is meant from some line on."""
        return cls(tuple(operation for _, operation in parts), lambda _: _Written(text, parts), verbatim=True)

    @property
    def text(self) -> str:
        """The commands."""
        return self._written.text

    @property
    def parts(self) -> tuple[tuple[int, Operation], ...]:
        """The line that the text of each operation begins in, from 1."""
        return self._written.parts

    def source(self, line: int) -> str:
        """Say what a line (from 1) was made from: `Service shop/web`, `chain services`; "" where that is not known."""
        before = list(takewhile(lambda part: part[0] <= line, self._written.parts))
        return _source(before[-1][1], line - before[-1][0]) if before else ""

    @cached_property
    def _written(self) -> _Written:
        return self._write(self.operations)


def _source(operation: Operation, offset: int) -> str:
    match operation:
        case AddElements() | DeleteElements():
            inside = 1 <= offset <= len(operation.entries)
            owner = operation.owner(operation.entries[offset - 1][0]) if inside else ""
            return f"Service {owner}" if owner else f"{operation.set.keyword} {operation.set.name}"
        case AddSet() | DeleteSet():
            return f"{operation.set.keyword} {operation.set.name}"
        case AddChain() | ReplaceRules():
            return f"chain {operation.chain.name}"
        case DeleteChains():
            return f"chain {operation.chains[offset % len(operation.chains)].name}"
        case _:
            return f"table {NFT_FAMILY[operation.family]} {TABLE}"


class Renderer:
    """Prints rulesets and changes. `templates` is a folder whose files replace ours of the same name."""

    def __init__(self, templates: Path | None = None) -> None:
        self._templates = templates
        folders = ([templates] if templates is not None else []) + [_own_templates()]
        self._environment = Environment(
            loader=FileSystemLoader(folders),
            undefined=StrictUndefined,
            auto_reload=False,
            autoescape=False,  # noqa: S701 - nft text, not HTML; the filters below refuse what nft would interpret
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._environment.filters.update(
            comment=COMMENT.one,
            elements=_elements,
            keys=_keys,
            nft=NFT_FAMILY.__getitem__,
        )
        self._environment.globals["name"] = TABLE

    def ruleset(self, ruleset: Ruleset) -> str:
        """Return the full ruleset; `nft -f` loads it in one transaction, in place of what was there."""
        tables = tuple(ruleset.tables.values())
        with self._blame():
            return self._environment.get_template("ruleset.nft.j2").render(tables=tables)

    def script(self, transaction: Transaction) -> Script:
        """Return one transaction as a script. UsageError if a user's templates cannot write it."""
        script = Script(transaction, self._commands, verbatim=self._templates is not None)
        if script.verbatim:
            script.text  # noqa: B018 - so that what is wrong with them is said here
        return script

    def _commands(self, transaction: Transaction) -> _Written:
        macros = self._macros
        lines, texts, parts = 1, [], []
        for operation in transaction:
            with self._blame():
                text = str(getattr(macros, type(operation).__name__)(operation)).strip("\n") + "\n"
            parts.append((lines, operation))
            texts.append(text)
            lines += text.count("\n")
        return _Written("".join(texts), tuple(parts))

    @cached_property
    def _macros(self) -> object:
        with self._blame():
            return self._environment.get_template("operations.nft.j2").module

    @contextmanager
    def _blame(self) -> Iterator[None]:
        """Turn whatever a user's templates do wrong into a UsageError; with our own it stays what it is."""
        try:
            yield
        except Exception as error:
            if self._templates is None:
                raise
            raise UsageError(f"--templates {self._templates}: {type(error).__name__}: {error}") from error

    def scripts(self, transactions: tuple[Transaction, ...]) -> Iterator[Script]:
        """Yield the script of each transaction, made when it is asked for: a first load is larger than it looks."""
        return map(self.script, transactions)


def _elements(entries: Iterable[tuple[Key, Entry]], is_map: str, tabs: int = 1) -> str:
    """Write elements, a line each; a filter rather than a macro, because there are so many."""
    listed = entries if isinstance(entries, list) else list(entries)
    lines = KEY.all([_joined(key) for key, _ in listed])
    if any(entry.comment for _, entry in listed):
        comments = COMMENT.all([entry.comment for _, entry in listed])
        lines = [f'{line} comment "{said}"' if said else line for line, said in zip(lines, comments, strict=True)]
    if is_map:
        values = VALUE.all([_joined(entry.value) for _, entry in listed])
        lines = [f"{line} : {value}" for line, value in zip(lines, values, strict=True)]
    return _lines(lines, tabs)


def _keys(entries: Iterable[tuple[Key, Entry]], tabs: int = 1) -> str:
    """Write the keys of elements, a line each."""
    return _lines(KEY.all([_joined(key) for key, _ in entries]), tabs)


def _lines(lines: list[str], tabs: int) -> str:
    return (",\n" + "\t" * tabs).join(lines)


def _joined(parts: Key) -> str:
    return _PATTERNS[len(parts)] % parts


_PATTERNS = tuple(" . ".join(["%s"] * count) for count in range(8))


@cache
def _own_templates() -> Path:
    """Return the folder of the templates: inside the installed package, beside it in a checkout."""
    package = Path(str(files("nftsvc")))
    inside = package / "templates"
    return inside if inside.is_dir() else package.parent / "templates"
