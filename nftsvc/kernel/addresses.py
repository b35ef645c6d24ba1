"""The addresses that this machine has itself (<linux/rtnetlink.h>, <linux/if_addr.h>)."""

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from nftsvc.errors import KernelError
from nftsvc.kernel.netlink import ROUTE, Malformed, Socket, attributes, inside
from nftsvc.values import Address

_GET = 22
_HEADER = struct.Struct("=BBBBI")  # struct ifaddrmsg; its last field is the number of the interface
_ADDRESS, _LOCAL = 1, 2
_LENGTHS = {int(socket.AF_INET): 4, int(socket.AF_INET6): 16}


class InterfaceAddress(NamedTuple):
    """An address, and the number of the interface that has it."""

    interface: int
    address: Address


def local_addresses(namespace: Path | None = None) -> frozenset[Address]:
    """Return every address of the machine but loopback ones (127.0.0.0/8 and ::1), of both families.

    `namespace` is the network namespace to look into, as a file; None is the calling thread's own. KernelError if the
    kernel does not tell.
    """
    found = inside(namespace, interface_addresses)
    return frozenset(one.address for one in found if not ip_address(one.address).is_loopback)


def interface_addresses() -> tuple[InterfaceAddress, ...]:
    """Return every address of the calling thread's network namespace. KernelError if the kernel does not tell."""
    try:
        with Socket(ROUTE) as asked:
            replies = asked.everything(_GET, _HEADER.pack(0, 0, 0, 0, 0))
            return tuple(one for reply in replies for one in _read(reply.body))
    except OSError as error:
        raise KernelError(f"cannot list this machine's addresses: {error.strerror or error}") from error


def _read(body: bytes) -> Iterator[InterfaceAddress]:
    if len(body) < _HEADER.size:
        raise Malformed(f"netlink: {len(body)} bytes where an address should be")
    family, _, _, _, interface = _HEADER.unpack_from(body)
    said = dict(attributes(body, _HEADER.size))
    address = said.get(_LOCAL, said.get(_ADDRESS, b""))  # on point-to-point links the second is the other end's
    if len(address) == _LENGTHS.get(family):
        yield InterfaceAddress(interface, Address(str(ip_address(address))))
