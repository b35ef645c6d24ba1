"""One Service: what it claims, and what the node must do for it once it is known whose the claims are."""

from collections.abc import Iterator

import msgspec

from nftsvc.claims import Claim, Claimant, Claims
from nftsvc.endpoints import Place, Usable, usable
from nftsvc.errors import ObjectRef, Problem, Severity
from nftsvc.frontends import Frontend, FrontendKind, frontends_of, is_external
from nftsvc.objects import LABEL_PROXY_NAME, Service, ServicePort, ServiceSpec
from nftsvc.plan.values import HealthCheck, PortPlan, ServicePlan
from nftsvc.selectors import families_of, slices_of, topology_mode_auto
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey, State
from nftsvc.values import Address, ClusterIP, Family, authority

# The API server's default for sessionAffinityConfig.clientIP.timeoutSeconds.
AFFINITY_SECONDS = 10800
UDP = "UDP"

_FIELDS = {
    FrontendKind.CLUSTER_IP: "spec.clusterIPs",
    FrontendKind.EXTERNAL_IP: "spec.externalIPs",
    FrontendKind.LOAD_BALANCER: "status.loadBalancer.ingress",
}


class Wish(msgspec.Struct, frozen=True, gc=False):
    """A Service port in one family and the frontends it would have; `position` is its place in `spec.ports`."""

    position: int
    port: ServicePort
    family: Family
    frontends: tuple[Frontend, ...]

    def claim(self, frontend: Frontend) -> Claim:
        """Return what a frontend claims."""
        return Claim(self.family, self.port.protocol, frontend.address, frontend.port)


def why_skipped(service: Service) -> str:
    """Return why a Service is not this proxy's business, or "" if it is."""
    spec = service.spec or ServiceSpec()
    if spec.type == "ExternalName":
        return "ExternalName: a name in DNS, nothing to forward"
    if LABEL_PROXY_NAME in service.labels:
        return f"label {LABEL_PROXY_NAME}: served by another proxy"
    if spec.cluster_ip == ClusterIP.HEADLESS or ClusterIP.HEADLESS in (spec.cluster_ips or ()):
        return "headless: clients connect to the endpoints themselves"
    return ""


def claimant(key: ServiceKey, service: Service | None) -> Claimant:
    """Return a Service as one that claims something."""
    created = service.metadata.creation_timestamp if service is not None else None
    return Claimant(created is None, created or "", key)


class Wishes(msgspec.Struct, frozen=True, gc=False):
    """What a Service wants of the node: its cluster IPs that the node serves, and its ports there."""

    addresses: tuple[Address, ...] = ()
    ports: tuple[Wish, ...] = ()

    def claims(self) -> list[Claim]:
        """Return all that is claimed."""
        return [port.claim(frontend) for port in self.ports for frontend in port.frontends]


_NONE = Wishes()


def wishes_of(service: Service, settings: NodeSettings) -> Wishes:
    """Return each port in each family that the Service has an address in and the node serves; none if it is skipped."""
    if why_skipped(service):
        return _NONE
    families, served = families_of(service), settings.families
    addresses: list[Address] = []
    places: list[tuple[Address, Family]] = []
    for address in service.addresses:
        family = address.family
        if family in families and family in served:
            addresses.append(address)
            places.append((address, family))
    ports = (service.spec.ports if service.spec is not None else None) or ()
    wishes = [
        Wish(position, port, family, frontends_of(service, port, address, settings.addresses.get(family)))
        for position, port in enumerate(ports)
        for address, family in places
    ]
    return Wishes(tuple(addresses), tuple(wishes))


