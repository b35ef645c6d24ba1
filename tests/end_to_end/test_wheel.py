"""What people install: the wheel holds all that the program needs, and nothing that only a checkout has a use for."""

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from nftsvc import __version__
from tests.support.cases import EXAMPLES

ROOT = EXAMPLES.parent
CLASSIC = EXAMPLES / "100-my-service"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        folder,
        ROOT,
    ]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a virtual environment with the wheel in it; what it depends on is this environment's."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True, cwd=folder)
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    theirs = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    Path(site, "dependencies.pth").write_text("".join(f"{path}\n" for path in theirs))
    return folder / "bin"


def outside(installed: Path, program: str, *arguments: str | Path, cwd: Path) -> str:
    """Run a program of the new environment as if there were no checkout."""
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    command = [installed / program, *arguments]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_wheel_holds_every_template_and_the_demos_manifests_as_they_are(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        expected = {f"nftsvc/templates/{file.name}": file for file in (ROOT / "templates").iterdir()}
        expected |= {f"nftsvc/lab/manifests/{file.name}": file for file in (EXAMPLES / "500-demo").glob("*.yaml")}
        assert len(expected) > 5
        assert expected.keys() <= names
        for name, file in expected.items():
            assert archive.read(name) == file.read_bytes()


def test_wheel_holds_every_module(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        modules = {name for name in archive.namelist() if name.endswith(".py")}
    assert modules == {str(file.relative_to(ROOT)) for file in (ROOT / "nftsvc").rglob("*.py")}


def test_wheel_holds_nothing_but_the_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names} == {"nftsvc", f"nftsvc-{__version__}.dist-info"}
    for part in ("tests/", "/test_", "docs/", "__pycache__"):
        assert not [name for name in names if part in name]
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_installed_program_runs_from_the_wheel_and_renders_the_golden_ruleset(installed: Path, tmp_path: Path) -> None:
    where = outside(installed, "python", "-c", "import nftsvc; print(nftsvc.__file__)", cwd=tmp_path).strip()
    assert Path(where).is_relative_to(installed.parent)
    assert outside(installed, "nftsvc", "--version", cwd=tmp_path) == f"nftsvc {__version__}\n"
    text = outside(installed, "nftsvc", "render", "--family", "ipv4", CLASSIC, cwd=tmp_path)
    assert text == (CLASSIC / "ruleset.nft").read_text()


def test_installed_demo_has_its_manifests(installed: Path, tmp_path: Path) -> None:
    ask = "from nftsvc.demo import _own_manifests; print(_own_manifests())"
    found = Path(outside(installed, "python", "-c", ask, cwd=tmp_path).strip())
    assert found.is_relative_to(installed.parent)
    assert (found / "services.yaml").is_file()
