"""A flood of packets that each begin a new UDP flow, sent through a packet socket, and how long the kernel took for it.

A packet that leaves one end of a veth pair is forwarded by whoever has the other end before the next one is sent: the
same processor does both. So the time of sending is the time of routing, translating and everything in between.
"""

import ctypes
import socket
import struct
import time
from collections.abc import Iterator, Sequence

from benchmarks.cluster import SERVICE_PORT

_BATCH = 512
_ETHERNET_IPV4 = b"\x08\x00"
_IP = struct.Struct("!BBHHHBBHII")
_UDP = struct.Struct("!HHHH")
_PAYLOAD = b"nftsvc!!"
_FIRST_PORT, _PORTS = 1024, 64000
# Packet sockets hand a frame straight to the interface: no queue, no copy for others who listen.
_SOL_PACKET, _QDISC_BYPASS = 263, 20


class _Slice(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


class _Message(ctypes.Structure):
    """`struct mmsghdr`."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint),
        ("slices", ctypes.POINTER(_Slice)),
        ("count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("sent", ctypes.c_uint),
    )


def flows(packets: int, clients: Sequence[int], services: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Yield so many different flows: client, its port, Service; addresses as numbers.

    Every client asks every Service once before any asks again, from its next port.
    """
    pairs = [(client, service) for client in clients for service in services]
    for number in range(packets):
        client, service = pairs[number % len(pairs)]
        port = number // len(pairs)
        if port >= _PORTS:
            raise ValueError(f"{packets} flows are too many for {len(pairs)} pairs of addresses")
        yield client, _FIRST_PORT + port, service


def frame(hardware: tuple[bytes, bytes], flow: tuple[int, int, int]) -> bytes:
    """Return the Ethernet frame of a flow's first packet; `hardware` is the receiver's address and the sender's."""
    client, port, service = flow
    size = _UDP.size + len(_PAYLOAD)
    unsigned = _IP.pack(0x45, 0, _IP.size + size, 0, 0x4000, 64, socket.IPPROTO_UDP, 0, client, service)
    header = unsigned[:10] + struct.pack("!H", _checksum(unsigned)) + unsigned[12:]
    # A UDP checksum of zero says that there is none.
    return b"".join((*hardware, _ETHERNET_IPV4, header, _UDP.pack(port, SERVICE_PORT, size, 0), _PAYLOAD))


def _checksum(header: bytes) -> int:
    total: int = sum(struct.unpack("!10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


class Flood:
    """Frames that are ready to be sent; `source` is a packet socket bound to an interface."""

    def __init__(self, source: socket.socket, frames: Sequence[bytes]) -> None:
        self._socket = source
        self._send = ctypes.CDLL(None, use_errno=True).sendmmsg
        self._size = len(frames)
        self._bytes = [ctypes.create_string_buffer(one, len(one)) for one in frames]
        self._slices = (_Slice * self._size)()
        self._messages = (_Message * self._size)()
        for place, one in enumerate(self._bytes):
            self._slices[place] = _Slice(ctypes.addressof(one), len(one))
            self._messages[place].slices = ctypes.pointer(self._slices[place])
            self._messages[place].count = 1

    def send(self, first: int, count: int) -> float:
        """Send some of the frames and return how many nanoseconds that took. OSError if one cannot be sent."""
        descriptor, size = self._socket.fileno(), ctypes.sizeof(_Message)
        start, sent = ctypes.addressof(self._messages) + first * size, 0
        begun = time.perf_counter_ns()
        while sent < count:
            done = self._send(descriptor, ctypes.c_void_p(start + sent * size), min(_BATCH, count - sent), 0)
            if done <= 0:
                raise OSError(ctypes.get_errno(), "sendmmsg")
            sent += done
        return time.perf_counter_ns() - begun


def packet_socket(interface: str) -> socket.socket:
    """Open a socket that sends frames from an interface of the thread's namespace."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    made.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
    made.bind((interface, 0))
    return made
