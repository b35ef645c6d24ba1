"""A cluster as a source: its API server is listed and watched (`nftsvc.sources.source` says what sources do).

    async with open_cluster(kubeconfig=Path("kubeconfig")) as cluster:
        for source in cluster.sources("node-a"): ...

`access` is the only importer of `kubernetes`, for what few users need. What a cluster needs is imported when one is
opened and not before.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from secrets import SystemRandom
from typing import Protocol

from nftsvc.errors import ObjectRef
from nftsvc.sources.source import Observer, Source, unobserved

__all__ = ["Cluster", "open_cluster"]

_random = SystemRandom().random


def _now() -> datetime:
    return datetime.now(UTC)


class Cluster(Protocol):
    """A cluster that can be asked."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unsafe about the way to the cluster, one line each."""
        ...

    def sources(self, node: str, *, with_endpoints: bool = False) -> tuple[Source, ...]:
        """Return a source for each resource that the node of that name must know; each is to be run once.

        These are Services, EndpointSlices, that Node, ServiceCIDRs, and Endpoints only if asked for.
        """
        ...

    def post_event(self, about: ObjectRef, reason: str, message: str, *, node: str, warning: bool = False) -> None:
        """Write a Kubernetes Event about an object soon, if the server takes it and there are not too many.

        Returns at once and never raises; to be called on the event loop's thread. `reason` is a word such as
        `SyncFailed`, `node` the name of this node.
        """
        ...


@asynccontextmanager
async def open_cluster(
    kubeconfig: Path | None = None,
    context: str | None = None,
    server: str | None = None,
    *,
    random: Callable[[], float] = _random,
    clock: Callable[[], datetime] = _now,
    observer: Observer = unobserved,
) -> AsyncIterator[Cluster]:
    """Open a cluster: by a kubeconfig (and a context of it), by an API server's URL, or the one that this Pod is in.

    With both, `server` takes the place of the kubeconfig's. `observer` is told of each request. Raises
    ClusterUnreachable for what cannot work, before anything is sent; a server that does not answer is found out,
    reported and waited for by the sources.
    """
    from nftsvc.sources.cluster.opening import access_to, opened  # noqa: PLC0415 - heavy: see above

    async with opened(access_to(kubeconfig, context, server), random, clock, observer=observer) as cluster:
        yield cluster
