"""The systemd unit: what systemd takes, what the agent tells it, and that nothing ends with it."""

import shlex
import subprocess
from pathlib import Path
from typing import Any

import typer

from nftsvc.cli import make_app
from tests.deploy.deployment import ROOT, UNIT, setting, unit_sections

app = make_app()

# From 0 (shut in) to 100 (free to do anything), as `systemd-analyze security` judges.
MOST_EXPOSED = 20


def verified_copy(folder: Path) -> Path:
    """Write the unit with a program that is there, since systemd looks."""
    made = folder / UNIT.name
    made.write_text(UNIT.read_text().replace(shlex.split(setting("ExecStart"))[0], "/bin/true"))
    return made


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    command = ["systemd-analyze", "verify", "--man=no", str(verified_copy(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    about_ours = [line for line in done.stderr.splitlines() if "nftsvc" in line]
    assert about_ours == []
    assert done.returncode == 0, done.stderr


def test_systemd_finds_it_shut_in(tmp_path: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={MOST_EXPOSED}"]
    done = subprocess.run([*command, str(verified_copy(tmp_path))], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_command_line_is_one_that_the_program_takes() -> None:
    program, run, *options = shlex.split(setting("ExecStart"))
    assert program == "/opt/nftsvc/bin/nftsvc"
    assert run == "run"
    assert options == ["--manifests", "/etc/nftsvc/manifests", "$NFTSVC_OPTIONS"]
    command: Any = typer.main.get_command(app)
    context = command.commands["run"].make_context("run", options[:-1], resilient_parsing=True)
    assert Path(context.params["manifests"]) == Path("/etc/nftsvc/manifests")
    assert setting("ConfigurationDirectory") == "nftsvc/manifests"
    assert setting("EnvironmentFile").startswith("-")


def test_the_agent_says_when_it_is_ready_and_that_it_is_alive() -> None:
    assert setting("Type") == "notify"
    assert setting("NotifyAccess") == "main"
    assert 10 <= int(setting("WatchdogSec")) <= 300


def test_it_is_started_again_for_ever_and_removes_nothing() -> None:
    assert setting("Restart") == "always"
    assert setting("StartLimitIntervalSec", "Unit") == "0"
    assert not [
        name for name in unit_sections()["Service"] if name.startswith(("ExecStop", "ExecReload", "ExecCondition"))
    ]
    assert "clean" not in setting("ExecStart")


def test_it_starts_after_what_begins_with_a_clean_slate() -> None:
    assert "nftables.service" in setting("After", "Unit").split()
    assert setting("WantedBy", "Install") == "multi-user.target"


def test_it_has_one_capability_and_sees_little() -> None:
    assert setting("CapabilityBoundingSet") == setting("AmbientCapabilities") == "CAP_NET_ADMIN"
    assert setting("DynamicUser") == "yes"
    assert setting("NoNewPrivileges") == "yes"
    assert setting("ProtectSystem") == "strict"
    assert {"AF_NETLINK", "AF_UNIX", "AF_INET", "AF_INET6"} == set(setting("RestrictAddressFamilies").split())


def test_it_stays_in_the_machines_namespaces() -> None:
    assert not {"PrivateNetwork", "PrivateUsers", "NetworkNamespacePath"} & unit_sections()["Service"].keys()


def test_the_document_says_how_it_is_installed() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    folder = Path(shlex.split(setting("ExecStart"))[0]).parent.parent
    assert f"python3 -m venv {folder}\n" in text
    assert f"`{setting('EnvironmentFile').removeprefix('-')}`" in text
