"""The Containerfile: what it copies is there, what it installs is what the program and its tests need."""

import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.deployment import DEPLOY, ROOT, container

TEXT = (DEPLOY / "Containerfile").read_text()
INSTRUCTIONS = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "ENTRYPOINT", "CMD"}


def instructions(text: str = TEXT) -> list[tuple[str, str]]:
    """Return the instructions with what follows them, comments gone and lines joined."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = [line.partition(" ")[::2] for line in lines.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in found]


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, FROM first."""
    made: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            made.append([])
        if made:
            made[-1].append((name, rest))
    return made


def packages(stage: list[tuple[str, str]]) -> set[str]:
    """Return the Debian packages that a stage installs."""
    found: set[str] = set()
    for name, rest in stage:
        for one in re.findall(r"apt-get install ([^&]+)", rest) if name == "RUN" else ():
            found |= {word for word in one.split() if not word.startswith("--")}
    return found


def test_every_instruction_is_one() -> None:
    assert {name for name, _ in instructions()} <= INSTRUCTIONS
    assert instructions()[0] == ("ARG", "BASE=debian:bookworm-slim")
    assert [stage[0][1] for stage in stages()] == ["${BASE} AS build", "${BASE}"]


@pytest.mark.parametrize("command", [rest for name, rest in instructions() if name == "RUN"])
def test_a_command_is_one_for_the_shell(command: str) -> None:
    subprocess.run(["sh", "-n", "-c", command], check=True)


def test_everything_that_is_copied_is_there() -> None:
    build, final = stages()
    copied = [shlex.split(rest) for name, rest in build if name == "COPY"]
    assert len(copied) > 3
    for *sources, target in copied:
        for source in sources:
            assert (ROOT / source).exists(), source
            assert target in {"./", source}
    ((origin, source, target),) = [shlex.split(rest) for name, rest in final if name == "COPY"]
    assert origin == "--from=build"
    assert source == target == "/opt/nftsvc"


def test_everything_that_the_wheel_is_made_of_is_copied() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {
        *wheel["packages"],
        *wheel["force-include"],
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        "constraints.txt",
    }
    copied = [shlex.split(rest)[:-1] for name, rest in stages()[0] if name == "COPY"]
    assert {one for sources in copied for one in sources} == needed


def test_debian_packages_are_those_that_the_project_names() -> None:
    setup = (ROOT / "scripts" / "setup").read_text()
    words = " ".join(path.read_text() for path in (ROOT / "nftsvc" / "kernel").glob("*.py"))
    build, final = map(packages, stages())
    assert build == {"python3", "python3-venv"}
    assert final == {"python3", "libnftables1", "iptables", "ipvsadm"}
    for one in (build | final) - {"iptables", "ipvsadm"}:
        assert re.search(rf"missing\+=\([^)]*\b{one}\b", setup), one
    for one in ("iptables", "ipvsadm"):  # with which kube-proxy's leftovers are removed
        assert f'"{one}"' in words, one


def test_lists_of_packages_do_not_stay() -> None:
    for stage in stages():
        for name, rest in stage:
            if name == "RUN" and "apt-get" in rest:
                assert rest.startswith("apt-get update && ")
                assert rest.endswith(" && rm --recursive /var/lib/apt/lists/*")
                assert "--no-install-recommends" in rest


def test_pip_keeps_nothing_and_takes_fixed_versions() -> None:
    commands = [rest for name, rest in stages()[0] if name == "RUN" and "-m pip" in rest]
    for one in (part for rest in commands for part in rest.split("&&") if "-m pip" in part):
        assert "--no-cache-dir" in one
        fixed = "--constraint constraints.txt" in one or "--no-deps" in one
        words = one.split()[one.split().index("--no-cache-dir") + 1 :]
        assert fixed or all(re.fullmatch(r"[\w-]+==[\d.]+", word) for word in words), one


def test_the_build_system_is_one_that_the_project_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (needed,) = map(Requirement, project["build-system"]["requires"])
    pinned = dict(re.findall(r"([\w-]+)==([\d.]+)", TEXT))
    assert needed.specifier.contains(pinned[needed.name])


def test_every_package_that_is_installed_has_a_fixed_version() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if "==" in line}
    waiting, seen = {"nftsvc"}, set()
    while waiting:
        name = waiting.pop()
        seen.add(name)
        for one in map(Requirement, distribution(name).requires or ()):
            here = one.marker is None or one.marker.evaluate({"extra": ""})
            if here and canonicalize_name(one.name) not in seen:
                waiting.add(canonicalize_name(one.name))
    assert len(seen) > 20
    assert seen - {"nftsvc"} <= pinned


def test_the_image_runs_the_program_as_the_daemonset_expects_it() -> None:
    final = stages()[1]
    assert ("USER", "0:0") in final
    assert ("ENTRYPOINT", '["nftsvc"]') in final
    assert ("CMD", '["run"]') in final
    assert "command" not in container()
    (environment,) = [rest for name, rest in final if name == "ENV"]
    path = dict(word.split("=", 1) for word in environment.split())["PATH"].split(":")
    assert path[0] == "/opt/nftsvc/bin"
    assert "/usr/sbin" in path


def test_the_program_that_the_wheel_installs_has_the_name_that_is_run() -> None:
    scripts = [one.name for one in distribution("nftsvc").entry_points if one.group == "console_scripts"]
    assert scripts == ["nftsvc"]


def test_python_is_one_that_the_project_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert Requirement(f"python{project['project']['requires-python']}").specifier.contains("3.11.2")  # Debian 12's
    assert sys.version_info >= (3, 11)
