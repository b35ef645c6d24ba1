"""healthCheckNodePorts: a listener for each Service that has one, which tells load balancers about this node.

Source: kube-proxy 1.36. Any path and method; 200 if the Service has ready endpoints on this node and the agent keeps
up, else 503; each family's listener tells that family's endpoints.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from nftsvc.agent.health import Answer, health_check
from nftsvc.agent.listener import BindAddress, Crowd, Listener, listen, open_socket
from nftsvc.agent.log import event
from nftsvc.plan import HealthCheck
from nftsvc.state import ServiceKey
from nftsvc.values import Family

# Reason of the Event that kube-proxy writes on the Service.
FAILED: Final = "FailedToStartServiceHealthcheck"
EVERYWHERE: Final[Mapping[Family, tuple[str, ...]]] = {Family.IPV4: ("0.0.0.0",), Family.IPV6: ("::",)}  # noqa: S104
MOST_CONNECTIONS: Final = 256

_log = logging.getLogger(__name__)

_Key = tuple[ServiceKey, Family]


class ServiceHealth:
    """The listeners. Used on the event loop's thread only.

    `healthy` tells whether the agent keeps up. `failed` is called with a Service and a message when its port cannot be
    had (once, until that changes), for an Event. `addresses` are where node ports answer: all, or the node's own, as
    they were when the agent started; a family without any has no listeners.
    """

    def __init__(
        self,
        healthy: Callable[[], bool],
        failed: Callable[[ServiceKey, str], None],
        addresses: Mapping[Family, tuple[str, ...]] = EVERYWHERE,
    ) -> None:
        self._healthy = healthy
        self._failed = failed
        self._addresses = addresses
        self._open: dict[_Key, _Check] = {}
        self._failures: dict[_Key, str] = {}
        self._crowd = Crowd(MOST_CONNECTIONS)
        self._lock = asyncio.Lock()

    @property
    def listening(self) -> Mapping[tuple[ServiceKey, Family], tuple[BindAddress, ...]]:
        """Where each Service's listeners are, by family."""
        return {key: tuple(one.address for one in check.listeners) for key, check in self._open.items()}

    async def update(self, checks: tuple[HealthCheck, ...]) -> None:
        """Open, keep and close listeners so that these are answered; call it after each pass that succeeded.

        A port that cannot be had is tried again at the next call.
        """
        wanted = {
            (check.service, family): (check.port, count)
            for check in checks
            for family, count in check.local.items()
            if self._addresses.get(family)
        }
        async with self._lock:
            over = [key for key, one in self._open.items() if wanted.get(key, (0, 0))[0] != one.port]
            await asyncio.gather(*(self._open.pop(key).close() for key in over))
            self._failures = {key: text for key, text in self._failures.items() if key in wanted}
            for key, (port, count) in wanted.items():
                if key in self._open:
                    self._open[key].count = count
                else:
                    await self._try(key, port, count)

    async def close(self) -> None:
        """Close all listeners."""
        await self.update(())

    async def _try(self, key: _Key, port: int, count: int) -> None:
        service, family = key
        check = _Check(port, count)
        try:
            await self._listen(service, family, check)
        except OSError as error:
            message = f"cannot listen on healthCheckNodePort {port} ({family}): {error.strerror or error}"
            if self._failures.get(key) != message:
                self._failures[key] = message
                event(_log, logging.WARNING, "health check port failed", service=service, error=message)
                self._failed(service, message)
        else:
            self._open[key] = check
            self._failures.pop(key, None)
            event(_log, logging.DEBUG, "health check port opened", service=service, port=port, family=family)

    async def _listen(self, service: ServiceKey, family: Family, check: "_Check") -> None:
        """Listen on every address, or with OSError on none."""

        async def answer(_path: str) -> Answer:
            return health_check(service, check.count, healthy=self._healthy())

        async with AsyncExitStack() as stack:
            stack.push_async_callback(check.close)
            for host in self._addresses[family]:
                listening = open_socket(BindAddress(host, check.port), one_family=True)
                check.listeners.append(await listen(listening, answer, self._crowd))
            stack.pop_all()


@dataclass(slots=True)
class _Check:
    """One family's listeners of one Service, and how many endpoints they tell."""

    port: int
    count: int
    listeners: list[Listener] = field(default_factory=list)

    async def close(self) -> None:
        await asyncio.gather(*(one.close() for one in self.listeners))
