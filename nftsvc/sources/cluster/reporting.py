"""Kubernetes Events: what people see in `kubectl describe` of a Service or Node.

Best effort: they are sent one after the other in the background, and dropped when there are too many or the server does
not take them. Source: Kubernetes API, core/v1 Event.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

import msgspec

from nftsvc.errors import ObjectRef, printable
from nftsvc.objects import KINDS, Node
from nftsvc.sources.cluster.connection import Ask, Connection
from nftsvc.sources.cluster.faults import UNREADABLE, Fault

COMPONENT = "nftsvc"

_MOST_WAITING = 100
_MOST_MESSAGE = 1024  # characters that the API server takes
_CLUSTER_WIDE = "default"  # where Events about objects without a namespace live

BURST = 25
REFILL_SECONDS = 10.0
REPEAT_SECONDS = 600.0
_MOST_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class Notice:
    """An Event to be: about which object, why (`SyncFailed`), in which words, and on which node."""

    about: ObjectRef
    reason: str
    message: str
    warning: bool
    node: str


class _Meta(msgspec.Struct, frozen=True):
    uid: str = ""


class _Item(msgspec.Struct, frozen=True):
    metadata: _Meta = _Meta()


class _List(msgspec.Struct, frozen=True):
    items: tuple[_Item, ...] | None = None


class Allowance:
    """Says which Events may be sent: none twice within ten minutes, `BURST` at once, then one every ten seconds."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at: float | None = None
        self._sent: OrderedDict[Notice, float] = OrderedDict()

    def grants(self, notice: Notice, now: float) -> bool:
        """Tell whether it may be sent at that time (seconds), and count it if so."""
        last = self._sent.get(notice)
        if last is not None and now - last < REPEAT_SECONDS:
            return False
        passed = now - self._at if self._at is not None else 0.0
        self._left = min(float(BURST), self._left + passed / REFILL_SECONDS)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        self._sent[notice] = now
        self._sent.move_to_end(notice)
        if len(self._sent) > _MOST_REMEMBERED:
            self._sent.popitem(last=False)
        return True


class Reporter:
    """Sends Events through a connection; `clock` gives the time of day that they carry."""

    def __init__(self, connection: Connection, clock: Callable[[], datetime]) -> None:
        self._connection = connection
        self._clock = clock
        self._allowance = Allowance()
        self._waiting: asyncio.Queue[Notice] = asyncio.Queue(_MOST_WAITING)
        self._worker: asyncio.Task[None] | None = None

    def post(self, notice: Notice) -> None:
        """Send an Event soon, or drop it. Never raises; to be called on the event loop's thread."""
        if not self._allowance.grants(notice, asyncio.get_running_loop().time()):
            return
        with suppress(asyncio.QueueFull):
            self._waiting.put_nowait(notice)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._send_all())

    async def close(self) -> None:
        """Drop what has not been sent."""
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.gather(self._worker, return_exceptions=True)

    async def _send_all(self) -> None:
        while not self._waiting.empty():
            notice = self._waiting.get_nowait()
            with suppress(Fault):
                await self._send(notice)

    async def _send(self, notice: Notice) -> None:
        namespace = notice.about.namespace or _CLUSTER_WIDE
        body = event_body(notice, await self._uid(notice.about), self._clock())
        await self._connection.fetch(Ask(f"/api/v1/namespaces/{quote(namespace)}/events", "create", "events", body))

    async def _uid(self, about: ObjectRef) -> str:
        """Find out the object's uid, by which `kubectl describe` looks for its Events; "" if it cannot be had.

        The kubelet's Events about a Node have its name there. A list needs no verb beyond those that we have anyway.
        """
        if about.kind == Node.KIND:
            return about.name
        version = next((kind.API_VERSION for kind in KINDS if about.kind == kind.KIND), "v1")
        root = "apis" if "/" in version else "api"
        plural = about.kind.lower().removesuffix("s") + "s"
        query = f"fieldSelector={quote(f'metadata.name={about.name}', safe='')}"
        path = f"/{root}/{version}/namespaces/{quote(about.namespace)}/{plural}?{query}"
        try:
            found = msgspec.json.decode(await self._connection.fetch(Ask(path, "list", plural)), type=_List)
        except (Fault, *UNREADABLE):
            return ""
        return found.items[0].metadata.uid if found.items else ""


def event_body(notice: Notice, uid: str, now: datetime) -> dict[str, object]:
    """Return the Event as the API server takes it."""
    about = notice.about
    time = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = {
        "kind": about.kind,
        "apiVersion": next((kind.API_VERSION for kind in KINDS if about.kind == kind.KIND), "v1"),
        "namespace": about.namespace,
        "name": about.name,
        "uid": uid,
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{about.name}.", "namespace": about.namespace or _CLUSTER_WIDE},
        "involvedObject": {key: value for key, value in named.items() if value},
        "reason": notice.reason,
        "message": printable(notice.message)[:_MOST_MESSAGE],
        "type": "Warning" if notice.warning else "Normal",
        "source": {"component": COMPONENT, "host": notice.node},
        "reportingComponent": COMPONENT,
        "reportingInstance": notice.node,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }
