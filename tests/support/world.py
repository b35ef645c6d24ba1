"""The world that packets travel in: a node with its Pods and everything outside, as network namespaces.

            outside         clients, other nodes, their Pods, and whatever has no other place: all addresses
             |   |
          eth0   eth1       192.0.2.11, 2001:db8::11; eth1: 192.0.2.111, 2001:db8::111, to the other nodes' networks
             node
          10.244.1.1        fd00:244:1::1, on every veth and on cbr0
           |      |
        veth7    cbr0       a Pod each: 10.244.1.7, fd00:244:1::7; numbers 200 to 209 behind the bridge

Outside takes every packet that comes in, whatever its address, and sends everything out through the node, even to
itself. So whoever may send from there passes the node, and so do answers.
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial

from nftsvc.kernel import Kernel
from nftsvc.lab import Namespace, namespaces
from nftsvc.lab.namespace import ip
from nftsvc.render import Renderer, Script
from nftsvc.sync import remove
from tests.support.knock import Knock, knock, source_ports
from tests.support.listeners import Listeners
from tests.support.packets import (
    BRIDGE,
    BRIDGE_PODS,
    GATEWAY,
    NODE,
    NODE_ADDRESSES,
    SECOND,
    Outcome,
    Packet,
    pod_number,
)

PEERS = ("192.0.2.0/24", "10.244.0.0/16", "2001:db8::/64", "fd00:244::/32")  # reached through eth1
BEYOND = ("198.51.100.1", "2001:db8:100::1")  # outside's end of eth0
PEER = ("192.0.2.12", "2001:db8::12")  # outside's end of eth1

FEWEST = 12  # connections, and at least ...
PER_ENDPOINT = 8  # ... that many for each endpoint, before it is believed that no other is reached
MOST = 30  # that many for each endpoint, before it is believed that one of them is not
AGAIN = 5  # further connections of one client, with affinity
SHORT, LONG = 0.5, 5.0  # seconds of silence: where that is what a packet expects, and where it is not

_QUIET = {
    f"{name.format(interface)}": value
    for interface in ("all", "default")
    for name, value in (
        ("ipv4__conf__{}__rp_filter", 0),
        ("ipv4__conf__{}__send_redirects", 0),
        ("ipv4__conf__{}__accept_redirects", 0),
        ("ipv6__conf__{}__accept_redirects", 0),
        ("ipv6__conf__{}__accept_dad", 0),  # addresses are of use at once
    )
}


class World:
    """Judges packets under the ruleset that is in the node's kernel. Use it from one thread; `build_world` makes it."""

    def __init__(
        self, node: Namespace, outside: Namespace, kernel: Kernel, listeners: Listeners, stack: ExitStack
    ) -> None:
        self.node = node
        self.outside = outside
        self.kernel = kernel
        self._listeners = listeners
        self._stack = stack
        self._pods: dict[int, Namespace] = {}
        self._renderer = Renderer()
        self._ports = source_ports()

    def load(self, text: str) -> None:
        """Run nft commands in the node, as one transaction."""
        self.kernel.run(Script.of_text(text))

    def clear(self) -> None:
        """Remove nftsvc's tables and forget all connections."""
        remove(self.kernel, self._renderer)
        self.node.call(_forget_connections)

    def pod(self, address: str) -> Namespace:
        """Return the Pod of this node that has an address; it is made when first asked for."""
        number = pod_number(address)
        assert number is not None, f"{address} is no Pod's of this node"
        if number not in self._pods:
            (made,) = self._stack.enter_context(namespaces(f"world-pod{number}"))
            _wire_pod(self.node, made, number)
            self._pods[number] = made
        return self._pods[number]

    def place(self, address: str) -> Namespace:
        """Return where an address is."""
        if address in NODE_ADDRESSES:
            return self.node
        return self.outside if pod_number(address) is None else self.pod(address)

    def judge(self, packets: Iterable[Packet], endpoints: Iterable[tuple[str, int, str]]) -> list[Outcome]:
        """Say what becomes of each packet. `endpoints`: address, port and protocol of every endpoint there is."""
        packets = list(packets)
        for packet in packets:
            self._listeners.listen(self.place(packet.address), packet.protocol, packet.port)
            for address, port in packet.endpoints:
                self._listeners.listen(self.place(address), packet.protocol, port)
        for address, port, protocol in endpoints:
            self._listeners.listen(self.place(address), protocol, port)
        senders = [self.place(packet.source) for packet in packets]
        with ThreadPoolExecutor(max(1, len(packets))) as pool:
            return list(pool.map(self._judge, packets, senders))

    def _judge(self, packet: Packet, sender: Namespace) -> Outcome:
        knocks = sender.call(lambda: list(self._knocks(packet)))
        forwarded = [one.reached for one in knocks if one.reached is not None and one.verdict == "forward"]
        return Outcome(
            "+".join(sorted({one.verdict for one in knocks})),
            frozenset(forwarded),
            frozenset(one.reached for one in knocks if one.reached is not None and one.masqueraded),
            sticky=packet.affinity and len(forwarded) > AGAIN and len(set(forwarded)) == 1,
        )

    def _knocks(self, packet: Packet) -> Iterator[Knock]:
        """Yield connections until enough is known, or more than is expected."""
        size = len(packet.endpoints)
        fewest, most = max(FEWEST, PER_ENDPOINT * size), max(FEWEST, MOST * size)
        if packet.affinity:
            fewest = most = AGAIN + 1
        elif packet.expect != "forward":
            fewest = most = 1 if packet.expect == "drop" else 3
        missing = set(packet.endpoints)
        for number in range(1, most + 1):
            one = knock(packet, self._ports, SHORT if packet.expect == "drop" else LONG)
            yield one
            if one.verdict != packet.expect or (packet.endpoints and one.reached not in packet.endpoints):
                return
            missing.discard(one.reached or ("", 0))
            if number >= fewest and not missing:
                return


