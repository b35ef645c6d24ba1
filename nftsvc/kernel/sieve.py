"""Which of the flows that the kernel tracks are stale, by the bytes that it has of them.

In: the UDP frontends that changes concern (`nftsvc.flows`). A connection keeps the endpoint that its first packet was
sent to, and a UDP client that goes on sending never finds out that it has gone. Such flows are to be forgotten; then
the next packet chooses anew.
"""

from collections.abc import Collection, Iterable
from ipaddress import ip_address

from nftsvc.flows import UdpFrontend
from nftsvc.values import Family

_VERSIONS = {Family.IPV4: 4, Family.IPV6: 6}
_PORT_BYTES = 2


class Sieve:
    """Tells stale flows of one family. An end of a flow is an address and a port, in network order.

    `local` are the node's own addresses, which node ports answer on; others' packets on the same port number, such as
    those of a VXLAN to other nodes, are not ours.
    """

    def __init__(self, frontends: Iterable[UdpFrontend], family: Family, local: Collection[str]) -> None:
        self._by_address: dict[bytes, frozenset[bytes]] = {}
        self._by_port: dict[bytes, frozenset[bytes]] = {}
        own = (ip_address(one) for one in local)
        self._local = frozenset(one.packed for one in own if one.version == _VERSIONS[family])
        for one in frontends:
            if one.family == family:
                endpoints = frozenset(_end(*endpoint) for endpoint in one.endpoints)
                if one.address is not None:
                    self._by_address[_end(one.address, one.port)] = endpoints
                elif self._local:
                    self._by_port[one.port.to_bytes(_PORT_BYTES, "big")] = endpoints

    def __bool__(self) -> bool:
        """Tell whether any flow may be stale."""
        return bool(self._by_address or self._by_port)

    @property
    def destinations(self) -> tuple[tuple[bytes, bytes], ...]:
        """The original destinations to look for: an address (b"" for any) and a port each."""
        addresses = ((one[:-_PORT_BYTES], one[-_PORT_BYTES:]) for one in self._by_address)
        return (*addresses, *((b"", port) for port in self._by_port))

    def is_stale(self, destination: bytes, source: bytes) -> bool:
        """Judge a UDP flow by where its first packet was sent to and where its answers come from.

        Where they come from the destination itself the flow was never translated, because there was no endpoint then:
        it is stale once there is one. Without endpoints it is nobody's, or somebody else's.
        """
        endpoints = self._by_address.get(destination)
        if endpoints is None:
            endpoints = self._by_port.get(destination[-_PORT_BYTES:])
            if endpoints is None or destination[:-_PORT_BYTES] not in self._local:
                return False
        return source not in endpoints and (bool(endpoints) or source != destination)


def _end(address: str, port: int) -> bytes:
    return ip_address(address).packed + port.to_bytes(_PORT_BYTES, "big")
