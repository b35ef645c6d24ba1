"""`nftsvc golden` as people and CI systems run it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.support.cases import EXAMPLES, made_case, write_shop

Done = subprocess.CompletedProcess[str]

PROGRAM = (sys.executable, "-m", "nftsvc", "golden")
# A user namespace in which nobody can make a network namespace; nothing outside it is touched.
NO_NAMESPACES = (
    "unshare",
    "--user",
    "--map-root-user",
    "sh",
    "-c",
    'echo 0 > /proc/sys/user/max_net_namespaces && exec "$@"',
)
_DECIDING = ("CI", "NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS")


def run(*arguments: str | Path, cwd: Path, stdin: str = "", kernel: bool = True, **environment: str) -> Done:
    kept = {name: value for name, value in os.environ.items() if name not in _DECIDING}
    command = [*(() if kernel else (*NO_NAMESPACES, "sh")), *PROGRAM, *map(str, arguments)]
    env = {**kept, "COLUMNS": "120", "PYTHONPATH": str(EXAMPLES.parent), **environment}
    return subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, text=True, check=False, env=env)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with the cases golden/shop and golden/other, both as expected."""
    made_case(tmp_path / "golden" / "shop")
    made_case(tmp_path / "golden" / "other", 1)
    return tmp_path


# check ---------------------------------------------------------------------------------------------------------------


def test_all_as_expected(repository: Path) -> None:
    for arguments in ((), ("golden",), ("golden/shop", "golden/other"), ("golden", "--jobs", "2")):
        done = run("check", *arguments, cwd=repository)
        assert (done.returncode, done.stdout, done.stderr) == (0, "2 cases: 2 as expected\n", "")


def test_our_examples_are_cases_like_any_other() -> None:
    done = run("check", "examples", cwd=EXAMPLES.parent)
    assert (done.returncode, done.stderr) == (0, "")
    numbered = [one for one in EXAMPLES.iterdir() if one.name[:3].isdecimal()]
    assert done.stdout.splitlines()[-1] == f"{len(numbered)} cases: {len(numbered)} as expected"


def test_difference_is_told_and_exits_with_1(repository: Path) -> None:
    write_shop(repository / "golden" / "shop", 1)
    done = run("check", "golden", cwd=repository)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0] == "differs: golden/shop: 1 Service changed, 0 added, 0 removed; 0 unchanged"
    assert "    - 10.244.1.2:8080  share 50 %" in lines
    assert "-            10.96.7.1 . 80 . 1 : 10.244.1.2 . 8080" in lines
    assert lines[-2:] == ["  if that is right: nftsvc golden update golden/shop", "2 cases: 1 as expected, 1 differs"]


def test_bad_case_exits_with_3_and_the_others_are_checked(repository: Path) -> None:
    write_shop(repository / "golden" / "shop", 1)
    (repository / "golden" / "other" / "bad.yaml").write_text("kind: [")
    done = run("check", cwd=repository)
    assert done.returncode == 3
    assert done.stdout.startswith("error: golden/other: bad.yaml #1: not YAML: line 2, column 1: ")
    assert done.stdout.endswith("\n2 cases: 0 as expected, 1 differs, 1 error\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nowhere",), "'nowhere' does not exist"),
        (("golden/shop/web.json",), "is a file"),
        (("empty",), "empty: no golden case in there"),
        (("--kernel=perhaps",), "'perhaps' is not one of"),
        (("-o", "xml"), "'xml' is not one of"),
        (("--jobs=-1",), "'--jobs'"),
    ],
)
def test_wrong_usage_exits_with_2(repository: Path, arguments: tuple[str, ...], complaint: str) -> None:
    (repository / "empty").mkdir()
    done = run("check", *arguments, cwd=repository)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert done.stdout == ""


def test_formats_go_to_standard_output_and_the_summary_to_standard_error(repository: Path) -> None:
    write_shop(repository / "golden" / "shop", 1)
    summary = "2 cases: 1 as expected, 1 differs"
    done = {name: run("check", "-o", name, cwd=repository) for name in ("json", "markdown", "github", "junit")}
    assert {one.returncode for one in done.values()} == {1}
    assert json.loads(done["json"].stdout)["summary"]["text"] == summary
    assert done["markdown"].stdout.startswith(f"**{summary}**\n")
    assert done["github"].stdout.startswith("::error file=golden/shop/ruleset.nft,")
    assert ET.fromstring(done["junit"].stdout).get("failures") == "1"  # noqa: S314 - our own
    assert {one.stderr for name, one in done.items() if name != "github"} == {f"{summary}\n"}
    assert done["github"].stdout.splitlines()[-1] == summary


def test_colour_is_for_terminals_or_as_asked_for(repository: Path) -> None:
    write_shop(repository / "golden" / "shop", 1)
    assert "\x1b" not in run("check", cwd=repository).stdout
    assert "\x1b[31m" in run("check", "--color=always", cwd=repository).stdout
    assert "\x1b" not in run("check", "--color=never", cwd=repository, FORCE_COLOR="1").stdout


# The kernel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--kernel", "--kernel=try", "--kernel=require"])
def test_real_kernel_is_asked(repository: Path, option: str) -> None:
    done = run("check", option, "golden", cwd=repository)
    assert (done.returncode, done.stdout) == (0, "2 cases: 2 as expected; the kernel takes 2\n")


