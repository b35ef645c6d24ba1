"""Requests of the API server double: what they ask for, who asks, and the answers."""

import asyncio
import contextlib
import gzip
import hashlib
import ssl
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from aiohttp import web

from tests.support import apiserver_events
from tests.support.apiserver_faults import Action, Answer, Call, Cut, Disconnect, Fault, Faults, Hang, Mangle, Slow
from tests.support.apiserver_store import Page, Selection, Store, Stored, continue_page
from tests.support.apiserver_watch import Behaviour, Broken, Ended, Stream, Watch, error_line_of
from tests.support.apiserver_words import (
    NO_STREAMING_LIST,
    RESOURCES,
    UNAUTHORIZED,
    Document,
    Refused,
    Resource,
    bad_request,
    encode,
    not_found,
    not_there_yet,
    parse_fields,
    parse_labels,
    resource_at,
    status,
)

_VERBS = {"GET": "get", "POST": "create", "PATCH": "patch"}
_WORTH_COMPRESSING = 128 << 10  # from this size on the real server compresses for clients that take it
_PIECE = 256 << 10


@dataclass(slots=True)
class Record:
    """One request as the server saw it.

    `authorization` is the digest of the Authorization header ("" for none), see `digest`; `user` the name in the
    client's certificate; `status` 0 until, or unless, there was an answer; `ended` says why a watch is over
    (`timeout`, `ordered`, `fault`, `slow`, `history lost`, `expired`, `client`), "" while it is open.
    """

    method: str
    path: str
    query: dict[str, str]
    call: Call
    authorization: str
    user: str
    agent: str
    status: int = 0
    ended: str = ""


@dataclass(slots=True)
class Log:
    """All requests, and a way to wait until something about them, or about the open watches, is true."""

    records: list[Record] = field(default_factory=list)
    watches: set[Watch] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @contextlib.contextmanager
    def change(self) -> Iterator[None]:
        with self.changed:
            yield
            self.changed.notify_all()

    def wait(self, holds: Callable[[], bool], seconds: float) -> bool:
        with self.changed:
            return self.changed.wait_for(holds, seconds)


def digest(authorization: str) -> str:
    """How the log names an Authorization header, so that no token is written anywhere: `digest("Bearer t0")`."""
    return hashlib.sha256(authorization.encode()).hexdigest()[:16] if authorization else ""


class Target(NamedTuple):
    """What a path leads to; `resource` is None where this server has nothing of that name."""

    resource: Resource | None
    plural: str
    namespace: str = ""
    name: str = ""
    root: str = ""


def parse_path(path: str) -> Target:
    """Take a path apart: `/api/v1/namespaces/shop/services/web`, `/apis/discovery.k8s.io/v1/endpointslices`."""
    parts = path.strip("/").split("/")
    length = {"api": 2, "apis": 3}.get(parts[0], len(parts))
    root, rest = "/" + "/".join(parts[:length]), parts[length:]
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    plural, name = [*rest, "", ""][:2]
    resource = resource_at(root, plural) if len(rest) <= 2 else None
    if resource is not None and namespace and not resource.namespaced:
        resource = None
    return Target(resource, plural, namespace, name, root)


