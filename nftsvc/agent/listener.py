"""HTTP on a listening socket, with limits, so that no client can hurt the agent. The only module with `aiohttp.web`.

Silent clients, endless headers, readers that do not read and crowds cost a bounded amount of time and memory: headers
must be there within seconds, bodies of requests are thrown away, an answer that nobody takes is given up, and of too
many connections the oldest are closed, so that a probe always gets through. Nothing is logged for each request.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final, NamedTuple, TypeAlias

from aiohttp import web

from nftsvc.agent.health import TEXT, Answer
from nftsvc.errors import UsageError
from nftsvc.values import authority

# A client may be silent for so long, before and between its requests. No common probe or scrape interval.
IDLE_SECONDS: Final = 12.0
# Taking an answer may last so long.
SEND_SECONDS: Final = 10.0
CLOSE_SECONDS: Final = 1.0

_PART = 1 << 16
# How many connections the kernel keeps waiting; and how many are let in together (asyncio's other meaning of backlog):
# a small part of a crowd, so that none has to go before its request has been looked at.
_BACKLOG = 128
_TOGETHER = 16
# Requests are short. What arrives at once is also what aiohttp's exceptions about bad ones hold on to for a while.
_RECEIVED_BYTES = 1 << 13
_MISSING = Answer(HTTPStatus.NOT_FOUND, b"404 page not found\n", TEXT)
_FAILED = Answer(HTTPStatus.INTERNAL_SERVER_ERROR, b"internal error\n", TEXT)

_log = logging.getLogger(__name__)

# Takes the path of a request; None means that there is no such page.
Answering: TypeAlias = Callable[[str], Awaitable[Answer | None]]


class CannotListen(UsageError):
    """An address that the agent was told to listen on cannot be had."""


class BindAddress(NamedTuple):
    """Where to listen: an IP address and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        """Write `address:port`, an IPv6 address in brackets."""
        return authority(self.host, self.port)


class Crowd:
    """The connections that share one limit: where there are too many, the oldest is closed."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._transports: dict[asyncio.Transport, None] = {}

    def __len__(self) -> int:
        return len(self._transports)

    def add(self, transport: asyncio.Transport) -> None:
        """Let a connection in."""
        self._transports[transport] = None
        if len(self._transports) > self._most:
            oldest = next(iter(self._transports))
            del self._transports[oldest]
            oldest.abort()

    def remove(self, transport: asyncio.Transport) -> None:
        """Forget a connection that is over."""
        self._transports.pop(transport, None)


def open_socket(address: BindAddress, *, one_family: bool = False) -> socket.socket:
    """Return a socket that listens on the address; OSError if that cannot be had.

    An unspecified address means every address of both families, as Go's network `tcp` has it, unless `one_family`
    (Go's `tcp4` and `tcp6`).
    """
    info = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    family, _, _, _, place = info[0]
    if address.host in ("0.0.0.0", "::") and not one_family:  # noqa: S104 - that is what the user asked for
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("::", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG
            )
        family, place = socket.AF_INET, ("0.0.0.0", address.port)  # noqa: S104
    return socket.create_server(place[:2], family=socket.AddressFamily(family), backlog=_BACKLOG)


class Listener:
    """A listening socket, which belongs to it, and the connections that come through. `listen` makes a running one."""

    def __init__(self, listening: socket.socket, answering: Answering, crowd: Crowd) -> None:
        self.address = BindAddress(*listening.getsockname()[:2])
        self._socket = listening
        self._answering = answering
        self._web = _Server(self._serve, crowd)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to answer; whatever goes wrong, the socket does not stay open."""
        loop = asyncio.get_running_loop()
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVED_BYTES)
            self._server = await loop.create_server(self._web, sock=self._socket, backlog=_TOGETHER)
            self._socket.listen(_BACKLOG)
        except BaseException:
            self._socket.close()
            raise

    async def close(self) -> None:
        """Stop listening and end what is left of the connections, within seconds."""
        if self._server is not None:
            self._server.close()
        self._web.pre_shutdown()
        await self._web.shutdown(CLOSE_SECONDS)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            answer = await self._answering(request.path) or _MISSING
        except Exception:  # noqa: BLE001 - a bug in one page must not end the connection without a word
            _log.exception("page failed: %s", request.path)
            answer = _FAILED
        response = _response(answer)
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await _send(request, response, answer.body)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        return response


async def listen(listening: socket.socket, answering: Answering, crowd: Crowd) -> Listener:
    """Answer requests on a listening socket until the listener is closed."""
    listener = Listener(listening, answering, crowd)
    await listener.start()
    return listener


class _Server(web.Server):
    """aiohttp's server, with limits and with its connections in a crowd."""

    def __init__(self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], crowd: Crowd) -> None:
        super().__init__(
            handler,
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=CLOSE_SECONDS,
            auto_decompress=False,
            max_line_size=2048,
            max_field_size=4094,
            max_headers=32,
            read_bufsize=1 << 13,
            access_log=None,
            # What aiohttp says about bad requests is as long and as frequent as clients like.
            logger=logging.Logger(f"{__name__}.clients", logging.CRITICAL + 1),  # noqa: LOG001 - nobody else's
        )
        self._crowd = crowd
        self._transports: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        self._crowd.add(transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        transport = self._transports.pop(handler, None)
        if transport is not None:
            self._crowd.remove(transport)
        super().connection_lost(handler, exc)


def _response(answer: Answer) -> web.StreamResponse:
    headers = {
        "Content-Type": answer.content_type,
        "X-Content-Type-Options": "nosniff",
        "Server": "nftsvc",
        **dict(answer.headers),
    }
    if len(answer.body) <= _PART:
        return web.Response(status=answer.code, body=answer.body, headers=headers)
    response = web.StreamResponse(status=answer.code, headers=headers)
    response.content_length = len(answer.body)
    return response


async def _send(request: web.BaseRequest, response: web.StreamResponse, body: bytes) -> None:
    """Send an answer; a large one in parts, so that a slow reader holds no copy of it."""
    await response.prepare(request)
    if not isinstance(response, web.Response) and request.method != "HEAD":
        whole = memoryview(body)
        for start in range(0, len(body), _PART):
            await response.write(whole[start : start + _PART])
    await response.write_eof()
