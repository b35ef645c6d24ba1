"""What is kept of the objects of a cluster: what is read of them, and equal parts of many only once.

10,000 slices with 10 endpoints each name a few hundred nodes and know a handful of conditions; decoded one by one they
are 100,000 of each. All of these are immutable values, so nobody can tell. Labels, annotations and selectors are nearly
all for somebody else; an annotation may be longer than the rest of its object.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar, cast

from msgspec.structs import force_setattr

from nftsvc.decode import build_scalar
from nftsvc.objects import (
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    LABEL_SERVICE_NAME,
    EndpointSlice,
    KubernetesObject,
    Service,
)
from nftsvc.selectors import topology_mode_auto
from nftsvc.values import Address, ClusterIP, OptionalAddress, Prefix, Subdomain, Timestamp

# Beyond this it forgets: values that no object has any more must not stay for ever.
_MOST_VALUES = 10_000

_READ_LABELS = frozenset((LABEL_HEADLESS, LABEL_PROXY_NAME, LABEL_SERVICE_NAME))
_HARDLY_REPEATED = frozenset((ClusterIP, OptionalAddress, Prefix, Subdomain, Timestamp))

_Value = TypeVar("_Value")


class Sharing:
    """Remembers values and gives the same one for equal ones."""

    def __init__(self) -> None:
        self._scalar = lru_cache(_MOST_VALUES, typed=True)(build_scalar)
        self._values: dict[object, object] = {}

    def scalar(self, kind: type, value: object) -> object:
        """Make a value of `nftsvc.values`, as `decode.build_scalar` does; for msgspec's dec_hook.

        Words, numbers, namespaces and names of ports are made once; addresses and names of objects hardly repeat.
        TypeError for what is no value at all (a list, a mapping).
        """
        if kind is Address:  # most values of all
            return Address.parse(value)
        return build_scalar(kind, value) if kind in _HARDLY_REPEATED else self._scalar(kind, value)

    def kept(self, value: KubernetesObject) -> KubernetesObject:
        """Return a freshly decoded object without what nobody reads, its repeated parts shared with others.

        The object must be new: it is changed. Of Services and slices these stay: labels with a meaning, annotations
        for topology-aware routing and the trigger of a change. In a cluster nobody asks for a selector, since it is
        the control plane that makes slices.
        """
        if len(self._values) >= _MOST_VALUES:
            self._values.clear()
        if isinstance(value, EndpointSlice):
            self._keep_slice(value)
        elif isinstance(value, Service):
            self._keep_service(value)
        return value

    def _keep_slice(self, value: EndpointSlice) -> None:
        once = self._values.setdefault
        for endpoint in value.endpoints or ():
            for field in ("node_name", "conditions", "hints"):
                part = getattr(endpoint, field)
                if part is not None:
                    force_setattr(endpoint, field, once(part, part))
        if value.ports is not None:
            force_setattr(value, "ports", self._once(value.ports))
        force_setattr(value.metadata, "labels", _read(value.metadata.labels))
        force_setattr(value.metadata, "creation_timestamp", None)

    def _keep_service(self, value: Service) -> None:
        if value.metadata.annotations is not None and not topology_mode_auto(value):
            force_setattr(value.metadata, "annotations", None)
        force_setattr(value.metadata, "labels", _read(value.metadata.labels))
        spec = value.spec
        if spec is not None:
            force_setattr(spec, "selector", None)
            force_setattr(spec, "ip_families", self._once(spec.ip_families))
            if spec.cluster_ips and spec.cluster_ips[0] == spec.cluster_ip:
                force_setattr(spec, "cluster_ip", spec.cluster_ips[0])

    def _once(self, value: _Value) -> _Value:
        return cast("_Value", self._values.setdefault(value, value))


def _read(labels: Mapping[str, str] | None) -> dict[str, str] | None:
    """Return those labels that mean something to us, None if there are none."""
    return {name: one for name, one in (labels or {}).items() if name in _READ_LABELS} or None
