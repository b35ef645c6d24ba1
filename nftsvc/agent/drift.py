"""Watches for other processes that change our tables."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from nftsvc.agent.log import event
from nftsvc.agent.status import Drift
from nftsvc.errors import KernelError
from nftsvc.kernel import Foreign, Kernel, Monitor
from nftsvc.sync import Suspicion
from nftsvc.values import Family

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 30.0
_QUIET_SECONDS = 1.0
_MOST_PROCESSES = 100


class DriftWatch:
    """Tells of what others do to our tables. `now` gives the time in seconds since 1970.

    Without notifications (a kernel that does not let them be had) the agent goes on, and asks for them again and again;
    everything is verified in time.
    """

    def __init__(
        self,
        kernel: Kernel,
        suspect: Callable[[Suspicion, Drift], None],
        now: Callable[[], float],
        namespace: Path | None = None,
    ) -> None:
        self._kernel = kernel
        self._suspect = suspect
        self._now = now
        self._namespace = namespace
        self._said: dict[str, float] = {}
        self._unsaid = 0

    async def run(self) -> None:
        """Watch until cancelled."""
        failure = ""
        while True:
            try:
                with await asyncio.to_thread(self._open) as monitor:
                    if failure:  # nobody knows what has happened meanwhile
                        self._suspect(Suspicion(), Drift("", 0, "may have changed something unseen", self._now()))
                        failure = ""
                    await self._read(monitor)
            except KernelError as error:
                if str(error) != failure:
                    failure = str(error)
                    event(_log, logging.WARNING, "changes by others will be seen late", error=error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _read(self, monitor: Monitor) -> None:
        """Tell of what the monitor sees; KernelError when it sees nothing more."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def read() -> None:
            try:
                for one in monitor.read():
                    self._tell(one)
            except KernelError as error:
                loop.remove_reader(monitor.fileno())
                if not ended.done():
                    ended.set_exception(error)

        loop.add_reader(monitor.fileno(), read)
        try:
            read()
            await ended
        finally:
            loop.remove_reader(monitor.fileno())

    def _open(self) -> Monitor:
        monitor = Monitor(self._namespace)
        try:
            self._kernel.identify(monitor)
        except BaseException:
            monitor.close()
            raise
        return monitor

    def _tell(self, foreign: Foreign) -> None:
        drift = Drift(foreign.process, foreign.pid, foreign.what, self._now())
        if self._is_news(drift):
            event(
                _log,
                logging.WARNING,
                "another process changed our tables",
                process=foreign.process,
                pid=foreign.pid,
                what=foreign.what,
                unsaid=self._unsaid or None,
            )
            self._unsaid = 0
        else:
            self._unsaid += 1
        self._suspect(suspicion_of(foreign), drift)

    def _is_news(self, drift: Drift) -> bool:
        """Whether to log it: a process that changes something hundreds of times a second is named once in each."""
        said = self._said.get(drift.process)
        if said is not None and 0 <= drift.at - said < _QUIET_SECONDS:
            return False
        if len(self._said) >= _MOST_PROCESSES:
            self._said.clear()
        self._said[drift.process] = drift.at
        return True


def suspicion_of(foreign: Foreign) -> Suspicion:
    """Return where to look after somebody else's transaction."""
    if foreign.structural:
        return Suspicion()
    families: dict[Family, set[str]] = {}
    for family, name in foreign.sets:
        families.setdefault(family, set()).add(name)
    return Suspicion({family: frozenset(names) for family, names in families.items()})
