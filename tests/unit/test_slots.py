"""Which endpoint holds which slot: nobody moves without need."""

from collections.abc import Sequence
from itertools import permutations, zip_longest

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftsvc.slots import assign

Current = list[str | None]

WANTED = st.lists(st.sampled_from("abcdefghij"), unique=True, max_size=10).map(sorted)
SLOTS = st.lists(st.sampled_from("abcdefghij") | st.none(), max_size=12)
FULL_SLOTS = st.lists(st.sampled_from("abcdefghij"), unique=True, min_size=1, max_size=10)
QUICK = settings(max_examples=200, derandomize=True, deadline=None)


def changed(before: Sequence[str | None], after: Sequence[str | None]) -> list[int]:
    """The slots that cost something: another endpoint, an endpoint where none was, none where one was."""
    return [slot for slot, (old, new) in enumerate(zip_longest(before, after)) if old != new]


@given(wanted=WANTED, current=SLOTS)
@QUICK
def test_everyone_wanted_holds_one_slot_and_no_one_else_does(wanted: list[str], current: Current) -> None:
    assert sorted(assign(wanted, current)) == wanted


@given(wanted=st.lists(st.integers(), unique=True))
@QUICK
def test_without_current_slots_the_order_stays(wanted: list[int]) -> None:
    assert assign(wanted) == assign(wanted, []) == tuple(wanted)


@given(wanted=WANTED, current=FULL_SLOTS)
@QUICK
def test_whoever_stays_below_the_new_size_keeps_its_slot(wanted: list[str], current: list[str]) -> None:
    result = assign(wanted, current)
    for slot, endpoint in enumerate(current[: len(wanted)]):
        if endpoint in wanted:
            assert result[slot] == endpoint


@given(wanted=WANTED, current=SLOTS)
@QUICK
def test_with_holes_and_repeats_whoever_stays_keeps_one_of_its_slots(wanted: list[str], current: Current) -> None:
    result = assign(wanted, current)
    for endpoint in wanted:
        held = [slot for slot, holder in enumerate(current[: len(wanted)]) if holder == endpoint]
        assert not held or result.index(endpoint) in held


@given(
    wanted=st.lists(st.sampled_from("abcdef"), unique=True, max_size=4),
    current=st.lists(st.sampled_from("abcdef") | st.none(), max_size=6),
)
@QUICK
def test_as_few_slots_change_as_any_order_could_do_with(wanted: list[str], current: Current) -> None:
    fewest = min(len(changed(current, order)) for order in permutations(wanted))
    assert len(changed(current, assign(wanted, current))) == fewest


@given(current=FULL_SLOTS)
@QUICK
def test_an_addition_changes_the_new_slot_only(current: list[str]) -> None:
    assert assign(sorted([*current, "new"]), current) == (*current, "new")


@given(current=FULL_SLOTS, data=st.data())
@QUICK
def test_a_removal_moves_the_last_into_the_gap_and_no_one_else(current: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(current) - 1))
    result = assign(sorted(set(current) - {current[gone]}), current)
    assert set(changed(current, result)) == {gone, len(current) - 1}
    assert len(result) == len(current) - 1


@given(current=FULL_SLOTS, data=st.data())
@QUICK
def test_a_newcomer_takes_the_slot_of_the_one_it_replaces(current: list[str], data: st.DataObject) -> None:
    gone = data.draw(st.integers(0, len(current) - 1))
    result = assign(sorted({*current, "new"} - {current[gone]}), current)
    assert changed(current, result) == [gone]
    assert result[gone] == "new"


@given(wanted=WANTED, current=SLOTS)
@QUICK
def test_a_second_time_nothing_changes(wanted: list[str], current: Current) -> None:
    once = assign(wanted, current)
    assert assign(wanted, once) == once


@given(current=FULL_SLOTS)
@QUICK
def test_the_same_endpoints_stay_whatever_their_order(current: list[str]) -> None:
    assert assign(sorted(current), current) == tuple(current)


@pytest.mark.parametrize(
    ("wanted", "current", "result"),
    [
        ("abc", ["b", None, "a"], ("b", "c", "a")),
        ("ab", [None, None, "a", "b"], ("b", "a")),
        ("abc", ["a", "a", "b"], ("a", "c", "b")),
        ("a", ["x", "y", "a"], ("a",)),
        ("", ["a", None], ()),
        ("abcd", ["d", None, None, "a", None], ("d", "b", "c", "a")),
    ],
)
def test_holes_and_repeats_are_filled(wanted: str, current: Current, result: tuple[str, ...]) -> None:
    assert assign(list(wanted), current) == result


def test_what_is_wanted_is_not_modified() -> None:
    wanted, current = ["a", "b"], ["b", None, "x"]
    assign(wanted, current)
    assert (wanted, current) == (["a", "b"], ["b", None, "x"])
