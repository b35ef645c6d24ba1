"""What can be made to go wrong in the API server double: for which requests, how often, and how.

    server.faults.add(Answer(429, retry_after=1), resource="services", verb="list", times=2)
    fault = server.faults.add(Cut(after=3), resource="endpointslices", verb="watch")
    ...
    fault.wait()

The first planted fault that a request fits takes it; one that has been used up lets requests pass.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.support.apiserver_words import encode, status

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """Answer at once with this code. Without a body that is the Status that fits; `retry_after` is in seconds."""

    code: int
    retry_after: int | None = None
    body: bytes | None = None
    content_type: str = "application/json"

    def content(self, resource: str) -> bytes:
        if self.body is not None:
            return self.body
        reason = _REASONS.get(self.code, "")
        details: dict[str, Any] = {"kind": resource}
        if self.retry_after is not None:
            details["retryAfterSeconds"] = self.retry_after
        return encode(status(self.code, reason, reason or f"answer {self.code}", details=details)) + b"\n"

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


@dataclass(frozen=True, slots=True)
class Hang:
    """Take the request and never answer; ends when the client goes, the server stops or the fault is removed."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Close the connection without an answer; with `reset` the client gets a TCP reset."""

    reset: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """Break the connection: a list after so many bytes, a watch after so many events in the middle of the next.

    With `midline` off a watch breaks between two lines, but without the end that HTTP asks for. A `reset` may take
    bytes that are under way with it.
    """

    after: int = 0
    midline: bool = True
    reset: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """End a watch in good order after so many events, though its time is not up."""

    after: int = 0


@dataclass(frozen=True, slots=True)
class Insert:
    """Put bytes into a watch after so many events, then go on as if nothing was. A line needs its newline."""

    line: bytes
    after: int = 0


@dataclass(frozen=True, slots=True)
class Slow:
    """Write the body in pieces of so many bytes with pauses (seconds) between them. In a watch: a pause per event."""

    pause: float
    piece: int = 1024


@dataclass(frozen=True, slots=True)
class Mangle:
    """Change the body of a list, or each line of a watch (newline included; b"" drops it)."""

    change: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Repeat:
    """Deliver each event of a watch so many times."""

    times: int = 2


Action = Answer | Hang | Disconnect | Cut | End | Insert | Slow | Mangle | Repeat

GARBAGE = b'{"type":"MODIFIED","object":{"kind":\x00\xff}\n'
UNKNOWN_TYPE = b'{"type":"SURPRISE","object":{"kind":"Status","apiVersion":"v1","metadata":{}}}\n'


def error_line(code: int, reason: str = "", message: str = "") -> bytes:
    """Write an ERROR event, for Insert: `error_line(410)` is the one for a lost resourceVersion."""
    named = reason or _REASONS.get(code, "InternalError")
    return encode({"type": "ERROR", "object": status(code, named, message or named)}) + b"\n"


class Call(NamedTuple):
    """What a request is about, as faults and the log see it.

    `verb` is list, watch, get, create, patch or other; `continued` says whether a list asks for a further page.
    """

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""
    continued: bool = False


class Fault:
    """One planted fault: `hits` counts the requests that it took."""

    def __init__(self, action: Action, wanted: Call, continued: bool | None, times: int | None, skip: int) -> None:
        self.action = action
        self.hits = 0
        self.gone = threading.Event()
        self._wanted = wanted
        self._continued = continued
        self._times = times
        self._skip = skip
        self._changed = threading.Condition()

    def take(self, call: Call) -> bool:
        """Tell whether this request is for the fault, and count it."""
        with self._changed:
            if self.gone.is_set() or not self._fits(call):
                return False
            if self._skip:
                self._skip -= 1
                return False
            if self._times is not None and self.hits >= self._times:
                return False
            self.hits += 1
            self._changed.notify_all()
            return True

    def _fits(self, call: Call) -> bool:
        wanted = self._wanted
        return (
            wanted.verb in {"", call.verb}
            and wanted.resource in {"", call.resource}
            and self._continued in {None, call.continued}
        )

    def wait(self, hits: int = 1, seconds: float = 30) -> None:
        """Wait until it took so many requests; AssertionError if that takes too long."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.hits >= hits, seconds), f"{self.action}: {self.hits} hits"

    def remove(self) -> None:
        """Let everything pass from now on, also requests that hang."""
        self.gone.set()


class Faults:
    """All planted faults, in the order in which they were added."""

    def __init__(self) -> None:
        self._planted: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        action: Action,
        *,
        resource: str = "",
        verb: str = "",
        continued: bool | None = None,
        times: int | None = 1,
        skip: int = 0,
    ) -> Fault:
        """Plant a fault for requests that fit ("" and None: any); `times` None is for ever, the first `skip` pass.

        `continued` is about lists: True only further pages, False only first pages.
        """
        fault = Fault(action, Call(verb, resource), continued, times, skip)
        with self._lock:
            self._planted.append(fault)
        return fault

    def take(self, call: Call) -> Fault | None:
        with self._lock:
            planted = list(self._planted)
        return next((fault for fault in planted if fault.take(call)), None)

    def clear(self) -> None:
        """Remove all of them."""
        with self._lock:
            planted, self._planted = self._planted, []
        for fault in planted:
            fault.remove()
