"""The golden cases in examples/: what a folder holds, what nftsvc makes of it, what it should make of it."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nftsvc.errors import InputError, Problem
from nftsvc.pipeline import Planned, plan_from_manifests
from nftsvc.render import Renderer
from nftsvc.ruleset import Ruleset, make_ruleset
from nftsvc.values import FAMILIES, Family

EXAMPLES = Path(__file__).parents[2] / "examples"
EXPECTATIONS = ("ruleset.nft", "warnings.txt", "errors.txt")
KNOWN = (*EXPECTATIONS, "notes.md", "case.toml", "packets.toml")
MANIFESTS = (".yaml", ".yml", ".json")
_SETTINGS = {"node", "families", "ignored"}


@dataclass(frozen=True)
class Case:
    """One folder of examples/."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def settings(self) -> dict[str, object]:
        file = self.folder / "case.toml"
        settings = tomllib.loads(file.read_text()) if file.exists() else {}
        assert settings.keys() <= _SETTINGS, f"{file}: unknown settings {settings.keys() - _SETTINGS}"
        return settings

    @property
    def node(self) -> str | None:
        node = self.settings.get("node")
        assert node is None or isinstance(node, str)
        return node

    @property
    def families(self) -> tuple[Family, ...]:
        named = self.settings.get("families", list(FAMILIES))
        assert isinstance(named, list)
        return tuple(map(Family, named))

    @property
    def refused(self) -> bool:
        """Whether the case says that its input is bad."""
        return (self.folder / "errors.txt").exists()

    def planned(self) -> Planned:
        return plan_from_manifests([str(self.folder)], node=self.node, families=self.families)

    def ruleset(self) -> Ruleset:
        return make_ruleset(self.planned().plan)

    def outcome(self) -> dict[str, str]:
        """Return the expectation files as nftsvc would write them now, by name."""
        try:
            planned = self.planned()
        except InputError as error:
            return {"errors.txt": self._lines(error.problems)}
        made = {"ruleset.nft": Renderer().ruleset(make_ruleset(planned.plan))}
        return made | ({"warnings.txt": self._lines(planned.warnings)} if planned.warnings else {})

    def expected(self) -> dict[str, str]:
        """Return the expectation files as they are, by name."""
        files = (self.folder / name for name in EXPECTATIONS)
        return {file.name: file.read_text() for file in files if file.exists()}

    def _lines(self, problems: tuple[Problem, ...]) -> str:
        return "".join(f"{problem}\n" for problem in problems).replace(f"{self.folder}/", "")

    def unknown_files(self) -> Iterator[Path]:
        """Yield files that are neither manifests nor anything else a case may hold, hidden, or in `ignored`."""
        ignored = self.settings.get("ignored", [])
        assert isinstance(ignored, list)
        for file in sorted(self.folder.rglob("*")):
            parts = file.relative_to(self.folder).parts
            hidden = any(part.startswith(".") for part in parts)
            known = file.is_dir() or file.suffix in MANIFESTS or hidden or "/".join(parts) in ignored
            if not known and not (len(parts) == 1 and parts[0] in KNOWN):
                yield file

    @property
    def title(self) -> str:
        return (self.folder / "notes.md").read_text().splitlines()[0].removeprefix("# ")


def all_cases() -> tuple[Case, ...]:
    return tuple(Case(folder) for folder in sorted(EXAMPLES.iterdir()) if folder.is_dir() and folder.name[0].isdigit())
