"""Servers for every place that a packet may land in: they tell a client where it arrived and as whom it was seen.

One thread serves all of them; a port that was opened once stays open.
"""

import selectors
import socket
import struct
import threading
from collections.abc import Callable
from ipaddress import ip_address
from types import TracebackType
from typing import NamedTuple, Self

from nftsvc.lab import Namespace
from tests.support.packets import Endpoint
from tests.support.traffic import _crc32c as crc32c

_IP_PKTINFO = 8  # the socket module of Python 3.11 has no name for it
_INIT, _INIT_ACK = 1, 2
_SCTP_HEADER = struct.Struct("!HHI")
_SCTP_REPORT = 32  # where the report begins: header, chunk header, five fields, header of a parameter


class Report(NamedTuple):
    """What a server tells: where the packet arrived, and from where it seemed to come."""

    reached: Endpoint
    seen: Endpoint

    def encode(self) -> bytes:
        return " ".join(str(part) for pair in self for part in pair).encode() + b"\n"

    @classmethod
    def decode(cls, text: bytes) -> Self:
        address, port, source, source_port = text.decode().split()
        return cls((address, int(port)), (source, int(source_port)))


class Listeners:
    """Opens ports in namespaces and answers on them until closed. To be used from one thread."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._open: set[tuple[str, str, int]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="listeners", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def listen(self, namespace: Namespace, protocol: str, port: int) -> None:
        """Answer on a port of all addresses of a namespace; SCTP is answered on every port at once."""
        key = (namespace.name, protocol, 0 if protocol == "SCTP" else port)
        if key in self._open:
            return
        self._open.add(key)
        for made, answer in namespace.call(lambda: _listening(protocol, port)):
            made.settimeout(0)
            self._selector.register(made, selectors.EVENT_READ, answer)

    def _serve(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                try:
                    key.data(key.fileobj)
                except OSError:  # a client that has gone, or a packet that cannot be answered: the client will tell
                    continue


_Answer = Callable[[socket.socket], None]


def _listening(protocol: str, port: int) -> list[tuple[socket.socket, _Answer]]:
    if protocol == "SCTP":
        return [(_raw(socket.AF_INET), _answer_sctp), (_raw(socket.AF_INET6), _answer_sctp)]
    if protocol == "UDP":
        made = _bound(socket.SOCK_DGRAM, port)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        return [(made, _answer_udp)]
    made = _bound(socket.SOCK_STREAM, port)
    made.listen(1024)
    return [(made, _answer_tcp)]


def _bound(kind: socket.SocketKind, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6, kind)
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind(("::", port))
    return made


def _raw(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    return made


def _answer_tcp(server: socket.socket) -> None:
    connection, source = server.accept()
    with connection:
        connection.send(Report(_plain(connection.getsockname()), _plain(source)).encode())


def _answer_udp(server: socket.socket) -> None:
    _, ancillary, _, source = server.recvmsg(100, 100)
    here = ancillary[0][2][:16]
    reached = (_unmapped(socket.inet_ntop(socket.AF_INET6, here)), server.getsockname()[1])
    _send_from(server, here, Report(reached, _plain(source)).encode(), source)


def _answer_sctp(server: socket.socket) -> None:
    """Answer an INIT with an INIT ACK whose only parameter is the report."""
    data, ancillary, _, source = server.recvmsg(2000, 100)
    here = ancillary[0][2][:16] if ancillary else data[16:20]
    packet = data if ancillary else without_ip_header(data)
    source_port, port, _ = _SCTP_HEADER.unpack_from(packet)
    if packet[12] == _INIT:
        tag = struct.unpack_from("!I", packet, 16)[0]
        report = Report((str(ip_address(here)), port), (source[0], source_port)).encode()
        answer = _sctp_init_ack(port, source_port, tag, report)
        _send_from(server, here, answer, (source[0], 0))


def _send_from(server: socket.socket, here: bytes, data: bytes, to: tuple[str, int]) -> None:
    """Send from the address that was reached, whichever the routing would choose."""
    if len(here) == 4:
        how = (socket.IPPROTO_IP, _IP_PKTINFO, struct.pack("I4s4s", 0, here, b""))
    else:
        how = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("16sI", here, 0))
    server.sendmsg([data], [how], 0, to)


def _sctp_init_ack(source_port: int, port: int, tag: int, report: bytes) -> bytes:
    padding = bytes(-len(report) % 4)
    parameter = struct.pack("!HH", 0x8000, 4 + len(report)) + report + padding
    chunk = struct.pack("!BBHIIHHI", _INIT_ACK, 0, 20 + len(parameter), 0x9ABC, 65536, 1, 1, 0xDEF0) + parameter
    ports = struct.pack("!HHI", source_port, port, tag)
    return ports + struct.pack("<I", crc32c(ports + bytes(4) + chunk)) + chunk


def sctp_report(packet: bytes, source_port: int, port: int) -> Report | None:
    """Return the report in an SCTP packet, or None if it is no answer to this client."""
    if packet[12] != _INIT_ACK or struct.unpack_from("!HH", packet) != (port, source_port):
        return None
    size = struct.unpack_from("!H", packet, _SCTP_REPORT + 2)[0]
    return Report.decode(packet[_SCTP_REPORT + 4 : _SCTP_REPORT + size])


def without_ip_header(data: bytes) -> bytes:
    """Return what an IPv4 raw socket's packet carries."""
    return data[(data[0] & 15) * 4 :]


def _plain(address: tuple[str, int]) -> Endpoint:
    return _unmapped(address[0]), address[1]


def _unmapped(address: str) -> str:
    return address.removeprefix("::ffff:")