def plan_service(state: State, key: ServiceKey, wishes: Wishes, claims: Claims, settings: NodeSettings) -> ServicePlan:
    """Say what the node must do for a Service of the state, whose claims are filed."""
    service = state.services[key]
    if not wishes.addresses and (why_not := _why_nothing(key, service)) is not None:
        return why_not
    problems: dict[Problem, None] = {}
    if settings.name is None or service.metadata.annotations:
        problems.update(dict.fromkeys(_unclear(state, key, service, settings)))
    slices = slices_of(state, key, service)
    place = Place(settings.name, settings.zone)
    check = _health_check_port(service)
    ports: list[PortPlan] = []
    healthy: dict[Family, set[str]] = {}
    for wish in wishes.ports:
        frontends = wish.frontends
        for frontend in frontends if claims.contested else ():
            owner = claims.owner(wish.claim(frontend))
            if owner != key:
                frontends = tuple(one for one in frontends if one != frontend)
                problems[_refused(service, wish, frontend, owner)] = None
        found = usable(slices, wish.port, wish.family, place)
        if check:
            healthy.setdefault(wish.family, set()).update(one.address for one in found.ready_here)
        if frontends:
            ports.append(_port_plan(key, service, wish, frontends, found))
    return ServicePlan(
        key,
        tuple(ports),
        wishes.addresses,
        problems=tuple(problems),
        health_check=HealthCheck(key, check, {one: len(group) for one, group in healthy.items()}) if check else None,
    )


def _why_nothing(key: ServiceKey, service: Service) -> ServicePlan | None:
    """Return the plan of a Service for which nothing is to be done, whatever the node; None if it is none of these."""
    reason = why_skipped(service)
    if reason:
        return ServicePlan(key, skipped=reason)
    if not service.addresses:
        message = "not allocated yet, so the Service is left out (the API server sets it)"
        return ServicePlan(key, problems=(_warning(service, "spec.clusterIP", message),))
    return None


def _warning(service: Service, field: str, message: str) -> Problem:
    return Problem(message, field, service.ref, severity=Severity.WARNING)


def _refused(service: Service, wish: Wish, frontend: Frontend, owner: ServiceKey) -> Problem:
    """Return the warning that a frontend is another Service's."""
    if frontend.address is None:
        field, what = f"spec.ports[{wish.position}].nodePort", f"{frontend.port}"
    else:
        single = service.spec is None or not service.spec.cluster_ips
        is_single = frontend.kind is FrontendKind.CLUSTER_IP and single
        field = "spec.clusterIP" if is_single else _FIELDS[frontend.kind]
        what = authority(frontend.address, frontend.port)
    holder = ObjectRef(Service.KIND, *owner)
    message = f"{what}/{wish.port.protocol} belongs to {holder}, which comes first; ignored here"
    return _warning(service, field, message)


def _unclear(state: State, key: ServiceKey, service: Service, settings: NodeSettings) -> Iterator[Problem]:
    """Yield a warning for each field that cannot be followed with this input."""
    if settings.name is None:
        spec = service.spec or ServiceSpec()
        policies = [("spec.internalTrafficPolicy", spec.internal_traffic_policy)]
        if is_external(service):
            policies.append(("spec.externalTrafficPolicy", spec.external_traffic_policy))
        for field, policy in policies:
            if policy == "Local":
                yield _warning(
                    service,
                    field,
                    "Local, but it is not said which node the ruleset is for: no endpoint counts as local",
                )
    if topology_mode_auto(service) and not state.slices(key) and key not in state.endpoints:
        message = "topology-aware routing takes slices with hints; without them all endpoints are used alike"
        yield _warning(service, "metadata.annotations", message)


def _port_plan(
    key: ServiceKey, service: Service, wish: Wish, frontends: tuple[Frontend, ...], found: Usable
) -> PortPlan:
    keeps_local = len(found.local) > 0 and any(one.local_policy for one in frontends)
    return PortPlan(
        service=key,
        port=wish.port.name,
        family=wish.family,
        protocol=wish.port.protocol,
        frontends=frontends,
        cluster=found.cluster,
        local=found.local if keeps_local else (),
        affinity=_affinity(service),
        serving=found.serving if wish.port.protocol == UDP else (),
    )


def _affinity(service: Service) -> int:
    spec = service.spec or ServiceSpec()
    if spec.session_affinity != "ClientIP":
        return 0
    client_ip = spec.session_affinity_config.client_ip if spec.session_affinity_config is not None else None
    return int((client_ip.timeout_seconds if client_ip is not None else None) or AFFINITY_SECONDS)


def _health_check_port(service: Service) -> int:
    """Return the port on which load balancers ask whether the node has endpoints; 0 for none."""
    spec = service.spec or ServiceSpec()
    if spec.type != "LoadBalancer" or spec.external_traffic_policy != "Local":
        return 0
    return int(spec.health_check_node_port or 0)
