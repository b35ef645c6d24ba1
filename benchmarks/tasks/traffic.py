"""The data plane: what a packet that begins a new flow costs the node that forwards it."""

import gc
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cluster import Cluster
from benchmarks.flood import Flood, flows, frame, packet_socket
from benchmarks.layouts import Layout
from benchmarks.plane import CLIENT_HARDWARE, FIRST_CLIENT, NODE_HARDWARE, address_of, counted, forget_flows
from nftsvc.kernel.netlink import inside

MOST_SERVICES = 5000
PAIRS = 5000  # of client and Service, each with several flows

_AT_ONCE = 500
_QUIET_SECONDS = 0.1


def flood(
    cluster: Mapping[str, Any], planes: Sequence[Mapping[str, str]], packets: int, rounds: int
) -> Mapping[str, Any]:
    """Send the same packets through every plane, so many rounds; return nanoseconds a packet by layout and round.

    A plane is `layout` and the files of its namespaces, `node` and `client`. They take turns, a few hundred packets
    each, so that whatever else the machine does meets all alike. RuntimeError where a packet was lost, or one was not
    translated that had to be.
    """
    wanted = Cluster(**cluster)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    frames = _frames(wanted, packets)
    made = [_Plane(Layout(one["layout"]), Path(one["node"]), Path(one["client"]), frames) for one in planes]
    gc.disable()
    found: dict[str, list[float]] = {one.layout: [] for one in made}
    for turn in range(rounds + 1):
        for one in made:
            forget_flows(one.node)
        time.sleep(_QUIET_SECONDS)  # flows are freed a while later
        for one in made:
            one.begin()
        for first in range(0, packets, _AT_ONCE):
            for one in made:
                one.send(first, min(_AT_ONCE, packets - first))
        for one in made:
            took = one.end(packets)
            if turn:  # the first one warms up, and with affinity every client gets its endpoint
                found[one.layout].append(took)
    return found


def _frames(cluster: Cluster, packets: int) -> list[bytes]:
    """Return packets to all Services, or to so many evenly out of all."""
    spread = range(0, cluster.services, max(1, cluster.services // MOST_SERVICES))
    services = [address_of(cluster.service_address(number)) for number in spread]
    clients = range(FIRST_CLIENT, FIRST_CLIENT + max(1, PAIRS // len(services)))
    return [frame((NODE_HARDWARE, CLIENT_HARDWARE), one) for one in flows(packets, clients, services)]


class _Plane:
    """One layout's namespaces, and the packets on their way into them."""

    def __init__(self, layout: Layout, node: Path, client: Path, frames: Sequence[bytes]) -> None:
        self.layout = layout
        self.node = node
        self._flood = Flood(inside(client, lambda: packet_socket("eth0")), frames)
        self._took = 0.0
        self._before: dict[str, int] = {}

    def begin(self) -> None:
        """Begin a round."""
        self._took = 0.0
        self._before = counted(self.node)

    def send(self, first: int, count: int) -> None:
        """Send some of the packets."""
        self._took += self._flood.send(first, count)

    def end(self, packets: int) -> float:
        """See what has become of a round's packets and return the nanoseconds for each."""
        after = counted(self.node)
        arrived = tuple(after[name] - self._before[name] for name in ("pods", "services"))
        translated = self.layout not in {Layout.ROUTING, Layout.TRACKING}
        if arrived != ((packets, 0) if translated else (0, packets)):
            raise RuntimeError(f"{self.layout}: {packets} packets sent, {arrived} to endpoints and to Services")
        if self.layout is not Layout.ROUTING and after["flows"] < packets:
            raise RuntimeError(f"{self.layout}: {packets} packets sent, {after['flows']} flows")
        return self._took / packets
