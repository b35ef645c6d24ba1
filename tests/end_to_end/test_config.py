"""`nftsvc config` as people run it: a file or standard input in; a report, messages and an exit code out."""

import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
import yaml

PROGRAM = (sys.executable, "-m", "nftsvc")
HEAD = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
IPVS = f"{HEAD}mode: ipvs\nclusterCIDR: 10.244.0.0/16\nipvs: {{scheduler: lc}}\nportRange: ''\n"
UNKNOWN = f"{HEAD}mode: nftables\nconntrack: {{maxpercore: 1}}\nx: {{y: 1}}\n"
SERVICE = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"

_COLOUR = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "PY_COLORS", "GITHUB_ACTIONS")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in _COLOUR} | {"COLUMNS": "120"}


def run(*arguments: str, cwd: Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*PROGRAM, "config", *arguments],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )


def explained(text: str, tmp_path: Path, *options: str) -> list[str]:
    (tmp_path / "kp.yaml").write_text(text)
    done = run("explain", "kp.yaml", *options, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def refused(text: str, tmp_path: Path, *options: str, name: str = "kp.yaml") -> list[str]:
    (tmp_path / name).write_text(text)
    done = run("explain", name, *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    return done.stderr.splitlines()


def config_map(text: str, entry: str = "config.conf") -> dict[str, Any]:
    metadata = {"name": "kube-proxy", "namespace": "kube-system"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {entry: text, "other": "a: [b"}}


def test_help_has_examples_and_exit_codes(tmp_path: Path) -> None:
    for arguments, example in (([], "nftsvc config explain kube-proxy.yaml"), (["explain"], "nftsvc config explain -")):
        done = run(*arguments, "--help", cwd=tmp_path)
        text = " ".join(done.stdout.split())
        assert done.returncode == 0
        assert example in text
        assert all(code in text for code in ("0 fine", "2 wrong usage", "3 bad input", "70 a bug"))


def test_report_has_a_line_for_each_field_what_matters_first_and_a_summary(tmp_path: Path) -> None:
    lines = explained(IPVS, tmp_path)
    assert [re.match(r"(\w+): ([\w.]+)(.*?): ", line).groups() for line in lines[:-1]] == [  # type: ignore[union-attr]
        ("different", "mode", ' = "ipvs"'),
        ("different", "nodePortAddresses", " (left out)"),
        ("different", "ipvs.scheduler", ' = "lc"'),
        ("ignored", "portRange", ' = ""'),
        ("honoured", "clusterCIDR", ' = "10.244.0.0/16"'),
    ]
    assert lines[-1] == (
        "kp.yaml #1 KubeProxyConfiguration: 4 fields: 1 honoured, 2 different, 1 ignored, 0 unknown;"
        " left out and different: 1"
    )


def test_report_is_the_same_wherever_and_however_it_is_run(tmp_path: Path) -> None:
    lines = explained(IPVS, tmp_path)
    reordered = yaml.safe_dump(dict(reversed(yaml.safe_load(IPVS).items())), sort_keys=False)
    assert explained(reordered, tmp_path) == lines
    done = run("explain", "-", cwd=tmp_path, stdin=IPVS)
    assert done.stdout.splitlines() == [line.replace("kp.yaml", "<stdin>") for line in lines]


def test_config_map_as_kubectl_prints_it_is_read(tmp_path: Path) -> None:
    lines = explained(IPVS, tmp_path)
    one = config_map(IPVS)
    for text in (
        yaml.safe_dump(one),
        json.dumps(one),
        json.dumps({"apiVersion": "v1", "kind": "List", "items": [one]}),
        f"{SERVICE}---\n{yaml.safe_dump(one)}",
    ):
        done = run("explain", "-", cwd=tmp_path, stdin=text)
        number = 2 if text.startswith("api") and "---" in text else 1
        assert done.stderr == ""
        assert done.stdout.splitlines()[:-1] == lines[:-1]
        assert done.stdout.splitlines()[-1].startswith(f"<stdin> #{number} ConfigMap kube-system/kube-proxy: 4 fields")


def test_other_documents_are_left_aside(tmp_path: Path) -> None:
    lines = explained(f"{SERVICE}---\n---\n{IPVS}---\nanything: else\n", tmp_path)
    assert lines[-1].startswith("kp.yaml #3 KubeProxyConfiguration: 4 fields")


def test_json_says_the_same_for_scripts(tmp_path: Path) -> None:
    found = json.loads("\n".join(explained(UNKNOWN, tmp_path, "-o", "json")))
    fields = found.pop("fields")
    assert found == {
        "file": "kp.yaml",
        "document": 1,
        "object": "KubeProxyConfiguration",
        "mode": "nftables",
        "summary": {"honoured": 1, "different": 0, "ignored": 0, "unknown": 2},
    }
    assert [(one["path"], one["given"], one["value"], one["verdict"]) for one in fields] == [
        ("mode", True, "nftables", "honoured"),
        ("conntrack.maxpercore", True, 1, "unknown"),
        ("x", True, {"y": 1}, "unknown"),
    ]
    assert all(one["text"].endswith(".") for one in fields)


def test_unknown_fields_come_first_and_are_no_error(tmp_path: Path) -> None:
    lines = explained(UNKNOWN, tmp_path)
    assert lines[0] == (
        "unknown: conntrack.maxpercore = 1: No such field in KubeProxyConfiguration (is conntrack.maxPerCore meant?)."
        " It changes nothing."
    )
    assert lines[1].startswith('unknown: x = {"y": 1}: ')


def test_unknown_fields_are_errors_if_asked_to_be(tmp_path: Path) -> None:
    for options in (["--strict"], ["--strict", "-o", "json"]):
        where, what = "error: kp.yaml #1 KubeProxyConfiguration:", "no such field in KubeProxyConfiguration"
        assert refused(UNKNOWN, tmp_path, *options) == [
            f"{where} conntrack.maxpercore: {what} (is conntrack.maxPerCore meant?)",
            f"{where} x: {what}",
        ]
    assert explained(IPVS, tmp_path, "--strict") == explained(IPVS, tmp_path)


def test_every_bad_value_is_named_with_file_object_and_field(tmp_path: Path) -> None:
    bad = f"{HEAD}mode: userspace\nconntrack: {{min: -1}}\nnodePortAddresses: [eth0]\nx: 1\n"
    form = "(an address, a slash and a number of bits, as in 10.0.0.0/8)"
    assert [
        line.replace("kp.yaml #1 ConfigMap kube-system/kube-proxy: ", "")
        for line in refused(yaml.safe_dump(config_map(bad)), tmp_path)
    ] == [
        "error: mode: 'userspace' is not one of iptables, ipvs, nftables",
        f"error: nodePortAddresses[0]: 'eth0' is not a network {form}",
        "error: conntrack.min: -1 is not a whole number from 0 to 2147483647",
        "warning: x: no such field in KubeProxyConfiguration",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "",
            "error: kp.yaml: no KubeProxyConfiguration (kubeproxy.config.k8s.io/v1alpha1) and no ConfigMap that holds",
        ),
        (SERVICE, "error: kp.yaml: no KubeProxyConfiguration"),
        (
            f"{IPVS}---\n{IPVS}",
            "kp.yaml #2 KubeProxyConfiguration: a second KubeProxyConfiguration, the first is in kp.y",
        ),
        (f"{HEAD}mode: ipvs\nmode: nftables\n", "kp.yaml #1: not YAML: line 4, column 1: key 'mode' is given twice"),
        ("a: [b", "error: kp.yaml #1: not YAML: "),
        (HEAD.replace("v1alpha1", "v1"), "kp.yaml #1 KubeProxyConfiguration: apiVersion: 'kubeproxy.config.k8s.io/v1'"),
        (f"{IPVS}---\na: [b", "error: kp.yaml #2: not YAML: "),
    ],
)
def test_file_without_one_good_configuration_is_bad_input(text: str, message: str, tmp_path: Path) -> None:
    lines = refused(text, tmp_path)
    assert len(lines) == 1
    assert message in lines[0]


