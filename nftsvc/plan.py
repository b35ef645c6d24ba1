"""What must be forwarded, masqueraded, rejected and dropped, in words of the domain: no nft here.

In: the State and the settings of one node. Out: a Plan: for each Service port and family its frontends (where clients
knock) and its endpoints (who answers). Every claim of an address or node port has one owner: the older Service. Next in
the route: `nftsvc.ruleset`, which puts the plan into nftables, and `nftsvc.explain`, which puts it into words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from nftsvc.claims import Claims
from nftsvc.endpoints import Endpoint, Judged, Place, judge
from nftsvc.errors import Problem, Severity
from nftsvc.frontends import Frontend, frontends_of, is_external
from nftsvc.objects import LABEL_PROXY_NAME, EndpointSlice, Service, ServicePort, ServiceSpec
from nftsvc.selectors import families_of, slices_of, topology_mode_auto
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey, State
from nftsvc.values import Address, ClusterIP, Family, Protocol

# The API server's default for sessionAffinityConfig.clientIP.timeoutSeconds.
AFFINITY_SECONDS = 10800


class Refusal(StrEnum):
    """What becomes of a new connection to a Service that leads to no endpoint."""

    REJECT = "reject"
    DROP = "drop"


class Masquerade(StrEnum):
    """Whose connections through a frontend take this node's address as their source, so that answers come back here."""

    EVERYBODY = "everybody"
    OTHERS_THAN_LOCAL_PODS = "all but local Pods"
    THIS_NODE = "this node"
    NOBODY = "nobody"


@dataclass(frozen=True, slots=True)
class PortPlan:
    """One Service port in one family.

    `cluster` are the endpoints for who may use all of the cluster's, `local` those for who may use this node's only.
    `affinity` is for how many seconds a client comes back to the endpoint it had, 0 for not at all.
    """

    service: ServiceKey
    port: str
    family: Family
    protocol: Protocol
    frontends: tuple[Frontend, ...]
    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...] = ()
    affinity: int = 0

    @property
    def name(self) -> str:
        """Write `namespace/name:port`, or `namespace/name` for an unnamed port."""
        return f"{self.service}:{self.port}" if self.port else str(self.service)

    def endpoints(self, frontend: Frontend, *, inside: bool) -> tuple[Endpoint, ...]:
        """Return where a frontend leads. `inside` is a client that is this node itself or a Pod of its own.

        Traffic policy Local keeps to this node's endpoints; for external frontends (not the cluster IP) it does so for
        clients outside only, because the others would not reach another node's load balancer anyway.
        """
        if not frontend.local_policy or (inside and frontend.external):
            return self.cluster
        return self.local

    @property
    def refusal(self) -> Refusal:
        """What meets a client that no endpoint is there for: silence if others would be served."""
        return Refusal.DROP if self.cluster else Refusal.REJECT


@dataclass(frozen=True, slots=True)
class Plan:
    """What a node must do: the Service ports, sorted by Service, port and family; Services left out, with the reason.

    `cluster_ips` are the addresses that are some Service's, whoever serves which of their ports. `problems` are
    warnings: nothing in them keeps the rest from working.
    """

    settings: NodeSettings
    ports: tuple[PortPlan, ...]
    cluster_ips: tuple[Address, ...] = ()
    skipped: tuple[tuple[ServiceKey, str], ...] = ()
    problems: tuple[Problem, ...] = ()

    def masquerade(self, frontend: Frontend, family: Family) -> Masquerade:
        """Say whose connections through a frontend are masqueraded (a client that reaches itself always is)."""
        if frontend.external:
            return Masquerade.THIS_NODE if frontend.local_policy else Masquerade.EVERYBODY
        return self.cluster_ip_masquerade(family)

    def cluster_ip_masquerade(self, family: Family) -> Masquerade:
        """Say whose connections to cluster IPs are masqueraded."""
        if self.settings.masquerade_all:
            return Masquerade.EVERYBODY
        return Masquerade.OTHERS_THAN_LOCAL_PODS if family in self.settings.detectors else Masquerade.NOBODY


def make_plan(state: State, settings: NodeSettings) -> Plan:
    """Say what the node must do for every Service of the state."""
    claims = Claims()
    ports: list[PortPlan] = []
    skipped: list[tuple[ServiceKey, str]] = []
    problems: list[Problem] = []
    cluster_ips: set[Address] = set()
    for key, service in sorted(state.services.items(), key=lambda item: _seniority(*item)):
        reason = why_skipped(service)
        if reason:
            skipped.append((key, reason))
            continue
        if not service.addresses:
            message = "not allocated yet, so the Service is left out (the API server sets it)"
            problems.append(Problem(message, "spec.clusterIP", service.ref, severity=Severity.WARNING))
            continue
        problems += _unclear(state, key, service, settings)
        cluster_ips.update(one for one in service.addresses if one.family in families_of(service))
        slices = slices_of(state, key, service)
        ports += _service_ports(key, service, slices, settings, claims)
    ports.sort(key=lambda one: (one.service, one.port, one.protocol, one.family))
    problems += claims.refused
    problems += _node_ports_everywhere(ports, settings)
    problems += _service_networks_too_wide(ports, settings)
    return Plan(
        settings,
        tuple(ports),
        tuple(sorted(one for one in cluster_ips if one.family in settings.families)),
        tuple(sorted(skipped)),
        tuple(sorted(problems, key=str)),
    )


