"""An API server for tests: list, watch and Events over real HTTP(S), with faults on demand.

    with ApiServer(token="t0") as server:
        server.load(CAPTURES / "services.list.json")
        server.put({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {}})
        server.faults.add(Answer(429, retry_after=1), resource="services", verb="list")
        server.kubeconfig(folder / "kubeconfig")

It runs on a thread of its own; every method may be called from any other thread and returns when it is done. It answers
what a v1.36 server answered (tests/captures), as far as a reader of Services, EndpointSlices, Nodes, Pods and
ServiceCIDRs and a writer of Events can tell.
"""

import base64
import contextlib
import json
import ssl
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.support.apiserver_faults import Faults
from tests.support.apiserver_store import Store, Stored, documents_of, dress, same
from tests.support.apiserver_thread import Call, ServerThread
from tests.support.apiserver_tls import Authority, Pair
from tests.support.apiserver_watch import Behaviour, Order, Watch
from tests.support.apiserver_web import Frontend, Record, digest
from tests.support.apiserver_words import RESOURCES, Document, Resource, decode, resource_of

__all__ = ["ApiServer", "Behaviour", "Record", "digest"]

CAPTURES = Path(__file__).resolve().parent.parent / "captures"
_PATIENCE = 30  # seconds until waiting for something is given up


