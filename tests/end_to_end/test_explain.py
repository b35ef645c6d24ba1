"""`nftsvc explain` and `--set` as people use them: a question in; an answer and an exit code out."""

import json
import os
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nftsvc.cli import make_app
from tests.support.builders import Raw, endpoint_slice, service

app = make_app()

PROGRAM = (sys.executable, "-m", "nftsvc")
INSTALLED = Path(sys.executable).parent / "nftsvc"
Done = subprocess.CompletedProcess[str]

VIP, EXTERNAL, NODE_IP, NODE_IP_6 = "10.96.0.10", "203.0.113.10", "192.0.2.11", "2001:db8::11"
VIP_6 = "fd00:96::10"
POD, CLIENT, CLIENT_6 = "10.244.1.10", "198.51.100.7", "2001:db8:100::7"
HERE, THERE = "10.244.1.5", "10.244.2.9"
FIELDS = (
    *("addresses", "zone", "podCIDRs", "clusterCIDRs", "detectLocalMode", "bridgeInterface", "interfaceNamePrefix"),
    *("masqueradeAll", "nodePortAddresses", "serviceCIDRs"),
)


def run(*arguments: str, cwd: Path, stdin: str = "", **extra: str) -> Done:
    colourless = {name: text for name, text in os.environ.items() if "COLOR" not in name and name != "GITHUB_ACTIONS"}
    env = {**colourless, "COLUMNS": "120", **extra}
    if extra or stdin or "--help" in arguments:
        return subprocess.run(
            [*PROGRAM, *arguments], cwd=cwd, input=stdin, capture_output=True, text=True, check=False, env=env
        )
    with chdir(cwd):  # in this process: a start takes most of a second
        done = CliRunner(env=env).invoke(app, arguments)
    return Done(arguments, done.exit_code, done.stdout, done.stderr)


def node(name: str = "node-a", *addresses: str) -> Raw:
    reported = [{"type": "InternalIP", "address": one} for one in addresses or (NODE_IP, NODE_IP_6)]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": {"addresses": reported}}


def configuration(**spec: Any) -> Raw:
    return {"apiVersion": "nftsvc/v1", "kind": "NodeConfiguration", "metadata": {}, "spec": spec}


def web(**spec: Any) -> Raw:
    fields = {"type": "NodePort", "externalIPs": [EXTERNAL], **spec}
    return service("web", [VIP, VIP_6], [{"name": "http", "port": 80, "nodePort": 30080}], **fields)


def endpoints(node_name: str, *addresses: str) -> Raw:
    family = "6" if ":" in addresses[0] else "4"
    ports = [{"name": "http", "port": 8080}]
    return endpoint_slice("web", addresses, ports, node=node_name, suffix=f"{node_name}-{family}")


def cluster(folder: Path, *more: Raw, **spec: Any) -> str:
    """Write a Service with an endpoint on each of two nodes, and return the path."""
    raws = [web(**spec), endpoints("node-a", HERE), endpoints("node-b", THERE), endpoints("node-a", "fd00:244:1::5")]
    nodes = [] if any(one["kind"] == "Node" for one in more) else [node()]
    path = folder / "cluster.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [*raws, *nodes, *more]}))
    return str(path)


def ask(path: str, *arguments: str, source: str = CLIENT, to: str = f"{VIP}:80") -> Done:
    return run("explain", path, "--from", source, "--to", to, *arguments, cwd=Path(path).parent)


def answer(path: str, *arguments: str, source: str = CLIENT, to: str = f"{VIP}:80") -> Any:
    done = ask(path, "-o", "json", *arguments, source=source, to=to)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def masqueraded(found: Any) -> dict[str, bool]:
    return {one["address"]: one["masqueraded"] for one in found["endpoints"]}


# Text ----------------------------------------------------------------------------------------------------------------


def test_text_says_what_happens_first_and_then_why(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path), "--set", "clusterCIDRs=10.244.0.0/16", source=POD)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.splitlines()
    assert first == f"forward: {POD} -> {VIP}:80/TCP"
    assert all(line.startswith("  ") for line in rest)
    text = "\n".join(rest)
    for said in ("a Pod of this node", f"ClusterIP {VIP}:80 of Service shop/web:http", "TrafficPolicy Cluster"):
        assert said in text
    for address in (HERE, THERE):
        (line,) = [one for one in rest if address in one]
        assert f"{address}:8080" in line
        assert "1/2" in line
        assert f"sees {POD}" in line