def test_text_in_a_config_map_that_does_not_parse_is_named(tmp_path: Path) -> None:
    (line,) = refused(yaml.safe_dump(config_map(f"{HEAD}mode: [", entry="config")), tmp_path)
    assert line.startswith("error: kp.yaml #1 ConfigMap kube-system/kube-proxy: data[config]: not YAML: line ")


def test_duplicated_key_in_json_is_named(tmp_path: Path) -> None:
    (line,) = refused('{"kind": "KubeProxyConfiguration", "mode": "ipvs", "mode": "ipvs"}', tmp_path, name="kp.json")
    assert line == "error: kp.json #1: key 'mode' is given twice in one mapping"


def test_folder_is_no_configuration(tmp_path: Path) -> None:
    done = run("explain", ".", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: .: cannot be read: Is a directory\n"


@pytest.mark.parametrize(
    "arguments", [["explain"], ["explain", "no-such.yaml"], ["explain", "-", "-o", "xml"], ["x"], []]
)
def test_wrong_usage_is_exit_2(arguments: list[str], tmp_path: Path) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_values_can_do_no_more_to_a_terminal_than_be_read(tmp_path: Path) -> None:
    text = f'{HEAD}"x\\e[31m": "\\e[2Jy"\nportRange: "\\e[31m[bold]a"\n'
    done = run("explain", "-", cwd=tmp_path, stdin=text)
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert r"portRange = " in done.stdout
    assert "[bold]a" in done.stdout


def test_long_values_are_cut(tmp_path: Path) -> None:
    lines = explained(f"{HEAD}mode: nftables\nportRange: '{'9' * 500}'\n", tmp_path)
    (line,) = [line for line in lines if "portRange" in line]
    assert len(line) < 150
    assert "999...: " in line


def on_a_terminal(arguments: list[str], columns: int, cwd: Path) -> str:
    """Run the program on a terminal of its own; returns what it shows."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, columns))
    environment = {**ENVIRONMENT, "TERM": "xterm-256color"}
    environment.pop("COLUMNS")
    with subprocess.Popen(
        [*PROGRAM, "config", *arguments], cwd=cwd, stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # nobody has the other end open any more
            pass
        finally:
            os.close(ours)
        assert process.wait() == 0
    return shown.decode()


def test_terminal_gets_a_table_that_fits_with_colours(tmp_path: Path) -> None:
    (tmp_path / "kp.yaml").write_text(IPVS)
    shown = on_a_terminal(["explain", "kp.yaml"], 100, tmp_path)
    assert "\x1b[" in shown
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown).replace("\r", "").splitlines()
    assert lines[0].split() == ["VERDICT", "FIELD", "WHAT", "NFTSVC", "DOES"]
    assert re.match(r'different +mode = "ipvs" +nftsvc works', lines[1])
    assert all(len(line) <= 100 for line in lines[:-1])
    assert lines[-1].startswith("kp.yaml #1 KubeProxyConfiguration: 4 fields")
