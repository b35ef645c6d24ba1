"""Netlink: messages and attributes as bytes, and a socket that asks the kernel and reads its answers.

Layouts are those of <linux/netlink.h> and <linux/netfilter/nfnetlink.h>: headers in the machine's byte order, values
mostly in the network's. Everything that arrives is checked against its length: what does not fit raises Malformed.
"""

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from nftsvc.errors import KernelError, KernelUnavailable
from nftsvc.kernel.namespaces import enter
from nftsvc.values import Family

ROUTE = 0
NETFILTER = 12

REQUEST = 0x1
ACK = 0x4
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400

# Whole datagrams fit: the kernel makes none larger than 32 KiB, and dumps that large only for those who have the room.
DATAGRAM = 65536

_FAMILY = {Family.IPV4: int(socket.AF_INET), Family.IPV6: int(socket.AF_INET6)}

_ERROR, _DONE, _OVERRUN, _FIRST_KIND = 2, 3, 4, 16
_DUMP = 0x300
_INTERRUPTED = 0x10
_TYPE = 0x3FFF  # without the bits that say "nested" and "network byte order"
NESTED = 0x8000

_MESSAGE = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
_NETFILTER = struct.Struct("!BBH")

_SOL_NETLINK = 270
_CAP_ACK = 10
_SO_SNDBUFFORCE = 32
_SMALL = 65536
_SECONDS = 30
_TRIES = 5

_Result = TypeVar("_Result")


class Malformed(KernelError):
    """The kernel sent what cannot be read."""


class Message(NamedTuple):
    """One message: type, flags, the number of the request it answers, the port of who caused it, and the rest."""

    kind: int
    flags: int
    sequence: int
    port: int
    body: bytes


class Request(NamedTuple):
    """One message to the kernel; `flags` besides those that every request has."""

    kind: int
    body: bytes
    flags: int = ACK


def messages(data: bytes) -> Iterator[Message]:
    """Yield the messages of one datagram."""
    start, end = 0, len(data)
    while start < end:
        if end - start < _MESSAGE.size:
            raise Malformed(f"netlink: {end - start} bytes where a message should be")
        length, kind, flags, sequence, port = _MESSAGE.unpack_from(data, start)
        if not _MESSAGE.size <= length <= end - start:
            raise Malformed(f"netlink: a message of {length} bytes in {end - start}")
        yield Message(kind, flags, sequence, port, data[start + _MESSAGE.size : start + length])
        start += length + -length % 4


def attributes(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield type and value of the attributes from some byte on; values of nested ones are read the same way."""
    end = len(data)
    while start < end:
        if end - start < _ATTRIBUTE.size:
            raise Malformed(f"netlink: {end - start} bytes where an attribute should be")
        length, kind = _ATTRIBUTE.unpack_from(data, start)
        if not _ATTRIBUTE.size <= length <= end - start:
            raise Malformed(f"netlink: an attribute of {length} bytes in {end - start}")
        yield kind & _TYPE, data[start + _ATTRIBUTE.size : start + length]
        start += length + -length % 4


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute with its padding."""
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *inner: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(inner))


def text(value: bytes) -> str:
    """Read a name: up to its zero byte, odd bytes spelled out."""
    return value.partition(b"\0")[0].decode("ascii", "backslashreplace")


def name(value: str) -> bytes:
    """Write a name with its zero byte."""
    return value.encode("ascii") + b"\0"


def netfilter_header(family: Family | None, resource: int = 0) -> bytes:
    """Return what every message to a netfilter subsystem begins with (struct nfgenmsg); None is no family."""
    return _NETFILTER.pack(0 if family is None else _FAMILY[family], 0, resource)


def family_number(family: Family) -> int:
    """Return what the kernel calls a family (AF_INET, NFPROTO_IPV4)."""
    return _FAMILY[family]


