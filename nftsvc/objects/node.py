"""Node, ServiceCIDR and NodeConfiguration: what a node is told about itself, as decoded."""

import msgspec

from nftsvc.objects.meta import LABEL_ZONE, AnnotatedMeta, Object, Wire
from nftsvc.values import Address, DetectLocalMode, InterfaceName, NodePortAddress, Prefix

NODE_IP_TYPES = ("InternalIP", "ExternalIP")
TAINT_LEAVING = "ToBeDeletedByClusterAutoscaler"


class NodeAddress(Wire, frozen=True):
    """`status.addresses[]` of a Node; `address` is a name for some types."""

    type: str = ""
    address: str = ""


class Taint(Wire, frozen=True):
    """`spec.taints[]` of a Node."""

    key: str = ""


class NodeSpec(Wire, frozen=True):
    """`spec` of a Node."""

    taints: tuple[Taint, ...] | None = None

    pod_cidr: Prefix | None = msgspec.field(default=None, name="podCIDR")
    pod_cidrs: tuple[Prefix, ...] | None = msgspec.field(default=None, name="podCIDRs")


class NodeStatus(Wire, frozen=True):
    """`status` of a Node."""

    addresses: tuple[NodeAddress, ...] | None = None


class Node(Object, frozen=True):
    """A Node: where the ruleset will run."""

    KIND = "Node"
    NAMESPACED = False

    spec: NodeSpec | None = None
    status: NodeStatus | None = None

    @property
    def leaving(self) -> bool:
        """Whether the Node is being deleted or about to be, so that load balancers should turn elsewhere.

        Source: kube-proxy's healthz (KEP-3836).
        """
        taints = (self.spec.taints if self.spec is not None else None) or ()
        return self.metadata.deletion_timestamp is not None or any(one.key == TAINT_LEAVING for one in taints)

    @property
    def zone(self) -> str:
        """The zone that the Node is in, or "" if it does not say."""
        return self.labels.get(LABEL_ZONE, "")


class ServiceCIDRSpec(Wire, frozen=True):
    """`spec` of a ServiceCIDR."""

    cidrs: tuple[Prefix, ...] | None = None


class ServiceCIDR(Object, frozen=True):
    """A ServiceCIDR: networks that cluster IPs are taken from."""

    KIND = "ServiceCIDR"
    API_VERSION = "networking.k8s.io/v1"
    NAMESPACED = False

    spec: ServiceCIDRSpec | None = None


class NodeConfigurationSpec(Wire, frozen=True):
    """`spec` of a NodeConfiguration; `nftsvc.settings` says what each field does."""

    addresses: tuple[Address, ...] | None = None
    zone: str | None = None
    pod_cidrs: tuple[Prefix, ...] | None = msgspec.field(default=None, name="podCIDRs")
    cluster_cidrs: tuple[Prefix, ...] | None = msgspec.field(default=None, name="clusterCIDRs")
    detect_local_mode: DetectLocalMode | None = None
    bridge_interface: InterfaceName | None = None
    interface_name_prefix: InterfaceName | None = None
    masquerade_all: bool | None = None
    node_port_addresses: tuple[NodePortAddress, ...] | None = None
    service_cidrs: tuple[Prefix, ...] | None = msgspec.field(default=None, name="serviceCIDRs")


class NodeConfiguration(Object, frozen=True):
    """What a node's user has to say about it: nftsvc's own kind, a manifest among the others.

    Its name is the node's; without a name it is for whatever node the ruleset is for.
    """

    KIND = "NodeConfiguration"
    API_VERSION = "nftsvc/v1"
    NAMESPACED = False
    STRICT = True

    metadata: AnnotatedMeta = AnnotatedMeta()
    spec: NodeConfigurationSpec | None = None
