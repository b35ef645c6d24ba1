"""Removes stale UDP flows after passes, on a thread of its own: never in the way of the next pass."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from nftsvc.agent.log import event
from nftsvc.errors import KernelError
from nftsvc.flows import UdpFrontend
from nftsvc.kernel.addresses import local_addresses
from nftsvc.kernel.conntrack import Cleaned, clean_flows
from nftsvc.values import Address, Family

_log = logging.getLogger(__name__)

_MOST_INTERRUPTIONS = 3

_Key = tuple[Family, Address | None, int]


class FlowCleaner:
    """Looks through flows for frontends that changed. `cleaned` is told what came of it.

    What arrives while flows are looked through waits for its turn, the latest word about each frontend. Where it is
    about a frontend that is being looked through, that ends at once and begins anew, or else flows to new endpoints
    might be taken for stale; a few times only, so that it comes to an end.
    """

    def __init__(self, cleaned: Callable[[Cleaned], None], namespace: Path | None = None) -> None:
        self._cleaned = cleaned
        self._namespace = namespace
        self._waiting: dict[_Key, UdpFrontend] = {}
        self._under_way: dict[_Key, UdpFrontend] = {}
        self._wake = asyncio.Event()
        self._stop = threading.Event()
        self._interruptions = 0

    def add(self, frontends: Iterable[UdpFrontend]) -> None:
        """Have the flows of these frontends looked through soon."""
        self._waiting.update(((one.family, one.address, one.port), one) for one in frontends)
        if self._waiting:
            self._wake.set()
        if self._waiting.keys() & self._under_way.keys() and self._interruptions < _MOST_INTERRUPTIONS:
            self._stop.set()

    async def run(self) -> None:
        """Clean until cancelled."""
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                self._under_way, self._waiting = self._waiting, {}
                await self._clean(tuple(self._under_way.values()))
                if self._stop.is_set():
                    self._waiting = {**self._under_way, **self._waiting}
                    self._wake.set()
                    self._stop.clear()
                    self._interruptions += 1
                else:
                    self._interruptions = 0
                self._under_way = {}
        finally:
            self._stop.set()

    async def _clean(self, frontends: tuple[UdpFrontend, ...]) -> None:
        try:
            for one in await asyncio.to_thread(self._look_through, frontends):
                event(
                    _log,
                    logging.INFO if one.deleted else logging.DEBUG,
                    "stale UDP flows removed",
                    family=one.family,
                    looked_at=one.looked_at,
                    deleted=one.deleted,
                    seconds=round(one.seconds, 6),
                )
                self._cleaned(one)
        except KernelError as error:
            event(_log, logging.WARNING, "cannot look for stale UDP flows", error=error)

    def _look_through(self, frontends: tuple[UdpFrontend, ...]) -> tuple[Cleaned, ...]:
        node_ports = any(one.address is None for one in frontends)
        local = local_addresses(self._namespace) if node_ports else ()
        return clean_flows(frontends, local, namespace=self._namespace, stop=self._stop.is_set)
