"""The flows that a namespace's kernel tracks: which there are, told apart from others with the same addresses."""

from ipaddress import ip_address
from typing import NamedTuple

from nftsvc.kernel.netlink import NETFILTER, Request, Socket, attributes, netfilter_header
from nftsvc.lab import Namespace
from nftsvc.values import FAMILIES

_GET, _DELETE = 1 << 8 | 1, 1 << 8 | 2  # messages of conntrack (linux/netfilter/nfnetlink_conntrack.h)
_ORIGINAL, _ID = 1, 12


class Flow(NamedTuple):
    """A flow's first direction, and the number that the kernel gave it: another one if it was forgotten meanwhile."""

    source: str
    source_port: int
    target: str
    port: int
    number: int


def flows_of(namespace: Namespace) -> set[Flow]:
    """Return all flows of a namespace."""

    def read() -> set[Flow]:
        with Socket(NETFILTER) as asked:
            return {
                _flow(message.body)
                for family in FAMILIES
                for message in asked.everything(_GET, netfilter_header(family))
            }

    return namespace.call(read)


def _flow(body: bytes) -> Flow:
    said = dict(attributes(body, 4))
    parts = dict(attributes(said[_ORIGINAL]))
    source, target = (str(ip_address(one)) for _, one in attributes(parts[1]))
    _, *ports = (int.from_bytes(one, "big") for _, one in attributes(parts[2]))
    return Flow(source, ports[0], target, ports[1], int.from_bytes(said[_ID], "big"))


def forget_flows(namespace: Namespace) -> None:
    """Make a namespace forget all of its flows."""

    def forget() -> None:
        with Socket(NETFILTER) as asked:
            asked.request(Request(_DELETE, netfilter_header(None)))

    namespace.call(forget)
