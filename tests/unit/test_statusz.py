"""/statusz: everything in Status, in stable keys, bounded, without credentials."""

import json
from dataclasses import fields, replace
from typing import Any

from nftsvc.agent import statusz
from nftsvc.agent.status import Drift, NoLocalEndpoints, PassReport, Programmed, SourceStatus, Status
from nftsvc.agent.statusz import MOST_CHARACTERS, MOST_ENTRIES, status_json, written_status
from nftsvc.errors import ObjectRef, Origin, Problem, Severity
from nftsvc.plan import HealthCheck
from nftsvc.state import ServiceKey
from nftsvc.sync import PassKind
from nftsvc.values import Family

NOW = 1_700_000_100.0
TIMEOUT = 60.0

EMPTY = Status(version="1.2.3", node="node-a", started=1_700_000_000.0)
WEB = ObjectRef("Service", "shop", "web")
FULL = Status(
    version="1.2.3",
    node="node-a",
    started=1_700_000_000.0,
    layout="2.abcdef01",
    sources=(
        SourceStatus(
            "services",
            complete=True,
            broken="connection refused",
            since=1_700_000_090.0,
            objects=3,
            problems=(Problem("not a number", "spec.ports", WEB),),
        ),
    ),
    programmed=Programmed(3, 4, 5, {Family.IPV4: 40}, {Family.IPV4: NoLocalEndpoints(1, 2)}),
    health_checks=(HealthCheck(ServiceKey("shop", "web"), 32000, {Family.IPV4: 1, Family.IPV6: 0}),),
    pending_since=1_700_000_095.0,
    last_good=PassReport(PassKind.CHANGE, "a Service", 1_700_000_080.0, 0.5, 1, 2, 3, 1, 300, operations=6),
    last_failed=PassReport(
        PassKind.RETRY,
        "again",
        1_700_000_085.0,
        0.25,
        error="Service shop/web: File exists",
        refused="Service shop/web",
    ),
    first_synced=1_700_000_002.0,
    passes=7,
    failures=2,
    repairs=1,
    last_drift=Drift("nft", 42, "flush ruleset", 1_700_000_070.0),
    problems=(Problem("taken by shop/db", "", None, Origin("web.yaml", 2), Severity.WARNING),),
    needs_node=True,
    node_known=True,
)


def page(status: Status, now: float = NOW) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(written_status(status, now, TIMEOUT))
    return said


def test_everything_is_told() -> None:
    assert page(FULL) == {
        "version": "1.2.3",
        "node": "node-a",
        "families": ["IPv4", "IPv6"],
        "layout": "2.abcdef01",
        "startedAt": "2023-11-14T22:13:20Z",
        "now": "2023-11-14T22:15:00Z",
        "healthy": True,
        "ready": False,
        "notReady": ["services broken since 2023-11-14T22:14:50Z: connection refused"],
        "nodeKnown": True,
        "nodeEligible": True,
        "appliedStateAgeSeconds": 10.0,
        "behindSince": "2023-11-14T22:14:50Z",
        "pendingSince": "2023-11-14T22:14:55Z",
        "firstSyncedAt": "2023-11-14T22:13:22Z",
        "passes": {"total": 7, "failed": 2, "repairs": 1},
        "lastGood": {
            "kind": "change",
            "reason": "a Service",
            "startedAt": "2023-11-14T22:14:40Z",
            "endedAt": "2023-11-14T22:14:40.5Z",
            "seconds": 0.5,
            "services": 1,
            "added": 2,
            "removed": 3,
            "transactions": 1,
            "operations": 6,
            "bytes": 300,
            "refused": "",
            "error": "",
        },
        "lastFailed": {
            "kind": "retry",
            "reason": "again",
            "startedAt": "2023-11-14T22:14:45Z",
            "endedAt": "2023-11-14T22:14:45.25Z",
            "seconds": 0.25,
            "services": 0,
            "added": 0,
            "removed": 0,
            "transactions": 0,
            "operations": 0,
            "bytes": 0,
            "refused": "Service shop/web",
            "error": "Service shop/web: File exists",
        },
        "programmed": {
            "services": 3,
            "ports": 4,
            "endpoints": 5,
            "elements": {"IPv4": 40},
            "noLocalEndpoints": {"IPv4": {"internal": 1, "external": 2}},
        },
        "sources": [
            {
                "name": "services",
                "complete": True,
                "working": False,
                "since": "2023-11-14T22:14:50Z",
                "reason": "connection refused",
                "objects": 3,
                "problems": {
                    "total": 1,
                    "first": [
                        {
                            "object": "Service shop/web",
                            "field": "spec.ports",
                            "message": "not a number",
                            "severity": "error",
                        }
                    ],
                    "more": "",
                },
            }
        ],
        "healthChecks": {
            "total": 1,
            "first": [{"namespace": "shop", "name": "web", "port": 32000, "localEndpoints": {"IPv4": 1, "IPv6": 0}}],
            "more": "",
        },
        "lastDrift": {"process": "nft", "pid": 42, "what": "flush ruleset", "at": "2023-11-14T22:14:30Z"},
        "problems": {
            "total": 1,
            "first": [{"object": "web.yaml #2", "field": "", "message": "taken by shop/db", "severity": "warning"}],
            "more": "",
        },
    }