def test_text_says_who_sees_an_address_of_the_node_and_by_which_rule(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path), to=f"{NODE_IP}:30080")
    lines = [line for line in done.stdout.splitlines() if "sees" in line]
    assert len(lines) == 2
    assert all("sees an address of this node (NodePort masquerades everybody)" in line for line in lines)


def test_text_says_which_endpoints_are_not_used(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path, internalTrafficPolicy="Local"), source=POD)
    (left,) = [line for line in done.stdout.splitlines() if "not used" in line]
    assert f"{THERE}:8080" in left
    assert "not local" in left
    (used,) = [line for line in done.stdout.splitlines() if "sees" in line]
    assert "always" in used


def test_text_of_ipv6_has_brackets(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path), source=CLIENT_6, to=f"[{VIP_6}]:80")
    assert done.stdout.startswith(f"forward: {CLIENT_6} -> [{VIP_6}]:80/TCP\n")
    assert "[fd00:244:1::5]:8080" in done.stdout


def test_text_has_no_escape_sequences_and_is_never_wrapped(tmp_path: Path) -> None:
    path = cluster(tmp_path)
    narrow = run("explain", path, "--from", CLIENT, "--to", f"{VIP}:80", cwd=tmp_path, COLUMNS="20")
    assert narrow.stdout == ask(path).stdout
    assert "\x1b" not in narrow.stdout


# JSON ----------------------------------------------------------------------------------------------------------------

KEYS = {
    *("from", "to", "protocol", "outcome", "service", "frontend", "affinitySeconds", "endpoints", "leftOut", "steps"),
}


@pytest.mark.parametrize(
    ("to", "outcome"),
    [(f"{VIP}:80", "forward"), (f"{VIP}:81/UDP", "reject"), ("10.100.0.1:80", "drop"), ("198.18.0.1:80", "pass")],
)
def test_json_has_the_same_keys_whatever_happens(to: str, outcome: str, tmp_path: Path) -> None:
    found = answer(cluster(tmp_path), "--set", "serviceCIDRs=10.96.0.0/12", to=to)
    assert set(found) == KEYS
    assert (found["from"], found["to"], found["outcome"]) == (CLIENT, to.removesuffix("/UDP"), outcome)
    assert found["protocol"] == ("UDP" if "UDP" in to else "TCP")
    assert all(set(one) == {"topic", "text"} for one in found["steps"])
    assert all(isinstance(text, str) and text for one in found["steps"] for text in one.values())
    if outcome != "forward":
        assert (found["service"], found["frontend"], found["endpoints"]) == (None, None, [])


def test_json_of_a_forwarded_packet(tmp_path: Path) -> None:
    found = answer(cluster(tmp_path, externalTrafficPolicy="Local", sessionAffinity="ClientIP"), to=f"{EXTERNAL}:80")
    assert (found["service"], found["frontend"], found["affinitySeconds"]) == ("shop/web:http", "ExternalIP", 10800)
    (endpoint,) = found["endpoints"]
    assert endpoint.keys() == {"address", "port", "share", "masqueraded", "why"}
    assert (endpoint["address"], endpoint["port"], endpoint["share"]) == (HERE, 8080, 1.0)
    assert endpoint["masqueraded"] is False
    assert found["leftOut"] == [{"address": THERE, "port": 8080, "reason": "not local"}]


def test_json_has_shares_as_numbers(tmp_path: Path) -> None:
    found = answer(cluster(tmp_path), source=POD)
    assert [one["share"] for one in found["endpoints"]] == [0.5, 0.5]
    assert found["affinitySeconds"] is None


# Expectations and exit codes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "outcome"),
    [(f"{VIP}:80", "forward"), (f"{VIP}:81", "reject"), ("10.100.0.1:80", "drop"), ("198.18.0.1:80", "pass")],
)
def test_what_is_expected_decides_the_exit_code(to: str, outcome: str, tmp_path: Path) -> None:
    path = cluster(tmp_path, configuration(serviceCIDRs=["10.96.0.0/12"]))
    for expected in (outcome, "drop" if outcome == "reject" else "reject"):
        done = ask(path, "--expect", expected, to=to)
        assert done.returncode == (0 if expected == outcome else 1)
        assert done.stdout.startswith(f"{outcome}: ")
        if expected == outcome:
            assert done.stderr == ""
        else:
            assert outcome in done.stderr
            assert expected in done.stderr


