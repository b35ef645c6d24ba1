"""What the API server double knows: objects, every change since the last compaction, states of the past.

Used from any thread; everything happens under one lock, nothing waits.
"""

import base64
import threading
import uuid
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, NamedTuple

from tests.support.apiserver_words import (
    ALL,
    LIST_EXPIRED,
    RESOURCES,
    Document,
    Refused,
    Resource,
    Selector,
    bad_request,
    decode,
    encode,
    fields_of,
    not_there_yet,
    token_expired,
    watch_expired,
)

_revision = attrgetter("revision")


class Stored(NamedTuple):
    """One object at one revision; `item` is its JSON without kind and apiVersion, as lists carry it."""

    key: str
    revision: int
    item: bytes
    namespace: str
    labels: Mapping[str, str]
    fields: Mapping[str, str]


class Change(NamedTuple):
    """What one revision did to one object: `now` is None when it went, `before` None when it came."""

    revision: int
    now: Stored | None
    before: Stored | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource a request is about."""

    resource: Resource
    namespace: str = ""
    labels: Selector = ALL
    fields: Selector = ALL

    @property
    def everything(self) -> bool:
        """Whether no selector is in the way; a namespace is none."""
        return not self.labels.tests and not self.fields.tests

    def matches(self, one: Stored) -> bool:
        if self.namespace and one.namespace != self.namespace:
            return False
        return self.everything or (self.labels.matches(one.labels) and self.fields.matches(one.fields))


class Page(NamedTuple):
    """A list's answer, or a part of it; `remaining` is None where the real server leaves it out."""

    items: list[bytes]
    revision: int
    token: str = ""
    remaining: int | None = None


@dataclass(slots=True)
class Table:
    """The objects of one resource by key, the keys in the order of etcd, and the log of changes.

    `floor` is the revision of the last change that the log no longer has; `dropped` is how many those were.
    """

    objects: dict[str, Stored] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    log: list[Change] = field(default_factory=list)
    dropped: int = 0
    floor: int = 0

    @property
    def end(self) -> int:
        """The position behind the newest change, counted from the first ever."""
        return self.dropped + len(self.log)

    @property
    def last(self) -> int:
        return self.log[-1].revision if self.log else self.floor


