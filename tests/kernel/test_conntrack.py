"""Stale flows are forgotten, the others never: with real packets, and with many flows."""

import socket
import struct
import subprocess
import sys
import tracemalloc
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import ip_address
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from nftsvc.errors import KernelError
from nftsvc.flows import UDP, Endpoints, Target
from nftsvc.kernel.addresses import local_addresses
from nftsvc.kernel.conntrack import FEW, clean_flows
from nftsvc.kernel.netlink import (
    ACK,
    CREATE,
    EXCL,
    NETFILTER,
    ROUTE,
    Request,
    Socket,
    attribute,
    attributes,
    nested,
    netfilter_header,
)
from nftsvc.lab import Namespace, namespaces
from nftsvc.values import FAMILIES, Address, Family, Protocol

ROOT = Path(__file__).parents[2]
DEADLINE = 60
TCP, SCTP = Protocol("TCP"), Protocol("SCTP")
NUMBERS = {TCP: socket.IPPROTO_TCP, UDP: socket.IPPROTO_UDP, SCTP: socket.IPPROTO_SCTP}
ANSWERED, CONFIRMED = 1 << 1, 1 << 3  # IPS_SEEN_REPLY, IPS_CONFIRMED
every_family = pytest.mark.parametrize("family", FAMILIES)


class Net(NamedTuple):
    """Addresses of one family."""

    service: str
    node: str
    pods: tuple[str, ...]
    outside: str
    network: str


NETS = {
    Family.IPV4: Net("10.96.0.10", "192.0.2.11", ("10.244.1.1", "10.244.1.2"), "198.51.100.7", "10.96.0.0/16"),
    Family.IPV6: Net("fd00:96::10", "2001:db8::11", ("fd00:244::1", "fd00:244::2"), "2001:db8:100::7", "fd00:96::/64"),
}


class Flow(NamedTuple):
    """A tracked flow: where it was sent to, where its answers come from, and whether there were any."""

    client: tuple[str, int]
    to: tuple[str, int]
    answers_from: tuple[str, int]
    protocol: Protocol = UDP
    zone: int = 0
    answered: bool = False


def frontend(
    family: Family, address: str | None, port: int, *endpoints: tuple[str, int], protocol: Protocol = UDP
) -> dict[Target, Endpoints]:
    listed = frozenset((Address(one), number) for one, number in endpoints)
    return {Target(family, protocol, None if address is None else Address(address), port): listed}


@pytest.fixture(scope="module")
def place() -> Iterator[Namespace]:
    """A namespace that is a node with its pods: all addresses are its own, the Services' network leads nowhere."""
    with namespaces("flows") as (made,):
        made.set_sysctls(ipv6__conf__default__addr_gen_mode=1)  # no link-local addresses
        made.configure("link add eth0 type veth peer name eth1", "link set eth0 arp off up", "link set eth1 up")
        for net in NETS.values():
            six = "nodad" if ":" in net.node else ""
            made.configure(
                *(f"address add {one} dev lo {six}" for one in (net.node, *net.pods)),
                f"route add {net.network} dev eth0",
            )
        yield made


@pytest.fixture
def node(place: Namespace) -> Iterator[Namespace]:
    """The namespace without rules and flows."""
    yield place
    nft(place, "flush ruleset")
    place.call(forget_everything)


def nft(namespace: Namespace, text: str) -> None:
    command = ["ip", "netns", "exec", namespace.name, "nft", "-f", "-"]
    subprocess.run(command, input=text, text=True, check=True)


# What the kernel has -------------------------------------------------------------------------------------------------


def direction(kind: int, source: tuple[str, int], destination: tuple[str, int], protocol: Protocol) -> bytes:
    six = ":" in source[0]
    kinds = (3, 4) if six else (1, 2)
    ends = (source, destination)
    return nested(
        kind,
        nested(1, *(attribute(one, ip_address(end[0]).packed) for one, end in zip(kinds, ends, strict=True))),
        nested(
            2,
            attribute(1, bytes((NUMBERS[protocol],))),
            *(attribute(one, end[1].to_bytes(2, "big")) for one, end in zip((2, 3), ends, strict=True)),
        ),
    )


