"""What is asked of the API server, how long is waited, and in which words its refusals are told."""

import json
import random
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qs, urlsplit

import pytest

from nftsvc.errors import ObjectRef
from nftsvc.objects import Endpoints, EndpointSlice, Node, Service, ServiceCIDR
from nftsvc.sources.cluster.backoff import MOST_PATIENCE, Backoff
from nftsvc.sources.cluster.faults import Fault, Status, failed_watch, read_status, refusal, without_secrets
from nftsvc.sources.cluster.reporting import BURST, REFILL_SECONDS, REPEAT_SECONDS, Allowance, Notice, event_body
from nftsvc.sources.cluster.resources import wanted_resources

# Resources ------------------------------------------------------------------------------------------------------------


def test_what_a_node_must_know() -> None:
    found = wanted_resources("node-a", with_endpoints=False)
    assert [one.kind for one in found] == [Service, EndpointSlice, Node, ServiceCIDR]
    assert [one.path for one in found] == [
        "/api/v1/services",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "/api/v1/nodes",
        "/apis/networking.k8s.io/v1/servicecidrs",
    ]
    assert [one.qualified for one in found] == [
        "services",
        "endpointslices.discovery.k8s.io",
        "nodes",
        "servicecidrs.networking.k8s.io",
    ]
    assert [one.optional for one in found] == [False, False, False, True]
    assert wanted_resources("node-a", with_endpoints=True)[-1].kind is Endpoints


def query(path: str) -> dict[str, str]:
    return {key: value for key, (value,) in parse_qs(urlsplit(path).query, strict_parsing=True).items()}


def test_pages_and_watches_ask_for_the_same_objects() -> None:
    services, slices, node, cidrs = wanted_resources("node-a", with_endpoints=False)
    selected = {
        "labelSelector": "!service.kubernetes.io/service-proxy-name",
        "fieldSelector": "spec.clusterIP!=None",
    }
    assert query(services.page()) == {**selected, "limit": "500"}
    assert query(services.page("a+/=b")) == {**selected, "limit": "500", "continue": "a+/=b"}
    assert query(services.watch("12", 345)) == {
        **selected,
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "12",
        "timeoutSeconds": "345",
    }
    assert query(slices.page(limit=1)) == {"labelSelector": "!service.kubernetes.io/headless", "limit": "1"}
    assert query(node.page(limit=0)) == {"fieldSelector": "metadata.name=node-a"}
    assert cidrs.page(limit=0) == "/apis/networking.k8s.io/v1/servicecidrs"


# Waiting --------------------------------------------------------------------------------------------------------------


def test_waits_double_up_to_a_limit_and_begin_anew() -> None:
    for luck, share in ((0.0, 0.5), (1.0, 1.0)):
        backoff = Backoff(lambda luck=luck: luck)  # type: ignore[misc]
        assert [backoff.wait() for _ in range(7)] == [share * one for one in (1, 2, 4, 8, 16, 30, 30)]
        backoff.reset()
        assert backoff.wait() == share


def test_waits_are_spread_and_never_overflow() -> None:
    backoff = Backoff(random.Random(1).random)
    waits = [backoff.wait() for _ in range(5000)]
    assert all(15 <= one <= 30 for one in waits[6:])
    assert len(set(waits[6:])) > 4000


def test_what_the_server_asks_for_is_the_least() -> None:
    backoff = Backoff(lambda: 0.5)
    assert backoff.wait(0.1) == 0.75
    assert backoff.wait(10) == 10.5
    assert backoff.wait(3600) == MOST_PATIENCE + 1
    assert all(Backoff(random.Random(seed).random).wait(7) >= 7 for seed in range(100))


# Refusals -------------------------------------------------------------------------------------------------------------

FORBIDDEN = (
    'services is forbidden: User "system:serviceaccount:kube-system:nftsvc" cannot list resource "services" '
    'in API group "" at the cluster scope'
)


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (
            401,
            Status("Unauthorized"),
            "the API server does not accept the credentials (401 when asked to list services)",
        ),
        (403, Status(FORBIDDEN), "RBAC must allow system:serviceaccount:kube-system:nftsvc to list services (403)"),
        (403, Status("no"), "RBAC must allow this user to list services (403): no"),
        (403, Status(), "RBAC must allow this user to list services (403)"),
        (429, Status("slow down"), "the API server asks to come back later (429 when asked to list services)"),
        (503, Status("a\nb"), "the API server does not list services (503: a)"),
        (502, Status(), "the API server does not list services (502)"),
    ],
)
def test_refusals_are_one_line(code: int, status: Status, words: str) -> None:
    fault = refusal(code, status, "list", "services")
    assert (str(fault), fault.status, fault.lost) == (words, code, False)


