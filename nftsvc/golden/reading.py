"""Strict reading of the small TOML files of a case: every problem names the file and the field."""

import tomllib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from nftsvc.errors import InputError, Problem
from nftsvc.values import quoted

_Value = TypeVar("_Value")


def toml_of(folder: Path, name: str) -> dict[str, object] | None:
    """Return what a file holds, None if there is no such file; InputError where it is not TOML."""
    try:
        return tomllib.loads((folder / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        reason = "not UTF-8 text"
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = f"not TOML: {error}"
    raise InputError((Problem(reason, name),))


def unknown_keys(found: Mapping[str, object], known: Collection[str], where: str) -> list[Problem]:
    """Return a problem for each key that is not known."""
    words = f"no such field (known: {', '.join(known)})"
    return [Problem(words, f"{where}: {quoted(key)}") for key in found if key not in known]


def names_of(found: Mapping[str, object], key: str, where: str, problems: list[Problem]) -> str | None:
    """Return the text that a key leads to, None if it leads to nothing or to a problem."""
    value = found.get(key)
    if value is None or (isinstance(value, str) and value):
        return value
    problems.append(Problem(f"{quoted(value)} is not a name", f"{where}: {key}"))
    return None


def texts_of(
    found: Mapping[str, object], key: str, where: str, problems: list[Problem], parse: Callable[[str], _Value]
) -> tuple[_Value, ...] | None:
    """Return the list of texts that a key leads to, each parsed; None if it is not given or a problem."""
    value = found.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        problems.append(Problem(f"{quoted(value)} is not a list of texts", f"{where}: {key}"))
        return None
    try:
        return tuple(map(parse, value))
    except ValueError as error:
        problems.append(Problem(str(error), f"{where}: {key}"))
        return None
