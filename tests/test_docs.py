"""What README and docs say is so: commands print what they are shown to print, names exist, options are described."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nftsvc.errors import ExitCode
from tests.support.cases import all_cases

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = ("render", "check", "explain", "diff", "lint", "golden", "run", "apply", "clean", "demo", "config")
SUBCOMMANDS = {"config": ("explain",), "golden": ("check", "update", "new")}


def shown(text: str) -> list[tuple[str, str]]:
    """Return every command in a console block, with the output that is shown for it."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    return [
        tuple(part.partition("\n")[::2])
        for block in blocks
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]


@pytest.mark.parametrize(("command", "output"), shown(README), ids=lambda value: value[:40])
def test_command_in_the_readme_prints_what_is_shown(command: str, output: str) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.stdout == output


def test_readme_shows_commands() -> None:
    assert len(shown(README)) >= 5


def run_help(*command: str) -> str:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "nftsvc", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout


def test_readme_lists_every_command_and_exit_code() -> None:
    listed = re.findall(r"^│ ([a-z]+) ", run_help(), re.MULTILINE)
    assert tuple(listed) == COMMANDS
    for command in COMMANDS:
        assert re.search(rf"^\| `nftsvc {command}\b", README, re.MULTILINE)
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)] == list(ExitCode)


@pytest.mark.parametrize("command", COMMANDS)
def test_options_named_in_the_readme_exist(command: str) -> None:
    text = "".join(run_help(command, *one) for one in [(), *((one,) for one in SUBCOMMANDS.get(command, ()))])
    for line in README.splitlines():
        if f"nftsvc {command}" in line:
            for option in re.findall(r"--[a-z-]+", line):
                assert option in text + run_help()


def test_readme_counts_the_cases() -> None:
    (number,) = re.findall(r"(\d+)\s+folders of manifests", README)
    assert int(number) == len(all_cases())


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"(?:^    |`)make ([a-z]+)\b", README, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_ci_runs_the_readmes_test_command() -> None:
    assert "make test" in README
    assert "\nmake test\n" in (ROOT / ".ci" / "run").read_text()


def test_architecture_names_every_module_once() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)
    files = {path.stem for path in (ROOT / "nftsvc").glob("*.py") if not path.stem.startswith("__")}
    folders = {path.parent.name for path in (ROOT / "nftsvc").glob("*/__init__.py")}
    assert sorted(named) == sorted(files | folders)


def test_architecture_has_the_layers_that_are_enforced() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    contracts = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE)
    layers = re.search(r"^layers = \[(.*?)\]", contracts, re.DOTALL | re.MULTILINE)
    assert layers is not None
    order = [name for layer in re.findall(r'"([^"]+)"', layers[1]) for name in layer.split(" | ")]
    assert named == order


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.stem)
def test_tests_named_in_the_docs_exist(document: Path) -> None:
    for file, test in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", document.read_text()):
        assert f"\ndef {test}(" in (ROOT / file).read_text(), f"{file}::{test}"


def test_what_we_learned_about_the_kernel_is_tested() -> None:
    text = (ROOT / "docs" / "kernel.md").read_text().partition("## What we learned")[2]
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    for row in rows:
        assert re.search(r"`tests/[\w/]+\.py::\w+` \|$", row), row


def test_anchors_lead_to_headings() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", document.read_text()):
            text = ((document.parent / target) if target else document).read_text()
            headings = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
            assert anchor in {_anchor(one) for one in headings}, f"{document}: {target}#{anchor}"


def _anchor(heading: str) -> str:
    """Return what a heading is linked by, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document}: {target}"
