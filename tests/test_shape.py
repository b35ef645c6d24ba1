"""What no linter says about the code: modules and functions stay small, templates are all used, nothing is skipped."""

import ast
import re
from pathlib import Path

import pytest

import nftsvc.changes

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "nftsvc").rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_module_and_its_functions_are_small(module: Path) -> None:
    text = module.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert (node.end_lineno or 0) - node.lineno < 50, f"{node.name} is too long"


def test_no_test_can_be_skipped() -> None:
    for file in (ROOT / "tests").rglob("*.py"):
        words = re.findall(r"pytest\.(?:mark\.)?(?:skip|skipif|xfail|importorskip)\b", file.read_text())
        assert not words or file == Path(__file__), file


def test_every_operation_has_a_macro_and_every_macro_an_operation() -> None:
    template = (ROOT / "templates" / "operations.nft.j2").read_text()
    macros = set(re.findall(r"macro ([A-Z]\w+)\(", template))
    operations = {kind.__name__ for kind in nftsvc.changes.Operation.__args__}
    assert macros == operations
