"""All that is known of the cluster, indexed the way the plan asks for it.

In: decoded objects, in any order. Out: an immutable State whose contents do not depend on that order. Next in the
route: `nftsvc.selectors` and `nftsvc.endpoints`, which answer what a Service's endpoints are.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from nftsvc.objects import (
    Endpoints,
    EndpointSlice,
    KubernetesObject,
    Node,
    NodeConfiguration,
    Pod,
    Service,
    ServiceCIDR,
)
from nftsvc.values import Prefix

_Item = TypeVar("_Item")


class ServiceKey(NamedTuple):
    """What a Service is known by."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Write `namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class State:
    """Services by key; slices and Endpoints by the Service they belong to; Pods by namespace; Nodes by name.

    `zones` are those of the Nodes. `configurations` are by the name of their node, "" for any; `service_cidrs` are
    those of all ServiceCIDRs. Slices and Pods are sorted by name. Slices without the label that names their Service are
    left out: they belong to nobody (Kubernetes: kubernetes.io/service-name).
    """

    services: Mapping[ServiceKey, Service]
    slices: Mapping[ServiceKey, tuple[EndpointSlice, ...]]
    endpoints: Mapping[ServiceKey, Endpoints]
    pods: Mapping[str, tuple[Pod, ...]]
    nodes: Mapping[str, Node]
    zones: Mapping[str, str]
    configurations: Mapping[str, NodeConfiguration]
    service_cidrs: tuple[Prefix, ...]
    _labelled: Mapping[tuple[str, str, str], tuple[Pod, ...]]

    def candidates(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """Return the Pods of a namespace that may match a selector: those with the rarest of its labels."""
        groups = (self._labelled.get((namespace, key, value), ()) for key, value in selector.items())
        return min(groups, key=len, default=())

    @classmethod
    def of(cls, objects: Iterable[KubernetesObject]) -> "State":
        """Index the objects; of two with the same kind, namespace and name the later counts."""
        services: dict[ServiceKey, Service] = {}
        slices: dict[ServiceKey, dict[str, EndpointSlice]] = defaultdict(dict)
        endpoints: dict[ServiceKey, Endpoints] = {}
        pods: dict[str, dict[str, Pod]] = defaultdict(dict)
        nodes: dict[str, Node] = {}
        configurations: dict[str, NodeConfiguration] = {}
        cidrs: dict[str, ServiceCIDR] = {}
        for one in objects:
            match one:
                case Service():
                    services[ServiceKey(one.namespace, one.name)] = one
                case EndpointSlice() if one.service_name:
                    slices[ServiceKey(one.namespace, one.service_name)][one.name] = one
                case EndpointSlice():
                    pass
                case Endpoints():
                    endpoints[ServiceKey(one.namespace, one.name)] = one
                case Pod():
                    pods[one.namespace][one.name] = one
                case Node():
                    nodes[one.name] = one
                case NodeConfiguration():
                    configurations[one.name] = one
                case ServiceCIDR():
                    cidrs[one.name] = one
        return cls(
            services=dict(sorted(services.items())),
            slices={key: _by_name(group) for key, group in slices.items()},
            endpoints=endpoints,
            pods={namespace: _by_name(group) for namespace, group in pods.items()},
            nodes=dict(sorted(nodes.items())),
            zones={name: node.zone for name, node in nodes.items()},
            configurations=dict(sorted(configurations.items())),
            service_cidrs=tuple(
                prefix for one in _by_name(cidrs) for prefix in (one.spec.cidrs if one.spec is not None else None) or ()
            ),
            _labelled=_by_label(pods),
        )


def _by_label(pods: Mapping[str, Mapping[str, Pod]]) -> dict[tuple[str, str, str], tuple[Pod, ...]]:
    labelled: dict[tuple[str, str, str], list[Pod]] = defaultdict(list)
    for namespace, group in pods.items():
        for pod in _by_name(group):
            for key, value in pod.labels.items():
                labelled[namespace, key, value].append(pod)
    return {label: tuple(group) for label, group in labelled.items()}


def _by_name(group: Mapping[str, _Item]) -> tuple[_Item, ...]:
    return tuple(group[name] for name in sorted(group))
