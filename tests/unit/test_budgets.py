"""What work costs, counted rather than timed: on any machine the same, so a loss of speed shows here first.

A number that grows is either a mistake or a decision; then it is changed here, with the reason in the commit.
"""

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nftsvc.changes import AddElements, DeleteElements
from nftsvc.events import Event, Put
from nftsvc.kernel.writing import element_requests, size_of
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import EMPTY, Ruleset
from nftsvc.sync import Follower, Progress
from nftsvc.values import Family
from tests.support.builders import decoded, endpoint_slice, service
from tests.support.following import lists, settings_of

RENDERER = Renderer()
FEW, MANY = 20, 800
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}, "spec": {}}


class Open:
    """A door behind which nothing is, and which takes everything."""

    reads = 0

    def present(self) -> tuple[Family, ...]:
        return ()

    def read(self, families: tuple[Family, ...] = ()) -> Ruleset:
        del families
        self.reads += 1
        return EMPTY

    def read_sets(self, names: Any) -> Ruleset:
        raise AssertionError(f"nobody has to look into {names}")

    def begin(self, script: Script) -> Callable[[], int]:
        requests = element_requests(script.operations)
        structural = any(not isinstance(one, AddElements | DeleteElements) for one in script.operations)
        assert (requests is None) == structural, "elements go without text"
        size = len(script.text) if requests is None else size_of(requests)
        return lambda: size

    def preflight(self, families: tuple[Family, ...] = ()) -> None:
        pass


def address(number: int) -> str:
    return f"10.{100 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


def slice_of(number: int, *endpoints: int) -> Any:
    return decoded(endpoint_slice(f"s-{number}", [address(100_000 + one) for one in endpoints], node="node-b"))


def loaded(services: int, endpoints: int = 2) -> tuple[Open, Follower, Progress]:
    """Return a follower that has loaded Services s-0, s-1, ... with endpoints of their own."""
    door = Open()
    follower = Follower(door, RENDERER, settings_of)
    raws = [service(f"s-{number}", [address(number)]) for number in range(services)]
    events = lists(*raws, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}, "spec": {}})
    follower.take(events)
    follower.take([Put(slice_of(one, *range(one * endpoints, (one + 1) * endpoints))) for one in range(services)])
    done = follower.step()
    assert done.error is None
    return door, follower, done


def replaced(endpoints: int = 2) -> Event:
    """One endpoint of s-7 in the place of another."""
    return Put(slice_of(7, 90_000, *range(7 * endpoints + 1, 8 * endpoints)))


def one_more(endpoints: int = 2) -> Event:
    return Put(slice_of(7, *range(7 * endpoints, 8 * endpoints), 90_000))


def one_less(endpoints: int = 2) -> Event:
    return Put(slice_of(7, *range(7 * endpoints, 8 * endpoints - 1)))


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """Count the Python functions that are called."""
    count = [0]

    def see(_frame: object, event: str, _argument: object) -> None:
        count[0] += event == "call"

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        yield count
    finally:
        sys.setprofile(before)


def change(follower: Follower, event: Event) -> Progress:
    follower.take([event])
    done = follower.step()
    assert done.error is None
    return done


# What the kernel gets -------------------------------------------------------------------------------------------------


def test_chains_rules_and_sets_are_as_many_for_any_number_of_services() -> None:
    def objects(services: int) -> dict[Family, tuple[int, int, int]]:
        tables = loaded(services)[1].ruleset.tables
        return {
            family: (len(one.chains), sum(len(chain.rules) for chain in one.chains), len(one.sets))
            for family, one in tables.items()
        }

    assert objects(FEW) == objects(MANY) == {Family.IPV4: (17, 22, 31), Family.IPV6: (16, 21, 36)}


@pytest.mark.parametrize("endpoints", [1, 2, 50])
def test_a_service_takes_two_elements_and_one_for_each_endpoint(endpoints: int) -> None:
    _, follower, done = loaded(100, endpoints)
    assert follower.elements == {Family.IPV4: 100 * (2 + endpoints), Family.IPV6: 0}
    assert done.added == 100 * (2 + endpoints)


@pytest.mark.parametrize("services", [FEW, MANY])
@pytest.mark.parametrize("endpoints", [2, 50])
@pytest.mark.parametrize(
    ("event", "elements", "commands", "most_bytes"),
    [(replaced, (1, 1), (1, 2), 150), (one_more, (2, 1), (1, 4), 420), (one_less, (1, 2), (2, 4), 400)],
)
def test_a_change_sends_what_differs_whatever_the_size(
    services: int,
    endpoints: int,
    event: Callable[[int], Event],
    elements: tuple[int, int],
    commands: tuple[int, int],
    most_bytes: int,
) -> None:
    """Elements that come and go; transactions and the operations in them."""
    door, follower, _ = loaded(services, endpoints)
    reads = door.reads
    done = change(follower, event(endpoints))
    assert (done.added, done.removed, done.services) == (*elements, 1)
    assert (done.transactions, done.operations) == commands
    assert done.bytes <= most_bytes
    assert door.reads == reads, "a change needs no look at the kernel"


# What it takes to say so ----------------------------------------------------------------------------------------------


def calls_of(services: int, event: Event) -> int:
    _, follower, _ = loaded(services)
    change(follower, replaced())  # what is made once and kept
    change(follower, one_more())
    change(follower, replaced())
    with counted_calls() as count:
        change(follower, event)
    return count[0]


@pytest.mark.parametrize(("event", "most"), [(one_more, 570), (one_less, 650)])
def test_the_work_for_a_change_does_not_grow_with_the_cluster(event: Callable[[], Event], most: int) -> None:
    few, many = calls_of(FEW, event()), calls_of(MANY, event())
    assert many <= few * 1.02
    assert many <= most


def test_the_work_for_a_first_load_is_proportional() -> None:
    def calls(services: int) -> int:
        with counted_calls() as count:
            loaded(services)
        return count[0]

    calls(FEW)
    few, many = calls(80), calls(MANY)
    assert many <= few * 10.5
    with counted_calls() as building:
        for number in range(MANY):
            slice_of(number, 1, 2)
            decoded(service(f"s-{number}", [address(number)]))
    assert (many - building[0]) / MANY <= 128


def test_what_a_change_allocates_does_not_grow_with_the_cluster() -> None:
    def peak(services: int) -> int:
        _, follower, _ = loaded(services)
        change(follower, replaced())
        event = one_more()
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            change(follower, event)
            return tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()

    peak(FEW)
    assert peak(MANY) <= peak(FEW) + 4096
    assert peak(MANY) <= 20_000


def test_what_is_kept_of_a_service_is_little() -> None:
    def kept(endpoints: int) -> float:
        raws = [decoded(NODE), *(decoded(service(f"s-{number}", [address(number)])) for number in range(MANY))]
        slices = [slice_of(one, *range(one * endpoints, (one + 1) * endpoints)) for one in range(MANY)]
        follower = Follower(Open(), RENDERER, settings_of)
        gc.collect()
        tracemalloc.start()
        try:
            follower.take(map(Put, (*raws, *slices)))
            follower.step()
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / MANY
        finally:
            tracemalloc.stop()

    kept(1)
    two, fifty = kept(2), kept(50)
    assert two <= 1700
    assert (fifty - two) / 48 <= 60, "an endpoint is an entry in a tuple and a value of 40 bytes"
