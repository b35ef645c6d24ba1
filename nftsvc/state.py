"""All that is known of the cluster, indexed the way the plan asks for it.

In: decoded objects, in any order, all at once (`State.of`) or as events (`State.apply`), which says what they touch.
What is in it does not depend on the order in which it came. Next in the route: `nftsvc.selectors` and
`nftsvc.endpoints`, which answer what a Service's endpoints are.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from nftsvc.errors import ObjectRef
from nftsvc.events import Event, Put, Removed, Replaced
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
_Key = TypeVar("_Key")


class ServiceKey(NamedTuple):
    """What a Service is known by."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Write `namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Touched:
    """What events may have changed: Services to look at anew; `node`: what the settings are made of.

    `everything` means all Services: something changed that any of them may depend on.
    """

    services: frozenset[ServiceKey] = frozenset()
    node: bool = False
    everything: bool = False

    def __or__(self, other: "Touched") -> "Touched":
        """Return both."""
        return Touched(self.services | other.services, self.node or other.node, self.everything or other.everything)

    def __bool__(self) -> bool:
        """Whether anything is touched."""
        return bool(self.services or self.node or self.everything)


NOTHING = Touched()
_NODE = Touched(node=True)
_Name = tuple[str, str]
_Label = tuple[str, str, str]  # namespace, key, value


