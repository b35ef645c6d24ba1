"""UDP and SCTP in the lab's namespaces, and what a client's error was."""

import errno
import itertools
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from nftsvc.lab import Answer, Namespace, fetch

SECONDS = 5.0
# Each datagram from a port of its own: one that came again would belong to a flow of an earlier test.
_PORTS = itertools.cycle(range(20_000, 32_000))


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


@contextmanager
def serve_udp(namespace: Namespace, pod: str, port: int) -> Iterator[None]:
    """Answer every datagram with the pod's name and the source that it came from."""

    def bind() -> socket.socket:
        made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::", port))
        made.settimeout(0.05)
        return made

    server, stop = namespace.call(bind), threading.Event()

    def answer() -> None:
        while not stop.is_set():
            try:
                _, source = server.recvfrom(100)
            except TimeoutError:
                continue
            server.sendto(f"{pod} {source[0].removeprefix('::ffff:')}".encode(), source)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        server.close()


def fetch_udp(address: str, port: int) -> Answer:
    """Send one datagram from a socket of its own and read the answer."""
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as client:
        client.settimeout(SECONDS)
        client.bind(("", next(_PORTS)))
        client.connect((address, port))
        client.send(b"?")
        pod, source = client.recv(100).decode().split()
        return Answer(pod, source)


def ask(namespace: Namespace, address: str, port: int, times: int = 30, protocol: str = "TCP") -> list[Answer]:
    """Ask that often from a namespace, each time over a connection of its own."""
    one: Callable[[str, int], Answer] = fetch if protocol == "TCP" else fetch_udp
    return namespace.call(lambda: [one(address, port) for _ in range(times)])


def pods(answers: Iterable[Answer]) -> set[str]:
    return {answer.pod for answer in answers}


def sources(answers: Iterable[Answer]) -> set[str]:
    return {answer.source for answer in answers}


def counts(answers: Iterable[Answer]) -> Counter[str]:
    return Counter(answer.pod for answer in answers)


def error_of(namespace: Namespace, address: str, port: int, protocol: str = "TCP") -> str:
    """Return the name of the errno that a client gets (`ECONNREFUSED`), or "" if it gets an answer."""
    one: Callable[[str, int], Answer] = fetch if protocol == "TCP" else fetch_udp

    def attempt() -> str:
        try:
            one(address, port)
        except TimeoutError:
            return "ETIMEDOUT"
        except OSError as error:
            return errno.errorcode[error.errno or 0]
        return ""

    return namespace.call(attempt)


# SCTP: the kernel may lack sockets for it, so packets are made by hand ------------------------------------------------


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sctp_init(source_port: int, port: int) -> bytes:
    """Return an SCTP packet that opens an association (RFC 9260, INIT chunk)."""
    chunk = struct.pack("!BBHIIHHI", 1, 0, 20, 0x1234, 65536, 1, 1, 0x5678)
    header = struct.pack("!HHI", source_port, port, 0)
    checksum = struct.pack("<I", _crc32c(header + b"\0\0\0\0" + chunk))
    return header + checksum + chunk


@contextmanager
def listen_sctp(namespace: Namespace, six: bool) -> Iterator[socket.socket]:
    """Open a raw socket that sees the SCTP packets a namespace receives."""
    family = socket.AF_INET6 if six else socket.AF_INET
    made = namespace.call(lambda: socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP))
    made.settimeout(SECONDS)
    with made:
        yield made


def send_sctp(namespace: Namespace, address: str, port: int, source_port: int) -> None:
    def send() -> None:
        with socket.socket(family_of(address), socket.SOCK_RAW, socket.IPPROTO_SCTP) as sender:
            sender.sendto(sctp_init(source_port, port), (address, 0))

    namespace.call(send)
