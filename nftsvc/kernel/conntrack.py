"""Removes stale flows from the kernel's connection tracking (<linux/netfilter/nfnetlink_conntrack.h>).

In: the frontends that changes concern (`nftsvc.flows`). The kernel sends its flows in portions, and each is looked at
as it comes: no list of them is ever made. Where few frontends are concerned the kernel is asked for the flows of each
(its filters are there since 5.8), else for all of the protocol; of TCP and SCTP for those only that have no answer and
were not translated (since 5.15). A flow to be deleted is named by its original addresses and its number.

Only zone 0 is looked at, where flows are that nobody has put elsewhere: in other zones (those of Open vSwitch, say) a
flow may be tracked a second time, untranslated, and is not ours.
"""

import errno
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from nftsvc.errors import KernelError
from nftsvc.flows import Endpoints, Target
from nftsvc.kernel.netlink import (
    NETFILTER,
    Request,
    Socket,
    attribute,
    attributes,
    inside,
    nested,
    netfilter_header,
)
from nftsvc.kernel.sieve import Sieve
from nftsvc.values import FAMILIES, Family, Protocol

# So many frontends are looked for one by one, more in one pass over all flows of UDP. Measured with a table of 262,144
# buckets: a frontend takes the kernel 13 ms with 1,000 flows and 45 ms with 100,000; a pass takes this process 25 ms
# and 700 ms. But while the kernel searches other threads can run.
FEW = 8

_CT = 1 << 8
_GET, _DELETE = _CT | 1, _CT | 2
_ORIGINAL, _REPLY, _STATUS, _ID, _ZONE, _FILTER, _STATUS_MASK = 1, 2, 3, 12, 18, 25, 26
_IP, _PROTO, _TUPLE_ZONE = 1, 2, 3
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_FILTER_ORIGINAL = 1
_BY_DESTINATION, _BY_NUMBER, _BY_PORT = 1 << 1, 1 << 3, 1 << 5
_FLAGS = struct.Struct("=I")
_STATUS_BITS = struct.Struct("!I")
_ANSWERED, _TRANSLATED = 1 << 1, 1 << 5  # IPS_SEEN_REPLY, IPS_DST_NAT
_PROTOCOLS = {
    Protocol("TCP"): bytes((socket.IPPROTO_TCP,)),
    Protocol("UDP"): bytes((socket.IPPROTO_UDP,)),
    Protocol("SCTP"): bytes((socket.IPPROTO_SCTP,)),
}

_SOURCE = {Family.IPV4: 1, Family.IPV6: 3}
_DESTINATION = {Family.IPV4: 2, Family.IPV6: 4}
_BYTES = {Family.IPV4: 4, Family.IPV6: 16}
_PORT_BYTES = 2
_HEADER = 4  # struct nfgenmsg

