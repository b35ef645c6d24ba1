"""Session affinity over time: whoever was here goes where it was, and nobody goes where nobody is any more."""

import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.client import HTTPConnection

import pytest

from nftsvc.kernel import Kernel
from nftsvc.lab import NODE, Cluster, fetch
from nftsvc.lab import ask as ask_once
from nftsvc.plan import Plan
from nftsvc.render import Renderer
from nftsvc.ruleset import Ruleset
from nftsvc.ruleset.names import AFFINITY, affinity_maps
from nftsvc.ruleset.records import hashed_address
from nftsvc.sync import Pass, synchronise
from nftsvc.values import FAMILIES, Family
from tests.kernel.conftest import POD_PORT, PODS
from tests.support.builders import Raw, endpoint_slice, plan_of, service

VIP = ("10.96.0.80", "fd00:96::80")
NODE_PORT = 30080
CLIENTS = 12
WEB_2 = PODS["web-2"]

both_families = pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])


def web(*names: str, seconds: int = 3600, nodes: Sequence[str] = ("node-a",), drain: str = "", **spec: object) -> Plan:
    """Return a plan with a Service that clients stay with, on the named pods; `nodes` are theirs in turn."""
    raw = service(
        "web",
        VIP,
        [{"port": 80, "nodePort": NODE_PORT}],
        type="NodePort",
        sessionAffinity="ClientIP",
        sessionAffinityConfig={"clientIP": {"timeoutSeconds": seconds}},
        **spec,
    )
    slices: list[Raw] = []
    for six in (False, True):
        for number, name in enumerate(names):
            node = nodes[number % len(nodes)]
            one = endpoint_slice("web", [PODS[name][six]], [{"port": POD_PORT}], node=node, suffix=name)
            if name == drain:
                one["endpoints"][0]["conditions"] = {"ready": False, "serving": True, "terminating": True}
            slices.append(one)
    return plan_of(raw, *slices)


def load(kernel: Kernel, plan: Plan) -> Pass:
    return synchronise(kernel, plan, Renderer())


def client(number: int, six: bool) -> str:
    return f"2001:db8:100::1:{number:x}" if six else f"198.51.100.{100 + number}"