def new_flow(flow: Flow) -> Request:
    family = Family.IPV6 if ":" in flow.to[0] else Family.IPV4
    body = (
        netfilter_header(family)
        + direction(1, flow.client, flow.to, flow.protocol)
        + direction(2, flow.answers_from, flow.client, flow.protocol)
        + attribute(7, struct.pack("!I", 600))
        + (attribute(18, struct.pack("!H", flow.zone)) if flow.zone else b"")
        + (attribute(3, struct.pack("!I", ANSWERED | CONFIRMED)) if flow.answered else b"")
    )
    return Request(1 << 8, body, ACK | CREATE | EXCL)


def track(flows: Iterable[Flow]) -> None:
    """Have the kernel of the calling thread's namespace track flows that nobody sends."""
    track_by(map(new_flow, flows))


def track_by(requests: Iterator[Request]) -> None:
    with Socket(NETFILTER) as asked:
        while some := list(islice(requests, 100)):
            assert not any(asked.ask(*some))


def forget_everything() -> None:
    with Socket(NETFILTER) as asked:
        asked.request(Request(1 << 8 | 2, netfilter_header(None)))


def tracked() -> set[Flow]:
    with Socket(NETFILTER) as asked:
        return {
            read(message.body)
            for family in FAMILIES
            for message in asked.everything(1 << 8 | 1, netfilter_header(family))
        }


def read(body: bytes) -> Flow:
    said = dict(attributes(body, 4))
    (client, to, protocol), (answers_from, _, _) = (ends(said[one]) for one in (1, 2))
    answered = bool(int.from_bytes(said[3], "big") & ANSWERED)
    return Flow(client, to, answers_from, protocol, int.from_bytes(said.get(18, b""), "big"), answered)


def ends(value: bytes) -> tuple[tuple[str, int], tuple[str, int], Protocol]:
    parts = dict(attributes(value))
    addresses = [str(ip_address(one)) for _, one in attributes(parts[1])]
    protocol, *ports = (int.from_bytes(one, "big") for _, one in attributes(parts[2]))
    named = next(name for name, number in NUMBERS.items() if number == protocol)
    return (addresses[0], ports[0]), (addresses[1], ports[1]), named


# Real packets --------------------------------------------------------------------------------------------------------


@contextmanager
def echo(namespace: Namespace, family: Family) -> Iterator[dict[str, socket.socket]]:
    """Listen on port 5353 of every pod."""
    with ExitStack() as stack:
        found = {}
        for pod in NETS[family].pods:
            found[pod] = stack.enter_context(udp(namespace, pod, 5353))
        yield found


def udp(namespace: Namespace, address: str, port: int) -> socket.socket:
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = namespace.call(lambda: socket.socket(kind, socket.SOCK_DGRAM))
    made.settimeout(DEADLINE)
    made.bind((address, port))
    return made


def reached(client: socket.socket, to: tuple[str, int], pods: dict[str, socket.socket], expected: str) -> None:
    """Send a packet and have it answered by the pod that is expected to get it."""
    client.sendto(b"question", to)
    _, source = pods[expected].recvfrom(100)
    pods[expected].sendto(b"answer", source)
    assert client.recvfrom(100)[0] == b"answer"


def lead(namespace: Namespace, family: Family, pod: str | None) -> None:
    """Translate what is sent to the Service, and to the node's port 30053, to a pod."""
    word, net = ("ip6", NETS[family]) if family is Family.IPV6 else ("ip", NETS[family])
    target = f"[{pod}]:5353" if family is Family.IPV6 else f"{pod}:5353"
    rules = f"""
      {word} daddr {net.service} udp dport 53 dnat to {target}
      {word} daddr {net.service} tcp dport 80 dnat to {target}
      {word} daddr {net.node} udp dport 30053 dnat to {target}
    """
    tracking = "ct state new counter"  # without any rule that needs it the kernel does not track
    chain = f"chain out {{\ntype nat hook output priority -100;\n{tracking}\n{rules if pod else ''}\n}}"
    nft(namespace, f"table {word} t\ndelete table {word} t\ntable {word} t {{\n{chain}\n}}\n")


