"""The objects as decoded values: only the fields that matter here, under their Python names.

A struct mirrors its object on the wire (camelCase there, unknown fields ignored, an explicit null means the default).
Nothing is resolved here: `nftsvc.decode` makes these values, `nftsvc.validation` checks what no single field can tell.
"""

from nftsvc.objects.endpoints import (
    EndpointAddress,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    Endpoints,
    EndpointSlice,
    EndpointSubset,
    Hint,
    SliceEndpoint,
)
from nftsvc.objects.meta import (
    ANNOTATION_LINT_IGNORE,
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    LABEL_SERVICE_NAME,
    LABEL_ZONE,
    TCP,
    AnnotatedMeta,
    ObjectMeta,
    SliceAnnotations,
    SliceMeta,
)
from nftsvc.objects.node import (
    NODE_IP_TYPES,
    Node,
    NodeAddress,
    NodeConfiguration,
    NodeConfigurationSpec,
    NodeSpec,
    NodeStatus,
    ServiceCIDR,
    ServiceCIDRSpec,
)
from nftsvc.objects.pod import Condition, Container, ContainerPort, Pod, PodIP, PodSpec, PodStatus
from nftsvc.objects.service import (
    ClientIPConfig,
    LoadBalancerIngress,
    LoadBalancerStatus,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
    SessionAffinityConfig,
)

KubernetesObject = Service | EndpointSlice | Endpoints | Pod | Node | ServiceCIDR | NodeConfiguration
KINDS: tuple[type[KubernetesObject], ...] = (
    Service,
    EndpointSlice,
    Endpoints,
    Pod,
    Node,
    ServiceCIDR,
    NodeConfiguration,
)

__all__ = [
    "ANNOTATION_LINT_IGNORE",
    "KINDS",
    "LABEL_HEADLESS",
    "LABEL_PROXY_NAME",
    "LABEL_SERVICE_NAME",
    "LABEL_ZONE",
    "NODE_IP_TYPES",
    "TCP",
    "AnnotatedMeta",
    "ClientIPConfig",
    "Condition",
    "Container",
    "ContainerPort",
    "EndpointAddress",
    "EndpointConditions",
    "EndpointHints",
    "EndpointPort",
    "EndpointSlice",
    "EndpointSubset",
    "Endpoints",
    "Hint",
    "KubernetesObject",
    "LoadBalancerIngress",
    "LoadBalancerStatus",
    "Node",
    "NodeAddress",
    "NodeConfiguration",
    "NodeConfigurationSpec",
    "NodeSpec",
    "NodeStatus",
    "ObjectMeta",
    "Pod",
    "PodIP",
    "PodSpec",
    "PodStatus",
    "Service",
    "ServiceCIDR",
    "ServiceCIDRSpec",
    "ServicePort",
    "ServiceSpec",
    "ServiceStatus",
    "SessionAffinityConfig",
    "SliceAnnotations",
    "SliceEndpoint",
    "SliceMeta",
]
