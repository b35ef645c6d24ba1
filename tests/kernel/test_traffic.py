"""Real packets through a real kernel: who answered, which source they saw, which error the client got."""

import math
import socket
import struct
import threading
from collections.abc import Sequence
from http.client import HTTPConnection

import pytest

from nftsvc.kernel import Kernel
from nftsvc.lab import CLIENT, GATEWAY, NODE, Cluster, fetch
from nftsvc.lab import ask as ask_again
from nftsvc.plan import Plan
from nftsvc.render import Renderer
from nftsvc.sync import synchronise
from tests.kernel.conftest import POD_PORT, PODS
from tests.support.builders import Raw, endpoint_slice, plan_of, service
from tests.support.traffic import ask, counts, error_of, listen_sctp, pods, send_sctp, sources

VIP = ("10.96.0.80", "fd00:96::80")
BALANCER = ("203.0.113.80", "2001:db8:203::80")
NODE_PORT = 30080
EVERYONE = set(PODS)

both_families = pytest.mark.parametrize("six", [False, True], ids=["IPv4", "IPv6"])
both_protocols = pytest.mark.parametrize("protocol", ["TCP", "UDP"])


def addresses(names: Sequence[str], six: bool) -> list[str]:
    return [PODS[name][six] for name in names]


def web(*names: str, protocol: str = "TCP", node_port: int = NODE_PORT, target: int = POD_PORT) -> list[Raw]:
    """Return a dual-stack Service with a cluster IP and a node port whose endpoints are the named pods."""
    ports = [{"port": 80, "protocol": protocol, "nodePort": node_port}]
    targets = [{"port": target, "protocol": protocol}]
    slices = [endpoint_slice("web", addresses(names, six), targets) for six in (False, True) if names]
    return [service("web", VIP, ports, type="NodePort"), *slices]


def load(kernel: Kernel, plan: Plan) -> None:
    synchronise(kernel, plan, Renderer())


@both_protocols
@both_families
def test_pod_reaches_every_endpoint_and_keeps_its_address(
    cluster: Cluster, node_kernel: Kernel, six: bool, protocol: str
) -> None:
    load(node_kernel, plan_of(*web("web-2", "web-3", protocol=protocol)))
    answers = ask(cluster.pods["web-1"], VIP[six], 80, protocol=protocol)
    assert pods(answers) == {"web-2", "web-3"}
    assert sources(answers) == {PODS["web-1"][six]}


@both_protocols
@both_families
def test_pod_that_reaches_itself_is_masqueraded(
    cluster: Cluster, node_kernel: Kernel, six: bool, protocol: str
) -> None:
    load(node_kernel, plan_of(*web("web-1", protocol=protocol)))
    answers = ask(cluster.pods["web-1"], VIP[six], 80, times=5, protocol=protocol)
    assert pods(answers) == {"web-1"}
    assert sources(answers) == {GATEWAY[six]}


@both_protocols
@both_families
def test_node_reaches_cluster_ip(cluster: Cluster, node_kernel: Kernel, six: bool, protocol: str) -> None:
    load(node_kernel, plan_of(*web(*PODS, protocol=protocol)))
    answers = ask(cluster.node, VIP[six], 80, protocol=protocol)
    assert pods(answers) == EVERYONE
    assert sources(answers) == {NODE[six]}


@both_protocols
@both_families
def test_client_outside_reaches_node_port_and_is_masqueraded(
    cluster: Cluster, node_kernel: Kernel, six: bool, protocol: str
) -> None:
    load(node_kernel, plan_of(*web(*PODS, protocol=protocol)))
    answers = ask(cluster.client, NODE[six], NODE_PORT, protocol=protocol)
    assert pods(answers) == EVERYONE
    assert sources(answers) == {GATEWAY[six]}


@both_families
def test_pod_and_node_reach_node_port(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web(*PODS)))
    for namespace in (cluster.pods["web-1"], cluster.node):
        answers = ask(namespace, NODE[six], NODE_PORT)
        assert pods(answers) == EVERYONE
        assert sources(answers) == {GATEWAY[six]}


@both_families
def test_client_routed_to_a_cluster_ip_keeps_its_address(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web(*PODS)))
    assert sources(ask(cluster.client, VIP[six], 80)) == {CLIENT[six]}


@both_families
def test_node_port_answers_on_the_given_addresses_only(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web(*PODS)))
    assert error_of(cluster.client, GATEWAY[six], NODE_PORT) == "ECONNREFUSED"
    assert error_of(cluster.client, NODE[six], NODE_PORT) == ""