@pytest.mark.parametrize("code", [400, 404, 410])
def test_some_refusals_call_for_a_new_list(code: int) -> None:
    assert refusal(code, Status(), "watch", "services").lost


def test_a_version_from_the_future_calls_for_a_new_list() -> None:
    body = {
        "message": "Timeout: Too large resource version: 90, current: 3",
        "details": {"causes": [{"reason": "ResourceVersionTooLarge", "message": "x"}], "retryAfterSeconds": 1},
        "code": 504,
    }
    fault = refusal(504, read_status(json.dumps(body).encode()), "watch", "services")
    assert (fault.lost, fault.retry_after) == (True, 1.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("5", 5.0), ("0", 0.0), ("", None), ("Fri, 31 Dec 1999 23:59:59 GMT", None), ("-1", None), ("²", None)],
)
def test_retry_after_in_seconds(header: str, seconds: float | None) -> None:
    assert refusal(429, Status(), "list", "services", header).retry_after == seconds


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"code":"x"}', b"\xff", b"[" * 100_000, b'{"message":"\xff"}']
)
def test_a_refusal_without_a_status(body: bytes) -> None:
    assert read_status(body) == Status()


def test_errors_in_a_watch() -> None:
    assert failed_watch(Status("gone", "Expired", 410)).status == 410
    assert failed_watch(Status("gone", "Expired", 410)).lost
    assert failed_watch(Status(code=500)).lost
    assert not failed_watch(Status(code=429)).lost
    assert str(failed_watch(Status())) == "the watch ended with an error (0)"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("\n  plain words\nmore", "plain words"),
        ("token: abc", "token: ..."),
        ("my-token=abc, and", "my-token=... and"),
        ('{"token":"abc"}', '{"token":...'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ..."),
        ("bearer abc", "bearer ..."),
        ("eyJhbGciOiJSUzI1NiIsImtpZCI6IjEyMyJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl is bad", "... is bad"),
        ("the token is too old", "the token is too old"),
        ("/usr/local/bin/aws-iam-authenticator: not found", "/usr/local/bin/aws-iam-authenticator: not found"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("x " * 500, ("x " * 150)),
    ],
)
def test_foreign_text_is_cut_to_what_may_be_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_a_fault_is_printable() -> None:
    assert str(Fault("a\nb\x07")) == "a\\nb\\x07"


# Events ---------------------------------------------------------------------------------------------------------------


def notice(number: int = 0, **changed: object) -> Notice:
    about = ObjectRef("Service", "shop", "web")
    return Notice(**{"about": about, "reason": "R", "message": f"m{number}", "warning": True, "node": "n", **changed})  # type: ignore[arg-type]


def test_no_event_is_sent_twice_in_a_while() -> None:
    allowance = Allowance()
    assert allowance.grants(notice(), 0)
    assert not allowance.grants(notice(), 1)
    assert allowance.grants(notice(1), 1)
    assert not allowance.grants(notice(), REPEAT_SECONDS - 1)
    assert allowance.grants(notice(), REPEAT_SECONDS)
    assert not allowance.grants(notice(), REPEAT_SECONDS + 1)


def test_events_are_few() -> None:
    allowance = Allowance()
    assert sum(allowance.grants(notice(number), 100) for number in range(200)) == BURST
    assert not allowance.grants(notice(1000), 100 + REFILL_SECONDS / 2)
    assert allowance.grants(notice(1000), 100 + REFILL_SECONDS)
    assert not allowance.grants(notice(1001), 100 + REFILL_SECONDS)
    assert sum(allowance.grants(notice(number), 1e6) for number in range(200)) == BURST


def test_what_is_remembered_of_events_is_bounded() -> None:
    allowance = Allowance()
    for number in range(5000):
        allowance.grants(notice(number), number * REFILL_SECONDS)
    assert len(allowance._sent) <= 1000  # noqa: SLF001


def test_an_event_as_the_server_takes_it() -> None:
    time = datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    body = event_body(notice(message="x" * 5000), "uid-1", time)
    assert body["metadata"] == {"generateName": "web.", "namespace": "shop"}
    assert body["firstTimestamp"] == body["lastTimestamp"] == "2030-01-02T02:04:05Z"
    assert len(str(body["message"])) == 1024
    involved = body["involvedObject"]
    assert involved == {"kind": "Service", "apiVersion": "v1", "namespace": "shop", "name": "web", "uid": "uid-1"}
    about = ObjectRef("EndpointSlice", "shop", "web-1")
    other = event_body(notice(about=about, warning=False), "", datetime.now(UTC))["involvedObject"]
    assert other == {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "namespace": "shop",
        "name": "web-1",
    }
