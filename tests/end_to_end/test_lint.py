"""`nftsvc lint` as people and their CI run it: manifests in; findings, formats and an exit code out."""

import json
import os
import re
import shlex
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nftsvc import __version__
from nftsvc.cli import make_app
from nftsvc.lint import RULES
from tests.support.cases import EXAMPLES

ROOT = EXAMPLES.parent
LINT = EXAMPLES / "lint"
PORTS = LINT / "NS511-port-name-mismatch"
AROUND = LINT / "NS415-ways-around-source-ranges"
IGNORED = LINT / "NS901-ignored-without-a-reason" / "good.yaml"
PROGRAM = (sys.executable, "-m", "nftsvc")
APP = make_app(["lint"])
Done = subprocess.CompletedProcess[str]

BAD = """\
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
spec:
  type: NodePort
  ports:
    - port: 80
      nodePort: 8080
---
apiVersion: v1
kind: Service
metadata:
  name: api
  namespace: shop
spec:
  type: Nodeport
  ports:
    - port: 80
"""


def run(*arguments: str | Path, cwd: Path = ROOT, stdin: str = "", **extra: str) -> Done:
    colourless = {name: text for name, text in os.environ.items() if "COLOR" not in name and name != "GITHUB_ACTIONS"}
    env = {**colourless, "COLUMNS": "120", **extra}
    command = ["lint", *map(str, arguments)]
    with chdir(cwd):  # in this process: a start takes most of a second
        done = CliRunner(env=env).invoke(APP, command, input=stdin)
    return Done(command, done.exit_code, done.stdout, done.stderr)


def bad(folder: Path) -> Path:
    (folder / "web.yaml").write_text(BAD)
    return folder


def found(*arguments: str | Path, **more: Any) -> Any:
    return json.loads(run(*arguments, "-o", "json", **more).stdout)


# Text ----------------------------------------------------------------------------------------------------------------


def test_text_names_file_object_code_and_remedy_and_ends_with_a_summary(tmp_path: Path) -> None:
    done = run(".", cwd=bad(tmp_path))
    assert (done.returncode, done.stderr) == (1, "")
    first, remedy, second, also, blank, last = done.stdout.splitlines()
    assert first == "web.yaml #1 Service shop/web: NS203 warning: spec.ports[0].nodePort: 8080 is not in 30000-32767"
    assert second.startswith("web.yaml #2 Service shop/api: NS502 error: spec.type: 'Nodeport' is not one of")
    assert remedy.startswith("    remedy: Use a port")
    assert also.startswith("    remedy: ")
    assert (blank, last) == ("", "1 error, 1 warning in 1 Service")


def test_files_stand_apart(tmp_path: Path) -> None:
    first, second = BAD.split("---\n")
    for name, text in (("a.yaml", first), ("b.yaml", second)):
        (tmp_path / name).write_text(text)
    blocks = run(".", cwd=tmp_path).stdout.split("\n\n")
    assert [block.split()[0] for block in blocks] == ["a.yaml", "b.yaml", "1"]


def test_nothing_found_is_said_in_one_line() -> None:
    done = run(PORTS / "good.yaml")
    assert (done.returncode, done.stdout, done.stderr) == (0, "no findings in 1 Service\n", "")


def test_what_is_ignored_is_counted_and_shown_if_asked() -> None:
    done = run(IGNORED)
    assert (done.returncode, done.stdout) == (0, "no findings in 1 Service; 1 ignored\n")
    shown = run(IGNORED, "-v").stdout
    assert "NS415 ignored: spec.loadBalancerSourceRanges: they do not guard node port 30080/TCP" in shown
    assert "reason: the firewall in front of the nodes lets node ports through for the office only" in shown
    assert "endpoints of 1 Service are not in the input" in shown


def test_colour_is_for_who_asks_and_nothing_is_wrapped(tmp_path: Path) -> None:
    plain = run(".", cwd=bad(tmp_path))
    assert "\x1b" not in plain.stdout
    coloured = run(".", "--color", "always", cwd=tmp_path).stdout
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain.stdout
    assert "\x1b[" in coloured
    assert run(".", cwd=tmp_path, COLUMNS="20").stdout == plain.stdout


