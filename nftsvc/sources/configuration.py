"""The file with the cluster's configuration of kube-proxy.

In: a file or standard input with a KubeProxyConfiguration, alone, among other documents, or inside a ConfigMap. Out:
what `nftsvc.configuration` makes of it, with the place of every problem.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from nftsvc.configuration import (
    API_VERSION,
    KIND,
    Configuration,
    Document,
    Text,
    configurations_in,
    read_configuration,
)
from nftsvc.errors import InputError, ObjectRef, Origin, Problem, Severity
from nftsvc.sources.documents import Unreadable, documents
from nftsvc.sources.manifests import STDIN


@dataclass(frozen=True, slots=True)
class LoadedConfiguration:
    """A good configuration, the object that it was in and where that was read."""

    configuration: Configuration
    ref: ObjectRef
    origin: Origin


@dataclass(frozen=True, slots=True)
class _Found:
    origin: Origin
    ref: ObjectRef
    document: Document


def load_configuration(file: Path, stdin: BinaryIO | None = None, *, strict: bool = False) -> LoadedConfiguration:
    """Read the only KubeProxyConfiguration of a file (`-`: of `stdin`); other documents in it are left aside.

    Raises InputError, with every problem found: a file that cannot be read, text that does not parse, none or more than
    one configuration, bad values. Fields that nobody knows are errors if `strict`, else warnings in the configuration's
    `problems`.
    """
    name = STDIN if str(file) == "-" else str(file)
    problems: list[Problem] = []
    found = list(_search(name, _contents(file, stdin), problems))
    problems += [
        Problem(f"a second {KIND}, the first is in {found[0].origin}", "", one.ref, one.origin) for one in found[1:]
    ]
    if not found and not problems:
        problems.append(Problem(f"{name}: no {KIND} ({API_VERSION}) and no ConfigMap that holds one"))
    if problems:
        raise InputError(tuple(problems))
    (only,) = found
    read = read_configuration(only.document.raw)
    placed = tuple(replace(one, origin=only.origin, ref=only.ref) for one in read.problems)
    if strict:
        placed = tuple(replace(one, severity=Severity.ERROR) for one in placed)
    if read.errors or (strict and placed):
        raise InputError(placed)
    return LoadedConfiguration(replace(read, problems=placed), only.ref, only.origin)


def _contents(file: Path, stdin: BinaryIO | None) -> bytes:
    if str(file) == "-":
        return stdin.read() if stdin is not None else b""
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError((Problem(f"{file}: cannot be read: {error.strerror}"),)) from error


def _search(name: str, data: bytes, problems: list[Problem]) -> Iterator[_Found]:
    number = 1
    try:
        for document in documents(data, is_json=name.endswith(".json")):
            origin = Origin(name, number)
            for held in configurations_in(document):
                yield from _unwrapped(held, origin, problems)
            number += 1
    except Unreadable as error:
        problems.append(Problem(str(error), origin=Origin(name, number)))


def _unwrapped(held: Document | Text, origin: Origin, problems: list[Problem]) -> Iterator[_Found]:
    """Yield a document as it is, and those that the text of a ConfigMap's entry holds."""
    if isinstance(held, Document):
        yield _Found(origin, held.ref, held)
        return
    try:
        for document in documents(held.text.encode(errors="surrogatepass")):
            for inner in configurations_in(document):
                if isinstance(inner, Document):
                    yield _Found(origin, held.ref, inner)
    except Unreadable as error:
        problems.append(Problem(str(error), held.field, held.ref, origin))
