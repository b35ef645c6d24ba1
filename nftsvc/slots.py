"""Which endpoint holds which slot 0..N-1 behind a frontend.

In: the endpoints wanted and the slots as they are. Out: the slots as they should be, with as few of them changed as
possible. A slot is a number in the kernel's map: one that changes hands costs an element, one that does not is free.
"""

from collections.abc import Sequence
from typing import TypeVar

_Endpoint = TypeVar("_Endpoint")


def assign(wanted: Sequence[_Endpoint], current: Sequence[_Endpoint | None] = ()) -> tuple[_Endpoint, ...]:
    """Return the endpoints in slot order.

    `wanted` has no duplicates and is in canonical order; with no current slots that order is kept. Otherwise whoever
    stays keeps its slot, a newcomer takes a free slot or the next one, and slots that would be left empty below N are
    filled from the end. `current` holds None for a slot that has no endpoint (a kernel that lost an element).
    """
    staying = set(wanted)
    slots: list[_Endpoint | None] = []
    for endpoint in current:
        keeps = endpoint is not None and endpoint in staying
        slots.append(endpoint if keeps else None)
        if endpoint is not None:
            staying.discard(endpoint)
    newcomers = [endpoint for endpoint in wanted if endpoint in staying]
    free = [slot for slot, endpoint in enumerate(slots) if endpoint is None]
    for slot, endpoint in zip(free, newcomers, strict=False):
        slots[slot] = endpoint
    slots += newcomers[len(free) :]
    return _without_holes(slots)


def _without_holes(slots: list[_Endpoint | None]) -> tuple[_Endpoint, ...]:
    """Move the last endpoints into the slots that nobody holds."""
    filled = [endpoint for endpoint in slots if endpoint is not None]
    size = len(filled)
    movers = (endpoint for endpoint in reversed(slots[size:]) if endpoint is not None)
    return tuple(endpoint if endpoint is not None else next(movers) for endpoint in slots[:size])
