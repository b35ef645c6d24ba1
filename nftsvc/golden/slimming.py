"""Objects as manifests again, with nothing in them that nftsvc does not read.

In: decoded objects. Out: YAML, one document for each, by kind, namespace and name. What is in no field of
`nftsvc.objects` cannot get through, as it was never decoded: environments, commands, images, annotations of Pods. Of
what is in them, this leaves out what makes no difference to a ruleset: labels without a meaning on anything but Pods,
annotations but the one for topology-aware routing, containers without ports, conditions of Pods but Ready, names among
the addresses of Nodes, taints, times but that of a Service's creation and of a Pod's deletion.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import TypeVar, cast

import msgspec
from msgspec.structs import replace

from nftsvc.golden.yaml_text import Plain, yaml_text
from nftsvc.objects import (
    KINDS,
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    LABEL_SERVICE_NAME,
    LABEL_ZONE,
    NODE_IP_TYPES,
    AnnotatedMeta,
    Container,
    KubernetesObject,
    Node,
    ObjectMeta,
    Pod,
    Service,
    SliceMeta,
)
from nftsvc.selectors import topology_mode_auto
from nftsvc.values import NodePortAddress, Prefix, TargetPort, Timestamp

_LABELS = (LABEL_SERVICE_NAME, LABEL_PROXY_NAME, LABEL_HEADLESS, LABEL_ZONE)
_AUTO = {"service.kubernetes.io/topology-mode": "Auto"}
_SIDECAR = "Always"


def manifests(objects: Iterable[KubernetesObject]) -> str:
    """Return objects as YAML documents."""
    ordered = sorted(objects, key=lambda one: (KINDS.index(type(one)), one.namespace, one.name))
    return "---\n".join(yaml_text(document(one)) for one in ordered)


def document(one: KubernetesObject) -> dict[str, Plain]:
    """Return an object as a document, under Kubernetes' names, without fields that are as if left out."""
    fields = cast("dict[str, Plain]", _plain(slim(one)))
    return {"apiVersion": one.API_VERSION, "kind": one.KIND, **fields}


def _plain(value: object) -> Plain:
    match value:
        case msgspec.Struct():
            known = msgspec.structs.fields(value)
            given = ((field, getattr(value, field.name)) for field in known)
            return {field.encode_name: _plain(one) for field, one in given if one != field.default}
        case dict():
            return {str(key): _plain(one) for key, one in sorted(value.items())}
        case tuple():
            return [_plain(one) for one in value]
        case _:
            return _scalar(value)


def _scalar(value: object) -> str | int | bool | None:
    match value:
        case TargetPort() if value.isdigit():
            return int(value)
        case Prefix() | NodePortAddress():
            return _network(value)
        case Timestamp():
            return datetime.fromisoformat(value).isoformat().replace("+00:00", "Z")
        case bool() | None:
            return value
        case int():
            return int(value)
        case _:
            return str(value)


def _network(written: Prefix | NodePortAddress) -> str:
    """Return a network as Kubernetes has it, which is with a length; or a word as it is."""
    network = written if isinstance(written, Prefix) else written.network
    return str(written) if network is None or "/" in network else f"{network}/{network.length}"


# What makes no difference --------------------------------------------------------------------------------------------


def slim(one: KubernetesObject) -> KubernetesObject:
    """Return an object without what makes no difference to any ruleset."""
    match one:
        case Service():
            metadata = replace(
                _slim_metadata(one.metadata),
                creation_timestamp=one.metadata.creation_timestamp,
                annotations=_AUTO if topology_mode_auto(one) else None,
            )
            return replace(one, metadata=metadata)
        case Pod():
            return _slim_pod(one)
        case Node():
            return _slim_node(one)
        case _:
            return replace(one, metadata=_slim_metadata(one.metadata))


_Meta = TypeVar("_Meta", bound=ObjectMeta)


def _slim_metadata(metadata: _Meta) -> _Meta:
    labels = {name: value for name, value in (metadata.labels or {}).items() if name in _LABELS}
    kept = replace(metadata, labels=labels or None, creation_timestamp=None, deletion_timestamp=None)
    return replace(kept, annotations=None) if isinstance(kept, (AnnotatedMeta, SliceMeta)) else kept


def _slim_pod(pod: Pod) -> Pod:
    spec, status = pod.spec, pod.status
    if spec is not None:
        sidecars = [one for one in spec.init_containers or () if one.restart_policy == _SIDECAR]
        spec = replace(
            spec,
            containers=_with_ports(replace(one, restart_policy=None) for one in spec.containers or ()),
            init_containers=_with_ports(sidecars),
        )
    if status is not None:
        ready = tuple(one for one in status.conditions or () if one.type == "Ready")
        status = replace(status, conditions=ready or None)
    metadata = replace(
        _slim_metadata(pod.metadata),
        labels=pod.metadata.labels,
        deletion_timestamp=pod.metadata.deletion_timestamp,
    )
    return replace(pod, metadata=metadata, spec=spec, status=status)


def _with_ports(containers: Iterable[Container]) -> tuple[Container, ...] | None:
    return tuple(one for one in containers if one.ports) or None


def _slim_node(node: Node) -> Node:
    spec, status = node.spec, node.status
    if spec is not None:
        spec = replace(spec, taints=None)
    if status is not None:
        status = replace(status, addresses=tuple(one for one in status.addresses or () if one.type in NODE_IP_TYPES))
    return replace(node, metadata=_slim_metadata(node.metadata), spec=spec, status=status)