@every_family
@pytest.mark.parametrize("node_port", [False, True])
def test_client_reaches_the_next_endpoint_once_its_flow_is_forgotten(
    node: Namespace, family: Family, node_port: bool
) -> None:
    net = NETS[family]
    first, second = net.pods
    to = (net.node, 30053) if node_port else (net.service, 53)
    changed = frontend(family, None if node_port else net.service, to[1], (second, 5353))
    with echo(node, family) as pods, udp(node, net.node, 40000) as client:
        lead(node, family, first)
        reached(client, to, pods, first)
        lead(node, family, second)
        reached(client, to, pods, first)  # this is what there is to heal
        (done,) = clean_flows(changed, local_addresses(node.path), namespace=node.path)
        assert (done.family, done.deleted, done.refused, done.complete) == (family, 1, 0, True)
        reached(client, to, pods, second)
        (done,) = clean_flows(changed, local_addresses(node.path), namespace=node.path)
        assert done.deleted == 0
        reached(client, to, pods, second)


@every_family
def test_client_that_knocked_before_there_was_an_endpoint_is_served_once_there_is(
    node: Namespace, family: Family
) -> None:
    net = NETS[family]
    with echo(node, family) as pods, udp(node, net.node, 40000) as client:
        lead(node, family, None)
        client.sendto(b"question", (net.service, 53))
        lead(node, family, net.pods[0])
        client.sendto(b"question", (net.service, 53))
        assert {one.answers_from for one in node.call(tracked)} == {(net.service, 53)}
        (done,) = clean_flows(frontend(family, net.service, 53, (net.pods[0], 5353)), namespace=node.path)
        assert done.deleted == 1
        reached(client, (net.service, 53), pods, net.pods[0])


@every_family
def test_flows_of_a_service_that_is_gone_are_forgotten(node: Namespace, family: Family) -> None:
    net = NETS[family]
    with echo(node, family) as pods, udp(node, net.node, 40000) as client:
        lead(node, family, net.pods[0])
        reached(client, (net.service, 53), pods, net.pods[0])
        reached(client, (net.node, 30053), pods, net.pods[0])
        gone = frontend(family, net.service, 53) | frontend(family, None, 30053)
        (done,) = clean_flows(gone, local_addresses(node.path), namespace=node.path)
        assert done.deleted == 2
        assert node.call(tracked) == set()


# Connections ---------------------------------------------------------------------------------------------------------


def tcp(namespace: Namespace, family: Family, address: str, port: int = 0) -> socket.socket:
    kind = socket.AF_INET6 if family is Family.IPV6 else socket.AF_INET
    made = namespace.call(lambda: socket.socket(kind, socket.SOCK_STREAM))
    made.settimeout(DEADLINE)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((address, port))
    return made


@contextmanager
def listening(namespace: Namespace, family: Family, address: str, port: int) -> Iterator[socket.socket]:
    with tcp(namespace, family, address, port) as made:
        made.listen()
        yield made


def accepted(server: socket.socket, client: socket.socket) -> socket.socket:
    connection, _ = server.accept()
    connection.settimeout(DEADLINE)
    connection.sendall(b"welcome")
    assert client.recv(100) == b"welcome"
    return connection


def tcp_service(family: Family, *pods: str) -> dict[Target, Endpoints]:
    return frontend(family, NETS[family].service, 80, *((one, 5353) for one in pods), protocol=TCP)


@every_family
def test_connection_begun_while_there_were_no_rules_is_made_once_its_flow_is_forgotten(
    node: Namespace, family: Family
) -> None:
    net = NETS[family]
    with listening(node, family, net.pods[0], 5353) as server, tcp(node, family, net.node) as client:
        lead(node, family, None)
        client.settimeout(0)
        assert client.connect_ex((net.service, 80)) != 0
        assert {(one.answers_from, one.answered) for one in node.call(tracked)} == {((net.service, 80), False)}
        assert [one.deleted for one in clean_flows(tcp_service(family), namespace=node.path)] == [0]
        lead(node, family, net.pods[0])
        (done,) = clean_flows(tcp_service(family, net.pods[0]), namespace=node.path)
        assert (done.family, done.deleted, done.complete) == (family, 1, True)
        client.settimeout(DEADLINE)
        with accepted(server, client):
            assert {one.answers_from for one in node.call(tracked)} == {(net.pods[0], 5353)}


