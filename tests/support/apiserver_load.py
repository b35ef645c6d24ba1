"""Clusters of any size for the API server double, as dicts: Nodes, Services, EndpointSlices."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from tests.support.apiserver_words import Document

_SERVICES = IPv4Address("10.96.0.1")
_PODS = IPv4Address("10.128.0.1")
_PODS_6 = IPv6Address("fd00:10:128::1")
NODES = ("node-a", "node-b")


def node(name: str, *addresses: str, zone: str = "zone-a", pods: tuple[str, ...] = ()) -> Document:
    """A ready Node with InternalIPs, a zone label and the ranges of its Pods."""
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": zone}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"podCIDR": pods[0], "podCIDRs": list(pods)} if pods else {},
        "status": {
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ok"}],
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in addresses),
                {"type": "Hostname", "address": name},
            ],
        },
    }


def service(number: int, namespace: str = "load", port: int = 80) -> Document:
    """The Service `service-NUMBER` with the NUMBERth cluster IP, as the API server completes it."""
    address = str(_SERVICES + number)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": f"service-{number}", "namespace": namespace, "labels": {"app": f"app-{number}"}},
        "spec": {
            "ports": [{"name": "http", "protocol": "TCP", "port": port, "targetPort": 8080}],
            "selector": {"app": f"app-{number}"},
            "clusterIP": address,
            "clusterIPs": [address],
            "type": "ClusterIP",
            "sessionAffinity": "None",
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
            "internalTrafficPolicy": "Cluster",
        },
        "status": {"loadBalancer": {}},
    }


def endpoint_slice(
    number: int, pods: range, namespace: str = "load", *, family: str = "IPv4", nodes: tuple[str, ...] = NODES
) -> Document:
    """The slice of `service-NUMBER` with one ready endpoint for each of these Pods; equal numbers, equal addresses.

    Pods are numbered across the cluster; they are spread over the nodes in turn.
    """
    base = _PODS if family == "IPv4" else _PODS_6
    labels = {
        "app": f"app-{number}",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "kubernetes.io/service-name": f"service-{number}",
    }
    owner = {"apiVersion": "v1", "kind": "Service", "name": f"service-{number}", "uid": f"uid-{number}"}
    name = f"service-{number}-{family.lower()}"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": True}],
        },
        "addressType": family,
        "endpoints": [
            {
                "addresses": [str(base + pod)],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "targetRef": {"kind": "Pod", "namespace": namespace, "name": f"pod-{pod}", "uid": f"pod-uid-{pod}"},
                "nodeName": nodes[pod % len(nodes)],
                "zone": "zone-a",
            }
            for pod in pods
        ],
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
    }


def cluster(services: int, endpoints: int = 3, namespace: str = "load") -> Iterator[Document]:
    """Two Nodes, then so many Services, each followed by its slice of so many endpoints."""
    yield node("node-a", "192.0.2.11", pods=("10.244.1.0/24",))
    yield node("node-b", "192.0.2.12", zone="zone-b", pods=("10.244.2.0/24",))
    for number in range(services):
        yield service(number, namespace)
        yield endpoint_slice(number, range(number * endpoints, (number + 1) * endpoints), namespace)
