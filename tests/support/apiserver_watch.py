"""One open watch of the API server double: a reader of the store's log that writes lines until its time is up."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from aiohttp import web

from tests.support.apiserver_faults import Action, Cut, End, Insert, Mangle, Repeat, Slow
from tests.support.apiserver_store import Change, Selection, Store, Stored, renumbered
from tests.support.apiserver_words import encode

_BATCH = 200
_PIECE = 64 << 10
_CALM = 32 << 10  # below this a transport's buffer takes more without waiting for the client


@dataclass(slots=True)
class Behaviour:
    """What a server may do one way or the other; all of it can be changed while it runs.

    `bookmark_period`, `timeout` (of a watch that names none), `stall` (how long a client may not read while more
    than `backlog` changes wait for it) and `freshness_wait` (before a list from the future is refused) are in seconds.
    """

    bookmark_period: float = 60
    progress: bool = True  # bookmarks tell other resources' revisions too: etcd 3.5.21 and later
    expired_watch: Literal["event", "status"] = "event"
    absent: set[str] = field(default_factory=set)  # resources that this server does not have
    certificate_required: bool = False
    compress: bool = True
    timeout: float = 1800
    stall: float = 3
    backlog: int = 1000
    freshness_wait: float = 0


class Order(NamedTuple):
    """Something an open watch is told to do at once: write bytes, then perhaps stop in one way or another."""

    data: bytes = b""
    then: Literal["", "end", "close", "reset"] = ""


class Ended(Exception):
    """The stream is over, in good order."""


class Broken(Exception):
    """The connection is to be broken."""

    def __init__(self, reset: bool) -> None:
        super().__init__(f"reset={reset}")
        self.reset = reset


@dataclass(slots=True, eq=False)
class Watch:
    """What a watch asked for and where it is. Orders may come from any thread."""

    selection: Selection
    start: int
    position: int
    bookmarks: bool
    deadline: float
    next_bookmark: float
    digest: str = ""
    action: Action | None = None
    orders: deque[Order] = field(default_factory=deque)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    ended: str = ""
    inserted: bool = False

    @property
    def name(self) -> str:
        return self.selection.resource.name


def line(kind: str, head: bytes, item: bytes) -> bytes:
    return b'{"type":"%s","object":%s%s}\n' % (kind.encode(), head, item[1:])


def error_line_of(body: dict[str, object]) -> bytes:
    return encode({"type": "ERROR", "object": body}) + b"\n"


class Stream:
    """Writes one watch's lines to its client, faults included."""

    def __init__(
        self, watch: Watch, store: Store, behaviour: Behaviour, held: set[str], tell: Callable[[str], None]
    ) -> None:
        self._watch = watch
        self._tell = tell
        self._store = store
        self._behaviour = behaviour
        self._held = held
        self._head = watch.selection.resource.head

    async def run(self, request: web.BaseRequest, response: web.StreamResponse, initial: list[Stored]) -> None:
        """Write until the end. Ended and Broken say how it ends; it never returns otherwise."""
        self._response = response
        self._transport = request.transport
        watch, loop = self._watch, asyncio.get_running_loop()
        await self._lines([line("ADDED", self._head, one.item) for one in initial if watch.selection.matches(one)])
        while True:
            watch.wake.clear()
            await self._obey()
            if await self._forward():
                continue
            await self._settle()
            time = loop.time()
            if time >= min(watch.next_bookmark, watch.deadline):
                await self._bookmark()
                watch.next_bookmark = time + self._behaviour.bookmark_period
            if time >= watch.deadline:
                self._end("timeout")
                raise Ended
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(watch.next_bookmark, watch.deadline)):
                    await watch.wake.wait()

    def _end(self, why: str) -> None:
        self._watch.ended = why
        self._tell(why)

    async def _obey(self) -> None:
        while self._watch.orders:
            order = self._watch.orders.popleft()
            if order.data:
                await self._write(order.data)
            if order.then:
                self._end("ordered")
                raise Ended if order.then == "end" else Broken(order.then == "reset")

    async def _forward(self) -> bool:
        """Write some changes, if there are any."""
        watch = self._watch
        if watch.name in self._held:
            return False
        try:
            changes, _ = self._store.changes(watch.name, watch.position, _BATCH)
        except KeyError:
            self._end("history lost")
            raise Ended from None
        watch.position += len(changes)
        await self._lines([text for change in changes if (text := self._line(change))])
        await asyncio.sleep(0)
        return bool(changes)

    def _line(self, change: Change) -> bytes:
        """What this watch is told of a change; b"" for nothing."""
        selection = self._watch.selection
        if change.revision <= self._watch.start:
            return b""
        was = change.before is not None and selection.matches(change.before)
        if change.now is not None and selection.matches(change.now):
            return line("MODIFIED" if was else "ADDED", self._head, change.now.item)
        if was and change.before is not None:
            return line("DELETED", self._head, renumbered(change.before, change.revision))
        return b""

    async def _bookmark(self) -> None:
        watch = self._watch
        if not watch.bookmarks or watch.name in self._held:
            return
        revision = self._store.progress(watch.name, watch.position, self._behaviour.progress)
        if revision > watch.start:
            body = watch.selection.resource.bookmark(revision)
            await self._lines([b'{"type":"BOOKMARK","object":%s}\n' % body])

    async def _lines(self, lines: list[bytes]) -> None:
        if self._watch.action is not None:
            for one in lines:
                await self._faulty(one)
            return
        waiting: list[bytes] = []
        size = 0
        for one in lines:
            waiting.append(one)
            size += len(one)
            if size >= _PIECE:
                await self._write(b"".join(waiting))
                waiting, size = [], 0
        if waiting:
            await self._write(b"".join(waiting))
        self._watch.sent += len(lines)

    async def _faulty(self, one: bytes) -> None:
        """Write one line the way that this watch's fault wants it."""
        action = self._watch.action
        await self._settle(one)
        if isinstance(action, Slow):
            await asyncio.sleep(action.pause)
        times = action.times if isinstance(action, Repeat) else 1
        text = action.change(one) if isinstance(action, Mangle) else one
        if text:
            await self._write(text * times)
        self._watch.sent += 1

    async def _settle(self, following: bytes = b"") -> None:
        """Do what is due after the events so far; `following` is the line that would come now, if there is one."""
        watch = self._watch
        match watch.action:
            case Insert(text, after) if watch.sent >= after and not watch.inserted:
                watch.inserted = True
                await self._write(text)
            case End(after) if watch.sent >= after:
                self._end("fault")
                raise Ended
            case Cut(after, midline, reset) if watch.sent >= after:
                self._end("fault")
                if midline:
                    text = following or line("MODIFIED", self._head, b'{"metadata":{"name":"half"}}')
                    await self._write(text[: len(text) // 2])
                raise Broken(reset)

    async def _write(self, data: bytes) -> None:
        """Write; a client that does not read while changes pile up is forgotten: what was written is all it gets."""
        watch = self._watch
        if self._transport is not None and self._transport.get_write_buffer_size() + len(data) < _CALM:
            await self._response.write(data)
            return
        writing = asyncio.ensure_future(self._response.write(data))
        try:
            while not (await asyncio.wait({writing}, timeout=self._behaviour.stall))[0]:
                if self._store.behind(watch.name, watch.position) > self._behaviour.backlog:
                    self._end("slow")
                    await writing
        finally:
            writing.cancel()
        writing.result()
        if watch.ended:
            raise Ended