@every_family
def test_connections_that_are_made_go_on_whatever_becomes_of_endpoints(node: Namespace, family: Family) -> None:
    net = NETS[family]
    first, second = net.pods
    with (
        listening(node, family, first, 5353) as server,
        listening(node, family, net.node, 80) as own,
        tcp(node, family, net.node) as client,
        tcp(node, family, net.node) as neighbour,
    ):
        lead(node, family, first)
        client.connect((net.service, 80))
        neighbour.connect((net.node, 80))  # to the node itself, where a Service comes to be
        changed = tcp_service(family, second) | frontend(family, net.node, 80, (second, 5353), protocol=TCP)
        with accepted(server, client) as one, accepted(own, neighbour) as other:
            (done,) = clean_flows(changed, namespace=node.path)
            assert done.deleted == 0
            for end, connection in ((client, one), (neighbour, other)):
                connection.sendall(b"still here")
                assert end.recv(100) == b"still here"


@every_family
@pytest.mark.parametrize("word", ["reject", "drop"])
def test_connection_that_a_rule_refuses_leaves_no_flow(node: Namespace, family: Family, word: str) -> None:
    """Such rules of ours come before the kernel keeps a flow, so there is nothing to forget when endpoints come."""
    net, name = NETS[family], "ip6" if family is Family.IPV6 else "ip"
    lead(node, family, None)
    chain = f"chain f {{ type filter hook output priority 0; {name} daddr {net.service} counter {word}; }}"
    nft(node, f"table {name} t {{\n{chain}\n}}\n")
    with tcp(node, family, net.node) as client, udp(node, net.node, 40000) as other:
        client.settimeout(0)
        assert client.connect_ex((net.service, 80)) != 0
        with suppress(OSError):
            other.sendto(b"question", (net.service, 53))
        listing = subprocess.run(
            ["ip", "netns", "exec", node.name, "nft", "list", "table", name, "t"], capture_output=True, check=True
        )
        assert b"counter packets 2" in listing.stdout
        assert not {one for one in node.call(tracked) if one.to[0] == net.service}


# Whose flows ---------------------------------------------------------------------------------------------------------


def flows_of(family: Family) -> tuple[list[Flow], list[Flow], dict[Target, Endpoints]]:
    """Return flows that are stale, flows that are not, and the frontends concerned."""
    net = NETS[family]
    pod, gone = net.pods
    service, node_port, web = (net.service, 53), (net.node, 4789), (net.service, 80)
    stale = [
        Flow((net.outside, 40001), service, (gone, 5353)),
        Flow((net.outside, 40002), service, (pod, 5354)),
        Flow((net.outside, 40003), service, service),
        Flow((net.outside, 40004), node_port, (gone, 5353)),
        Flow((net.outside, 40005), service, (gone, 5353), answered=True),
        Flow((net.outside, 40006), web, web, TCP),
        Flow((net.outside, 40006), web, web, SCTP),
        Flow((net.outside, 40007), node_port, node_port, TCP),
    ]
    fine = [
        Flow((net.outside, 40011), service, (pod, 5353)),
        Flow((net.outside, 40012), (net.service, 54), (gone, 5353)),
        Flow((net.outside, 40013), (net.service, 54), (net.service, 54)),
        Flow((net.outside, 40014), node_port, (pod, 5353)),
        Flow((net.node, 4789), (net.outside, 4789), (net.outside, 4789)),  # a VXLAN, as node ports go
        Flow((net.outside, 40001), service, (gone, 5353), TCP),
        Flow((net.outside, 40003), service, service, TCP),
        Flow((net.outside, 40001), service, (gone, 5353), zone=7),
        Flow((gone, 5353), (pod, 53), (pod, 53)),
        *(
            one
            for protocol in (TCP, SCTP)
            for one in (
                Flow((net.outside, 40021), web, web, protocol, answered=True),
                Flow((net.outside, 40022), web, (gone, 8080), protocol),
                Flow((net.outside, 40023), web, (gone, 8080), protocol, answered=True),
                Flow((net.outside, 40024), (net.service, 81), (net.service, 81), protocol),
                Flow((net.outside, 40025), web, web, protocol, zone=7),
            )
        ),
        Flow((net.outside, 40026), (net.service, 443), (net.service, 443), TCP),  # nobody serves there
        Flow((net.node, 4789), (net.outside, 4789), (net.outside, 4789), TCP),
    ]
    frontends = {
        **frontend(family, *service, (pod, 5353)),
        **frontend(family, None, 4789, (pod, 5353)),
        **frontend(family, *web, (pod, 8080), protocol=TCP),
        **frontend(family, *web, (pod, 8080), protocol=SCTP),
        **frontend(family, net.service, 443, protocol=TCP),
        **frontend(family, None, 4789, (pod, 5353), protocol=TCP),
    }
    return stale, fine, frontends


