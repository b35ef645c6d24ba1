"""Files for CI systems that users copy: every command line in them runs, in a repository as they expect it."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import pytest
import yaml

from tests.support.cases import EXAMPLES, made_case, write_shop

ROOT = EXAMPLES.parent
FILES = EXAMPLES / "ci"
# What a runner has and these tests do not run: installing.
STAND_INS = {"pip": "", "apt-get": "", "sudo": 'exec "$@"\n'}


class Site(NamedTuple):
    """A clone of a user's repository, as a CI system has it."""

    checkout: Path
    base: str
    environment: dict[str, str]

    def run(self, script: str, **extra: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-eo", "pipefail", "-c", script]
        env = self.environment | extra
        return subprocess.run(command, cwd=self.checkout, env=env, capture_output=True, text=True, check=False)


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com", "-c", "init.defaultBranch=main")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """On its branch the Service has lost an endpoint, in the manifests and in the golden case, where nobody agreed."""
    checkout, programs = tmp_path / "checkout", tmp_path / "programs"
    programs.mkdir()
    for name, text in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}")
        (programs / name).chmod(0o755)
    write_shop(checkout / "manifests")
    made_case(checkout / "golden" / "shop")
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "agreed")
    base = git(checkout, "rev-parse", "HEAD")
    write_shop(checkout / "manifests", 1)
    write_shop(checkout / "golden" / "shop", 1)
    git(checkout, "commit", "--quiet", "--all", "--message", "changed")
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "CI": "true",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        "BASE": base,
        "CI_MERGE_REQUEST_DIFF_BASE_SHA": base,
    }
    return Site(checkout, base, environment)


def agree(site: Site) -> None:
    site.run("CI= nftsvc golden update golden").check_returncode()


def loaded(name: str) -> dict[str, Any]:
    found = yaml.safe_load((FILES / name).read_text())
    assert isinstance(found, dict)
    return found


# GitHub --------------------------------------------------------------------------------------------------------------


def steps(job: str) -> dict[str, str]:
    """Return the scripts of a job by the names of their steps."""
    listed = loaded("github-actions.yaml")["jobs"][job]["steps"]
    return {one["name"]: one["run"] for one in listed if "run" in one}


def test_workflow_fails_where_something_is_not_as_agreed_and_says_what_changes(site: Site) -> None:
    codes = {name: site.run(script) for name, script in steps("golden").items()}
    assert {name: done.returncode for name, done in codes.items()} == {
        "Install nftsvc": 0,
        "Golden rulesets": 1,
        "Golden rulesets in the summary": 0,
        "Lint": 0,
        "What changes for traffic": 0,
    }, codes
    assert codes["Golden rulesets"].stdout.startswith("::error file=golden/shop/ruleset.nft,")
    summary = Path(site.environment["GITHUB_STEP_SUMMARY"]).read_text()
    assert summary.startswith("**1 case: 0 as expected, 1 differs**\n")
    golden, _, changes = summary.partition("## What changes for traffic\n")
    assert "- 10.244.1.2:8080  share 50 %" in golden
    assert "- 10.244.1.2:8080  share 50 %" in changes


def test_workflow_passes_where_all_is_as_agreed(site: Site) -> None:
    agree(site)
    for job in ("golden", "kernel"):
        for name, script in steps(job).items():
            done = site.run(script)
            assert done.returncode == 0, (name, done.stdout, done.stderr)


def test_workflow_fails_where_the_diff_cannot_be_made(site: Site) -> None:
    (site.checkout / "manifests" / "bad.yaml").write_text("kind: [")
    done = site.run(steps("golden")["What changes for traffic"])
    assert done.returncode != 0
    assert "bad.yaml #1: not YAML" in done.stderr


def test_workflow_takes_the_base_from_the_pull_request() -> None:
    """What is between ${{ }} reaches scripts by the environment only, so nobody can write commands into it."""
    text = (FILES / "github-actions.yaml").read_text()
    assert re.findall(r"\$\{\{.*?\}\}", text) == ["${{ github.event.pull_request.base.sha }}"]
    assert not [script for job in ("golden", "kernel") for script in steps(job).values() if "${{" in script]


# GitLab --------------------------------------------------------------------------------------------------------------


def scripts(job: str) -> str:
    config = loaded("gitlab-ci.yaml")
    return "\n".join([*config["default"]["before_script"], *config[job]["script"]])


def test_pipeline_fails_where_something_is_not_as_agreed(site: Site) -> None:
    done = site.run(scripts("golden"))
    assert done.returncode == 1
    report = loaded("gitlab-ci.yaml")["golden"]["artifacts"]["reports"]["junit"]
    assert ET.parse(site.checkout / report).getroot().get("failures") == "1"  # noqa: S314 - our own
    agree(site)
    assert site.run(scripts("golden")).returncode == 0
    assert ET.parse(site.checkout / report).getroot().get("failures") == "0"  # noqa: S314 - our own


def test_pipeline_says_what_changes(site: Site) -> None:
    done = site.run(scripts("traffic"))
    assert done.returncode == 0, done.stderr
    assert "- 10.244.1.2:8080  share 50 %" in done.stdout
    (comment,) = loaded("gitlab-ci.yaml")["traffic"]["artifacts"]["paths"]
    assert "- 10.244.1.2:8080  share 50 %" in (site.checkout / comment).read_text()


def test_pipeline_lints(site: Site) -> None:
    assert site.run(scripts("lint")).returncode == 0


# pre-commit ----------------------------------------------------------------------------------------------------------


def hooks() -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    yield from loaded("pre-commit-config.yaml")["repos"][0]["hooks"]


@pytest.mark.parametrize("hook", tuple(hooks()), ids=lambda hook: hook["language"])
def test_hook_fails_where_something_is_not_as_agreed(site: Site, hook: dict[str, Any]) -> None:
    assert (hook["id"], hook["pass_filenames"]) == ("nftsvc-golden", False)
    done = site.run(hook["entry"])
    assert done.returncode == 1
    assert "    - 10.244.1.2:8080  share 50 %\n" in done.stdout
    agree(site)
    assert site.run(hook["entry"]).returncode == 0


def test_hook_of_the_configuration_is_for_its_folder() -> None:
    (hook,) = loaded("pre-commit-config.yaml")["repos"][0]["hooks"]
    assert re.search(hook["files"], "golden/shop/manifests.yaml")
    assert not re.search(hook["files"], "README.md")


# All of them ---------------------------------------------------------------------------------------------------------


def test_every_command_of_ours_in_these_files_is_one_that_the_tests_run() -> None:
    texts = [*(script for job in ("golden", "kernel") for script in steps(job).values())]
    texts += [scripts(job) for job in ("golden", "lint", "traffic")]
    texts += [hook["entry"] for hook in hooks()]
    written = "".join(file.read_text() for file in (*FILES.iterdir(), ROOT / ".pre-commit-hooks.yaml"))
    code = re.sub(r"#.*", "", written)
    assert len(re.findall(r"nftsvc[)\"]* (?:golden|diff|lint)", code)) == len(
        re.findall(r"nftsvc[)\"]* (?:golden|diff|lint)", "\n".join(texts))
    )
    assert sorted(one.name for one in FILES.iterdir()) == [
        "github-actions.yaml",
        "gitlab-ci.yaml",
        "pre-commit-config.yaml",
    ]
