"""The way to the API server: one request at a time, with credentials that are renewed when their files change.

In: a path. Out: bytes, or a Fault that says in one line what does not work.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from nftsvc.errors import ClusterUnreachable
from nftsvc.sources.cluster.access import Access
from nftsvc.sources.cluster.faults import BAD_REQUEST, UNAUTHORIZED, Cut, Fault, read_status, refusal
from nftsvc.sources.cluster.pace import PACE, Pace
from nftsvc.sources.cluster.session import Credentials
from nftsvc.sources.source import Observer, unobserved

_MOST_WORDS = 64 * 1024
_EARLY = timedelta(seconds=60)

_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A request: path with query, and in which words RBAC speaks of it (`list`, `services`)."""

    path: str
    verb: str
    resource: str
    body: dict[str, object] | None = None


class Stream:
    """The body of a watch as it comes."""

    def __init__(self, response: aiohttp.ClientResponse, server: str) -> None:
        self._response = response
        self._server = server

    async def read(self, silence: float) -> bytes:
        """Return whatever has come, b"" at the end; Cut if it breaks or says nothing for some seconds."""
        with _as_faults(self._server, silence, Cut):
            async with asyncio.timeout(silence):
                return await self._response.content.readany()


class _Client:
    """Credentials in use; the connections are closed when nobody uses them any more and there are newer ones."""

    def __init__(self, credentials: Credentials, stamp: _Stamp, pace: Pace, observer: Observer) -> None:
        self.credentials = credentials
        self.stamp = stamp
        self._pace = pace
        self._observer = observer
        self._users = 0
        self._retired = False

    async def retire(self) -> None:
        self._retired = True
        await self._close_unused()

    async def _close_unused(self) -> None:
        if self._retired and not self._users:
            await self.credentials.close()

    @asynccontextmanager
    async def answer(self, ask: Ask, sock_read: float | None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and give the response, whatever its status; Fault if there is none."""
        self._users += 1
        try:
            limits = aiohttp.ClientTimeout(total=None, sock_connect=self._pace.connect, sock_read=sock_read)
            with _as_faults(self.credentials.server, self._pace.answer):
                async with asyncio.timeout(self._pace.answer):
                    response = await self._observed(ask, limits)
            try:
                yield response
            finally:
                response.release()
        finally:
            self._users -= 1
            await self._close_unused()

    async def _observed(self, ask: Ask, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        began, code = asyncio.get_running_loop().time(), "<error>"
        try:
            response = await self.credentials.send(ask.path, ask.body, limits)
            code = str(response.status)
        finally:
            seconds = asyncio.get_running_loop().time() - began
            self._observer(
                "GET" if ask.body is None else "POST", urlsplit(self.credentials.server).netloc, code, seconds
            )
        return response


class Connection:
    """A connection to one cluster. `clock` gives the time of day, in which credentials expire.

    `observer` is told of each request once its answer has begun.
    `warnings` says what is unsafe about it, one line each; to be read once it is open.
    """

    def __init__(
        self, access: Access, clock: Callable[[], datetime], pace: Pace = PACE, observer: Observer = unobserved
    ) -> None:
        self._access = access
        self._clock = clock
        self._pace = pace
        self._observer = observer
        self._client: _Client | None = None
        self._lock = asyncio.Lock()
        self.warnings: tuple[str, ...] = ()

    async def __aenter__(self) -> Self:
        """See whether all that is told about the cluster can work; ClusterUnreachable if not. Nothing is sent."""
        trial = await self._access.credentials(complete=False)
        self.warnings = trial.warnings
        await trial.close()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.credentials.close()

    async def fetch(self, ask: Ask) -> bytes:
        """Return the whole body of the answer; Fault if the server refuses or does not answer."""
        patience = self._pace.answer
        async with self._accepted(ask, patience) as (response, server):
            with _as_faults(server, patience):
                return await response.read()

    @asynccontextmanager
    async def stream(self, ask: Ask) -> AsyncIterator[Stream]:
        """Give the body of the answer as it comes; Fault if the server refuses or does not answer."""
        async with self._accepted(ask, None) as (response, server):
            yield Stream(response, server)

    @asynccontextmanager
    async def _accepted(self, ask: Ask, sock_read: float | None) -> AsyncIterator[tuple[aiohttp.ClientResponse, str]]:
        """Give an answer that is no refusal; credentials that are not accepted are made anew once."""
        client = await self._current()
        async with client.answer(ask, sock_read) as response:
            if response.status != UNAUTHORIZED:
                await self._refuse(response, ask)
                yield response, client.credentials.server
                return
        client = await self._renewed(client)
        async with client.answer(ask, sock_read) as response:
            await self._refuse(response, ask)
            yield response, client.credentials.server

    async def _refuse(self, response: aiohttp.ClientResponse, ask: Ask) -> None:
        """Raise Fault for an answer that is a refusal."""
        if response.status < BAD_REQUEST:
            return
        patience = self._pace.answer
        with _as_faults(str(response.url.origin()), patience):
            async with asyncio.timeout(patience):
                body = await response.content.read(_MOST_WORDS)
        retry_after = response.headers.get("Retry-After", "")
        raise refusal(response.status, read_status(body), ask.verb, ask.resource, retry_after)

    async def _current(self) -> _Client:
        client = self._client
        if client is None:
            return await self._renewed(None)
        expires = client.credentials.expires
        if expires is not None and self._clock() >= expires - _EARLY:
            return await self._renewed(client)
        if client.stamp != _stamp(self._access.files()):
            try:
                return await self._renewed(client)
            except Fault:  # half written, perhaps; as long as the server accepts the old ones they will do
                return client
        return client

    async def _renewed(self, old: _Client | None) -> _Client:
        """Return newer credentials than those; many may ask for them at once."""
        async with self._lock:
            if self._client is not None and self._client is not old:
                return self._client
            stamp = _stamp(self._access.files())
            try:
                made = await self._access.credentials(complete=True)
            except ClusterUnreachable as error:
                raise Fault(str(error)) from error
            except OSError as error:
                raise Fault(f"{error.filename}: cannot be read: {error.strerror}") from error
            self._client = _Client(made, stamp, self._pace, self._observer)
            if old is not None:
                await old.retire()
            return self._client


def _stamp(files: tuple[Path, ...]) -> _Stamp:
    """Return what changes when one of the files does."""

    def of(file: Path) -> tuple[int, int, int] | None:
        try:
            status = file.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    return tuple(map(of, files))


@contextmanager
def _as_faults(server: str, patience: float, kind: type[Fault] = Fault) -> Iterator[None]:
    """Turn what HTTP, TLS, DNS and TCP raise into Faults that name the server and nothing that is secret."""
    try:
        yield
    except (aiohttp.ClientError, OSError, ValueError, EOFError) as error:
        parts = urlsplit(server)
        raise kind(_words(error, f"{parts.scheme}://{parts.netloc}", patience)) from None


def _words(error: BaseException, server: str, patience: float) -> str:
    cause = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    match error, cause:
        case _, ssl.SSLCertVerificationError():
            reason = f"its certificate is not trusted: {cause.verify_message}"
        case _, ssl.SSLError():
            reason = f"TLS fails: {(cause.reason or 'no reason given').lower().replace('_', ' ')}"
        case aiohttp.ClientConnectorDNSError(), _:
            reason = "the name is not known (DNS)"
        case aiohttp.ClientHttpProxyError(), _:
            reason = f"the proxy refuses ({error.status})"
        case aiohttp.ConnectionTimeoutError(), _:
            reason = "no connection in time"
        case TimeoutError(), _:
            reason = f"says nothing for {patience:.3g} s"
        case _, ConnectionRefusedError():
            reason = "refuses the connection"
        case ((aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError()), _):
            reason = "the connection was cut"
        case _, OSError(strerror=str(text)) if text:
            reason = text
        case _:
            reason = type(error).__name__
    return f"{server}: {reason}"
