"""Whether the agent is healthy and ready, and the exact answers that say so."""

import json
from dataclasses import replace

import pytest

from nftsvc.agent.health import (
    Answer,
    behind_since,
    go_time,
    health_check,
    healthz,
    is_healthy,
    livez,
    node_eligible,
    readyz,
)
from nftsvc.agent.status import PassReport, SourceStatus, Status
from nftsvc.state import ServiceKey
from nftsvc.sync import PassKind
from nftsvc.values import FAMILIES, Family

NOW = 1_700_000_100.25
TIMEOUT = 60.0
JUST_NOW = "2023-11-14T22:15:00.25Z"
GOOD = PassReport(PassKind.CHANGE, "", started=1_700_000_000.0, seconds=0.5)
SYNCED_AT = "2023-11-14T22:13:20.5Z"

STARTED = Status(version="1.2.3", node="node-a", started=1_699_999_000.0)
SYNCED = replace(STARTED, first_synced=1_700_000_000.5, last_good=GOOD)
BOTH_FINE = '"status":{"IPv4":{"lastUpdated":"%s","healthy":true},"IPv6":{"lastUpdated":"%s","healthy":true}}'


def answered(answer: Answer) -> tuple[int, str]:
    assert answer.content_type == "application/json"
    return int(answer.code), answer.body.decode()


# Times ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_700_000_000.0, "2023-11-14T22:13:20Z"),
        (1_700_000_000.5, "2023-11-14T22:13:20.5Z"),
        (1_700_000_000.125, "2023-11-14T22:13:20.125Z"),
        (1_699_999_200.0, "2023-11-14T22:00:00Z"),
        (None, "0001-01-01T00:00:00Z"),
    ],
)
def test_times_are_written_as_go_writes_them(moment: float | None, written: str) -> None:
    assert go_time(moment) == written


# /healthz and /livez -------------------------------------------------------------------------------------------------


def test_an_agent_that_keeps_up_is_healthy_and_recent() -> None:
    families = BOTH_FINE % (SYNCED_AT, SYNCED_AT)
    assert answered(healthz(SYNCED, NOW, TIMEOUT)) == (
        200,
        f'{{"lastUpdated":"{JUST_NOW}","currentTime":"{JUST_NOW}","nodeEligible":true,"healthy":true,{families}}}',
    )
    assert answered(livez(SYNCED, NOW, TIMEOUT)) == (
        200,
        f'{{"lastUpdated":"{JUST_NOW}","currentTime":"{JUST_NOW}","healthy":true,{families}}}',
    )


def test_it_is_unhealthy_when_the_first_sync_does_not_succeed() -> None:
    failing = replace(STARTED, pending_since=STARTED.started, sources=(SourceStatus("services", complete=True),))
    assert answered(livez(failing, NOW, TIMEOUT))[0] == 503


def test_it_is_healthy_before_the_first_lists_and_lists_no_family() -> None:
    waiting = replace(STARTED, pending_since=STARTED.started, sources=(SourceStatus("services"),))
    body = f'{{"lastUpdated":"{JUST_NOW}","currentTime":"{JUST_NOW}","healthy":true}}'
    assert answered(livez(waiting, NOW, TIMEOUT)) == (200, body)


def test_a_change_that_waits_too_long_makes_it_unhealthy() -> None:
    late = replace(SYNCED, pending_since=NOW - TIMEOUT)
    families = (BOTH_FINE % (SYNCED_AT, SYNCED_AT)).replace("true", "false")
    assert answered(healthz(late, NOW, TIMEOUT)) == (
        503,
        f'{{"lastUpdated":"{SYNCED_AT}","currentTime":"{JUST_NOW}","nodeEligible":true,"healthy":false,{families}}}',
    )
    assert answered(livez(late, NOW, TIMEOUT)) == (
        503,
        f'{{"lastUpdated":"{SYNCED_AT}","currentTime":"{JUST_NOW}","healthy":false,{families}}}',
    )


@pytest.mark.parametrize(("waited", "healthy"), [(0.0, True), (59.999, True), (60.0, False), (1e6, False)])
def test_how_long_a_change_may_wait(waited: float, healthy: bool) -> None:
    assert is_healthy(replace(SYNCED, pending_since=NOW - waited), NOW, TIMEOUT) is healthy


def test_the_age_of_the_last_sync_alone_says_nothing() -> None:
    assert is_healthy(SYNCED, NOW + 1e6, TIMEOUT)


def test_a_node_on_its_way_out_gets_no_more_traffic_but_the_agent_lives() -> None:
    leaving = replace(SYNCED, needs_node=True, node_known=True, node_leaving=True)
    families = BOTH_FINE % (SYNCED_AT, SYNCED_AT)
    assert answered(healthz(leaving, NOW, TIMEOUT)) == (
        503,
        f'{{"lastUpdated":"{SYNCED_AT}","currentTime":"{JUST_NOW}","nodeEligible":false,"healthy":true,{families}}}',
    )
    assert livez(leaving, NOW, TIMEOUT).code == 200