def test_nothing_from_a_manifest_reaches_the_terminal_as_it_is() -> None:
    for output in ("text", "json", "sarif", "github"):
        done = run(EXAMPLES / "902-names-that-would-be-nft-text", "-o", output)
        assert done.returncode == 1
        assert all(line.isprintable() for line in done.stdout.split("\n"))


# Exit codes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "fail_on", "code"),
    [
        (PORTS / "bad.yaml", "error", 1),
        (PORTS / "bad.yaml", "warning", 1),
        (PORTS / "bad.yaml", "never", 0),
        (AROUND / "bad.yaml", "error", 0),
        (AROUND / "bad.yaml", "warning", 1),
        (LINT / "NS311-prefer-close" / "bad.yaml", "warning", 0),
        (LINT / "NS501-unreadable" / "bad.yaml", "error", 1),
        (LINT / "NS501-unreadable" / "bad.yaml", "never", 0),
        (PORTS / "good.yaml", "warning", 0),
    ],
    ids=lambda value: value.parent.name[:5] if isinstance(value, Path) else str(value),
)
@pytest.mark.parametrize("output", ["text", "json", "sarif", "github"])
def test_the_exit_code_says_whether_there_is_anything_as_bad(file: Path, fail_on: str, code: int, output: str) -> None:
    assert run(file, "--fail-on", fail_on, "-o", output).returncode == code


