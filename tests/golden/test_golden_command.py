"""`make golden`: writes what nftsvc says now, and refuses what the kernel refuses."""

import shutil
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from nftsvc.render import Renderer
from tests.support.cases import EXAMPLES, Case

ROOT = EXAMPLES.parent


@pytest.fixture
def command() -> ModuleType:
    loader = SourceFileLoader("golden_command", str(ROOT / "scripts" / "golden"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(Path(shutil.copytree(EXAMPLES / "100-my-service", tmp_path / "100-my-service")))


def test_changed_manifest_gives_a_changed_expectation(command: ModuleType, case: Case) -> None:
    manifest = case.folder / "my-service.yaml"
    manifest.write_text(manifest.read_text().replace("10.96.0.100", "10.96.0.101"))
    assert command.update(case)
    assert "10.96.0.101" in (case.folder / "ruleset.nft").read_text()
    assert case.outcome() == case.expected()


def test_case_that_turns_bad_loses_its_ruleset(command: ModuleType, case: Case) -> None:
    (case.folder / "my-service.yaml").write_text("apiVersion: v1\nkind: Service\nmetadata: {name: Web}\n")
    assert command.update(case)
    assert case.refused
    assert not (case.folder / "ruleset.nft").exists()


def test_ruleset_that_the_kernel_refuses_is_not_written(
    command: ModuleType, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    templates = tmp_path / "templates"
    templates.mkdir()
    objects = (ROOT / "templates" / "objects.nft.j2").read_text()
    (templates / "objects.nft.j2").write_text(objects.replace("{{ rule.text }}", "{{ rule.text }} bogus"))
    monkeypatch.setattr(command, "Renderer", lambda: Renderer(templates))
    before = case.expected()
    (case.folder / "my-service.yaml").write_text("---\n" + (case.folder / "my-service.yaml").read_text())
    assert not command.update(case)
    assert case.expected() == before
    assert "100-my-service: not written: chain layout: the kernel refused" in capsys.readouterr().err
