"""Where sources put what they find out: the latest word of each object, and nothing before all have spoken."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import permutations

import pytest

from nftsvc.agent.inbox import Inbox, Taken
from nftsvc.errors import ObjectRef, Problem
from nftsvc.events import Event, Put, Removed, Replaced
from nftsvc.objects import Endpoints, EndpointSlice, KubernetesObject, Node, Pod, Service
from nftsvc.sources.source import Batch, Receiver
from nftsvc.state import State
from tests.support.builders import decoded, endpoint_slice, service


@dataclass
class Silent:
    """A source that others speak for."""

    name: str
    kinds: tuple[type[KubernetesObject], ...]

    async def run(self, receiver: Receiver) -> None:
        del receiver
        await asyncio.sleep(0)


@dataclass
class Heard:
    """What an inbox told, and the time that it goes by."""

    time: float = 1000.0
    arrived: int = 0
    seen: list[Batch] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def arrive(self) -> None:
        self.arrived += 1


CLUSTER = Silent("cluster", (Service, EndpointSlice))
NODES = Silent("nodes", (Node,))
MadeInbox = Callable[..., tuple[Inbox, Heard]]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, logger="nftsvc"):
        yield


def made(*sources: Silent) -> tuple[Inbox, Heard]:
    heard = Heard()
    return Inbox(sources, lambda: heard.time, heard.arrive, heard.seen.append, heard.failed.append), heard


def batch(
    *events: Event,
    source: Silent = CLUSTER,
    read_at: float = 1.0,
    problems: tuple[Problem, ...] = (),
    objects: int = 0,
) -> Batch:
    return Batch(source.name, events, problems, read_at, objects)


def web(number: int = 1, port: int = 80) -> Service:
    one = decoded(service(f"web-{number}", [f"10.96.0.{number}"], [{"port": port}]))
    assert isinstance(one, Service)
    return one


def slice_of(number: int = 1, address: str = "10.244.1.5") -> KubernetesObject:
    return decoded(endpoint_slice(f"web-{number}", [address]))


def opened() -> tuple[Inbox, Heard]:
    """Return an inbox whose only source has said what there is, and that has been emptied."""
    inbox, heard = made(CLUSTER)
    inbox.deliver(batch(Replaced(Service, ()), Replaced(EndpointSlice, ())))
    inbox.take()
    inbox.pending_since = None
    heard.arrived = 0
    return inbox, heard


# The gate -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_nothing_is_handed_out_before_every_kind_of_every_source_was_listed(order: tuple[int, ...]) -> None:
    inbox, heard = made(CLUSTER, NODES)
    batches = [
        batch(Replaced(Service, (web(),))),
        batch(Replaced(EndpointSlice, ())),
        batch(Replaced(Node, ()), source=NODES),
    ]
    for number in order[:2]:
        inbox.deliver(batches[number])
        assert inbox.take() == Taken((), ())
        assert not inbox.complete
        assert not heard.arrived
    inbox.deliver(batches[order[2]])
    assert inbox.complete
    assert heard.arrived == 1
    taken = inbox.take()
    assert {one.kind for one in taken.events if isinstance(one, Replaced)} == {Service, EndpointSlice, Node}
    assert len(taken.read_at) == 3
    assert inbox.take() == Taken((), ())


def test_the_same_kind_is_awaited_from_each_source() -> None:
    other = Silent("other", (Service,))
    inbox, _ = made(CLUSTER, other)
    inbox.deliver(batch(Replaced(Service, ()), Replaced(EndpointSlice, ())))
    assert not inbox.complete
    inbox.deliver(batch(Replaced(Service, ()), source=other))
    assert inbox.complete


def test_changes_before_the_gate_opens_are_kept() -> None:
    inbox, _ = made(CLUSTER, NODES)
    inbox.deliver(batch(Replaced(Service, (web(1), web(2))), Replaced(EndpointSlice, ())))
    inbox.deliver(batch(Put(web(1, 81)), Removed(web(2).ref)))
    inbox.deliver(batch(Replaced(Node, ()), source=NODES))
    state = State()
    for one in inbox.take().events:
        state.apply(one)
    assert list(state.services.values()) == [web(1, 81)]


def test_a_broken_source_keeps_the_gate_closed_but_not_once_it_was_open() -> None:
    inbox, _ = made(CLUSTER)
    inbox.broken("cluster", "refused")
    assert not inbox.complete
    inbox.deliver(batch(Replaced(Service, ()), Replaced(EndpointSlice, ())))
    inbox.broken("cluster", "refused")
    assert inbox.complete
    inbox.deliver(batch(Put(web())))
    assert inbox.take().events


def test_without_sources_there_is_nothing_to_wait_for() -> None:
    inbox, _ = made()
    assert inbox.complete
    assert inbox.take() == Taken((), ())


# Gathering ------------------------------------------------------------------------------------------------------------


def test_the_latest_word_about_an_object_counts() -> None:
    inbox, heard = opened()
    inbox.deliver(batch(Put(web(1)), Put(web(2)), read_at=1.0))
    inbox.deliver(batch(Put(web(1, 81)), read_at=2.0))
    inbox.deliver(batch(Removed(web(2).ref), Put(slice_of()), read_at=3.0))
    assert heard.arrived == 3
    assert inbox.pending == (2, 1)
    taken = inbox.take()
    assert set(map(repr, taken.events)) == set(map(repr, (Put(web(1, 81)), Removed(web(2).ref), Put(slice_of()))))
    assert taken.read_at == (1.0, 2.0, 3.0)
    assert inbox.pending == (0, 0)


def test_a_list_takes_the_place_of_earlier_words_about_its_kind_only() -> None:
    inbox, _ = opened()
    inbox.deliver(batch(Put(web(1)), Put(slice_of(1)), Removed(web(3).ref)))
    inbox.deliver(batch(Replaced(Service, (web(2),))))
    taken = inbox.take()
    assert taken.events == (Replaced(Service, (web(2),)), Put(slice_of(1)))
    assert taken.reason == "1 list, 1 change"


def test_what_comes_after_a_list_comes_after_it() -> None:
    inbox, _ = opened()
    inbox.deliver(batch(Replaced(Service, (web(1), web(2))), Put(web(1, 81)), Removed(web(2).ref)))
    state = State()
    for one in inbox.take().events:
        state.apply(one)
    assert list(state.services.values()) == [web(1, 81)]


def test_of_two_lists_the_later_counts() -> None:
    inbox, _ = opened()
    inbox.deliver(batch(Replaced(Service, (web(1),))))
    inbox.deliver(batch(Put(web(3))))
    inbox.deliver(batch(Replaced(Service, (web(2),))))
    assert inbox.take().events == (Replaced(Service, (web(2),)),)


def test_endpoints_count_as_slices_do_and_other_kinds_not_at_all() -> None:
    inbox, _ = opened()
    refs = [ObjectRef(kind.KIND, "shop", "web") for kind in (Service, EndpointSlice, Endpoints, Pod)]
    inbox.deliver(batch(*map(Removed, refs)))
    assert inbox.pending == (1, 2)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((), ""),
        ((Put(web()),), "1 change"),
        ((Put(web()), Removed(web(2).ref)), "2 changes"),
        ((Replaced(Service, ()), Replaced(Node, ())), "2 lists"),
    ],
)
def test_what_has_arrived_is_said_in_a_few_words(events: tuple[Event, ...], reason: str) -> None:
    assert Taken(events, ()).reason == reason


# How the sources are doing --------------------------------------------------------------------------------------------


def test_a_batch_without_events_wakes_nobody() -> None:
    inbox, heard = opened()
    problem = Problem("odd")
    inbox.deliver(batch(problems=(problem,)))
    assert not heard.arrived
    assert inbox.pending_since is None
    assert inbox.take() == Taken((), ())
    (status,) = inbox.sources
    assert status.problems == (problem,)
    assert heard.seen[-1].problems == (problem,)


def test_the_oldest_arrival_counts() -> None:
    inbox, heard = opened()
    for _ in range(3):
        inbox.deliver(batch(Put(web())))
        heard.time += 1
    assert inbox.pending_since == 1000.0


def test_a_source_breaks_and_works_again(caplog: pytest.LogCaptureFixture) -> None:
    inbox, heard = opened()
    heard.time = 1010.0
    inbox.broken("cluster", "refused")
    heard.time = 1020.0
    inbox.broken("cluster", "refused")
    inbox.broken("cluster", "timed out")
    (status,) = inbox.sources
    assert (status.broken, status.since, status.complete) == ("timed out", 1010.0, True)
    assert heard.failed == ["cluster"], "a source that stays broken has not stopped working again"
    heard.time = 1030.0
    inbox.deliver(batch())
    (status,) = inbox.sources
    assert (status.broken, status.since) == ("", 1030.0)
    heard.time = 1040.0
    inbox.deliver(batch())
    assert inbox.sources[0].since == 1030.0
    inbox.broken("cluster", "refused")
    assert heard.failed == ["cluster", "cluster"]
    said = [one.getMessage() for one in caplog.records]
    assert said == [
        "source has said what there is",
        "source does not work",
        "source does not work",
        "source works again",
        "source does not work",
    ]


def test_a_source_tells_how_many_objects_it_knows() -> None:
    inbox, _ = made(CLUSTER, NODES)
    inbox.deliver(batch(Replaced(Service, (web(1), web(2))), Put(slice_of(1)), objects=3))
    inbox.deliver(batch(Replaced(Node, ()), source=NODES, objects=1))
    assert [one.objects for one in inbox.sources] == [3, 1]
    inbox.deliver(batch(objects=2))
    inbox.broken("cluster", "refused")
    assert [one.objects for one in inbox.sources] == [2, 1]


def test_changes_that_wait_are_counted_by_kind() -> None:
    inbox, _ = opened()
    inbox.deliver(batch(Put(web(1)), Put(web(1, 81)), Put(slice_of(1)), Put(slice_of(2))))
    inbox.deliver(batch(Removed(slice_of(1).ref), Removed(web(2).ref)))
    assert inbox.pending == (2, 2)
    inbox.deliver(batch(Replaced(Service, (web(1),))))
    assert inbox.pending == (0, 2)
    inbox.deliver(batch(Put(web(1))))
    assert inbox.pending == (1, 2)
    inbox.take()
    assert inbox.pending == (0, 0)