def test_errors_are_what_fails_if_nothing_is_said() -> None:
    assert (run(PORTS / "bad.yaml").returncode, run(AROUND / "bad.yaml").returncode) == (1, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to lint"),
        (("gone.yaml",), "'gone.yaml' does not exist"),
        ((PORTS, "--ignore", "NS999"), "--ignore 'NS999': no such code"),
        ((PORTS, "--fail-on", "info"), "--fail-on"),
        ((PORTS, "--set", "zone"), "--set 'zone': not FIELD=VALUE"),
        ((PORTS / "good.yaml", "--node", "Node_A"), "--node 'Node_A'"),
        (("--list", "-o", "sarif"), "--list is for -o text and -o json"),
    ],
    ids=str,
)
def test_wrong_usage_is_exit_2(arguments: tuple[str | Path, ...], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_an_empty_folder_is_a_finding(tmp_path: Path) -> None:
    done = run(".", cwd=tmp_path)
    assert done.returncode == 1
    assert "NS501 error: .: no manifests in this folder" in done.stdout


# Options -------------------------------------------------------------------------------------------------------------


def test_codes_can_be_left_out(tmp_path: Path) -> None:
    done = run(".", "--ignore", "NS203", "--ignore", "NS502", cwd=bad(tmp_path))
    assert (done.returncode, done.stdout) == (0, "no findings in 1 Service\n")


def test_the_node_decides_what_is_local(tmp_path: Path) -> None:
    text = (LINT / "NS301-internal-policy-without-local-endpoint" / "bad.yaml").read_text()
    (tmp_path / "web.yaml").write_text(text.partition("---\n")[2])  # without the Node
    for node, codes in (("node-a", ["NS301"]), ("node-b", []), ("node-c", ["NS301"])):
        assert [one["code"] for one in found(".", "--node", node, cwd=tmp_path)["findings"]] == codes
    assert found(".", cwd=tmp_path)["findings"] == []


def test_settings_count() -> None:
    file = LINT / "NS208-cluster-ip-outside-the-service-networks" / "good.yaml"
    assert run(file).returncode == 0
    assert "NS208" in run(LINT / "NS101-no-endpoints" / "good.yaml", "--set", "serviceCIDRs=10.97.0.0/16").stdout


def test_standard_input_is_read() -> None:
    done = run("-", stdin=BAD)
    assert "<stdin> #1 Service shop/web: NS203" in done.stdout
    (first, _) = found("-", stdin=BAD)["findings"]
    assert (first["file"], first["line"]) == ("<stdin>", 10)
    assert "file=" not in run("-", "-o", "github", stdin=BAD).stdout


def test_a_real_start_prints_the_same(tmp_path: Path) -> None:
    command = [*PROGRAM, "lint", "-", "--fail-on", "warning"]
    done = subprocess.run(command, input=BAD, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, run("-", stdin=BAD).stdout)


def test_every_code_is_listed_with_what_it_means() -> None:
    listed = json.loads(run("--list", "-o", "json").stdout)["rules"]
    assert [one["code"] for one in listed] == [rule.code for rule in RULES]
    assert all(set(one) == {"code", "name", "severity", "title", "explanation", "remedy"} for one in listed)
    text = run("--list").stdout
    for rule in RULES:
        head, explanation, remedy = text[text.index(f"{rule.code} ") :].splitlines()[:3]
        assert head == f"{rule.code} {rule.name} {rule.level}: {rule.title}"
        assert (explanation.strip(), remedy.strip()) == (rule.explanation, f"remedy: {rule.remedy}")


# Formats -------------------------------------------------------------------------------------------------------------


def test_json_has_everything(tmp_path: Path) -> None:
    answer = found(".", cwd=bad(tmp_path))
    assert answer["summary"] == {
        "error": 1,
        "warning": 1,
        "info": 0,
        "ignored": 0,
        "services": 1,
        "servicesWithoutEvidence": 1,
    }
    first, second = answer["findings"]
    assert first.pop("remedy").startswith("Use a port")
    assert first == {
        "code": "NS203",
        "severity": "warning",
        "kind": "Service",
        "namespace": "shop",
        "name": "web",
        "field": "spec.ports[0].nodePort",
        "message": "8080 is not in 30000-32767",
        "file": "web.yaml",
        "document": 1,
        "item": None,
        "line": 10,
    }
    assert (second["code"], second["document"], second["line"]) == ("NS502", 2, 18)
    (ignored,) = found(IGNORED)["ignored"]
    assert (ignored["code"], ignored["reason"][:12]) == ("NS415", "the firewall")


def test_annotations_of_github_are_at_the_fields_line(tmp_path: Path) -> None:
    first, second, last = run(".", "-o", "github", cwd=bad(tmp_path)).stdout.splitlines()
    assert first.startswith(
        "::warning file=web.yaml,line=10,title=NS203::Service shop/web: spec.ports[0].nodePort: 8080 is not"
    )
    assert second.startswith("::error file=web.yaml,line=18,title=NS502::Service shop/api: spec.type: ")
    assert last == "1 error, 1 warning in 1 Service"
    info = run(LINT / "NS311-prefer-close" / "bad.yaml", "-o", "github").stdout
    assert info.startswith("::notice file=examples/lint/NS311-prefer-close/bad.yaml,line=")


def test_text_that_is_no_yaml_has_the_line_that_the_parser_names() -> None:
    assert "bad.yaml,line=4,title=NS501::not YAML: line 4" in run(LINT / "NS501-unreadable", "-o", "github").stdout


def test_lines_of_items_of_a_list(tmp_path: Path) -> None:
    items = [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"s-{at}"}, "spec": {}} for at in range(3)]
    (tmp_path / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}, indent=2))
    lines = (tmp_path / "all.json").read_text().splitlines()
    for at, one in enumerate(found("all.json", cwd=tmp_path)["findings"]):
        assert (one["item"], one["field"]) == (at, "spec.ports")
        assert '"spec"' in lines[one["line"] - 1]
        assert f"s-{at}" in "".join(lines[one["line"] - 4 : one["line"]])


# What SARIF 2.1.0 lets each of these have, as far as it is used here; its schema takes nothing else.
ALLOWED = {
    "run": {"tool", "invocations", "results", "columnKind"},
    "driver": {"name", "version", "semanticVersion", "rules"},
    "rule": {"id", "name", "shortDescription", "fullDescription", "help", "defaultConfiguration", "properties"},
    "result": {"ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"},
    "location": {"physicalLocation", "logicalLocations"},
}


def sarif_run(*arguments: str | Path, **more: Any) -> Any:
    log = json.loads(run(*arguments, "-o", "sarif", **more).stdout)
    assert (set(log), log["version"]) == ({"$schema", "version", "runs"}, "2.1.0")
    (only,) = log["runs"]
    return only