@contextmanager
def build_world() -> Iterator[World]:
    """Make the world; remove it in the end."""
    with ExitStack() as stack:
        node, outside = stack.enter_context(namespaces("world-node", "world-outside"))
        for one in (node, outside):
            one.set_sysctls(**_QUIET)
        node.set_sysctls(
            ipv4__ip_forward=1,
            ipv6__conf__all__forwarding=1,
            ipv4__icmp_ratemask=0,  # refusals come as fast as the tests ask for them
            ipv6__icmp__ratelimit=0,
            ipv6__icmp__ratemask=0,
        )
        outside.set_sysctls(ipv4__conf__all__accept_local=1, ipv6__ip_nonlocal_bind=1)
        _wire_outside(node, outside)
        kernel = stack.enter_context(Kernel(node.path))
        listeners = stack.enter_context(Listeners())
        yield World(node, outside, kernel, listeners, stack)


def _wire_outside(node: Namespace, outside: Namespace) -> None:
    for number, (here, there) in enumerate(((NODE, BEYOND), (SECOND, PEER))):
        # The kernel takes up to a second to see that a veth is up if both ends have the same index.
        node.configure(
            f"link add eth{number} index {10 + number} type veth peer name eth{number} netns {outside.name}",
            f"address add {here[0]} dev eth{number}",
            f"address add {here[1]} dev eth{number} nodad",
            f"link set eth{number} up",
        )
        outside.configure(
            f"address add {there[0]} dev eth{number}",
            f"address add {there[1]} dev eth{number} nodad noprefixroute",
            f"link set eth{number} up",
        )
    for six in (False, True):
        node.configure(
            f"route add {BEYOND[six]} dev eth0",
            f"route add default via {BEYOND[six]} dev eth0",
            f"route add {PEER[six]} dev eth1",
            *(f"route add {one} via {PEER[six]} dev eth1" for one in PEERS if (":" in one) == six),
        )
        outside.configure(
            f"route add {NODE[six]} dev eth0",
            f"route add default via {NODE[six]} dev eth0",
        )
        outside.call(partial(_take_everything, six))


def _take_everything(six: bool) -> None:
    """Make whatever comes in arrive, and send out even what is for an address of one's own."""
    commands = (
        "route add local default dev lo",
        "rule add pref 10 iif lo lookup main",
        "rule add pref 20 lookup local",
        "rule delete pref 0",
    )
    ip("-6" if six else "-4", "-batch", "-", commands="\n".join(commands))


def _wire_pod(node: Namespace, pod: Namespace, number: int) -> None:
    bridged = number in BRIDGE_PODS
    link = f"port{number}" if bridged else f"veth{number}"
    interface = BRIDGE if bridged else link
    addresses = (f"10.244.1.{number}", f"fd00:244:1::{number}")
    node.configure(f"link add {link} type veth peer name eth0 netns {pod.name}")
    if bridged:
        _add_bridge(node)
        node.configure(f"link set {link} master {BRIDGE}")
    else:
        node.configure(*_gateway(link))
    node.configure(f"link set {link} up", *(f"route add {address} dev {interface}" for address in addresses))
    pod.set_sysctls(**_QUIET)
    pod.configure("link set eth0 up")
    for address, gateway in zip(addresses, GATEWAY, strict=True):
        pod.configure(
            f"address add {address} dev eth0{' nodad' if ':' in address else ''}",
            f"route add {gateway} dev eth0",
            f"route add default via {gateway} dev eth0",
        )


def _add_bridge(node: Namespace) -> None:
    interfaces = node.call(lambda: [name for _, name in socket.if_nameindex()])
    if BRIDGE not in interfaces:
        node.configure(f"link add {BRIDGE} type bridge mcast_snooping 0", *_gateway(BRIDGE), f"link set {BRIDGE} up")


def _gateway(interface: str) -> tuple[str, str]:
    return f"address add {GATEWAY[0]} dev {interface}", f"address add {GATEWAY[1]} dev {interface} nodad"


def _forget_connections() -> None:
    """Empty the connection tracking of the thread's namespace: one netlink message without attributes."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12) as netfilter:  # NETLINK_NETFILTER
        delete, request_with_ack = 1 << 8 | 2, 5
        netfilter.send(struct.pack("=IHHIIBBH", 20, delete, request_with_ack, 1, 0, 0, 0, 0))
        error = struct.unpack_from("=i", netfilter.recv(4096), 16)[0]
        assert error == 0, f"emptying the connection tracking: error {-error}"
