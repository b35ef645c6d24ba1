"""The agent's pages over real sockets: exact answers, both families, binding, and clients that mean no good."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from typing import Any

import pytest

from nftsvc.agent import listener as limits
from nftsvc.agent import pages as module
from nftsvc.agent.counters import ServiceCount, ServiceLabels
from nftsvc.agent.health import Answer
from nftsvc.agent.listener import BindAddress, CannotListen, Crowd, Listener, listen, open_socket
from nftsvc.agent.metrics import Metrics
from nftsvc.agent.pages import HEALTH_FAILED, METRICS_FAILED, Pages, Served, serve
from nftsvc.agent.status import PassReport, SourceStatus, Status
from nftsvc.errors import ExitCode, NftsvcError
from nftsvc.frontends import FrontendKind
from nftsvc.sync import PassKind
from nftsvc.values import Family, Protocol
from tests.support.exposition import checked
from tests.support.web import DEADLINE, exchange, free_ports, get, parsed, received, run, until

NOW = 1_700_000_100.25
STARTED = Status(version="1.2.3", node="node-a", started=1_699_999_000.0)
SYNCED = replace(
    STARTED,
    first_synced=1_700_000_000.5,
    last_good=PassReport(PassKind.CHANGE, "", started=1_700_000_000.0, seconds=0.5),
)
LATE = replace(SYNCED, pending_since=NOW - 61)

SOME_PORT = BindAddress("127.0.0.1", 0)
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104
BOTH = ("127.0.0.1", "::1")


class Agent:
    """What the pages tell of; a test changes it as it likes."""

    def __init__(self, status: Status = SYNCED, settings: Mapping[str, object] | None = None) -> None:
        self.status = status
        self.metrics = Metrics(lambda: self.status, lambda: NOW, self.read)
        self.settings = settings or {}
        self.counts: list[ServiceCount] = []

    async def read(self) -> list[ServiceCount]:
        return self.counts

    @property
    def pages(self) -> Pages:
        return Pages(lambda: self.status, lambda: NOW, 60.0, self.metrics, lambda: self.settings)


@asynccontextmanager
async def served(agent: Agent) -> AsyncIterator[Served]:
    async with serve(agent.pages, SOME_PORT, SOME_PORT) as where:
        yield where


@pytest.fixture
def taken() -> Iterator[BindAddress]:
    """An address that somebody else listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        yield BindAddress(*other.getsockname())


# What is where -------------------------------------------------------------------------------------------------------


def test_health_pages_have_kube_proxys_headers_and_bodies() -> None:
    async def scenario() -> None:
        agent = Agent()
        async with served(agent) as where:
            reply = await get(where.healthz, "/healthz")
            assert reply.code == 200
            assert reply.headers["Content-Type"] == "application/json"
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            families = ",".join(f'"{one}":{{"lastUpdated":"2023-11-14T22:13:20.5Z","healthy":true}}' for one in Family)
            now = "2023-11-14T22:15:00.25Z"
            assert reply.body.decode() == (
                f'{{"lastUpdated":"{now}","currentTime":"{now}","nodeEligible":true,"healthy":true,'
                f'"status":{{{families}}}}}'
            )
            agent.status = LATE
            for path in ("/healthz", "/livez"):
                reply = await get(where.healthz, path)
                assert (reply.code, json.loads(reply.body)["healthy"]) == (503, False)
                assert reply.headers["Content-Type"] == "application/json"
                assert reply.headers["X-Content-Type-Options"] == "nosniff"

    run(scenario)


def test_readyz_says_what_is_waited_for() -> None:
    async def scenario() -> None:
        agent = Agent(replace(STARTED, sources=(SourceStatus("endpointslices"),)))
        async with served(agent) as where:
            for address in (where.healthz, where.metrics):
                reply = await get(address, "/readyz")
                assert reply.code == 503
                assert json.loads(reply.body)["reasons"] == ["first sync not done: waiting for endpointslices"]
            agent.status = SYNCED
            assert (await get(where.healthz, "/readyz")).code == 200

    run(scenario)


@pytest.mark.parametrize(
    ("path", "content_type", "body"),
    [("/healthz", "text/plain; charset=utf-8", b"ok"), ("/proxyMode", "text/plain; charset=utf-8", b"nftables")],
)
def test_plain_pages_of_the_metrics_address(path: str, content_type: str, body: bytes) -> None:
    async def scenario() -> None:
        async with served(Agent(LATE)) as where:
            reply = await get(where.metrics, path)
            assert (reply.code, reply.headers["Content-Type"], reply.body) == (200, content_type, body)

    run(scenario)


