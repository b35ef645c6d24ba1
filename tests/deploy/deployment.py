"""The files in examples/deploy as tests look at them."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "examples" / "deploy"
UNIT = DEPLOY / "nftsvc.service"

Raw = dict[str, Any]
Sections = dict[str, dict[str, list[str]]]


def documents(name: str) -> list[Raw]:
    return [one for one in yaml.safe_load_all((DEPLOY / name).read_text()) if one is not None]


def document(name: str, kind: str) -> Raw:
    (found,) = [one for one in documents(name) if one.get("kind") == kind]
    return found


def daemonset() -> Raw:
    return document("daemonset.yaml", "DaemonSet")


def pod_spec() -> Raw:
    spec: Raw = daemonset()["spec"]["template"]["spec"]
    return spec


def container() -> Raw:
    (only,) = pod_spec()["containers"]
    assert isinstance(only, dict)
    return only


def help_of(*command: str) -> str:
    """What `nftsvc COMMAND --help` prints, unwrapped."""
    done = subprocess.run(
        [sys.executable, "-m", "nftsvc", *command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "300", "NO_COLOR": "1"},
    )
    return done.stdout


def unit_sections() -> Sections:
    """What the systemd unit says: section, name, values."""
    found: Sections = {}
    section: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, _, value = line.partition("=")
            section.setdefault(name, []).append(value)
    return found


def setting(name: str, section: str = "Service") -> str:
    """The only value of a setting of the unit."""
    (value,) = unit_sections()[section][name]
    return value
