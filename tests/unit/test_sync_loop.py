"""When passes are made: gate, pace, retry, repair, verify. Order and counts, never how long something took."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, cast

import pytest

from nftsvc.agent.inbox import Inbox
from nftsvc.agent.loop import Outcome, Pace, SyncLoop
from nftsvc.agent.status import Drift, PassKind
from nftsvc.errors import KernelRefused, KernelUnavailable, NftsvcError, UsageError
from nftsvc.events import Event, Put, Replaced
from nftsvc.objects import KubernetesObject, Service
from nftsvc.sources.source import Batch, Receiver
from nftsvc.sync import Follower, Progress, Suspicion
from nftsvc.values import Family
from tests.support.builders import decoded, endpoint_slice, service

DEADLINE = 60.0
NEVER = 3600.0  # seconds; a test that waits for this fails
AT_ONCE = Pace(minimum=0.0, verify=NEVER)


class Follows:
    """A follower that makes of each pass what it is told to, on the thread that it is called on."""

    def __init__(self, *outcomes: Progress | Exception) -> None:
        self.outcomes = list(outcomes)
        self.taken: list[tuple[Event, ...]] = []
        self.suspicions: list[Suspicion] = []
        self.steps: list[bool] = []
        self.threads: set[int] = set()
        self.afresh: list[Exception] = []
        self.may_end = threading.Event()
        self.may_end.set()
        self.begun = threading.Event()
        self.ended = 0

    def take(self, events: Iterable[Event]) -> None:
        self.taken.append(tuple(events))

    def suspect(self, suspicion: Suspicion) -> None:
        self.suspicions.append(suspicion)

    def step(self, *, verify: bool = False) -> Progress:
        self.steps.append(verify)
        self.threads.add(threading.get_ident())
        self.begun.set()
        assert self.may_end.wait(DEADLINE)
        self.ended += 1
        outcome = self.outcomes.pop(0) if self.outcomes else Progress(PassKind.CHANGE, transactions=1)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def start_afresh(self, error: Exception) -> Progress:
        self.afresh.append(error)
        return Progress(PassKind.RETRY, error=NftsvcError(f"a bug: {error}"))


@dataclass
class Silent:
    name: str = "cluster"
    kinds: tuple[type[KubernetesObject], ...] = (Service,)

    async def run(self, receiver: Receiver) -> None:
        del receiver
        await asyncio.sleep(0)


class Running:
    """A sync loop at work, its inbox, and what came of its passes with the event loop's time at the end of each."""

    def __init__(self, follower: Follows, pace: Pace) -> None:
        self.time = 5000.0
        self.follower = follower
        self.outcomes: list[Outcome] = []
        self.times: list[float] = []
        self._changed = asyncio.Condition()
        self.loop = SyncLoop(cast("Follower", follower), pace, lambda: self.time, self._done)
        self.inbox = Inbox((Silent(),), lambda: self.time, self.loop.wake)

    def _done(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.times.append(asyncio.get_running_loop().time())

    def deliver(self, *events: Event) -> None:
        self.inbox.deliver(Batch("cluster", events, (), asyncio.get_running_loop().time(), 0))

    def list(self) -> None:
        self.deliver(Replaced(Service, ()))

    def put(self, number: int) -> None:
        self.deliver(Put(decoded(service(f"web-{number}", [f"10.96.0.{number}"]))))

    def suspect(self, what: str = "deleted a table", suspicion: Suspicion | None = None) -> Drift:
        drift = Drift("nft", 7, what, self.time)
        self.loop.suspect(suspicion or Suspicion(), drift)
        return drift

    @property
    def pending_since(self) -> float | None:
        return self.loop.pending_since(self.inbox)

    async def fail_after(self, failures: int) -> None:
        """Make a first pass that is not the first to fail: to get there takes hours."""
        self.follower.may_end.clear()
        self.list()
        await until(self.follower.begun.is_set)
        self.loop._failures = failures  # noqa: SLF001
        self.follower.may_end.set()
        await self.passes(1)

    async def passes(self, count: int) -> None:
        """Wait until so many passes have been made."""
        await until(lambda: len(self.outcomes) >= count)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not holds():  # noqa: ASYNC110 - what is waited for happens on other threads, too
            await asyncio.sleep(0.001)


async def settled() -> None:
    """Let everything happen that only waits for its turn."""
    for _ in range(20):
        await asyncio.sleep(0.001)


@asynccontextmanager
async def running(follower: Follows, pace: Pace = AT_ONCE) -> Any:
    made = Running(follower, pace)
    task = asyncio.create_task(made.loop.run(made.inbox))
    try:
        yield made
    finally:
        follower.may_end.set()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), task.exception()


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


