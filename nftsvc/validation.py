"""What the API server would refuse in an object and no single field can tell.

In: an object. Out: a Broken for each rule it breaks. A cluster's own objects have passed these already; manifests from
a repository have not. Sources: Kubernetes API validation of core/v1 and discovery/v1.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from nftsvc.objects import (
    NODE_IP_TYPES,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    KubernetesObject,
    Node,
    NodeConfiguration,
    NodeConfigurationSpec,
    Pod,
    Service,
    ServiceCIDR,
    ServicePort,
    ServiceSpec,
)
from nftsvc.values import Address, ClusterIP, Family, Prefix, is_ip_address, is_label, quoted

_Item = TypeVar("_Item")

_MISSING = "missing, but required"
_MOST_CLUSTER_IPS = 2


class Broken(NamedTuple):
    """A broken rule: the field and what is wrong with it.

    `others` are fields that the rule depends on, `named` is one that belongs at the end of the message.
    """

    path: str
    message: str
    others: tuple[str, ...] = ()
    named: str = ""


Found = Iterator[Broken]


def problems_of(value: KubernetesObject) -> Found:
    """Yield every rule that the object breaks."""
    if not value.metadata.name and not isinstance(value, NodeConfiguration):
        yield Broken("metadata.name", _MISSING)
    match value:
        case Service():
            yield from _service(value)
        case EndpointSlice():
            yield from _slice(value)
        case Endpoints():
            yield from _endpoints(value)
        case Pod():
            if value.spec is None:
                yield Broken("spec", _MISSING)
        case Node():
            yield from _node(value)
        case ServiceCIDR():
            yield from _service_cidr(value)
        case NodeConfiguration():
            yield from _configuration(value.spec or NodeConfigurationSpec())


def _service(service: Service) -> Found:
    name = service.metadata.name
    if name and not is_label(name):
        yield Broken("metadata.name", f"{quoted(name)} is not a DNS label (a-z, 0-9, '-'; at most 63 characters)")
    if service.spec is None:
        yield Broken("spec", _MISSING)
        return
    yield from _cluster_ips(service.spec)
    ports = service.spec.ports or ()
    headless = service.spec.cluster_ip == ClusterIP.HEADLESS
    if not ports and service.spec.type != "ExternalName" and not headless:
        yield Broken("spec.ports", _MISSING, ("spec.type", "spec.clusterIP"))
    for index, port in enumerate(ports):
        if port.port is None:
            yield Broken(f"spec.ports[{index}].port", _MISSING)
        if not port.name and len(ports) > 1:
            yield Broken(f"spec.ports[{index}].name", "missing, but required where a Service has several ports")
    yield from _service_ports_differ(ports)


def _service_ports_differ(ports: Sequence[ServicePort]) -> Found:
    path = "spec.ports[{}]"
    yield from _repeated(ports, path + ".name", lambda port: port.name or None)
    for field, prefix in (("port", "port "), ("nodePort", "")):
        for broken in _repeated(ports, f"{path}.{field}", _number_and_protocol(field, prefix)):
            items = (broken.path.removesuffix(field), broken.named.removesuffix(field))
            yield broken._replace(others=tuple(f"{item}protocol" for item in items))


def _number_and_protocol(field: str, prefix: str) -> Callable[[ServicePort], str | None]:
    def key(port: ServicePort) -> str | None:
        number = port.port if field == "port" else port.node_port
        return f"{prefix}{number}/{port.protocol}" if number else None

    return key


def _repeated(items: Sequence[_Item], path: str, key: Callable[[_Item], str | None]) -> Found:
    """Yield each item whose key an earlier one has; `path` has a place for an item's position."""
    if len(items) < 2:  # noqa: PLR2004 - most lists have one item
        return
    first: dict[str, int] = {}
    for index, one in enumerate(items):
        value = key(one)
        if value is not None and first.setdefault(value, index) != index:
            there = path.format(first[value])
            yield Broken(path.format(index), f"{value} is already used by", (there,), there)


def _cluster_ips(spec: ServiceSpec) -> Found:
    others = ("spec.clusterIPs", "spec.clusterIP", "spec.ipFamilies")
    for broken in _cluster_ip_rules(spec):
        yield broken._replace(others=broken.others + others)


