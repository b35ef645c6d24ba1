"""EndpointSlice and Endpoints, as decoded."""

from nftsvc.objects.meta import LABEL_SERVICE_NAME, Object, SliceMeta, Wire
from nftsvc.values import Address, Family, Label, Port, Protocol


class EndpointConditions(Wire, frozen=True):
    """`endpoints[].conditions`; unset means ready, serving, not terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Hint(Wire, frozen=True):
    """`endpoints[].hints.forZones[]` and `forNodes[]`."""

    name: str = ""


class EndpointHints(Wire, frozen=True):
    """`endpoints[].hints`: the zones and nodes whose clients the endpoint is for (KEP-2433, KEP-3015)."""

    for_zones: tuple[Hint, ...] | None = None
    for_nodes: tuple[Hint, ...] | None = None


class SliceEndpoint(Wire, frozen=True):
    """`endpoints[]` of an EndpointSlice."""

    addresses: tuple[Address, ...] | None = None
    conditions: EndpointConditions | None = None
    node_name: str | None = None
    hints: EndpointHints | None = None

    @property
    def ready(self) -> bool:
        """Whether the endpoint takes new connections."""
        return self.conditions is None or self.conditions.ready is not False

    @property
    def serving(self) -> bool:
        """Whether the endpoint answers; one that is ready does, whatever else it says."""
        return self.ready or self.conditions is None or self.conditions.serving is not False

    @property
    def draining(self) -> bool:
        """Whether the endpoint is going away but still answers: terminating and serving."""
        return (
            self.conditions is not None and self.conditions.terminating is True and self.conditions.serving is not False
        )


class EndpointPort(Wire, frozen=True):
    """`ports[]` of an EndpointSlice and `subsets[].ports[]` of Endpoints."""

    name: Label | None = None
    protocol: Protocol | None = None
    port: Port | None = None


class EndpointSlice(Object, frozen=True):
    """An EndpointSlice: some endpoints of one Service in one family, all with the same ports."""

    KIND = "EndpointSlice"
    API_VERSION = "discovery.k8s.io/v1"

    metadata: SliceMeta = SliceMeta()
    address_type: Family | None = None
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    @property
    def service_name(self) -> str:
        """The Service that the slice belongs to (label kubernetes.io/service-name), or ""."""
        return self.labels.get(LABEL_SERVICE_NAME, "")


class EndpointAddress(Wire, frozen=True):
    """`subsets[].addresses[]` of Endpoints."""

    ip: Address | None = None
    node_name: str | None = None


class EndpointSubset(Wire, frozen=True):
    """`subsets[]` of Endpoints."""

    addresses: tuple[EndpointAddress, ...] | None = None
    not_ready_addresses: tuple[EndpointAddress, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None


class Endpoints(Object, frozen=True):
    """An Endpoints object: the older form, one per Service, both families in one."""

    KIND = "Endpoints"

    subsets: tuple[EndpointSubset, ...] | None = None