@pytest.fixture(autouse=True)
def no_threads_stay() -> Iterator[None]:
    yield
    assert not [one for one in threading.enumerate() if one.name.startswith("sync")]


FAILED = Progress(PassKind.RETRY, error=KernelRefused("no", "", "chain services"))
CHANGED = Progress(PassKind.CHANGE, transactions=1)


# Gate -----------------------------------------------------------------------------------------------------------------


def test_no_pass_before_every_source_has_said_what_there_is() -> None:
    async def test() -> None:
        async with running(Follows(), Pace(minimum=0.0, verify=0.001)) as made:
            made.put(1)
            made.suspect()
            await settled()
            assert not made.follower.steps
            made.list()
            await made.passes(1)
            assert made.follower.taken[0][0] == Replaced(Service, ())
            assert made.follower.suspicions == [Suspicion()]

    run(test)


def test_waiting_for_a_source_is_idle_however_long_it_takes() -> None:
    """Turns of the event loop are counted: whoever waits for an event takes none."""

    async def test() -> None:
        async with running(Follows(), Pace(minimum=0.0, verify=0.001)):
            loop = cast("Any", asyncio.get_running_loop())
            turns, original = 0, loop._run_once  # noqa: SLF001 - nobody else counts them

            def counted() -> None:
                nonlocal turns
                turns += 1
                original()

            loop._run_once = counted  # noqa: SLF001
            await asyncio.sleep(0.2)
            assert turns < 20

    run(test)


def test_without_sources_a_pass_is_made_all_the_same() -> None:
    async def test() -> None:
        follower = Follows()
        outcomes: list[Outcome] = []
        loop = SyncLoop(cast("Follower", follower), AT_ONCE, lambda: 0.0, outcomes.append)
        task = asyncio.create_task(loop.run(Inbox((), lambda: 0.0, loop.wake)))
        await until(lambda: bool(outcomes))
        task.cancel()
        await asyncio.wait([task])

    run(test)


# Pace -----------------------------------------------------------------------------------------------------------------


def test_what_arrives_when_all_is_quiet_is_acted_on_at_once_and_nothing_else_happens() -> None:
    async def test() -> None:
        async with running(Follows()) as made:
            made.list()
            await made.passes(1)
            for number in (1, 2, 3):
                made.put(number)
                await made.passes(number + 1)
            await settled()
            assert len(made.outcomes) == 4
            assert [len(one) for one in made.follower.taken] == [1, 1, 1, 1]
            assert len(made.follower.threads) == 1
            assert threading.get_ident() not in made.follower.threads

    run(test)


def test_under_load_passes_keep_their_distance_and_gather() -> None:
    async def test() -> None:
        async with running(Follows(), Pace(minimum=0.05, verify=NEVER)) as made:
            made.list()
            await made.passes(1)
            number = 0
            while len(made.outcomes) < 5:
                number = number % 200 + 1
                made.put(number)
                await asyncio.sleep(0.001)
            assert all(later - one >= 0.05 for one, later in pairwise(made.times))
            assert max(map(len, made.follower.taken)) > 1

    run(test)


