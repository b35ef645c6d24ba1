"""docs/golden.md does what it says, with the wheel that people install, in an empty git repository."""

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

from nftsvc.golden import CaseSettings
from tests.support.cases import EXAMPLES

ROOT = EXAMPLES.parent
TEXT = (ROOT / "docs" / "golden.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\S+/\S+)\n")
END = "--- end of a command ---"


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a virtual environment with the wheel in it; what it depends on is this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "--quiet"]
    build = [*pip, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "venv", with_pip=False)
    python = folder / "venv" / "bin" / "python"
    install = [*pip, "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True, cwd=folder)
    ask = [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
    site = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
    theirs = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    Path(site, "dependencies.pth").write_text("".join(f"{path}\n" for path in theirs))
    return python.parent


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty git repository."""
    subprocess.run(["git", "-c", "init.defaultBranch=main", "init", "--quiet", tmp_path], check=True)
    return tmp_path


def environment(programs: Path) -> dict[str, str]:
    """Return the environment of somebody at a keyboard, who has no checkout of nftsvc."""
    left_out = ("PYTHONPATH", "VIRTUAL_ENV", "CI", "NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS")
    kept = {
        name: value for name, value in os.environ.items() if name not in left_out and not name.startswith("PYTEST_")
    }
    who = {f"GIT_{role}_{what}": "me@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return {**kept, **who, "GIT_CONFIG_GLOBAL": os.devnull, "PATH": f"{programs}:{os.environ['PATH']}"}


def shown(block: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown for it."""
    parts = re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (part.partition("\n") for part in parts)]


def outputs(commands: list[str], repository: Path, programs: Path) -> list[str]:
    """Run commands in one shell; return what each prints."""
    script = "".join(f"{command}\n__code=$?; echo '{END}'; (exit $__code)\n" for command in commands)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=repository,
        env=environment(programs),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout.split(f"{END}\n")[:-1]


def test_every_command_prints_what_is_shown(repository: Path, programs: Path) -> None:
    where = outputs(["cd / && python -c 'import nftsvc; print(nftsvc.__file__)'"], repository, programs)
    assert Path(where[0]).is_relative_to(programs.parent)
    for language, block in BLOCKS:
        file = FILE.match(block)
        if file is not None:
            (repository / file[1]).parent.mkdir(parents=True, exist_ok=True)
            (repository / file[1]).write_text(block)
        elif language == "console":
            commands = shown(block)
            assert outputs([command for command, _ in commands], repository, programs) == [
                output for _, output in commands
            ]


def test_it_shows_the_way_from_new_over_a_failure_to_green() -> None:
    commands = [command for language, block in BLOCKS if language == "console" for command, _ in shown(block)]
    ours = [" ".join(one.split()[1:3]) for one in commands if one.startswith("nftsvc ")]
    assert ours[:5] == ["golden new", "golden check", "golden check", "golden update", "golden check"]
    assert "\nexit code 1\n" in TEXT


def test_settings_that_are_shown_are_settings(tmp_path: Path) -> None:
    (block,) = (block for language, block in BLOCKS if language == "toml" and "families" in block)
    (tmp_path / "case.toml").write_text(block)
    settings = CaseSettings.read(tmp_path)
    assert {name: list(value) if isinstance(value, tuple) else value for name, value in vars_of(settings).items()} == (
        tomllib.loads(block)
    )


def vars_of(settings: CaseSettings) -> dict[str, object]:
    return {name: getattr(settings, name) for name in ("node", "families", "ignored", "local")}


def test_files_are_those_that_a_case_may_hold() -> None:
    names = re.findall(r"^\| `([a-z*]+\.\w+)`", TEXT, re.MULTILINE)
    assert names == [
        "*.yaml",
        "node.yaml",
        "ruleset.nft",
        "warnings.txt",
        "errors.txt",
        "case.toml",
        "packets.toml",
        "*.md",
    ]


def test_packets_are_described_as_in_our_examples() -> None:
    ours = (EXAMPLES / "README.md").read_text()
    keys = re.compile(r"^\| `(note|from|to|expect|endpoints|masquerade|affinity|interface)` \|", re.MULTILINE)
    assert keys.findall(TEXT) == keys.findall(ours)
    assert len(keys.findall(TEXT)) == 8
