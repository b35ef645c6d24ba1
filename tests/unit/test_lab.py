"""What the miniature cluster does with the machine it is on."""

import signal
import threading
from collections.abc import Iterator
from types import FrameType

import pytest

from nftsvc.lab import uninterrupted


class Interrupted(Exception):
    """What the handler raises."""


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request: pytest.FixtureRequest) -> Iterator[int]:
    """Yield a signal whose handler raises."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Interrupted

    before = signal.signal(request.param, handle)
    yield request.param
    signal.signal(request.param, before)


def test_a_signal_waits_until_what_must_not_be_interrupted_is_over(number: int) -> None:
    done = []

    def work() -> None:
        with uninterrupted():
            signal.raise_signal(number)
            done.append("all of it")
        done.append("more")

    with pytest.raises(Interrupted):
        work()
    assert done == ["all of it"]


def test_the_signal_comes_before_what_went_wrong_because_of_it(number: int) -> None:
    def work() -> None:
        with uninterrupted():
            signal.raise_signal(number)
            raise OSError("the command was interrupted, too")

    with pytest.raises(Interrupted):
        work()


def test_handlers_are_what_they_were(number: int) -> None:
    before = signal.getsignal(number)
    with uninterrupted():
        assert signal.getsignal(number) != before
    assert signal.getsignal(number) == before


def test_other_threads_go_on(number: int) -> None:
    before = signal.getsignal(number)
    found = []

    def run() -> None:
        with uninterrupted():
            found.append(signal.getsignal(number))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
