"""What the sources of the agent have in common: how they say what happened and how they are doing."""

from dataclasses import dataclass
from typing import Protocol

from nftsvc.errors import Problem
from nftsvc.events import Event
from nftsvc.objects import KubernetesObject


@dataclass(frozen=True, slots=True)
class Batch:
    """What a source found out at one moment.

    `problems` are all things that it cannot read at present, not only those of this batch; an object that cannot be
    read stays as it was last known. `read_at` is when the bytes were read (seconds of the event loop's clock).
    `objects` is how many the source knows now, of all its kinds.
    """

    source: str
    events: tuple[Event, ...]
    problems: tuple[Problem, ...]
    read_at: float
    objects: int


class Receiver(Protocol):
    """Whom a source tells. Both methods return at once; they are called on the event loop's thread."""

    def deliver(self, batch: Batch) -> None:
        """Take what a source found out; the source works."""
        ...

    def broken(self, source: str, reason: str) -> None:
        """Take note that a source does not work at present, and why, in one line without credentials."""
        ...


class Source(Protocol):
    """Something that objects come from. `kinds` are those that it says what there is of before anything else."""

    @property
    def name(self) -> str:
        """What logs and status call it."""
        ...

    @property
    def kinds(self) -> tuple[type[KubernetesObject], ...]:
        """The kinds it delivers; the first events about each are one `Replaced`."""
        ...

    async def run(self, receiver: Receiver) -> None:
        """Tell the receiver until cancelled. Whatever goes wrong is reported and tried again, never raised."""
        ...


class Observer(Protocol):
    """Who is told of each request to an API server, for the metrics."""

    def __call__(self, method: str, host: str, code: str, seconds: float) -> None:
        """Take note of an HTTP method, the server, the status (`<error>` if none came), and how long that took."""
        ...


def unobserved(method: str, host: str, code: str, seconds: float) -> None:
    """Be an Observer that takes note of nothing."""
    del method, host, code, seconds
