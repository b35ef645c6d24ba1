"""What the API server would refuse in an object and no single field can tell.

Each rule yields (path of the field, message). A cluster's own objects have passed these already; manifests from a
repository have not. Sources: Kubernetes API validation of core/v1 and discovery/v1.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from nftsvc.objects import (
    NODE_IP_TYPES,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    KubernetesObject,
    Node,
    Pod,
    Service,
    ServicePort,
    ServiceSpec,
)
from nftsvc.values import ClusterIP, is_ip_address, is_label, quoted

Found = Iterator[tuple[str, str]]
_Item = TypeVar("_Item")

_MISSING = "missing, but required"
_MOST_CLUSTER_IPS = 2


def problems_of(value: KubernetesObject) -> Found:
    """Yield (field path, message) for every rule that the object breaks."""
    if not value.metadata.name:
        yield "metadata.name", _MISSING
    match value:
        case Service():
            yield from _service(value)
        case EndpointSlice():
            yield from _slice(value)
        case Endpoints():
            yield from _endpoints(value)
        case Pod():
            if value.spec is None:
                yield "spec", _MISSING
        case Node():
            yield from _node(value)


def _service(service: Service) -> Found:
    if service.metadata.name and not is_label(service.metadata.name):
        yield (
            "metadata.name",
            f"{quoted(service.metadata.name)} is not a DNS label (a-z, 0-9, '-'; at most 63 characters)",
        )
    if service.spec is None:
        yield "spec", _MISSING
        return
    yield from _cluster_ips(service.spec)
    ports = service.spec.ports or ()
    headless = service.spec.cluster_ip == ClusterIP.HEADLESS
    if not ports and service.spec.type != "ExternalName" and not headless:
        yield "spec.ports", _MISSING
    for index, port in enumerate(ports):
        if port.port is None:
            yield f"spec.ports[{index}].port", _MISSING
        if not port.name and len(ports) > 1:
            yield f"spec.ports[{index}].name", "missing, but required where a Service has several ports"
    yield from _service_ports_differ(ports)


def _service_ports_differ(ports: Sequence[ServicePort]) -> Found:
    yield from _repeated(ports, "spec.ports[{}].name", lambda port: port.name or None)
    yield from _repeated(
        ports, "spec.ports[{}]", lambda port: f"port {port.port}/{port.protocol}" if port.port else None
    )
    yield from _repeated(
        ports,
        "spec.ports[{}].nodePort",
        lambda port: f"{port.node_port}/{port.protocol}" if port.node_port else None,
    )


def _repeated(items: Sequence[_Item], path: str, key: Callable[[_Item], str | None]) -> Found:
    """Yield each item whose key an earlier one has; `path` has a place for the item's position."""
    first: dict[str, int] = {}
    for index, item in enumerate(items):
        value = key(item)
        if value is not None and first.setdefault(value, index) != index:
            yield path.format(index), f"{value} is already used by {path.format(first[value])}"


def _cluster_ips(spec: ServiceSpec) -> Found:
    values = spec.cluster_ips or ()
    families = spec.ip_families or ()
    if len(values) > _MOST_CLUSTER_IPS:
        yield "spec.clusterIPs", f"{len(values)} addresses, but a Service has one per IP family"
    if values and spec.cluster_ip and values[0] != spec.cluster_ip:
        yield "spec.clusterIPs[0]", f"{values[0]} differs from spec.clusterIP {spec.cluster_ip}"
    yield from _repeated(
        values,
        "spec.clusterIPs[{}]",
        lambda value: f"family {value.address.family}" if value.address else value,
    )
    yield from _repeated(families, "spec.ipFamilies[{}]", lambda family: family)
    for index, (value, family) in enumerate(zip(values, families, strict=False)):
        if value.address is not None and value.address.family != family:
            yield f"spec.clusterIPs[{index}]", f"{value} is not an {family} address, as spec.ipFamilies[{index}] says"
    if not values and spec.cluster_ip and spec.cluster_ip.address and families:
        family = spec.cluster_ip.address.family
        if family != families[0]:
            yield "spec.clusterIP", f"{spec.cluster_ip} is not an {families[0]} address, as spec.ipFamilies[0] says"


def _slice(value: EndpointSlice) -> Found:
    if value.address_type is None:
        yield "addressType", _MISSING
    for index, endpoint in enumerate(value.endpoints or ()):
        if not endpoint.addresses:
            yield f"endpoints[{index}].addresses", _MISSING
        for position, address in enumerate(endpoint.addresses or ()):
            if value.address_type is not None and address.family != value.address_type:
                yield (
                    f"endpoints[{index}].addresses[{position}]",
                    f"{address} is not an {value.address_type} address, as addressType says",
                )
    yield from _endpoint_ports(value.ports or (), "ports[{}]")


def _node(node: Node) -> Found:
    for index, one in enumerate((node.status.addresses if node.status is not None else None) or ()):
        if one.type in NODE_IP_TYPES and not is_ip_address(one.address):
            yield f"status.addresses[{index}].address", f"{quoted(one.address)} is not an IP address"


def _endpoints(value: Endpoints) -> Found:
    for number, subset in enumerate(value.subsets or ()):
        path = f"subsets[{number}]"
        for field, addresses in (
            ("addresses", subset.addresses),
            ("notReadyAddresses", subset.not_ready_addresses),
        ):
            for index, address in enumerate(addresses or ()):
                if address.ip is None:
                    yield f"{path}.{field}[{index}].ip", _MISSING
        yield from _endpoint_ports(subset.ports or (), path + ".ports[{}]")
        for index, port in enumerate(subset.ports or ()):
            if port.port is None:
                yield f"{path}.ports[{index}].port", _MISSING


def _endpoint_ports(ports: Sequence[EndpointPort], path: str) -> Found:
    yield from _repeated(ports, path + ".name", lambda port: f"port name {quoted(port.name or '')}")
