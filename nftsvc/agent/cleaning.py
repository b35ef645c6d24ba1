"""Removes stale flows after passes, on a thread of its own: never in the way of the next pass."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from nftsvc.agent.log import event
from nftsvc.errors import KernelError
from nftsvc.flows import NONE_TRACKED, Endpoints, Target, Tracked
from nftsvc.kernel.addresses import local_addresses
from nftsvc.kernel.conntrack import Cleaned, clean_flows

_log = logging.getLogger(__name__)


class FlowCleaner:
    """Looks through flows for frontends that changed. `cleaned` is told what came of it.

    What arrives while flows are looked through waits for its turn. The endpoints of frontends that wait or are under
    way are always the latest that were told, so flows to new endpoints are not taken for stale. What is left is the
    time from the kernel taking a new endpoint to the end of its pass: a flow to it that begins then, at a frontend that
    is under way, may be deleted, and its next packet chooses once more.
    """

    def __init__(self, cleaned: Callable[[Cleaned], None], namespace: Path | None = None) -> None:
        self._cleaned = cleaned
        self._namespace = namespace
        self._waiting: dict[Target, Endpoints] = {}
        self._under_way: dict[Target, Endpoints] = {}  # read by the thread; its keys stay as they are
        self._wake = asyncio.Event()
        self._stop = threading.Event()

    def add(self, stale: Tracked, served: Tracked = NONE_TRACKED) -> None:
        """Have the flows of stale frontends looked through soon.

        `served` are others of which the endpoints have changed, whether or not any of them is looked through.
        """
        self._waiting.update((target, ends) for target, ends in served.items() if target in self._waiting)
        self._waiting.update(stale)
        if self._under_way:
            latest = {**served, **stale}
            self._under_way.update((target, ends) for target, ends in latest.items() if target in self._under_way)
        if self._waiting:
            self._wake.set()

    async def run(self) -> None:
        """Clean until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._under_way, self._waiting = self._waiting, {}
                await self._clean(self._under_way)
                self._under_way = {}
        finally:
            self._stop.set()

    async def _clean(self, frontends: Tracked) -> None:
        try:
            for one in await asyncio.to_thread(self._look_through, frontends):
                event(
                    _log,
                    logging.INFO if one.deleted else logging.DEBUG,
                    "stale flows removed",
                    family=one.family,
                    looked_at=one.looked_at,
                    deleted=one.deleted,
                    seconds=round(one.seconds, 6),
                )
                self._cleaned(one)
        except KernelError as error:
            event(_log, logging.WARNING, "cannot look for stale flows", error=error)

    def _look_through(self, frontends: Tracked) -> tuple[Cleaned, ...]:
        node_ports = any(one.address is None for one in frontends)
        local = local_addresses(self._namespace) if node_ports else ()
        return clean_flows(frontends, local, namespace=self._namespace, stop=self._stop.is_set)
