"""The part of the metrics that Status says, read when somebody asks."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nftsvc.agent.health import behind_since, ended, unready
from nftsvc.agent.status import NoLocalEndpoints, SourceStatus, Status
from nftsvc.sync import PassKind

_NONE_LOCAL = NoLocalEndpoints()
_Rows = Iterable[tuple[tuple[str, ...], float]]


class StatusGauges(Collector):
    """Turns the present Status into gauges. `now` is in seconds since 1970."""

    def __init__(self, status: Callable[[], Status], now: Callable[[], float]) -> None:
        self._status = status
        self._now = now

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        status = self._status()
        yield from _kube_proxy(status)
        yield from _state(status, self._now())
        yield from _programmed(status)
        yield from _sources(status)


def _kube_proxy(status: Status) -> Iterator[Metric]:
    counts = {family: status.programmed.no_local_endpoints.get(family, _NONE_LOCAL) for family in status.families}
    yield _gauge(
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
        "Service ports with traffic policy Local that have endpoints, but none on this node.",
        ("ip_family", "traffic_policy"),
        [
            row
            for family, one in counts.items()
            for row in (((family, "internal"), one.internal), ((family, "external"), one.external))
        ],
    )


def _state(status: Status, now: float) -> Iterator[Metric]:
    behind, good, bad = behind_since(status), status.last_good, status.last_failed
    build = (status.version, status.layout)
    yield _gauge("nftsvc_build_info", "The running version and its table layout.", ("version", "layout"), [(build, 1)])
    yield _gauge(
        "nftsvc_ready", "1 if the first sync is done and no source is broken.", (), [((), not unready(status))]
    )
    yield _gauge(
        "nftsvc_applied_state_age_seconds",
        "For how long the kernel may not have what the cluster wants: 0 if all known changes are in the kernel and"
        " every source works.",
        (),
        [((), 0 if behind is None else max(0.0, now - behind))],
    )
    failed = bad is not None and (good is None or bad.started > good.started)
    yield _gauge("nftsvc_last_pass_failed", "1 if the kernel refused the last pass.", (), [((), failed)])
    yield _gauge(
        "nftsvc_last_error_timestamp_seconds",
        "When the kernel last refused a pass of the kind, 0 for never; what it said is on /statusz.",
        ("kind",),
        [((kind,), ended(bad) if bad is not None and bad.kind is kind else 0) for kind in PassKind],
    )
    yield _gauge(
        "nftsvc_object_problems",
        "Warnings about objects that were read, such as conflicts; see /statusz.",
        (),
        [((), len(status.problems))],
    )


def _programmed(status: Status) -> Iterator[Metric]:
    programmed = status.programmed
    for name, count, meaning in (
        ("services", programmed.services, "Services in the kernel."),
        ("service_ports", programmed.ports, "Service ports in the kernel."),
        ("endpoints", programmed.endpoints, "Endpoints in the kernel."),
        ("health_check_ports", len(status.health_checks), "Services with a healthCheckNodePort."),
    ):
        yield _gauge(f"nftsvc_{name}", meaning, (), [((), count)])
    yield _gauge(
        "nftsvc_elements",
        "Elements of the table's sets and maps.",
        ("ip_family",),
        [((family,), programmed.elements.get(family, 0)) for family in status.families],
    )


def _sources(status: Status) -> Iterator[Metric]:
    readings: tuple[tuple[str, str, Callable[[SourceStatus], float]], ...] = (
        ("up", "1 if the source works.", lambda one: not one.broken),
        ("complete", "1 if the source has said what there is.", lambda one: one.complete),
        ("objects", "Objects that the source knows.", lambda one: one.objects),
        ("problems", "Objects of the source that cannot be read; see /statusz.", lambda one: len(one.problems)),
    )
    for name, meaning, reading in readings:
        rows = [((one.name,), reading(one)) for one in status.sources]
        yield _gauge(f"nftsvc_source_{name}", meaning, ("source",), rows)


def _gauge(name: str, meaning: str, labels: tuple[str, ...], rows: _Rows) -> GaugeMetricFamily:
    gauge = GaugeMetricFamily(name, meaning, labels=labels)
    for values, value in rows:
        gauge.add_metric(values, float(value))
    return gauge
