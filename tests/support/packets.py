"""Packets in the world of the tests: those of `nftsvc.golden.packets` that somebody in it can send and receive.

Addresses explain themselves there, see examples/README.md.
"""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path

from nftsvc.errors import InputError
from nftsvc.golden import Endpoint, Masquerade, Outcome, Packet, disagreement, expected_outcome, read_packets

__all__ = [
    "BRIDGE",
    "BRIDGE_PODS",
    "GATEWAY",
    "NODE",
    "NODE_ADDRESSES",
    "PODS",
    "SECOND",
    "Endpoint",
    "Masquerade",
    "Outcome",
    "Packet",
    "disagreement",
    "expected_outcome",
    "packets_of",
    "pod_number",
]

NODE = ("192.0.2.11", "2001:db8::11")
SECOND = ("192.0.2.111", "2001:db8::111")
GATEWAY = ("10.244.1.1", "fd00:244:1::1")
NODE_ADDRESSES = frozenset((*NODE, *SECOND, *GATEWAY))
PODS = ("10.244.1.0/24", "fd00:244:1::/64")
BRIDGE = "cbr0"
BRIDGE_PODS = range(200, 210)
_ENDS = ("192.0.2.0/24", "2001:db8::/64", "10.244.0.0/16", "fd00:244::/32")  # where Pods and nodes are
_ELSEWHERE = (
    *("198.51.100.0/24", "2001:db8:100::/64"),  # clients
    *("10.96.0.0/12", "fd00:96::/108", "203.0.113.0/24", "2001:db8:203::/64"),  # Services
)


def pod_number(address: str) -> int | None:
    """Return the number of the Pod of node-a that has an address: 7 for 10.244.1.7 and for fd00:244:1::7."""
    if address in NODE_ADDRESSES or not _within(address, *PODS):
        return None
    last = re.split("[.:]", address)[-1]
    return int(last) if last.isdecimal() else None


def _within(address: str, *networks: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(one) for one in networks)


def packets_of(folder: Path) -> tuple[Packet, ...]:
    """Read a case's packets; none if it has no such file. AssertionError names the file and the row (from 1)."""
    try:
        packets = read_packets(folder)
    except InputError as error:
        raise AssertionError(f"{folder.name}/{error.problems[0]}") from error
    for number, packet in enumerate(packets, start=1):
        for complaint in _misplaced(packet):
            raise AssertionError(f"{folder.name}/packets.toml: packet {number}: {complaint}")
    return packets


def _misplaced(packet: Packet) -> Iterator[str]:
    endpoints = sorted({address for address, _ in packet.endpoints})
    if not _within(packet.source, *_ENDS, *_ELSEWHERE) or packet.source in SECOND + GATEWAY:
        yield f"nobody sends from {packet.source}"
    if not _within(packet.address, *_ENDS, *_ELSEWHERE):
        yield f"{packet.address} is in no range that an address may be of"
    for address in endpoints:
        if not _within(address, *_ENDS):
            yield f"{address} is no Pod's and no node's"
    for address in (packet.source, packet.address, *endpoints):
        if _within(address, *PODS) and address not in GATEWAY and pod_number(address) not in range(2, 255):
            yield f"{address} has no decimal number of 2 to 254 at its end"
    if packet.interface and not _fits(packet.interface, packet.source):
        yield f"packets from {packet.source} do not come in through {packet.interface}"


def _fits(interface: str, source: str) -> bool:
    number = pod_number(source)
    if number is None:
        return interface.startswith("eth") and source not in NODE_ADDRESSES
    return interface == BRIDGE if number in BRIDGE_PODS else interface.startswith("veth")