def test_what_arrives_during_a_pass_is_in_the_next() -> None:
    async def test() -> None:
        async with running(Follows()) as made:
            made.follower.may_end.clear()
            made.list()
            await until(made.follower.begun.is_set)
            made.put(1)
            made.put(2)
            await settled()
            assert len(made.follower.steps) == 1
            made.follower.may_end.set()
            await made.passes(2)
            await settled()
            assert [len(one) for one in made.follower.taken] == [1, 2]

    run(test)


def test_what_somebody_else_has_done_does_not_wait() -> None:
    async def test() -> None:
        async with running(Follows(), Pace(minimum=NEVER, verify=2 * NEVER)) as made:
            made.list()
            await made.passes(1)
            made.suspect()
            await made.passes(2)
            made.put(1)
            await settled()
            assert len(made.outcomes) == 2, "a change waits for its time"
            made.suspect()
            await made.passes(3)
            assert len(made.follower.taken[2]) == 1, "a pass takes all that there is"
            await settled()
            assert len(made.outcomes) == 3

    run(test)


def test_repairs_keep_a_distance_of_their_own_while_somebody_goes_on() -> None:
    async def test() -> None:
        async with running(Follows(), AT_ONCE) as made:
            made.list()
            await made.passes(1)
            while len(made.outcomes) < 5:
                made.suspect()
                await asyncio.sleep(0.001)
            assert all(later - one >= 0.1 for one, later in pairwise(made.times[1:]))
            assert max(len(one.repaired) for one in made.outcomes) > 1

    run(test)


# Retry ----------------------------------------------------------------------------------------------------------------


def test_what_was_refused_is_tried_again_without_anybody_asking() -> None:
    async def test() -> None:
        async with running(Follows(FAILED, FAILED, FAILED)) as made:
            made.list()
            await made.passes(4)
            await settled()
            assert len(made.outcomes) == 4
            assert [bool(one.report.error) for one in made.outcomes] == [True, True, True, False]
            assert made.outcomes[0].report.refused == "chain services"
            pauses = [later - one for one, later in pairwise(made.times)]
            assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)] == [True] * 3

    run(test)


def test_pauses_start_small_again_after_a_success() -> None:
    async def test() -> None:
        async with running(Follows(FAILED, FAILED, FAILED, CHANGED, FAILED)) as made:
            made.list()
            await made.passes(4)
            made.put(1)
            await made.passes(6)
            assert made.times[5] - made.times[4] >= 0.1
            assert made.loop._failures == 0  # noqa: SLF001 - how long the next pause would be

    run(test)


@pytest.mark.parametrize("failures", [9, 1000, 1100, 100_000])
def test_after_however_many_failures_the_loop_goes_on(failures: int) -> None:
    async def test() -> None:
        async with running(Follows(FAILED)) as made:
            await made.fail_after(failures - 1)
            made.suspect()
            await made.passes(2)
            assert not made.outcomes[1].report.error

    run(test)


def test_events_do_not_make_retries_come_sooner_but_are_in_them() -> None:
    async def test() -> None:
        async with running(Follows(*[FAILED] * 3)) as made:
            made.list()
            while len(made.outcomes) < 4:
                made.put(len(made.outcomes) + 1)
                await asyncio.sleep(0.002)
            pauses = [later - one for one, later in pairwise(made.times)][:3]
            assert [pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True)] == [True] * 3
            assert all(made.follower.taken[1:4])

    run(test)


def test_what_is_missing_from_the_settings_may_arrive_at_any_time() -> None:
    async def test() -> None:
        unset = Progress(PassKind.FIRST, error=UsageError("the Node has no podCIDRs"))
        async with running(Follows(unset)) as made:
            await made.fail_after(20)
            made.put(1)
            await made.passes(2)
            assert not made.outcomes[1].report.error

    run(test)


