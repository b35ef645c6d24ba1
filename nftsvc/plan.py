"""What must be forwarded and what rejected, in words of the domain: no nft here.

In: the State and the settings of one node. Out: a Plan: for each Service port and family its frontends (where clients
knock) and its endpoints (who answers). Every claim of an address or node port has one owner: the older Service. Next in
the route: `nftsvc.ruleset`, which puts the plan into nftables.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from nftsvc.endpoints import Endpoint, usable
from nftsvc.errors import Problem, Severity
from nftsvc.objects import LABEL_PROXY_NAME, EndpointSlice, Service, ServicePort, ServiceSpec
from nftsvc.selectors import families_of, slices_from_endpoints, slices_from_pods
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey, State
from nftsvc.values import Address, ClusterIP, Family, Port, Protocol


class FrontendKind(StrEnum):
    """The ways into a Service."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"


@dataclass(frozen=True, slots=True)
class Frontend:
    """Where clients knock: an address and port, or a node port (address None: the node's own addresses).

    `masquerade` says that connections through it always take this node's address as their source, so that the answers
    come back this way.
    """

    kind: FrontendKind
    address: Address | None
    port: Port
    masquerade: bool = False


@dataclass(frozen=True, slots=True)
class PortPlan:
    """One Service port in one family. No endpoints means: reject."""

    service: ServiceKey
    port: str
    family: Family
    protocol: Protocol
    frontends: tuple[Frontend, ...]
    endpoints: tuple[Endpoint, ...]

    @property
    def name(self) -> str:
        """Write `namespace/name:port`, or `namespace/name` for an unnamed port."""
        return f"{self.service}:{self.port}" if self.port else str(self.service)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a node must do: the Service ports, sorted by Service, port and family; Services left out, with the reason.

    `problems` are warnings: nothing in them keeps the rest from working.
    """

    settings: NodeSettings
    ports: tuple[PortPlan, ...]
    skipped: tuple[tuple[ServiceKey, str], ...] = ()
    problems: tuple[Problem, ...] = ()


def make_plan(state: State, settings: NodeSettings) -> Plan:
    """Say what the node must do for every Service of the state."""
    claims = _Claims()
    ports: list[PortPlan] = []
    skipped: list[tuple[ServiceKey, str]] = []
    problems: list[Problem] = []
    for key, service in sorted(state.services.items(), key=lambda item: _seniority(*item)):
        reason = _why_skipped(service)
        if reason:
            skipped.append((key, reason))
            continue
        if not service.addresses:
            message = "not allocated yet, so the Service is left out (the API server sets it)"
            problems.append(Problem(message, "spec.clusterIP", service.ref, severity=Severity.WARNING))
            continue
        problems += _unserved(service)
        slices = _slices_of(state, key, service)
        ports += _service_ports(key, service, slices, settings, claims)
    ports.sort(key=lambda one: (one.service, one.port, one.protocol, one.family))
    problems += claims.refused
    problems += _node_ports_everywhere(ports, settings)
    return Plan(settings, tuple(ports), tuple(sorted(skipped)), tuple(sorted(problems, key=str)))


def _node_ports_everywhere(ports: list[PortPlan], settings: NodeSettings) -> Iterator[Problem]:
    """Yield a warning where node ports answer on every address only because the node's are not known."""
    families = {port.family for port in ports if any(one.address is None for one in port.frontends)}
    unknown = [family for family in settings.families if family in families - settings.node_port_addresses.keys()]
    if unknown:
        message = (
            f"node ports answer on every {' and '.join(unknown)} address of the machine: no Node says which is its own"
        )
        yield Problem(message, severity=Severity.WARNING)


def _seniority(key: ServiceKey, service: Service) -> tuple[bool, str, ServiceKey]:
    """Sort the older Service first; one that the API server has not created yet is the youngest."""
    created = service.metadata.creation_timestamp
    return (created is None, created or "", key)


def _why_skipped(service: Service) -> str:
    """Return why a Service is not this proxy's business, or "" if it is."""
    spec = service.spec or ServiceSpec()
    if spec.type == "ExternalName":
        return "ExternalName: a name in DNS, nothing to forward"
    if LABEL_PROXY_NAME in service.labels:
        return f"label {LABEL_PROXY_NAME}: served by another proxy"
    if ClusterIP.HEADLESS in (spec.cluster_ip, *(spec.cluster_ips or ())):
        return "headless: clients connect to the endpoints themselves"
    return ""


