"""Manifests on disk or on standard input, as objects.

In: files, folders, `-`. Out: decoded objects with the place each was read, every problem found, and the kinds that were
skipped. Reads YAML with any number of documents, JSON, and lists (`kind: List` and what `kubectl get -o yaml|json`
prints). The only module that imports `yaml`.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

import yaml

from nftsvc.decode import decode
from nftsvc.errors import ObjectRef, Origin, Problem, Severity
from nftsvc.objects import KubernetesObject

SUFFIXES = (".json", ".yaml", ".yml")
STDIN = "<stdin>"

_LIST = "List"


@dataclass(frozen=True, slots=True)
class Loaded:
    """What was read: objects in the order of the input, where each was, what is wrong, how many of which kind were skipped."""

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
        for number, document in enumerate(_documents(name, data, reader), start=1):
            for origin, raw in _unpacked(Origin(name, number), document, reader):
                reader.take(origin, raw)
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
        if decoded.value is None:
            return
        earlier = self.origins.setdefault(decoded.value.ref, origin)
        if earlier is origin:
            self.objects.append(decoded.value)
        else:
            self.problems.append(Problem(f"given twice, first in {earlier}", "", decoded.value.ref, origin))


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
            real = file.resolve()
            if real in seen:
                continue
            seen.add(real)
            try:
                yield str(file), file.read_bytes()
            except OSError as error:
                reader.problems.append(Problem(f"{file}: cannot be read: {error.strerror}"))


def _files(path: Path, reader: _Reader) -> Iterable[Path]:
    if not path.is_dir():
        return (path,)
    found = sorted(_manifests_below(path), key=lambda file: file.parts)
    if not found:
        reader.problems.append(Problem(f"{path}: no manifests in this folder (*{', *'.join(SUFFIXES)})"))
    return found


def _manifests_below(folder: Path) -> Iterator[Path]:
    """Yield the manifests in a folder and its subfolders; hidden ones are not looked at."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name.endswith(SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)


# Documents -----------------------------------------------------------------------------------------------------------


def _documents(name: str, data: bytes, reader: _Reader) -> Iterator[object]:
    """Yield the documents of a file; those before a syntax error are still good."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        reader.problems.append(Problem(f"{name}: not UTF-8 text (byte {error.start})"))
        return
    if text.lstrip().startswith(("{", "[")):
        try:
            yield json.loads(text, object_pairs_hook=_without_repeats)
        except _RepeatedKeyError as error:
            reader.fail(Origin(name, 1), str(error))
            return
        except (ValueError, RecursionError) as error:
            failure = error
        else:
            return
        if name.endswith(".json"):
            reader.fail(Origin(name, 1), f"not JSON: {failure}")
            return
    yield from _yaml_documents(name, text, reader)


def _yaml_documents(name: str, text: str, reader: _Reader) -> Iterator[object]:
    number = 1
    try:
        for document in yaml.load_all(text, _Loader):  # noqa: S506 - a safe loader, see below
            yield document
            number += 1
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        reader.fail(Origin(name, number), f"not YAML: {place}{error.problem}")
    except yaml.YAMLError as error:
        reader.fail(Origin(name, number), f"not YAML: {' '.join(str(error).split())}")
    except (ValueError, OverflowError) as error:
        reader.fail(Origin(name, number), f"not YAML: {error}")
    except RecursionError:
        reader.fail(Origin(name, number), "nested too deeply")


class _RepeatedKeyError(ValueError):
    """A mapping gives a key twice."""


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        repeated = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _RepeatedKeyError(f"key {repeated!r} is given twice in one mapping")
    return mapping


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc] - C where PyYAML was built with it
    """Loads plain data only; times stay text, as in Kubernetes, and a repeated key is an error."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """Build a mapping, refusing a key given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key.value, str):
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key.value!r} is given twice in one mapping", key.start_mark
                    )
                seen.add(key.value)
        return cast("dict[object, object]", super().construct_mapping(node, deep))


def _unpacked(origin: Origin, document: object, reader: _Reader) -> Iterator[tuple[Origin, object]]:
    """Yield the document, or the items of a list; items of a typed list (ServiceList) get its kind. Empty: nothing."""
    if document is None:
        return
    if not isinstance(document, dict) or "items" not in document or not _is_list(document.get("kind")):
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
        if isinstance(item, dict) and _is_list(item.get("kind")) and "items" in item:
            reader.fail(at, "a list inside a list is not supported")
        else:
            yield at, {**known, **item} if isinstance(item, dict) else item


def _is_list(kind: object) -> bool:
    return isinstance(kind, str) and kind.endswith(_LIST)
