"""`make golden`: what it does besides `nftsvc golden update examples`, whose tests are beside those of the command."""

import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import ModuleType

import pytest

from tests.support.cases import EXAMPLES, all_cases

ROOT = EXAMPLES.parent


@pytest.fixture
def script() -> ModuleType:
    loader = SourceFileLoader("golden_script", str(ROOT / "scripts" / "golden"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_table_is_written_again_and_nothing_else(script: ModuleType) -> None:
    readme, cases = (EXAMPLES / "README.md").read_text(), all_cases()
    without = script.with_table(readme, cases[1:])
    assert f"[{cases[0].name}]" in readme
    assert f"[{cases[0].name}]" not in without
    assert script.with_table(without, cases) == readme


def test_make_golden_updates_and_writes_the_table() -> None:
    target = re.search(r"^golden:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target is not None
    commands = [line.lstrip("\t@") for line in target[1].splitlines()]
    assert commands[:2] == [".venv/bin/nftsvc golden update examples", ".venv/bin/python scripts/golden"]