def test_statusz_and_configz_are_json() -> None:
    async def scenario() -> None:
        async with served(Agent(settings={"mode": "nftables", "syncPeriod": 30.0})) as where:
            assert json.loads((await get(where.metrics, "/configz")).body) == {"mode": "nftables", "syncPeriod": 30.0}
            assert json.loads((await get(where.metrics, "/statusz")).body)["node"] == "node-a"

    run(scenario)


def test_metrics_are_what_prometheus_takes_and_count_health_answers() -> None:
    async def scenario() -> None:
        agent = Agent(LATE)
        labels = ServiceLabels("shop", "web", "http", Protocol("TCP"), Family.IPV4, FrontendKind.NODE_PORT)
        agent.counts = [ServiceCount(labels, 5)]
        async with served(agent) as where:
            await get(where.healthz, "/healthz")
            await get(where.healthz, "/livez")
            await get(where.metrics, "/livez")
            await get(where.metrics, "/healthz")  # not kube-proxy's health page
            reply = await get(where.metrics, "/metrics")
            assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            said = checked(reply.body)
            assert said.value("kubeproxy_proxy_healthz_total", code="503") == 1
            assert said.value("kubeproxy_proxy_livez_total", code="503") == 2
            assert list(said.samples["nftsvc_service_connections_total"].values()) == [5]

    run(scenario)


@pytest.mark.parametrize("path", ["/", "/metrics", "/statusz", "/healthz/", "/debug/pprof/", "/x" * 500])
def test_there_is_nothing_else_on_the_health_address(path: str) -> None:
    async def scenario() -> None:
        async with served(Agent()) as where:
            reply = await get(where.healthz, path)
            assert (reply.code, reply.body) == (404, b"404 page not found\n")
            assert reply.headers["Content-Type"] == "text/plain; charset=utf-8"

    run(scenario)


@pytest.mark.parametrize("path", ["/", "/debug/pprof/", "/debug/pprof/heap", "/debug/flags/v", "/metrics/", "/../etc"])
def test_there_is_nothing_else_on_the_metrics_address(path: str) -> None:
    async def scenario() -> None:
        async with served(Agent()) as where:
            assert (await get(where.metrics, path)).code == 404

    run(scenario)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_any_method_is_answered_and_changes_nothing(method: str) -> None:
    async def scenario() -> None:
        async with served(Agent()) as where:
            for address, path in (
                (where.healthz, "/livez"),
                (where.metrics, "/proxyMode"),
                (where.metrics, "/statusz"),
            ):
                assert (await get(address, path, method)).code == 200

    run(scenario)


def test_head_has_the_length_and_no_body() -> None:
    async def scenario() -> None:
        agent = Agent()
        one = ServiceLabels("shop", "web", "http", Protocol("TCP"), Family.IPV4, FrontendKind.NODE_PORT)
        agent.counts = [ServiceCount(one._replace(service=f"web-{number}"), 5) for number in range(2000)]
        async with served(agent) as where:
            small_page, large_page = [await get(where.metrics, path, "HEAD") for path in ("/proxyMode", "/metrics")]
            assert (small_page.code, small_page.body) == (large_page.code, large_page.body) == (200, b"")
            assert int(small_page.headers["Content-Length"]) == len("nftables")
            assert int(large_page.headers["Content-Length"]) > 1 << 16

    run(scenario)


def test_a_query_and_http_1_0_change_nothing() -> None:
    async def scenario() -> None:
        async with served(Agent()) as where:
            assert where.metrics is not None
            assert (await get(where.metrics, "/healthz?verbose")).body == b"ok"
            assert parsed(await exchange(where.metrics, b"GET /healthz HTTP/1.0\r\n\r\n")).body == b"ok"

    run(scenario)


def test_answers_name_no_library() -> None:
    async def scenario() -> None:
        async with served(Agent()) as where:
            assert (await get(where.metrics, "/healthz")).headers["Server"] == "nftsvc"

    run(scenario)


# Secrets -------------------------------------------------------------------------------------------------------------


def test_no_page_has_a_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "-".join(["hunter22"] * 2)
    monkeypatch.setenv("NFTSVC_TOKEN", secret)
    monkeypatch.setenv("KUBECONFIG", f"/etc/{secret}.conf")
    client = {
        "kubeconfig": "/etc/kubernetes/proxy.conf",
        "token": secret,
        "password": secret,
        "client-key-data": secret,
    }
    settings: dict[str, object] = {"clientConnection": client, "users": [{"user": {"token": secret}}]}
    broken = f"GET https://admin:{secret}@10.0.0.1/ failed: Authorization: Bearer {secret}"
    status = replace(STARTED, sources=(SourceStatus("cluster", broken=broken),))

    async def scenario() -> None:
        async with served(Agent(status, settings)) as where:
            for path in ("/metrics", "/statusz", "/configz", "/readyz", "/healthz", "/livez", "/proxyMode"):
                for address in (where.metrics, where.healthz):
                    assert secret.encode() not in (await get(address, path)).body, path
            assert b"proxy.conf" in (await get(where.metrics, "/configz")).body

    run(scenario)


# Addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ANYWHERE)
def test_an_unspecified_address_takes_both_families(host: str) -> None:
    async def scenario() -> None:
        async with serve(Agent().pages, BindAddress(host, 0), None) as where:
            assert where.healthz is not None
            for client in BOTH:
                assert (await get(BindAddress(client, where.healthz.port), "/livez")).code == 200

    run(scenario)


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_a_specified_address_takes_no_other(host: str, other: str) -> None:
    async def scenario() -> None:
        async with serve(Agent().pages, BindAddress(host, 0), None) as where:
            assert where.healthz is not None
            assert (await get(where.healthz, "/livez")).code == 200
            with pytest.raises(ConnectionRefusedError):
                await get(BindAddress(other, where.healthz.port), "/livez")

    run(scenario)


@pytest.mark.parametrize("host", ANYWHERE)
def test_one_family_of_an_unspecified_address(host: str) -> None:
    with closing(open_socket(BindAddress(host, 0), one_family=True)) as first:
        port = first.getsockname()[1]
        (other,) = set(ANYWHERE) - {host}
        with closing(open_socket(BindAddress(other, port), one_family=True)):
            pass


def test_addresses_that_are_not_wanted_are_not_opened() -> None:
    async def scenario() -> None:
        async with serve(Agent().pages, None, None) as where:
            assert where == Served(None, None)

    run(scenario)


def test_an_address_is_free_again_afterwards() -> None:
    async def scenario() -> None:
        address = BindAddress("127.0.0.1", *free_ports(1))
        for _ in range(3):
            async with serve(Agent().pages, address, None, hard_fail=True) as where:
                assert where.healthz == address
                await get(address, "/livez")

    run(scenario)


def test_a_taken_address_is_had_as_soon_as_it_is_free(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        failures: list[tuple[str, str]] = []
        address = BindAddress("127.0.0.1", *free_ports(1))
        other = socket.create_server(address)
        agent = Agent()
        async with serve(agent.pages, address, address, failed=lambda *one: failures.append(one), retry=0.01) as where:
            assert where == Served(None, None)
            await until(lambda: len(caplog.records) > 4)
            other.close()
            await until(lambda: where.healthz is not None or where.metrics is not None)
            assert (await get(address, "/livez")).code == 200
        assert [reason for reason, _ in failures] == [HEALTH_FAILED, METRICS_FAILED]  # once each
        expected = f"cannot listen on {address} (healthz): Address already in use"
        assert failures[0][1].startswith(expected)
        assert "no pages yet" in caplog.text

    run(scenario)


def test_hard_fail_raises_and_leaves_nothing_open(taken: BindAddress) -> None:
    async def scenario() -> None:
        free = BindAddress("127.0.0.1", *free_ports(1))
        with pytest.raises(CannotListen, match=f"cannot listen on {taken} .metrics.: Address already in use") as caught:
            async with serve(Agent().pages, free, taken, hard_fail=True):
                pytest.fail("not reached")
        assert isinstance(caught.value, NftsvcError)
        assert caught.value.exit_code is ExitCode.USAGE
        open_socket(free).close()

    run(scenario)


@pytest.mark.parametrize("host", ["203.0.113.77", "not-an-address", "2001:db8::77"])
def test_an_address_that_is_not_ours_cannot_be_had(host: str) -> None:
    async def scenario() -> None:
        with pytest.raises(CannotListen):
            async with serve(Agent().pages, BindAddress(host, 0), None, hard_fail=True):
                pytest.fail("not reached")

    run(scenario)


# Clients that mean no good -------------------------------------------------------------------------------------------


async def ok(_path: str) -> Answer:
    return Answer(200, b"ok")


@asynccontextmanager
async def small(answering: Any = ok, most: int = 100) -> AsyncIterator[tuple[Listener, Crowd]]:
    crowd = Crowd(most)
    listener = await listen(open_socket(SOME_PORT), answering, crowd)
    try:
        yield listener, crowd
    finally:
        await listener.close()


async def fine(listener: Listener) -> None:
    """Check that another client is served."""
    assert (await get(listener.address, "/")).body == b"ok"


def test_a_silent_client_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.2)

    async def scenario() -> None:
        async with small() as (listener, crowd):
            assert await exchange(listener.address, b"") == b""
            await until(lambda: not len(crowd))
            await fine(listener)

    run(scenario)


