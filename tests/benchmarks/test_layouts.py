"""The layouts that the benchmark compares: a kernel has as many objects as the formulas say, and forwards packets."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks.children import Failed, measured
from benchmarks.cluster import SERVICE_PORT, TARGET_PORT, Cluster
from benchmarks.layouts import (
    KUBE_PROXY_130,
    KUBE_PROXY_136,
    Counts,
    Layout,
    Release,
    kube_proxy_counts,
    kube_proxy_text,
)
from benchmarks.plane import plane
from nftsvc.lab import CLIENT as OUTSIDE
from nftsvc.lab import Cluster as Lab
from nftsvc.lab import Namespace, build_cluster, namespaces
from tests.support.traffic import ask, pods, serve_udp, sources

CLIENT = "10.255.0.1"  # a Pod that is nobody's endpoint
FORWARDING = (Layout.CHAINS, Layout.MAPS, Layout.IPTABLES, Layout.OURS)


def listed(namespace: Namespace, table: str) -> Counter[str]:
    """Count a table's objects by nft's words for them; `element` counts those of named sets and maps."""

    def run() -> bytes:
        return subprocess.run(["nft", "-j", "list", "table", *table.split()], check=True, capture_output=True).stdout

    found: Counter[str] = Counter()
    for one in json.loads(namespace.call(run))["nftables"]:
        for kind, body in one.items():
            found[kind] += 1
            found["element"] += len(body.get("elem", ())) if kind in {"set", "map"} else 0
    return found


@pytest.mark.parametrize("affinity", [False, True], ids=["plain", "affinity"])
@pytest.mark.parametrize("release", [KUBE_PROXY_130, KUBE_PROXY_136], ids=lambda one: one.name)
@pytest.mark.parametrize("size", [(0, 0), (1, 1), (7, 3), (60, 4)], ids=str)
def test_kernel_has_as_many_objects_as_the_formulas_say(
    release: Release, size: tuple[int, int], affinity: bool, tmp_path: Path
) -> None:
    cluster = Cluster(*size, affinity=affinity)
    text = tmp_path / "table.nft"
    text.write_text(kube_proxy_text(release, cluster))
    with namespaces("layout") as (namespace,):
        namespace.call(lambda: subprocess.run(["nft", "-f", str(text)], check=True))
        found = listed(namespace, "ip kube-proxy")
    made = Counts(found["chain"], found["rule"], found["set"], found["map"], found["element"])
    assert made == kube_proxy_counts(release, cluster)


def test_formulas_are_those_of_the_description() -> None:
    services, endpoints = 1000, 5
    cluster = Cluster(services, endpoints)
    old, new = (kube_proxy_counts(one, cluster) for one in (KUBE_PROXY_130, KUBE_PROXY_136))
    local = sum(map(cluster.is_local, range(cluster.total)))
    assert old.chains == 16 + services * (1 + endpoints)
    assert old.rules == 22 + services * (2 + 2 * endpoints)
    assert new.chains == 15 + services
    assert new.rules == 20 + 1 + services  # one more for the detector
    assert (old.maps, new.maps) == (5, 5)
    assert (old.sets, new.sets) == (1 + 1, 2 + 1)  # one more where node ports are for some addresses only
    assert old.elements == 2 * services + 1
    assert new.elements == 2 * services + local + 1


def test_nodes_have_no_more_pods_than_they_may() -> None:
    cluster = Cluster(2000, 4)
    on = Counter(pod % cluster.nodes for pod in range(cluster.total))
    assert max(on.values()) <= 110
    assert on[0] == sum(map(cluster.is_local, range(cluster.total)))
    assert on[0] >= 90


# Packets --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "affinity"])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    return Cluster(2, 3, "UDP", affinity=request.param)


@pytest.fixture(scope="module", params=FORWARDING, ids=str)
def lab(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Lab]:
    """A node that has a layout loaded, with a Pod for every endpoint and one that is none."""
    endpoints = [cluster.pod_address(pod) for pod in range(cluster.total)]
    with build_cluster({"asking": [CLIENT], **{one: [one] for one in endpoints}}) as lab, ExitStack() as stack:
        measured("load", 60, layout=request.param, cluster=asdict(cluster), namespace=str(lab.node.path), memory=False)
        for one in endpoints:
            stack.enter_context(serve_udp(lab.pods[one], one, TARGET_PORT))
        yield lab


def test_pods_reach_every_endpoint_of_the_service_they_ask_as_themselves(lab: Lab, cluster: Cluster) -> None:
    for number in range(cluster.services):
        answers = ask(lab.pods["asking"], cluster.service_address(number), SERVICE_PORT, 60, "UDP")
        wanted = {cluster.pod_address(pod) for pod in cluster.pods(number)}
        assert sources(answers) == {CLIENT}
        assert pods(answers) <= wanted
        assert len(pods(answers)) == (1 if cluster.affinity else len(wanted))


def test_others_get_the_nodes_address(lab: Lab, cluster: Cluster) -> None:
    answers = ask(lab.client, cluster.service_address(0), SERVICE_PORT, 5, "UDP")
    assert not sources(answers) & {*OUTSIDE}


def test_an_endpoint_reaches_itself(lab: Lab, cluster: Cluster) -> None:
    own = cluster.pod_address(0)
    reached = {
        one
        for pod in cluster.pods(0)
        for one in pods(ask(lab.pods[cluster.pod_address(pod)], cluster.service_address(0), SERVICE_PORT, 30, "UDP"))
    }
    assert cluster.affinity or own in reached


def test_planes_send_the_packets_that_they_are_told_to() -> None:
    cluster = Cluster(20, 3, "UDP")
    with ExitStack() as stack:
        planes = []
        for layout in Layout:
            made = stack.enter_context(plane())
            if layout is not Layout.ROUTING:
                measured(
                    "load", 60, layout=layout, cluster=asdict(cluster), namespace=str(made.node.path), memory=False
                )
            planes.append({"layout": layout, "node": str(made.node.path), "client": str(made.client.path)})
        outcome = measured("flood", 60, cluster=asdict(cluster), planes=planes, packets=700, rounds=2)
        lost = [{**planes[0], "layout": Layout.OURS}]  # nothing is translated there
        with pytest.raises(Failed):
            measured("flood", 60, cluster=asdict(cluster), planes=lost, packets=700, rounds=1)
    assert set(outcome) == set(Layout)
    assert all(len(values) == 2 and min(values) > 0 for values in outcome.values())
