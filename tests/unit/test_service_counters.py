"""Per-Service counters: they only go up, are read seldom, and never keep a scrape waiting."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from nftsvc.agent.counters import ReadCounters, ServiceCount, ServiceCounters, ServiceLabels
from nftsvc.frontends import FrontendKind
from nftsvc.values import Family, Protocol
from tests.support.exposition import Exposition, checked
from tests.support.web import run, until

TCP = Protocol("TCP")
WEB = ServiceLabels("shop", "web", "http", TCP, Family.IPV4, FrontendKind.CLUSTER_IP, "10.96.0.1")
NODE_PORT = WEB._replace(frontend=FrontendKind.NODE_PORT, address="")
DNS = ServiceLabels("kube-system", "dns", "", Protocol("UDP"), Family.IPV6, FrontendKind.CLUSTER_IP, "fd00::a")
NAME = "nftsvc_service_connections_total"


class Kernel:
    """A reader whose answers are given in advance; it says how many run at a time."""

    def __init__(self, *readings: Sequence[ServiceCount] | Exception) -> None:
        self.readings = list(readings)
        self.calls = self.running = self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def read(self) -> Sequence[ServiceCount]:
        self.calls += 1
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.gate.wait()
            reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
            if isinstance(reading, Exception):
                raise reading
            return reading
        finally:
            self.running -= 1


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def scraped(counters: ServiceCounters) -> Exposition:
    return checked(b"".join(await counters.exposition()))


def counted(said: Exposition, labels: ServiceLabels, name: str = NAME) -> float:
    return said.value(name, **{key: str(value) for key, value in labels._asdict().items()})


def totals(*readings: Sequence[ServiceCount] | Exception, most: int = 100) -> list[Exposition]:
    """Scrape once for each reading."""
    found: list[Exposition] = []

    async def scenario() -> None:
        counters = ServiceCounters(Kernel(*readings).read, every=0, patience=60, most=most)
        found.extend([await scraped(counters) for _ in readings])

    run(scenario)
    return found


# What is told --------------------------------------------------------------------------------------------------------


def test_each_way_into_a_service_port_is_one_line() -> None:
    (said,) = totals([ServiceCount(WEB, 5), ServiceCount(NODE_PORT, 7), ServiceCount(DNS, 2**63)])
    assert said.types[NAME] == "counter"
    assert [counted(said, one) for one in (WEB, NODE_PORT, DNS)] == [5, 7, 2**63]
    assert said.labels(NAME) == set(ServiceLabels._fields)
    assert len(said.samples[NAME]) == 3


def test_refused_packets_are_told_apart() -> None:
    (said,) = totals([ServiceCount(WEB, 5), ServiceCount(WEB, 9, refused=True)])
    assert counted(said, WEB) == 5
    assert counted(said, WEB, "nftsvc_service_refused_packets_total") == 9


def test_what_the_kernel_counted_before_the_agent_started_counts() -> None:
    assert counted(totals([ServiceCount(WEB, 123456)])[0], WEB) == 123456


def test_a_counter_never_goes_back() -> None:
    shown = (10, 15, 15, 3, 4, 0, 100)
    said = totals(*([ServiceCount(WEB, one)] for one in shown))
    assert [counted(one, WEB) for one in said] == [10, 15, 15, 18, 19, 19, 119]


def test_a_deleted_service_is_forgotten_and_starts_again() -> None:
    said = totals([ServiceCount(WEB, 10), ServiceCount(DNS, 1)], [ServiceCount(DNS, 2)], [ServiceCount(WEB, 4)])
    assert set(said[1].samples[NAME]) == {frozenset((key, str(one)) for key, one in DNS._asdict().items())}
    assert counted(said[2], WEB) == 4


def test_memory_is_that_of_the_last_reading() -> None:
    names = [[ServiceCount(WEB._replace(service=f"web-{turn}-{one}"), 1) for one in range(50)] for turn in range(5)]
    assert [len(one.samples[NAME]) for one in totals(*names)] == [50] * 5


def test_too_many_elements_are_left_out_and_counted() -> None:
    many = [ServiceCount(WEB._replace(service=f"web-{one}"), one) for one in range(130)]
    said = totals(many, many[:20])
    assert len(said[0].samples[NAME]) == 100
    assert said[0].value("nftsvc_service_counters_left_out") == 30
    assert said[1].value("nftsvc_service_counters_left_out") == 0


def test_an_element_read_twice_counts_once() -> None:
    assert counted(totals([ServiceCount(WEB, 5), ServiceCount(WEB, 5)])[0], WEB) == 5


def test_odd_names_cannot_break_the_text() -> None:
    odd = WEB._replace(namespace='a"b', service="c\\d", port="e\nf")
    (said,) = totals([ServiceCount(odd, 1), ServiceCount(WEB._replace(service="\udc80"), 2)])
    assert counted(said, odd) == 1


# When it is read -----------------------------------------------------------------------------------------------------


def scenario_with(
    kernel: Callable[[], Kernel], check: Callable[[ServiceCounters, Kernel, Clock], object], **options: float
) -> None:
    async def scenario() -> None:
        clock, reader = Clock(), kernel()
        counters = ServiceCounters(reader.read, clock=clock, **options)  # type: ignore[arg-type]
        await check(counters, reader, clock)  # type: ignore[misc]
        await counters.close()

    run(scenario)


def test_readings_are_cached_for_a_while() -> None:
    async def check(counters: ServiceCounters, kernel: Kernel, clock: Clock) -> None:
        for _ in range(5):
            assert counted(await scraped(counters), WEB) == 1
            clock.now += 2.9
        assert kernel.calls == 1
        clock.now = 1015.0
        said = await scraped(counters)
        assert (counted(said, WEB), kernel.calls) == (2, 2)

    scenario_with(lambda: Kernel([ServiceCount(WEB, 1)], [ServiceCount(WEB, 2)]), check)


def test_nothing_is_read_while_nobody_asks() -> None:
    async def check(_counters: ServiceCounters, kernel: Kernel, clock: Clock) -> None:
        clock.now += 1000
        await asyncio.sleep(0)
        assert kernel.calls == 0

    scenario_with(lambda: Kernel([]), check)


def test_a_slow_reading_gives_the_last_values_and_no_second_one_starts() -> None:
    async def check(counters: ServiceCounters, kernel: Kernel, clock: Clock) -> None:
        assert counted(await scraped(counters), WEB) == 1
        kernel.gate.clear()
        for _ in range(20):
            clock.now += 20.0
            assert counted(await scraped(counters), WEB) == 1
        assert (kernel.calls, kernel.most) == (2, 1)
        kernel.gate.set()
        await until(lambda: kernel.running == 0)
        assert counted(await scraped(counters), WEB) == 2

    scenario_with(lambda: Kernel([ServiceCount(WEB, 1)], [ServiceCount(WEB, 2)]), check, patience=0.01)


def test_many_scrapes_at_once_share_one_reading() -> None:
    async def check(counters: ServiceCounters, kernel: Kernel, _clock: Clock) -> None:
        said = await asyncio.gather(*(scraped(counters) for _ in range(20)))
        assert {counted(one, WEB) for one in said} == {1}
        assert (kernel.calls, kernel.most) == (1, 1)

    scenario_with(lambda: Kernel([ServiceCount(WEB, 1)]), check, patience=60)


def test_a_failed_reading_keeps_the_last_values_and_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    said = totals([ServiceCount(WEB, 3)], TimeoutError(), TimeoutError(), [ServiceCount(WEB, 5)])
    assert [counted(one, WEB) for one in said] == [3, 3, 3, 5]
    assert [one.value("nftsvc_service_counters_read_failures_total") for one in said] == [0, 1, 2, 2]
    assert len(caplog.records) == 1  # not once for each scrape


def test_the_age_of_the_values_is_told() -> None:
    async def check(counters: ServiceCounters, _kernel: Kernel, clock: Clock) -> None:
        await scraped(counters)
        clock.now += 7.5
        assert (await scraped(counters)).value("nftsvc_service_counters_age_seconds") == 7.5

    scenario_with(lambda: Kernel([ServiceCount(WEB, 1)]), check, patience=60)


def test_closing_ends_a_reading_that_hangs() -> None:
    async def check(counters: ServiceCounters, kernel: Kernel, _clock: Clock) -> None:
        kernel.gate.clear()
        assert "nftsvc_service_counters_age_seconds" not in (await scraped(counters)).types
        assert kernel.running == 1

    scenario_with(lambda: Kernel([]), check, patience=0.01)


def test_the_reader_is_any_coroutine_function() -> None:
    async def read() -> tuple[ServiceCount, ...]:
        return ()

    reader: ReadCounters = read

    async def scenario() -> None:
        assert NAME in (await scraped(ServiceCounters(reader))).types

    run(scenario)
