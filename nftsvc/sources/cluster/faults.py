"""What goes wrong between us and the API server, each as one line that carries no credentials."""

import re

import msgspec

from nftsvc.errors import printable

_MOST_WORDS = 300
_SECRETS = re.compile(
    r"(?i)((?:token|password|secret|key|authorization)[\"']?\s*[=:]\s*(?:bearer\s+)?|bearer\s+)\S+"
    r"|[A-Za-z0-9+=_-]{32,}(?:\.[A-Za-z0-9+=_-]+)*"
)
_USER = re.compile(r'User "([^"]{1,200})"')

# What decoding may raise, whatever the bytes.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

BAD_REQUEST, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, GONE, TOO_MANY = 400, 401, 403, 404, 410, 429


class Fault(Exception):
    """A request failed; the message is one line without credentials.

    `status` is HTTP's, 0 where there was no answer; `retry_after` is what the server asks for, in seconds; `lost` says
    that a watch cannot go on from where it was (HTTP 410 and the like): the list must be read again.
    """

    def __init__(self, message: str, *, status: int = 0, retry_after: float | None = None, lost: bool = False) -> None:
        super().__init__(printable(message))
        self.status = status
        self.retry_after = retry_after
        self.lost = lost


class Cut(Fault):
    """An answer that had begun broke off or came to a halt."""


class _Cause(msgspec.Struct, frozen=True):
    reason: str | None = None


class _Details(msgspec.Struct, frozen=True, rename="camel"):
    causes: tuple[_Cause, ...] | None = None
    retry_after_seconds: int | None = None


class Status(msgspec.Struct, frozen=True):
    """A `meta/v1` Status: how the API server says that it refuses."""

    message: str | None = None
    reason: str | None = None
    code: int | None = None
    details: _Details | None = None

    @property
    def too_new(self) -> bool:
        """Whether the server has not come as far as the resourceVersion asked for: it lost some of its data."""
        causes = (self.details.causes if self.details is not None else None) or ()
        return any(cause.reason == "ResourceVersionTooLarge" for cause in causes)


def read_status(body: bytes) -> Status:
    """Read the body of a refusal; an empty Status where it is none (a proxy's web page)."""
    try:
        return msgspec.json.decode(body, type=Status)
    except UNREADABLE:
        return Status()


def refusal(code: int, status: Status, verb: str, resource: str, retry_after: str = "") -> Fault:
    """Say in one line what an HTTP status means for that verb on that resource (`list`, `endpointslices`).

    `retry_after` is the header of that name; only seconds are understood, as the API server writes them.
    """
    seconds = float(retry_after) if retry_after.isascii() and retry_after.isdecimal() else None
    if seconds is None and status.details is not None and status.details.retry_after_seconds:
        seconds = float(status.details.retry_after_seconds)
    lost = code in {BAD_REQUEST, NOT_FOUND, GONE} or status.too_new
    return Fault(_refusal_words(code, status, verb, resource), status=code, retry_after=seconds, lost=lost)


def failed_watch(status: Status) -> Fault:
    """Say what an ERROR event in a watch means; only one that asks for patience lets the watch go on later."""
    code = status.code or 0
    said = f": {without_secrets(status.message)}" if status.message else ""
    asked = status.details.retry_after_seconds if status.details is not None else None
    return Fault(f"the watch ended with an error ({code}{said})", status=code, retry_after=asked, lost=code != TOO_MANY)


def _refusal_words(code: int, status: Status, verb: str, resource: str) -> str:
    said = f": {without_secrets(status.message)}" if status.message else ""
    if code == UNAUTHORIZED:
        return f"the API server does not accept the credentials (401 when asked to {verb} {resource})"
    if code == FORBIDDEN:
        user = _USER.search(status.message or "")
        who = f" {user[1]}" if user else " this user"
        return f"RBAC must allow{who} to {verb} {resource} (403){'' if user else said}"
    if code == TOO_MANY:
        return f"the API server asks to come back later (429 when asked to {verb} {resource})"
    return f"the API server does not {verb} {resource} ({code}{said})"


def without_secrets(text: str) -> str:
    """Return the first line of foreign text, cut, with whatever might be a secret taken out."""
    line = next((one.strip() for one in text.splitlines() if one.strip()), "")
    return printable(_SECRETS.sub(r"\1...", line[: 4 * _MOST_WORDS])[:_MOST_WORDS])
