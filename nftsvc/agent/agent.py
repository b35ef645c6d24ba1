"""The agent put together: sources, sync, drift, flows, pages, on one event loop.

sources -> Inbox -> SyncLoop -> Follower -> kernel
                                  |-> metrics, pages, healthCheckNodePorts, Events, flows
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from nftsvc import __version__
from nftsvc.agent import collector
from nftsvc.agent.cleaning import FlowCleaner
from nftsvc.agent.connections import COUNTED, service_counts
from nftsvc.agent.counters import ServiceCount
from nftsvc.agent.drift import DriftWatch
from nftsvc.agent.health import is_healthy
from nftsvc.agent.inbox import Inbox
from nftsvc.agent.listener import BindAddress
from nftsvc.agent.log import event
from nftsvc.agent.loop import Outcome, SyncLoop
from nftsvc.agent.metrics import Metrics
from nftsvc.agent.options import Pace
from nftsvc.agent.pages import Pages, serve
from nftsvc.agent.requests import ApiRequests
from nftsvc.agent.service_health import EVERYWHERE, FAILED, ServiceHealth
from nftsvc.agent.status import NoLocalEndpoints, Programmed, Status
from nftsvc.agent.systemd import Notifier
from nftsvc.errors import KernelError, ObjectRef, Problem
from nftsvc.events import Put, Removed
from nftsvc.kernel import Kernel
from nftsvc.kernel.addresses import local_addresses
from nftsvc.kernel.conntrack import Cleaned
from nftsvc.objects import Endpoints, EndpointSlice, Node, Service
from nftsvc.plan import HealthCheck
from nftsvc.settings import NodeSettings
from nftsvc.sources.source import Batch, Source
from nftsvc.state import ServiceKey
from nftsvc.sync import Follower
from nftsvc.sync.account import Unserved
from nftsvc.values import FAMILIES, Family

_log = logging.getLogger(__name__)

_ANNOUNCED = (Service.KIND, EndpointSlice.KIND, Endpoints.KIND)
_MOST_PROBLEMS_TOLD = 1000  # at a time
_HUNG_SECONDS = 300.0
_AGAIN_SECONDS = 30.0


class Announcer(Protocol):
    """Whoever writes Kubernetes Events (`nftsvc.sources.cluster.Cluster`)."""

    def post_event(self, about: ObjectRef, reason: str, message: str, *, node: str, warning: bool = False) -> None:
        """Write an Event soon; never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Conduct:
    """How the agent behaves. `node` is the Node's name; `needs_node` says that a cluster knows it.

    `sync_period` (seconds) is half the time after which a change that is not in the kernel makes the node unhealthy.
    `healthz` and `metrics` are where the pages are served, None for nowhere; `hard_fail` ends the agent if they cannot
    be. `shown` are the settings for /configz.
    """

    node: str
    families: tuple[Family, ...] = FAMILIES
    needs_node: bool = False
    pace: Pace = field(default_factory=Pace)
    sync_period: float = 30.0
    healthz: BindAddress | None = None
    metrics: BindAddress | None = None
    hard_fail: bool = False
    shown: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the agent meets besides kernel and sources: the time (seconds since 1970), whom to tell Events, systemd.

    `first_synced` is called on a thread of its own once the kernel has everything for the first time, and again after a
    KernelError.
    """

    now: Callable[[], float]
    first_synced: Callable[[], None] = lambda: None
    announcer: Announcer | None = None
    notifier: Notifier = field(default_factory=Notifier)
    requests: ApiRequests | None = None


class Agent:
    """Keeps one node's tables in step with its sources."""

    def __init__(
        self,
        follower: Follower,
        kernel: Kernel,
        sources: Sequence[Source],
        conduct: Conduct,
        surroundings: Surroundings,
    ) -> None:
        now = surroundings.now
        self._follower = follower
        self._kernel = kernel
        self._sources = sources
        self._conduct = conduct
        self._now = now
        self._announcer = surroundings.announcer
        self._notifier = surroundings.notifier
        self._first_synced = surroundings.first_synced
        self._synced = asyncio.Event()
        self._status = Status(
            version=__version__,
            node=conduct.node,
            started=now(),
            families=conduct.families,
            needs_node=conduct.needs_node,
        )
        self._told: dict[str, tuple[Problem, ...]] = {}
        self._inbox = Inbox(sources, now, self._arrived, self._seen, self._failed)
        self._loop = SyncLoop(follower, conduct.pace, now, self._done)
        self._metrics = Metrics(self.status, now, self._read_counters, surroundings.requests)
        self._cleaner = FlowCleaner(self._cleaned)
        self._service_health: ServiceHealth | None = None
        self._checks: tuple[HealthCheck, ...] = ()
        self._checks_changed = asyncio.Event()
        self._settings: NodeSettings | None = None

    def status(self) -> Status:
        """Return how the agent is doing now."""
        return replace(self._status, sources=self._inbox.sources, pending_since=self._loop.pending_since(self._inbox))

    async def run(self, stop: asyncio.Event) -> None:
        """Work until told to stop. CannotListen if a page cannot be served and that is to be fatal."""
        conduct = self._conduct
        pages = Pages(self.status, self._now, 2 * conduct.sync_period, self._metrics, lambda: conduct.shown)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(
                serve(
                    pages,
                    conduct.healthz,
                    conduct.metrics,
                    hard_fail=conduct.hard_fail,
                    failed=lambda reason, message: self._announce(
                        ObjectRef(Node.KIND, "", conduct.node), reason, message
                    ),
                )
            )
            stack.push_async_callback(self._metrics.close)
            stack.push_async_callback(self._close_service_health)
            drift = DriftWatch(self._kernel, self._loop.suspect, self._now)
            tasks = [
                asyncio.create_task(one, name=name)
                for name, one in (
                    *((source.name, source.run(self._inbox)) for source in self._sources),
                    ("sync", self._loop.run(self._inbox)),
                    ("drift", drift.run()),
                    ("flows", self._cleaner.run()),
                    ("health checks", self._answer_health_checks()),
                    ("watchdog", self._notifier.watchdog(self._is_alive)),
                    ("after the first sync", self._follow_up()),
                )
            ]
            await stack.enter_async_context(_ended_together(tasks))
            event(_log, logging.INFO, "started", version=__version__, node=conduct.node)
            self._metrics.queued(self._now())
            if self._announcer is not None:
                node = ObjectRef(Node.KIND, "", conduct.node)
                self._announcer.post_event(node, "Starting", f"nftsvc {__version__}", node=conduct.node)
            await _first_of(stop, tasks)
            self._notifier.stopping()
            event(_log, logging.INFO, "stopping; rules and traffic stay")

    async def _follow_up(self) -> None:
        await self._synced.wait()
        done = False
        while not done:
            try:
                await asyncio.to_thread(self._first_synced)
                done = True
            except KernelError as error:
                event(_log, logging.ERROR, "taking over from kube-proxy: tried again", error=error)
                await asyncio.sleep(_AGAIN_SECONDS)

    # What happens -----------------------------------------------------------------------------------------------------

    def _arrived(self) -> None:
        self._metrics.queued(self._now())
        self._loop.wake()

    def _seen(self, batch: Batch) -> None:
        for one in batch.events:
            if isinstance(one, Put):
                self._metrics.change_seen(one.object.KIND)
            elif isinstance(one, Removed):
                self._metrics.change_seen(one.ref.kind)
            else:
                self._metrics.change_seen(one.kind.KIND, len(one.objects))
        self._metrics.pending(*self._inbox.pending)
        self._tell(batch.source, batch.problems)

    def _failed(self, source: str) -> None:
        self._metrics.source_broken(source)

    def _done(self, outcome: Outcome) -> None:
        """Take note of a pass; what it has computed may be read until the next one begins."""
        report, follower = outcome.report, self._follower
        failed = bool(report.error)
        settings = follower.settings
        name = self._conduct.node or (settings.name if settings is not None else None) or ""
        node = follower.state.nodes.get(name)
        problems = follower.problems
        before = self._status
        self._status = replace(
            before,
            node=name,
            last_good=before.last_good if failed else report,
            last_failed=report if failed else before.last_failed,
            passes=before.passes + 1,
            failures=before.failures + failed,
            repairs=before.repairs + bool(outcome.repaired),
            last_drift=outcome.repaired[-1] if outcome.repaired else before.last_drift,
            problems=problems,
            node_known=node is not None,
            node_leaving=node is not None and node.leaving,
        )
        self._metrics.pass_done(report)
        self._metrics.pending(*self._inbox.pending)
        for drift in outcome.repaired:
            self._metrics.drift(drift)
        self._tell("", problems)
        if not failed:
            self._succeeded(outcome)

    def _succeeded(self, outcome: Outcome) -> None:
        account = self._follower.account
        first = self._status.first_synced is None
        self._status = replace(
            self._status,
            first_synced=self._now() if first else self._status.first_synced,
            layout=self._follower.layout,
            health_checks=account.health_checks,
            programmed=Programmed(
                services=account.services,
                ports=account.ports,
                endpoints=account.endpoints,
                elements=self._follower.elements,
                no_local_endpoints={
                    family: NoLocalEndpoints(
                        internal=account.unserved[Unserved(family, external=False)],
                        external=account.unserved[Unserved(family, external=True)],
                    )
                    for family in self._conduct.families
                },
            ),
        )
        self._settings = self._follower.settings
        if account.health_checks or self._checks or first:  # each pass tries again what could not be had
            self._checks = account.health_checks
            self._checks_changed.set()
        self._cleaner.add(outcome.progress.stale, outcome.progress.served)
        if first:
            collector.settle()
            self._synced.set()
            self._notifier.ready()
        else:
            collector.tidy()
        self._notifier.status(f"{account.services} Services, {account.endpoints} endpoints in the kernel")

    def _cleaned(self, cleaned: Cleaned) -> None:
        self._metrics.conntrack_done(cleaned.family, cleaned.seconds, cleaned.deleted)

    def _tell(self, origin: str, problems: tuple[Problem, ...]) -> None:
        """Say what has come to be wrong with an object: in the log, and as an Event about it."""
        before = self._told.get(origin, ())
        if problems == before:
            return
        self._told[origin] = problems
        known = frozenset(before)
        for one in [one for one in problems if one not in known][:_MOST_PROBLEMS_TOLD]:
            event(_log, logging.WARNING, "problem", what=one)
            if one.ref is not None and one.ref.kind in _ANNOUNCED:
                self._announce(one.ref, "NotServed", f"{one.field}: {one.message}" if one.field else one.message)

    def _announce(self, about: ObjectRef, reason: str, message: str) -> None:
        if self._announcer is not None:
            self._announcer.post_event(about, reason, message, node=self._conduct.node, warning=True)

    # What is served ---------------------------------------------------------------------------------------------------

    async def _answer_health_checks(self) -> None:
        """Keep the listeners of healthCheckNodePorts as the passes want them."""
        while True:
            await self._checks_changed.wait()
            self._checks_changed.clear()
            if self._service_health is None and self._settings is not None:
                try:
                    addresses = await asyncio.to_thread(_addresses, self._settings)
                except KernelError as error:
                    event(_log, logging.WARNING, "no addresses for health checks", error=error)
                    continue
                self._service_health = ServiceHealth(self._keeps_up, self._no_listener, addresses)
            if self._service_health is not None:
                await self._service_health.update(self._checks)

    async def _close_service_health(self) -> None:
        if self._service_health is not None:
            await self._service_health.close()

    def _keeps_up(self) -> bool:
        return is_healthy(self.status(), self._now(), 2 * self._conduct.sync_period)

    def _no_listener(self, service: ServiceKey, message: str) -> None:
        self._announce(ObjectRef(Service.KIND, *service), FAILED, message)

    def _is_alive(self) -> bool:
        since = self._loop.busy_since
        return since is None or self._now() - since < _HUNG_SECONDS

    async def _read_counters(self) -> Sequence[ServiceCount]:
        return await asyncio.to_thread(self._counts)

    def _counts(self) -> Sequence[ServiceCount]:
        plans = tuple(self._follower.plans.values())  # one step of the interpreter: the worker may be changing them
        names = dict.fromkeys(self._conduct.families, COUNTED)
        return service_counts(plans, self._kernel.counters(names))


def _addresses(settings: NodeSettings) -> Mapping[Family, tuple[str, ...]]:
    """Return where healthCheckNodePorts answer: on the addresses that node ports do, as they are now."""
    found: dict[Family, tuple[str, ...]] = {}
    for family in settings.families:
        networks = settings.node_port_networks.get(family, ())
        own = (one for one in (local_addresses() if networks else ()) if one.family is family)
        within = tuple(sorted(one for one in own if any(network.covers(one) for network in networks)))
        found[family] = settings.node_port_addresses.get(family) or (within if networks else EVERYWHERE[family])
    return found


async def _first_of(stop: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until told to stop, or until one of the tasks fails, and then raise what it raised."""
    stopping = asyncio.create_task(stop.wait())
    waiting: set[asyncio.Task[None] | asyncio.Task[bool]] = {stopping, *tasks}
    try:
        while stopping in waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for one in done - {stopping}:
                one.result()
    finally:
        stopping.cancel()


@asynccontextmanager
async def _ended_together(tasks: Sequence[asyncio.Task[None]]) -> AsyncIterator[None]:
    """Cancel the tasks in the end and wait for them."""
    try:
        yield
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
