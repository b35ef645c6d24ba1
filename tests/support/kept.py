"""What a cluster's source keeps of an object: nothing that makes no difference to a node."""

from collections.abc import Mapping

from msgspec.structs import replace

from nftsvc.objects import EndpointSlice, KubernetesObject, Service

_LABELS = {
    "kubernetes.io/service-name",
    "service.kubernetes.io/headless",
    "service.kubernetes.io/service-proxy-name",
}
_TOPOLOGY = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")


def kept(value: KubernetesObject | None) -> KubernetesObject | None:
    """Return a whole object as a source delivers it."""
    if isinstance(value, EndpointSlice):
        labels = _meaningful(value.metadata.labels)
        return replace(value, metadata=replace(value.metadata, labels=labels, creation_timestamp=None))
    if isinstance(value, Service):
        annotations = value.metadata.annotations or {}
        modes = [annotations[name] for name in _TOPOLOGY if name in annotations]
        metadata = replace(
            value.metadata,
            labels=_meaningful(value.metadata.labels),
            annotations=annotations if modes[:1] in (["Auto"], ["auto"]) else None,
        )
        spec = replace(value.spec, selector=None) if value.spec is not None else None
        return replace(value, metadata=metadata, spec=spec)
    return value


def _meaningful(labels: Mapping[str, str] | None) -> dict[str, str] | None:
    return {name: one for name, one in (labels or {}).items() if name in _LABELS} or None