@every_family
@pytest.mark.parametrize("others", [0, FEW], ids=["one by one", "in one pass"])
def test_exactly_the_stale_flows_are_deleted(node: Namespace, family: Family, others: int) -> None:
    stale, fine, frontends = flows_of(family)
    other_family = [flow for one in FAMILIES if one is not family for group in flows_of(one)[:2] for flow in group]
    for port in range(1000, 1000 + others):
        for protocol in NUMBERS:
            frontends |= frontend(family, NETS[family].service, port, protocol=protocol)
    node.call(lambda: track([*stale, *fine, *other_family]))
    (done,) = clean_flows(frontends, local_addresses(node.path), namespace=node.path)
    assert done.deleted == len(stale)
    assert done.looked_at >= len(stale)
    assert node.call(tracked) == {*fine, *other_family}


def test_both_families_are_cleaned_in_one_call(node: Namespace) -> None:
    both = [flows_of(family) for family in FAMILIES]
    node.call(lambda: track(flow for stale, fine, _ in both for flow in (*stale, *fine)))
    done = clean_flows(both[0][2] | both[1][2], local_addresses(node.path), namespace=node.path)
    assert [(one.family, one.deleted, one.complete) for one in done] == [(family, 8, True) for family in FAMILIES]
    assert node.call(tracked) == {flow for _, fine, _ in both for flow in fine}


@pytest.mark.parametrize("when", [1, 5], ids=["after the first", "after the last"])
def test_flow_to_an_endpoint_that_comes_meanwhile_stays(node: Namespace, when: int) -> None:
    """Whoever follows the endpoints puts the new ones in the place of the old while flows are looked through."""
    net = NETS[Family.IPV4]
    pod, other = net.pods
    flows = [Flow((net.outside, 40000 + number), (net.service, 53), (other, 5353)) for number in range(5)]
    node.call(lambda: track(flows))
    frontends = frontend(Family.IPV4, net.service, 53, (pod, 5353))
    numbers = iter(range(1, 6))

    def meanwhile() -> bool:
        if next(numbers) == when:
            frontends.update(frontend(Family.IPV4, net.service, 53, (pod, 5353), (other, 5353)))
        return False

    (done,) = clean_flows(frontends, namespace=node.path, stop=meanwhile)
    assert (done.looked_at, done.deleted, done.complete) == (5, 0, True)
    assert node.call(tracked) == set(flows)


def test_nothing_to_look_for_is_nothing_done(node: Namespace) -> None:
    stale, fine, _ = flows_of(Family.IPV4)
    node.call(lambda: track([*stale, *fine]))
    assert clean_flows({}, local_addresses(node.path), namespace=node.path) == ()
    assert node.call(tracked) == {*stale, *fine}


def test_flows_that_have_ended_meanwhile_are_no_error(node: Namespace) -> None:
    stale, fine, frontends = flows_of(Family.IPV4)
    node.call(lambda: track([*stale, *fine]))

    def meanwhile() -> bool:
        forget_everything()
        return False

    (done,) = clean_flows(frontends, local_addresses(node.path), namespace=node.path, stop=meanwhile)
    assert (done.deleted, done.refused) == (0, 0)
    assert done.complete


# Many flows ----------------------------------------------------------------------------------------------------------