class Store:
    """Objects and their history. `changed` is called with a resource's name after each change, outside the lock."""

    def __init__(self, changed: Callable[[str], None], history: int = 100_000) -> None:
        self.lock = threading.RLock()
        self.revision = 1
        self.compacted = 0
        self._changed = changed
        self._history = history
        self._tables: dict[str, Table] = {name: Table() for name in RESOURCES}
        self._past: tuple[str, int, dict[str, Stored], list[str]] | None = None

    def apply(self, resource: Resource, document: Document, revision: int | None = None) -> Stored:
        """Put a finished object (with name, uid and all); without a revision it gets the next one."""
        with self.lock:
            table = self._tables[resource.name]
            number = self._next(table, revision)
            stored = _store(resource, document, number)
            before = table.objects.get(stored.key)
            if before is None:
                insort(table.keys, stored.key)
            table.objects[stored.key] = stored
            self._record(table, Change(number, stored, before))
        self._changed(resource.name)
        return stored

    def remove(self, resource: Resource, key: str, revision: int | None = None) -> int:
        """Take an object away and return the revision that did it. KeyError if there is none."""
        with self.lock:
            table = self._tables[resource.name]
            before = table.objects.pop(key)
            del table.keys[bisect_left(table.keys, key)]
            number = self._next(table, revision)
            self._record(table, Change(number, None, before))
        self._changed(resource.name)
        return number

    def read(self, resource: Resource, key: str) -> Stored | None:
        with self.lock:
            return self._tables[resource.name].objects.get(key)

    def all(self, resource: Resource) -> list[Stored]:
        with self.lock:
            table = self._tables[resource.name]
            return [table.objects[key] for key in table.keys]

    def compact(self) -> int:
        """Forget all states up to now. Like etcd's client, which writes a key then, this takes one revision."""
        with self.lock:
            self.revision += 1
            self.compacted = self.revision
            return self.compacted

    def advance(self, revision: int) -> None:
        """Let the revision be at least this, as if other resources had changed."""
        with self.lock:
            self.revision = max(self.revision, revision)

    def clear(self, revision: int) -> None:
        """Begin anew: no objects, no history, another revision."""
        with self.lock:
            self.revision = revision
            self.compacted = revision - 1
            self._past = None
            for table in self._tables.values():
                table.dropped += len(table.log)
                table.floor = 0
                table.objects, table.keys, table.log = {}, [], []

    def page(self, selection: Selection, revision: int | None, start: str = "", limit: int = 0) -> Page:
        """List from a key on, as things stood at a revision (None: now). Refused: 410, 504."""
        with self.lock:
            at = self.revision if revision is None else revision
            if at > self.revision:
                raise Refused(not_there_yet(at, self.revision))
            objects, keys = self._state(selection.resource.name, at)
            first = bisect_left(keys, start)
            if selection.namespace:
                prefix = f"{selection.namespace}/"
                first = max(first, bisect_left(keys, prefix))
                keys = keys[: bisect_left(keys, f"{selection.namespace}0")]  # "0" follows "/"
            items: list[bytes] = []
            for place in range(first, len(keys)):
                one = objects[keys[place]]
                if not selection.matches(one):
                    continue
                items.append(one.item)
                left = len(keys) - place - 1
                if len(items) == limit and left:
                    return Page(items, at, make_token(at, keys[place]), left if selection.everything else None)
            return Page(items, at)

    def begin(self, name: str, revision: int) -> int:
        """Where in the log a watch from a revision starts. Refused (410) if that is history."""
        with self.lock:
            table = self._tables[name]
            oldest = max(self.compacted, table.floor)
            if revision < oldest:
                raise Refused(watch_expired(revision, oldest))
            return table.dropped + bisect_right(table.log, revision, key=_revision)

    def state(self, name: str) -> tuple[list[Stored], int, int]:
        """All objects, their revision, and where a watch goes on from there."""
        with self.lock:
            table = self._tables[name]
            return [table.objects[key] for key in table.keys], self.revision, table.end

    def changes(self, name: str, position: int, most: int) -> tuple[list[Change], int]:
        """Some changes from a position on, and how many remain behind them. KeyError if they are dropped."""
        with self.lock:
            table = self._tables[name]
            first = position - table.dropped
            if first < 0:
                raise KeyError(name)
            return table.log[first : first + most], max(0, len(table.log) - first - most)

    def behind(self, name: str, position: int) -> int:
        with self.lock:
            return self._tables[name].end - position

    def progress(self, name: str, position: int, everywhere: bool) -> int:
        """Up to which revision a reader at this position has seen everything.

        `everywhere` counts other resources' revisions, too, as etcd's progress notifications make it possible.
        """
        with self.lock:
            table = self._tables[name]
            if position < table.end:
                return 0
            return self.revision if everywhere else table.last

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Let nobody see the state in between."""
        with self.lock:
            yield

    def _next(self, table: Table, revision: int | None) -> int:
        number = self.revision + 1 if revision is None or revision <= table.last else revision
        self.revision = max(self.revision, number)
        return number

    def _record(self, table: Table, change: Change) -> None:
        table.log.append(change)
        if len(table.log) > 2 * self._history:
            table.floor = table.log[self._history - 1].revision
            table.dropped += self._history
            del table.log[: self._history]

    def _state(self, name: str, at: int) -> tuple[dict[str, Stored], list[str]]:
        """The objects at a revision: the present ones, later changes undone. The last answer is kept for paging."""
        table = self._tables[name]
        if at >= table.last and at >= self.compacted:
            return table.objects, table.keys
        if at < max(self.compacted, table.floor):
            raise Refused(LIST_EXPIRED)
        if self._past is None or self._past[:2] != (name, at):
            objects = dict(table.objects)
            for change in reversed(table.log):
                if change.revision <= at:
                    break
                if change.before is not None:
                    objects[change.before.key] = change.before
                elif change.now is not None:
                    objects.pop(change.now.key, None)
            self._past = (name, at, objects, sorted(objects))
        return self._past[2:]


def _store(resource: Resource, document: Document, revision: int) -> Stored:
    body = {key: value for key, value in document.items() if key not in {"kind", "apiVersion"}}
    metadata = body["metadata"]
    body["metadata"] = {**metadata, "resourceVersion": str(revision)}
    namespace = metadata.get("namespace", "default") if resource.namespaced else ""
    key = f"{namespace}/{metadata['name']}" if resource.namespaced else metadata["name"]
    labels = metadata.get("labels")
    return Stored(
        key,
        revision,
        encode(body),
        namespace,
        dict(labels) if isinstance(labels, Mapping) else {},
        fields_of(resource, body),
    )


def renumbered(one: Stored, revision: int) -> bytes:
    """The object's last state with another revision: what a DELETED event carries."""
    body = decode(one.item)
    body["metadata"]["resourceVersion"] = str(revision)
    return encode(body)


