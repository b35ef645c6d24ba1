"""Which endpoints a node may use for one port of a Service.

In: the Service's slices and the node's name. Out: endpoints in canonical order, without duplicates. Today the answer is
"every ready endpoint in the cluster, else every draining one"; traffic policies and topology are to be decided here,
too (`nftsvc.plan` warns of each Service that asks for them).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nftsvc.objects import LABEL_HEADLESS, TCP, EndpointSlice, ServicePort, SliceEndpoint
from nftsvc.values import Address, Family, Port, address_order


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place that traffic can go to. `on_node` says that it runs, or for all we know may run, on this node."""

    address: Address
    port: Port
    on_node: bool = True


def usable(
    slices: Iterable[EndpointSlice], port: ServicePort, family: Family, node: str | None
) -> tuple[Endpoint, ...]:
    """Return the endpoints of a Service port in one family that may be used, sorted by address and port.

    Those are the ready ones; where none is, those that terminate but still serve (KEP-1669), and nobody else. Slice
    ports are matched by name and protocol, as kube-proxy matches them; an unnamed port by the empty name. A slice port
    without a number is ignored. Where two slices repeat an endpoint, one that says where it runs wins.
    """
    members = list(_members(slices, port, family, node))
    chosen = [one for one, source in members if source.ready] or [one for one, source in members if source.draining]
    found: dict[tuple[Address, Port], Endpoint] = {}
    for endpoint in chosen:
        key = (endpoint.address, endpoint.port)
        if key not in found or not endpoint.on_node:
            found[key] = endpoint
    return tuple(sorted(found.values(), key=lambda one: (address_order(one.address), one.port)))


def _members(
    slices: Iterable[EndpointSlice], port: ServicePort, family: Family, node: str | None
) -> Iterator[tuple[Endpoint, SliceEndpoint]]:
    """Yield every endpoint that the slices give a Service port, whatever its condition."""
    for part in slices:
        if part.address_type != family or LABEL_HEADLESS in part.labels:
            continue
        numbers = [
            one.port
            for one in part.ports or ()
            if one.port is not None and (one.name or "") == port.name and (one.protocol or TCP) == port.protocol
        ]
        for endpoint in part.endpoints or ():
            if endpoint.addresses:
                on_node = node is None or endpoint.node_name is None or endpoint.node_name == node
                for number in numbers:
                    yield Endpoint(endpoint.addresses[0], number, on_node), endpoint