@both_families
def test_without_given_addresses_node_port_answers_on_all_but_loopback(
    cluster: Cluster, node_kernel: Kernel, six: bool
) -> None:
    load(node_kernel, plan_of(*web(*PODS), node_port_addresses={}))
    for address in (GATEWAY[six], NODE[six]):
        assert sources(ask(cluster.client, address, NODE_PORT)) == {GATEWAY[six]}
    assert error_of(cluster.node, "::1" if six else "127.0.0.1", NODE_PORT) == "ECONNREFUSED"


@both_families
def test_cluster_ip_with_the_number_of_a_node_port_is_not_masqueraded(
    cluster: Cluster, node_kernel: Kernel, six: bool
) -> None:
    other = service("other", [("10.96.0.81", "fd00:96::81")[six]], [{"port": NODE_PORT}])
    slices = endpoint_slice("other", addresses(["web-2"], six))
    load(node_kernel, plan_of(*web("web-3"), other, slices, node_port_addresses={}))
    assert sources(ask(cluster.pods["web-1"], ("10.96.0.81", "fd00:96::81")[six], NODE_PORT)) == {PODS["web-1"][six]}


@both_families
def test_service_without_endpoints_refuses_at_once(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web()))
    for namespace in (cluster.pods["web-1"], cluster.node, cluster.client):
        assert error_of(namespace, VIP[six], 80) == "ECONNREFUSED"
        assert error_of(namespace, NODE[six], NODE_PORT) == "ECONNREFUSED"


@both_families
def test_udp_without_endpoints_is_told(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web(protocol="UDP")))
    assert error_of(cluster.pods["web-1"], VIP[six], 80, "UDP") == "ECONNREFUSED"
    assert error_of(cluster.client, NODE[six], NODE_PORT, "UDP") == "ECONNREFUSED"


@both_families
def test_port_that_no_service_has_refuses(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web(*PODS)))
    for namespace in (cluster.pods["web-1"], cluster.node, cluster.client):
        assert error_of(namespace, VIP[six], 81) == "ECONNREFUSED"
    assert error_of(cluster.pods["web-1"], VIP[six], 80, "UDP") == "ECONNREFUSED"


@both_families
def test_removed_service_is_nobodys_address_again(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web(*PODS)))
    load(node_kernel, plan_of())
    assert error_of(cluster.client, NODE[six], NODE_PORT) == "ECONNREFUSED"
    assert node_kernel.read().tables.keys() == plan_of().settings.node_port_addresses.keys()


@both_families
def test_one_port_number_leads_tcp_and_udp_to_different_pods(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    ports = [{"name": "t", "port": 53, "protocol": "TCP"}, {"name": "u", "port": 53, "protocol": "UDP"}]
    vip = [VIP[six]]
    tcp = endpoint_slice("dns", addresses(["web-1"], six), [{"name": "t", "port": POD_PORT, "protocol": "TCP"}])
    udp = endpoint_slice(
        "dns", addresses(["web-2"], six), [{"name": "u", "port": POD_PORT, "protocol": "UDP"}], suffix="2"
    )
    load(node_kernel, plan_of(service("dns", vip, ports), tcp, udp))
    assert pods(ask(cluster.client, VIP[six], 53, protocol="TCP")) == {"web-1"}
    assert pods(ask(cluster.client, VIP[six], 53, protocol="UDP")) == {"web-2"}


def test_named_port_with_two_numbers_reaches_both(cluster: Cluster, node_kernel: Kernel) -> None:
    first = endpoint_slice("web", addresses(["web-1"], six=False), [{"port": POD_PORT}])
    second = endpoint_slice("web", addresses(["web-2"], six=False), [{"port": POD_PORT + 1}], suffix="2")
    load(node_kernel, plan_of(service("web", VIP[:1]), first, second))
    assert pods(ask(cluster.client, VIP[0], 80)) == {"web-1", "web-2"}


@both_families
def test_sctp_arrives_at_the_endpoints_port(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web("web-1", protocol="SCTP")))
    with listen_sctp(cluster.pods["web-1"], six) as listener:
        for address, port, source in ((VIP[six], 80, CLIENT[six]), (NODE[six], NODE_PORT, GATEWAY[six])):
            send_sctp(cluster.client, address, port, source_port=20000 + port)
            packet, sender = listener.recvfrom(200)
            header = packet if six else packet[20:]
            assert int.from_bytes(header[2:4], "big") == POD_PORT
            assert sender[0] == source