_BATCH = 64
_TRIES = 3
_GONE = frozenset({errno.ENOENT, errno.ETIME, errno.EINTR, errno.EAGAIN})


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What came of one family: flows looked at and deleted, those that the kernel would not delete, and the time taken.

    `refused` are flows that hardware has taken over (EBUSY). `complete` is False if it was stopped, or if flows changed
    so fast that some may have been missed.
    """

    family: Family
    looked_at: int
    deleted: int
    refused: int
    seconds: float
    complete: bool


def clean_flows(
    frontends: Mapping[Target, Endpoints],
    local: Collection[str] = (),
    *,
    namespace: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Cleaned, ...]:
    """Delete the flows of these frontends that are stale; return what came of it in each family that has frontends.

    It takes its time: to be run on a thread of its own. Meanwhile others may put other endpoints in the place of those
    that a frontend has, but add and remove no frontends: flows are judged when they are read, and once more when they
    are to be deleted. `local` are the node's own addresses (`nftsvc.kernel.addresses`), which node ports answer on.
    `namespace` is the network namespace as a file, None the calling thread's own. `stop` is asked between flows.
    KernelError if the kernel does not let its flows be listed or deleted.
    """
    every = {family: [Sieve(frontends, family, one, local) for one in _PROTOCOLS] for family in FAMILIES}
    sieves = {family: [one for one in group if one] for family, group in every.items()}
    return inside(namespace, lambda: tuple(_clean(family, group, stop) for family, group in sieves.items() if group))


def _clean(family: Family, sieves: Iterable[Sieve], stop: Callable[[], bool]) -> Cleaned:
    started = time.monotonic()
    looked_at, complete = 0, True
    try:
        with _Deletion(family) as deletion:
            for sieve in sieves:
                number, ended = _sift(sieve, deletion, stop)
                looked_at += number
                complete = complete and ended
            deletion.flush()
    except OSError as error:
        hint = " (does the kernel have CONFIG_NF_CT_NETLINK?)" if error.errno == errno.EINVAL else ""
        raise KernelError(f"cannot look through tracked flows: {error.strerror or error}{hint}") from error
    return Cleaned(family, looked_at, deletion.deleted, deletion.refused, time.monotonic() - started, complete)


def _sift(sieve: Sieve, deletion: "_Deletion", stop: Callable[[], bool]) -> tuple[int, bool]:
    """Delete what is stale; return how many flows were looked at, and whether that is all there are."""
    shape = _Shape(sieve.family, sieve.protocol)
    looked_at = 0
    for _ in range(_TRIES):
        try:
            for flow in _flows(sieve):
                looked_at += 1
                if not shape.clears(flow, sieve):
                    deletion.add_if_stale(flow, sieve)
                if stop():
                    return looked_at, False
        except InterruptedError:  # some may have been missed: once more
            continue
        return looked_at, True
    return looked_at, False


def _flows(sieve: Sieve) -> Iterator[bytes]:
    """Yield the flows that may be concerned, and maybe others, as the kernel describes them.

    IPv6 addresses are not asked for: the kernel's filter takes them the wrong way round (5.8, still in 6.18).
    """
    destinations = dict.fromkeys(
        (b"" if sieve.family is Family.IPV6 else address, port) for address, port in sieve.destinations
    )
    for address, port in destinations if len(destinations) <= FEW else ((b"", b""),):
        yield from _filtered(sieve, address, port)


def _filtered(sieve: Sieve, address: bytes, port: bytes) -> Iterator[bytes]:
    """Yield flows with an original destination, any where address and port are empty.

    The filters save time only: what the kernel sends is looked at whether it knows them or not.
    """
    flags = _BY_NUMBER | bool(address) * _BY_DESTINATION | bool(port) * _BY_PORT
    ip = nested(_IP, attribute(_DESTINATION[sieve.family], address)) if address else b""
    number = attribute(_NUMBER, _PROTOCOLS[sieve.protocol])
    proto = nested(_PROTO, number, attribute(_DESTINATION_PORT, port) if port else b"")
    wanted = nested(_ORIGINAL, ip, proto) + nested(_FILTER, attribute(_FILTER_ORIGINAL, _FLAGS.pack(flags)))
    if not sieve.answered:
        mask = _STATUS_BITS.pack(_ANSWERED | _TRANSLATED)
        wanted += attribute(_STATUS, _STATUS_BITS.pack(0)) + attribute(_STATUS_MASK, mask)
    with Socket(NETFILTER) as asked:
        for message in asked.dump(_GET, netfilter_header(sieve.family) + wanted):
            yield message.body


class _Shape:
    """What the kernel's description of a plain flow begins with: both its tuples, attribute by attribute.

    To read these by their place takes a tenth of the time, and nearly all flows can be cleared that way.
    """

    def __init__(self, family: Family, protocol: Protocol) -> None:
        size = _BYTES[family]
        zeros, ones = bytes(size + _PORT_BYTES), b"\xff" * (size + _PORT_BYTES)
        made = partial(_tuple, family, protocol)
        blank = made(_ORIGINAL, zeros, zeros) + made(_REPLY, zeros, zeros)
        filled = made(_ORIGINAL, ones, ones) + made(_REPLY, ones, ones)
        self._all = slice(_HEADER, _HEADER + len(blank))
        self._blank = int.from_bytes(blank, "big")
        self._mask = ~(self._blank ^ int.from_bytes(filled, "big"))
        destination = made(_ORIGINAL, zeros, ones) + made(_REPLY, zeros, zeros)
        source = made(_ORIGINAL, zeros, zeros) + made(_REPLY, ones, zeros)
        self._destination, self._destination_port = _places(destination, size)
        self._source, self._source_port = _places(source, size)

    def clears(self, flow: bytes, sieve: Sieve) -> bool:
        """Tell whether a flow is one of this shape that is not stale."""
        if int.from_bytes(flow[self._all], "big") & self._mask != self._blank:
            return False
        destination = flow[self._destination] + flow[self._destination_port]
        return not sieve.is_stale(destination, flow[self._source] + flow[self._source_port])


def _places(marked: bytes, size: int) -> tuple[slice, slice]:
    """Return where in a flow's description an address and a port are, given both tuples with ones there only."""
    address = marked.index(b"\xff" * size)
    port = marked.index(b"\xff" * _PORT_BYTES, address + size)
    address, port = address + _HEADER, port + _HEADER
    return slice(address, address + size), slice(port, port + _PORT_BYTES)