def test_sarif_has_every_rule_with_help_and_the_version() -> None:
    only = sarif_run(PORTS / "good.yaml")
    assert set(only) == ALLOWED["run"]
    driver = only["tool"]["driver"]
    assert set(driver) == ALLOWED["driver"]
    assert (driver["name"], driver["version"]) == ("nftsvc", __version__)
    assert [one["id"] for one in driver["rules"]] == [rule.code for rule in RULES]
    for one, rule in zip(driver["rules"], RULES, strict=True):
        assert set(one) == ALLOWED["rule"]
        assert one["shortDescription"]["text"] == rule.title
        assert len(one["fullDescription"]["text"]) <= 1024  # what GitHub takes
        assert rule.remedy in one["help"]["text"]
        assert rule.remedy in one["help"]["markdown"]
        assert one["defaultConfiguration"]["level"] in ("error", "warning", "note")
    assert (only["results"], only["invocations"][0]["executionSuccessful"]) == ([], True)


def test_sarif_has_a_result_with_a_place_for_each_finding(tmp_path: Path) -> None:
    only = sarif_run(".", cwd=bad(tmp_path))
    rules = only["tool"]["driver"]["rules"]
    for one in only["results"]:
        assert set(one) == ALLOWED["result"]
        assert rules[one["ruleIndex"]]["id"] == one["ruleId"]
        (location,) = one["locations"]
        assert set(location) == ALLOWED["location"]
        assert location["physicalLocation"]["artifactLocation"] == {"uri": "web.yaml"}
    assert [one["locations"][0]["physicalLocation"]["region"]["startLine"] for one in only["results"]] == [10, 18]
    assert [one["level"] for one in only["results"]] == ["warning", "error"]
    assert only["results"][0]["message"]["text"].startswith("Service shop/web: spec.ports[0].nodePort: 8080 is not")
    assert [one["locations"][0]["logicalLocations"][0]["fullyQualifiedName"] for one in only["results"]] == [
        *("Service shop/web", "Service shop/api"),
    ]


def test_sarif_tells_findings_apart_wherever_they_move(tmp_path: Path) -> None:
    def prints() -> list[str]:
        results = sarif_run(".", cwd=tmp_path)["results"]
        return [value for one in results for value in one["partialFingerprints"].values()]

    before = [bad(tmp_path), prints()][1]
    (tmp_path / "web.yaml").write_text(f"# moved\n\n{BAD}")
    assert prints() == before
    assert len(set(before)) == 2


def test_sarif_says_what_has_no_place_as_a_notification(tmp_path: Path) -> None:
    only = sarif_run(".", cwd=tmp_path)
    (invocation,) = only["invocations"]
    assert (invocation["executionSuccessful"], only["results"]) == (False, [])
    (told,) = invocation["toolExecutionNotifications"]
    assert told["level"] == "error"
    assert "no manifests in this folder" in told["message"]["text"]
    assert told["associatedRule"]["id"] == "NS501"


def test_sarif_writes_names_of_files_as_references(tmp_path: Path) -> None:
    (tmp_path / "a b#c.yaml").write_text(BAD)
    for given, cwd in (("./a b#c.yaml", tmp_path), (tmp_path / "a b#c.yaml", tmp_path), (tmp_path, ROOT)):
        (first, *_) = sarif_run(given, cwd=cwd)["results"]
        uri = first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
        assert uri == ("a%20b%23c.yaml" if cwd == tmp_path else f"{tmp_path.as_uri()}/a%20b%23c.yaml")


def test_sarif_leaves_out_what_is_ignored() -> None:
    assert sarif_run(IGNORED)["results"] == []


# Documentation -------------------------------------------------------------------------------------------------------


def test_help_teaches_by_examples() -> None:
    text = run("--help", COLUMNS="200").stdout
    for said in ("nftsvc lint manifests/", "--fail-on", "--ignore", "--list", "nftsvc/lint-ignore", "Exit codes"):
        assert said in text


def test_commands_in_the_documentation_print_what_is_shown() -> None:
    blocks = re.findall(
        r"```console\n\$ nftsvc lint (.*?)\n(.*?)```", (ROOT / "docs" / "lint.md").read_text(), re.DOTALL
    )
    assert blocks
    for command, output in blocks:
        assert run(*shlex.split(command)).stdout == output
