"""Every command, name and number in docs/deploy.md is one that there is."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.exceptions import TyperException

from nftsvc.cli import make_app
from nftsvc.configuration import ConntrackSettings
from tests.deploy import schema
from tests.deploy.deployment import DEPLOY, ROOT, container, daemonset, document, documents, pod_spec, setting

app = make_app()

TEXT = (ROOT / "docs" / "deploy.md").read_text()
IN_FILES = "".join(path.read_text() for path in DEPLOY.iterdir())


def shell_lines() -> list[str]:
    """Return the lines that are to be typed: those that are indented, outside of fences."""
    plain = re.sub(r"(?ms)^```.*?^```$", "", TEXT)
    return [line.strip() for line in plain.splitlines() if line.startswith("    ") and line.strip()]


def commands(text: str) -> list[list[str]]:
    """Return the words of every nftsvc command that stands in a text, on a line of its own or between backquotes."""
    found = re.findall(r"(?:^|[\s`|/(])(nftsvc (?:[a-z-]+|--[a-z-]+)(?: [^\n`|;&>#)]*)?)", text, re.MULTILINE)
    return [shlex.split(one)[1:] for one in found]


COMMANDS = [
    *commands("\n".join(shell_lines())),
    *(words for span in re.findall(r"`([^`]+)`", TEXT) for words in commands(f"`{span}`")),
    *commands("\n".join(re.findall(r"`nftsvc [^`]+`", IN_FILES))),
]


def parse(words: list[str]) -> None:
    """Let the command line read these words without doing anything. Whatever it cannot read is an exception."""
    command: Any = typer.main.get_command(app)
    name = ""
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        name, *words = words
        command = command.commands[name]
    command.make_parser(command.context_class(command, info_name=name)).parse_args(args=list(words))


@pytest.mark.parametrize("words", COMMANDS, ids=[" ".join(one) for one in COMMANDS])
def test_every_command_can_be_read(words: list[str]) -> None:
    parse(words)


def test_there_are_commands() -> None:
    assert len(COMMANDS) > 8


@pytest.mark.parametrize("line", ["nftsvc fly", "nftsvc run --kubeconfi x", "nftsvc run --node", "nftsvc clean --all"])
def test_a_command_that_there_is_not_is_noticed(line: str) -> None:
    (words,) = commands(line)
    with pytest.raises((KeyError, TyperException)):
        parse(words)


@pytest.mark.parametrize("line", shell_lines())
def test_a_line_is_one_for_the_shell(line: str) -> None:
    subprocess.run(["bash", "-n", "-c", line], check=True)


def test_files_that_are_named_are_there() -> None:
    named = set(re.findall(r"examples/[\w./-]+\w", " ".join(shell_lines())))
    assert {"examples/deploy/Containerfile", "examples/deploy/kube-proxy-patch.yaml"} <= named
    for one in named:
        assert (ROOT / one).exists(), one


def test_the_label_is_the_one_that_the_daemonset_asks_for() -> None:
    key, value = next((key, value) for key, value in pod_spec()["nodeSelector"].items() if "/" not in key)
    assert re.findall(r"kubectl label nodes? \S+ (\S+)", TEXT) == [f"{key}={value}", f"{key}={value}", f"{key}-"]
    assert f"`{key}: {value}`" in TEXT
    assert f"{key}: {value}" in (DEPLOY / "daemonset.yaml").read_text()


def test_objects_and_images_that_are_named_are_those_of_the_files() -> None:
    name = daemonset()["metadata"]["name"]
    named = set(re.findall(r"daemonset (\S+)", "\n".join(shell_lines())))
    assert named == {name, "kube-proxy"}
    assert set(re.findall(r"(?:--image=|--tag )(\S+)", TEXT + IN_FILES)) == {container()["image"]}
    label, value = next(iter(daemonset()["spec"]["selector"]["matchLabels"].items()))
    assert set(re.findall(r"app\.kubernetes\.io/name=\S+", TEXT)) == {f"{label}={value}"}
    assert set(re.findall(r"--namespace (\S+)", TEXT)) == {daemonset()["metadata"]["namespace"], "default"}


def test_patch_in_the_text_removes_what_the_patch_file_adds() -> None:
    (patch,) = (json.loads(one) for one in re.findall(r"--patch '(.*)'", TEXT))
    place: Any = documents("kube-proxy-patch.yaml")[0]
    ((operation, path),) = [(one["op"], one["path"]) for one in patch]
    assert operation == "remove"
    for part in path.strip("/").split("/"):
        place = place[part]
    assert schema.problems_of_patch(place, "V1Affinity") == []


def test_messages_that_are_explained_are_said() -> None:
    sources = "".join(path.read_text() for path in (ROOT / "nftsvc" / "sources" / "cluster").glob("*.py"))
    rows = re.search(r"\| message \|.*\n\|---.*\n((?:\|.*\n)+)", TEXT)
    assert rows is not None
    said = [one for row in rows[1].splitlines() for one in re.findall(r"`([^`]+)`", row.split("|")[1])]
    assert len(said) > 5
    for one in said:
        assert one.replace("'' ", "") in sources, one


def test_words_of_the_log_are_those_of_the_agent() -> None:
    code = "".join(path.read_text() for path in (ROOT / "nftsvc" / "agent").glob("*.py"))
    for words in ("taking over from kube-proxy", "not set", "NotServed"):
        assert f"`{words}`" in TEXT or f"reason={words}" in TEXT
        assert f'"{words}"' in code
    assert "`synced kind=first`" in TEXT
    assert '"synced"' in code


def test_scrape_configuration_finds_the_pods_metrics() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (job,) = yaml.safe_load(block)["scrape_configs"]
    assert job["honor_labels"] is True
    (found,) = job["kubernetes_sd_configs"]
    assert found["namespaces"]["names"] == [daemonset()["metadata"]["namespace"]]
    key, _, value = found["selectors"][0]["label"].partition("=")
    assert daemonset()["spec"]["template"]["metadata"]["labels"][key] == value
    (port,) = container()["ports"]
    rule = next(one for one in job["relabel_configs"] if one["target_label"] == "__address__")
    for address in ("192.0.2.11", "[2001:db8::11]"):
        replacement = rule["replacement"].replace("${1}", r"\1")
        assert re.sub(f"^(?:{rule['regex']})$", replacement, f"{address}:{port['containerPort']}") == f"{address}:10249"
    assert "metricsBindAddress: 127.0.0.1:10249" in (DEPLOY / "config.conf").read_text()
    assert "`metricsBindAddress: 0.0.0.0:10249`" in TEXT


def test_alerts_become_an_object_for_the_operator(tmp_path: Path) -> None:
    (block,) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    script = block.replace("kubectl apply --filename -", f"cat > {shlex.quote(str(tmp_path / 'made'))}")
    subprocess.run(["sh", "-ec", script], check=True, cwd=ROOT)
    made = yaml.safe_load((tmp_path / "made").read_text())
    assert made["kind"] == "PrometheusRule"
    assert made["spec"] == yaml.safe_load((DEPLOY / "alerts.yaml").read_text())


def test_alerts_that_are_named_are_there() -> None:
    alerts = (DEPLOY / "alerts.yaml").read_text()
    for one in set(re.findall(r"Nftsvc\w+", TEXT + alerts)):
        assert f"alert: {one}\n" in alerts, one


def test_what_the_pod_may_do_is_told() -> None:
    rules = document("rbac.yaml", "ClusterRole")["rules"]
    (row,) = [line for line in TEXT.splitlines() if line.startswith("| `list`, `watch` of ")]
    resources = {one for rule in rules for one in rule["resources"]}
    assert {word.lower() for word in re.findall(r"\w+", row.split("|")[1])} - {
        "list",
        "watch",
        "of",
        "create",
    } == resources
    assert "the capability NET_ADMIN" in TEXT


def test_options_of_the_unit_can_be_read() -> None:
    (options,) = re.findall(r"^NFTSVC_OPTIONS=(.*)$", TEXT, re.MULTILINE)
    parse([*shlex.split(setting("ExecStart").removesuffix("$NFTSVC_OPTIONS"))[1:], *options.split()])


def test_sizes_of_connection_tracking_are_kube_proxys_defaults() -> None:
    told = dict(re.findall(r"^(?:net\.netfilter\.|options nf_conntrack )(\w+) ?= ?(\d+)$", TEXT, re.MULTILINE))
    default = ConntrackSettings()
    assert told == {
        "nf_conntrack_max": str(default.minimum),
        "hashsize": str(default.minimum // 4),
        "nf_conntrack_tcp_timeout_established": f"{default.tcp_established_timeout.seconds:.0f}",
        "nf_conntrack_tcp_timeout_close_wait": f"{default.tcp_close_wait_timeout.seconds:.0f}",
    }
