"""One raw document to one object, or to every problem it has.

In: what a YAML or JSON parser made of a document. Out: the object, or problems with the path of each bad field. The
fast way is one msgspec conversion. Only when that refuses a field is the field taken out and the rest tried again, so
that one run names them all.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec

from nftsvc.errors import ObjectRef, Problem
from nftsvc.objects import KINDS, EndpointSlice, KubernetesObject
from nftsvc.validation import problems_of
from nftsvc.values import FAMILIES, Port, Scalar, quoted

Raw = Mapping[object, object]

_KINDS = {(kind.API_VERSION, kind.KIND): kind for kind in KINDS}
_GROUPS = {(version.rpartition("/")[0], kind): version for version, kind in _KINDS}
_UNNAMED = "(unnamed)"
_NAME = re.compile(r"[-.\w]{1,253}", re.ASCII)
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+|\.\.\.)\]")
_EXPECTED = re.compile(r"Expected `(?P<expected>[^`]+)`")
_WORDS = {"int": "a number", "str": "text", "bool": "true or false", "array": "a list", "object": "a mapping"}
_MOST_PROBLEMS = 1000


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a document: an object, or problems, or neither where its kind is not ours (`skipped` names it)."""

    value: KubernetesObject | None = None
    problems: tuple[Problem, ...] = ()
    skipped: str = ""

    @property
    def ref(self) -> ObjectRef | None:
        """Which object it was, good or bad; None where the document does not name one."""
        if self.value is not None:
            return self.value.ref
        named = self.problems[0].ref if self.problems else None
        return named if named is not None and _NAME.fullmatch(named.name) and named.name != _UNNAMED else None


def decode(raw: object) -> Decoded:
    """Decode one document.

    Never raises: a document that is no Kubernetes object, or a bad one, comes back as problems. The caller's document
    is left as it was.
    """
    if not isinstance(raw, dict):
        return _failed(f"{quoted(raw)} is not a Kubernetes object (a mapping with apiVersion and kind)")
    version, kind = raw.get("apiVersion"), raw.get("kind")
    if not (isinstance(version, str) and version and isinstance(kind, str) and kind):
        return _failed("not a Kubernetes object: apiVersion and kind must be given")
    target = _KINDS.get((version, kind))
    if target is None:
        return _other_kind(raw, version, kind)
    if target is EndpointSlice and raw.get("addressType") == "FQDN":
        return Decoded(skipped="EndpointSlice of type FQDN")
    return _decode_as(target, cast("Raw", raw))


def _failed(message: str) -> Decoded:
    return Decoded(problems=(Problem(message),))


def _other_kind(raw: Raw, version: str, kind: str) -> Decoded:
    wanted = _GROUPS.get((version.rpartition("/")[0], kind))
    if wanted is None:
        return Decoded(skipped=kind)
    problem = Problem(f"{quoted(version)} is not supported, use {wanted}", "apiVersion", _ref(kind, raw))
    return Decoded(problems=(problem,))


def _ref(kind: str, raw: Raw) -> ObjectRef:
    metadata = raw.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    namespaced = all(one.NAMESPACED for one in KINDS if kind == one.KIND)
    namespace = _shown(named.get("namespace") or "default") if namespaced else ""
    return ObjectRef(kind, namespace, _shown(named.get("name") or _UNNAMED))


def _shown(name: object) -> str:
    """Return a name for messages: as it is where it looks like one, else quoted, so that it cannot pass for more."""
    return name if isinstance(name, str) and (name == _UNNAMED or _NAME.fullmatch(name)) else quoted(name)


def _decode_as(target: type[KubernetesObject], raw: Raw) -> Decoded:
    ref = _ref(target.KIND, raw)
    problems: list[Problem] = []
    value: KubernetesObject | None = None
    pruned = _Pruned(raw)
    while value is None and len(problems) < _MOST_PROBLEMS:
        try:
            value = msgspec.convert(pruned.tree, target, dec_hook=build_scalar)
        except msgspec.ValidationError as error:
            found = [Problem(message, path, ref) for path, message in pruned.refuse(str(error))]
            if not found:
                problems.append(Problem(str(error), "", ref))
                break
            problems += found
    if value is not None:
        broken = {problem.field for problem in problems}
        found = [Problem(message, pruned.original(path), ref) for path, message in problems_of(value)]
        problems += [problem for problem in found if not _concerns(problem.field, broken)]
    return Decoded(problems=tuple(problems)) if problems else Decoded(value)