def test_where_no_kernel_can_be_asked_try_says_so(repository: Path) -> None:
    done = run("check", "--kernel", "golden", cwd=repository, kernel=False)
    assert done.returncode == 0
    note, *_, summary = done.stdout.splitlines()
    assert note.startswith("note: no kernel was asked: cannot make a private network namespace")
    assert summary.startswith("2 cases: 2 as expected; the kernel was not asked about 2: cannot make a private network")


def test_where_no_kernel_can_be_asked_require_fails(repository: Path) -> None:
    done = run("check", "golden", "--kernel=require", cwd=repository, kernel=False)
    assert done.returncode == 4
    assert done.stdout.startswith("error: no kernel was asked: cannot make a private network namespace")


def test_without_the_option_no_kernel_is_needed(repository: Path) -> None:
    done = run("check", "golden", cwd=repository, kernel=False)
    assert (done.returncode, done.stdout) == (0, "2 cases: 2 as expected\n")


def test_update_says_that_no_kernel_was_asked(repository: Path) -> None:
    write_shop(repository / "golden" / "shop", 1)
    done = run("update", "golden", cwd=repository, kernel=False)
    assert done.returncode == 0
    assert done.stdout.startswith(
        "wrote: golden/shop: ruleset.nft\nnote: no kernel was asked whether it takes what was written: cannot make"
    )


# update --------------------------------------------------------------------------------------------------------------


def test_update_agrees(repository: Path) -> None:
    write_shop(repository / "golden" / "shop", 1)
    done = run("update", cwd=repository)
    assert (done.returncode, done.stdout) == (
        0,
        "wrote: golden/shop: ruleset.nft\n2 cases: 1 written, 1 as before\n",
    )
    assert run("check", cwd=repository).returncode == 0


def test_update_makes_a_named_folder_a_case(repository: Path) -> None:
    write_shop(repository / "golden" / "new")
    assert "the Services in golden/new; " in run("check", cwd=repository).stdout
    assert run("update", "golden/new", cwd=repository).stdout.startswith("wrote: golden/new: ruleset.nft\n")
    assert run("check", cwd=repository).stdout == "3 cases: 3 as expected\n"


def test_update_of_nothing_in_particular_makes_no_case(tmp_path: Path) -> None:
    write_shop(tmp_path / "manifests")
    done = run("update", cwd=tmp_path)
    assert done.returncode == 2
    assert sorted(one.name for one in (tmp_path / "manifests").iterdir()) == ["web.json"]


@pytest.mark.parametrize("value", ["true", "1", "woodpecker"])
def test_update_does_nothing_in_ci(repository: Path, value: str) -> None:
    write_shop(repository / "golden" / "shop", 1)
    before = (repository / "golden" / "shop" / "ruleset.nft").read_text()
    done = run("update", cwd=repository, CI=value)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: CI={value}: golden update does not run in CI, ")
    assert (repository / "golden" / "shop" / "ruleset.nft").read_text() == before
    assert run("check", cwd=repository, CI=value).returncode == 1


def test_update_exits_with_1_where_a_check_still_fails(repository: Path) -> None:
    text = '[[packet]]\nfrom = "10.0.0.1"\nto = "10.96.7.1:80"\nexpect = "drop"\n'
    (repository / "golden" / "shop" / "packets.toml").write_text(text)
    done = run("update", cwd=repository)
    assert done.returncode == 1
    assert "10.0.0.1 -> 10.96.7.1:80/TCP: forward instead of drop\n" in done.stdout


# new -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{}, {"CI": "true"}])
def test_new_case_from_what_kubectl_prints(tmp_path: Path, environment: dict[str, str]) -> None:
    text = (write_shop(tmp_path / "shop") / "web.json").read_text()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"p": "aHVudGVyMg=="}}
    items = [*json.loads(text)["items"], secret]
    listed = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    done = run("new", "golden/shop", "-", cwd=tmp_path, stdin=listed, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "left out: 1 Secret: no kind that nftsvc reads",
        "made: golden/shop: manifests.yaml, ruleset.nft",
        "next: read golden/shop/ruleset.nft, git add golden/shop",
        "in CI: nftsvc golden check golden/shop",
    ]
    assert run("check", "golden", cwd=tmp_path).returncode == 0


def test_new_case_for_a_node_and_a_family(tmp_path: Path) -> None:
    write_shop(tmp_path / "shop")
    node = '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}'
    done = run("new", "case", "shop", "-", "--node", "a", "--family", "ipv4", cwd=tmp_path, stdin=node)
    assert "made: case: case.toml, manifests.yaml, node.yaml, ruleset.nft\n" in done.stdout
    done = run("new", "case2", "shop", "-", "--node", "b", cwd=tmp_path, stdin=node)
    assert done.returncode == 2
    assert not (tmp_path / "case2").exists()


def test_new_case_from_bad_manifests_exits_with_3(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("kind: [")
    done = run("new", "case", "bad.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "bad.yaml #1: not YAML" in done.stderr


def test_help_teaches() -> None:
    for command in ((), ("check",), ("update",), ("new",)):
        done = run(*command, "--help", cwd=EXAMPLES)
        assert done.returncode == 0
        assert "nftsvc golden " in done.stdout.partition("\n")[2]
        assert "Exit codes" in done.stdout