def test_a_client_that_drips_its_headers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.3)

    async def scenario() -> None:
        async with small() as (listener, crowd):
            reader, writer = await asyncio.open_connection(*listener.address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
            closed = asyncio.create_task(received(reader))
            async with asyncio.timeout(DEADLINE):
                number = 0
                while not closed.done():
                    number += 1
                    writer.write(f"X-{number}: y\r\n".encode())
                    await asyncio.sleep(0.02)
            assert b"200" not in await closed
            writer.close()
            await until(lambda: not len(crowd))
            await fine(listener)

    run(scenario)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(1000)) + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
        b"\r\n\r\nhello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
    ],
    ids=[
        "long line",
        "long header",
        "many headers",
        "TLS",
        "no HTTP",
        "version",
        "bad URL",
        "length",
        "chunk",
        "twice",
    ],
)
def test_bad_requests_are_refused_without_a_word_in_the_log(
    request_bytes: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "IDLE_SECONDS", 0.5)

    async def scenario() -> None:
        async with small() as (listener, _):
            answer = await exchange(listener.address, request_bytes)
            assert len(answer) < 2000
            await fine(listener)

    run(scenario)
    assert caplog.records == []


def test_a_client_that_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_SECONDS", 0.3)
    large = bytes(64 << 20)

    async def answering(path: str) -> Answer:
        return Answer(200, large if path == "/large" else b"ok")

    async def scenario() -> None:
        async with small(answering) as (listener, crowd):
            with closing(socket.create_connection(listener.address)) as client:
                client.sendall(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
                await until(lambda: len(crowd) == 1)
                await fine(listener)
                await until(lambda: len(crowd) == 0)

    run(scenario)


def test_a_large_answer_arrives_whole() -> None:
    large = os.urandom(5 << 20)

    async def answering(_path: str) -> Answer:
        return Answer(200, large)

    async def scenario() -> None:
        async with small(answering) as (listener, _):
            assert (await get(listener.address, "/")).body == large

    run(scenario)


def test_endless_bodies_are_thrown_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CLOSE_SECONDS", 0.2)

    async def scenario() -> None:
        async with small() as (listener, crowd):
            reader, writer = await asyncio.open_connection(*listener.address)
            writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n")
            closed = asyncio.create_task(received(reader))
            async with asyncio.timeout(DEADLINE):
                while not closed.done():
                    writer.write(bytes(1 << 16))
                    await asyncio.sleep(0.005)
            assert parsed(await closed).code == 200
            writer.close()
            await until(lambda: not len(crowd))
            await fine(listener)

    run(scenario)


def test_a_crowd_keeps_nobody_out() -> None:
    async def scenario() -> None:
        async with small(most=5) as (listener, crowd):
            idle = [await asyncio.open_connection(*listener.address) for _ in range(50)]
            for _ in range(20):
                await fine(listener)
            assert len(crowd) <= 5
            for _, writer in idle:
                writer.close()
            await until(lambda: not len(crowd))

    run(scenario)


def test_more_requests_at_once_than_connections_are_all_answered() -> None:
    async def scenario() -> None:
        async with small(most=module.MOST_CONNECTIONS) as (listener, _):
            replies = await asyncio.gather(*(get(listener.address, "/") for _ in range(3 * module.MOST_CONNECTIONS)))
            assert {reply.body for reply in replies} == {b"ok"}

    run(scenario)


def test_many_scrapes_at_once_are_all_answered() -> None:
    async def scenario() -> None:
        agent = Agent()
        labels = ServiceLabels("shop", "web", "http", Protocol("TCP"), Family.IPV4, FrontendKind.NODE_PORT)
        agent.counts = [ServiceCount(labels._replace(service=f"web-{one}"), one) for one in range(1000)]
        async with served(agent) as where:
            replies = await asyncio.gather(
                *(get(where.metrics, "/metrics") for _ in range(module.MOST_CONNECTIONS // 2))
            )
            assert {reply.code for reply in replies} == {200}
            assert len({reply.body for reply in replies}) <= 2

    run(scenario)


def test_a_page_that_fails_is_an_error_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    async def answering(path: str) -> Answer:
        if path == "/bad":
            raise RuntimeError("a secret of the inside")
        return Answer(200, b"ok")

    async def scenario() -> None:
        async with small(answering) as (listener, _):
            reply = await get(listener.address, "/bad")
            assert (reply.code, reply.body) == (500, b"internal error\n")
            await fine(listener)

    run(scenario)
    assert "page failed: /bad" in caplog.text


def test_closing_does_not_wait_for_idle_clients() -> None:
    async def scenario() -> None:
        async with small() as (listener, _):
            reader, writer = await asyncio.open_connection(*listener.address)
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert b"ok" in await received(reader)
        writer.close()

    run(scenario)