def test_a_bug_is_a_failed_pass_after_which_everything_starts_afresh(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with running(Follows(ZeroDivisionError("oh"))) as made:
            made.list()
            await made.passes(2)
            assert [bool(one.report.error) for one in made.outcomes] == [True, False]
            assert [str(one) for one in made.follower.afresh] == ["oh"]
            assert made.loop.busy_since is None

    run(test)
    assert any(one.exc_info for one in caplog.records)


# What is told of it ---------------------------------------------------------------------------------------------------


def test_since_when_a_change_waits_is_since_the_first_that_is_not_in_the_kernel() -> None:
    async def test() -> None:
        async with running(Follows(CHANGED, FAILED, FAILED)) as made:
            made.time = 1.0
            made.list()
            assert made.pending_since == 1.0
            await made.passes(1)
            assert made.pending_since is None
            made.time = 2.0
            made.put(1)
            await made.passes(2)
            assert made.pending_since == 2.0
            made.time = 3.0
            made.put(2)
            await made.passes(3)
            assert made.pending_since == 2.0
            await made.passes(4)
            assert made.pending_since is None

    run(test)


def test_what_arrives_during_a_pass_waits_since_then() -> None:
    async def test() -> None:
        async with running(Follows()) as made:
            made.time = 1.0
            made.follower.may_end.clear()
            made.list()
            await until(made.follower.begun.is_set)
            assert made.loop.busy_since == 1.0
            made.time = 2.0
            made.put(1)
            assert made.pending_since == 1.0
            made.follower.begun.clear()
            made.follower.may_end.set()
            await made.passes(1)
            made.follower.may_end.clear()
            if len(made.outcomes) == 1:
                assert made.pending_since == 2.0
            made.follower.may_end.set()
            await made.passes(2)
            assert made.pending_since is None
            assert made.loop.busy_since is None

    run(test)


def test_a_repair_that_fails_is_something_that_waits() -> None:
    async def test() -> None:
        async with running(Follows(CHANGED, FAILED)) as made:
            made.list()
            await made.passes(1)
            made.time = 9.0
            made.suspect()
            await made.passes(2)
            assert made.pending_since == 9.0
            await made.passes(3)
            assert made.pending_since is None

    run(test)


def test_latencies_are_told_once_what_was_read_is_in_the_kernel() -> None:
    async def test() -> None:
        async with running(Follows(CHANGED, FAILED)) as made:
            made.list()
            await made.passes(1)
            made.put(1)
            await made.passes(2)
            made.put(2)
            await made.passes(3)
            assert [len(one.report.latencies) for one in made.outcomes] == [1, 0, 2]
            assert max(made.outcomes[2].report.latencies) >= 0.1, "what failed first counts from when it was read"

    run(test)


def test_how_long_the_cluster_waited_is_told_of_slices_with_a_cause() -> None:
    def slice_at(number: int, time: str) -> Event:
        raw = endpoint_slice(f"web-{number}", ["10.244.1.5" if number % 2 else "fd00:244:1::5"])
        raw["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": time}
        return Put(decoded(raw))

    async def test() -> None:
        async with running(Follows(CHANGED, FAILED)) as made:
            made.list()
            await made.passes(1)
            made.time = 5010.0
            made.deliver(
                slice_at(1, "1970-01-01T01:23:25Z"),  # 5005
                slice_at(2, "1970-01-01T01:23:26.500000000Z"),
                slice_at(3, "1970-01-01T01:00:00Z"),  # before the agent
                slice_at(5, "1970-01-01T02:00:00Z"),  # to come
                slice_at(7, "yesterday"),
                slice_at(9, "0001-01-01T00:00:00"),
                slice_at(11, "9999-12-31T23:59:59"),
                slice_at(13, ""),
            )
            await made.passes(3)
            assert [len(one.report.programming) for one in made.outcomes] == [0, 0, 2]
            assert sorted(made.outcomes[2].report.programming) == [(Family.IPV4, 5.0), (Family.IPV6, 3.5)]

    run(test)


def test_drift_is_told_of_the_pass_that_put_it_right() -> None:
    async def test() -> None:
        repaired = Progress(PassKind.REPAIR, transactions=1)
        nothing = Progress(PassKind.REPAIR)
        async with running(Follows(CHANGED, FAILED, repaired, nothing)) as made:
            made.list()
            await made.passes(1)
            first = made.suspect()
            await made.passes(3)
            assert [one.repaired for one in made.outcomes] == [(), (), (first,)]
            assert "nft (pid 7) deleted a table" in made.outcomes[2].report.reason
            made.suspect()
            await made.passes(4)
            assert made.outcomes[3].repaired == (), "somebody had put it right, or it was nothing"

    run(test)


def test_drift_during_a_pass_is_the_next_ones() -> None:
    async def test() -> None:
        async with running(Follows(CHANGED, *[Progress(PassKind.REPAIR, transactions=1)] * 2)) as made:
            made.list()
            await made.passes(1)
            made.follower.may_end.clear()
            made.follower.begun.clear()
            first = made.suspect("one")
            await until(made.follower.begun.is_set)
            second = made.suspect("two")
            made.follower.may_end.set()
            await made.passes(3)
            assert [one.repaired for one in made.outcomes] == [(), (first,), (second,)]

    run(test)


def test_suspicions_of_one_pass_add_up() -> None:
    async def test() -> None:
        async with running(Follows()) as made:
            made.list()
            await made.passes(1)
            made.suspect(suspicion=Suspicion({Family.IPV4: frozenset("a")}))
            made.suspect(suspicion=Suspicion({Family.IPV4: frozenset("b")}))
            await made.passes(2)
            assert made.follower.suspicions == [Suspicion({Family.IPV4: frozenset("ab")})]

    run(test)


def test_storms_and_failures_fill_no_memory() -> None:
    async def test() -> None:
        async with running(Follows(*[FAILED] * 3)) as made:
            made.list()
            await made.passes(1)
            for number in range(3000):
                made.suspect(f"change {number}")
            await made.passes(4)
            repaired = made.outcomes[3].repaired
            assert len(repaired) <= 1000
            assert repaired[-1].what == "change 2999"

    run(test)


# Verify ---------------------------------------------------------------------------------------------------------------


def test_everything_is_verified_from_time_to_time() -> None:
    async def test() -> None:
        async with running(Follows(*[Progress(PassKind.VERIFY)] * 4), Pace(minimum=0.0, verify=0.05)) as made:
            made.list()
            await made.passes(4)
            assert made.follower.steps[:4] == [False, True, True, True]
            assert all(later - one >= 0.05 for one, later in pairwise(made.times[:4]))
            assert made.outcomes[1].report.reason == "time to verify"

    run(test)


@pytest.mark.parametrize("kind", [PassKind.CHANGE, PassKind.REPAIR])
def test_passes_that_look_at_some_things_only_do_not_put_verification_off(kind: PassKind) -> None:
    async def test() -> None:
        async with running(Follows(*[Progress(kind)] * 1000), Pace(minimum=0.0, verify=0.1)) as made:
            made.list()
            while not any(made.follower.steps):
                made.suspect(suspicion=Suspicion({Family.IPV4: frozenset("a")}))
                await asyncio.sleep(0.005)
                assert len(made.follower.steps) < 1000

    run(test)


# The end --------------------------------------------------------------------------------------------------------------


def test_a_pass_under_way_is_waited_for() -> None:
    async def test() -> None:
        made = Running(Follows(), AT_ONCE)
        task = asyncio.create_task(made.loop.run(made.inbox))
        made.follower.may_end.clear()
        made.list()
        await until(made.follower.begun.is_set)
        task.cancel()
        await settled()
        assert not task.done()
        made.follower.may_end.set()
        async with asyncio.timeout(DEADLINE):
            await asyncio.wait([task])
        assert made.follower.ended == 1
        assert task.cancelled()

    run(test)


def test_the_log_has_one_line_a_pass(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        refused = replace(FAILED, error=KernelUnavailable("gone"))
        async with running(Follows(CHANGED, refused)) as made:
            with caplog.at_level("DEBUG", logger="nftsvc"):
                made.list()
                await made.passes(1)
                made.put(1)
                await made.passes(3)

    run(test)
    assert [one.getMessage() for one in caplog.records if "sync" in one.getMessage()] == [
        "synced",
        "sync failed",
        "synced",
    ]