class Frontend:
    """Answers requests out of a store. Its methods run on the server's loop; `token` may be set from any thread."""

    def __init__(self, store: Store, faults: Faults, behaviour: Behaviour) -> None:
        self.store = store
        self.faults = faults
        self.behaviour = behaviour
        self.log = Log()
        self.held: set[str] = set()
        self.token: str | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, or do to it what a fault says."""
        target = parse_path(request.path)
        call = _call(request, target)
        record = Record(
            request.method,
            request.path,
            dict(request.query),
            call,
            digest(request.headers.get("Authorization", "")),
            _user(request),
            request.headers.get("User-Agent", ""),
        )
        with self.log.change():
            self.log.records.append(record)
        fault = self.faults.take(call)
        try:
            if fault is not None:
                await _before(fault)
            if fault is not None and isinstance(fault.action, Answer):
                content = fault.action.content(call.resource)
                kind = fault.action.content_type
                return await self._send(request, record, fault.action.code, content, fault.action.headers, kind)
            self._authenticate(record, request)
            return await self._dispatch(request, record, target, fault.action if fault is not None else None)
        except Refused as error:
            return await self._send(request, record, error.code, encode(error.body) + b"\n", error.headers)
        except Broken as error:
            return await _break(request, error.reset)
        except ConnectionResetError:
            return web.Response()  # nobody is there to read it

    def _authenticate(self, record: Record, request: web.BaseRequest) -> None:
        if record.user or (self.token is None and not self.behaviour.certificate_required):
            return
        if self.token is None or request.headers.get("Authorization", "") != f"Bearer {self.token}":
            raise Refused(UNAUTHORIZED)

    async def _dispatch(
        self, request: web.BaseRequest, record: Record, target: Target, action: Action | None
    ) -> web.StreamResponse:
        resource = target.resource
        if resource is None or resource.name in self.behaviour.absent:
            return await self._send(request, record, *self._about(target))
        match record.call.verb:
            case "watch":
                return await self._watch(request, record, _selection(request, target, resource), action)
            case "list":
                page = await self._list(request, _selection(request, target, resource))
                body = _list_body(resource, page)
                if isinstance(action, Mangle):
                    body = action.change(body)
                return await self._send(request, record, 200, body, action=action)
            case "get":
                stored = self.store.read(resource, _key(target, resource))
                if stored is None:
                    raise not_found(resource.plural, target.name)
                return await self._send(request, record, 200, _object(resource, stored))
            case "create" | "patch" if resource.plural == "events":
                return await self._write_event(request, record, target, resource)
            case _:
                refusal = status(405, "MethodNotAllowed", "the server does not allow this method on the resource")
                raise Refused(refusal)

    def _about(self, target: Target) -> tuple[int, bytes]:
        """Answer what is not about objects: health, version, the resources of a group; 404 for the rest."""
        if target.root in {"/livez", "/readyz", "/healthz"}:
            return 200, b"ok"
        if target.root == "/version":
            return 200, encode({"major": "1", "minor": "36", "gitVersion": "v1.36.2"})
        here = [one for one in RESOURCES.values() if one.root == target.root and one.name not in self.behaviour.absent]
        if here and not target.plural:
            return 200, encode(_discovery(here))
        message = "the server could not find the requested resource"
        return 404, encode(status(404, "NotFound", message, details={})) + b"\n"

    async def _list(self, request: web.BaseRequest, selection: Selection) -> Page:
        query = request.query
        limit = _number(query.get("limit", ""), "limit")
        token, asked = query.get("continue", ""), query.get("resourceVersion", "")
        if token:
            if asked not in {"", "0"}:
                raise bad_request("specifying resource version is not allowed when using continue")
            return continue_page(self.store, selection, token, limit)
        if asked in {"", "0"}:
            return self.store.page(selection, None, "", 0 if asked == "0" else limit)
        revision = _number(asked, "resourceVersion")
        exact = query.get("resourceVersionMatch", "Exact" if limit else "NotOlderThan") == "Exact"
        if revision > self.store.revision:
            await asyncio.sleep(self.behaviour.freshness_wait)
        if revision > self.store.revision:
            raise Refused(not_there_yet(revision, self.store.revision))
        return self.store.page(selection, revision if exact else None, "", limit)

    async def _write_event(
        self, request: web.BaseRequest, record: Record, target: Target, resource: Resource
    ) -> web.StreamResponse:
        body = await request.read()
        if record.call.verb == "create":
            stored = apiserver_events.create(self.store, resource, target.namespace, body)
            return await self._send(request, record, 201, _object(resource, stored))
        key = _key(target, resource)
        stored = apiserver_events.patch(self.store, resource, key, body, request.content_type)
        return await self._send(request, record, 200, _object(resource, stored))

    async def _watch(
        self, request: web.BaseRequest, record: Record, selection: Selection, action: Action | None
    ) -> web.StreamResponse:
        """Stream until the end of the watch; whatever was asked for wrongly is told as an ERROR event."""
        response = web.StreamResponse(headers=_headers("application/json"))
        try:
            watch, initial = self._begin(request, selection)
        except Refused as error:
            if error.code == 400 or (error.code == 410 and self.behaviour.expired_watch == "status"):
                raise
            await self._prepare(request, record, response)
            await response.write(error_line_of(error.body))
            record.ended = "expired" if error.code == 410 else "refused"
            return response
        watch.digest, watch.action = record.authorization, action
        with self.log.change():
            self.log.watches.add(watch)

        def tell(why: str) -> None:
            with self.log.change():
                record.ended = why

        try:
            await self._prepare(request, record, response)
            await Stream(watch, self.store, self.behaviour, self.held, tell).run(request, response, initial)
        except (Ended, ConnectionResetError):
            return response
        finally:
            with self.log.change():
                self.log.watches.discard(watch)
                record.ended = record.ended or "client"
        return response

    def _begin(self, request: web.BaseRequest, selection: Selection) -> tuple[Watch, list[Stored]]:
        """Find the place in the log; Refused (ERROR event 410, 500) if there is none."""
        query = request.query
        if query.get("sendInitialEvents", "") == "true":
            raise Refused(NO_STREAMING_LIST)
        start = _number(query.get("resourceVersion", ""), "resourceVersion")
        timeout = _number(query.get("timeoutSeconds", ""), "timeoutSeconds") or self.behaviour.timeout
        deadline = asyncio.get_running_loop().time() + timeout
        bookmarks = query.get("allowWatchBookmarks", "") in {"true", "1"}
        name = selection.resource.name
        first = asyncio.get_running_loop().time() + self.behaviour.bookmark_period
        if start:
            return Watch(selection, start, self.store.begin(name, start), bookmarks, deadline, first), []
        initial, revision, position = self.store.state(name)
        return Watch(selection, revision, position, bookmarks, deadline, first), initial

    async def _prepare(self, request: web.BaseRequest, record: Record, response: web.StreamResponse) -> None:
        with self.log.change():
            record.status = response.status
        if request.version >= (1, 1):
            response.enable_chunked_encoding()
        await response.prepare(request)

    async def _send(  # noqa: PLR0913, PLR0917 - everything that an answer is made of
        self,
        request: web.BaseRequest,
        record: Record,
        code: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        kind: str = "application/json",
        action: Action | None = None,
    ) -> web.StreamResponse:
        """Send a body whole, or as a fault wants it. Large ones are compressed and chunked as the real server does."""
        more = dict(headers or {})
        wanted = self.behaviour.compress and "gzip" in request.headers.get("Accept-Encoding", "")
        if wanted and len(body) >= _WORTH_COMPRESSING:
            body = await asyncio.to_thread(gzip.compress, body, 1)
            more["Content-Encoding"] = "gzip"
        response = web.StreamResponse(status=code, headers={**_headers(kind), **more})
        await self._prepare(request, record, response)
        cut = action.after if isinstance(action, Cut) else len(body)
        size, pause = (action.piece, action.pause) if isinstance(action, Slow) else (_PIECE, 0)
        for start in range(0, min(cut, len(body)), size):
            await response.write(body[start : min(start + size, cut)])
            await asyncio.sleep(pause)
        if isinstance(action, Cut):
            raise Broken(action.reset)
        await response.write_eof()
        return response


def _call(request: web.BaseRequest, target: Target) -> Call:
    verb = _VERBS.get(request.method, "other")
    if verb == "get" and not target.name:
        verb = "watch" if request.query.get("watch", "") in {"true", "1"} else "list"
    resource = target.resource.name if target.resource is not None else target.plural
    return Call(verb, resource, target.namespace, target.name, bool(request.query.get("continue")))


def _user(request: web.BaseRequest) -> str:
    """The common name in the client's certificate, if it showed one."""
    channel = request.transport.get_extra_info("ssl_object") if request.transport is not None else None
    found = channel.getpeercert() if isinstance(channel, (ssl.SSLObject, ssl.SSLSocket)) else None
    names = [pair[1] for part in (found or {}).get("subject", ()) for pair in part if pair[0] == "commonName"]
    return str(names[0]) if names else ""