class State:
    """Services by key, Endpoints by the Service they belong to, Pods by namespace and name, Nodes by name.

    `zones` are those of the Nodes; `configurations` are by the name of their node, "" for any. Slices without the label
    that names their Service are left out: they belong to nobody (Kubernetes: kubernetes.io/service-name).
    """

    def __init__(self) -> None:
        self.services: dict[ServiceKey, Service] = {}
        self.endpoints: dict[ServiceKey, Endpoints] = {}
        self.nodes: dict[str, Node] = {}
        self.configurations: dict[str, NodeConfiguration] = {}
        self._slices: dict[ServiceKey, dict[str, EndpointSlice]] = {}
        self._service_of_slice: dict[_Name, ServiceKey] = {}
        self._pods: dict[str, dict[str, Pod]] = {}
        self._labelled: dict[_Label, dict[str, Pod]] = {}
        self._cidrs: dict[str, ServiceCIDR] = {}
        self._selecting: dict[_Label, dict[str, None]] = {}
        self._label_of: dict[ServiceKey, _Label] = {}

    @classmethod
    def of(cls, objects: Iterable[KubernetesObject]) -> "State":
        """Index the objects; of two with the same kind, namespace and name the later counts."""
        state = cls()
        for one in objects:
            state._put(one)
        return state

    @property
    def zones(self) -> Mapping[str, str]:
        """The zone of each Node, "" for one that does not say."""
        return {name: node.zone for name, node in self.nodes.items()}

    @property
    def service_cidrs(self) -> tuple[Prefix, ...]:
        """The networks of all ServiceCIDRs."""
        specs = [one.spec for one in _by_name(self._cidrs) if one.spec is not None]
        return tuple(prefix for spec in specs for prefix in spec.cidrs or ())

    @property
    def pods(self) -> Mapping[str, tuple[Pod, ...]]:
        """The Pods of each namespace, sorted by name."""
        return {namespace: _by_name(group) for namespace, group in self._pods.items()}

    def slices(self, key: ServiceKey) -> tuple[EndpointSlice, ...]:
        """Return the slices of a Service, sorted by name; none where there are none."""
        return _by_name(self._slices.get(key, {}))

    def candidates(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """Return the Pods of a namespace that may match a selector: those with the rarest of its labels."""
        groups = (self._labelled.get((namespace, key, value), {}) for key, value in selector.items())
        return _by_name(min(groups, key=len, default={}))

    # Events ----------------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> Touched:
        """Take in what happened and say what it touches; an event that changes nothing touches nothing."""
        match event:
            case Put():
                return self._put(event.object)
            case Removed():
                return self._remove(event.ref)
            case Replaced():
                return self._replace(event)

    def _replace(self, event: Replaced) -> Touched:
        touched = NOTHING
        there = {one.ref for one in event.objects}
        services: set[ServiceKey] = set()
        for part in (
            *(self._remove(ref) for ref in self._known(event.kind) if ref not in there),
            *map(self._put, event.objects),
        ):
            services |= part.services
            touched = Touched(node=touched.node or part.node, everything=touched.everything or part.everything)
        return Touched(frozenset(services), touched.node, touched.everything)

    def _known(self, kind: type[KubernetesObject]) -> list[ObjectRef]:
        """Return what there is of a kind."""
        names: Iterable[_Name]
        if kind is Service:
            names = self.services
        elif kind is Endpoints:
            names = self.endpoints
        elif kind is EndpointSlice:
            names = self._service_of_slice
        elif kind is Pod:
            names = [(namespace, name) for namespace, group in self._pods.items() for name in group]
        else:
            of_kind: dict[type[KubernetesObject], Iterable[str]] = {
                Node: self.nodes,
                NodeConfiguration: self.configurations,
                ServiceCIDR: self._cidrs,
            }
            names = [("", name) for name in of_kind[kind]]
        return [ObjectRef(kind.KIND, namespace, name) for namespace, name in names]

    def _put(self, one: KubernetesObject) -> Touched:
        touched = NOTHING
        match one:
            case Service():
                touched = self._put_service(one)
            case EndpointSlice():
                touched = self._put_slice(one)
            case Endpoints():
                key = ServiceKey(one.namespace, one.name)
                touched = _if(_set(self.endpoints, key, one), Touched(frozenset((key,))))
            case Pod():
                touched = self._put_pod(one.namespace, one.name, one)
            case Node():
                moved = self.nodes.get(one.name) is None or self.nodes[one.name].zone != one.zone
                touched = _if(_set(self.nodes, one.name, one), Touched(node=True, everything=moved))
            case NodeConfiguration():
                touched = _if(_set(self.configurations, one.name, one), _NODE)
            case ServiceCIDR():
                touched = _if(_set(self._cidrs, one.name, one), _NODE)
        return touched

    def _remove(self, ref: ObjectRef) -> Touched:
        name = (ref.namespace, ref.name)
        key = ServiceKey(*name)
        touched = NOTHING
        match ref.kind:
            case Service.KIND:
                self._file(key, {})
                touched = _if(self.services.pop(key, None) is not None, Touched(frozenset((key,))))
            case EndpointSlice.KIND:
                touched = self._drop_slice(name)
            case Endpoints.KIND:
                touched = _if(self.endpoints.pop(key, None) is not None, Touched(frozenset((key,))))
            case Pod.KIND:
                touched = self._put_pod(*name, None)
            case Node.KIND:
                touched = _if(self.nodes.pop(ref.name, None) is not None, Touched(node=True, everything=True))
            case NodeConfiguration.KIND:
                touched = _if(self.configurations.pop(ref.name, None) is not None, _NODE)
            case ServiceCIDR.KIND:
                touched = _if(self._cidrs.pop(ref.name, None) is not None, _NODE)
            case _:
                pass
        return touched

    def _put_service(self, service: Service) -> Touched:
        key = ServiceKey(service.namespace, service.name)
        self._file(key, (service.spec.selector if service.spec is not None else None) or {})
        return _if(_set(self.services, key, service), Touched(frozenset((key,))))

    def _put_slice(self, one: EndpointSlice) -> Touched:
        name = (one.namespace, one.name)
        key = ServiceKey(one.namespace, one.service_name)
        before = self._service_of_slice.get(name)
        left = self._drop_slice(name) if before is not None and before != key else NOTHING
        if not one.service_name:
            return left
        self._service_of_slice[name] = key
        changed = _set(self._slices.setdefault(key, {}), one.name, one)
        return left | Touched(frozenset((key,))) if changed else left

    def _drop_slice(self, name: _Name) -> Touched:
        key = self._service_of_slice.pop(name, None)
        if key is None:
            return NOTHING
        _take_out(self._slices, key, name[1])
        return Touched(frozenset((key,)))

    def _put_pod(self, namespace: str, name: str, pod: Pod | None) -> Touched:
        """Put a Pod, or take it out, and say which Services choose it or have chosen it."""
        before = self._pods.get(namespace, {}).get(name)
        if pod == before:
            return NOTHING
        for label in before.labels.items() if before is not None else ():
            _take_out(self._labelled, (namespace, *label), name)
        _take_out(self._pods, namespace, name)
        if pod is not None:
            self._pods.setdefault(namespace, {})[name] = pod
            for key, value in pod.labels.items():
                self._labelled.setdefault((namespace, key, value), {})[name] = pod
        labels = [one.labels for one in (before, pod) if one is not None]
        return Touched(frozenset(key for one in labels for key in self._choosing(namespace, one)))

    def _file(self, key: ServiceKey, selector: Mapping[str, str]) -> None:
        """File a Service under one of its selector's labels, all of which its Pods have: the one with fewest so far."""
        before = self._label_of.pop(key, None)
        if before is not None:
            _take_out(self._selecting, before, key.name)
        labels = [(key.namespace, *item) for item in selector.items()]
        if labels:
            label = self._label_of[key] = min(labels, key=lambda one: len(self._selecting.get(one, ())))
            self._selecting.setdefault(label, {})[key.name] = None

    def _choosing(self, namespace: str, labels: Mapping[str, str]) -> Iterator[ServiceKey]:
        """Yield the Services that choose a Pod with such labels."""
        for item in labels.items():
            for name in self._selecting.get((namespace, *item), ()):
                key = ServiceKey(namespace, name)
                spec = self.services[key].spec
                if spec is not None and (spec.selector or {}).items() <= labels.items():
                    yield key


def _if(changed: bool, touched: Touched) -> Touched:  # noqa: FBT001 - reads as a sentence
    return touched if changed else NOTHING


def _set(group: dict[_Key, _Item], key: _Key, value: _Item) -> bool:
    """Put a value into a group; tell whether that changes it."""
    if group.get(key) == value:
        return False
    group[key] = value
    return True


def _take_out(groups: dict[_Key, dict[str, _Item]], key: _Key, name: str) -> None:
    """Take a name out of a group, if it is there, and the group where that was all of it."""
    group = groups.get(key, {})
    group.pop(name, None)
    if not group:
        groups.pop(key, None)


def _by_name(group: Mapping[str, _Item]) -> tuple[_Item, ...]:
    return tuple(group[name] for name in sorted(group))
