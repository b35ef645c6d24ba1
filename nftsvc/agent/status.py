"""What the agent has done and how it is doing, as values: what its log, metrics and status pages are made of.

Times are seconds since 1970 unless a field says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nftsvc.errors import Problem
from nftsvc.plan import HealthCheck
from nftsvc.sync import PassKind
from nftsvc.values import FAMILIES, Family

__all__ = [
    "Drift",
    "HealthCheck",
    "NoLocalEndpoints",
    "PassKind",
    "PassReport",
    "Programmed",
    "SourceStatus",
    "Status",
]


@dataclass(frozen=True, slots=True)
class PassReport:
    """One pass from events to the kernel.

    `seconds` is its duration; `services` how many were computed anew; `added` and `removed` count elements; `bytes` is
    the bytes that were sent. `error` is "" if the kernel took everything. `latencies` are, for each batch of events,
    the seconds from reading it to the commit; `programming` the same from the moment that the control plane gives as
    the cause of a slice's change (annotation endpoints.kubernetes.io/last-change-trigger-time), by family.
    `operations` is how many operations the transactions had together; `refused` names the object whose command the
    kernel refused (`Service shop/web`), as far as known.
    """

    kind: PassKind
    reason: str
    started: float
    seconds: float
    services: int = 0
    added: int = 0
    removed: int = 0
    transactions: int = 0
    bytes: int = 0
    error: str = ""
    latencies: tuple[float, ...] = ()
    programming: tuple[tuple[Family, float], ...] = ()
    operations: int = 0
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Drift:
    """A change to our tables by another process. `pid` is 0 and `process` "" where nobody knows."""

    process: str
    pid: int
    what: str
    at: float


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """A source. `complete` once it has said what there is; `broken` is why it does not work at present, or ""."""

    name: str
    complete: bool = False
    broken: str = ""
    since: float = 0.0
    objects: int = 0
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class NoLocalEndpoints:
    """How many Service ports have a Local policy and endpoints, but none on this node."""

    internal: int = 0
    external: int = 0


@dataclass(frozen=True, slots=True)
class Programmed:
    """What is in the kernel. `elements` counts those of each table's sets and maps, by family."""

    services: int = 0
    ports: int = 0
    endpoints: int = 0
    elements: Mapping[Family, int] = field(default_factory=dict)
    no_local_endpoints: Mapping[Family, NoLocalEndpoints] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Status:
    """The agent as a whole.

    `pending_since` is when the oldest change arrived that is not in the kernel yet, None if there is none.
    `node_known` and `node_leaving` tell of the Node object: whether it has been seen, and whether it is being deleted
    or marked for removal by the cluster autoscaler. `problems` are warnings about objects that were read (conflicts and
    the like); those of the sources are about objects that could not be.
    """

    version: str
    node: str
    started: float
    families: tuple[Family, ...] = FAMILIES
    layout: str = ""
    sources: tuple[SourceStatus, ...] = ()
    programmed: Programmed = field(default_factory=Programmed)
    health_checks: tuple[HealthCheck, ...] = ()
    pending_since: float | None = None
    last_good: PassReport | None = None
    last_failed: PassReport | None = None
    first_synced: float | None = None
    passes: int = 0
    failures: int = 0
    repairs: int = 0
    last_drift: Drift | None = None
    problems: tuple[Problem, ...] = ()
    needs_node: bool = False
    node_known: bool = False
    node_leaving: bool = False
