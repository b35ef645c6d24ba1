"""The pages that the agent serves, on two addresses. Read-only, for any method, as kube-proxy has them.

| path | health address | metrics address | what it says |
|---|---|---|---|
| `/healthz` | kube-proxy's | `ok` | whether traffic may come to this node |
| `/livez`, `/readyz` | yes | yes | whether the agent keeps up; whether the kernel has everything |
| `/metrics` | | yes | Prometheus' text format |
| `/proxyMode` | | yes | `nftables` |
| `/statusz` | | yes | the Status (`nftsvc.agent.statusz`) |
| `/configz` | | yes | the settings in effect |

Everything else is not found. Who may reach an address may read all of its pages, so none has a credential.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from nftsvc.agent.health import TEXT, Answer, healthz, livez, readyz
from nftsvc.agent.listener import Answering, BindAddress, CannotListen, Crowd, Listener, listen, open_socket
from nftsvc.agent.log import event
from nftsvc.agent.metrics import CONTENT_TYPE, Metrics
from nftsvc.agent.redaction import shown
from nftsvc.agent.status import Status
from nftsvc.agent.statusz import written_status

# Reasons of the Events that kube-proxy writes when it cannot listen.
HEALTH_FAILED: Final = "FailedToStartProxierHealthcheck"
METRICS_FAILED: Final = "FailedToStartMetricServer"

RETRY_SECONDS: Final = 5.0
MOST_CONNECTIONS: Final = 128

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pages:
    """Where the pages' contents come from.

    `status` gives the present Status, `now` the time in seconds since 1970; `timeout` is for how many seconds a change
    may wait for the kernel (twice `syncPeriod`); `settings` gives the settings in effect, by name.
    """

    status: Callable[[], Status]
    now: Callable[[], float]
    timeout: float
    metrics: Metrics
    settings: Callable[[], Mapping[str, object]] = dict

    async def health(self, path: str) -> Answer | None:
        """Answer on the health address; None where there is no page."""
        match path:
            case "/healthz":
                answer = healthz(self.status(), self.now(), self.timeout)
                self.metrics.healthz_answered(answer.code)
            case "/livez":
                answer = livez(self.status(), self.now(), self.timeout)
                self.metrics.livez_answered(answer.code)
            case "/readyz":
                answer = readyz(self.status())
            case _:
                return None
        return answer

    async def observed(self, path: str) -> Answer | None:
        """Answer on the metrics address; None where there is no page."""
        match path:
            case "/metrics":
                return Answer(200, await self.metrics.exposition(), CONTENT_TYPE)
            case "/healthz":
                return Answer(200, b"ok", TEXT)
            case "/proxyMode":
                return Answer(200, b"nftables", TEXT)
            case "/statusz":
                return Answer(200, written_status(self.status(), self.now(), self.timeout))
            case "/configz":
                return Answer(200, (json.dumps(shown(self.settings()), indent=2) + "\n").encode())
            case _:
                return await self.health(path)


@dataclass(slots=True)
class Served:
    """Where the pages are at present: None before an address could be had, and where none was asked for."""

    healthz: BindAddress | None = None
    metrics: BindAddress | None = None


@asynccontextmanager
async def serve(
    pages: Pages,
    healthz: BindAddress | None,
    metrics: BindAddress | None,
    *,
    hard_fail: bool = False,
    failed: Callable[[str, str], None] = lambda _reason, _message: None,
    retry: float = RETRY_SECONDS,
) -> AsyncIterator[Served]:
    """Serve the pages on both addresses (None: not at all) while the context lasts.

    An address that cannot be had is tried again every `retry` seconds, with a log line, and `failed` is called once
    with the Event's reason and a message. With `hard_fail` (kube-proxy's bindAddressHardFail) CannotListen is raised
    instead.
    """
    served = Served()
    async with AsyncExitStack() as stack:
        for name, address, answering, reason in (
            ("healthz", healthz, pages.health, HEALTH_FAILED),
            ("metrics", metrics, pages.observed, METRICS_FAILED),
        ):
            if address is not None:
                site = _Site(name, address, answering, served)
                stack.push_async_callback(site.close)
                try:
                    await site.open()
                except OSError as error:
                    message = f"cannot listen on {address} ({name}): {error.strerror or error}"
                    if hard_fail:
                        raise CannotListen(message) from error
                    failed(reason, message)
                    site.open_later(retry, message)
        yield served


class _Site:
    """One of the addresses: opened at once or later."""

    def __init__(self, name: str, address: BindAddress, answering: Answering, served: Served) -> None:
        self._name = name
        self._address = address
        self._answering = answering
        self._served = served
        self._listener: Listener | None = None
        self._trying: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen; OSError if the address cannot be had."""
        self._listener = await listen(open_socket(self._address), self._answering, Crowd(MOST_CONNECTIONS))
        setattr(self._served, self._name, self._listener.address)
        event(_log, logging.INFO, "listening", pages=self._name, address=self._listener.address)

    def open_later(self, retry: float, message: str) -> None:
        """Say what is wrong and try again, every so many seconds."""
        self._trying = asyncio.create_task(self._keep_trying(retry, message), name=f"listen for {self._name}")

    async def close(self) -> None:
        """Give the address up."""
        if self._trying is not None:
            self._trying.cancel()
            with suppress(asyncio.CancelledError):
                await self._trying
        if self._listener is not None:
            await self._listener.close()

    async def _keep_trying(self, retry: float, message: str) -> None:
        while self._listener is None:
            event(_log, logging.WARNING, "no pages yet", pages=self._name, error=message, retry=retry)
            await asyncio.sleep(retry)
            with suppress(OSError):
                await self.open()
