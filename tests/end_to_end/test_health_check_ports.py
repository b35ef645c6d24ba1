"""healthCheckNodePorts over real sockets: opened, kept, moved and closed as Services come and go."""

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

import pytest

from nftsvc.agent.listener import BindAddress
from nftsvc.agent.service_health import EVERYWHERE, ServiceHealth
from nftsvc.plan import HealthCheck
from nftsvc.state import ServiceKey
from nftsvc.values import Family
from tests.support.web import Reply, free_ports, get, run

WEB, API = ServiceKey("shop", "web"), ServiceKey("shop", "api")
V4, V6 = "127.0.0.1", "::1"


class Node:
    def __init__(self) -> None:
        self.healthy = True
        self.failures: list[tuple[ServiceKey, str]] = []


@asynccontextmanager
async def listening(node: Node, addresses: dict[Family, tuple[str, ...]] | None = None) -> AsyncIterator[ServiceHealth]:
    made = ServiceHealth(lambda: node.healthy, lambda *one: node.failures.append(one), addresses or EVERYWHERE)
    try:
        yield made
    finally:
        await made.close()


def check(service: ServiceKey, port: int, ipv4: int | None = 1, ipv6: int | None = None) -> HealthCheck:
    counts = {Family.IPV4: ipv4, Family.IPV6: ipv6}
    return HealthCheck(service, port, {family: count for family, count in counts.items() if count is not None})


async def asked(host: str, port: int, path: str = "/") -> Reply:
    return await get(BindAddress(host, port), path)


async def closed(host: str, port: int) -> bool:
    try:
        await asked(host, port)
    except ConnectionRefusedError:
        return True
    return False


def test_the_answer_is_kube_proxys() -> None:
    async def scenario() -> None:
        (port,) = free_ports(1)
        async with listening(Node()) as health:
            await health.update((check(WEB, port, 2),))
            for path in ("/", "/healthz", "/any/thing?x=1"):
                reply = await asked(V4, port, path)
                assert reply.code == 200
                assert reply.body.decode() == (
                    '{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n'
                    '\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}'
                )
                assert reply.headers["Content-Type"] == "application/json"
                assert reply.headers["X-Content-Type-Options"] == "nosniff"
                assert reply.headers["X-Load-Balancing-Endpoint-Weight"] == "2"

    run(scenario)


def test_each_family_tells_its_own_endpoints() -> None:
    async def scenario() -> None:
        (port,) = free_ports(1)
        async with listening(Node()) as health:
            await health.update((check(WEB, port, 0, 3),))
            ipv4, ipv6 = await asked(V4, port), await asked(V6, port)
            assert (ipv4.code, json.loads(ipv4.body)["localEndpoints"]) == (503, 0)
            assert (ipv6.code, json.loads(ipv6.body)["localEndpoints"]) == (200, 3)

    run(scenario)


def test_a_service_of_one_family_listens_in_one() -> None:
    async def scenario() -> None:
        first, second = free_ports(2)
        async with listening(Node()) as health:
            await health.update((check(WEB, first, 1, None), check(API, second, None, 1)))
            assert await closed(V6, first)
            assert await closed(V4, second)
            assert (await asked(V4, first)).code == (await asked(V6, second)).code == 200

    run(scenario)


def test_an_agent_that_is_behind_gets_no_more_traffic() -> None:
    async def scenario() -> None:
        (port,) = free_ports(1)
        node = Node()
        async with listening(node) as health:
            await health.update((check(WEB, port, 2),))
            node.healthy = False
            reply = await asked(V4, port)
            assert (reply.code, json.loads(reply.body)["serviceProxyHealthy"]) == (503, False)
            assert reply.headers["X-Load-Balancing-Endpoint-Weight"] == "2"

    run(scenario)


def test_counts_follow_and_listeners_stay() -> None:
    async def scenario() -> None:
        (port,) = free_ports(1)
        async with listening(Node()) as health:
            for count in (1, 0, 5):
                await health.update((check(WEB, port, count),))
                assert json.loads((await asked(V4, port)).body)["localEndpoints"] == count
            kept = health.listening
            await health.update((check(WEB, port, 5),))
            assert health.listening == kept

    run(scenario)


