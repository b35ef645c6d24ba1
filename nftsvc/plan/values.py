"""What a plan is made of, in words of the domain."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from nftsvc.endpoints import Endpoint
from nftsvc.errors import Problem
from nftsvc.frontends import Frontend
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey
from nftsvc.values import Address, Family, Protocol


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


class PortPlan(msgspec.Struct, frozen=True, gc=False):
    """One Service port in one family.

    `cluster` are the endpoints for who may use all of the cluster's, `local` those for who may use this node's only.
    `affinity` is for how many seconds a client comes back to the endpoint it had, 0 for not at all. `serving` are, for
    UDP, the endpoints that answer, whether or not they get new connections: flows to them may go on.
    """

    service: ServiceKey
    port: str
    family: Family
    protocol: Protocol
    frontends: tuple[Frontend, ...]
    cluster: tuple[Endpoint, ...]
    local: tuple[Endpoint, ...] = ()
    affinity: int = 0
    serving: tuple[Endpoint, ...] = ()

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
class HealthCheck:
    """A healthCheckNodePort to answer on: the Service, the port, and per family how many local endpoints are ready.

    Source: kube-proxy 1.36; type LoadBalancer with externalTrafficPolicy Local. Endpoints count by distinct address.
    """

    service: ServiceKey
    port: int
    local: Mapping[Family, int]


class ServicePlan(msgspec.Struct, frozen=True, gc=False):
    """What a node must do for one Service; or why it does nothing (`skipped`).

    `problems` are warnings: nothing in them keeps the rest from working.
    """

    service: ServiceKey
    ports: tuple[PortPlan, ...] = ()
    cluster_ips: tuple[Address, ...] = ()
    skipped: str = ""
    problems: tuple[Problem, ...] = ()
    health_check: HealthCheck | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a node must do: the Service ports, sorted by Service, port and family; Services left out, with the reason.

    `cluster_ips` are the addresses that are some Service's, whoever serves which of their ports. `problems` are
    warnings: nothing in them keeps the rest from working.
    """

    settings: NodeSettings
    ports: tuple[PortPlan, ...] = ()
    cluster_ips: tuple[Address, ...] = ()
    skipped: tuple[tuple[ServiceKey, str], ...] = ()
    problems: tuple[Problem, ...] = ()
    health_checks: tuple[HealthCheck, ...] = field(default=())

    @classmethod
    def of(cls, settings: NodeSettings, services: Iterable[ServicePlan]) -> "Plan":
        """Put the plans of some Services, or of all, together."""
        services = sorted(services, key=lambda one: one.service)
        ports = [port for one in services for port in one.ports]
        ports.sort(key=lambda one: (one.service, one.port, one.protocol, one.family))
        addresses = {address for one in services for address in one.cluster_ips}
        return cls(
            settings,
            tuple(ports),
            tuple(sorted(addresses)),
            tuple((one.service, one.skipped) for one in services if one.skipped),
            tuple(sorted((problem for one in services for problem in one.problems), key=str)),
            tuple(one.health_check for one in services if one.health_check is not None),
        )

    def masquerade(self, frontend: Frontend, family: Family) -> Masquerade:
        """Say whose connections through a frontend are masqueraded (a client that reaches itself always is)."""
        return external_masquerade(frontend) if frontend.external else cluster_ip_masquerade(self.settings, family)


def external_masquerade(frontend: Frontend) -> Masquerade:
    """Say whose connections through a frontend for clients outside are masqueraded."""
    return Masquerade.THIS_NODE if frontend.local_policy else Masquerade.EVERYBODY


def cluster_ip_masquerade(settings: NodeSettings, family: Family) -> Masquerade:
    """Say whose connections to cluster IPs are masqueraded."""
    if settings.masquerade_all:
        return Masquerade.EVERYBODY
    return Masquerade.OTHERS_THAN_LOCAL_PODS if family in settings.detectors else Masquerade.NOBODY
