"""One raw document to one object, or to every problem it has.

In: what a YAML or JSON parser made of a document. Out: the object, or problems with the path of each bad field. The
fast way is one msgspec conversion. Only when that refuses a field is the field taken out and the rest tried again, so
that one run names them all.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import cast, get_args

import msgspec

from nftsvc.errors import ObjectRef, Problem
from nftsvc.objects import KINDS, EndpointSlice, KubernetesObject
from nftsvc.validation import problems_of
from nftsvc.values import FAMILIES, quoted

Raw = Mapping[object, object]

_KINDS = {(kind.API_VERSION, kind.KIND): kind for kind in KINDS}
_GROUPS = {(version.rpartition("/")[0], kind): version for version, kind in _KINDS}
_UNNAMED = "(unnamed)"
_NAME = re.compile(r"[-.\w]{1,253}", re.ASCII)
_STEP = re.compile(r"\.([^.\[\]`]+)|\[(\d+)\]")
_EXPECTED = re.compile(r"Expected `(?P<expected>[^`]+)`")
_WORDS = {"int": "a number", "str": "text", "bool": "true or false", "array": "a list", "object": "a mapping"}
_USERS_MAPPINGS = ("labels", "selector")
_MOST_PROBLEMS = 1000
_MOST_NODES = 1_000_000
_MOST_LEVELS = 20


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
    if target.STRICT:
        return _decode_strictly(target, cast("Raw", raw))
    return _decode_as(target, cast("Raw", raw))


def _failed(message: str) -> Decoded:
    return Decoded(problems=(Problem(message),))


def _other_kind(raw: Raw, version: str, kind: str) -> Decoded:
    wanted = _GROUPS.get((version.rpartition("/")[0], kind))
    if wanted is None:
        return Decoded(skipped=_shown(kind))
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


def _decode_strictly(target: type[KubernetesObject], raw: Raw) -> Decoded:
    """Decode an object that has no other fields than those we know; each other one is a problem."""
    problems: list[Problem] = []
    known = {"apiVersion", "kind"}

    def without_unknown(holder: Raw, kind: object, path: str) -> dict[object, object]:
        names = known | {one.encode_name for one in msgspec.structs.fields(cast("type[msgspec.Struct]", kind))}
        for key in holder.keys() - names:
            plain = isinstance(key, str) and _NAME.fullmatch(key) and "." not in key
            field = f"{path}.{key}".lstrip(".") if plain else f"{path}[{quoted(key)}]"
            problems.append(Problem("no such field", field, _ref(target.KIND, raw)))
        return {key: value for key, value in holder.items() if key in names}

    top = without_unknown(raw, target, "")
    spec = top.get("spec")
    if isinstance(spec, dict):
        declared = next(one.type for one in msgspec.structs.fields(target) if one.name == "spec")
        top["spec"] = without_unknown(spec, get_args(declared)[0], "spec")
    decoded = _decode_as(target, top)
    problems.sort(key=lambda one: one.field)
    found = (*problems, *decoded.problems)
    return Decoded(problems=found) if found else decoded


def _decode_as(target: type[KubernetesObject], raw: Raw) -> Decoded:
    try:
        value = msgspec.convert(raw, target, dec_hook=build_scalar)
    except msgspec.ValidationError as error:
        return _decode_pruned(target, raw, str(error))
    ref = value.ref
    problems = [Problem(f"{broken.message} {broken.named}".rstrip(), broken.path, ref) for broken in problems_of(value)]
    return Decoded(problems=tuple(problems)) if problems else Decoded(value)


def _decode_pruned(target: type[KubernetesObject], raw: Raw, error: str) -> Decoded:
    """Find every problem of a document whose first is known; or its value, if nothing but nulls stood in the way."""
    ref = _ref(target.KIND, raw)
    tree = _unshared(raw)
    if tree is None:
        return Decoded(problems=(Problem(error, "", ref),))
    pruned = _Pruned(tree)
    problems: list[Problem] = []
    for _ in range(_MOST_PROBLEMS):
        refused = pruned.refuse(error)
        if refused is None:
            problems.append(Problem(error, "", ref))
            break
        problems += [Problem(message, path, ref) for path, message in refused]
        try:
            value = msgspec.convert(pruned.tree, target, dec_hook=build_scalar)
        except msgspec.ValidationError as next_error:
            error = str(next_error)
            continue
        problems += _broken_rules(value, pruned, {problem.field for problem in problems}, ref)
        return Decoded(problems=tuple(problems)) if problems else Decoded(value)
    if not problems or len(problems) >= _MOST_PROBLEMS:
        problems.append(Problem(f"more than {_MOST_PROBLEMS} bad fields, the rest is not looked at", "", ref))
    return Decoded(problems=tuple(problems))


def _broken_rules(value: KubernetesObject, pruned: "_Pruned", refused: set[str], ref: ObjectRef) -> Iterator[Problem]:
    """Yield the rules that the rest of a document breaks, unless they depend on a field that was refused."""
    for broken in problems_of(value):
        path, named, *others = map(pruned.original, (broken.path, broken.named, *broken.others))
        if not any(_concerns(one, refused) for one in (path, *others)):
            yield Problem(f"{broken.message} {named}".rstrip(), path, ref)


def _concerns(path: str, refused: set[str]) -> bool:
    """Tell whether a field was refused, is part of one that was, or holds one."""
    return any(
        one == path or one.startswith((path + ".", path + "[")) or path.startswith((one + ".", one + "["))
        for one in refused
    )


def _unshared(tree: object) -> object | None:
    """Copy a document so that no part of it is in two places; None if that makes too much of it.

    YAML aliases put parts in many places. Levels deeper than any object of ours has are not copied.
    """
    budget = _MOST_NODES

    def copied(one: object, levels: int) -> object:
        nonlocal budget
        budget -= 1
        if budget < 0 or levels == 0 or not isinstance(one, (dict, list)):
            return one
        if isinstance(one, list):
            return [copied(child, levels - 1) for child in one]
        return {key: copied(child, levels - 1) for key, child in one.items()}

    copy = copied(tree, _MOST_LEVELS)
    return copy if budget >= 0 else None


def build_scalar(kind: type, value: object) -> object:
    """Make one of the values of `nftsvc.values` for msgspec; ValueError says what is wrong with the text."""
    parse = getattr(kind, "parse", None)
    if parse is None:
        raise NotImplementedError(kind)
    return parse(value)


Step = str | int


class _Pruned:
    """A document from which refused fields are taken out, one after the other."""

    def __init__(self, tree: object) -> None:
        self.tree = tree
        self._removed: dict[tuple[Step, ...], list[int]] = {}

    def refuse(self, error: str) -> list[tuple[str, str]] | None:
        """Take out what msgspec's message complains about; return (path in the original, message) of each part.

        An explicit null goes without a message: it means the default. None where there is nothing to take out.
        """
        message, _, place = error.rpartition(" - at ")
        steps = _steps(place)
        if "`key` in" in place:
            return self._refuse_keys(steps)
        if place.endswith("[...]`"):
            return self._refuse_entries(steps)
        holder = _lookup(self.tree, steps[:-1])
        if not steps or not isinstance(holder, (dict, list)):
            return None
        path = self._original(steps)
        value = holder.pop(cast("int", steps[-1]))
        if isinstance(path[-1], int):
            self._removed.setdefault(tuple(steps[:-1]), []).append(path[-1])
        elif value is None:
            return []
        return [(_written(path), _explained(message, value))]

    def _refuse_keys(self, steps: list[Step]) -> list[tuple[str, str]] | None:
        """Take out keys that are no text: bad in a mapping of the user's, an unknown field anywhere else."""
        holder = _lookup(self.tree, steps)
        if not isinstance(holder, dict):
            return None
        bad = [key for key in holder if not isinstance(key, str)]
        for key in bad:
            del holder[key]
        path = _written(self._original(steps))
        mine = steps and steps[-1] in _USERS_MAPPINGS
        return [(f"{path}[{quoted(key)}]", _not_text(key)) for key in bad if mine]

    def _refuse_entries(self, steps: list[Step]) -> list[tuple[str, str]] | None:
        """Take out entries of a mapping whose values are no text."""
        holder = _lookup(self.tree, steps)
        if not isinstance(holder, dict):
            return None
        bad = {key: value for key, value in holder.items() if not isinstance(value, str)}
        for key in bad:
            del holder[key]
        path = _written(self._original(steps))
        return [(f"{path}[{quoted(key)}]", _not_text(one)) for key, one in bad.items()]

    def original(self, path: str) -> str:
        """Translate a path in the pruned tree to one in the document."""
        return _written(self._original(_steps(f"$.{path}")))

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


def _not_text(value: object) -> str:
    return f"{quoted(value)} is not text (write it in quotes)"


def _steps(place: str) -> list[Step]:
    """Read msgspec's path, as in "`$.spec.ports[0].port`", without an unnamed key at its end."""
    return [int(index) if index else name for name, index in _STEP.findall(place.strip("`").rpartition("$")[2])]


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
