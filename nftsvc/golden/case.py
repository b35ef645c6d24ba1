"""One case: what its folder holds, and what nftsvc makes of that now.

*.yaml, *.yml, *.json   manifests, in any number of files and folders
case.toml               optional: whose ruleset it is (`CaseSettings`)
ruleset.nft             expected: what `nftsvc render` prints
warnings.txt            expected: what it warns of; no such file: it must not warn
errors.txt              expected instead of the two: why the input must be refused
packets.toml            optional: what must become of single packets (`nftsvc.golden.packets`)
*.md                    for people
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from typing import Self

from nftsvc.errors import InputError, Problem, UsageError
from nftsvc.golden.reading import names_of, texts_of, toml_of, unknown_keys
from nftsvc.pipeline import Planned, plan_from_manifests
from nftsvc.render import Renderer
from nftsvc.ruleset import EMPTY, Ruleset, make_ruleset
from nftsvc.sources.manifests import SUFFIXES, manifests_below
from nftsvc.values import FAMILIES, Address, Family, any_address, quoted

RULESET, WARNINGS, ERRORS = EXPECTATIONS = ("ruleset.nft", "warnings.txt", "errors.txt")
SETTINGS, PACKETS = "case.toml", "packets.toml"
MARKS = (RULESET, ERRORS, SETTINGS, PACKETS)

_KNOWN = (*EXPECTATIONS, SETTINGS, PACKETS)
_FOR_PEOPLE = ".md"


@dataclass(frozen=True, slots=True)
class CaseSettings:
    """What `case.toml` says.

    `node` is that of `nftsvc render --node`; `families` get tables; `ignored` are files (paths below the case, `*` as
    in a shell) that are there for somebody else; `local` are addresses of the node that the input does not name, for
    packets.
    """

    node: str | None = None
    families: tuple[Family, ...] = FAMILIES
    ignored: tuple[str, ...] = ()
    local: tuple[Address, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the settings of a case; the defaults without such a file. InputError names every bad field."""
        found = toml_of(folder, SETTINGS)
        if found is None:
            return cls()
        problems = unknown_keys(found, [one.name for one in fields(cls)], SETTINGS)
        node = names_of(found, "node", SETTINGS, problems)
        families = texts_of(found, "families", SETTINGS, problems, _family)
        ignored = texts_of(found, "ignored", SETTINGS, problems, str)
        local = texts_of(found, "local", SETTINGS, problems, any_address)
        if families == ():
            problems.append(Problem("names no family", f"{SETTINGS}: families"))
        if problems:
            raise InputError(tuple(problems))
        return cls(
            node,
            tuple(one for one in FAMILIES if families is None or one in families),
            ignored or (),
            local or (),
        )


def _family(text: str) -> Family:
    if text not in FAMILIES:
        raise ValueError(f"{quoted(text)} is not one of {', '.join(FAMILIES)}")
    return Family(text)


@dataclass(frozen=True, slots=True)
class Made:
    """What nftsvc makes of a case: the expectation files as it would write them, by name, and what they came from.

    Without `planned` the input is bad: `problems` say why, `files` holds errors.txt.
    """

    files: Mapping[str, str]
    problems: tuple[Problem, ...] = ()
    planned: Planned | None = None
    ruleset: Ruleset = EMPTY


@dataclass(frozen=True)
class Case:
    """A folder. Reading it raises InputError where what says how to read it is bad."""

    folder: Path
    shown: str = ""

    @property
    def name(self) -> str:
        """What messages call it: the folder as it was named, unless they are to call it otherwise."""
        return self.shown or str(self.folder)

    @cached_property
    def settings(self) -> CaseSettings:
        """What `case.toml` says."""
        return CaseSettings.read(self.folder)

    @property
    def refused(self) -> bool:
        """Whether the case says that its input is bad."""
        return (self.folder / ERRORS).exists()

    def planned(self) -> Planned:
        """Read the manifests and make the plan; raises what `plan_from_manifests` does."""
        # Absolute, so that what is cut from messages (`_within`) is nothing that could be in them by chance.
        folder = str(self.folder.absolute())
        return plan_from_manifests([folder], node=self.settings.node, families=self.settings.families)

    def made(self) -> Made:
        """Return what nftsvc makes of the case; InputError where nothing can be made of it, not even a refusal."""
        settings, problems = self.settings, list[Problem]()
        if not manifests_below(self.folder, problems) and not problems:
            raise InputError((Problem(f"no manifests (*{', *'.join(SUFFIXES)})"),))
        try:
            planned = self.planned()
        except InputError as error:
            problems = [self._within(one) for one in error.problems]
            return Made({ERRORS: _lines(problems)}, tuple(problems))
        except UsageError as error:
            raise InputError((Problem(str(error), SETTINGS if settings.node is not None else ""),)) from error
        ruleset = make_ruleset(planned.plan)
        files = {RULESET: renderer().ruleset(ruleset)}
        if planned.warnings:
            files[WARNINGS] = _lines(map(self._within, planned.warnings))
        return Made(files, planned=planned, ruleset=ruleset)

    def expected(self) -> dict[str, str]:
        """Return the expectation files as they are, by name; InputError for one that is no text."""
        files = (self.folder / name for name in EXPECTATIONS)
        try:
            return {file.name: file.read_text(encoding="utf-8") for file in files if file.exists()}
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise InputError((Problem(f"an expectation cannot be read: {reason}"),)) from error

    def _within(self, problem: Problem) -> Problem:
        """Return a problem that names files as from within the case."""
        top, origin = f"{self.folder.absolute()}/", problem.origin
        if origin is not None:
            origin = replace(origin, file=origin.file.removeprefix(top))
        return replace(problem, message=problem.message.replace(top, ""), origin=origin)

    def unknown_files(self) -> Iterator[str]:
        """Yield the files, as from within, that are nothing a case may hold, not hidden and not in `ignored`."""
        for file in sorted(self.folder.rglob("*")):
            within = file.relative_to(self.folder)
            hidden = any(part.startswith(".") for part in within.parts)
            if file.is_dir() or hidden or file.suffix in (*SUFFIXES, _FOR_PEOPLE) or str(within) in _KNOWN:
                continue
            if not any(fnmatchcase(within.as_posix(), one) for one in self.settings.ignored):
                yield within.as_posix()


def _lines(problems: Iterable[Problem]) -> str:
    return "".join(f"{problem}\n" for problem in problems)


@cache
def renderer() -> Renderer:
    """Return the one renderer of this process: compiling the templates takes longer than a small case."""
    return Renderer()
