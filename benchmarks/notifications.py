"""When endpoints come into the kernel: read off its notifications of new map elements."""

import socket
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.cluster import TARGET_PORT
from nftsvc.kernel.netlink import DATAGRAM, NETFILTER, inside, messages
from nftsvc.kernel.notifications import NFTABLES

_NEW_ELEMENT = 12
_NOTIFICATIONS = 7  # the multicast group of nf_tables
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_RCVBUFFORCE = 33
_ROOM = 256 << 20
_ENDPOINT = struct.Struct("!IH2x")  # the data of an element: address . port
_ADDRESS = 4  # bytes
_TICK_SECONDS = 0.1


class Appearances:
    """Hears of new map elements in a namespace, on a thread of its own, while it is used as a context.

    `seen` says when each address of a range was there first, by `time.monotonic`. Only elements that are an endpoint
    with the benchmark's target port are looked at.
    """

    def __init__(self, namespace: Path, first: int, count: int) -> None:
        self.seen: dict[int, float] = {}
        self._addresses = range(first, first + count)
        self._socket = inside(namespace, _listening)
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="appearances", daemon=True)

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop listening."""
        self._ending.set()
        self._thread.join()
        self._socket.close()

    def _listen(self) -> None:
        while not self._ending.is_set():
            try:
                data = self._socket.recv(DATAGRAM)
            except TimeoutError:
                continue
            now = time.monotonic()
            for message in messages(data):
                if message.kind == NFTABLES << 8 | _NEW_ELEMENT:
                    for address in _endpoints(message.body):
                        if address in self._addresses:
                            self.seen.setdefault(address, now)


def _listening() -> socket.socket:
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETFILTER)
    made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    made.bind((0, 0))
    made.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NOTIFICATIONS)
    made.settimeout(_TICK_SECONDS)
    return made


def _endpoints(body: bytes) -> list[int]:
    """Return the addresses in a message that stand before the target port: those of endpoints."""
    port, found, place = struct.pack("!H2x", TARGET_PORT), [], 0
    while (place := body.find(port, place)) >= 0:
        if place >= _ADDRESS:
            found.append(_ENDPOINT.unpack_from(body, place - _ADDRESS)[0])
        place += len(port)
    return found