def make_token(revision: int, last_key: str) -> str:
    """The `continue` token of the real server: where to go on, in which state."""
    body = encode({"v": "meta.k8s.io/v1", "rv": revision, "start": f"{last_key}\0"})
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def read_token(token: str) -> tuple[int, str]:
    """Take a token apart: revision (-1: whatever is current) and the key to go on from. Refused (400) for rubbish."""
    try:
        body = decode(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(body["rv"]), str(body["start"])
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request("continue key is not valid") from error


def continue_page(store: Store, selection: Selection, token: str, limit: int) -> Page:
    """The next page of a list; when its state is forgotten, Refused (410) with a token that goes on in a newer one."""
    revision, start = read_token(token)
    try:
        return store.page(selection, None if revision < 0 else revision, start, limit)
    except Refused as error:
        if error.code != LIST_EXPIRED["code"]:
            raise
        raise Refused(token_expired(make_token(-1, start.rstrip("\0")))) from error


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def dress(resource: Resource, document: Document, before: Stored | None) -> Document:
    """Complete an object's metadata as the API server does: uid, creationTimestamp, managedFields, in its order."""
    given = dict(document["metadata"])
    old = decode(before.item)["metadata"] if before is not None else {}
    time = now()
    metadata: Document = {"name": given.pop("name")}
    if resource.namespaced:
        metadata["namespace"] = given.pop("namespace", "default")
    metadata["uid"] = given.pop("uid", None) or old.get("uid") or str(uuid.uuid4())
    metadata["resourceVersion"] = given.pop("resourceVersion", "0")
    metadata["creationTimestamp"] = given.pop("creationTimestamp", None) or old.get("creationTimestamp") or time
    managed = given.pop("managedFields", None)
    metadata.update(given)
    body = {key: value for key, value in document.items() if key not in {"kind", "apiVersion", "metadata"}}
    manager = {"manager": "tests", "operation": "Update", "apiVersion": resource.api_version, "time": time}
    metadata["managedFields"] = managed or [{**manager, "fieldsType": "FieldsV1", "fieldsV1": _owned(body)}]
    return {"metadata": metadata, **body}


def _owned(value: Any) -> Document:
    """Roughly what managedFields say of a body: a key for every field, nothing of what is in lists."""
    if not isinstance(value, dict):
        return {}
    return {f"f:{key}": _owned(one) for key, one in value.items()}


def same(before: Stored, document: Document) -> bool:
    """Whether a write would change nothing but what the server fills in; the real one makes no event of that."""
    return _essence(decode(before.item)) == _essence(document)


def _essence(document: Document) -> Document:
    filled = {"resourceVersion", "managedFields"}
    metadata = {key: value for key, value in document["metadata"].items() if key not in filled}
    return {
        **{key: value for key, value in document.items() if key not in {"kind", "apiVersion"}},
        "metadata": metadata,
    }


def documents_of(given: Document | Iterable[Document]) -> Iterator[tuple[Document, int | None]]:
    """Single objects out of objects and lists of them, each with its kind, and the revision of a recorded list."""
    for one in [given] if isinstance(given, dict) else given:
        if "items" not in one:
            yield one, None
            continue
        revision = one.get("metadata", {}).get("resourceVersion")
        named = {"apiVersion": one["apiVersion"], "kind": one["kind"].removesuffix("List")}
        for item in one["items"]:
            yield {**named, **item}, int(revision) if revision else None