def test_ports_change_and_services_go() -> None:
    async def scenario() -> None:
        first, second, third = free_ports(3)
        async with listening(Node()) as health:
            await health.update((check(WEB, first), check(API, second)))
            await health.update((check(WEB, third), check(API, second)))
            assert await closed(V4, first)
            assert (await asked(V4, third)).code == (await asked(V4, second)).code == 200
            await health.update((check(API, second),))
            assert await closed(V4, third)
            await health.update(())
            assert await closed(V4, second)
            assert health.listening == {}

    run(scenario)


def test_two_services_swap_their_ports() -> None:
    async def scenario() -> None:
        first, second = free_ports(2)
        node = Node()
        async with listening(node) as health:
            await health.update((check(WEB, first, 1, 1), check(API, second, 1, 1)))
            await health.update((check(WEB, second, 1, 1), check(API, first, 1, 1)))
            assert node.failures == []
            for host in (V4, V6):
                assert json.loads((await asked(host, second)).body)["service"]["name"] == "web"
                assert json.loads((await asked(host, first)).body)["service"]["name"] == "api"

    run(scenario)


def test_a_taken_port_is_reported_once_and_tried_at_every_pass(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        node = Node()
        (port,) = free_ports(1)
        with closing(socket.create_server((V4, port))) as other:
            async with listening(node) as health:
                for _ in range(3):
                    await health.update((check(WEB, port, 1, 2),))
                assert [service for service, _ in node.failures] == [WEB]
                expected = f"cannot listen on healthCheckNodePort {port} (IPv4): Address already in use"
                assert node.failures[0][1].startswith(expected)
                assert (await asked(V6, port)).code == 200  # the other family works
                other.close()
                await health.update((check(WEB, port, 1, 2),))
                assert (await asked(V4, port)).code == 200
                assert len(node.failures) == 1
        assert [record.message for record in caplog.records] == ["health check port failed"]

    run(scenario)


def test_two_services_that_want_one_port_are_told_apart() -> None:
    async def scenario() -> None:
        (port,) = free_ports(1)
        node = Node()
        async with listening(node) as health:
            await health.update((check(WEB, port), check(API, port)))
            assert json.loads((await asked(V4, port)).body)["service"]["name"] == "web"
            assert [service for service, _ in node.failures] == [API]

    run(scenario)


def test_restricted_addresses_are_the_only_ones() -> None:
    async def scenario() -> None:
        (port,) = free_ports(1)
        async with listening(Node(), {Family.IPV4: ("127.0.0.2", "127.0.0.3")}) as health:
            await health.update((check(WEB, port, 1, 1),))
            assert [str(one) for listed in health.listening.values() for one in listed] == [
                f"127.0.0.2:{port}",
                f"127.0.0.3:{port}",
            ]
            assert (await asked("127.0.0.2", port)).code == (await asked("127.0.0.3", port)).code == 200
            assert await closed(V4, port)
            assert await closed(V6, port)

    run(scenario)


def test_a_service_listens_on_all_of_its_addresses_or_none() -> None:
    async def scenario() -> None:
        node = Node()
        (port,) = free_ports(1)
        with closing(socket.create_server(("127.0.0.3", port))):
            async with listening(node, {Family.IPV4: ("127.0.0.2", "127.0.0.3")}) as health:
                await health.update((check(WEB, port),))
                assert await closed("127.0.0.2", port)
                assert health.listening == {}
                assert len(node.failures) == 1

    run(scenario)


def test_many_services() -> None:
    async def scenario() -> None:
        wanted = free_ports(150)
        node = Node()
        async with listening(node) as health:
            checks = tuple(check(ServiceKey("shop", f"web-{port}"), port, 1, 1) for port in wanted)
            await health.update(checks)
            assert node.failures == []
            assert len(health.listening) == 300
            for port in (wanted[0], wanted[-1]):
                assert json.loads((await asked(V6, port)).body)["service"]["name"] == f"web-{port}"
            await health.update(checks[:1])
            assert len(health.listening) == 2

    run(scenario)
