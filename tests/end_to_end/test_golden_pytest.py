"""Golden cases as tests of somebody else's pytest, by the entry point alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cases import made_case, write_shop

Done = subprocess.CompletedProcess[str]


def run(*arguments: str, cwd: Path) -> Done:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PY_COLORS"))}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", *arguments]
    env = {**kept, "COLUMNS": "120", "NO_COLOR": "1"}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=env)


def results(done: Done) -> dict[str, str]:
    """Return how each test ended, by its id."""
    return dict(re.findall(r"^(\S+) (PASSED|FAILED|ERROR)", done.stdout, re.MULTILINE))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two cases, of which one is not as expected, and a test."""
    write_shop(made_case(tmp_path / "golden" / "shop").folder, 1)
    made_case(tmp_path / "golden" / "deep" / "other")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_own.py").write_text("def test_own():\n    assert True\n")
    return tmp_path


def test_each_case_is_a_test_beside_the_others(repository: Path) -> None:
    done = run("-v", "--nftsvc-golden", "golden", cwd=repository)
    assert done.returncode == 1
    assert results(done) == {
        "test_own.py::test_own": "PASSED",
        "nftsvc-golden::golden/deep/other": "PASSED",
        "nftsvc-golden::golden/shop": "FAILED",
    }


def test_failure_reads_as_a_check_does_and_has_no_traceback(repository: Path) -> None:
    done = run("--nftsvc-golden", "golden", cwd=repository)
    check = [sys.executable, "-m", "nftsvc", "golden", "check", "golden/shop"]
    checked = subprocess.run(check, cwd=repository, capture_output=True, text=True, check=False)
    *words, _summary = checked.stdout.splitlines()
    assert words[0] == "differs: golden/shop: 1 Service changed, 0 added, 0 removed; 0 unchanged"
    assert "\n".join(words) in done.stdout
    assert "Traceback" not in done.stdout
    assert "pytest_plugin.py" not in done.stdout
    assert "_ golden golden/shop _" in done.stdout


def test_workers_share_the_cases(repository: Path) -> None:
    for number in range(6):
        made_case(repository / "golden" / f"more-{number}")
    done = run("-v", "-n", "2", "--nftsvc-golden", "golden", cwd=repository)
    assert done.returncode == 1
    assert re.search(r"1 failed, 8 passed", done.stdout)
    assert len(set(re.findall(r"\[gw(\d)\]", done.stdout))) == 2


def test_options_that_choose_tests_choose_cases(repository: Path) -> None:
    assert results(run("-v", "--nftsvc-golden", "golden", "-k", "other", cwd=repository)) == {
        "nftsvc-golden::golden/deep/other": "PASSED"
    }
    listed = run("--collect-only", "-q", "--nftsvc-golden", "golden", cwd=repository).stdout
    assert listed.splitlines()[:3] == [
        "test_own.py::test_own",
        "nftsvc-golden::golden/deep/other",
        "nftsvc-golden::golden/shop",
    ]


def test_folders_add_up_and_no_case_is_there_twice(repository: Path) -> None:
    options = ("--nftsvc-golden", "golden/shop", "--nftsvc-golden", "golden")
    assert len(results(run("-v", *options, cwd=repository))) == 3


def test_cases_alone_are_enough(repository: Path) -> None:
    (repository / "test_own.py").unlink()
    assert run("--nftsvc-golden", "golden/deep", cwd=repository).returncode == 0


def test_option_may_be_in_the_configuration(repository: Path) -> None:
    (repository / "pytest.ini").write_text("[pytest]\naddopts = --nftsvc-golden golden/deep\n")
    (repository / "tests").mkdir()
    done = run("-v", "..", cwd=repository / "tests")
    assert done.returncode == 0, done.stdout
    assert "../golden/deep/other PASSED" in done.stdout


@pytest.mark.parametrize(("folder", "complaint"), [("nowhere", "no such folder"), ("empty", "no golden case in there")])
def test_folder_without_cases_is_wrong_usage(repository: Path, folder: str, complaint: str) -> None:
    (repository / "empty").mkdir()
    done = run("--nftsvc-golden", folder, cwd=repository)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert complaint in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_without_the_option_nothing_is_imported(repository: Path) -> None:
    (repository / "test_own.py").write_text(
        "import sys\n\n\ndef test_own():\n"
        '    ours = {one for one in sys.modules if one.split(".")[0] in ("nftsvc", "msgspec", "yaml", "jinja2")}\n'
        '    assert ours == {"nftsvc", "nftsvc.pytest_plugin"}\n'
    )
    done = run(cwd=repository)
    assert done.returncode == 0, done.stdout