def many(count: int) -> Iterator[Request]:
    """Requests to track flows of as many clients; one in ten leads to an endpoint that is gone."""
    kind, body, flags = new_flow(Flow(("10.255.255.255", 4000), ("10.96.0.10", 53), ("10.244.255.255", 5353)))
    for number in range(count):
        client = bytes((10, 100 + (number >> 16), number >> 8 & 255, number & 255))
        mine = body.replace(bytes((10, 255, 255, 255)), client)
        mine = mine.replace(bytes((10, 244, 255, 255)), bytes((10, 244, 1, number % 10)))
        yield Request(kind, mine, flags)


CHANGED = frontend(Family.IPV4, "10.96.0.10", 53, *((f"10.244.1.{n}", 5353) for n in range(1, 10)))


def peak_of_cleaning(node: Namespace, count: int) -> int:
    node.call(lambda: track_by(many(count)))
    tracemalloc.start()
    try:
        (done,) = clean_flows(CHANGED, namespace=node.path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (done.looked_at, done.deleted, done.complete) == (count, count // 10, True)
    node.call(forget_everything)
    return peak


def test_a_hundred_thousand_flows_take_no_more_memory_than_a_thousand(node: Namespace) -> None:
    """The first pass is not measured: it makes what stays, such as compiled code."""
    peak_of_cleaning(node, 1_000)
    few, lots = peak_of_cleaning(node, 1_000), peak_of_cleaning(node, 100_000)
    assert lots < 2 * few


def test_it_stops_between_two_flows(node: Namespace) -> None:
    node.call(lambda: track_by(many(1_000)))
    asked = iter(range(1_000))
    (done,) = clean_flows(CHANGED, namespace=node.path, stop=lambda: next(asked) == 100)
    assert (done.looked_at, done.complete) == (101, False)
    assert 0 <= done.deleted <= 101
    assert len(node.call(tracked)) == 1_000 - done.deleted


def test_without_privileges_it_says_that_it_may_not() -> None:
    program = (
        "import os\n"
        "from nftsvc.errors import KernelError\n"
        "from nftsvc.kernel.conntrack import clean_flows\n"
        "from tests.kernel.test_conntrack import CHANGED\n"
        "os.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
        "try:\n    clean_flows(CHANGED)\nexcept KernelError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "cannot look through tracked flows: Operation not permitted\n"


# Addresses -----------------------------------------------------------------------------------------------------------


def test_local_addresses_are_all_but_loopback(place: Namespace) -> None:
    expected = {one for net in NETS.values() for one in (net.node, *net.pods)}
    assert local_addresses(place.path) == expected


def test_of_a_point_to_point_link_this_end_is_local() -> None:
    with namespaces("addresses") as (made,):
        made.configure("address add 10.9.9.1 peer 10.9.9.2 dev lo")
        assert local_addresses(made.path) == {"10.9.9.1"}


def test_more_addresses_than_fit_one_answer() -> None:
    with namespaces("addresses") as (made,):
        listed = [f"10.9.{high}.{low}" for high in range(8) for low in range(1, 251)]
        made.configure(*(f"address add {one} dev lo" for one in listed))
        assert local_addresses(made.path) == set(listed)


def test_list_that_changes_while_it_is_read_is_read_again() -> None:
    """The kernel makes the first portion when it is asked, the others as they are fetched."""
    with namespaces("addresses") as (made,):
        made.configure(*(f"address add 10.9.{n >> 8}.{n & 255} dev lo" for n in range(2_000)))
        with made.call(lambda: Socket(ROUTE)) as asked:
            half_read = asked.dump(22, bytes(8))
            next(half_read)
            made.configure("address add 192.0.2.1 dev lo")
            with pytest.raises(InterruptedError):
                list(half_read)
            everything = [dict(attributes(one.body, 8)).get(2) for one in asked.everything(22, bytes(8))]
            assert ip_address("192.0.2.1").packed in everything
            assert len(everything) == 2_000 + 3  # and 127.0.0.1 and ::1


def test_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(KernelError, match="no-such-namespace"):
        local_addresses(Path("/run/netns/no-such-namespace"))
