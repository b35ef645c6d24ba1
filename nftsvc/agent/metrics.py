"""The agent's metrics: kube-proxy's under their own names, so that dashboards and alerts keep working, and ours.

Source of the names with `kubeproxy_`, their types, labels and buckets: kube-proxy 1.36 in nftables mode. A pass is one
transaction for both families, so it counts for each. Ours begin with `nftsvc_`. What Status says is read when somebody
asks (`nftsvc.agent.gauges`); the counters by Service are text of their own (`nftsvc.agent.counters`).
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from nftsvc.agent.counters import ReadCounters, ServiceCounters
from nftsvc.agent.gauges import StatusGauges
from nftsvc.agent.status import Drift, PassReport, Status
from nftsvc.errors import printable
from nftsvc.sync import PassKind
from nftsvc.values import Family

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

# How many names of other processes are told apart, since anybody may choose one.
MOST_PROCESSES: Final = 20
OTHER_PROCESSES: Final = "(other)"

# For how long the text of one scrape answers the next, so that no crowd of clients keeps the loop busy.
FRESH_SECONDS: Final = 0.5

_SYNC_BUCKETS = tuple(0.001 * 2**power for power in range(15))
# The 0 is kube-proxy's: its way of joining bucket lists puts one in front.
_PROGRAMMING_BUCKETS = (0, 0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
_LATENCY_BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_BYTES_BUCKETS = tuple(4**power for power in range(4, 13))
_COUNT_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000, 10000, 50000, 100000)
_FAMILY = ("ip_family",)
_CHANGES = {"Service": "service", "EndpointSlice": "endpoint", "Endpoints": "endpoint"}


class Metrics:
    """What the agent counts. Used on the event loop's thread only.

    `status` gives the present Status (its families at once), `now` the time in seconds since 1970. Without
    `read_counters` there are no counters by Service, without `requests` none of requests to an API server.
    """

    def __init__(
        self,
        status: Callable[[], Status],
        now: Callable[[], float],
        read_counters: ReadCounters | None = None,
        requests: Collector | None = None,
    ) -> None:
        self._families = status().families
        self._registry = CollectorRegistry()
        self._lock = asyncio.Lock()
        self._text = b""
        self._written_at: float | None = None
        self._processes: set[str] = set()
        self._counters = ServiceCounters(read_counters) if read_counters is not None else None
        self._add_kube_proxy()
        self._add_own()
        self._registry.register(StatusGauges(status, now))
        if requests is not None:
            self._registry.register(requests)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    async def exposition(self) -> bytes:
        """Return everything in Prometheus' text format 0.0.4."""
        loop = asyncio.get_running_loop()
        async with self._lock:
            if self._written_at is None or loop.time() - self._written_at >= FRESH_SECONDS:
                by_service = await self._counters.exposition() if self._counters is not None else ()
                self._text = b"".join((generate_latest(_Plain(self._registry)), *by_service))
                self._written_at = loop.time()
            return self._text

    async def close(self) -> None:
        """Stop reading counters."""
        if self._counters is not None:
            await self._counters.close()

    def pass_done(self, report: PassReport) -> None:
        """Count a pass, whether the kernel took it or not."""
        of_its_kind = self._partial if report.kind is PassKind.CHANGE else self._full
        for family in self._families:
            self._syncs.labels(family).observe(report.seconds)
            of_its_kind.labels(family).observe(report.seconds)
            if report.error:
                self._sync_failures.labels(family).inc()
            else:
                self._synced_at.labels(family).set(report.started + report.seconds)
        self._passes.labels(report.kind, "failed" if report.error else "ok").inc()
        for family, seconds in report.programming:
            self._programming.labels(family).observe(seconds)
        for seconds in report.latencies:
            self._latency.observe(seconds)
        if report.transactions:
            self._bytes.observe(report.bytes)
            self._elements.observe(report.added + report.removed)
            self._operations.observe(report.operations)

    def queued(self, at: float) -> None:
        """Note that a pass was asked for (seconds since 1970)."""
        for family in self._families:
            self._queued_at.labels(family).set(at)

    def change_seen(self, kind: str, count: int = 1) -> None:
        """Count changes to objects of a kind (`Service`, `EndpointSlice`, `Endpoints`; others do not count)."""
        if kind in _CHANGES:
            self._changes[_CHANGES[kind]].inc(count)

    def pending(self, services: int, endpoints: int) -> None:
        """Note how many changes to Services and to EndpointSlices are not in the kernel yet."""
        self._pending["service"].set(services)
        self._pending["endpoint"].set(endpoints)

    def drift(self, drift: Drift) -> None:
        """Count the repair of what another process changed."""
        name = printable(drift.process) or "(unknown)"
        if name not in self._processes and len(self._processes) >= MOST_PROCESSES:
            name = OTHER_PROCESSES
        self._processes.add(name)
        self._repairs.labels(name).inc()

    def conntrack_done(self, family: Family, seconds: float, deleted: int) -> None:
        """Count a cleaning of stale flows: how long it took and how many it removed."""
        self._conntrack_seconds.labels(family).observe(seconds)
        self._conntrack_deleted.labels(family).inc(deleted)

    def source_broken(self, source: str) -> None:
        """Count that a source stopped working."""
        self._source_failures.labels(source).inc()

    def healthz_answered(self, code: int) -> None:
        """Count an answer on /healthz."""
        self._healthz.labels(str(int(code))).inc()

    def livez_answered(self, code: int) -> None:
        """Count an answer on /livez."""
        self._livez.labels(str(int(code))).inc()

    def _add_kube_proxy(self) -> None:
        rules = "sync_proxy_rules"
        self._syncs = self._sync_histogram("sync_proxy_rules", "How long a sync took.")
        self._full = self._sync_histogram("sync_full_proxy_rules", "How long a sync of everything took.")
        self._partial = self._sync_histogram("sync_partial_proxy_rules", "How long a sync of changed Services took.")
        self._synced_at = self._gauge(f"kubeproxy_{rules}_last_timestamp_seconds", "When rules were last synced.")
        self._queued_at = self._gauge(f"kubeproxy_{rules}_last_queued_timestamp_seconds", "When a sync was last asked.")
        self._sync_failures, _ = (
            self._counter(f"kubeproxy_{rules}_nftables_{what}_failures_total", meaning)
            for what, meaning in (
                ("sync", "Transactions that the kernel refused."),
                ("cleanup", "Failures to delete stale chains; here part of a transaction, so always 0."),
            )
        )
        self._programming = Histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From a change in the cluster, as the control plane dates it, to the kernel.",
            _FAMILY,
            buckets=_PROGRAMMING_BUCKETS,
            registry=self._registry,
        )
        self._pending, self._changes = {}, {}
        for what in ("endpoint", "service"):
            name = f"kubeproxy_{rules}_{what}_changes"
            meaning = f"Changes of {what}s"
            self._pending[what] = Gauge(f"{name}_pending", f"{meaning} not synced yet.", registry=self._registry)
            self._changes[what] = Counter(f"{name}_total", f"{meaning} seen.", registry=self._registry)
        self._healthz, self._livez = (self._answers(page) for page in ("healthz", "livez"))
        self._conntrack_seconds = self._sync_histogram(
            "conntrack_reconciler_sync", "How long the removal of stale flows took."
        )
        self._conntrack_deleted = self._counter(
            "kubeproxy_conntrack_reconciler_deleted_entries_total", "Stale flows removed."
        )

    def _add_own(self) -> None:
        registry = self._registry
        self._passes = Counter(
            "nftsvc_passes_total", "Passes by why and result.", ("kind", "result"), registry=registry
        )
        for kind in PassKind:
            for result in ("ok", "failed"):
                self._passes.labels(kind, result)
        self._repairs = Counter(
            "nftsvc_drift_repairs_total",
            "Repairs of what another process changed in nftsvc's tables.",
            ("process",),
            registry=registry,
        )
        self._source_failures = Counter(
            "nftsvc_source_failures_total", "How often a source stopped working.", ("source",), registry=registry
        )
        self._latency = Histogram(
            "nftsvc_change_to_kernel_seconds",
            "From reading a batch of changes to the kernel having it.",
            buckets=_LATENCY_BUCKETS,
            registry=registry,
        )
        self._bytes, self._elements, self._operations = (
            Histogram(f"nftsvc_transaction_{what}", meaning, buckets=buckets, registry=registry)
            for what, meaning, buckets in (
                ("bytes", "Bytes of a pass's messages to the kernel, and of its nft text.", _BYTES_BUCKETS),
                ("elements", "Elements that a pass added and removed.", _COUNT_BUCKETS),
                (
                    "operations",
                    "Operations of a pass, on elements of one set, a chain, a set, a table.",
                    _COUNT_BUCKETS,
                ),
            )
        )

    def _sync_histogram(self, name: str, meaning: str) -> Histogram:
        name = f"kubeproxy_{name}_duration_seconds"
        return Histogram(name, meaning, _FAMILY, buckets=_SYNC_BUCKETS, registry=self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, _FAMILY, registry=self._registry)

    def _counter(self, name: str, meaning: str) -> Counter:
        counter = Counter(name, meaning, _FAMILY, registry=self._registry)
        for family in self._families:
            counter.labels(family)
        return counter

    def _answers(self, page: str) -> Counter:
        counter = Counter(
            f"kubeproxy_proxy_{page}_total", f"Answers on /{page}, by status code.", ("code",), registry=self._registry
        )
        for code in ("200", "503"):
            counter.labels(code)
        return counter


class _Plain(Collector):
    """A registry's metrics without the times of their making, and with bucket limits written as Go writes them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            metric.samples = [_as_go(one) for one in metric.samples if not one.name.endswith("_created")]
            yield metric


def _as_go(sample: Sample) -> Sample:
    limit = sample.labels.get("le")
    if limit is None or not limit.endswith(".0"):
        return sample
    return sample._replace(labels={**sample.labels, "le": limit.removesuffix(".0")})
