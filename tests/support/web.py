"""A plain HTTP client on asyncio's streams, which sends what it is told to, right or wrong."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import NamedTuple

from nftsvc.agent.listener import BindAddress

DEADLINE = 60.0


class Reply(NamedTuple):
    code: int
    headers: Mapping[str, str]
    body: bytes


async def get(address: BindAddress | None, path: str, method: str = "GET") -> Reply:
    assert address is not None
    return parsed(await exchange(address, f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()))


async def exchange(address: BindAddress, request: bytes) -> bytes:
    """Send bytes and return all that comes until the other side closes."""
    async with asyncio.timeout(DEADLINE):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        try:
            writer.write(request)
            return await received(reader)
        finally:
            writer.close()


async def received(reader: asyncio.StreamReader) -> bytes:
    parts = []
    try:
        while part := await reader.read(1 << 16):
            parts.append(part)
    except ConnectionError:  # closed with a reset: what was there before counts
        pass
    return b"".join(parts)


def parsed(raw: bytes) -> Reply:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return Reply(int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that will be so."""
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.005)


def free_ports(count: int) -> list[int]:
    """Return ports that nobody has in either family, below those that connections get as their source."""
    found: list[int] = []
    for candidate in range(20_000 + os.getpid() * 97 % 8_000, 32_000):
        with suppress(OSError), socket.create_server(("::", candidate), family=socket.AF_INET6, dualstack_ipv6=True):
            found.append(candidate)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """Run a scenario on an event loop of its own; what it leaves behind is an error."""

    async def whole() -> None:
        await scenario()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, left

    asyncio.run(whole())
