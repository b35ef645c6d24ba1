"""Short ways to lint: manifests in, findings out."""

from collections.abc import Iterable
from pathlib import Path

from nftsvc.decode import decode
from nftsvc.lint import Finding, Report, lint
from nftsvc.settings import settings_for
from nftsvc.sources.manifests import load
from nftsvc.state import State
from nftsvc.values import FAMILIES, Family
from tests.support.builders import Raw


def linted(*raws: Raw, node: str | None = None, overrides: Iterable[str] = ()) -> Report:
    """Lint manifests as Python values; those that cannot be decoded, too."""
    found = [decode(raw) for raw in raws]
    objects = [one.value for one in found if one.value is not None]
    problems = [problem for one in found for problem in one.problems]
    state = State.of(objects)
    return lint(objects, state, settings_for(state, node, overrides=tuple(overrides)), problems)


def linted_files(*paths: Path, node: str | None = None, families: tuple[Family, ...] = FAMILIES) -> Report:
    """Lint files and folders."""
    loaded = load([str(path) for path in paths])
    state = State.of(loaded.objects)
    settings = settings_for(state, node, families)
    return lint(loaded.objects, state, settings, loaded.problems, loaded.origins)


def codes(report: Report) -> list[str]:
    return [one.code for one in report.findings]


def only(report: Report, code: str) -> Finding:
    (finding,) = [one for one in report.findings if one.code == code]
    return finding