def _unserved(service: Service) -> Iterator[Problem]:
    """Yield a warning for each field that asks for something this version does not do yet."""
    spec = service.spec or ServiceSpec()
    balancer = service.status.load_balancer if service.status is not None else None
    external = any(port.node_port for port in spec.ports or ())
    for asked, field, message in (
        (spec.session_affinity == "ClientIP", "spec.sessionAffinity", "ClientIP is not served yet, treated as None"),
        (
            spec.internal_traffic_policy == "Local",
            "spec.internalTrafficPolicy",
            "Local is not served yet, treated as Cluster",
        ),
        (
            external and spec.external_traffic_policy == "Local",
            "spec.externalTrafficPolicy",
            "Local is not served yet, treated as Cluster",
        ),
        (bool(spec.traffic_distribution), "spec.trafficDistribution", "not served yet, all endpoints are used alike"),
        (bool(spec.external_ips), "spec.externalIPs", "not served yet, ignored"),
        (
            balancer is not None and any(one.ip for one in balancer.ingress or ()),
            "status.loadBalancer.ingress",
            "not served yet, ignored",
        ),
    ):
        if asked:
            yield Problem(message, field, service.ref, severity=Severity.WARNING)


def _slices_of(state: State, key: ServiceKey, service: Service) -> tuple[EndpointSlice, ...]:
    """Return a Service's slices: its own, else those its Endpoints amount to, else those its selector does."""
    if key in state.slices:
        return state.slices[key]
    if key in state.endpoints:
        return slices_from_endpoints(state.endpoints[key], service)
    selector = (service.spec.selector if service.spec is not None else None) or {}
    return slices_from_pods(service, state.candidates(key.namespace, selector))


def _service_ports(
    key: ServiceKey,
    service: Service,
    slices: tuple[EndpointSlice, ...],
    settings: NodeSettings,
    claims: "_Claims",
) -> Iterator[PortPlan]:
    """Yield the plan of each port in each family the Service has an address in and the node serves."""
    spec = service.spec or ServiceSpec()
    for index, port in enumerate(spec.ports or ()):
        for address in service.addresses:
            family = address.family
            if family not in settings.families or family not in families_of(service):
                continue
            frontends = tuple(
                frontend
                for frontend in _frontends(port, address)
                if claims.grant(service, index, family, port.protocol, frontend)
            )
            if frontends:
                endpoints = usable(slices, port, family, settings.name)
                yield PortPlan(key, port.name, family, port.protocol, frontends, endpoints)


def _frontends(port: ServicePort, address: Address) -> Iterator[Frontend]:
    if port.port:
        yield Frontend(FrontendKind.CLUSTER_IP, address, port.port)
    if port.node_port:
        yield Frontend(FrontendKind.NODE_PORT, None, port.node_port, masquerade=True)


class _Claims:
    """Who owns which address:port and node port. First come, first served; so ask in order of seniority.

    A node port belongs to one Service in all families, as the API server allocates it.
    """

    def __init__(self) -> None:
        self._owners: dict[tuple[Family | None, str, Address | None, int], Service] = {}
        self._refused: dict[Problem, None] = {}

    @property
    def refused(self) -> tuple[Problem, ...]:
        """A warning for every claim that came too late."""
        return tuple(self._refused)

    def grant(self, service: Service, index: int, family: Family, protocol: str, frontend: Frontend) -> bool:
        """Give the frontend to the Service unless another Service owns it; remember the refusal."""
        claim = (family if frontend.address is not None else None, protocol, frontend.address, frontend.port)
        owner = self._owners.setdefault(claim, service)
        if owner is service:
            return True
        if frontend.address is None:
            field, what = f"spec.ports[{index}].nodePort", f"{frontend.port}/{protocol}"
        else:
            field, what = "spec.clusterIPs", _authority(frontend.address, frontend.port, protocol)
        message = f"{what} belongs to the older {owner.ref}, ignored here"
        self._refused[Problem(message, field, service.ref, severity=Severity.WARNING)] = None
        return False


def _authority(address: Address, port: int, protocol: str) -> str:
    host = f"[{address}]" if address.family == Family.IPV6 else address
    return f"{host}:{port}/{protocol}"