def _concerns(path: str, broken: set[str]) -> bool:
    """Tell whether a field is part of one that was taken out, or holds one: what it lacks is known already."""
    return any(
        one == path or one.startswith((path + ".", path + "[")) or path.startswith((one + ".", one + "["))
        for one in broken
    )


def build_scalar(kind: type, value: object) -> object:
    """Make one of the values of `nftsvc.values` for msgspec; ValueError says what is wrong with the text."""
    if issubclass(kind, (Scalar, Port)):
        return kind.parse(value)
    raise NotImplementedError(kind)


Step = str | int


class _Pruned:
    """A document from which refused fields are taken out, one after the other."""

    def __init__(self, raw: Raw) -> None:
        self.tree: object = raw
        self._removed: dict[tuple[Step, ...], list[int]] = {}
        self._copied = False

    def refuse(self, error: str) -> Iterator[tuple[str, str]]:
        """Take out what msgspec's message complains about; yield (path in the original, message) for each.

        Yields nothing where the message names no place that could be taken out.
        """
        message, marker, place = error.rpartition(" - at ")
        if not marker:
            return
        if not self._copied:
            self.tree, self._copied = copy.deepcopy(self.tree), True
        steps, any_key = _steps(place)
        holder = _lookup(self.tree, steps if any_key else steps[:-1])
        if any_key and isinstance(holder, dict):
            yield from self._refuse_entries(holder, steps)
        elif steps and isinstance(holder, (dict, list)):
            path = self._original(steps)
            value = holder.pop(cast("int", steps[-1]))
            if isinstance(path[-1], int):
                self._removed.setdefault(tuple(steps[:-1]), []).append(path[-1])
            yield _written(path), _explained(message, value)

    def _refuse_entries(self, holder: dict[object, object], steps: list[Step]) -> Iterator[tuple[str, str]]:
        path = _written(self._original(steps))
        for key, value in list(holder.items()):
            if not (isinstance(key, str) and isinstance(value, str)):
                del holder[key]
                bad = value if isinstance(key, str) else key
                yield f"{path}[{quoted(key)}]", f"{quoted(bad)} is not text (write it in quotes)"

    def original(self, path: str) -> str:
        """Translate a path in the pruned tree to one in the document."""
        return _written(self._original(_steps(f".{path}")[0]))

    def _original(self, steps: list[Step]) -> list[Step]:
        """Translate list positions in the pruned tree to those in the document."""
        path: list[Step] = []
        for depth, step in enumerate(steps):
            position = step
            if isinstance(position, int):
                for removed in sorted(self._removed.get(tuple(steps[:depth]), ())):
                    position += removed <= position
            path.append(position)
        return path


def _steps(place: str) -> tuple[list[Step], bool]:
    """Read msgspec's path, as in "`$.spec.ports[0].port`"; the flag says that it ends in a key it does not name."""
    path = place.strip("`").removeprefix("key` in `").removeprefix("$")
    found = [name or index for name, index in _STEP.findall(path)]
    any_key = "..." in found or "key" in place.split("`")
    return [int(step) if step.isdigit() else step for step in found if step != "..."], any_key


def _lookup(tree: object, steps: list[Step]) -> object:
    for step in steps:
        if isinstance(tree, dict):
            tree = tree.get(step)
        elif isinstance(tree, list) and isinstance(step, int) and step < len(tree):
            tree = tree[step]
        else:
            return None
    return tree


def _written(path: list[Step]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def _explained(message: str, value: object) -> str:
    """Turn msgspec's wording for a wrong type into ours; our own messages pass through."""
    if message.startswith("Invalid enum value"):
        return f"{quoted(value)} is not one of {', '.join(FAMILIES)}"
    match = _EXPECTED.match(message)
    if match is None:
        return message
    names = [_WORDS.get(name, name) for name in match["expected"].split(" | ") if name != "null"]
    return f"{quoted(value)} is not {' or '.join(names)}"
