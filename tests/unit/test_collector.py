"""What the agent asks of Python's collector, before lists are read and once everything is there."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from nftsvc.agent import collector


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_is_imported_is_left_alone_and_lists_are_looked_through_seldom() -> None:
    gc.unfreeze()
    young = gc.get_threshold()[0]
    collector.prepare()
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[0] > 10 * young


class Node:
    """Something that can be in a cycle."""

    def __init__(self) -> None:
        self.other = self


def test_after_a_pass_nothing_new_is_left_to_be_looked_at() -> None:
    """However much has come: as much has gone, so that Python sees no reason to look."""
    collector.settle()
    kept: list[Node] = []
    for _ in range(3):
        replaced, kept = kept, [Node() for _ in range(20_000)]
        replaced.clear()
        collector.tidy()
        assert len(gc.get_objects(0)) + len(gc.get_objects(1)) < 1000


def test_what_is_there_stays_and_what_is_in_cycles_goes() -> None:
    gc.unfreeze()
    kept, gone = Node(), weakref.ref(Node())
    collector.settle()
    assert gone() is None
    assert not any(one is kept for one in gc.get_objects())
    assert gc.get_freeze_count() > 0
    assert gc.get_threshold()[2] > 100, "what is old is hardly ever looked through"
