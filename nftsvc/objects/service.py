"""Service, as decoded."""

import msgspec

from nftsvc.objects.meta import TCP, AnnotatedMeta, Object, Wire
from nftsvc.values import (
    Address,
    ClusterIP,
    Family,
    IPMode,
    Label,
    NodePort,
    OptionalAddress,
    Port,
    Prefix,
    Protocol,
    Seconds,
    ServiceType,
    SessionAffinity,
    TargetPort,
    TrafficPolicy,
)


class ServicePort(Wire, frozen=True):
    """`spec.ports[]` of a Service."""

    name: Label = Label("")
    protocol: Protocol = TCP
    port: Port | None = None
    target_port: TargetPort | None = None
    node_port: NodePort | None = None


class LoadBalancerIngress(Wire, frozen=True):
    """`status.loadBalancer.ingress[]` of a Service."""

    ip: OptionalAddress | None = None
    ip_mode: IPMode | None = None


class LoadBalancerStatus(Wire, frozen=True):
    """`status.loadBalancer` of a Service."""

    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(Wire, frozen=True):
    """`status` of a Service."""

    load_balancer: LoadBalancerStatus | None = None


class ClientIPConfig(Wire, frozen=True):
    """`spec.sessionAffinityConfig.clientIP` of a Service."""

    timeout_seconds: Seconds | None = None


class SessionAffinityConfig(Wire, frozen=True):
    """`spec.sessionAffinityConfig` of a Service."""

    client_ip: ClientIPConfig | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Wire, frozen=True):
    """`spec` of a Service."""

    type: ServiceType = ServiceType("ClusterIP")
    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None
    cluster_ip: ClusterIP | None = msgspec.field(default=None, name="clusterIP")
    cluster_ips: tuple[ClusterIP, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ip_families: tuple[Family, ...] | None = None
    publish_not_ready_addresses: bool | None = None
    internal_traffic_policy: TrafficPolicy | None = None
    external_traffic_policy: TrafficPolicy | None = None
    session_affinity: SessionAffinity | None = None
    session_affinity_config: SessionAffinityConfig | None = None
    traffic_distribution: str | None = None
    external_ips: tuple[OptionalAddress, ...] | None = msgspec.field(default=None, name="externalIPs")
    load_balancer_source_ranges: tuple[Prefix, ...] | None = None
    health_check_node_port: NodePort | None = None


class Service(Object, frozen=True):
    """A Service: the addresses and ports that clients use."""

    KIND = "Service"

    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The allocated cluster IPs, first the primary one; empty for a headless or unallocated Service."""
        spec = self.spec or ServiceSpec()
        values = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
        return tuple([address for value in values if (address := value.address) is not None])
