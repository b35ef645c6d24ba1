"""One connection, opened to learn what becomes of it. Runs in the namespace of the thread that calls."""

import errno
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from typing import NamedTuple

from tests.support.listeners import Report, sctp_report, without_ip_header
from tests.support.packets import NODE_ADDRESSES, Endpoint, Packet
from tests.support.traffic import family_of, sctp_init

_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM, "SCTP": socket.SOCK_RAW}
_RECVERR = {socket.AF_INET: (socket.IPPROTO_IP, 11), socket.AF_INET6: (socket.IPPROTO_IPV6, 25)}
_ERROR = struct.Struct("=IBBB")  # sock_extended_err: errno, origin, type, code; 16 bytes in all, then the offender
_PORT_UNREACHABLE = {(2, 3, 3), (3, 1, 4)}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: no TIME_WAIT stays behind


class Knock(NamedTuple):
    """What one connection came to.

    `verdict` is a packet's, or `closed` (nobody listens where it arrived), or the name of an error. `masqueraded`: the
    other end saw another address or port than the sender's. The port counts because the address need not change: a node
    may be masqueraded as itself.
    """

    verdict: str
    reached: Endpoint | None = None
    masqueraded: bool = False


def source_ports() -> Iterator[int]:
    """Return an endless supply of ports for `knock`. Safe to use from several threads."""
    return cycle(range(33000, 61000))


def knock(packet: Packet, ports: Iterator[int], seconds: float) -> Knock:
    """Open a connection from a port of its own, and wait that long before calling it dropped."""
    with socket.socket(family_of(packet.source), _KINDS[packet.protocol], _number(packet.protocol)) as client:
        port = _prepare(client, packet, ports)
        try:
            _send(client, packet, port)
        except OSError as error:
            # The node's own packets fail at once in its output hook; the reason may still be on its way.
            if error.errno not in (errno.EPERM, errno.ECONNREFUSED):
                return Knock(_name(error.errno))
        answer = _answer(client, packet, port, time.monotonic() + seconds)
    if isinstance(answer, str):
        return Knock(answer)
    untranslated = answer.reached == packet.destination and packet.destination not in packet.endpoints
    return Knock("pass" if untranslated else "forward", answer.reached, answer.seen != (packet.source, port))


def _number(protocol: str) -> int:
    return socket.IPPROTO_SCTP if protocol == "SCTP" else 0


def _prepare(client: socket.socket, packet: Packet, ports: Iterator[int]) -> int:
    """Bind to the sender's address; return the source port."""
    client.setsockopt(*_RECVERR[client.family], 1)
    client.settimeout(0)
    if packet.protocol == "SCTP":
        client.bind((packet.source, 0))
        return next(ports)
    if packet.protocol == "TCP":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    for port in ports:
        try:
            client.bind((packet.source, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise AssertionError("the supply of ports has an end")


def _send(client: socket.socket, packet: Packet, port: int) -> None:
    match packet.protocol:
        case "TCP":
            with suppress(BlockingIOError):
                client.connect(packet.destination)
        case "UDP":
            client.connect(packet.destination)
            client.send(b"?")
        case _:
            client.connect((packet.address, 0))
            _send_raw(client, sctp_init(port, packet.port))


def _send_raw(client: socket.socket, data: bytes) -> None:
    """Send, whatever became of others' packets from here to there: raw sockets share their errors."""
    while True:
        with suppress(ConnectionRefusedError):
            client.send(data)
            return


def _answer(client: socket.socket, packet: Packet, port: int, until: float) -> Report | str:
    """Wait for the listener's report or for what ends the attempt; `drop` if nothing comes in time."""
    poll = select.poll()
    poll.register(client, select.POLLIN)
    while (rest := until - time.monotonic()) > 0:
        events = poll.poll(rest * 1000)
        found: Report | str | None = None
        if events and events[0][1] & select.POLLERR:
            found = _complaint(client, packet, port)
        elif events:
            found = _report(client, packet, port)
        if found is not None:
            return found
    return "drop"


def _report(client: socket.socket, packet: Packet, port: int) -> Report | str | None:
    try:
        data = client.recv(2000)
    except OSError as error:
        return None if packet.protocol == "SCTP" else _name(error.errno)
    if packet.protocol != "SCTP":
        return Report.decode(data) if data else "closed"
    return sctp_report(data if packet.six else without_ip_header(data), port, packet.port)


def _complaint(client: socket.socket, packet: Packet, port: int) -> str | None:
    """Tell a refusal by the node from other errors; None if it is about another client's packet."""
    try:
        sent, ancillary, _, _ = client.recvmsg(512, 512, socket.MSG_ERRQUEUE)
    except BlockingIOError:
        error = client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if packet.protocol == "SCTP":
            return None
        return "closed" if error == errno.ECONNREFUSED else _name(error)
    if packet.protocol == "SCTP" and sent[:4] != struct.pack("!HH", port, packet.port):
        return None
    value = next(value for level, kind, value in ancillary if (level, kind) == _RECVERR[client.family])
    number, *what = _ERROR.unpack_from(value)
    if tuple(what) not in _PORT_UNREACHABLE:
        return _name(number)
    return "reject" if _offender(value) in NODE_ADDRESSES else "closed"


def _offender(error: bytes) -> str:
    if struct.unpack_from("=H", error, 16)[0] == socket.AF_INET6:
        return socket.inet_ntop(socket.AF_INET6, error[24:40])
    return socket.inet_ntop(socket.AF_INET, error[20:24])


def _name(number: int | None) -> str:
    return errno.errorcode.get(number or 0, str(number))