def _node_ports_everywhere(ports: list[PortPlan], settings: NodeSettings) -> Iterator[Problem]:
    """Yield a warning where node ports answer on every address and nobody asked for that."""
    families = {port.family for port in ports if any(one.address is None for one in port.frontends)}
    asked_for = {*settings.node_port_addresses, *settings.node_port_networks, *settings.node_ports_everywhere}
    unknown = [family for family in settings.families if family in families - asked_for]
    if unknown:
        if settings.node_port_networks or settings.node_ports_everywhere:
            why = "nodePortAddresses has no network of that family"
        elif settings.addresses:
            why = "the node has no address of that family"
        else:
            why = "no Node says which is its own"
        message = f"node ports answer on every {' and '.join(unknown)} address of the machine: {why}"
        yield Problem(message, severity=Severity.WARNING)


def _service_networks_too_wide(ports: list[PortPlan], settings: NodeSettings) -> Iterator[Problem]:
    """Yield a warning for each service network that holds an endpoint or the node: packets to these are dropped."""
    for family, networks in settings.service_cidrs.items():
        endpoints = (one.address for port in ports if port.family == family for one in (*port.cluster, *port.local))
        node = settings.addresses.get(family)
        everybody = [*([node] if node is not None else ()), *endpoints]
        for network in networks:
            held = next((one for one in everybody if network.covers(one)), None)
            if held is not None:
                what = "this node's address" if held == node else "the endpoint"
                message = f"the service network {network} holds {what} {held}: packets to it are dropped"
                yield Problem(message, severity=Severity.WARNING)


def _seniority(key: ServiceKey, service: Service) -> tuple[bool, str, ServiceKey]:
    """Sort the older Service first; one that the API server has not created yet is the youngest."""
    created = service.metadata.creation_timestamp
    return (created is None, created or "", key)


def why_skipped(service: Service) -> str:
    """Return why a Service is not this proxy's business, or "" if it is."""
    spec = service.spec or ServiceSpec()
    if spec.type == "ExternalName":
        return "ExternalName: a name in DNS, nothing to forward"
    if LABEL_PROXY_NAME in service.labels:
        return f"label {LABEL_PROXY_NAME}: served by another proxy"
    if ClusterIP.HEADLESS in (spec.cluster_ip, *(spec.cluster_ips or ())):
        return "headless: clients connect to the endpoints themselves"
    return ""


def _unclear(state: State, key: ServiceKey, service: Service, settings: NodeSettings) -> Iterator[Problem]:
    """Yield a warning for each field that cannot be followed with this input."""
    spec = service.spec or ServiceSpec()
    policies = [("spec.internalTrafficPolicy", spec.internal_traffic_policy)]
    if is_external(service):
        policies.append(("spec.externalTrafficPolicy", spec.external_traffic_policy))
    for field, policy in policies:
        if policy == "Local" and settings.name is None:
            message = "Local, but it is not said which node the ruleset is for: no endpoint counts as local"
            yield Problem(message, field, service.ref, severity=Severity.WARNING)
    if topology_mode_auto(service) and key not in state.slices and key not in state.endpoints:
        message = "topology-aware routing takes slices with hints; without them all endpoints are used alike"
        yield Problem(message, "metadata.annotations", service.ref, severity=Severity.WARNING)


def _service_ports(
    key: ServiceKey, service: Service, slices: tuple[EndpointSlice, ...], settings: NodeSettings, claims: Claims
) -> Iterator[PortPlan]:
    """Yield the plan of each port in each family the Service has an address in and the node serves."""
    spec = service.spec or ServiceSpec()
    place = Place(settings.name, settings.zone)
    for index, port in enumerate(spec.ports or ()):
        for address in service.addresses:
            family = address.family
            if family not in settings.families or family not in families_of(service):
                continue
            frontends = tuple(
                frontend
                for frontend in frontends_of(service, port, address, settings.addresses.get(family))
                if claims.grant(service, index, family, port.protocol, frontend)
            )
            if frontends:
                judged = judge(slices, port, family, place)
                yield _port_plan(key, service, port, family, frontends, judged)


def _port_plan(
    key: ServiceKey,
    service: Service,
    port: ServicePort,
    family: Family,
    frontends: tuple[Frontend, ...],
    judged: tuple[Judged, ...],
) -> PortPlan:
    keeps_local = any(one.local_policy for one in frontends)
    return PortPlan(
        service=key,
        port=port.name,
        family=family,
        protocol=port.protocol,
        frontends=frontends,
        cluster=tuple(one.endpoint for one in judged if not one.not_in_cluster),
        local=tuple(one.endpoint for one in judged if keeps_local and not one.not_local),
        affinity=_affinity(service),
    )


def _affinity(service: Service) -> int:
    spec = service.spec or ServiceSpec()
    if spec.session_affinity != "ClientIP":
        return 0
    client_ip = spec.session_affinity_config.client_ip if spec.session_affinity_config is not None else None
    return int((client_ip.timeout_seconds if client_ip is not None else None) or AFFINITY_SECONDS)
