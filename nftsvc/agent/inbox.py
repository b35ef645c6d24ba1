"""Where sources put what they find out, and where the sync takes it from: gathered, the latest word of each object.

Nothing is handed out before every source has said what there is.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nftsvc.agent.log import event
from nftsvc.agent.status import SourceStatus
from nftsvc.events import Event, Put, Removed, Replaced
from nftsvc.objects import Endpoints, EndpointSlice, KubernetesObject, Service
from nftsvc.sources.source import Batch, Source

_log = logging.getLogger(__name__)

_MOST_BATCHES = 10_000  # whose times are remembered, while a source has not said what there is

_Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True, slots=True)
class Taken:
    """What has arrived: the events, when each batch of them was read (the event loop's clock), and of what kinds."""

    events: tuple[Event, ...]
    read_at: tuple[float, ...]

    @property
    def reason(self) -> str:
        """Say what it is, for the log."""
        lists = sum(isinstance(one, Replaced) for one in self.events)
        changes = len(self.events) - lists
        words = (
            f"{count} {noun}{'s' * (count != 1)}" for count, noun in ((lists, "list"), (changes, "change")) if count
        )
        return ", ".join(words)


class Inbox:
    """A receiver (`nftsvc.sources.source`) for several sources. Used on the event loop's thread only.

    `now` gives the time in seconds since 1970; `arrived` is called when something is there to be taken, `seen` with
    every batch, `failed` with the name of a source that has stopped working.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        now: Callable[[], float],
        arrived: Callable[[], None],
        seen: Callable[[Batch], None] = lambda _: None,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._now = now
        self._arrived = arrived
        self._seen = seen
        self._failed = failed
        self._status = {one.name: SourceStatus(one.name, since=now()) for one in sources}
        self._missing = {one.name: set(one.kinds) for one in sources}
        self._lists: dict[type[KubernetesObject], Replaced] = {}
        self._events: dict[_Key, Put | Removed] = {}
        self._pending: Counter[str] = Counter()  # events by kind
        self._read_at: deque[float] = deque(maxlen=_MOST_BATCHES)
        self._complete = asyncio.Event()
        if not sources:
            self._complete.set()
        self.pending_since: float | None = None

    @property
    def sources(self) -> tuple[SourceStatus, ...]:
        """How the sources are doing."""
        return tuple(self._status.values())

    @property
    def pending(self) -> tuple[int, int]:
        """How many Services, and how many EndpointSlices and Endpoints, have changed and have not been taken."""
        kinds = self._pending
        return kinds[Service.KIND], kinds[EndpointSlice.KIND] + kinds[Endpoints.KIND]

    @property
    def complete(self) -> bool:
        """Whether every source has said what there is."""
        return self._complete.is_set()

    async def opened(self) -> None:
        """Wait until every source has said what there is."""
        await self._complete.wait()

    def deliver(self, batch: Batch) -> None:
        """Take what a source found out."""
        for one in batch.events:
            self._gather(batch.source, one)
        complete = not self._missing[batch.source]
        before = self._status[batch.source]
        since = before.since if not before.broken and before.complete == complete else self._now()
        self._status[batch.source] = SourceStatus(
            before.name, complete, since=since, objects=batch.objects, problems=batch.problems
        )
        if batch.events:
            self._read_at.append(batch.read_at)
            if self.pending_since is None:
                self.pending_since = self._now()
        if not any(self._missing.values()):
            self._complete.set()
        if before.broken:
            event(_log, logging.INFO, "source works again", source=batch.source)
        elif complete and not before.complete:
            event(_log, logging.INFO, "source has said what there is", source=batch.source)
        self._seen(batch)
        if self.complete and batch.events:
            self._arrived()

    def _gather(self, source: str, one: Event) -> None:
        match one:
            case Put():
                self._note((one.object.KIND, one.object.namespace, one.object.name), one)
            case Removed():
                self._note((one.ref.kind, one.ref.namespace, one.ref.name), one)
            case Replaced():
                self._missing[source].discard(one.kind)
                self._lists[one.kind] = one
                self._events = {key: event for key, event in self._events.items() if key[0] != one.kind.KIND}
                del self._pending[one.kind.KIND]

    def _note(self, key: _Key, one: Put | Removed) -> None:
        self._pending[key[0]] += key not in self._events
        self._events[key] = one

    def broken(self, source: str, reason: str) -> None:
        """Take note that a source does not work at present."""
        before = self._status[source]
        since = before.since if before.broken else self._now()
        if reason != before.broken:
            event(_log, logging.WARNING, "source does not work", source=source, reason=reason)
        if not before.broken:
            self._failed(source)
        self._status[source] = replace(before, broken=reason, since=since)

    def take(self) -> Taken:
        """Return what has arrived since the last time; nothing while a source has not said what there is."""
        if not self.complete:
            return Taken((), ())
        taken = Taken((*self._lists.values(), *self._events.values()), tuple(self._read_at))
        self._lists, self._events = {}, {}
        self._pending.clear()
        self._read_at.clear()
        return taken
