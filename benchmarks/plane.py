"""The place for the data plane's measurements: a client, a node that forwards, and a hole that takes what comes out.

    client --veth--> node --+--> pods      (endpoint addresses)
                            `--> services  (cluster IPs that nothing has translated)

What leaves through the last two is counted and goes to a hardware address that nobody has, so that it ends there.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cluster import NODE_ADDRESS, POD_NETWORK, SERVICE_NETWORK
from nftsvc.kernel.netlink import NETFILTER, Request, Socket, inside, netfilter_header
from nftsvc.lab import Namespace, namespaces

CLIENT_NETWORK = "10.255.0.0/16"  # a part of the Pods' addresses that no endpoint has: clients are Pods
FIRST_CLIENT = (10 << 24) + (255 << 16) + 1
NODE_HARDWARE, CLIENT_HARDWARE = bytes.fromhex("020000000001"), bytes.fromhex("020000000002")
_NOBODY, _NEXT = bytes.fromhex("020000000099"), "192.0.2.99"

_CONNTRACK, _DELETE = 1, 2
_FLUSH = Request((_CONNTRACK << 8) | _DELETE, netfilter_header(None))


@dataclass(frozen=True, slots=True)
class Plane:
    """The two namespaces."""

    node: Namespace
    client: Namespace


@contextmanager
def plane() -> Iterator[Plane]:
    """Make the namespaces and remove them in the end."""
    with namespaces("bench-node", "bench-client") as (node, client):
        for one in (node, client):  # what IPv6 says of itself would be counted
            one.set_sysctls(ipv6__conf__all__disable_ipv6=1, ipv6__conf__default__disable_ipv6=1)
        node.configure(
            f"link add client type veth peer name eth0 netns {client.name}",
            f"link set client address {_written(NODE_HARDWARE)}",
            f"address add {NODE_ADDRESS}/32 dev client",
            "link set client up",
            *_hole("pods", POD_NETWORK, client),
            *_hole("services", SERVICE_NETWORK, client),
        )
        client.configure(f"link set eth0 address {_written(CLIENT_HARDWARE)}", "link set eth0 up")
        client.configure("link set pods up", "link set services up")
        node.configure(f"route add {CLIENT_NETWORK} dev client")
        quiet = {f"ipv4__conf__{one}__rp_filter": 0 for one in ("all", "default", "client")}
        node.set_sysctls(ipv4__ip_forward=1, **quiet)
        yield Plane(node, client)


def _hole(name: str, network: str, peer: Namespace) -> Iterator[str]:
    """Yield what sends a network's packets to nobody."""
    yield f"link add {name} type veth peer name {name} netns {peer.name}"
    yield f"link set {name} up"
    yield f"neighbour add {_NEXT} lladdr {_written(_NOBODY)} dev {name} nud permanent"
    yield f"route add {network} via {_NEXT} dev {name} onlink"


def _written(hardware: bytes) -> str:
    return hardware.hex(":")


def forget_flows(node: Path) -> None:
    """Remove all tracked flows of a namespace."""

    def forget() -> None:
        with Socket(NETFILTER) as netlink:
            netlink.request(_FLUSH)

    inside(node, forget)


def counted(node: Path) -> dict[str, int]:
    """Return how many packets have left through each interface, and how many flows are tracked (`flows`)."""

    def count() -> dict[str, int]:
        lines = Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()[2:]
        found = {name.strip(): int(rest.split()[9]) for name, _, rest in (line.partition(":") for line in lines)}
        flows = Path("/proc/sys/net/netfilter/nf_conntrack_count")
        found["flows"] = int(flows.read_text(encoding="ascii")) if flows.exists() else 0
        return found

    return inside(node, count)


def address_of(network: str) -> int:
    """Return a network's first address as a number."""
    (number,) = struct.unpack("!I", bytes(map(int, network.partition("/")[0].split("."))))
    return int(number)
