"""New connections by Service, counted by the kernel, as text for Prometheus.

The counters are those of the verdict maps' elements. An element is made anew whenever its verdict changes (another
number of endpoints), and then counts from 0 again; what is told here only goes up: the differences are added up. What
an element counted between the last reading and its end is lost.

Reading tens of thousands of elements takes the kernel's side a while, so readings are cached, never two run at a time,
and a scrape that would wait long gets the last values. The text is made here, in parts between which others run:
prometheus_client would hold the loop for as long as it takes to write all of it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias

from nftsvc.agent.log import event
from nftsvc.frontends import FrontendKind
from nftsvc.values import Family, Protocol

EVERY_SECONDS: Final = 15.0
PATIENCE_SECONDS: Final = 2.0
MOST_ELEMENTS: Final = 200_000

_TOGETHER = 2000
_NAMES = {False: "nftsvc_service_connections_total", True: "nftsvc_service_refused_packets_total"}
_MEANINGS = {
    False: "New connections that were led to an endpoint of the Service port.",
    True: "Packets of new connections that met no endpoint of the Service port: rejected or dropped.",
}

_log = logging.getLogger(__name__)


class ServiceLabels(NamedTuple):
    """Whose connections are counted: one way into a Service port.

    `port` is the port's name, "" for an unnamed one; `frontend` says which kind of address `address` is
    (`FrontendKind`), "" for node ports, which have all of the node's. No two elements have the same.
    """

    namespace: str
    service: str
    port: str
    protocol: Protocol
    ip_family: Family
    frontend: FrontendKind
    address: str = ""


class ServiceCount(NamedTuple):
    """The counter of one verdict element: how many packets, each the first of a connection, have met it.

    `refused` tells the elements of the maps that reject or drop from those that lead to endpoints.
    """

    labels: ServiceLabels
    packets: int
    refused: bool = False


ReadCounters: TypeAlias = Callable[[], Awaitable[Sequence[ServiceCount]]]


class _Series:
    """One line of the text: what stands before its number, the sum so far, what its element showed when last read."""

    __slots__ = ("head", "reading", "shown", "total")

    def __init__(self, head: str) -> None:
        self.head = head
        self.total = 0
        self.shown = 0
        self.reading = 0

    def add(self, reading: int, packets: int) -> None:
        """Add what the element counted since it was last read; one that shows less than then is a new one."""
        if self.reading != reading:
            self.reading = reading
            self.total += packets - self.shown if packets >= self.shown else packets
            self.shown = packets


_Table: TypeAlias = dict[ServiceLabels, _Series]


class ServiceCounters:
    """The per-Service part of `/metrics`. Used on the event loop's thread only.

    `read` is called at most once in `every` seconds, and only when somebody asks; a scrape waits for it for at most
    `patience` seconds. `clock` is in seconds and does not go back. No more than `most` elements are kept; how many
    were left out is told.
    """

    def __init__(
        self,
        read: ReadCounters,
        *,
        every: float = EVERY_SECONDS,
        patience: float = PATIENCE_SECONDS,
        most: int = MOST_ELEMENTS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._every = every
        self._patience = patience
        self._most = most
        self._clock = clock
        self._tables: dict[bool, _Table] = {False: {}, True: {}}
        self._readings = 0
        self._text: tuple[bytes, ...] = ()
        self._reading: asyncio.Task[None] | None = None
        self._asked: float | None = None
        self._read_at: float | None = None
        self._seconds = 0.0
        self._failures = 0
        self._left_out = 0
        self._failed = ""

    async def exposition(self) -> tuple[bytes, ...]:
        """Return the text, in parts; of the last reading if a new one takes too long or fails."""
        now = self._clock()
        if self._reading is None and (self._asked is None or now - self._asked >= self._every):
            self._asked = now
            self._reading = asyncio.create_task(self._renew(), name="service counters")
        if self._reading is not None and self._asked is not None:
            patience = self._asked + self._patience - now
            if patience > 0:
                await asyncio.wait((self._reading,), timeout=patience)
        return (*self._text, self._about_reading().encode())

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError):
                await self._reading

    async def _renew(self) -> None:
        started = self._clock()
        try:
            counts = await self._read()
            await self._take(counts)
            self._text = tuple([part async for part in _written(self._tables)])
            self._read_at = self._clock()
            self._failed = ""
        except Exception as error:  # noqa: BLE001 - the reader is somebody else's; the last values stay
            self._failures += 1
            failed = f"{type(error).__name__}: {error}"
            if failed != self._failed:
                self._failed = failed
                event(_log, logging.WARNING, "service counters cannot be read", error=failed)
        finally:
            self._seconds = self._clock() - started
            self._reading = None

    async def _take(self, counts: Sequence[ServiceCount]) -> None:
        """Add a reading to the series; those that it does not have are forgotten. Lets others run in between."""
        self._readings += 1
        for start in range(0, min(len(counts), self._most), _TOGETHER):
            for labels, packets, refused in counts[start : min(start + _TOGETHER, self._most)]:
                table = self._tables[refused]
                series = table.get(labels)
                if series is None:
                    series = table[labels] = _Series(_head(labels, _NAMES[refused]))
                series.add(self._readings, packets)
            await asyncio.sleep(0)
        self._left_out = max(0, len(counts) - self._most)
        self._tables = {
            refused: {labels: one for labels, one in table.items() if one.reading == self._readings}
            for refused, table in self._tables.items()
        }

    def _about_reading(self) -> str:
        lines = [
            *_family("nftsvc_service_counters_read_seconds", "How long the last reading took.", "gauge"),
            f"nftsvc_service_counters_read_seconds {self._seconds:.6f}\n",
            *_family("nftsvc_service_counters_read_failures_total", "Readings that failed.", "counter"),
            f"nftsvc_service_counters_read_failures_total {self._failures}\n",
            *_family("nftsvc_service_counters_left_out", "Elements beyond the most that are counted.", "gauge"),
            f"nftsvc_service_counters_left_out {self._left_out}\n",
        ]
        if self._read_at is not None:
            lines += _family("nftsvc_service_counters_age_seconds", "How old the values by Service are.", "gauge")
            lines.append(f"nftsvc_service_counters_age_seconds {self._clock() - self._read_at:.3f}\n")
        return "".join(lines)


async def _written(tables: Mapping[bool, _Table]) -> AsyncIterator[bytes]:
    """Write the series, each metric's together. Lets others run in between."""
    for refused, table in tables.items():
        yield "".join(_family(_NAMES[refused], _MEANINGS[refused], "counter")).encode()
        listed = list(table.values())
        for start in range(0, len(listed), _TOGETHER):
            lines = [f"{one.head}{one.total}\n" for one in listed[start : start + _TOGETHER]]
            yield "".join(lines).encode(errors="backslashreplace")
            await asyncio.sleep(0)


def _head(labels: ServiceLabels, name: str) -> str:
    written = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels._fields, labels, strict=True))
    return f"{name}{{{written}}} "


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _family(name: str, meaning: str, kind: str) -> Iterable[str]:
    return f"# HELP {name} {meaning}\n", f"# TYPE {name} {kind}\n"
