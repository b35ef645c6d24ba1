"""A cluster of any size: ClusterIP Services, their EndpointSlices, the benchmark's own Node; as JSON and as objects.

Endpoints are spread over Nodes of at most 110 Pods, in turn, as in a cluster: about a hundred of them are on the Node
that the ruleset is for.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from nftsvc.events import Event, Replaced
from nftsvc.objects import EndpointSlice, KubernetesObject, Node, Service
from nftsvc.sources.cluster.wire import Decoder

Document = dict[str, Any]

NODE = "node-0"
NODE_ADDRESS = "192.0.2.11"
POD_NETWORK = "10.128.0.0/9"
FIRST_PODS = "10.128.0.0/12"
SERVICE_NETWORK = "10.96.0.0/12"
SERVICE_PORT, TARGET_PORT, PORT_NAME = 80, 8080, "http"
AFFINITY_SECONDS = 10800
PODS_PER_NODE = 110
SLICE = 100  # endpoints; what the control plane puts into one EndpointSlice

_SERVICES = (10 << 24) + (96 << 16) + 1
_PODS = (10 << 24) + (128 << 16) + 1
_NAMESPACES = 50


def dotted(number: int) -> str:
    """Write an IPv4 address."""
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """So many Services with so many endpoints each, one port each; Pods are numbered across the cluster."""

    services: int
    endpoints: int
    protocol: str = "TCP"
    affinity: bool = False

    @property
    def total(self) -> int:
        """How many endpoints there are."""
        return self.services * self.endpoints

    @property
    def nodes(self) -> int:
        """How many Nodes that takes."""
        return math.ceil(self.total / PODS_PER_NODE)

    def name(self, number: int) -> tuple[str, str]:
        """Return a Service's namespace and name."""
        return f"ns-{number % _NAMESPACES}", f"service-{number}"

    def service_address(self, number: int) -> str:
        """Return a Service's cluster IP."""
        return dotted(_SERVICES + number)

    def pod_address(self, pod: int) -> str:
        """Return a Pod's address."""
        return dotted(_PODS + pod)

    def pods(self, number: int) -> range:
        """Return the Pods behind a Service."""
        return range(number * self.endpoints, (number + 1) * self.endpoints)

    def is_local(self, pod: int) -> bool:
        """Tell whether a Pod runs on the benchmark's own Node."""
        return pod % self.nodes == 0

    # As the API server has them

    def service(self, number: int) -> Document:
        """Return a Service as a document."""
        namespace, name = self.name(number)
        address = self.service_address(number)
        affinity: Document = {"sessionAffinity": "None"}
        if self.affinity:
            client = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}
            affinity = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": client}
        ports = [{"name": PORT_NAME, "protocol": self.protocol, "port": SERVICE_PORT, "targetPort": TARGET_PORT}]
        return {
            "apiVersion": Service.API_VERSION,
            "kind": Service.KIND,
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": name}},
            "spec": {
                "ports": ports,
                "selector": {"app": name},
                "clusterIP": address,
                "clusterIPs": [address],
                "type": "ClusterIP",
                "ipFamilies": ["IPv4"],
                "ipFamilyPolicy": "SingleStack",
                "internalTrafficPolicy": "Cluster",
                **affinity,
            },
            "status": {"loadBalancer": {}},
        }

    def slice(self, number: int, pods: Iterable[int], part: int = 0) -> Document:
        """Return one of a Service's EndpointSlices with these Pods as ready endpoints."""
        namespace, name = self.name(number)
        labels = {
            "app": name,
            "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
            "kubernetes.io/service-name": name,
        }
        owner = {"apiVersion": "v1", "kind": "Service", "name": name, "uid": f"uid-{number}", "controller": True}
        return {
            "apiVersion": EndpointSlice.API_VERSION,
            "kind": EndpointSlice.KIND,
            "metadata": {
                "name": f"{name}-{part}",
                "namespace": namespace,
                "labels": labels,
                "ownerReferences": [{**owner, "blockOwnerDeletion": True}],
            },
            "addressType": "IPv4",
            "endpoints": [
                {
                    "addresses": [self.pod_address(pod)],
                    "conditions": {"ready": True, "serving": True, "terminating": False},
                    "nodeName": f"node-{pod % self.nodes}",
                    "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"pod-{pod}", "uid": f"pod-uid-{pod}"},
                    "zone": "zone-a",
                }
                for pod in pods
            ],
            "ports": [{"name": PORT_NAME, "protocol": self.protocol, "port": TARGET_PORT}],
        }

    def slices(self, number: int) -> Iterator[Document]:
        """Yield a Service's EndpointSlices, a hundred endpoints in each."""
        pods = self.pods(number)
        for part, start in enumerate(range(0, len(pods), SLICE)):
            yield self.slice(number, pods[start : start + SLICE], part)

    def node(self) -> Document:
        """Return the benchmark's own Node."""
        return {
            "apiVersion": Node.API_VERSION,
            "kind": Node.KIND,
            "metadata": {"name": NODE, "labels": {"topology.kubernetes.io/zone": "zone-a"}},
            "spec": {},
            "status": {"addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}]},
        }

    def documents(self) -> Iterator[Document]:
        """Yield everything."""
        yield self.node()
        for number in range(self.services):
            yield self.service(number)
            yield from self.slices(number)

    # As the agent has them

    def events(self) -> list[Event]:
        """Return everything as the objects that the agent makes of what the API server sends."""
        services = (self.service(number) for number in range(self.services))
        slices = (one for number in range(self.services) for one in self.slices(number))
        nodes = (self.node(),)
        return [
            Replaced(kind, tuple(decoded(kind, documents)))
            for kind, documents in ((Service, services), (EndpointSlice, slices), (Node, nodes))
        ]


def decoded(kind: type[KubernetesObject], documents: Iterable[Document]) -> Iterator[KubernetesObject]:
    """Yield the objects of one kind that the agent makes of what the API server sends for these documents."""
    decoder = Decoder(kind)
    for document in documents:
        item = decoder.item(msgspec.Raw(msgspec.json.encode(document)))
        if item.value is None:
            raise ValueError(f"not read: {item.problems}")
        yield item.value