def test_without_an_expectation_every_outcome_is_fine(tmp_path: Path) -> None:
    assert ask(cluster(tmp_path), to=f"{VIP}:81").returncode == 0


def test_json_is_whole_where_something_else_was_expected(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path), "-o", "json", "--expect", "drop")
    assert done.returncode == 1
    assert json.loads(done.stdout)["outcome"] == "forward"


def test_an_unknown_expectation_is_exit_2_and_the_known_ones_are_listed(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path), "--expect", "accept")
    assert (done.returncode, done.stdout) == (2, "")
    for named in ("--expect", "accept", "forward", "reject", "drop", "pass"):
        assert named in done.stderr


def test_bad_input_is_exit_3_and_nothing_is_explained(tmp_path: Path) -> None:
    path = cluster(tmp_path, configuration(masqueradeall=True, clusterCIDRs=["10.244.0.0"]))
    done = ask(path, "--expect", "forward")
    assert (done.returncode, done.stdout) == (3, "")
    assert "spec.masqueradeall: no such field" in done.stderr
    assert "spec.clusterCIDRs[0]" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--from", CLIENT), "--to"),
        (("--to", f"{VIP}:80"), "--from"),
    ],
)
def test_sender_and_target_must_be_given(arguments: tuple[str, ...], named: str, tmp_path: Path) -> None:
    done = run("explain", cluster(tmp_path), *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert named in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--from", "10.244.1.300", "not an IP address"),
        ("--from", "web", "not an IP address"),
        ("--from", "10.244.1.10:4711", "not an IP address"),
        ("--from", "0.0.0.0", "unspecified"),  # noqa: S104 - refused here
        ("--to", VIP, "ADDRESS:PORT"),
        ("--to", f"{VIP}:http", "ADDRESS:PORT"),
        ("--to", f"{VIP_6}:80", "ADDRESS:PORT"),
        ("--to", f"http://{VIP}:80", "ADDRESS:PORT"),
        ("--to", "10.96.0.300:80", "not an IP address"),
        ("--to", f"{VIP}:0", "port"),
        ("--to", f"{VIP}:65536", "port"),
        ("--to", f"{VIP}:80/ICMP", "TCP, UDP, SCTP"),
        ("--to", "[fd00::g]:80", "not an IP address"),
        ("--local", "node-a", "not an IP address"),
        ("--set", "zone", "FIELD=VALUE"),
        ("--set", "mode=x", "no such field"),
        ("--set", "masqueradeAll=perhaps", "true or false"),
        ("--set", "clusterCIDRs=10.244.0.0", "not a network"),
        ("--set", "nodePortAddresses=127.0.0.0/8", "loopback"),
    ],
)
def test_a_bad_value_is_exit_2_and_named_with_its_option(option: str, value: str, why: str, tmp_path: Path) -> None:
    arguments = {"--from": CLIENT, "--to": f"{VIP}:80", option: value}
    done = run("explain", cluster(tmp_path), *(one for pair in arguments.items() for one in pair), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert f"{option} " in done.stderr
    assert value.rpartition("=")[2].rpartition(":")[0].strip("[]") in done.stderr
    assert why in done.stderr


def test_two_families_in_one_question_are_exit_2(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path), source=CLIENT_6)
    assert (done.returncode, done.stdout) == (2, "")
    assert CLIENT_6 in done.stderr
    assert VIP in done.stderr
    assert "family" in done.stderr


def test_every_bad_setting_is_named_in_one_run(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path), *("--set", "mode=x", "--set", "masqueradeAll=7", "--set", "addresses=a,b"))
    assert done.returncode == 2
    for named in ("mode", "masqueradeAll", "'7'", "addresses[0]", "addresses[1]"):
        assert named in done.stderr


@pytest.mark.parametrize(("said", "protocol"), [("", "TCP"), ("/tcp", "TCP"), ("/Udp", "UDP"), ("/SCTP", "SCTP")])
def test_the_protocol_may_be_said_in_any_case(said: str, protocol: str, tmp_path: Path) -> None:
    assert answer(cluster(tmp_path), to=f"{VIP}:80{said}")["protocol"] == protocol


