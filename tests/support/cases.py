"""The golden cases in examples/ as our tests see them: those of `nftsvc.golden`, with short names."""

import json
from pathlib import Path

from nftsvc import golden
from nftsvc.golden import EXPECTATIONS, find_cases
from nftsvc.ruleset import Ruleset
from nftsvc.values import Family
from tests.support.builders import endpoint_slice, service

EXAMPLES = Path(__file__).parents[2] / "examples"

__all__ = ["EXAMPLES", "EXPECTATIONS", "Case", "all_cases", "made_case", "write_shop"]


class Case(golden.Case):
    """One folder of examples/."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def node(self) -> str | None:
        return self.settings.node

    @property
    def families(self) -> tuple[Family, ...]:
        return self.settings.families

    def ruleset(self) -> Ruleset:
        return self.made().ruleset

    def outcome(self) -> dict[str, str]:
        """Return the expectation files as nftsvc would write them now, by name."""
        return dict(self.made().files)

    @property
    def title(self) -> str:
        return (self.folder / "notes.md").read_text().splitlines()[0].removeprefix("# ")


def all_cases() -> tuple[Case, ...]:
    return tuple(Case(one.folder) for one in find_cases([EXAMPLES]).cases)


def write_shop(folder: Path, endpoints: int = 2, address: str = "10.96.7.1") -> Path:
    """Write manifests into a folder, made if need be: Service shop/web with so many endpoints, in one family."""
    folder.mkdir(parents=True, exist_ok=True)
    raws = [service("web", [address], [{"name": "http", "port": 80}], type="ClusterIP")]
    if endpoints:
        addresses = [f"10.244.1.{number}" for number in range(1, endpoints + 1)]
        raws.append(endpoint_slice("web", addresses, [{"name": "http", "port": 8080}]))
    (folder / "web.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": raws}))
    return folder


def made_case(folder: Path, endpoints: int = 2) -> golden.Case:
    """Return a case of these manifests that is as expected; no kernel is asked."""
    case = golden.Case(write_shop(folder, endpoints))
    for name, text in case.made().files.items():
        (folder / name).write_text(text)
    return case
