"""One resource of the API server as a source: a list, then a watch, for ever, whatever happens.

A list is delivered whole or not at all. A watch that ends is taken up where it was; only if that cannot be is the list
read again. Source: Kubernetes API concepts, "Efficient detection of changes".
"""

import asyncio
import traceback
from collections.abc import Callable
from pathlib import Path

from nftsvc.errors import Problem, Severity
from nftsvc.events import Event
from nftsvc.objects import KubernetesObject
from nftsvc.sources.cluster.backoff import Backoff
from nftsvc.sources.cluster.connection import Ask, Connection
from nftsvc.sources.cluster.faults import FORBIDDEN, GONE, NOT_FOUND, Cut, Fault, failed_watch
from nftsvc.sources.cluster.known import Known, latest
from nftsvc.sources.cluster.pace import PACE, Pace
from nftsvc.sources.cluster.resources import PAGE, Resource
from nftsvc.sources.cluster.wire import Decoder, EventType, Garbled, Item, Lines, Name, Page, WatchEvent
from nftsvc.sources.source import Batch, Receiver

_MOST_BLOCKING = 0.01

# Lists whose `continue` expired so often in a row are asked for in one piece.
_MOST_EXPIRED = 2


class ResourceSource:
    """A `nftsvc.sources.source.Source` for one resource; `random` gives numbers in [0, 1)."""

    def __init__(
        self,
        resource: Resource,
        connection: Connection,
        random: Callable[[], float],
        pace: Pace = PACE,
    ) -> None:
        self._resource = resource
        self._connection = connection
        self._random = random
        self._pace = pace
        self._backoff = Backoff(random, pace.first_wait, pace.longest_wait)
        self._decoder = Decoder(resource.kind)
        self._known = Known(resource.kind)
        self._version = ""  # how far we are; "" where only a list can tell
        self._complete = False  # a first list has been delivered
        self._doubtful = False  # the server may not be the one that gave us the version
        self._heard = 0.0  # when it last said something
        self._steady = False  # the last watch was well for a while
        self._expired = 0
        self._told_broken = False

    @property
    def name(self) -> str:
        """The resource's plural."""
        return self._resource.name

    @property
    def kinds(self) -> tuple[type[KubernetesObject], ...]:
        """Its one kind."""
        return (self._resource.kind,)

    async def run(self, receiver: Receiver) -> None:
        """Tell the receiver until cancelled."""
        while True:
            try:
                await self._go_on(receiver)
            except Fault as fault:
                await self._recover(receiver, fault)
            except Garbled as error:
                await self._recover(receiver, Fault(f"the API server sent {error}", lost=True))
            except Exception as error:  # noqa: BLE001 - whatever it is, this source must go on
                await self._recover(receiver, Fault(_internal(error), lost=True))

    async def _go_on(self, receiver: Receiver) -> None:
        self._steady = False
        if self._version and self._doubtful:
            await self._verify()
        if not self._version:
            await self._list(receiver)
        self._doubtful = True
        await self._watch(receiver)

    async def _recover(self, receiver: Receiver, fault: Fault) -> None:
        """Say what is wrong, unless it is routine, and wait."""
        self._doubtful = True
        if fault.lost:
            self._version = ""
        if self._steady:
            self._backoff.reset()
        if self._resource.optional and fault.status in {NOT_FOUND, FORBIDDEN}:
            self._do_without(receiver, fault)
            await asyncio.sleep(self._pace.absent * (1 + self._random()) / 2)
            return
        cut_after_a_while = self._steady and isinstance(fault, Cut)
        routine = cut_after_a_while or (fault.status == GONE and not self._backoff.failures)
        if not routine:
            self._told_broken = True
            receiver.broken(self.name, str(fault))
        await asyncio.sleep(self._backoff.wait(fault.retry_after))

    def _do_without(self, receiver: Receiver, fault: Fault) -> None:
        """Deliver that there is nothing; what was there before it was forbidden stays."""
        now = _time()
        events: tuple[Event, ...] = ()
        if fault.status == NOT_FOUND or not self._complete:
            self._version = ""
            events = (self._known.replace(()),)
        warned = () if fault.status == NOT_FOUND else (Problem(str(fault), severity=Severity.WARNING),)
        self._deliver(receiver, events, now, warned)
        self._told_broken = bool(warned)

    def _deliver(
        self, receiver: Receiver, events: tuple[Event, ...], read_at: float, more: tuple[Problem, ...] = ()
    ) -> None:
        self._told_broken = False
        receiver.deliver(Batch(self.name, events, (*self._known.problems, *more), read_at, len(self._known)))

    # The list ---------------------------------------------------------------------------------------------------------

    async def _list(self, receiver: Receiver) -> None:
        """Read the whole list, page by page, and deliver it."""
        items: list[Item] = []
        token = version = ""
        limit = PAGE if self._expired < _MOST_EXPIRED else 0
        while True:
            try:
                page = self._decoder.page(await self._fetch(self._resource.page(token, limit)))
            except Fault as fault:
                self._expired += bool(token and fault.status == GONE)
                raise
            items += await self._items(page)
            version = version or page.version
            token = page.token
            if not token:
                break
        self._expired = 0
        self._heard = _time()
        self._deliver(receiver, (self._known.replace(items),), self._heard)
        self._version, self._complete = version, True

    async def _items(self, page: Page) -> list[Item]:
        """Decode a page, and let others work every few milliseconds: it may have 500 slices of 1,000 endpoints."""
        items: list[Item] = []
        until = _time() + _MOST_BLOCKING
        for raw in page.raws:
            items.append(self._known.kept(self._decoder.item(raw)))
            if _time() > until:
                await asyncio.sleep(0)
                until = _time() + _MOST_BLOCKING
        return items

    async def _verify(self) -> None:
        """Find out whether the version still means something, after the server was away or a watch was all silent.

        A watch from a version that a restored server has not reached yet is silent until it has.
        """
        if _time() - self._heard > self._pace.resumable:
            self._version = ""
            return
        page = self._decoder.page(await self._fetch(self._resource.page(limit=1)))
        if _older(page.version, self._version):
            self._version = ""

    async def _fetch(self, path: str) -> bytes:
        return await self._connection.fetch(Ask(path, "list", self._resource.qualified))

    # The watch --------------------------------------------------------------------------------------------------------

    async def _watch(self, receiver: Receiver) -> None:
        """Deliver what happens until the watch ends in good order; Fault or Garbled otherwise."""
        pace, lines, began = self._pace, Lines(), _time()
        seconds = pace.shortest_watch + (pace.longest_watch - pace.shortest_watch) * self._random()
        ask = Ask(self._resource.watch(self._version, max(1, round(seconds))), "watch", self._resource.qualified)
        patience = seconds + pace.grace
        try:
            async with self._connection.stream(ask) as stream:
                self._heard = _time()
                if self._told_broken:
                    self._deliver(receiver, (), self._heard)
                while chunk := await stream.read(min(patience, began + seconds + pace.grace - _time())):
                    self._heard = _time()
                    self._doubtful = False
                    if self._take(receiver, lines.feed(chunk)):
                        patience = pace.bookmarks
        finally:
            self._steady = _time() - began >= pace.steady
        if lines.begun:
            raise Cut("the watch ended in the middle of an event")
        if _time() - began < pace.pointless:
            raise Fault("the API server ends watches as soon as they begin")
        if self._steady:
            self._backoff.reset()

    def _take(self, receiver: Receiver, lines: list[bytes]) -> bool:
        """Deliver the events of some lines at once; tell whether there was a bookmark among them."""
        events: list[tuple[Name, Event]] = []
        heard = marked = False
        try:
            for line in lines:
                said = self._decoder.event(line)
                self._advance(said)
                marked = marked or said.type is EventType.BOOKMARK
                if said.item is None:
                    continue
                heard = True
                gone = said.type is EventType.REMOVED
                event = self._known.remove(said.item.name) if gone else self._known.put(said.item)
                if event is not None:
                    events.append((said.item.name, event))
        finally:
            if heard:
                self._deliver(receiver, latest(events), self._heard)
        return marked

    def _advance(self, said: WatchEvent) -> None:
        """Take note of how far the watch has come; Fault where it cannot go on."""
        if said.type is EventType.ERROR and said.status is not None:
            raise failed_watch(said.status)
        if _older(said.version, self._version):
            raise Fault("the API server has older data than before", lost=True)
        self._version = said.version or self._version


def _internal(error: Exception) -> str:
    """Say what went wrong in our own code, and where; without values, which might be secret."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"internal error: {type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"


def _time() -> float:
    return asyncio.get_running_loop().time()


def _older(version: str, than: str) -> bool:
    """Tell whether a resourceVersion is before another: they are numbers (KEP-5504); others cannot be compared."""
    both_numbers = all(one.isascii() and one.isdecimal() for one in (version, than))
    return both_numbers and int(version) < int(than)