def _selection(request: web.BaseRequest, target: Target, resource: Resource) -> Selection:
    labels = parse_labels(request.query.get("labelSelector", ""))
    return Selection(resource, target.namespace, labels, parse_fields(request.query.get("fieldSelector", ""), resource))


def _key(target: Target, resource: Resource) -> str:
    return f"{target.namespace}/{target.name}" if resource.namespaced else target.name


def _number(text: str, what: str) -> int:
    if text and not text.isdecimal():
        raise bad_request(f"{what}: {text!r} is not a number")
    return int(text or 0)


def _headers(kind: str) -> dict[str, str]:
    return {"Content-Type": kind, "Cache-Control": "no-cache, private", "Audit-Id": str(uuid.uuid4())}


def _object(resource: Resource, stored: Stored) -> bytes:
    return resource.head + stored.item[1:] + b"\n"


def _list_body(resource: Resource, page: Page) -> bytes:
    metadata: Document = {"resourceVersion": str(page.revision)}
    if page.token:
        metadata["continue"] = page.token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version, "metadata": metadata, "items": []}
    return encode(head)[:-2] + b",".join(page.items) + b"]}\n"


def _discovery(resources: list[Resource]) -> Document:
    verbs = ["get", "list", "watch"]
    listed = [
        {"name": one.plural, "singularName": one.kind.lower(), "namespaced": one.namespaced, "kind": one.kind}
        for one in resources
    ]
    version = resources[0].api_version
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": [
            {**one, "verbs": [*verbs, "create", "patch"] if one["name"] == "events" else verbs} for one in listed
        ],
    }


async def _before(fault: Fault) -> None:
    """Do what a fault does instead of answering."""
    if isinstance(fault.action, Disconnect):
        raise Broken(fault.action.reset)
    while isinstance(fault.action, Hang) and not fault.gone.is_set():  # noqa: ASYNC110 - removed on another thread
        await asyncio.sleep(0.02)


async def _break(request: web.BaseRequest, reset: bool) -> web.StreamResponse:
    """Close the connection under the request; what was written before still goes out unless it is a reset."""
    transport = request.transport
    if transport is not None:
        if not reset:
            transport.close()
            await asyncio.sleep(30)  # cancelled as soon as the connection is gone
        transport.abort()
    await asyncio.sleep(30)
    return web.Response()
