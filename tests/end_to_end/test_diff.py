"""`nftsvc diff` as people and their CI run it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nftsvc.comparison import Fact
from nftsvc.lab import Namespace, namespaces
from nftsvc.sides.sources import LARGE
from tests.end_to_end.test_cli import PROGRAM, environment, inside, nft, on_terminal, run, write
from tests.support.builders import endpoint_slice, service
from tests.support.cases import EXAMPLES
from tests.test_docs import shown

ROOT = EXAMPLES.parent
DOCUMENT = ROOT / "docs" / "diff.md"
OLD, NEW = EXAMPLES / "100-my-service", EXAMPLES / "110-pod-unready"
BRIDGE = EXAMPLES / "450-masquerade-bridge"
BAD = EXAMPLES / "900-bad-ports"
SUMMARY = "1 Service changed, 0 added, 0 removed; 0 unchanged"
LINES = [
    "default/my-service 10.96.0.100:80/TCP",
    "  ~ 10.244.1.11:9376  share 33 % -> 50 %",
    "  ~ 10.244.1.13:9376  share 33 % -> 50 %",
    "  - 10.244.2.12:9376  share 33 %",
]


def web(*endpoints: str) -> list[dict[str, Any]]:
    return [
        service("web", ["10.96.0.1"], [{"name": "http", "port": 80}]),
        endpoint_slice("web", endpoints, [{"name": "http", "port": 8080}]),
    ]


# The documentation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "block", re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL), ids=lambda text: text[:40]
)
def test_commands_in_the_documentation_print_what_is_shown(block: str, tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(EXAMPLES)
    env = environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    commands = shown(f"```console\n{block}```")
    assert commands
    for command, output in commands:
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.stdout == output, command


def test_the_documentation_has_every_key_and_fact_of_the_json(tmp_path: Path) -> None:
    text = DOCUMENT.read_text().partition("The keys of the JSON:")[2].partition("## ")[0]
    made = json.loads(run("diff", OLD, NEW, "-o", "json", cwd=tmp_path).stdout)
    assert [f"`{key}" in text for key in made] == [True] * len(made)
    (change,) = made["changes"]
    parts = (change, change["ports"][0], change["ports"][0]["frontends"][0], change["ports"][0]["changes"][0])
    for key in {key for part in (*parts, parts[-1]["old"]) for key in part}:
        assert f"`{key}`" in text, key
    for fact in Fact:
        assert f"`{fact.value}`" in text, fact


# Sides ----------------------------------------------------------------------------------------------------------------


def test_two_folders(tmp_path: Path) -> None:
    done = run("diff", OLD, NEW, cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (1, [SUMMARY, "", *LINES])
    same = run("diff", OLD, OLD, cwd=tmp_path)
    assert (same.returncode, same.stdout) == (0, "0 Services changed, 0 added, 0 removed; 1 unchanged\n")


@pytest.mark.parametrize("side", [0, 1])
def test_either_side_may_be_standard_input(side: int, tmp_path: Path) -> None:
    paths: list[Path | str] = [write(tmp_path / "old.json", *web("10.244.1.5")), write(tmp_path / "new.json")]
    write(tmp_path / "new.json", *web("10.244.1.6"))
    text = Path(paths[side]).read_text()
    expected = run("diff", *paths, cwd=tmp_path)
    paths[side] = "-"
    assert run("diff", *paths, cwd=tmp_path, stdin=text).stdout == expected.stdout
    assert expected.returncode == 1


def test_rulesets_are_sides_like_others(tmp_path: Path) -> None:
    old, new = OLD / "ruleset.nft", NEW / "ruleset.nft"
    for arguments in ((old, new), (old, NEW), (OLD, new), (NEW, "--against", old)):
        done = run("diff", "-f", "ipv4", *arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout.splitlines()) == (1, [SUMMARY, "", *LINES]), arguments
    assert run("diff", OLD, "--against", old, cwd=tmp_path).returncode == 0


def test_a_ruleset_may_come_through_standard_input(tmp_path: Path) -> None:
    done = run("diff", NEW, "--against", "-", cwd=tmp_path, stdin=(OLD / "ruleset.nft").read_text())
    assert (done.returncode, done.stdout.splitlines()[2:]) == (1, LINES)


def test_several_paths_make_up_the_new_side(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{number}.json", raw) for number, raw in enumerate(web("10.244.1.5"))]
    ruleset = run("render", *files, cwd=tmp_path).stdout
    (tmp_path / "golden.nft").write_text(ruleset)
    assert run("diff", *files, "--against", "golden.nft", cwd=tmp_path).returncode == 0


def test_the_node_and_its_settings_hold_for_both_sides(tmp_path: Path) -> None:
    folders = [EXAMPLES / "301-internal-local-elsewhere"] * 2
    assert run("diff", *folders, "--set", "masqueradeAll=true", cwd=tmp_path).returncode == 0
    done = run("diff", *folders, "--node", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "the old side" in done.stderr


def test_a_family_is_left_out_of_both_sides(tmp_path: Path) -> None:
    text = run("render", EXAMPLES / "600-dual-stack", cwd=tmp_path).stdout
    (tmp_path / "both.nft").write_text(text)
    assert run("diff", EXAMPLES / "600-dual-stack", "-f", "ipv6", "--against", "both.nft", cwd=tmp_path).returncode == 0


def test_large_sides_are_read_at_once_with_the_same_outcome(tmp_path: Path) -> None:
    """As many manifests as make a second process worth its while."""
    for name, endpoint in (("old", "10.244.1.5"), ("new", "10.244.1.6")):
        folder = tmp_path / name
        folder.mkdir()
        write(folder / "web.json", *web(endpoint))
        (folder / "more.yaml").write_text("kind: ConfigMap\napiVersion: v1\ndata: {a: " + "x" * LARGE + "}\n")
    done = run("diff", "old", "new", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, SUMMARY)
    (tmp_path / "new" / "bad.yaml").write_text("kind: [")
    done = run("diff", "old", "new", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "new/bad.yaml #1: not YAML" in done.stderr
    assert "the new side (new) cannot be read" in done.stderr
    assert "given twice" not in done.stderr
    done = run("diff", "old", "old", "--node", "n", "--set", "podCIDRs=x", cwd=tmp_path)
    assert done.returncode == 2


# Errors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((OLD,), "give OLD and NEW, not 1 path"),
        ((OLD, NEW, OLD), "give OLD and NEW, not 3 paths"),
        (("-", "-"), "standard input comes once"),
        (("-", "--against", "-"), "standard input comes once"),
        ((OLD, "--against", OLD / "ruleset.nft", "--live"), "give one of them"),
        ((OLD / "ruleset.nft", OLD, "--live"), "is a ruleset: it makes up a side alone"),
        ((OLD, NEW, "-o", "json", "--ruleset"), "--ruleset and --script go with"),
        ((OLD, NEW / "ruleset.nft", "--script"), "of manifests only"),
        ((OLD, "nowhere"), "'nowhere' does not exist"),
        ((OLD, "--against", "nowhere.nft"), "'nowhere.nft' does not exist"),
    ],
)
def test_arguments_that_do_not_fit_together(arguments: tuple[str | Path, ...], said: str, tmp_path: Path) -> None:
    done = run("diff", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", "").split())


@pytest.mark.parametrize(("arguments", "side"), [((BAD, OLD), "old"), ((OLD, BAD), "new")])
def test_bad_objects_are_told_with_their_side(arguments: tuple[Path, ...], side: str, tmp_path: Path) -> None:
    done = run("diff", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1] == f"error: the {side} side ({BAD}) cannot be read: nothing is compared"
    assert "is not a port number" in done.stderr


def test_both_sides_may_be_bad(tmp_path: Path) -> None:
    (tmp_path / "bad.nft").write_text("table ip nftsvc {")
    (tmp_path / "bad.yaml").write_text("kind: [")
    done = run("diff", "bad.nft", "bad.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert [line for line in done.stderr.splitlines() if "cannot be read" in line] == [
        "error: the old side (bad.nft) cannot be read: nothing is compared",
        "error: the new side (bad.yaml) cannot be read: nothing is compared",
    ]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"table ip other {\n}\n"])
def test_a_file_without_a_ruleset_of_ours_is_never_the_same(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "other.nft").write_bytes(content)
    done = run("diff", OLD, "--against", "other.nft", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert "other.nft" in done.stderr


def test_warnings_are_told_once(tmp_path: Path) -> None:
    case = EXAMPLES / "802-conflicting-claims"
    done = run("diff", case, case, cwd=tmp_path)
    once = run("render", case, cwd=tmp_path)
    said = [line for line in once.stderr.splitlines() if line.startswith("warning")]
    assert said
    assert done.stderr.splitlines() == said


# Formats --------------------------------------------------------------------------------------------------------------


def test_json(tmp_path: Path) -> None:
    done = run("diff", OLD, NEW, "-o", "json", cwd=tmp_path)
    made = json.loads(done.stdout)
    assert (done.returncode, made["summary"], made["same"]) == (1, SUMMARY, False)
    assert Path(made["changes"][0]["file"]).parent == NEW


def test_markdown_has_the_texts_folded_away(tmp_path: Path) -> None:
    done = run("diff", OLD, NEW, "-o", "markdown", "--ruleset", "--script", cwd=tmp_path)
    assert f"**{SUMMARY}**" in done.stdout
    assert done.stdout.count("<details>") == done.stdout.count("</details>") == 2
    assert "\n-\t\t\t10.96.0.100 . 80 . 2 : 10.244.2.12 . 9376\n" in done.stdout
    same = run("diff", OLD, OLD, "-o", "markdown", "--ruleset", "--script", cwd=tmp_path)
    assert (same.returncode, "<details>" in same.stdout) == (0, False)


def test_github_names_the_file(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder, endpoints in ((old, ["10.244.1.5"]), (new, ["10.244.1.5", "10.244.1.6"])):
        folder.mkdir()
        write(folder / "web.json", *web(*endpoints))
    done = run("diff", "old", "new", "-o", "github", cwd=tmp_path)
    assert done.stdout.startswith(
        "::warning file=new/web.json,title=shop/web%3A changed::shop/web:http 10.96.0.1:80/TCP%0A"
    )
    assert done.returncode == 1
    gone = run("diff", "old", write(tmp_path / "none.json"), "-o", "github", cwd=tmp_path)
    assert gone.stdout.startswith("::warning file=old/web.json,title=shop/web%3A removed::")


def test_junit(tmp_path: Path) -> None:
    done = run("diff", OLD, NEW, "-o", "junit", cwd=tmp_path)
    assert done.returncode == 1
    assert '<failure message="Service changed">' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "extra", "coloured"),
    [((), {}, False), (("--color", "always"), {}, True), (("--color", "always"), {"NO_COLOR": "1"}, True)],
)
def test_colour(arguments: tuple[str, ...], extra: dict[str, str], coloured: bool, tmp_path: Path) -> None:
    done = run("diff", OLD, NEW, "--ruleset", *arguments, cwd=tmp_path, env=environment(TERM="xterm-256color", **extra))
    assert ("\x1b[31m  - 10.244.2.12:9376  share 33 %\x1b[0m" in done.stdout) == coloured
    assert ("\x1b" in done.stdout) == coloured


# Texts and scripts ----------------------------------------------------------------------------------------------------


def test_a_unified_diff_applies_as_a_patch(tmp_path: Path) -> None:
    done = run("diff", OLD, NEW, "--ruleset", cwd=tmp_path)
    text = run("render", OLD, cwd=tmp_path).stdout
    (tmp_path / "old.nft").write_text(text)
    patch = done.stdout.partition("\n\n--- ")
    subprocess.run(["patch", "-s", "old.nft"], input=f"--- {patch[2]}", text=True, cwd=tmp_path, check=True)
    assert (tmp_path / "old.nft").read_text() == run("render", NEW, cwd=tmp_path).stdout


def test_slots_show_in_no_text(tmp_path: Path) -> None:
    """The kernel has the endpoints in the order in which they came."""
    first = write(tmp_path / "first.json", *web("10.244.1.9"))
    both = write(tmp_path / "both.json", *web("10.244.1.9", "10.244.1.5"))
    text = run("render", both, cwd=tmp_path).stdout
    swapped = text.replace(". 0 : 10.244.1.5", ". x : 10.244.1.5").replace(". 1 : 10.244.1.9", ". 0 : 10.244.1.9")
    (tmp_path / "grown.nft").write_text(swapped.replace(". x : 10.244.1.5", ". 1 : 10.244.1.5"))
    assert swapped != text
    done = run("diff", both, "--against", "grown.nft", "--ruleset", "--script", cwd=tmp_path)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, ["", "nothing to send"])
    done = run("diff", first, "--against", "grown.nft", "--script", cwd=tmp_path)
    assert "add element ip nftsvc tcp-endpoints" not in done.stdout


def external(tmp_path: Path, script: str) -> dict[str, str]:
    command = tmp_path / "my viewer"
    command.write_text(f"#!/bin/sh\n{script}\n")
    command.chmod(0o755)
    return environment(NFTSVC_EXTERNAL_DIFF=f"'{command}' --mine")


def test_an_external_viewer_gets_both_texts(tmp_path: Path) -> None:
    env = external(tmp_path, 'echo "$1"; cat "$2" > old.txt; cat "$3" > new.txt; exit 1')
    done = run("diff", OLD / "ruleset.nft", NEW, "-f", "ipv4", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (1, "--mine\n")
    for side, name in ((OLD, "old.txt"), (NEW, "new.txt")):
        assert (tmp_path / name).read_text() == (side / "ruleset.nft").read_text()
    assert run("diff", OLD, OLD, cwd=tmp_path, env=env).returncode == 0
    assert json.loads(run("diff", OLD, NEW, "-o", "json", cwd=tmp_path, env=env).stdout)["summary"] == SUMMARY


@pytest.mark.parametrize("command", ["exit 2", ""])
def test_an_external_viewer_that_fails_is_an_error(command: str, tmp_path: Path) -> None:
    env = external(tmp_path, command) if command else environment(NFTSVC_EXTERNAL_DIFF="not-there --x")
    done = run("diff", OLD, NEW, cwd=tmp_path, env=env)
    assert done.returncode == 2
    assert "NFTSVC_EXTERNAL_DIFF" in done.stderr


def test_a_command_that_is_no_command_is_an_error(tmp_path: Path) -> None:
    done = run("diff", OLD, NEW, cwd=tmp_path, env=environment(NFTSVC_EXTERNAL_DIFF="unfinished 'quote"))
    assert done.returncode == 2
    assert "NFTSVC_EXTERNAL_DIFF" in done.stderr


# Kernels --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with namespaces("diff") as (one,):
        yield one


def test_live_compares_with_this_machines_kernel(namespace: Namespace, tmp_path: Path) -> None:
    bare = run("diff", OLD, "--live", cwd=tmp_path, prefix=inside(namespace))
    assert bare.returncode == 1
    assert bare.stdout.startswith("0 Services changed, 1 added, 0 removed; 0 unchanged; 1 node-wide change\n")
    assert "  ~ table  absent -> present\n" in bare.stdout
    assert "the old side (this kernel) has no table of nftsvc" in bare.stderr
    assert run("apply", OLD, cwd=tmp_path, prefix=inside(namespace)).returncode == 0
    same = run("diff", OLD, "--live", "--ruleset", "--script", cwd=tmp_path, prefix=inside(namespace))
    assert (same.returncode, same.stdout.splitlines()[1:]) == (0, ["", "nothing to send"])
    done = run("diff", NEW, "--live", "--script", cwd=tmp_path, prefix=inside(namespace))
    assert (done.returncode, done.stdout.splitlines()[2:6]) == (1, LINES)
    dry = run("apply", NEW, "--dry-run", cwd=tmp_path, prefix=inside(namespace))
    assert done.stdout.endswith(f"\n\n{dry.stdout}")
    assert dry.stdout


def test_a_listing_of_the_kernel_is_the_same_as_the_kernel(namespace: Namespace, tmp_path: Path) -> None:
    assert run("apply", BRIDGE, cwd=tmp_path, prefix=inside(namespace)).returncode == 0
    for options in ((), ("-j",), ("-a",), ("-n",)):
        text = nft(namespace, *options, "list", "ruleset")
        done = run("diff", BRIDGE, "--against", "-", "--ruleset", cwd=tmp_path, stdin=text)
        assert (done.returncode, done.stdout.splitlines()[1:]) == (0, []), options
    done = run("diff", BRIDGE, "--live", "--ruleset", cwd=tmp_path, prefix=inside(namespace))
    assert (done.returncode, done.stdout.splitlines()[1:]) == (0, [])


def test_what_somebody_did_to_the_kernel_shows(namespace: Namespace, tmp_path: Path) -> None:
    assert run("apply", OLD, cwd=tmp_path, prefix=inside(namespace)).returncode == 0
    nft(namespace, "insert", "rule", "ip", "nftsvc", "services", "ip", "saddr", "198.51.100.7", "accept")
    done = run("diff", OLD, "--live", cwd=tmp_path, prefix=inside(namespace))
    assert done.returncode == 1
    assert "  ~ rules of chain services" in done.stdout
    assert "odd in the old ruleset:" in done.stdout


def test_without_permission_the_kernel_cannot_be_asked() -> None:
    command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]  # still root, who may read the checkout
    done = subprocess.run(
        [*command, *PROGRAM, "diff", str(OLD), "--live"],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        env=environment(PYTHONPATH=str(ROOT)),
    )
    assert (done.returncode, done.stdout) == (4, "")
    assert "root (CAP_NET_ADMIN)" in done.stderr


def test_progress_shows_on_terminals_only(tmp_path: Path) -> None:
    assert run("diff", OLD, OLD, cwd=tmp_path).stderr == ""
    code, text = on_terminal("diff", OLD, OLD)
    assert code == 0
    assert "reading the new side" in text
