"""Status as JSON: what is programmed, since when, what failed and why. Pure; the page `/statusz`.

Times are RFC 3339 in UTC or null, durations in seconds. Lists show at most 100 entries: `{"total": 250, "first": [...],
"more": "and 150 more"}`. Keys stay as they are; new ones may come.

| key | what it says |
|---|---|
| `version`, `node`, `families`, `layout` | nftsvc's version, the node's name, the IP families, the tables' layout |
| `startedAt`, `now` | when the agent started, when this was written |
| `healthy`, `ready`, `notReady` | as on /livez and /readyz; why it is not ready, in sentences |
| `nodeKnown`, `nodeEligible` | whether the Node has been seen; whether it stays, as on /healthz |
| `appliedStateAgeSeconds` | for how long the kernel may not have had what the cluster wants; 0 if it has |
| `behindSince`, `pendingSince` | since when that is so; when the oldest change arrived that is not in the kernel |
| `firstSyncedAt` | when the kernel first had everything |
| `passes` | `total`, `failed`, and `repairs` of what other processes changed |
| `lastGood`, `lastFailed` | the last pass that the kernel took, the last that it refused: `kind`, `reason`, ... |
| ... | `startedAt`, `endedAt`, `seconds`, `services`, `added`, `removed`, `transactions`, `operations`, ... |
| ... | `bytes`, `refused` (the object), `error` (what the kernel said) |
| `programmed` | what is in the kernel: `services`, `ports`, `endpoints`; by family `elements`, `noLocalEndpoints` |
| `sources` | `name`, `complete`, `working`, `since`, `reason` (why it does not work), `objects`, `problems` |
| `healthChecks` | `namespace`, `name`, `port`, `localEndpoints` by family |
| `lastDrift` | what another process changed last: `process`, `pid`, `what`, `at` |
| `problems` | warnings about objects: `object`, `field`, `message`, `severity` |
"""

import json
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from nftsvc.agent.health import behind_since, ended, go_time, is_healthy, node_eligible, unready
from nftsvc.agent.redaction import without_credentials
from nftsvc.agent.status import Drift, PassReport, Programmed, SourceStatus, Status
from nftsvc.errors import Problem
from nftsvc.plan import HealthCheck

MOST_ENTRIES: Final = 100
MOST_CHARACTERS: Final = 1000

_Json = dict[str, object]
_Item = TypeVar("_Item")


def written_status(status: Status, now: float, timeout: float) -> bytes:
    """Return the page. `timeout` is for how many seconds a change may wait before the agent counts as unhealthy."""
    return (json.dumps(status_json(status, now, timeout), indent=2) + "\n").encode()


def status_json(status: Status, now: float, timeout: float) -> _Json:
    """Return what the page says, as JSON's kinds of values."""
    behind = behind_since(status)
    reasons = unready(status)
    return {
        "version": status.version,
        "node": status.node,
        "families": list(status.families),
        "layout": status.layout,
        "startedAt": _time(status.started),
        "now": _time(now),
        "healthy": is_healthy(status, now, timeout),
        "ready": not reasons,
        "notReady": [_text(one) for one in reasons],
        "nodeKnown": status.node_known,
        "nodeEligible": node_eligible(status),
        "appliedStateAgeSeconds": 0.0 if behind is None else _seconds(max(0.0, now - behind)),
        "behindSince": _time(behind),
        "pendingSince": _time(status.pending_since),
        "firstSyncedAt": _time(status.first_synced),
        "passes": {"total": status.passes, "failed": status.failures, "repairs": status.repairs},
        "lastGood": _pass(status.last_good),
        "lastFailed": _pass(status.last_failed),
        "programmed": _programmed(status.programmed),
        "sources": [_source(one) for one in status.sources],
        "healthChecks": _first(status.health_checks, _health_check),
        "lastDrift": _drift(status.last_drift),
        "problems": _first(status.problems, _problem),
    }


def _first(items: Sequence[_Item], written: Callable[[_Item], _Json]) -> _Json:
    left = len(items) - MOST_ENTRIES
    more = f"and {left} more" if left > 0 else ""
    return {"total": len(items), "first": [written(one) for one in items[:MOST_ENTRIES]], "more": more}


def _pass(report: PassReport | None) -> _Json | None:
    if report is None:
        return None
    return {
        "kind": report.kind,
        "reason": _text(report.reason),
        "startedAt": _time(report.started),
        "endedAt": _time(ended(report)),
        "seconds": _seconds(report.seconds),
        "services": report.services,
        "added": report.added,
        "removed": report.removed,
        "transactions": report.transactions,
        "operations": report.operations,
        "bytes": report.bytes,
        "refused": _text(report.refused),
        "error": _text(report.error),
    }


def _programmed(programmed: Programmed) -> _Json:
    return {
        "services": programmed.services,
        "ports": programmed.ports,
        "endpoints": programmed.endpoints,
        "elements": dict(programmed.elements),
        "noLocalEndpoints": {
            family: {"internal": one.internal, "external": one.external}
            for family, one in programmed.no_local_endpoints.items()
        },
    }


def _source(source: SourceStatus) -> _Json:
    return {
        "name": source.name,
        "complete": source.complete,
        "working": not source.broken,
        "since": _time(source.since),
        "reason": _text(source.broken),
        "objects": source.objects,
        "problems": _first(source.problems, _problem),
    }


def _health_check(check: HealthCheck) -> _Json:
    namespace, name = check.service
    return {"namespace": namespace, "name": name, "port": check.port, "localEndpoints": dict(check.local)}


def _drift(drift: Drift | None) -> _Json | None:
    if drift is None:
        return None
    return {"process": drift.process, "pid": drift.pid, "what": _text(drift.what), "at": _time(drift.at)}


def _problem(problem: Problem) -> _Json:
    place = problem.ref if problem.ref is not None else problem.origin
    return {
        "object": _text(str(place)) if place is not None else "",
        "field": _text(problem.field),
        "message": _text(problem.message),
        "severity": problem.severity,
    }


def _text(text: str) -> str:
    """Return text without credentials, cut if it is long."""
    text = without_credentials(text)
    return text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 3] + "..."


def _time(moment: float | None) -> str | None:
    return None if moment is None else go_time(moment)


def _seconds(seconds: float) -> float:
    return round(seconds, 6)
