"""A new case out of manifests."""

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nftsvc.errors import KernelError, UsageError
from nftsvc.golden.case import SETTINGS, Case
from nftsvc.golden.files import replace_text
from nftsvc.golden.kernel import Verdict, verdict_on
from nftsvc.golden.slimming import manifests
from nftsvc.golden.updating import write_expectations
from nftsvc.objects import KubernetesObject, Node, NodeConfiguration
from nftsvc.pipeline import Planned, plan_from_manifests
from nftsvc.values import FAMILIES, Family

_MANIFESTS, _NODE = "manifests.yaml", "node.yaml"


@dataclass(frozen=True, slots=True)
class NewCase:
    """A case that was made: its files, the plan it came from, the kinds that were left out, what the kernel said."""

    folder: Path
    files: tuple[str, ...]
    planned: Planned
    kernel: Verdict

    @property
    def left_out(self) -> Mapping[str, int]:
        """How many objects of which kinds the input had that nftsvc does not read."""
        return self.planned.loaded.skipped


def new_case(
    folder: Path,
    sources: Sequence[str],
    stdin: BinaryIO | None = None,
    node: str | None = None,
    families: Collection[Family] = FAMILIES,
) -> NewCase:
    """Make a case out of manifests; the folder must be empty or new. It is there as a whole or not at all.

    Only what nftsvc reads is written. Raises InputError for bad manifests, UsageError for a folder that cannot be had
    or a node that the input does not have, KernelError for a ruleset that the kernel does not take.
    """
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise UsageError(f"{folder}: already there, and not an empty folder")
    planned = plan_from_manifests(sources, stdin, node, families)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".golden.") as scratch:
            made = Path(scratch) / "case"
            made.mkdir()
            verdict = _fill(made, _files(planned.loaded.objects, node, families))
            files = tuple(sorted(one.name for one in made.iterdir()))
            if folder.exists():  # perhaps somebody's working directory
                for name in files:
                    (made / name).replace(folder / name)
            else:
                made.replace(folder)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {error.strerror}") from error
    return NewCase(folder, files, planned, verdict)


def _files(objects: Sequence[KubernetesObject], node: str | None, families: Collection[Family]) -> dict[str, str]:
    about_node = [one for one in objects if isinstance(one, (Node, NodeConfiguration))]
    others = [one for one in objects if not isinstance(one, (Node, NodeConfiguration))]
    settings = [f"node = {json.dumps(node)}\n"] * (node is not None)
    if set(families) != set(FAMILIES):
        settings.append(f"families = {json.dumps(sorted(families))}\n")
    files = {_MANIFESTS: manifests(others), _NODE: manifests(about_node), SETTINGS: "".join(settings)}
    return {name: text for name, text in files.items() if text}


def _fill(folder: Path, files: Mapping[str, str]) -> Verdict:
    """Write a case's own files and what is expected of it."""
    for name, text in files.items():
        replace_text(folder / name, text)
    case = Case(folder)
    made = case.made()
    verdict = verdict_on(made.ruleset)
    if verdict.refused:
        raise KernelError(verdict.refused)
    write_expectations(case, made, {})
    return verdict