def test_the_keys_are_the_same_before_anything_happened() -> None:
    said, full = page(EMPTY), page(FULL)
    assert list(said) == list(full)
    for absent in ("lastGood", "lastFailed", "lastDrift", "pendingSince", "firstSyncedAt"):
        assert said[absent] is None
    assert said["ready"] is False
    assert said["appliedStateAgeSeconds"] == 100.0


def test_nothing_to_catch_up_with_has_no_age() -> None:
    said = page(replace(EMPTY, first_synced=NOW - 1))
    assert (said["appliedStateAgeSeconds"], said["behindSince"]) == (0.0, None)


def test_every_key_is_documented() -> None:
    def keys(value: object) -> set[str]:
        if isinstance(value, dict):
            return {str(key) for key in value} | {found for one in value.values() for found in keys(one)}
        return {found for one in value for found in keys(one)} if isinstance(value, list) else set()

    documented = statusz.__doc__ or ""
    assert [key for key in keys(page(FULL)) - {*Family, "internal", "external"} if key not in documented] == []


def test_no_field_of_status_is_left_out() -> None:
    """A new field must be shown, or named here."""
    known = {"needs_node", "node_leaving"}  # what nodeEligible is made of
    shown = {
        "version", "node", "started", "families", "layout", "sources", "programmed", "health_checks", "pending_since",
        "last_good", "last_failed", "first_synced", "passes", "failures", "repairs", "last_drift", "problems",
        "node_known",
    }  # fmt: skip
    assert {one.name for one in fields(Status)} == shown | known


def test_the_page_is_bounded() -> None:
    many = tuple(Problem("x" * 5000, "f" * 5000, WEB) for _ in range(250))
    source = replace(FULL.sources[0], problems=many, broken="y" * 10_000)
    checks = tuple(HealthCheck(ServiceKey("shop", f"web-{one}"), 30000 + one, {Family.IPV4: 1}) for one in range(101))
    huge = replace(FULL, problems=many, sources=(source,) * 4, health_checks=checks)
    said = page(huge)
    for one in (said["problems"], said["sources"][0]["problems"]):
        assert (one["total"], len(one["first"]), one["more"]) == (250, MOST_ENTRIES, "and 150 more")
    assert said["healthChecks"]["more"] == "and 1 more"
    assert len(said["problems"]["first"][0]["message"]) == MOST_CHARACTERS
    assert len(written_status(huge, NOW, TIMEOUT)) < 2 << 20


def test_no_credentials_in_messages() -> None:
    line = "GET https://admin:hunter22@10.0.0.1/: Bearer hunter22hunter22"
    failed = replace(FULL.last_failed or PassReport(PassKind.RETRY, "", 0, 0), error=line, reason=line)
    source = SourceStatus("cluster", broken=line, problems=(Problem(line),))
    status = replace(FULL, last_failed=failed, sources=(source,), problems=(Problem(line),))
    assert "hunter22" not in str(status_json(status, NOW, TIMEOUT))


def test_a_terminal_is_safe_from_the_page() -> None:
    text = written_status(replace(FULL, problems=(Problem("\x1b[2J\u202e"),)), NOW, TIMEOUT).decode()
    assert all(one.isprintable() or one == "\n" for one in text)
