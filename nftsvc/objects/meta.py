"""What every object has, and the labels that mean something."""

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from nftsvc.errors import ObjectRef
from nftsvc.values import Label, Protocol, Subdomain, Timestamp

TCP = Protocol("TCP")

LABEL_SERVICE_NAME = "kubernetes.io/service-name"
LABEL_PROXY_NAME = "service.kubernetes.io/service-proxy-name"
LABEL_HEADLESS = "service.kubernetes.io/headless"
LABEL_ZONE = "topology.kubernetes.io/zone"

ANNOTATION_LINT_IGNORE = "nftsvc/lint-ignore"


class Wire(msgspec.Struct, frozen=True, rename="camel", kw_only=True, gc=False):
    """Anything inside an object.

    Frozen, so never part of a cycle: the garbage collector need not look at one (subclasses inherit that).
    """


class ObjectMeta(Wire, frozen=True):
    """`metadata`."""

    name: Subdomain = Subdomain("")
    namespace: Label = Label("")
    labels: dict[str, str] | None = None
    creation_timestamp: Timestamp | None = None
    deletion_timestamp: Timestamp | None = None


class AnnotatedMeta(ObjectMeta, frozen=True):
    """`metadata` where annotations matter."""

    annotations: dict[str, str] | None = None


class SliceAnnotations(Wire, frozen=True):
    """The annotations of a slice that are read: when what caused its last change happened; what lint shall ignore."""

    trigger_time: str | None = msgspec.field(default=None, name="endpoints.kubernetes.io/last-change-trigger-time")
    lint_ignore: str | None = msgspec.field(default=None, name=ANNOTATION_LINT_IGNORE)


class SliceMeta(ObjectMeta, frozen=True):
    """`metadata` of an EndpointSlice."""

    annotations: SliceAnnotations | None = None


class Object(Wire, frozen=True):
    """A whole object; KIND and API_VERSION say which manifests decode to it.

    A STRICT kind has no other fields than those that are declared, neither itself nor its `spec`.
    """

    KIND: ClassVar[str]
    API_VERSION: ClassVar[str] = "v1"
    NAMESPACED: ClassVar[bool] = True
    STRICT: ClassVar[bool] = False

    metadata: ObjectMeta = ObjectMeta()

    @property
    def namespace(self) -> str:
        """The object's namespace; `default` where a manifest leaves it out; "" for cluster-wide kinds."""
        return (self.metadata.namespace or "default") if self.NAMESPACED else ""

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.metadata.name

    @property
    def labels(self) -> Mapping[str, str]:
        """`metadata.labels`."""
        return self.metadata.labels or {}

    @property
    def ref(self) -> ObjectRef:
        """Kind, namespace and name: what messages and indexes know the object by."""
        return ObjectRef(self.KIND, self.namespace, self.name)
