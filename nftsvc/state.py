"""All that is known of the cluster, indexed the way the plan asks for it.

In: decoded objects, in any order, all at once (`State.of`) or as events (`State.apply`), which says what they touch.
What is in it does not depend on the order in which it came. Next in the route: `nftsvc.selectors` and
`nftsvc.endpoints`, which answer what a Service's endpoints are.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

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
from nftsvc.pods import PodIndex
from nftsvc.values import Prefix, ServiceKey

__all__ = ["NOTHING", "ServiceKey", "State", "Touched"]

_Item = TypeVar("_Item")
_Key = TypeVar("_Key")


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
_Name = tuple[str, str]


class _Touching:
    """What is touched so far, while events are taken in."""

    __slots__ = ("everything", "node", "services")

    def __init__(self) -> None:
        self.services: set[ServiceKey] = set()
        self.node = self.everything = False

    def said(self) -> Touched:
        if self.services or self.node or self.everything:
            return Touched(frozenset(self.services), self.node, self.everything)
        return NOTHING


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
        self._slices: dict[ServiceKey, tuple[EndpointSlice, ...]] = {}
        self._service_of_slice: dict[_Name, ServiceKey] = {}
        self._pods = PodIndex()
        self._cidrs: dict[str, ServiceCIDR] = {}

    @classmethod
    def of(cls, objects: Iterable[KubernetesObject]) -> "State":
        """Index the objects; of two with the same kind, namespace and name the later counts."""
        state = cls()
        touching = _Touching()
        for one in objects:
            state._put(one, touching)
        return state

    @property
    def zones(self) -> Mapping[str, str]:
        """The zone of each Node, "" for one that does not say."""
        return {name: node.zone for name, node in self.nodes.items()}

    @property
    def service_cidrs(self) -> tuple[Prefix, ...]:
        """The networks of all ServiceCIDRs."""
        specs = [one.spec for _, one in sorted(self._cidrs.items()) if one.spec is not None]
        return tuple(prefix for spec in specs for prefix in spec.cidrs or ())

    @property
    def pods(self) -> Mapping[str, tuple[Pod, ...]]:
        """The Pods of each namespace, sorted by name."""
        return self._pods.by_namespace

    def slices(self, key: ServiceKey) -> tuple[EndpointSlice, ...]:
        """Return the slices of a Service, sorted by name; none where there are none."""
        return self._slices.get(key, ())

    def candidates(self, namespace: str, selector: Mapping[str, str]) -> tuple[Pod, ...]:
        """Return the Pods of a namespace that may match a selector: those with the rarest of its labels."""
        return self._pods.candidates(namespace, selector)

    # Events ----------------------------------------------------------------------------------------------------------

    def apply(self, event: Event) -> Touched:
        """Take in what happened and say what it touches; an event that changes nothing touches nothing."""
        touching = _Touching()
        match event:
            case Put():
                self._put(event.object, touching)
            case Removed():
                self._remove(event.ref, touching)
            case Replaced():
                self._replace(event, touching)
        return touching.said()

    def _replace(self, event: Replaced, touching: _Touching) -> None:
        kind = event.kind
        known = self._known(kind)
        there = {(one.namespace, one.name) for one in event.objects} if known else ()
        for name in [one for one in known if one not in there]:
            self._remove(ObjectRef(kind.KIND, *name), touching)
        for one in event.objects:
            self._put(one, touching)

    def _known(self, kind: type[KubernetesObject]) -> Collection[_Name]:
        """Return what there is of a kind: namespace and name of each."""
        if kind is Service:
            return self.services
        if kind is Endpoints:
            return self.endpoints
        if kind is EndpointSlice:
            return self._service_of_slice
        if kind is Pod:
            return self._pods.names
        of_kind: dict[type[KubernetesObject], Iterable[str]] = {
            Node: self.nodes,
            NodeConfiguration: self.configurations,
            ServiceCIDR: self._cidrs,
        }
        return [("", name) for name in of_kind[kind]]

    def _put(self, one: KubernetesObject, touching: _Touching) -> None:
        match one:
            case Service():
                self._put_service(one, touching)
            case EndpointSlice():
                self._put_slice(one, touching)
            case Endpoints():
                key = ServiceKey(one.namespace, one.name)
                if _set(self.endpoints, key, one):
                    touching.services.add(key)
            case Pod():
                touching.services.update(self._pods.put(one.namespace, one.name, one, self.services))
            case Node():
                before = self.nodes.get(one.name)
                if _set(self.nodes, one.name, one):
                    touching.node = True
                    touching.everything |= before is None or before.zone != one.zone
            case NodeConfiguration():
                touching.node |= _set(self.configurations, one.name, one)
            case ServiceCIDR():
                touching.node |= _set(self._cidrs, one.name, one)

    def _remove(self, ref: ObjectRef, touching: _Touching) -> None:
        key = ServiceKey(ref.namespace, ref.name)
        match ref.kind:
            case Service.KIND:
                self._pods.forget(key)
                if self.services.pop(key, None) is not None:
                    touching.services.add(key)
            case EndpointSlice.KIND:
                self._drop_slice(key, touching)
            case Endpoints.KIND:
                if self.endpoints.pop(key, None) is not None:
                    touching.services.add(key)
            case Pod.KIND:
                touching.services.update(self._pods.put(ref.namespace, ref.name, None, self.services))
            case Node.KIND:
                if self.nodes.pop(ref.name, None) is not None:
                    touching.node = touching.everything = True
            case NodeConfiguration.KIND | ServiceCIDR.KIND:
                group: dict[str, Any] = self.configurations if ref.kind == NodeConfiguration.KIND else self._cidrs
                touching.node |= group.pop(ref.name, None) is not None
            case _:
                pass

    def _put_service(self, service: Service, touching: _Touching) -> None:
        key = ServiceKey(service.namespace, service.name)
        if _set(self.services, key, service):
            self._pods.file(key, service)
            touching.services.add(key)

    def _put_slice(self, one: EndpointSlice, touching: _Touching) -> None:
        namespace, service = one.namespace, one.service_name
        key, name = ServiceKey(namespace, service), (namespace, one.name)
        before = self._service_of_slice.get(name)
        if before is not None and before != key:
            self._drop_slice(name, touching)
            before = None
        if not service:
            return
        held = self._slices.get(key, ())
        if before is None:
            self._service_of_slice[name] = key
        else:
            if one in held:
                return
            held = tuple(each for each in held if each.name != one.name)
        self._slices[key] = tuple(sorted((*held, one), key=_name)) if held else (one,)
        touching.services.add(key)

    def _drop_slice(self, name: _Name, touching: _Touching) -> None:
        key = self._service_of_slice.pop(name, None)
        if key is not None:
            rest = tuple(one for one in self._slices.pop(key) if one.name != name[1])
            if rest:
                self._slices[key] = rest
            touching.services.add(key)


def _name(one: EndpointSlice) -> str:
    return one.name


def _set(group: dict[_Key, _Item], key: _Key, value: _Item) -> bool:
    """Put a value into a group; tell whether that changes it."""
    if group.get(key) == value:
        return False
    group[key] = value
    return True