@both_families
def test_connections_spread_evenly(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    """Chi-square over three endpoints: with even shares a result this uneven comes once in a million runs."""
    load(node_kernel, plan_of(*web(*PODS)))
    times = 900
    seen = counts(ask(cluster.client, VIP[six], 80, times=times))
    expected = times / len(PODS)
    chi_square = sum((seen[pod] - expected) ** 2 / expected for pod in PODS)
    assert seen.total() == times
    assert math.exp(-chi_square / 2) > 1e-6  # the chance of it, exact for two degrees of freedom


def test_connections_survive_changes_of_other_endpoints(cluster: Cluster, node_kernel: Kernel) -> None:
    """50 open HTTP connections see none of the endpoints, Services and node ports that come and go around them."""
    others = [service(f"other-{n}", [f"10.96.1.{n}"], [{"port": 80, "nodePort": 31000 + n}]) for n in range(1, 20)]
    load(node_kernel, plan_of(*web(*PODS)))
    held: list[tuple[HTTPConnection, str]] = []

    def open_all() -> None:
        for number in range(50):
            host, port = ((VIP[0], 80), (VIP[1], 80), (NODE[0], NODE_PORT), (NODE[1], NODE_PORT))[number % 4]
            connection = HTTPConnection(host, port, timeout=5)
            held.append((connection, ask_again(connection).pod))

    cluster.client.call(open_all)
    assert {pod for _, pod in held} == EVERYONE
    steps = (web("web-1"), [*web("web-1", "web-2"), *others], web("web-3"), web(), [*others], web(*PODS))
    for step in steps:
        load(node_kernel, plan_of(*step))
        assert [ask_again(connection).pod for connection, _ in held] == [pod for _, pod in held]
    for connection, _ in held:
        connection.close()


def test_no_new_connection_fails_while_endpoints_change(cluster: Cluster, node_kernel: Kernel) -> None:
    load(node_kernel, plan_of(*web(*PODS)))
    stop, failures, made = threading.Event(), [], []

    def keep_asking() -> None:
        while not stop.is_set() and len(made) < 5000:
            try:
                made.append(ask(cluster.client, VIP[0], 80, times=1))
            except OSError as error:
                failures.append(error)

    worker = threading.Thread(target=keep_asking)
    worker.start()
    for step in (["web-1"], ["web-1", "web-2"], ["web-1", "web-3"], ["web-1"], list(PODS)) * 10:
        load(node_kernel, plan_of(*web(*step)))
    stop.set()
    worker.join()
    assert not failures
    assert len(made) > 50


def refusing(*, local: bool = False, sources: Sequence[str] = ()) -> list[Raw]:
    """Return a Service with a load-balancer IP that is not served here, or not for the client."""
    raw = service(
        "web",
        VIP,
        [{"port": 80, "nodePort": NODE_PORT}],
        type="LoadBalancer",
        externalTrafficPolicy="Local" if local else "Cluster",
        loadBalancerSourceRanges=list(sources),
    )
    raw["status"] = {"loadBalancer": {"ingress": [{"ip": one} for one in BALANCER]}}
    node = "node-b" if local else "node-a"
    return [raw, *(endpoint_slice("web", addresses(["web-1"], six), node=node) for six in (False, True))]


@both_families
def test_established_connections_outlive_rules_that_would_refuse_them(
    cluster: Cluster, node_kernel: Kernel, six: bool
) -> None:
    load(node_kernel, plan_of(*refusing()))
    connection = HTTPConnection(BALANCER[six], 80, timeout=5)
    assert cluster.client.call(lambda: ask_again(connection)).pod == "web-1"
    for step in (refusing(sources=["203.0.113.0/24", "2001:db8:203::/64"]), refusing(local=True), web(), []):
        load(node_kernel, plan_of(*step))
        assert ask_again(connection).pod == "web-1"
        with pytest.raises(OSError, match=r".*"):
            cluster.client.call(lambda: fetch(BALANCER[six], 80, timeout=0.3))
    connection.close()


@both_families
def test_ping_of_a_cluster_ip_is_told_that_nobody_is_there(cluster: Cluster, node_kernel: Kernel, six: bool) -> None:
    load(node_kernel, plan_of(*web(*PODS)))
    family = socket.AF_INET6 if six else socket.AF_INET
    protocol = socket.IPPROTO_ICMPV6 if six else socket.IPPROTO_ICMP
    echo, unreachable = (128, (1, 4)) if six else (8, (3, 3))
    with cluster.client.call(lambda: socket.socket(family, socket.SOCK_RAW, protocol)) as pinger:
        pinger.settimeout(5)
        # type, code, checksum (the kernel's for ICMPv6; 8 << 8 alone otherwise), identifier, sequence
        pinger.sendto(struct.pack("!BBHHH", echo, 0, 0 if six else 0xF7FF, 0, 0), (VIP[six], 0))
        for _ in range(20):
            answer = pinger.recv(2000)[0 if six else 20 :]
            if (answer[0], answer[1]) == unreachable:
                break
        else:
            raise AssertionError("no answer was port unreachable")