# Who sends -----------------------------------------------------------------------------------------------------------


def test_node_means_this_node(tmp_path: Path) -> None:
    found = answer(cluster(tmp_path, externalTrafficPolicy="Local"), source="node", to=f"{EXTERNAL}:80")
    assert found["from"] == NODE_IP
    assert masqueraded(found) == {HERE: True, THERE: True}
    assert found["steps"][0]["text"].startswith("this node")


def test_node_without_an_address_of_the_family_is_exit_2_and_says_which(tmp_path: Path) -> None:
    done = ask(cluster(tmp_path, node("node-a", NODE_IP)), source="node", to=f"[{VIP_6}]:80")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--from node" in done.stderr
    assert "IPv6" in done.stderr


def test_nodes_address_may_be_set(tmp_path: Path) -> None:
    path = cluster(tmp_path, node("node-a", NODE_IP))
    found = answer(path, "--set", f"addresses={NODE_IP_6}", source="node", to=f"[{VIP_6}]:80")
    assert found["from"] == NODE_IP_6


def test_the_node_is_the_one_that_is_named(tmp_path: Path) -> None:
    path = cluster(tmp_path, node(), node("node-b", "192.0.2.12"), internalTrafficPolicy="Local")
    for name, address, endpoint in (("node-a", NODE_IP, HERE), ("node-b", "192.0.2.12", THERE)):
        found = answer(path, "--node", name, source="node")
        assert found["from"] == address
        assert masqueraded(found).keys() == {endpoint}
    assert ask(path, "--node", "node-c").returncode == 2


def test_the_interface_decides_where_it_is_given(tmp_path: Path) -> None:
    path = cluster(tmp_path, configuration(detectLocalMode="BridgeInterface", bridgeInterface="cbr0"))
    assert set(masqueraded(answer(path, "--interface", "cbr0")).values()) == {False}
    assert set(masqueraded(answer(path, "--interface", "eth0")).values()) == {True}
    assert masqueraded(answer(path, source=HERE)) == {HERE: True, THERE: False}


def test_local_addresses_are_the_nodes(tmp_path: Path) -> None:
    path = cluster(tmp_path, externalTrafficPolicy="Local")
    second, everywhere = "192.0.2.111", ("--set", "nodePortAddresses=all")
    assert answer(path, *everywhere, to=f"{second}:30080")["outcome"] == "pass"
    given = answer(path, *everywhere, "--local", "192.0.2.112", "--local", second, to=f"{second}:30080")
    assert (given["outcome"], given["frontend"]) == ("forward", "NodePort")
    assert masqueraded(answer(path, "--local", second, source=second, to=f"{EXTERNAL}:80"))[THERE] is True


def test_a_node_port_on_loopback_is_nobodys_business(tmp_path: Path) -> None:
    """People ask this because it works with other modes of kube-proxy."""
    assert answer(cluster(tmp_path), source="node", to="127.0.0.1:30080")["outcome"] == "pass"


# The input -----------------------------------------------------------------------------------------------------------


def test_input_with_warnings_is_explained_and_the_warnings_are_said(tmp_path: Path) -> None:
    other = service("other", ["10.96.0.11"], externalIPs=[EXTERNAL])
    pending = service("pending", [""])
    path = cluster(tmp_path, other, pending, node(), node("node-b", "192.0.2.12"))
    done = ask(path, "--expect", "forward")
    assert done.returncode == 0
    assert done.stdout.startswith("forward: ")
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert any(f"{EXTERNAL}:80/TCP" in line for line in warnings)
    assert any("pending" in line for line in warnings)
    assert any("--node" in line for line in warnings)


def test_standard_input_is_read(tmp_path: Path) -> None:
    text = Path(cluster(tmp_path)).read_text()
    done = run("explain", "-", "--from", CLIENT, "--to", f"{VIP}:80", cwd=tmp_path, stdin=text)
    assert done.stdout == ask(str(tmp_path / "cluster.json")).stdout


