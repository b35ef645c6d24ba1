"""Pod, as decoded."""

import msgspec

from nftsvc.objects.meta import Object, Wire
from nftsvc.values import OptionalAddress, Port, Protocol


class ContainerPort(Wire, frozen=True):
    """`spec.containers[].ports[]`."""

    name: str | None = None
    container_port: Port | None = None
    protocol: Protocol | None = None


class Container(Wire, frozen=True):
    """`spec.containers[]` and `spec.initContainers[]`."""

    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str | None = None


class PodSpec(Wire, frozen=True):
    """`spec` of a Pod."""

    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None
    node_name: str | None = None


class Condition(Wire, frozen=True):
    """`status.conditions[]`."""

    type: str = ""
    status: str = ""


class PodIP(Wire, frozen=True):
    """`status.podIPs[]`."""

    ip: OptionalAddress | None = None


class PodStatus(Wire, frozen=True):
    """`status` of a Pod."""

    phase: str | None = None
    conditions: tuple[Condition, ...] | None = None
    pod_ip: OptionalAddress | None = msgspec.field(default=None, name="podIP")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(default=None, name="podIPs")


class Pod(Object, frozen=True):
    """A Pod: read where the input has no slices, to find a Service's endpoints by its selector."""

    KIND = "Pod"

    spec: PodSpec | None = None
    status: PodStatus | None = None