@pytest.fixture(scope="module")
def crowd(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with a dozen more client addresses in each family."""
    for number in range(CLIENTS):
        cluster.client.configure(
            f"address add {client(number, six=False)}/32 dev eth0",
            f"address add {client(number, six=True)}/128 dev eth0 nodad",
        )
        cluster.node.configure(f"route add {client(number, six=True)} dev eth0")
    yield cluster
    for number in range(CLIENTS):
        cluster.node.configure(f"route del {client(number, six=True)} dev eth0")
        cluster.client.configure(
            f"address del {client(number, six=False)}/32 dev eth0",
            f"address del {client(number, six=True)}/128 dev eth0",
        )


def visit(cluster: Cluster, host: str, port: int, six: bool, clients: Sequence[int] = range(CLIENTS)) -> list[str]:
    """Return the pod that each client gets."""

    def ask_all() -> list[str]:
        answers = []
        for number in clients:
            connection = HTTPConnection(host, port, timeout=5, source_address=(client(number, six), 0))
            answers.append(ask_once(connection).pod)
            connection.close()
        return answers

    return cluster.client.call(ask_all)


def records(found: Ruleset) -> int:
    """Return how many clients are on record over TCP; IPv6 keeps the endpoint's port in a second map."""
    tables = found.tables.values()
    return sum(len(table.elements.get(name, ())) for table in tables for name in (AFFINITY, affinity_maps("tcp")[0]))


@both_families
def test_clients_stay_through_changes_that_do_not_concern_them(crowd: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, web("web-1", "web-2"))
    first = visit(crowd, VIP[six], 80, six)
    assert set(first) == {"web-1", "web-2"}  # one in two thousand otherwise
    at_node_port = visit(crowd, NODE[six], NODE_PORT, six)
    for change in (web("web-1", "web-2", "web-3"), web("web-1", "web-2"), web("web-3", "web-2", "web-1", seconds=7200)):
        load(node_kernel, change)
        assert visit(crowd, VIP[six], 80, six) == first
        assert visit(crowd, NODE[six], NODE_PORT, six) == at_node_port


@both_families
def test_each_way_in_is_remembered_on_its_own(crowd: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, web(*PODS))
    for host, port in ((VIP[six], 80), (NODE[six], NODE_PORT)):
        first = visit(crowd, host, port, six)
        assert visit(crowd, host, port, six) == first


@both_families
def test_only_clients_of_an_endpoint_that_goes_get_another(crowd: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, web(*PODS))
    first = visit(crowd, VIP[six], 80, six)
    load(node_kernel, web("web-1", "web-3"))
    second = visit(crowd, VIP[six], 80, six)
    assert "web-2" not in second
    assert [pod for pod, before in zip(second, first, strict=True) if before != "web-2"] == [
        pod for pod in first if pod != "web-2"
    ]
    load(node_kernel, web(*PODS))
    assert visit(crowd, VIP[six], 80, six) == second


def test_restart_sends_nothing_and_keeps_who_was_where(crowd: Cluster, node_kernel: Kernel) -> None:
    load(node_kernel, web(*PODS))
    first = [visit(crowd, VIP[six], 80, six) for six in (False, True)]
    with Kernel(crowd.node.path) as restarted:
        assert not load(restarted, web(*PODS)).changes
    assert [visit(crowd, VIP[six], 80, six) for six in (False, True)] == first


@both_families
def test_record_ends_with_its_time_and_starts_anew_with_each_connection(
    crowd: Cluster, node_kernel: Kernel, six: bool
) -> None:
    load(node_kernel, web(*PODS, seconds=2))
    visit(crowd, VIP[six], 80, six, [0])
    for _ in range(4):
        time.sleep(1)
        visit(crowd, VIP[six], 80, six, [0])
    assert records(node_kernel.read()) > 0
    time.sleep(2.5)
    assert records(node_kernel.read()) == 0


@both_families
def test_longer_time_counts_from_the_next_connection_on(crowd: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, web(*PODS, seconds=2))
    first = visit(crowd, VIP[six], 80, six, [0, 1])
    load(node_kernel, web(*PODS, seconds=3600))
    assert visit(crowd, VIP[six], 80, six, [0]) == first[:1]
    time.sleep(2.5)
    assert visit(crowd, VIP[six], 80, six, [0]) == first[:1]
    assert records(node_kernel.read()) == 1


@both_families
def test_policy_local_forgets_who_was_sent_elsewhere(crowd: Cluster, node_kernel: Kernel, six: bool) -> None:
    """Without that, a client outside would go on to another node's endpoint, which would not know it."""
    nodes = ("node-a", "node-b")
    load(node_kernel, web("web-1", "web-2", nodes=nodes))
    assert set(visit(crowd, NODE[six], NODE_PORT, six)) == {"web-1", "web-2"}
    load(node_kernel, web("web-1", "web-2", nodes=nodes, externalTrafficPolicy="Local"))
    assert set(visit(crowd, NODE[six], NODE_PORT, six)) == {"web-1"}


@both_families
def test_client_inside_leaves_an_endpoint_that_drains(crowd: Cluster, node_kernel: Kernel, six: bool) -> None:
    """It stays on the node's own list, for clients outside; those inside have the cluster's, which it has left."""
    nodes = ("node-a", "node-b")

    def draining() -> Plan:
        plan = web("web-1", "web-2", nodes=nodes, drain="web-1", externalTrafficPolicy="Local")
        assert [len(port.local) for port in plan.ports] == [1, 1]
        return plan

    load(node_kernel, web("web-1", nodes=nodes, externalTrafficPolicy="Local"))
    node = crowd.node

    def ask_node() -> str:
        return node.call(lambda: fetch(NODE[six], NODE_PORT)).pod

    assert ask_node() == "web-1"
    assert set(visit(crowd, NODE[six], NODE_PORT, six)) == {"web-1"}
    load(node_kernel, draining())
    assert [ask_node() for _ in range(5)] == ["web-2"] * 5
    assert set(visit(crowd, NODE[six], NODE_PORT, six)) == {"web-1"}


@both_families
def test_service_without_affinity_forgets(crowd: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, web(*PODS))
    visit(crowd, VIP[six], 80, six)
    assert records(node_kernel.read())
    load(node_kernel, plan_of(service("web", VIP), endpoint_slice("web", [WEB_2[six]], [{"port": POD_PORT}])))
    assert records(node_kernel.read()) == 0
    assert set(visit(crowd, VIP[six], 80, six)) == {"web-2"}


def test_record_that_a_late_connection_left_is_removed(crowd: Cluster, node_kernel: Kernel) -> None:
    """A connection that was under way when its endpoint went; put there by hand, for lack of luck."""
    load(node_kernel, web("web-1"))
    first, second = hashed_address(VIP[1])
    key = f"77 . {first} . {second} . 80"
    late = (
        f"add element ip nftsvc affinity"
        f" {{ 198.51.100.100 . {VIP[0]} . tcp . 80 timeout 1h : {WEB_2[0]} . {POD_PORT} }}\n"
        f"add element ip6 nftsvc tcp-affinity {{ {key} timeout 1h : {WEB_2[1]} }}\n"
        f"add element ip6 nftsvc tcp-affinity-ports {{ {key} timeout 1h : {POD_PORT} }}\n"
    )
    crowd.node.call(lambda: _nft(late))
    assert records(node_kernel.read()) == 2
    load(node_kernel, web("web-1"))
    assert records(node_kernel.read()) == 0
    assert visit(crowd, VIP[0], 80, six=False, clients=[0]) == ["web-1"]


def _nft(text: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=text, text=True, check=True)


@both_families
def test_other_rules_forget_nobody(crowd: Cluster, node_kernel: Kernel, six: bool) -> None:
    """As after an upgrade, or a setting that is written into rules: they are replaced, what packets left stays."""
    plan = web(*PODS)
    load(node_kernel, plan)
    before = visit(crowd, VIP[six], 80, six)
    counted = node_kernel.counters(dict.fromkeys(FAMILIES, ("service-ips",)))
    kept = records(node_kernel.read())
    done = load(node_kernel, replace(plan, settings=replace(plan.settings, masquerade_all=True)))
    assert done.transactions
    (rewritten,) = (one for one in done.wanted.tables[Family.IPV4].chains if one.name == "masquerade-cluster-ip")
    listed = crowd.node.call(lambda: _listed("masquerade-cluster-ip"))
    assert rewritten.rules[0].comment in listed
    assert records(node_kernel.read()) == kept
    assert node_kernel.counters(dict.fromkeys(FAMILIES, ("service-ips",))) == counted
    assert visit(crowd, VIP[six], 80, six) == before


def _listed(chain: str) -> str:
    command = ["nft", "list", "chain", "ip", "nftsvc", chain]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@both_families
def test_nobody_is_sent_to_an_endpoint_that_has_gone_however_busy_it_was(
    crowd: Cluster, node_kernel: Kernel, six: bool
) -> None:
    load(node_kernel, web(*PODS))
    stop = threading.Event()
    failures: list[BaseException] = []

    def keep_asking() -> None:
        try:
            for _ in range(400):
                if stop.is_set():
                    break
                visit(crowd, VIP[six], 80, six, [0, 1, 2, 3])
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=keep_asking) for _ in range(2)]
    for one in threads:
        one.start()
    for names in (("web-1",), ("web-2", "web-3"), ("web-3",), ("web-1", "web-2")) * 8:
        load(node_kernel, web(*names))
        assert set(visit(crowd, VIP[six], 80, six, range(4, CLIENTS))) <= set(names)
        assert set(visit(crowd, VIP[six], 80, six, [0, 1, 2, 3])) <= set(names)
    stop.set()
    for one in threads:
        one.join()
    assert not failures
