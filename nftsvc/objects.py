"""The Kubernetes objects as decoded values: only the fields that matter here, under their Python names.

A struct mirrors its object on the wire (camelCase there, unknown fields ignored, an explicit null means the default).
Nothing is resolved here: `nftsvc.decode` makes these values, `nftsvc.validation` checks what no single field can tell.
"""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from nftsvc.errors import ObjectRef
from nftsvc.values import (
    Address,
    ClusterIP,
    Family,
    Label,
    NodePort,
    OptionalAddress,
    Port,
    Protocol,
    ServiceType,
    SessionAffinity,
    Subdomain,
    TargetPort,
    Timestamp,
    TrafficPolicy,
)

TCP = Protocol("TCP")

LABEL_SERVICE_NAME = "kubernetes.io/service-name"
LABEL_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
LABEL_HEADLESS = "service.kubernetes.io/headless"


class _Wire(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """Anything inside an object."""


class ObjectMeta(_Wire, frozen=True):
    """`metadata`."""

    name: Subdomain = Subdomain("")
    namespace: Label = Label("")
    labels: dict[str, str] | None = None
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None


class _Object(_Wire, frozen=True):
    """A whole object; KIND and API_VERSION say which manifests decode to it."""

    KIND: ClassVar[str]
    API_VERSION: ClassVar[str] = "v1"
    NAMESPACED: ClassVar[bool] = True

    metadata: ObjectMeta = ObjectMeta()

    @property
    def namespace(self) -> str:
        """The object's namespace; `default` where a manifest leaves it out; "" for cluster-wide kinds."""
        return (self.metadata.namespace or "default") if self.NAMESPACED else ""

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.metadata.name

    @property
    def labels(self) -> Mapping[str, str]:
        """`metadata.labels`."""
        return self.metadata.labels or {}

    @property
    def ref(self) -> ObjectRef:
        """Kind, namespace and name: what messages and indexes know the object by."""
        return ObjectRef(self.KIND, self.namespace, self.name)


# Service -----------------------------------------------------------------------------------------------------------


class ServicePort(_Wire, frozen=True):
    """`spec.ports[]` of a Service."""

    name: Label = Label("")
    protocol: Protocol = TCP
    port: Port | None = None
    target_port: TargetPort | None = None
    node_port: NodePort | None = None


class LoadBalancerIngress(_Wire, frozen=True):
    """`status.loadBalancer.ingress[]` of a Service."""

    ip: str | None = None


class LoadBalancerStatus(_Wire, frozen=True):
    """`status.loadBalancer` of a Service."""

    ingress: tuple[LoadBalancerIngress, ...] | None = None


class ServiceStatus(_Wire, frozen=True):
    """`status` of a Service."""

    load_balancer: LoadBalancerStatus | None = None


class ServiceSpec(_Wire, frozen=True):
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
    traffic_distribution: str | None = None
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")


class Service(_Object, frozen=True):
    """A Service: the addresses and ports that clients use."""

    KIND = "Service"

    spec: ServiceSpec | None = None
    status: ServiceStatus | None = None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The allocated cluster IPs, first the primary one; empty for a headless or unallocated Service."""
        spec = self.spec or ServiceSpec()
        values = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
        return tuple(address for value in values if (address := value.address) is not None)


# EndpointSlice and Endpoints -----------------------------------------------------------------------------------------


class EndpointConditions(_Wire, frozen=True):
    """`endpoints[].conditions`; unset means ready, serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(_Wire, frozen=True):
    """`endpoints[]` of an EndpointSlice."""

    addresses: tuple[Address, ...] | None = None
    conditions: EndpointConditions | None = None
    node_name: str | None = None

    @property
    def ready(self) -> bool:
        """Whether the endpoint takes new connections."""
        return self.conditions is None or self.conditions.ready is not False

    @property
    def draining(self) -> bool:
        """Whether the endpoint is going away but still answers: terminating and serving."""
        return (
            self.conditions is not None and self.conditions.terminating is True and self.conditions.serving is not False
        )


class EndpointPort(_Wire, frozen=True):
    """`ports[]` of an EndpointSlice and `subsets[].ports[]` of Endpoints."""

    name: Label | None = None
    protocol: Protocol | None = None
    port: Port | None = None


class EndpointSlice(_Object, frozen=True):
    """An EndpointSlice: some endpoints of one Service in one family, all with the same ports."""

    KIND = "EndpointSlice"
    API_VERSION = "discovery.k8s.io/v1"

    address_type: Family | None = None
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    @property
    def service_name(self) -> str:
        """The Service that the slice belongs to (label kubernetes.io/service-name), or ""."""
        return self.labels.get(LABEL_SERVICE_NAME, "")


class EndpointAddress(_Wire, frozen=True):
    """`subsets[].addresses[]` of Endpoints."""

    ip: Address | None = None
    node_name: str | None = None


class EndpointSubset(_Wire, frozen=True):
    """`subsets[]` of Endpoints."""

    addresses: tuple[EndpointAddress, ...] | None = None
    not_ready_addresses: tuple[EndpointAddress, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class Endpoints(_Object, frozen=True):
    """An Endpoints object: the older form, one per Service, both families in one."""

    KIND = "Endpoints"

    subsets: tuple[EndpointSubset, ...] | None = None


# Pod and Node --------------------------------------------------------------------------------------------------------


class ContainerPort(_Wire, frozen=True):
    """`spec.containers[].ports[]`."""

    name: str | None = None
    container_port: Port | None = None
    protocol: Protocol | None = None


class Container(_Wire, frozen=True):
    """`spec.containers[]` and `spec.initContainers[]`."""

    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str | None = None


class PodSpec(_Wire, frozen=True):
    """`spec` of a Pod."""

    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    node_name: str | None = None


class Condition(_Wire, frozen=True):
    """`status.conditions[]`."""

    type: str = ""
    status: str = ""


class PodIP(_Wire, frozen=True):
    """`status.podIPs[]`."""

    ip: OptionalAddress | None = None


class PodStatus(_Wire, frozen=True):
    """`status` of a Pod."""

    phase: str | None = None
    conditions: tuple[Condition, ...] | None = None
    pod_ip: OptionalAddress | None = msgspec.field(default=None, name="podIP")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(default=None, name="podIPs")


class Pod(_Object, frozen=True):
    """A Pod: read where the input has no slices, to find a Service's endpoints by its selector."""

    KIND = "Pod"

    spec: PodSpec | None = None
    status: PodStatus | None = None


NODE_IP_TYPES = ("InternalIP", "ExternalIP")


class NodeAddress(_Wire, frozen=True):
    """`status.addresses[]` of a Node; `address` is a name for some types."""

    type: str = ""
    address: str = ""


class NodeStatus(_Wire, frozen=True):
    """`status` of a Node."""

    addresses: tuple[NodeAddress, ...] | None = None


class Node(_Object, frozen=True):
    """A Node: where the ruleset will run."""

    KIND = "Node"
    NAMESPACED = False

    status: NodeStatus | None = None


KubernetesObject = Service | EndpointSlice | Endpoints | Pod | Node
KINDS: tuple[type[KubernetesObject], ...] = (Service, EndpointSlice, Endpoints, Pod, Node)
