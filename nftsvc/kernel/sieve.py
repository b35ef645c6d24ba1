"""Which of the flows that the kernel tracks are stale, by the bytes that it has of them.

In: the frontends that changes concern, and the endpoints there (`nftsvc.flows`). A connection keeps the endpoint that
its first packet was sent to, and a UDP client that goes on sending never finds out that it has gone. A connection whose
first packet met no rule of ours keeps to that, too. Such flows are to be forgotten; then the next packet chooses anew.
"""

import socket
from collections.abc import Collection, Mapping
from ipaddress import ip_address

from nftsvc.flows import UDP, Endpoints, Target
from nftsvc.values import Family, Protocol

_VERSIONS = {Family.IPV4: 4, Family.IPV6: 6}
_NUMBERS = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_PORT_BYTES = 2


class Sieve:
    """Tells stale flows of one family and protocol. An end of a flow is an address and a port, in network order.

    `frontends` is asked for the endpoints at the moment of judging: other threads may put others in their place, but
    add and remove no frontends. `local` are the node's own addresses, which node ports answer on; others' packets on
    the same port number, such as those of a VXLAN to other nodes, are not ours.
    """

    def __init__(
        self, frontends: Mapping[Target, Endpoints], family: Family, protocol: Protocol, local: Collection[str]
    ) -> None:
        self.family, self.protocol = family, protocol
        self._frontends = frontends
        self._by_address: dict[bytes, Target] = {}
        self._by_port: dict[bytes, Target] = {}
        self._packed: dict[Target, tuple[Endpoints, frozenset[bytes]]] = {}
        own = (ip_address(one) for one in local)
        self._local = frozenset(one.packed for one in own if one.version == _VERSIONS[family])
        for target in frontends:
            if (target.family, target.protocol) == (family, protocol):
                if target.address is not None:
                    self._by_address[self._end(target.address, target.port)] = target
                elif self._local:
                    self._by_port[target.port.to_bytes(_PORT_BYTES, "big")] = target

    def __bool__(self) -> bool:
        """Tell whether any flow may be stale."""
        return bool(self._by_address or self._by_port)

    @property
    def answered(self) -> bool:
        """Whether flows that have had an answer may be stale, too. Connections are never broken."""
        return self.protocol == UDP

    @property
    def destinations(self) -> tuple[tuple[bytes, bytes], ...]:
        """The original destinations to look for: an address (b"" for any) and a port each."""
        addresses = ((one[:-_PORT_BYTES], one[-_PORT_BYTES:]) for one in self._by_address)
        return (*addresses, *((b"", port) for port in self._by_port))

    def is_stale(self, destination: bytes, source: bytes) -> bool:
        """Judge a flow by where its first packet was sent to and where its answers come from.

        Where they come from the destination itself the flow was never translated, because there was no endpoint then,
        or no rule: it is stale once there is one. Without endpoints it is nobody's, or somebody else's. One that was
        translated is stale for UDP if it leads to no endpoint. Of TCP and SCTP only flows without an answer
        (`answered`) are to be judged.
        """
        target = self._by_address.get(destination)
        if target is None:
            target = self._by_port.get(destination[-_PORT_BYTES:])
            if target is None or destination[:-_PORT_BYTES] not in self._local:
                return False
        endpoints = self._endpoints(target)
        if source == destination:
            return bool(endpoints) and source not in endpoints
        return self.protocol == UDP and source not in endpoints

    def _endpoints(self, target: Target) -> frozenset[bytes]:
        """Return the endpoints of now."""
        now = self._frontends[target]
        known = self._packed.get(target)
        if known is None or known[0] is not now:
            known = self._packed[target] = (now, frozenset(self._end(*one) for one in now))
        return known[1]

    def _end(self, address: str, port: int) -> bytes:
        return socket.inet_pton(_NUMBERS[self.family], address) + port.to_bytes(_PORT_BYTES, "big")