class Socket:
    """Asks the kernel in the network namespace of the thread that makes it. To be used by one thread at a time.

    `port` is its address, 0 for one that the kernel chooses. What the kernel refuses is an OSError with its number. A
    dump that is given up halfway leaves the socket unusable.
    """

    def __init__(self, protocol: int, port: int = 0) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise KernelUnavailable(f"cannot open a netlink socket: {error.strerror}") from error
        self._socket.bind((port, 0))
        self._socket.settimeout(_SECONDS)
        with suppress(OSError):  # an error without it repeats the whole request
            self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._sequence = 0

    def __enter__(self) -> Self:
        """Use the socket for a while."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the socket."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def ask(self, *requests: Request) -> tuple[int, ...]:
        """Send requests at once and return the error number of each, 0 where it was done.

        Only requests with the flag ACK are answered; the others count as done. A batch whose first message is refused
        is refused as a whole: OSError.
        """
        first = self._send(requests)
        outcome = {first + number: 0 for number in range(len(requests))}
        awaited = {first + number for number, one in enumerate(requests) if one.flags & ACK}
        while awaited:
            for message in self._receive():
                if message.kind == _ERROR and message.sequence in outcome:
                    code = _error(message.body)
                    outcome[message.sequence] = code
                    awaited.discard(message.sequence)
                    if code and not requests[message.sequence - first].flags & ACK:
                        raise OSError(code, os.strerror(code))
        return tuple(outcome.values())

    def request(self, *requests: Request) -> None:
        """Send requests at once; OSError if one is refused."""
        for code in self.ask(*requests):
            if code:
                raise OSError(code, os.strerror(code))

    def dump(self, kind: int, body: bytes) -> Iterator[Message]:
        """Yield what there is of something, as it arrives.

        InterruptedError at the end says that it changed meanwhile, so that something may be missing or twice.
        """
        sequence = self._send((Request(kind, body, _DUMP),))
        consistent = True
        while True:
            for message in self._receive():
                if message.sequence != sequence:
                    continue
                consistent = consistent and not message.flags & _INTERRUPTED
                if message.kind in (_ERROR, _DONE):
                    code = _error(message.body) if message.body else 0
                    if code:
                        raise OSError(code, os.strerror(code))
                    if not consistent:
                        raise InterruptedError(errno.EINTR, "changed while it was read")
                    return
                if message.kind >= _FIRST_KIND:
                    yield message

    def everything(self, kind: int, body: bytes) -> list[Message]:
        """Return what there is of something, read again if it changed meanwhile; InterruptedError if it always does."""
        for _ in range(_TRIES - 1):
            with suppress(InterruptedError):
                return list(self.dump(kind, body))
        return list(self.dump(kind, body))

    def _send(self, requests: tuple[Request, ...]) -> int:
        first = self._sequence + 1
        self._sequence += len(requests)
        data = b"".join(
            _message(one.kind, REQUEST | one.flags, first + number, one.body) for number, one in enumerate(requests)
        )
        if len(data) > _SMALL:
            self._make_room(len(data))
        self._socket.sendto(data, (0, 0))
        return first

    def _make_room(self, size: int) -> None:
        """Let that many bytes be sent at once; the kernel doubles what is asked for."""
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, size)
        except PermissionError:  # root of a user namespace only; net.core.wmem_max is all it gets
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def _receive(self) -> list[Message]:
        """Return the messages of the next datagram of the kernel's."""
        found = list(messages(receive(self._socket)))
        if any(message.kind == _OVERRUN for message in found):
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        return found


def receive(source: socket.socket) -> bytes:
    """Return the next datagram of the kernel's; anybody else's is passed over as empty."""
    data, _, flags, sender = source.recvmsg(DATAGRAM)
    if flags & socket.MSG_TRUNC:
        raise Malformed(f"netlink: more than {DATAGRAM} bytes at once")
    return data if sender[0] == 0 else b""


def inside(namespace: Path | None, function: Callable[[], _Result]) -> _Result:
    """Call a function in a network namespace, given as a file; None is the calling thread's own.

    Sockets that it opens belong there wherever they are used.
    """
    if namespace is None:
        return function()

    def run() -> _Result:
        enter(namespace)
        return function()

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="namespace") as worker:
        return worker.submit(run).result()


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    return _MESSAGE.pack(_MESSAGE.size + len(body), kind, flags, sequence, 0) + body + bytes(-len(body) % 4)


def _error(body: bytes) -> int:
    """Return the error number that an answer or the end of a dump carries, 0 for none."""
    if len(body) < _ERRNO.size:
        raise Malformed(f"netlink: {len(body)} bytes where an error number should be")
    code = -int(_ERRNO.unpack_from(body)[0])
    if code < 0:
        raise Malformed(f"netlink: {-code} is no error number")
    return code
