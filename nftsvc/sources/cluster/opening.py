"""Puts a cluster together: access, connection, sources, Events. `nftsvc.sources.cluster` says what it is to others."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path

from nftsvc.errors import ObjectRef
from nftsvc.sources.cluster.access import TOKEN, Access, KubeconfigAccess, PlainAccess, PodAccess
from nftsvc.sources.cluster.connection import Connection
from nftsvc.sources.cluster.pace import PACE, Pace
from nftsvc.sources.cluster.reporting import Notice, Reporter
from nftsvc.sources.cluster.resources import wanted_resources
from nftsvc.sources.cluster.watching import ResourceSource
from nftsvc.sources.source import Observer, Source, unobserved


class OpenCluster:
    """A `nftsvc.sources.cluster.Cluster`; `random` gives numbers in [0, 1)."""

    def __init__(self, connection: Connection, reporter: Reporter, random: Callable[[], float], pace: Pace) -> None:
        self._connection = connection
        self._reporter = reporter
        self._random = random
        self._pace = pace

    @property
    def warnings(self) -> tuple[str, ...]:
        """See Cluster."""
        return self._connection.warnings

    def sources(self, node: str, *, with_endpoints: bool = False) -> tuple[Source, ...]:
        """See Cluster."""
        wanted = wanted_resources(node, with_endpoints=with_endpoints)
        return tuple(ResourceSource(one, self._connection, self._random, self._pace) for one in wanted)

    def post_event(self, about: ObjectRef, reason: str, message: str, *, node: str, warning: bool = False) -> None:
        """See Cluster."""
        self._reporter.post(Notice(about, reason, message, warning, node))


def access_to(kubeconfig: Path | None, context: str | None, server: str | None, token: Path = TOKEN) -> Access:
    """Return the way to the cluster that these name; ClusterUnreachable if the server's URL is none.

    With a server alone that is the ServiceAccount of the Pod that we run in, or no credentials where this is no Pod.
    """
    if kubeconfig is not None:
        return KubeconfigAccess(kubeconfig, context, server)
    if server and not token.exists():
        return PlainAccess(server)
    return PodAccess(token, server=server or None)


@asynccontextmanager
async def opened(
    access: Access,
    random: Callable[[], float],
    clock: Callable[[], datetime],
    pace: Pace = PACE,
    observer: Observer = unobserved,
) -> AsyncIterator[OpenCluster]:
    """Open a cluster for a while; ClusterUnreachable if what is told about it cannot work."""
    async with Connection(access, clock, pace, observer) as connection:
        reporter = Reporter(connection, clock)
        try:
            yield OpenCluster(connection, reporter, random, pace)
        finally:
            await reporter.close()
