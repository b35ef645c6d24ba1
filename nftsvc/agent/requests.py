"""Metrics of the requests to the API server, under the names that every Kubernetes component has for them.

Source: client-go's metrics as kube-proxy 1.36 serves them, and which dashboards show beside its own.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_BUCKETS = (0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)


class ApiRequests(Collector):
    """Counts requests; `seen` is an Observer (`nftsvc.sources.source`)."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._total = Counter(
            "rest_client_requests_total",
            "Requests to the API server, by status code.",
            ("code", "host", "method"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "rest_client_request_duration_seconds",
            "How long the beginning of the API server's answers took.",
            ("host", "verb"),
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def seen(self, method: str, host: str, code: str, seconds: float) -> None:
        """Count a request."""
        self._total.labels(code, host, method).inc()
        self._seconds.labels(host, method).observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """Return both metrics."""
        return self._registry.collect()
