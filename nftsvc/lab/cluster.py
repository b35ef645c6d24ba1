"""A node, its pods and a client outside, as the addresses of examples/README.md have them.

                  client                    198.51.100.10         2001:db8:100::10
                    |
          eth0  192.0.2.11                  2001:db8::11
                  node
          10.244.1.1 on every veth          fd00:244:1::1
            |       |       |
          web-1   web-2   web-3             10.244.1.11 ...       fd00:244:1::11 ...

Every pod has a veth pair of its own and is routed to, as with most network plugins; there is no bridge, so every packet
between pods passes the node's hooks.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from nftsvc.lab.namespace import Namespace, namespaces

NODE = ("192.0.2.11", "2001:db8::11")
CLIENT = ("198.51.100.10", "2001:db8:100::10")
GATEWAY = ("10.244.1.1", "fd00:244:1::1")


# The client is the node's only neighbour and its default route: without these the node would tell it to send packets
# for Services to itself.
_QUIET_ROUTING = {
    f"{family}__conf__{interface}__{name}": 0
    for family, names in (
        ("ipv4", ("rp_filter", "send_redirects", "accept_redirects")),
        ("ipv6", ("accept_redirects",)),
    )
    for name in names
    for interface in ("all", "default", "eth0")
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """The namespaces; `pods` by name."""

    node: Namespace
    client: Namespace
    pods: Mapping[str, Namespace]


@contextmanager
def build_cluster(pods: Mapping[str, Iterable[str]]) -> Iterator[Cluster]:
    """Make a cluster whose pods have the given addresses (one or both families); remove it in the end."""
    with namespaces("node", "client", *pods) as (node, client, *members):
        _wire_client(node, client)
        for number, (pod, addresses) in enumerate(zip(members, pods.values(), strict=True)):
            _wire_pod(node, pod, f"pod{number}", tuple(addresses))
        for one in (node, client, *members):
            one.set_sysctls(**_QUIET_ROUTING)
        node.set_sysctls(ipv4__ip_forward=1, ipv6__conf__all__forwarding=1)
        # Refusals come as often as somebody asks.
        node.set_sysctls(ipv4__icmp_ratemask=0, ipv6__icmp__ratelimit=0, ipv6__icmp__ratemask=0)
        yield Cluster(node, client, dict(zip(pods, members, strict=True)))


def _wire_client(node: Namespace, client: Namespace) -> None:
    node.configure(
        f"link add eth0 type veth peer name eth0 netns {client.name}",
        f"address add {NODE[0]}/24 dev eth0",
        f"address add {NODE[1]}/64 dev eth0 nodad",
        "link set eth0 up",
    )
    client.configure(
        f"address add {CLIENT[0]}/32 dev eth0",
        f"address add {CLIENT[1]}/128 dev eth0 nodad",
        "link set eth0 up",
        f"route add default via {NODE[0]} dev eth0 onlink",
        f"route add {NODE[1]} dev eth0",
        f"route add default via {NODE[1]} dev eth0 onlink",
    )
    node.configure(
        f"route add {CLIENT[0]} dev eth0",
        f"route add default via {CLIENT[0]} dev eth0",
        f"route add {CLIENT[1]} dev eth0",
        f"route add default via {CLIENT[1]} dev eth0",
    )


def _wire_pod(node: Namespace, pod: Namespace, link: str, addresses: tuple[str, ...]) -> None:
    node.configure(
        f"link add {link} type veth peer name eth0 netns {pod.name}",
        f"address add {GATEWAY[0]}/32 dev {link}",
        f"address add {GATEWAY[1]}/128 dev {link} nodad",
        f"link set {link} up",
        *(f"route add {address} dev {link}" for address in addresses),
    )
    pod.configure("link set eth0 up")
    for address in addresses:
        six = ":" in address
        gateway = GATEWAY[six]
        pod.configure(
            f"address add {address}/{128 if six else 32} dev eth0{' nodad' if six else ''}",
            f"route add {gateway} dev eth0",
            f"route add default via {gateway} dev eth0",
        )