def test_input_that_is_not_there_is_exit_2(tmp_path: Path) -> None:
    done = ask(str(tmp_path / "nothing.yaml"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "nothing.yaml" in done.stderr


def test_a_folder_is_read_with_its_settings(tmp_path: Path) -> None:
    cluster(tmp_path)
    settings = "apiVersion: nftsvc/v1\nkind: NodeConfiguration\nspec: {masqueradeAll: true}\n"
    (tmp_path / "settings.yaml").write_text(settings)
    assert set(masqueraded(answer(str(tmp_path), source=POD)).values()) == {True}
    overridden = answer(str(tmp_path), "--set", "masqueradeAll=false", source=POD)
    assert set(masqueraded(overridden).values()) == {False}


# --set elsewhere -----------------------------------------------------------------------------------------------------


def test_set_changes_the_ruleset(tmp_path: Path) -> None:
    path = cluster(tmp_path)

    def rendered(*sets: str) -> str:
        done = run("render", path, *(word for one in sets for word in ("--set", one)), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    plain = rendered()
    for override, shown in (
        ("clusterCIDRs=10.244.0.0/16", "10.244.0.0/16"),
        ("serviceCIDRs=10.96.0.0/12", "10.96.0.0/12"),
        ("nodePortAddresses=192.0.2.0/24", "192.0.2.0/24"),
        ("addresses=192.0.2.99", "192.0.2.99"),
    ):
        assert shown not in plain
        assert shown in rendered(override)
    assert rendered("masqueradeAll=true") != plain
    bridge = rendered("detectLocalMode=BridgeInterface", "bridgeInterface=cbr7")
    assert '"cbr7"' in bridge
    assert rendered("masqueradeAll=true", "masqueradeAll=false") == plain


def test_a_bad_setting_of_render_is_exit_2(tmp_path: Path) -> None:
    done = run("render", cluster(tmp_path), "--set", "masqueradeAll=perhaps", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "masqueradeAll" in done.stderr


@pytest.mark.parametrize("length", [14, 15])
@pytest.mark.parametrize(
    ("mode", "field"), [("BridgeInterface", "bridgeInterface"), ("InterfaceNamePrefix", "interfaceNamePrefix")]
)
def test_the_longest_names_of_interfaces_are_taken_by_the_kernel_or_refused_before(
    mode: str, field: str, length: int, tmp_path: Path
) -> None:
    sets = ("--set", f"detectLocalMode={mode}", "--set", f"{field}={'v' * length}")
    done = run("check", cluster(tmp_path), *sets, cwd=tmp_path)
    assert done.returncode == 0 or (done.returncode == 2 and field in done.stderr), done.stderr


def completed(words: str, cwd: Path) -> set[str]:
    env = {
        **os.environ,
        "_NFTSVC_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    done = subprocess.run([INSTALLED], cwd=cwd, capture_output=True, text=True, check=True, env=env)
    return set(done.stdout.split())


@pytest.mark.parametrize("command", ["explain", "render"])
def test_completion_offers_the_fields_of_set(command: str, tmp_path: Path) -> None:
    assert completed(f"nftsvc {command} --set ", tmp_path) == {f"{field}=" for field in FIELDS}
    assert completed(f"nftsvc {command} --set mas", tmp_path) == {"masqueradeAll="}


def test_completion_offers_what_may_be_expected(tmp_path: Path) -> None:
    assert completed("nftsvc explain --expect ", tmp_path) == {"forward", "reject", "drop", "pass"}


@pytest.mark.parametrize("command", ["explain", "render", "check", "apply"])
def test_help_names_the_fields_of_set(command: str, tmp_path: Path) -> None:
    text = " ".join(run(command, "--help", cwd=tmp_path, COLUMNS="200").stdout.replace("│", " ").split())
    assert [field for field in FIELDS if field not in text] == []


def test_help_of_explain_has_examples_and_names_its_options(tmp_path: Path) -> None:
    text = run("explain", "--help", cwd=tmp_path).stdout
    assert "nftsvc explain manifests/ --from" in text
    for option in ("--from", "--to", "--node", "--set", "--interface", "--local", "--output", "--expect"):
        assert option in text


def test_configurations_of_several_nodes_are_warned_of(tmp_path: Path) -> None:
    two = [{**configuration(zone="a"), "metadata": {"name": name}} for name in ("node-a", "node-b")]
    path = tmp_path / "two.json"
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": [web(), *two]}))
    done = run("render", str(path), cwd=tmp_path)
    assert "warning: the input is about 2 Nodes: without --node" in done.stderr
    assert "about 2 Nodes" not in run("render", str(path), "--node", "node-b", cwd=tmp_path).stderr
