"""What a running agent tells, how it is told to behave, and how it ends."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nftsvc.lab import GATEWAY, NODE, Cluster
from tests.support.agent import HEALTH, PROGRAM, get, written_configuration
from tests.support.agent_plane import Folder
from tests.support.agent_site import APP, VIP, Site, build_lab, build_site, pod
from tests.support.agent_traffic import inside, reach, until

BALANCER = ("203.0.113.80", "2001:db8:203::80")
CHECK_PORT = 32_100
# Takes CAP_NET_ADMIN (12) out of the bounding set (PR_CAPBSET_DROP, 24), so that the program begins without it.
WITHOUT_PERMISSION = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 12, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    with build_lab() as made:
        yield made


@pytest.fixture
def site(lab: Cluster, tmp_path: Path) -> Iterator[Site]:
    with build_site(lab, "folder", tmp_path) as made:
        made.put_web(0, 1, 2)
        yield made


def test_counters_are_the_connections_made(site: Site, lab: Cluster) -> None:
    with site.agent() as agent:
        for _ in range(17):
            reach(lab.pods["app"], VIP[0], 80)
        for _ in range(5):
            reach(lab.client, NODE[1], 30080)
        found = agent.metrics
        web = {"namespace": "shop", "service": "web"}
        counted = {
            (labels["ip_family"], labels["frontend"]): value
            for key, value in found.samples["nftsvc_service_connections_total"].items()
            for labels in [dict(key)]
            if web.items() <= labels.items() and value
        }
        assert sorted(counted.values()) == [5, 17], counted
        assert {family for family, _ in counted} == {"IPv4", "IPv6"}
        assert found.value("nftsvc_passes_total", kind="first", result="ok") == 1
        status = agent.status
        assert (status["ready"], status["healthy"], status["node"]) == (True, True, "node-a")
        assert (status["programmed"]["services"], status["programmed"]["endpoints"]) == (1, 6)
        assert status["lastGood"]["transactions"] == 1
        assert agent.page("/healthz", HEALTH).code == 200
        assert agent.page("/proxyMode").body == b"nftables"
        with pytest.raises(ConnectionRefusedError):
            get(lab.client, NODE[0], 10249, "/metrics")
        assert get(lab.client, NODE[0], HEALTH, "/healthz").json["healthy"]


def test_health_check_node_port_follows_the_local_endpoints(site: Site, lab: Cluster) -> None:
    local = site.service(
        "local",
        ("10.96.0.70", "fd00:96::70"),
        31_070,
        type="LoadBalancer",
        externalTrafficPolicy="Local",
        healthCheckNodePort=CHECK_PORT,
    )
    local["status"] = {"loadBalancer": {"ingress": [{"ip": one} for one in BALANCER]}}
    site.plane.put(local, *site.slices([0, 1], "local"))
    with site.agent() as agent:
        until(lambda: _answers(lab, 0), lambda: agent.output)
        page = get(lab.client, NODE[0], CHECK_PORT)
        assert (page.code, page.json["localEndpoints"]) == (200, 2)
        assert page.json["service"] == {"namespace": "shop", "name": "local"}
        assert page.headers["X-Load-Balancing-Endpoint-Weight"] == "2"
        site.plane.put(*site.slices([0, 1], "local", nodeName="node-b"))
        until(lambda: get(lab.client, NODE[1], CHECK_PORT).code == 503, lambda: agent.output)
        assert get(lab.client, NODE[0], CHECK_PORT).json["localEndpoints"] == 0
        site.plane.delete(local)
        until(lambda: not _answers(lab, 0) and not _answers(lab, 1), lambda: agent.output)


def _answers(lab: Cluster, family: int) -> bool:
    try:
        return bool(get(lab.client, NODE[family], CHECK_PORT).code)
    except (ConnectionRefusedError, ConnectionResetError):  # reset: it had come in when the listener closed
        return False


def test_bad_manifest_stops_nobody_and_is_told_everywhere(site: Site, lab: Cluster) -> None:
    assert isinstance(site.plane, Folder)
    bad = site.plane.folder / "bad.yaml"
    bad.write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: bad, namespace: shop}\nspec: {ports: [{port: 0}]}\n"
    )
    with site.agent() as agent:
        (site.plane.folder / "worse.yaml").write_text("{")
        site.plane.put(*site.slices([7]))
        until(lambda: reach(lab.pods["app"], VIP[0], 80) == pod(7)[0], lambda: agent.output)
        until(lambda: len(agent.said("problem")) >= 2, lambda: agent.output)
        listed = json.dumps(agent.status["sources"])
        for text in (agent.output, listed):
            assert "bad.yaml" in text or "shop/bad" in text
            assert "worse.yaml" in text
        assert any("problem" in name and sum(one.values()) for name, one in agent.metrics.samples.items())
        bad.unlink()
        (site.plane.folder / "worse.yaml").unlink()
        until(lambda: not agent.status["sources"][0]["problems"]["total"], lambda: agent.output)


def test_configuration_and_what_overrides_it(site: Site, lab: Cluster, tmp_path: Path) -> None:
    """A source outside clusterCIDR is masqueraded at a cluster IP, one inside is not."""
    config = written_configuration(tmp_path / "config.yaml", clusterCIDR="10.200.0.0/16,fd00:200::/64")
    with site.agent("--config", str(config)):
        assert source_seen(lab) == GATEWAY[0]
    with site.agent("--config", str(config), "--set", "clusterCIDRs=10.244.0.0/16,fd00:244::/32"):
        until(lambda: source_seen(lab) == APP[0], "--set is not heard")
    with site.agent("--config", str(config), "--set", "masqueradeAll=true") as agent:
        assert agent.ready
        until(lambda: source_seen(lab) == GATEWAY[0], "--set is not heard")


def source_seen(lab: Cluster) -> str:
    def ask() -> str:
        with socket.create_connection((VIP[0], 80), 10) as made:
            return made.recv(100).decode().split()[1]

    return lab.pods["app"].call(ask)


def test_what_cannot_work_is_said_at_once(lab: Cluster, tmp_path: Path) -> None:
    node = lab.node
    words = (sys.executable, "-c", WITHOUT_PERMISSION, str(PROGRAM), "run", "--manifests", str(tmp_path))
    nobody = subprocess.run(inside(node, *words), capture_output=True, text=True, check=False)
    assert nobody.returncode == 4, nobody.stderr
    assert "root" in nobody.stderr
    nowhere = tmp_path / "nowhere"
    env = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    lost = subprocess.run(
        inside(node, str(PROGRAM), "run", "--node", "node-a", "--kubeconfig", str(nowhere)),
        capture_output=True,
        text=True,
        check=False,
        env=env,
    )
    assert lost.returncode == 5, lost.stderr
    assert str(nowhere) in lost.stderr
    assert "Traceback" not in nobody.stderr + lost.stderr
