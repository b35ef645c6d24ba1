"""The agent works with what the DaemonSet and the unit leave it: really run, with their command lines and files."""

import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nftsvc.errors import ExitCode
from nftsvc.kernel import Kernel
from nftsvc.lab import Namespace, namespaces
from nftsvc.values import FAMILIES
from tests.deploy.confined import NET_ADMIN, Confinement, confined
from tests.deploy.deployment import DEPLOY, ROOT, container, documents, setting
from tests.support.agent import RunningAgent
from tests.support.agent_traffic import PATIENCE, ended, until
from tests.support.apiserver import ApiServer
from tests.support.apiserver_load import cluster, endpoint_slice, service

NODE = "node-a"
SERVICES = 3
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
NOBODY = 65534


@pytest.fixture(scope="module")
def node() -> Iterator[Namespace]:
    with namespaces("deploy") as (made,):
        made.configure("link set lo up")
        yield made


@pytest.fixture
def server(node: Namespace) -> Iterator[ApiServer]:
    with ApiServer(token="t0", tls=True, call=node.call) as made:  # noqa: S106 - of a test
        made.load(cluster(SERVICES, 2))
        yield made


@contextmanager
def running(node: Namespace, confinement: Confinement, command: list[str], log: Path) -> Iterator[RunningAgent]:
    words = confined(node, confinement, command)
    with log.open("wb") as file, ended(subprocess.Popen(words, stdout=file, stderr=file)) as process:
        yield RunningAgent(process, node, log)


def as_pod(folder: Path, server: ApiServer, edit: Callable[[str], str]) -> Confinement:
    """Return what the DaemonSet gives its container; `edit` is what a user does to kubeconfig.conf.

    The OOM score is the one that this process has: there is no kubelet here to give it another.
    """
    score = Path("/proc/self/oom_score_adj").read_text().strip()
    (folder / "account").mkdir()
    server.service_account(folder / "account")
    (mount,) = container()["volumeMounts"]
    (generated,) = documents("kustomization.yaml")[0]["configMapGenerator"]
    for name in generated["files"]:
        text = (DEPLOY / name).read_text().replace("oomScoreAdj: -997", f"oomScoreAdj: {score}")
        (folder / name).write_text(edit(text) if name == "kubeconfig.conf" else text)
    files = {
        ACCOUNT: sorted((folder / "account").iterdir()),
        mount["mountPath"]: [folder / name for name in generated["files"]],
    }
    (variable,) = container()["env"]
    return Confinement(files=files, environment={variable["name"]: NODE})


