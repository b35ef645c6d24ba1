"""What the look through flows goes by: always the latest word, and nothing is begun anew."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress

import pytest

from nftsvc.agent.cleaning import FlowCleaner
from nftsvc.errors import KernelError
from nftsvc.flows import UDP, Endpoints, Target, Tracked
from nftsvc.kernel.conntrack import Cleaned
from nftsvc.values import Address, Family

SECONDS = 60


def frontend(number: int, *endpoints: str) -> Tracked:
    listed = frozenset((Address(one), 53) for one in endpoints)
    return {Target(Family.IPV4, UDP, Address(f"10.96.0.{number}"), 53): listed}


class Held(FlowCleaner):
    """A cleaner that looks when it is let, and remembers what it had to go by at the beginning and at the end."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        super().__init__(lambda _: self.told.set())
        self.begun, self.let, self.ended = (threading.Semaphore(0) for _ in range(3))
        self.looks: list[tuple[dict[Target, Endpoints], dict[Target, Endpoints]]] = []
        self.error: KernelError | None = None

    def _look_through(self, frontends: Mapping[Target, Endpoints]) -> tuple[Cleaned, ...]:
        before = dict(frontends)
        self.begun.release()
        assert self.let.acquire(timeout=SECONDS)
        self.looks.append((before, dict(frontends)))
        self.ended.release()
        if self.error is not None:
            raise self.error
        return (Cleaned(Family.IPV4, 1, 0, 0, 0.0, complete=True),)

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=SECONDS)

    async def until_done(self) -> None:
        self.let.release()
        assert await asyncio.to_thread(self.ended.acquire, timeout=SECONDS)


@asynccontextmanager
async def running() -> AsyncIterator[Held]:
    cleaner = Held()
    task = asyncio.create_task(cleaner.run())
    try:
        yield cleaner
    finally:
        for _ in range(10):
            cleaner.let.release()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def several(*frontends: Tracked) -> Tracked:
    return {target: ends for one in frontends for target, ends in one.items()}


def test_endpoints_that_come_while_flows_are_looked_through_are_gone_by() -> None:
    async def scenario() -> None:
        async with running() as cleaner:
            cleaner.add(frontend(1, "10.244.1.1"))
            await cleaner.until_begun()
            cleaner.add({}, several(frontend(1, "10.244.1.1", "10.244.1.2"), frontend(2, "10.244.1.3")))
            await cleaner.until_done()
            before, after = cleaner.looks[0]
            assert before == frontend(1, "10.244.1.1")
            assert after == frontend(1, "10.244.1.1", "10.244.1.2")

    asyncio.run(scenario())


def test_what_waits_is_looked_through_once_with_the_latest_endpoints() -> None:
    async def scenario() -> None:
        async with running() as cleaner:
            cleaner.add(frontend(1))
            await cleaner.until_begun()
            cleaner.add(frontend(2, "10.244.1.1"))
            cleaner.add(frontend(3, "10.244.1.9"), frontend(2, "10.244.1.1", "10.244.1.2"))
            await cleaner.until_done()
            await cleaner.until_begun()
            await cleaner.until_done()
            waited = several(frontend(2, "10.244.1.1", "10.244.1.2"), frontend(3, "10.244.1.9"))
            assert cleaner.looks[1] == (waited, waited)
            assert cleaner.looks[0] == (frontend(1), frontend(1))

    asyncio.run(scenario())


def test_a_frontend_that_is_stale_again_meanwhile_is_looked_through_again() -> None:
    """Flows that were read before the change are judged by what was known then."""

    async def scenario() -> None:
        async with running() as cleaner:
            cleaner.add(frontend(1, "10.244.1.1", "10.244.1.2"))
            for number in range(1, 8):
                await cleaner.until_begun()
                cleaner.add(frontend(1, f"10.244.2.{number}"))
                await cleaner.until_done()
                assert cleaner.looks[-1][1] == frontend(1, f"10.244.2.{number}")

    asyncio.run(scenario())


def test_frontends_that_nobody_looks_through_are_not_remembered() -> None:
    async def scenario() -> None:
        async with running() as cleaner:
            cleaner.add({}, frontend(1, "10.244.1.1"))
            cleaner.add(frontend(2))
            await cleaner.until_begun()
            await cleaner.until_done()
            assert cleaner.looks[0][1] == frontend(2)

    asyncio.run(scenario())


@pytest.fixture
def heard(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level("DEBUG", "nftsvc.agent.cleaning"):
        yield caplog


def test_a_kernel_that_refuses_is_told_and_asked_again(heard: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        async with running() as cleaner:
            cleaner.error = KernelError("no")
            cleaner.add(frontend(1))
            await cleaner.until_begun()
            await cleaner.until_done()
            cleaner.add(frontend(2))
            await cleaner.until_begun()
            cleaner.error = None
            await cleaner.until_done()
            async with asyncio.timeout(SECONDS):
                await cleaner.told.wait()

    asyncio.run(scenario())
    assert heard.records[0].getMessage().startswith("cannot look for stale flows")
