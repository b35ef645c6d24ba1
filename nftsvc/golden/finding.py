"""Where the cases are: folders that say of themselves that something is expected of them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nftsvc.errors import Problem, UsageError
from nftsvc.golden.case import MARKS, Case
from nftsvc.sources.manifests import manifests_below

# Good enough for a note: reading all of it would take longer than checking the cases.
_SERVICE = re.compile(rb"""(?:^|[\s{,-])["']?kind["']?\s*:\s*["']?Service(?:List)?["']?\s*(?:$|[,}#])""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """Cases in path order; `unchecked` are folders beside cases that hold Services but no expectation."""

    cases: tuple[Case, ...]
    unchecked: tuple[str, ...] = ()


def find_cases(folders: Sequence[Path], *, new: bool = False) -> Found:
    """Return the cases that folders are or hold, at any depth; hidden folders are left out, and no case is there twice.

    A case is a folder that directly holds one of `MARKS`; everything below it belongs to it. With `new` a folder
    without any case is one itself, else it is a UsageError: nothing goes unchecked in silence.
    """
    search = _Search()
    for folder in folders:
        before = search.count
        search.walk(folder, set())
        if search.count == before and new:
            search.take(folder)
        if search.count == before:
            raise UsageError(
                f"{folder}: no golden case in there: a case is a folder that holds {', '.join(MARKS[:-1])}"
                f" or {MARKS[-1]} (nftsvc golden new NAME FROM... makes one)"
            )
    return Found(tuple(search.cases.values()), tuple(search.unchecked))


def is_case(folder: Path) -> bool:
    """Tell whether a folder is a case."""
    return any((folder / mark).is_file() for mark in MARKS)


class _Search:
    def __init__(self) -> None:
        self.cases: dict[Path, Case] = {}
        self.count = 0
        self.unchecked: dict[str, None] = {}

    def take(self, folder: Path) -> None:
        """Note a case, once however often it is found."""
        self.cases.setdefault(folder.resolve(), Case(folder))
        self.count += 1

    def walk(self, folder: Path, seen: set[Path]) -> None:
        """Take the cases that a folder is or holds, but for folders that were seen: links may lead back."""
        if is_case(folder):
            self.take(folder)
            return
        real = folder.resolve()
        if real in seen:
            return
        seen.add(real)
        others = []
        beside = False
        for child in _folders(folder):
            before = self.count
            self.walk(child, seen)
            beside = beside or is_case(child)
            if self.count == before:
                others.append(child)
        if beside:
            self.unchecked.update((str(one), None) for one in others if _holds_service(one))


def _folders(folder: Path) -> Iterator[Path]:
    """Yield the subfolders in path order."""
    try:
        yield from sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {error.strerror}") from error


def _holds_service(folder: Path) -> bool:
    return any(_mentions_service(file) for file in manifests_below(folder, list[Problem]()))


def _mentions_service(file: Path) -> bool:
    try:
        return _SERVICE.search(file.read_bytes()) is not None
    except OSError:
        return False