def powers(agent: RunningAgent) -> dict[str, str]:
    lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def nft(node: Namespace, *words: str) -> str:
    command = ["ip", "netns", "exec", node.name, "nft", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def total(agent: RunningAgent, metric: str) -> float:
    return sum(agent.metrics.samples.get(metric, {}).values())


def tables(node: Namespace) -> int:
    with Kernel(node.path) as kernel:
        return len(kernel.present())


@pytest.fixture
def pod(node: Namespace, server: ApiServer, tmp_path: Path) -> Iterator[RunningAgent]:
    confinement = as_pod(tmp_path, server, lambda text: text.replace('server: ""', f"server: {server.url}"))
    with running(node, confinement, container()["args"], tmp_path / "log") as made:
        made.wait_ready()
        yield made
    nft(node, "flush", "ruleset")


def test_a_pod_does_its_work_with_one_capability(node: Namespace, server: ApiServer, pod: RunningAgent) -> None:
    assert {powers(pod)[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {f"{NET_ADMIN:016x}"}
    assert powers(pod)["NoNewPrivs"] == "1"
    assert pod.status["node"] == NODE
    assert pod.metrics.value("nftsvc_services") == SERVICES
    assert tables(node) == len(FAMILIES)
    until(lambda: total(pod, "nftsvc_service_counters_age_seconds"), lambda: pod.output)  # counters can be read
    until(lambda: any(one["reason"] == "Starting" for one in server.events), lambda: pod.output)
    assert "WARNING" not in pod.output
    assert "ERROR" not in pod.output


def test_a_pod_sees_what_others_do_and_repairs_it(node: Namespace, pod: RunningAgent) -> None:
    nft(node, "delete", "table", "ip", "nftsvc")
    until(lambda: total(pod, "nftsvc_drift_repairs_total"), lambda: pod.output)
    assert tables(node) == len(FAMILIES)


def test_a_pod_looks_through_udp_flows(server: ApiServer, pod: RunningAgent) -> None:
    def udp(endpoints: int) -> None:
        made, its_slice = service(99), endpoint_slice(99, range(1000, 1000 + endpoints))
        made["spec"]["ports"][0]["protocol"] = its_slice["ports"][0]["protocol"] = "UDP"
        server.put(made)
        server.put(its_slice)

    udp(2)
    until(lambda: pod.metrics.value("nftsvc_services") == SERVICES + 1, lambda: pod.output)
    udp(1)
    until(lambda: total(pod, "kubeproxy_conntrack_reconciler_sync_duration_seconds_count"), lambda: pod.output)
    assert "cannot" not in pod.output


def test_a_pod_that_ends_leaves_everything(node: Namespace, pod: RunningAgent) -> None:
    assert pod.stop() == ExitCode.FINE
    assert tables(node) == len(FAMILIES)


def test_a_pod_takes_over_from_kube_proxy(node: Namespace, server: ApiServer, tmp_path: Path) -> None:
    nft(node, "add table ip kube-proxy; add chain ip kube-proxy services; add table ip6 kube-proxy")
    nft(node, "add table ip nat; add chain ip nat KUBE-SERVICES; add chain ip nat KUBE-SEP-ABCDEFGHIJKLMNOP")
    confinement = as_pod(tmp_path, server, lambda text: text.replace('server: ""', f"server: {server.url}"))
    with running(node, confinement, container()["args"], tmp_path / "log") as agent:
        agent.wait_ready()
        until(lambda: not re.search("kube-proxy|KUBE-", nft(node, "list", "ruleset")), lambda: agent.output)
        assert tables(node) == len(FAMILIES)
    nft(node, "flush", "ruleset")


def test_a_pod_that_is_not_told_where_the_api_server_is_says_so(
    node: Namespace, server: ApiServer, tmp_path: Path
) -> None:
    words = confined(node, as_pod(tmp_path, server, lambda text: text), container()["args"])
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.returncode == ExitCode.CLUSTER_UNREACHABLE, done.stderr
    assert "kubeconfig.conf: '' is not the URL of an API server" in " ".join(done.stderr.split())
    assert tables(node) == 0


def test_the_units_user_does_the_work_and_tells_systemd(node: Namespace, tmp_path: Path) -> None:
    _, *arguments = shlex.split(setting("ExecStart").removesuffix(" $NFTSVC_OPTIONS"))
    manifests = sorted((ROOT / "examples" / "500-demo").glob("*.yaml"))
    name = f"nftsvc-{node.name}"
    confinement = Confinement(
        user=NOBODY,
        group=NOBODY,
        groups=(0,) if setting("SupplementaryGroups") == "root" else (),
        files={"/var/lib/manifests": manifests},
        environment={"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "200000"},
    )
    command = [one.replace("/etc/nftsvc/manifests", "/var/lib/manifests") for one in arguments]
    with node.call(lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as systemd:
        systemd.bind(f"\0{name}")
        systemd.settimeout(PATIENCE)
        with running(node, confinement, command, tmp_path / "log") as agent:
            until(lambda: agent.ready, lambda: agent.output)
            assert powers(agent)["Uid"].split() == [str(NOBODY)] * 4
            assert {powers(agent)[name] for name in ("CapPrm", "CapEff", "CapBnd")} == {f"{NET_ADMIN:016x}"}
            assert tables(node) == len(FAMILIES)
            assert agent.stop() == ExitCode.FINE
        said = heard(systemd)
    assert "READY=1" in said
    assert "WATCHDOG=1" in said
    assert said[-1] == "STOPPING=1"
    assert tables(node) == len(FAMILIES)
    nft(node, "flush", "ruleset")


def heard(systemd: socket.socket) -> list[str]:
    """Return what systemd was told, up to the end."""
    found: list[str] = []
    while found[-1:] != ["STOPPING=1"]:
        found.append(systemd.recv(4096).decode())
    return found
