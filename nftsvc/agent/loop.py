"""When passes are made: gate, pace, retry, repair, verify.

Nothing is written before every source has said what there is. After that a pass is made at once when something arrives,
`minimum` seconds after the end of the one before under load. What the kernel refused is tried again, ever more slowly.
What another process changed is put right at once, and ten times a second if it goes on.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from nftsvc.agent.inbox import Inbox, Taken
from nftsvc.agent.log import log_pass
from nftsvc.agent.options import Pace
from nftsvc.agent.status import Drift, PassKind, PassReport
from nftsvc.errors import KernelRefused, NftsvcError, UsageError
from nftsvc.events import Event, Put
from nftsvc.objects import EndpointSlice
from nftsvc.sync import Follower, Progress, Suspicion
from nftsvc.values import Family

_log = logging.getLogger(__name__)

_MOST_RETRY_SECONDS = 30.0
_FIRST_RETRY_SECONDS = 0.1
_LEAST_AFTER_FAILURE_SECONDS = 1.0
_DOUBLINGS = 10
_AFTER_REPAIR_SECONDS = 0.1

# What is remembered of all that has not come to a good end, so that nothing grows while nothing works.
_MOST_DRIFT = 1000
_MOST_BATCHES = 10_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """A pass that was made: its report, what it did, and the drift that it has put right."""

    report: PassReport
    progress: Progress
    repaired: tuple[Drift, ...]


class SyncLoop:
    """Makes passes. `follower` belongs to the loop's worker thread from now on; everything else to the event loop's.

    `now` gives the time in seconds since 1970. `done` is called after each pass.
    """

    def __init__(
        self, follower: Follower, pace: Pace, now: Callable[[], float], done: Callable[[Outcome], None]
    ) -> None:
        self._follower = follower
        self._pace = pace
        self._now = now
        self._done = done
        self._started = now()
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sync")
        self._suspicion: Suspicion | None = None
        self._drift: deque[Drift] = deque(maxlen=_MOST_DRIFT)
        self._read_at: deque[float] = deque(maxlen=_MOST_BATCHES)
        self._causes: deque[tuple[Family, float]] = deque(maxlen=_MOST_BATCHES)
        self._failures = 0
        self._repaired = False
        self._error: NftsvcError | None = None
        self._unsynced: float | None = None
        self.busy_since: float | None = None

    def wake(self) -> None:
        """Say that something has arrived."""
        self._wake.set()

    def suspect(self, suspicion: Suspicion, drift: Drift) -> None:
        """Say that another process may have changed our tables."""
        self._suspicion = suspicion if self._suspicion is None else self._suspicion | suspicion
        self._drift.append(drift)
        self._wake.set()
        self._urgent.set()

    def pending_since(self, inbox: Inbox) -> float | None:
        """Return when the oldest change arrived that is not in the kernel yet, None if there is none."""
        return self._unsynced if self._unsynced is not None else inbox.pending_since

    async def run(self, inbox: Inbox) -> None:
        """Make passes until cancelled; one that is under way then is waited for."""
        try:
            await self._run(inbox)
        finally:
            await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, self._worker.shutdown))

    async def _run(self, inbox: Inbox) -> None:
        loop = asyncio.get_running_loop()
        await inbox.opened()
        self._wake.set()
        verified = loop.time()
        ended = verified - self._pace.minimum
        while True:
            await self._due(ended, verified + self._pace.verify)
            self._wake.clear()
            self._urgent.clear()
            verify = loop.time() - verified >= self._pace.verify
            outcome = await self._pass(inbox, verify=verify)
            ended = loop.time()
            self._error = outcome.progress.error
            self._failures = self._failures + 1 if self._error is not None else 0
            self._repaired = bool(outcome.repaired)
            if outcome.progress.left_out:  # the others need not wait for that
                self._failures = 0
                self._wake.set()
            if self._error is None and outcome.progress.kind not in (PassKind.CHANGE, PassKind.REPAIR):
                verified = ended
            self._done(outcome)

    async def _due(self, ended: float, verify_at: float) -> None:
        """Wait until there is something to do, and for its time; what somebody else has done does not wait.

        After a failure the pauses grow, but something new ends them after a second: it may be the remedy.
        """
        if self._failures:
            pause = min(_FIRST_RETRY_SECONDS * 2 ** min(self._failures - 1, _DOUBLINGS), _MOST_RETRY_SECONDS)
            await asyncio.sleep(_FIRST_RETRY_SECONDS)
            settings = isinstance(self._error, UsageError)
            await _first_of(self._urgent, ended + (0.0 if settings else min(pause, _LEAST_AFTER_FAILURE_SECONDS)))
            await _first_of(self._wake, ended + pause)
        else:
            await _first_of(self._wake, verify_at)
            await _first_of(self._urgent, ended + self._pace.minimum)
            if self._repaired:
                await asyncio.sleep(max(0.0, ended + _AFTER_REPAIR_SECONDS - asyncio.get_running_loop().time()))

    async def _pass(self, inbox: Inbox, *, verify: bool) -> Outcome:
        loop = asyncio.get_running_loop()
        if self._unsynced is None:
            self._unsynced = inbox.pending_since
        inbox.pending_since = None
        taken = inbox.take()
        self._read_at += taken.read_at
        self._causes += _causes(taken.events)
        suspicion, self._suspicion = self._suspicion, None
        seen = tuple(self._drift)
        self._drift.clear()
        started, begun = self._now(), loop.time()
        self.busy_since = started
        progress = await loop.run_in_executor(self._worker, self._step, taken.events, suspicion, verify)
        self.busy_since = None
        ended = loop.time()
        failed = progress.error is not None
        if failed:
            self._unsynced = self._unsynced if self._unsynced is not None else started
            self._drift.extendleft(reversed(seen))
        else:
            self._unsynced = None
        report = PassReport(
            kind=progress.kind,
            reason=_reason(progress.kind, taken, seen),
            started=started,
            seconds=ended - begun,
            services=progress.services,
            added=progress.added,
            removed=progress.removed,
            transactions=progress.transactions,
            operations=progress.operations,
            bytes=progress.bytes,
            error=str(progress.error) if progress.error is not None else "",
            refused=progress.error.source if isinstance(progress.error, KernelRefused) else "",
            latencies=() if failed else tuple(ended - one for one in self._read_at),
            programming=() if failed else self._programming(),
        )
        if not failed:
            self._read_at.clear()
            self._causes.clear()
        log_pass(_log, report)
        return Outcome(report, progress, seen if progress.transactions and not failed else ())

    def _step(self, events: tuple[Event, ...], suspicion: Suspicion | None, verify: bool) -> Progress:  # noqa: FBT001
        """Make a pass, on the worker thread. A bug in it is logged, and everything made anew next time."""
        try:
            self._follower.take(events)
            if suspicion is not None:
                self._follower.suspect(suspicion)
            return self._follower.step(verify=verify)
        except Exception as error:  # noqa: BLE001 - the agent must go on
            _log.exception("a bug in nftsvc: this pass has failed, the next one starts afresh")
            return self._follower.start_afresh(error)

    def _programming(self) -> tuple[tuple[Family, float], ...]:
        """Return, for each slice that changed since the agent started, the seconds from the cause of that to now."""
        now = self._now()
        return tuple((family, now - cause) for family, cause in self._causes if self._started <= cause <= now)


async def _first_of(happens: asyncio.Event, at: float) -> None:
    """Wait until something happens, or until a point in time of the event loop's clock."""
    if happens.is_set() or at <= asyncio.get_running_loop().time():
        return
    with suppress(TimeoutError):
        async with asyncio.timeout_at(at):
            await happens.wait()


def _causes(events: Iterable[Event]) -> Iterable[tuple[Family, float]]:
    """Yield the family of each slice that has changed, and when that happened which it changed for."""
    for one in events:
        if isinstance(one, Put) and isinstance(one.object, EndpointSlice) and one.object.address_type is not None:
            annotations = one.object.metadata.annotations
            cause = _seconds(annotations.trigger_time if annotations is not None else None)
            if cause is not None:
                yield one.object.address_type, cause


def _seconds(text: str | None) -> float | None:
    """Read a point in time; None where there is none, or none that can be read."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None


def _reason(kind: PassKind, taken: Taken, drift: tuple[Drift, ...]) -> str:
    words = [taken.reason] if taken.events else []
    words += [f"{one.process or 'somebody'} (pid {one.pid or '?'}) {one.what}" for one in drift[-1:]]
    if kind is PassKind.RETRY:
        words.append("after a refusal")
    elif kind is PassKind.VERIFY:
        words.append("time to verify")
    return "; ".join(words)