class ApiServer:
    """A server on one address. `call` runs a function where the socket is to be made (`Namespace.call`)."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        call: Call | None = None,
        tls: bool = False,
        token: str | None = None,
        behaviour: Behaviour | None = None,
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.faults = Faults()
        self._store = Store(self._changed)
        self._frontend = Frontend(self._store, self.faults, self.behaviour)
        self._frontend.token = token
        self._thread = ServerThread(host, port, call)
        self._folder = tempfile.TemporaryDirectory(prefix="apiserver-") if tls else None
        self._authority = Authority(Path(self._folder.name)) if self._folder is not None else None
        self._awake: set[str] = set()

    # Coming and going

    def __enter__(self) -> Self:
        context = None
        if self._authority is not None:
            pair = self._authority.server(tuple(dict.fromkeys((self.host, "127.0.0.1", "::1", "localhost"))))
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.ca_file)
            context.load_cert_chain(pair.certificate, pair.key)
            context.verify_mode = ssl.CERT_OPTIONAL
        self._thread.start(self._frontend.handle, context)
        self._awake.clear()  # what was put before had nobody to wake
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.faults.clear()
        self._thread.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def down(self, *, refuse: bool = True) -> None:
        """Cut every connection and take no more: they are refused, or left unanswered from the first byte on."""
        self._thread.close(refuse=refuse)

    def up(self) -> None:
        """Serve again, on the same port as before."""
        self._thread.open()

    def _changed(self, name: str) -> None:
        """Wake the watches of a resource ("": of all); many changes in a row wake them once."""
        if name not in self._awake:
            self._awake.add(name)
            self._thread.tell(self._wake, name)

    def _wake(self, name: str) -> None:
        self._awake.discard(name)
        for watch in self._frontend.log.watches:
            if name in {watch.name, ""}:
                watch.wake.set()

    # How to reach it

    @property
    def host(self) -> str:
        return self._thread.host

    @property
    def port(self) -> int:
        return self._thread.port

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'http' if self._authority is None else 'https'}://{host}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The certificate of the authority that clients must trust. Only with `tls`."""
        assert self._authority is not None, "this server has no certificates"
        return self._authority.pair.certificate

    def client_certificate(self, name: str) -> Pair:
        """Make a certificate that lets its holder in without a token. Only with `tls`."""
        assert self._authority is not None, "this server has no certificates"
        return self._authority.client(name)

    def kubeconfig(self, path: Path, user: Document | None = None) -> Path:
        """Write a kubeconfig (as JSON, which is YAML) and return its path.

        `user` is what it says under users[].user, for instance {"tokenFile": ...}; without one it is the token.
        """
        cluster: Document = {"server": self.url}
        if self._authority is not None:
            cluster["certificate-authority-data"] = base64.b64encode(self.ca_file.read_bytes()).decode()
        token = self._frontend.token
        login = user if user is not None else {"token": token} if token is not None else {}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": login}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(config, indent=1), encoding="utf-8")
        path.chmod(0o600)
        return path

    def service_account(self, folder: Path) -> Path:
        """Write what a Pod finds of its service account: token, ca.crt, namespace. Call it again after a rotation."""
        files = {"token": self._frontend.token or "", "namespace": "kube-system"}
        if self._authority is not None:
            files["ca.crt"] = self.ca_file.read_text(encoding="ascii")
        for name, text in files.items():
            written = folder / f".{name}.new"
            written.write_text(text, encoding="ascii")
            written.rename(folder / name)
        return folder

    def set_token(self, token: str | None, *, cut: bool = False) -> None:
        """Accept this bearer token only (None: anybody); `cut` ends open watches that came with another."""
        self._frontend.token = token
        if cut:
            self._order(Order(then="end"), "", lambda watch: watch.digest != digest(f"Bearer {token}"))

    # What the cluster holds

    @property
    def revision(self) -> int:
        return self._store.revision

    def put(self, document: Document, *, raw: bool = False) -> int:
        """Create or update an object and return the revision; nothing happens if nothing would change.

        The metadata that servers fill in is added, unless the object is stored `raw`. An object with another uid
        than the present one is a new object: the old one is deleted first.
        """
        resource = resource_of(document)
        return self._put(resource, document, raw).revision

    def put_many(self, documents: Iterable[Document]) -> int:
        """Put as many as there are; watchers see them as fast as they read. Returns the last revision."""
        for document in documents:
            self.put(document)
        return self.revision

    def _put(self, resource: Resource, document: Document, raw: bool, revision: int | None = None) -> Stored:
        with self._store.batch():
            before = self._store.read(resource, _key(resource, document["metadata"]))
            uid = document["metadata"].get("uid")
            if before is not None and uid not in {None, decode(before.item)["metadata"].get("uid")}:
                self._store.remove(resource, before.key)
                before = None
            finished = document if raw else dress(resource, document, before)
            if before is not None and revision is None and same(before, finished):
                return before
            return self._store.apply(resource, finished, revision)

    def delete(self, kind: str, namespace: str, name: str) -> int:
        """Delete an object (namespace "" for those that have none) and return the revision. KeyError: not there."""
        resource = _of_kind(kind)
        return self._store.remove(resource, f"{namespace}/{name}" if resource.namespaced else name)

    def get(self, kind: str, namespace: str, name: str) -> Document | None:
        resource = _of_kind(kind)
        stored = self._store.read(resource, f"{namespace}/{name}" if resource.namespaced else name)
        return None if stored is None else _whole(resource, stored)

    def objects(self, kind: str) -> list[Document]:
        """All objects of a kind, in the order of a list."""
        resource = _of_kind(kind)
        return [_whole(resource, stored) for stored in self._store.all(resource)]

    @property
    def events(self) -> list[Document]:
        """The Events that clients wrote, those of v1 before those of events.k8s.io/v1."""
        found = [resource for resource in RESOURCES.values() if resource.kind == "Event"]
        return [_whole(resource, stored) for resource in found for stored in self._store.all(resource)]

    def load(self, given: Path | str | Document | Iterable[Document]) -> None:
        """Put objects: a file (recorded list, or any JSON object), its name among the captures, or documents.

        Recorded lists keep their resourceVersions; the server is then at least at the list's.
        """
        if isinstance(given, (Path, str)):
            given = decode((CAPTURES / given).read_bytes())
        found = sorted(documents_of(given), key=lambda pair: _revision(pair[0]))
        with self._store.batch():
            for document, revision in found:
                recorded = _revision(document) if revision is not None else None
                self._put(resource_of(document), document, recorded is not None, recorded)
                self._store.advance(revision or 0)

    def replay(self, *recordings: Path | str) -> None:
        """Let happen what was recorded (`services.watch.jsonl`), all files in the order of their resourceVersions.

        Revisions stay as recorded where the server has not come so far yet.
        """
        lines = [line for one in recordings for line in (CAPTURES / one).read_bytes().splitlines()]
        for event in sorted((decode(line) for line in lines), key=lambda event: _revision(event["object"])):
            document = event["object"]
            resource, number = resource_of(document), _revision(document)
            number = max(number, self.revision + 1)
            if event["type"] == "BOOKMARK":
                self.send_bookmarks(resource.name)
            elif event["type"] == "DELETED":
                self._store.remove(resource, _key(resource, document["metadata"]), number)
            else:
                self._put(resource, document, True, number)  # noqa: FBT003

    def compact(self) -> int:
        """Forget the past: lists and watches from any resourceVersion before the returned one are Expired."""
        return self._store.compact()

    def replace(self, given: Iterable[Document], revision: int = 1) -> None:
        """Come back as a server with other data: all connections cut, no history, revisions from `revision` on."""
        self.down()
        with self._store.batch():
            self._store.clear(revision)
            self.put_many(given)
        self.up()

    # What happens to open watches

    @contextlib.contextmanager
    def hold(self, *resources: str) -> Iterator[None]:
        """Let watches of these resources lag: they get nothing inside the block, everything after it."""
        self._frontend.held.update(resources)
        try:
            yield
        finally:
            self._frontend.held.difference_update(resources)
            for name in resources:
                self._changed(name)

    def send(self, data: bytes, resource: str = "", then: Literal["", "end", "close", "reset"] = "") -> int:
        """Write bytes into open watches (of one resource), then perhaps end them; returns how many there were."""
        return self._order(Order(data, then), resource)

    def send_bookmarks(self, resource: str = "") -> int:
        """Make bookmarks due now; a watch gets one only if there is a newer revision than the one it began with."""
        return self._order(None, resource)

    def end_watches(self, resource: str = "", *, then: Literal["end", "close", "reset"] = "end") -> int:
        """End open watches in good order, or by closing or resetting their connections; returns how many."""
        return self._order(Order(then=then), resource)

    def _order(self, order: Order | None, resource: str, fits: Callable[[Watch], bool] = lambda _: True) -> int:
        with self._frontend.log.changed:
            found = [one for one in self._frontend.log.watches if resource in {"", one.name} and fits(one)]
        for watch in found:
            if order is None:
                watch.next_bookmark = 0
            else:
                watch.orders.append(order)
        self._changed("")
        return len(found)

    # What clients did

    @property
    def requests(self) -> tuple[Record, ...]:
        with self._frontend.log.changed:
            return tuple(self._frontend.log.records)

    def count(self, verb: str = "", resource: str = "", status: int | None = None) -> int:
        """How many requests there were of this kind and with this answer."""
        return sum(
            verb in {"", one.call.verb} and resource in {"", one.call.resource} and status in {None, one.status}
            for one in self.requests
        )

    def watching(self, resource: str = "") -> int:
        """How many watches are open."""
        with self._frontend.log.changed:
            return sum(resource in {"", one.name} for one in self._frontend.log.watches)

    def wait(self, holds: Callable[[], bool], seconds: float = _PATIENCE) -> None:
        """Wait until something about `requests` or `watching` holds; AssertionError if it never does."""
        assert self._frontend.log.wait(holds, seconds), [*self.requests[-5:]]


def _key(resource: Resource, metadata: Document) -> str:
    return f"{metadata.get('namespace', 'default')}/{metadata['name']}" if resource.namespaced else metadata["name"]


def _revision(document: Document) -> int:
    return int(document.get("metadata", {}).get("resourceVersion", 0))


def _whole(resource: Resource, stored: Stored) -> Document:
    return decode(resource.head + stored.item[1:])


def _of_kind(kind: str) -> Resource:
    return next(resource for resource in RESOURCES.values() if resource.kind == kind)
