"""The API server's bytes as objects: pages of lists, lines of watches.

In: bytes. Out: an Item for each object, good or bad; one that cannot be read never stands in the way of the others. The
fast way decodes an object straight to its struct; only what that refuses is decoded again, slowly, for exact problems.
"""

from dataclasses import dataclass
from enum import Enum, auto

import msgspec

from nftsvc.decode import decode
from nftsvc.errors import ObjectRef, Problem
from nftsvc.objects import KubernetesObject
from nftsvc.sources.cluster.faults import UNREADABLE, Status
from nftsvc.sources.cluster.sharing import Sharing
from nftsvc.validation import problems_of

# etcd takes objects of 1.5 MiB; as JSON they are a few times larger.
MOST_LINE = 64 * 1024 * 1024

Name = tuple[str, str]


class Garbled(Exception):
    """Bytes that are not what the API promises; the message is one line and quotes none of them."""


@dataclass(frozen=True, slots=True)
class Item:
    """What became of one object: a value, or problems, or neither where its form is not ours (FQDN slices)."""

    name: Name
    value: KubernetesObject | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, its objects still to be decoded; `token` asks for the next page, "" on the last one."""

    version: str
    token: str
    raws: tuple[msgspec.Raw, ...]


class EventType(Enum):
    """What a line of a watch says."""

    PUT = auto()
    REMOVED = auto()
    BOOKMARK = auto()
    ERROR = auto()


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch. `version` is how far the watch has come; `item` has no value where the object is gone."""

    type: EventType
    version: str = ""
    item: Item | None = None
    status: Status | None = None


_TYPES = {
    "ADDED": EventType.PUT,
    "MODIFIED": EventType.PUT,
    "DELETED": EventType.REMOVED,
    "BOOKMARK": EventType.BOOKMARK,
    "ERROR": EventType.ERROR,
}


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    kind: str = ""
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct, frozen=True):
    metadata: _Meta


class Lines:
    """Cuts a stream into its lines, wherever its chunks end; a line may be megabytes."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    @property
    def begun(self) -> bool:
        """Whether there is a line that has not ended yet."""
        return self._size > 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in this chunk, without empty ones; Garbled where one does not end at all."""
        first, *others = chunk.split(b"\n")
        self._parts.append(first)
        self._size += len(first)
        if self._size > MOST_LINE:
            raise Garbled(f"a line of more than {MOST_LINE >> 20} MiB")
        if not others:
            return []
        lines = [b"".join(self._parts), *others[:-1]]
        self._parts = [others[-1]]
        self._size = len(others[-1])
        return [line for line in lines if line.strip()]


class Decoder:
    """Decodes objects of one kind; what their values have in common is kept only once."""

    def __init__(self, kind: type[KubernetesObject]) -> None:
        self._kind = kind
        self._sharing = Sharing()
        self._page = msgspec.json.Decoder(_List)
        self._object: msgspec.json.Decoder[KubernetesObject] = msgspec.json.Decoder(kind, dec_hook=self._sharing.scalar)
        self._line = msgspec.json.Decoder(_Line)
        self._head = msgspec.json.Decoder(_Head)
        self._status = msgspec.json.Decoder(Status)

    def page(self, data: bytes) -> Page:
        """Take a page of a list apart; Garbled if it is none."""
        try:
            page = self._page.decode(data)
        except UNREADABLE:
            raise Garbled("the body is not a list") from None
        if page.kind not in {"", f"{self._kind.KIND}List"} or not page.metadata.resource_version:
            raise Garbled(f"the body is not a list of {self._kind.KIND}s")
        return Page(page.metadata.resource_version, page.metadata.continue_, tuple(page.items or ()))

    def item(self, raw: msgspec.Raw) -> Item:
        """Decode an object; those of lists have no apiVersion and kind of their own."""
        try:
            return self._checked(self._object.decode(raw))
        except UNREADABLE:
            return self._slowly(raw)

    def event(self, line: bytes) -> WatchEvent:
        """Decode a line of a watch; Garbled if it is none, or of a type that nobody knows."""
        try:
            said = self._line.decode(line)
            kind = _TYPES.get(said.type)
            if kind is EventType.ERROR:
                return WatchEvent(kind, status=self._status.decode(said.object))
            meta = self._head.decode(said.object).metadata
        except UNREADABLE:
            raise Garbled("a line that is not a watch event") from None
        if kind is None:
            raise Garbled("a watch event of a type that nobody knows")
        if kind is EventType.BOOKMARK:
            return WatchEvent(kind, meta.resource_version)
        if kind is EventType.REMOVED:
            return WatchEvent(kind, meta.resource_version, Item((meta.namespace, meta.name), None))
        return WatchEvent(kind, meta.resource_version, self.item(said.object))

    def _checked(self, value: KubernetesObject) -> Item:
        name = (value.metadata.namespace, value.metadata.name)
        broken = tuple(problems_of(value))
        if not broken:
            return Item(name, self._sharing.kept(value))
        ref = value.ref
        found = (Problem(f"{one.message} {one.named}".rstrip(), one.path, ref) for one in broken)
        return Item(name, None, tuple(found))

    def _slowly(self, raw: msgspec.Raw) -> Item:
        """Decode an object that the fast way refuses: for its problems, or because of a null or a form not ours."""
        kind = self._kind
        try:
            head = self._head.decode(raw).metadata
        except UNREADABLE:
            head = _Meta()
        name = (head.namespace, head.name)
        if not head.name:
            return Item(name, None, (Problem(f"a {kind.KIND} without a name that can be read"),))
        try:
            plain = msgspec.json.decode(raw)
        except UNREADABLE:
            ref = ObjectRef(kind.KIND, head.namespace, head.name)
            return Item(name, None, (Problem("not JSON in UTF-8, or nested too deeply", "", ref),))
        made = decode({**plain, "apiVersion": kind.API_VERSION, "kind": kind.KIND})
        if isinstance(made.value, kind):
            return Item(name, self._sharing.kept(made.value))
        return Item(name, None, made.problems)
