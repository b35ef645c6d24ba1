"""A first load: everything into a kernel that has nothing, while it is still being made.

In: the ruleset to be filled, and plans as they are made. Out: transactions. What is little goes in one. Otherwise what
is always there comes first, then Services by the hundred, and nothing leads to any of it before the base chains come.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import chain

from nftsvc.changes import compare
from nftsvc.errors import KernelError
from nftsvc.plan import Replanned
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import EMPTY, Part, Wanted
from nftsvc.sync.meter import MeteredDoor
from nftsvc.sync.once import take_back

# Planned in such parts, so that the kernel takes one while the next is made.
SERVICES_AT_ONCE = 200

# Elements in a transaction, so that a message or two hold them. Nothing is live yet, so it does not matter how many
# transactions there are.
_ELEMENTS_AT_ONCE = 1000

# Transactions that wait for the kernel, so that it has always something to do.
_UNDER_WAY = 3


# Seconds after which the interpreter goes to the thread that has been waiting for it: after each transaction the kernel
# has nothing to do until then. By default that is 5 ms, longer than a transaction takes.
_PATIENCE = 0.0005


def load(door: MeteredDoor, renderer: Renderer, wanted: Wanted, updates: Iterator[Replanned], limit: int) -> None:
    """Fill a ruleset that has no base chains yet, and the kernel with it; KernelRefused takes all back."""
    staged = _staged(wanted, updates)
    begun: list[Part] = []
    for part in staged:
        begun.append(part)
        if sum(wanted.counts.values()) > limit:
            try:
                with _switching():
                    _run(door, _scripts(door, renderer, chain(begun, staged), min(limit, _ELEMENTS_AT_ONCE)))
                door.send(renderer, wanted.hook(), limit)
            except KernelError as error:
                take_back(door, renderer, EMPTY, wanted.families, error)
                raise
            return
    wanted.hook()
    door.send(renderer, Part(EMPTY, wanted.ruleset), limit)


@contextmanager
def _switching() -> Iterator[None]:
    """Let threads have the interpreter sooner."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(_PATIENCE)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _staged(wanted: Wanted, updates: Iterable[Replanned]) -> Iterator[Part]:
    """Yield what leads from nothing to the whole ruleset but for its base chains: first what is always there."""
    yield Part(EMPTY, wanted.frame)
    for part in updates:
        yield wanted.change((), part.new)


def _scripts(door: MeteredDoor, renderer: Renderer, parts: Iterable[Part], limit: int) -> Iterator[Script]:
    for part in parts:
        changes = compare(*part)
        door.count(changes)
        yield from renderer.scripts(changes.transactions(limit))


def _run(door: MeteredDoor, scripts: Iterator[Script]) -> None:
    """Run scripts while the next are made.

    So some are run after one that is refused. Nothing comes of that: all is taken back, and packets never got there.
    """
    under_way: deque[Callable[[], int]] = deque()
    try:
        for script in scripts:
            under_way.append(door.begin(script))
            if len(under_way) > _UNDER_WAY:
                under_way.popleft()()
        while under_way:
            under_way.popleft()()
    finally:
        for wait in under_way:
            with suppress(KernelError):
                wait()
