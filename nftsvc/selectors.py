"""The endpoints controller's work, for input without a control plane: Pods and a selector become EndpointSlices.

In: a Service, the Pods of its namespace, the zones of the Nodes. Out: the slices that the EndpointSlice controller
would keep for it (source: Kubernetes staging/src/k8s.io/endpointslice, v1.36), so that everything after this sees one
form only. Endpoints objects become slices here, too, as the mirroring controller would make them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType

import msgspec

from nftsvc.objects import (
    LABEL_SERVICE_NAME,
    TCP,
    Container,
    EndpointAddress,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    Hint,
    Pod,
    Service,
    ServicePort,
    ServiceSpec,
    SliceEndpoint,
    SliceMeta,
)
from nftsvc.state import ServiceKey, State
from nftsvc.values import Address, Family, Label, Port, Subdomain

_TOPOLOGY_ANNOTATIONS = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
_FINISHED = ("Succeeded", "Failed")
_PortSet = tuple[tuple[str, str, int], ...]


def slices_of(state: State, key: ServiceKey, service: Service) -> tuple[EndpointSlice, ...]:
    """Return a Service's slices: its own, else those its Endpoints amount to, else those its selector does."""
    found = state.slices(key)
    if found:
        return found
    if key in state.endpoints:
        return slices_from_endpoints(state.endpoints[key], service)
    selector = (service.spec.selector if service.spec is not None else None) or {}
    return slices_from_pods(service, state.candidates(key.namespace, selector), state.zones)


def slices_from_pods(
    service: Service, pods: Iterable[Pod], zones: Mapping[str, str] = MappingProxyType({})
) -> tuple[EndpointSlice, ...]:
    """Evaluate the Service's selector over the Pods of its namespace; `zones` says which zone each Node is in.

    One slice for each IP family of the Service and each distinct set of port numbers that its ports resolve to: Pods
    whose same-named container port has different numbers land in different slices. A Pod without an address, or one
    that has finished, is no endpoint. A Pod without the named port is an endpoint for the other ports only. Ready
    endpoints get the hints that `trafficDistribution` asks for.
    """
    spec = service.spec or ServiceSpec()
    hints_for = _hinting(service, zones)
    selector = spec.selector or {}
    if not selector or spec.type == "ExternalName":
        return ()
    groups: dict[tuple[Family, _PortSet], list[SliceEndpoint]] = defaultdict(list)
    for pod in pods:
        if _matches(selector, pod.labels) and not _finished(pod):
            ports = tuple(_resolved(spec.ports or (), pod))
            for family in families_of(service):
                for address in _addresses(pod, family):
                    endpoint = _endpoint(pod, address, publish=bool(spec.publish_not_ready_addresses))
                    groups[family, ports].append(msgspec.structs.replace(endpoint, hints=hints_for(endpoint)))
    return tuple(
        _slice(service, family, ports, endpoints, number)
        for number, ((family, ports), endpoints) in enumerate(sorted(groups.items(), key=lambda item: item[0]))
    )


def _hinting(service: Service, zones: Mapping[str, str]) -> Callable[[SliceEndpoint], EndpointHints | None]:
    """Return what gives an endpoint its hints, as the controller does for `trafficDistribution` (KEP-4444, KEP-3015).

    PreferClose is the old name of PreferSameZone; values that are not known give none, and neither does anything while
    the annotation for topology-aware routing is on, which comes first.
    """
    wanted = (service.spec.traffic_distribution if service.spec is not None else None) or ""
    by_node = wanted == "PreferSameNode"
    on = by_node or wanted in ("PreferClose", "PreferSameZone")

    def hints(endpoint: SliceEndpoint) -> EndpointHints | None:
        if not (on and endpoint.ready) or topology_mode_auto(service):
            return None
        node = endpoint.node_name or ""
        zone = zones.get(node, "")
        return EndpointHints(
            for_zones=(Hint(name=zone),) if zone else None, for_nodes=(Hint(name=node),) if by_node and node else None
        )

    return hints


def topology_mode_auto(service: Service) -> bool:
    """Tell whether a Service asks for topology-aware routing, whose shares depend on the Nodes' processors."""
    annotations = service.metadata.annotations or {}
    value = next((annotations[name] for name in _TOPOLOGY_ANNOTATIONS if name in annotations), "")
    return value in ("Auto", "auto")


