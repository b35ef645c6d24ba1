"""Manifests on disk or on standard input, as objects.

In: files, folders, `-`. Out: decoded objects with the place each was read, every problem found, and the kinds that were
skipped. Reads YAML with any number of documents, JSON, and lists (`kind: List` and what `kubectl get -o yaml|json`
prints).
"""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from nftsvc.decode import decode
from nftsvc.errors import ObjectRef, Origin, Problem, Severity
from nftsvc.objects import KINDS, KubernetesObject
from nftsvc.sources.documents import Unreadable, documents

SUFFIXES = (".json", ".yaml", ".yml")
STDIN = "<stdin>"

_LISTS = {("v1", "List"), *((kind.API_VERSION, f"{kind.KIND}List") for kind in KINDS)}
_LIST = "List"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read: objects in the order of the input, where each was, what is wrong, what was skipped by kind."""

    objects: tuple[KubernetesObject, ...]
    origins: Mapping[ObjectRef, Origin]
    problems: tuple[Problem, ...]
    skipped: Mapping[str, int]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that make the input unusable."""
        return tuple(one for one in self.problems if one.severity is Severity.ERROR)

    def locate(self, problem: Problem) -> Problem:
        """Add to a problem found later where its object was read."""
        return replace(problem, origin=self.origins.get(problem.ref)) if problem.ref is not None else problem


def load(paths: Sequence[str], stdin: BinaryIO | None = None) -> Loaded:
    """Read all manifests that the paths name; a folder means every manifest below it, in path order.

    Never raises for bad input: unreadable files, text that does not parse, bad objects and objects given twice are all
    in `problems`. A file named twice is read once.
    """
    reader = _Reader()
    for name, data in _contents(paths, stdin, reader):
        number = 1
        try:
            for document in documents(data, is_json=name.endswith(".json")):
                for origin, raw in _unpacked(Origin(name, number), document, reader):
                    reader.take(origin, raw)
                number += 1
        except Unreadable as error:
            reader.fail(Origin(name, number), str(error))
    return Loaded(tuple(reader.objects), reader.origins, tuple(reader.problems), dict(sorted(reader.skipped.items())))


class _Reader:
    """What has been read so far."""

    def __init__(self) -> None:
        self.objects: list[KubernetesObject] = []
        self.origins: dict[ObjectRef, Origin] = {}
        self.problems: list[Problem] = []
        self.skipped: Counter[str] = Counter()

    def fail(self, origin: Origin | None, message: str, field: str = "") -> None:
        """Note a problem that is not inside an object."""
        self.problems.append(Problem(message, field, origin=origin))

    def take(self, origin: Origin, raw: object) -> None:
        """Decode one document."""
        decoded = decode(raw)
        self.problems += [replace(problem, origin=origin) for problem in decoded.problems]
        if decoded.skipped:
            self.skipped[decoded.skipped] += 1
        ref = decoded.ref
        if ref is None:
            return
        earlier = self.origins.setdefault(ref, origin)
        if earlier is not origin:
            self.problems.append(Problem(f"given twice, first in {earlier}", "", ref, origin))
        elif decoded.value is not None:
            self.objects.append(decoded.value)


# Files ---------------------------------------------------------------------------------------------------------------


def _contents(paths: Sequence[str], stdin: BinaryIO | None, reader: _Reader) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of every file to read."""
    seen: set[Path] = set()
    for path in paths:
        if path == "-":
            if stdin is not None:
                yield STDIN, stdin.read()
                stdin = None
            continue
        for file in _files(Path(path), reader):
            try:
                real, data = file.resolve(), file.read_bytes()
            except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
                reason = error.strerror if isinstance(error, OSError) else "a link that leads to itself"
                reader.problems.append(Problem(f"{file}: cannot be read: {reason}"))
                continue
            if real not in seen:
                seen.add(real)
                yield str(file), data


def _files(path: Path, reader: _Reader) -> Iterable[Path]:
    if not path.is_dir():
        return (path,)
    found = manifests_below(path, reader.problems)
    if not found:
        reader.problems.append(Problem(f"{path}: no manifests in this folder (*{', *'.join(SUFFIXES)})"))
    return found


def manifests_below(folder: Path, problems: list[Problem]) -> list[Path]:
    """Return the manifests in a folder and its subfolders, linked ones too, in path order; hidden ones are left out.

    A subfolder that cannot be read adds to the problems.
    """
    return sorted(_walk(folder, problems), key=lambda file: file.parts)


def _walk(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        problems.append(Problem(f"{error.filename}: cannot be read: {error.strerror}"))

    seen: set[Path] = set()
    for parent, folders, names in os.walk(folder, onerror=unreadable, followlinks=True):
        real = Path(parent).resolve()
        folders[:] = [name for name in folders if not name.startswith(".")] if real not in seen else []
        seen.add(real)
        for name in names:
            if name.endswith(SUFFIXES) and not name.startswith("."):
                path = Path(parent, name)
                if path.is_file() or not path.exists():  # a link that leads nowhere is told when it is read
                    yield path
                else:  # reading a pipe would wait for a writer
                    problems.append(Problem(f"{path}: cannot be read: not a regular file"))


def _unpacked(origin: Origin, document: object, reader: _Reader) -> Iterator[tuple[Origin, object]]:
    """Yield the document, or the items of a list; items of a typed list (ServiceList) get its kind. Empty: nothing."""
    if document is None:
        return
    if not isinstance(document, dict) or "items" not in document or not _is_list(document):
        yield origin, document
        return
    kind = str(document["kind"]).removesuffix(_LIST)
    items = document["items"]
    if items is None:
        return
    if not isinstance(items, list):
        reader.fail(origin, "not a list", "items")
        return
    known = {"apiVersion": document.get("apiVersion"), "kind": kind} if kind else {}
    for index, item in enumerate(items):
        at = replace(origin, item=index)
        if isinstance(item, dict) and _is_list(item) and "items" in item:
            reader.fail(at, "a list inside a list is not supported")
        else:
            yield at, {**known, **item} if isinstance(item, dict) else item


def _is_list(document: Mapping[object, object]) -> bool:
    version, kind = document.get("apiVersion"), document.get("kind")
    return isinstance(version, str) and isinstance(kind, str) and (version, kind) in _LISTS