def test_a_node_never_seen_before_the_first_sync() -> None:
    unknown = replace(STARTED, needs_node=True)
    body = f'{{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"{JUST_NOW}","nodeEligible":false,"healthy":true}}'
    assert answered(healthz(unknown, NOW, TIMEOUT)) == (503, body)


@pytest.mark.parametrize(
    ("needs", "known", "leaving", "eligible"),
    [
        (False, False, False, True),
        (False, True, True, False),
        (True, False, False, False),
        (True, True, False, True),
        (True, True, True, False),
    ],
)
def test_which_nodes_stay(needs: bool, known: bool, leaving: bool, eligible: bool) -> None:
    status = replace(SYNCED, needs_node=needs, node_known=known, node_leaving=leaving)
    assert node_eligible(status) is eligible


def test_one_family_is_listed_alone() -> None:
    single = replace(SYNCED, families=(Family.IPV6,))
    assert list(json.loads(healthz(single, NOW, TIMEOUT).body)["status"]) == ["IPv6"]


def test_families_are_listed_in_gos_order() -> None:
    reversed_families = replace(SYNCED, families=tuple(reversed(FAMILIES)))
    assert list(json.loads(livez(reversed_families, NOW, TIMEOUT).body)["status"]) == ["IPv4", "IPv6"]


# /readyz -------------------------------------------------------------------------------------------------------------


def test_ready_after_the_first_sync() -> None:
    answer = readyz(replace(SYNCED, sources=(SourceStatus("services", complete=True, since=1_700_000_000.0),)))
    assert answer.code == 200
    assert json.loads(answer.body) == {
        "ready": True,
        "reasons": [],
        "sources": [
            {"name": "services", "complete": True, "working": True, "since": "2023-11-14T22:13:20Z", "reason": ""}
        ],
    }


def test_not_ready_names_what_is_waited_for() -> None:
    sources = (SourceStatus("services", complete=True), SourceStatus("endpointslices"), SourceStatus("node"))
    answer = readyz(replace(STARTED, sources=sources))
    assert answer.code == 503
    assert json.loads(answer.body)["reasons"] == ["first sync not done: waiting for endpointslices, node"]


def test_not_ready_says_what_the_kernel_refused() -> None:
    failed = PassReport(PassKind.FIRST, "", 0.0, 0.1, error="the kernel refused the ruleset: no")
    complete = (SourceStatus("services", complete=True),)
    reasons = json.loads(readyz(replace(STARTED, sources=complete, last_failed=failed)).body)["reasons"]
    assert reasons == ["first sync not done: the kernel refused the ruleset: no"]
    reasons = json.loads(readyz(replace(STARTED, sources=complete)).body)["reasons"]
    assert reasons == ["first sync not done: on its way"]


def test_not_ready_while_a_source_is_broken() -> None:
    broken = SourceStatus("cluster", complete=True, broken="connection refused", since=1_700_000_000.0)
    answer = readyz(replace(SYNCED, sources=(SourceStatus("services", complete=True), broken)))
    assert answer.code == 503
    said = json.loads(answer.body)
    assert said["reasons"] == ["cluster broken since 2023-11-14T22:13:20Z: connection refused"]
    assert [one["working"] for one in said["sources"]] == [True, False]


def test_reasons_show_no_credentials() -> None:
    broken = SourceStatus("cluster", broken="GET https://admin:hunter22@10.0.0.1/api: 401", since=0.0)
    assert b"hunter22" not in readyz(replace(SYNCED, sources=(broken,))).body


# How far behind ------------------------------------------------------------------------------------------------------


def test_what_is_behind_and_since_when() -> None:
    working, broken = SourceStatus("a", complete=True, since=5.0), SourceStatus("b", broken="no", since=70.0)
    assert behind_since(replace(SYNCED, sources=(working,))) is None
    assert behind_since(replace(SYNCED, pending_since=90.0)) == 90.0
    assert behind_since(replace(SYNCED, pending_since=90.0, sources=(working, broken))) == 70.0
    assert behind_since(STARTED) == STARTED.started


# healthCheckNodePort -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "healthy", "code"), [(2, True, 200), (0, True, 503), (2, False, 503), (0, False, 503)]
)
def test_health_check_answers(count: int, healthy: bool, code: int) -> None:
    answer = health_check(ServiceKey("shop", "web"), count, healthy=healthy)
    expected = (
        '{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n'
        f'\t"localEndpoints": {count},\n\t"serviceProxyHealthy": {"true" if healthy else "false"}\n}}'
    )
    assert answered(answer) == (code, expected)
    assert answer.headers == (("X-Load-Balancing-Endpoint-Weight", str(count)),)