def _tuple(family: Family, protocol: Protocol, kind: int, source: bytes, destination: bytes) -> bytes:
    """Return one direction of a flow as the kernel writes it; both ends are an address and a port."""
    size = _BYTES[family]
    return nested(
        kind,
        nested(_IP, attribute(_SOURCE[family], source[:size]), attribute(_DESTINATION[family], destination[:size])),
        nested(
            _PROTO,
            attribute(_NUMBER, _PROTOCOLS[protocol]),
            attribute(_SOURCE_PORT, source[size:]),
            attribute(_DESTINATION_PORT, destination[size:]),
        ),
    )


@dataclass(frozen=True, slots=True)
class _Doomed:
    """A flow that was stale when it was read: who said so, why, and the request that deletes it."""

    sieve: Sieve
    destination: bytes
    source: bytes
    request: Request

    @property
    def still(self) -> bool:
        """Whether it is stale now."""
        return self.sieve.is_stale(self.destination, self.source)


class _Deletion:
    """Deletes flows of a family in batches, on a socket of its own: the other is busy with the list."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._socket = Socket(NETFILTER)
        self._batch: list[_Doomed] = []
        self.deleted = 0
        self.refused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def add_if_stale(self, flow: bytes, sieve: Sieve) -> None:
        """Delete a flow, now or with others, if it is a stale one of zone 0."""
        said = dict(attributes(flow, _HEADER))
        number = _PROTOCOLS[sieve.protocol]
        original, reply = (self._ends(said.get(one, b""), number) for one in (_ORIGINAL, _REPLY))
        if original is None or reply is None or _ZONE in said or not sieve.is_stale(original[1], reply[0]):
            return
        if not sieve.answered and _is_answered(said):
            return
        name = nested(_ORIGINAL, said[_ORIGINAL]) + (attribute(_ID, said[_ID]) if _ID in said else b"")
        request = Request(_DELETE, netfilter_header(self._family) + name)
        self._batch.append(_Doomed(sieve, original[1], reply[0], request))
        if len(self._batch) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Delete what is waiting and is stale still: other endpoints may have come since."""
        requests = [one.request for one in self._batch if one.still]
        for code in self._socket.ask(*requests) if requests else ():
            self.deleted += not code
            self.refused += code == errno.EBUSY
            if code and code != errno.EBUSY and code not in _GONE:
                raise OSError(code, f"deletion refused: {errno.errorcode.get(code, code)}")
        self._batch.clear()

    def _ends(self, direction: bytes, number: bytes) -> tuple[bytes, bytes] | None:
        """Return source and destination of one direction, an address and a port each; None if it is not ours."""
        parts = dict(attributes(direction))
        ip, proto = (dict(attributes(parts.get(one, b""))) for one in (_IP, _PROTO))
        if _TUPLE_ZONE in parts or proto.get(_NUMBER) != number:
            return None
        source = ip.get(_SOURCE[self._family], b"") + proto.get(_SOURCE_PORT, b"")
        return source, ip.get(_DESTINATION[self._family], b"") + proto.get(_DESTINATION_PORT, b"")


def _is_answered(said: Mapping[int, bytes]) -> bool:
    """Tell whether a flow has had an answer or a translation; one that says nothing about it counts as such."""
    status = said.get(_STATUS, b"")
    return len(status) != _STATUS_BITS.size or bool(_STATUS_BITS.unpack(status)[0] & (_ANSWERED | _TRANSLATED))