def _cluster_ip_rules(spec: ServiceSpec) -> Found:
    values = spec.cluster_ips or ()
    families = spec.ip_families or ()
    if len(values) > _MOST_CLUSTER_IPS:
        yield Broken("spec.clusterIPs", f"{len(values)} addresses, but a Service has one per IP family")
    if ClusterIP.HEADLESS in values and len(values) > 1:
        yield Broken("spec.clusterIPs", "None stands alone: a headless Service has no addresses")
    if values and spec.cluster_ip and values[0] != spec.cluster_ip:
        yield Broken("spec.clusterIPs[0]", f"{values[0]} differs from spec.clusterIP {spec.cluster_ip}")
    yield from _repeated(
        values, "spec.clusterIPs[{}]", lambda value: f"family {value.address.family}" if value.address else None
    )
    yield from _repeated(families, "spec.ipFamilies[{}]", lambda family: family)
    listed = values or ((spec.cluster_ip,) if spec.cluster_ip else ())
    for index, (value, family) in enumerate(zip(listed, families, strict=False)):
        if value.address is not None and value.address.family != family:
            path = f"spec.clusterIPs[{index}]" if values else "spec.clusterIP"
            yield Broken(path, f"{value} is not an {family} address, as spec.ipFamilies[{index}] says")


def _slice(value: EndpointSlice) -> Found:
    family = value.address_type
    if family is None:
        yield Broken("addressType", _MISSING)
    for index, endpoint in enumerate(value.endpoints or ()):
        addresses = endpoint.addresses or ()
        if not addresses:
            yield Broken(f"endpoints[{index}].addresses", _MISSING)
        for position, address in enumerate(addresses if family is not None else ()):
            if address.family is not family:
                message = f"{address} is not an {family} address, as addressType says"
                yield Broken(f"endpoints[{index}].addresses[{position}]", message)
    yield from _endpoint_ports(value.ports or (), "ports[{}]")


def _node(node: Node) -> Found:
    for index, one in enumerate((node.status.addresses if node.status is not None else None) or ()):
        if one.type in NODE_IP_TYPES and one.address and not is_ip_address(one.address):
            yield Broken(f"status.addresses[{index}].address", f"{quoted(one.address)} is not an IP address")


def _service_cidr(value: ServiceCIDR) -> Found:
    cidrs = (value.spec.cidrs if value.spec is not None else None) or ()
    if not cidrs:
        yield Broken("spec.cidrs", _MISSING)
    yield from _one_per_family(cidrs, "spec.cidrs")


def _configuration(spec: NodeConfigurationSpec) -> Found:
    yield from _one_per_family(spec.addresses or (), "spec.addresses")
    yield from _one_per_family(spec.pod_cidrs or (), "spec.podCIDRs")
    yield from _one_per_family(spec.cluster_cidrs or (), "spec.clusterCIDRs")
    for mode, field, name in (
        ("BridgeInterface", "spec.bridgeInterface", spec.bridge_interface),
        ("InterfaceNamePrefix", "spec.interfaceNamePrefix", spec.interface_name_prefix),
    ):
        if spec.detect_local_mode == mode and name is None:
            yield Broken(field, f"missing, but required with detectLocalMode {mode}", ("spec.detectLocalMode",))


def _one_per_family(values: Sequence[Address | Prefix], path: str) -> Found:
    first: dict[Family, str] = {}
    for index, value in enumerate(values):
        here = f"{path}[{index}]"
        there = first.setdefault(value.family, here)
        if there != here:
            yield Broken(
                here, f"{value} is another one of {value.family}, and there is one per IP family:", (there,), there
            )


def _endpoints(value: Endpoints) -> Found:
    for number, subset in enumerate(value.subsets or ()):
        path = f"subsets[{number}]"
        for field, addresses in (("addresses", subset.addresses), ("notReadyAddresses", subset.not_ready_addresses)):
            for index, address in enumerate(addresses or ()):
                if address.ip is None:
                    yield Broken(f"{path}.{field}[{index}].ip", _MISSING)
        yield from _endpoint_ports(subset.ports or (), path + ".ports[{}]")
        for index, port in enumerate(subset.ports or ()):
            if port.port is None:
                yield Broken(f"{path}.ports[{index}].port", _MISSING)


def _endpoint_ports(ports: Sequence[EndpointPort], item: str) -> Found:
    yield from _repeated(ports, item + ".name", lambda port: f"port name '{port.name or ''}'")