def families_of(service: Service) -> tuple[Family, ...]:
    """Return the IP families of a Service: `spec.ipFamilies`, or those of its cluster IPs where that is not given."""
    spec = service.spec or ServiceSpec()
    if spec.ip_families:
        return spec.ip_families
    return tuple(address.family for address in service.addresses)


def _matches(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.items())


def _finished(pod: Pod) -> bool:
    return pod.status is not None and pod.status.phase in _FINISHED


def _addresses(pod: Pod, family: Family) -> list[Address]:
    """Return the Pod's addresses in a family; a Pod on the host's network has the node's."""
    if pod.status is None:
        return []
    listed = [one.ip for one in pod.status.pod_ips or ()] or [pod.status.pod_ip]
    addresses = [Address(address) for address in listed if address]
    return [address for address in addresses if address.family == family]


def _endpoint(pod: Pod, address: Address, *, publish: bool) -> SliceEndpoint:
    conditions = pod.status.conditions if pod.status is not None else None
    serving = any(one.type == "Ready" and one.status == "True" for one in conditions or ())
    terminating = pod.metadata.deletion_timestamp is not None
    return SliceEndpoint(
        addresses=(address,),
        conditions=EndpointConditions(
            ready=publish or (serving and not terminating), serving=serving, terminating=terminating
        ),
        node_name=pod.spec.node_name if pod.spec is not None else None,
    )


def _resolved(ports: Iterable[ServicePort], pod: Pod) -> Iterator[tuple[str, str, int]]:
    """Yield (port name, protocol, number) for each Service port that the Pod has."""
    for port in ports:
        number = target_port(port, pod)
        if number is not None:
            yield port.name, port.protocol, number


def target_port(port: ServicePort, pod: Pod) -> Port | None:
    """Return the number of a Service port on one Pod, or None where the Pod lacks the named port.

    `targetPort` left out means the Service's own port; a name means the container port of that name and the same
    protocol, looked for in the containers and then in the sidecars (init containers with restartPolicy Always).
    """
    target = port.target_port or ""
    if not target:
        return port.port
    if target.isdigit():
        return Port(int(target))
    for container in _running_containers(pod):
        for one in container.ports or ():
            if one.name == target and (one.protocol or TCP) == port.protocol:
                return one.container_port
    return None


def _running_containers(pod: Pod) -> Iterator[Container]:
    if pod.spec is not None:
        yield from pod.spec.containers or ()
        yield from (one for one in pod.spec.init_containers or () if one.restart_policy == "Always")


def _slice(
    service: Service, family: Family, ports: _PortSet, endpoints: Iterable[SliceEndpoint], number: int
) -> EndpointSlice:
    return EndpointSlice(
        metadata=SliceMeta(
            name=Subdomain(f"{service.name}-{number}"),
            namespace=Label(service.namespace),
            labels={LABEL_SERVICE_NAME: service.name},
        ),
        address_type=family,
        endpoints=tuple(endpoints),
        ports=tuple(
            EndpointPort(name=Label(name), protocol=type(TCP)(protocol), port=Port(port))
            for name, protocol, port in ports
        ),
    )


def slices_from_endpoints(endpoints: Endpoints, service: Service) -> tuple[EndpointSlice, ...]:
    """Rewrite an Endpoints object as slices: one per subset and IP family."""
    slices: list[EndpointSlice] = []
    for subset in endpoints.subsets or ():
        ports = tuple((port.name or "", port.protocol or TCP, port.port or 0) for port in subset.ports or ())
        ready = [_from_address(one, ready=True) for one in subset.addresses or () if one.ip]
        unready = [_from_address(one, ready=False) for one in subset.not_ready_addresses or () if one.ip]
        for family in Family:
            members = [one for one in ready + unready if (one.addresses or ())[0].family == family]
            if members:
                slices.append(_slice(service, family, ports, members, len(slices)))
    return tuple(slices)


def _from_address(address: EndpointAddress, *, ready: bool) -> SliceEndpoint:
    return SliceEndpoint(
        addresses=(address.ip,) if address.ip is not None else None,
        conditions=EndpointConditions(ready=ready, serving=ready, terminating=False),
        node_name=address.node_name,
    )
