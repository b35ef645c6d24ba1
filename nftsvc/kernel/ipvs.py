"""What kube-proxy's ipvs mode leaves on a node besides chains: virtual servers, an interface, sets of addresses.

Virtual servers are read from the kernel's own list and removed by `ipvsadm`; the interface and the sets
(<linux/netfilter/ipset/ip_set.h>) go through netlink. All functions are about the calling thread's network namespace.
"""

import re
import socket
import struct
from collections.abc import Collection, Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from nftsvc.errors import KernelError
from nftsvc.kernel.addresses import interface_addresses
from nftsvc.kernel.netlink import (
    ACK,
    NETFILTER,
    ROUTE,
    Request,
    Socket,
    attribute,
    attributes,
    name,
    netfilter_header,
    text,
)
from nftsvc.kernel.xtables import find_program, run_program
from nftsvc.values import Address, Family, authority

INTERFACE = "kube-ipvs0"
# What node ports are allocated from unless the API server is told otherwise (--service-node-port-range).
NODE_PORTS = range(30000, 32768)

_SERVER = re.compile(
    r"(?P<protocol>TCP|UDP|SCTP) +(\[(?P<six>[0-9a-fA-F:]+)\]|(?P<four>[0-9A-F]{8})):(?P<port>[0-9A-F]{4}) "
)
_OPTIONS = {"TCP": "--tcp-service", "UDP": "--udp-service", "SCTP": "--sctp-service"}

_DELETE_LINK = 17
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg

# Sets of kube-proxy 1.9 to 1.36 in ipvs mode; those for IPv6 have a 6 in their names.
_SET = re.compile(
    r"KUBE-(6-)?(LOOP-BACK|CLUSTER-IP|EXTERNAL-IP|LOAD-BALANCER|NODE-PORT|HEALTH-CHECK-NODE-PORT|IPVS-IPS)(-.+)?"
)
_IPSET = 6 << 8
_DESTROY_SET, _LIST_SETS = _IPSET | 3, _IPSET | 7
_PROTOCOL, _SET_NAME, _SET_FLAGS = 1, 2, 6
_PROTOCOL_VERSION = bytes((6,))
_NAMES_ONLY = struct.pack("!I", 1 << 1)
_NETWORK_ORDER = 0x4000


class VirtualServer(NamedTuple):
    """A virtual server: TCP, UDP or SCTP, its address and port."""

    protocol: str
    address: Address
    port: int

    def __str__(self) -> str:
        """Write it as `TCP 10.96.0.1:443`."""
        return f"{self.protocol} {authority(self.address, self.port)}"


def interface() -> int | None:
    """Return the number of kube-proxy's interface, or None if it is not there."""
    try:
        return socket.if_nametoindex(INTERFACE)
    except OSError:
        return None


def virtual_servers() -> tuple[VirtualServer, ...]:
    """Return all virtual servers, whoever made them."""
    try:
        return parse_servers(Path("/proc/thread-self/net/ip_vs").read_text(encoding="ascii"))
    except FileNotFoundError:
        return ()


def parse_servers(listing: str) -> tuple[VirtualServer, ...]:
    """Read /proc/net/ip_vs; servers that are told by a mark are not among them, kube-proxy makes none."""
    found = (_SERVER.match(line) for line in listing.splitlines())
    return tuple(_server(match) for match in found if match is not None)


def _server(match: re.Match[str]) -> VirtualServer:
    address = ip_address(match["six"]) if match["six"] else ip_address(bytes.fromhex(match["four"]))
    return VirtualServer(match["protocol"], Address(str(address)), int(match["port"], 16))


def kube_proxys(servers: Iterable[VirtualServer], number: int) -> tuple[VirtualServer, ...]:
    """Return the virtual servers that are kube-proxy's, as its interface tells, given the interface's number.

    They are those at an address of the interface, and those at any other of this machine's on a port of the range for
    node ports. Others (keepalived's for an API server, say) are not.
    """
    addresses = interface_addresses()
    own = {one.address for one in addresses if one.interface == number}
    local = {one.address for one in addresses}
    return tuple(one for one in servers if one.address in own or (one.address in local and one.port in NODE_PORTS))


def remove_servers(servers: Collection[VirtualServer]) -> None:
    """Remove virtual servers. KernelError if `ipvsadm` is missing or fails."""
    program = find_program("ipvsadm")
    if program is None:
        raise KernelError(
            f"{len(servers)} virtual servers are left, and it takes ipvsadm to remove them: install it (Debian, Ubuntu"
            " and Fedora: ipvsadm), then try again"
        )
    for one in servers:
        run_program((program, "--delete-service", _OPTIONS[one.protocol], authority(one.address, one.port)))


def remove_interface(number: int) -> None:
    """Remove an interface. OSError if the kernel refuses."""
    with Socket(ROUTE) as asked:
        asked.request(Request(_DELETE_LINK, _LINK.pack(0, 0, number, 0, 0)))


def address_sets() -> tuple[str, ...]:
    """Return kube-proxy's sets of addresses (ipset). OSError if the kernel refuses."""
    if not Path("/sys/module/ip_set").exists():  # to ask would load it
        return ()
    wanted = attribute(_PROTOCOL, _PROTOCOL_VERSION) + attribute(_SET_FLAGS | _NETWORK_ORDER, _NAMES_ONLY)
    with Socket(NETFILTER) as asked:
        found = asked.everything(_LIST_SETS, netfilter_header(None) + wanted)
    names = (text(dict(attributes(one.body, 4)).get(_SET_NAME, b"")) for one in found)
    return tuple(one for one in names if _SET.fullmatch(one))


def remove_sets(sets: Iterable[str]) -> None:
    """Remove sets of addresses. OSError if the kernel refuses, as it does where rules use one."""
    header = netfilter_header(Family.IPV4) + attribute(_PROTOCOL, _PROTOCOL_VERSION)
    with Socket(NETFILTER) as asked:
        for one in sets:
            asked.request(Request(_DESTROY_SET, header + attribute(_SET_NAME, name(one)), ACK))
