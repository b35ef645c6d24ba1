"""Where clients knock: the addresses and ports of a Service.

In: a Service port and its cluster IP. Out: frontends, the cluster IP first. Source: kube-proxy 1.36; a node port,
external IP or load-balancer IP is used whenever it is there, whatever the Service's type.
"""

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from nftsvc.objects import Service, ServicePort, ServiceSpec
from nftsvc.values import Address, Port, Prefix, without_overlaps


class FrontendKind(StrEnum):
    """The ways into a Service."""

    CLUSTER_IP = "ClusterIP"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_IP = "ExternalIP"
    NODE_PORT = "NodePort"

    __hash__ = str.__hash__


class Frontend(msgspec.Struct, frozen=True, gc=False):
    """Where clients knock: an address and port, or a node port (address None: the node's own addresses).

    `local_policy` keeps connections to endpoints of this node (traffic policy Local). `sources` are the networks that
    clients must be in; empty for no such condition.
    """

    kind: FrontendKind
    address: Address | None
    port: Port
    local_policy: bool = False
    sources: tuple[Prefix, ...] = ()

    @property
    def external(self) -> bool:
        """Whether clients outside the cluster use it: everything but the cluster IP."""
        return self.kind is not FrontendKind.CLUSTER_IP


def frontends_of(service: Service, port: ServicePort, address: Address, node: Address | None) -> tuple[Frontend, ...]:
    """Return the frontends of a Service port in the family of its cluster IP, each address and port once.

    `node` is the node's own address: where a source range contains it, connections from the load-balancer IPs
    themselves are allowed, too (this node may have them as addresses of its own).
    """
    spec = service.spec or ServiceSpec()
    internal = spec.internal_traffic_policy == "Local"
    balancers = _ingress(service, address)
    if not (balancers or spec.external_ips or port.node_port):
        return (Frontend(FrontendKind.CLUSTER_IP, address, port.port, internal),) if port.port else ()
    return tuple(_several(service, port, address, (balancers, _ranges(spec, address, node, balancers))))


def _several(
    service: Service, port: ServicePort, address: Address, guarded: tuple[tuple[Address, ...], tuple[Prefix, ...]]
) -> Iterator[Frontend]:
    """Yield the frontends of a Service port; `guarded` are the load-balancer IPs, and whom they are for."""
    spec = service.spec or ServiceSpec()
    internal = spec.internal_traffic_policy == "Local"
    external = spec.external_traffic_policy == "Local" and is_external(service)
    balancers, ranges = guarded
    seen: set[Address] = set()
    if port.port:
        seen.add(address)
        yield Frontend(FrontendKind.CLUSTER_IP, address, port.port, internal, ranges if address in balancers else ())
        for kind, addresses, sources in (
            (FrontendKind.LOAD_BALANCER, balancers, ranges),
            (FrontendKind.EXTERNAL_IP, _same_family(spec.external_ips, address), ()),
        ):
            for one in addresses:
                if one not in seen:
                    seen.add(one)
                    yield Frontend(kind, one, port.port, external, sources)
    if port.node_port:
        yield Frontend(FrontendKind.NODE_PORT, None, port.node_port, external)


def is_external(service: Service) -> bool:
    """Tell whether externalTrafficPolicy applies: to NodePort, LoadBalancer, and ClusterIP with external IPs."""
    spec = service.spec or ServiceSpec()
    return spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and bool(spec.external_ips))


def _same_family(listed: tuple[str, ...] | None, address: Address) -> tuple[Address, ...]:
    found = (Address(one) for one in listed or () if one)
    return tuple(one for one in found if one.family == address.family)


def _ingress(service: Service, address: Address) -> tuple[Address, ...]:
    """Return the load-balancer IPs that packets arrive with; with ipMode Proxy they arrive with another."""
    balancer = service.status.load_balancer if service.status is not None else None
    listed = balancer.ingress if balancer is not None else None
    if not listed:
        return ()
    return _same_family(tuple(one.ip or "" for one in listed if one.ip_mode != "Proxy"), address)


def _ranges(
    spec: ServiceSpec, address: Address, node: Address | None, balancers: tuple[Address, ...]
) -> tuple[Prefix, ...]:
    """Return the source ranges of the address's family; none if one of them is the whole family."""
    ranges = [one for one in spec.load_balancer_source_ranges or () if one.family == address.family]
    if not ranges or any(one.length == 0 for one in ranges):
        return ()
    if node is not None and any(one.covers(node) for one in ranges):
        ranges += map(Prefix, balancers)
    return without_overlaps(ranges)
