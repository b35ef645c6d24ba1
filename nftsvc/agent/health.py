"""Whether the agent is alive, healthy and ready: decisions on its Status, and the answers that say so.

Pure: no clock, no socket. `timeout` is for how many seconds a change may wait for the kernel: twice `syncPeriod`.
Source of codes, headers and bodies: kube-proxy 1.36 (`/healthz`, `/livez`, healthCheckNodePort); `/readyz` is our own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from nftsvc.agent.redaction import without_credentials
from nftsvc.agent.status import PassReport, SourceStatus, Status
from nftsvc.state import ServiceKey

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

# What Go writes for a time that was never set.
NEVER = "0001-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an HTTP request gets: the status code, the body and its type, and headers for this answer only."""

    code: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


def healthz(status: Status, now: float, timeout: float) -> Answer:
    """Answer whether load balancers may send traffic to this node: the agent keeps up, and the node stays."""
    healthy, eligible = is_healthy(status, now, timeout), node_eligible(status)
    return _health(status, now, healthy=healthy, fine=healthy and eligible, node={"nodeEligible": eligible})


def livez(status: Status, now: float, timeout: float) -> Answer:
    """Answer whether the agent keeps up, whatever becomes of the node."""
    healthy = is_healthy(status, now, timeout)
    return _health(status, now, healthy=healthy, fine=healthy, node={})


def readyz(status: Status) -> Answer:
    """Answer whether the kernel has all that the sources know: the first sync is done and no source is broken."""
    reasons = unready(status)
    body = {"ready": not reasons, "reasons": reasons, "sources": [_source(one) for one in status.sources]}
    return Answer(_code(fine=not reasons), json.dumps(body).encode())


def health_check(service: ServiceKey, count: int, *, healthy: bool) -> Answer:
    """Answer on a healthCheckNodePort: the Service has ready endpoints on this node, and the agent keeps up.

    Whether the node stays does not count here.
    """
    body = {
        "service": {"namespace": service.namespace, "name": service.name},
        "localEndpoints": count,
        "serviceProxyHealthy": healthy,
    }
    written = json.dumps(body, indent="\t").encode()
    headers = (("X-Load-Balancing-Endpoint-Weight", str(count)),)
    return Answer(_code(fine=healthy and count > 0), written, headers=headers)


def is_healthy(status: Status, now: float, timeout: float) -> bool:
    """Tell whether the agent keeps up: no change has waited too long for the kernel.

    It is healthy while it waits for a source's first list, as kube-proxy is: a slow start is no reason to be killed.
    """
    waiting = status.first_synced is None and not all(one.complete for one in status.sources)
    if waiting or status.pending_since is None:
        return True
    return now - status.pending_since < timeout


def node_eligible(status: Status) -> bool:
    """Tell whether the node stays: its Node has been seen (if there is to be one) and is not on its way out."""
    return not status.node_leaving and (status.node_known or not status.needs_node)


def unready(status: Status) -> tuple[str, ...]:
    """Return why the agent is not ready, in sentences without credentials; nothing if it is."""
    reasons = []
    if status.first_synced is None:
        reasons.append(f"first sync not done: {_first_sync(status)}")
    reasons += (
        f"{one.name} broken since {go_time(one.since)}: {without_credentials(one.broken)}"
        for one in status.sources
        if one.broken
    )
    return tuple(reasons)


def behind_since(status: Status) -> float | None:
    """Return since when the kernel may not have what the cluster wants, or None if it is up to date.

    That is the oldest of: a change that is not in the kernel yet, the failure of a source that still does not work,
    and, before the first sync, the start of the agent.
    """
    moments = [one.since for one in status.sources if one.broken]
    moments += [one for one in (status.pending_since,) if one is not None]
    moments += [status.started] if status.first_synced is None else []
    return min(moments, default=None)


def go_time(moment: float | None) -> str:
    """Write a moment (seconds since 1970) as Go's RFC3339Nano: UTC, no zeros at the end; None as Go's zero time."""
    if moment is None:
        return NEVER
    written = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return written.rstrip("0").rstrip(".") + "Z"


def ended(report: PassReport) -> float:
    """Return when a pass was over, in seconds since 1970."""
    return report.started + report.seconds


def _first_sync(status: Status) -> str:
    waiting = [one.name for one in status.sources if not one.complete]
    if waiting:
        return f"waiting for {', '.join(waiting)}"
    return without_credentials(status.last_failed.error) if status.last_failed is not None else "on its way"


def _source(source: SourceStatus) -> dict[str, object]:
    return {
        "name": source.name,
        "complete": source.complete,
        "working": not source.broken,
        "since": go_time(source.since),
        "reason": without_credentials(source.broken),
    }


def _health(status: Status, now: float, *, healthy: bool, fine: bool, node: Mapping[str, bool]) -> Answer:
    """Write the body of kube-proxy's health pages.

    Fine means recent there, so `lastUpdated` is then the moment of the answer. Families are listed once they have been
    synced.
    """
    updated = status.last_good and go_time(ended(status.last_good))
    families = {family: {"lastUpdated": updated, "healthy": healthy} for family in sorted(status.families) if updated}
    body = {
        "lastUpdated": go_time(now) if fine else updated or NEVER,
        "currentTime": go_time(now),
        **node,
        "healthy": healthy,
        **({"status": families} if families else {}),
    }
    return Answer(_code(fine=fine), json.dumps(body, separators=(",", ":")).encode())


def _code(*, fine: bool) -> HTTPStatus:
    return HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE
