"""The thread that an API server double runs on, its event loop and its one listening address."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from aiohttp import web

_Result = TypeVar("_Result")
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Call = Callable[[Callable[[], socket.socket]], socket.socket]

_PATIENCE = 30  # seconds until the loop must have done what it was told
_TURNS = 3  # of the loop


class ServerThread:
    """Serves on one address; the listener can be closed and opened again without losing the port.

    `call` runs the function that makes the socket where it belongs, for instance in a network namespace.
    """

    def __init__(self, host: str, port: int, call: Call | None) -> None:
        self.host = host
        self.port = port
        self._call = call or (lambda function: function())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._runner: web.ServerRunner | None = None
        self._site: web.SockSite | None = None
        self._listener: socket.socket | None = None
        self._spare: socket.socket | None = None
        self._context: ssl.SSLContext | None = None

    def start(self, handler: Handler, context: ssl.SSLContext | None) -> None:
        """Start the thread and listen."""
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="apiserver", daemon=True)
        self._thread.start()
        self._run(self._set_up(handler))
        self.open()

    def stop(self) -> None:
        """Cut every connection and end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        self.close()
        self._run(self._tear_down())
        self._loop = None
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        if self._spare is not None:
            self._spare.close()

    def open(self) -> None:
        """Listen; nothing happens if it does."""
        if self._site is None:
            listener, self._spare = self._spare or self._call(self._bind), None
            self._run(self._listen(listener))

    def close(self, *, refuse: bool = True) -> None:
        """Cut every connection. New ones are refused, or taken by the kernel and never answered."""
        self._run(self._unlisten())
        if self._spare is None:
            self._spare = self._call(self._bind)  # keeps the port; it does not listen, so connections are refused
        if not refuse:
            self._spare.listen(128)

    def tell(self, function: Callable[[str], None], argument: str) -> None:
        """Call a function on the loop's thread soon; from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(function, argument)

    def _bind(self) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((self.host, self.port))
        self.port = made.getsockname()[1]
        return made

    async def _set_up(self, handler: Handler) -> None:
        server = web.Server(handler, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()

    async def _listen(self, listener: socket.socket) -> None:
        assert self._runner is not None
        self._listener = listener
        self._site = web.SockSite(self._runner, listener, ssl_context=self._context)
        await self._site.start()

    async def _unlisten(self) -> None:
        assert self._runner is not None
        if self._site is not None and self._listener is not None:
            # asyncio forgets a connection, unclosed, whose listener goes before it is taken (Server._attach fails).
            asyncio.get_running_loop().remove_reader(self._listener)
            await _turn()
            await self._site.stop()
            self._site = self._listener = None
        if self._runner.server is not None:
            _cut(self._runner.server)

    async def _tear_down(self) -> None:
        assert self._runner is not None
        server = self._runner.server
        await self._runner.cleanup()
        for _ in range(_TURNS):  # a connection that was just being taken is there a little later
            if server is not None:
                _cut(server)
            await asyncio.sleep(0)
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_default_executor()

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        assert self._loop is not None, "the server does not run"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE)


async def _turn() -> None:
    for _ in range(_TURNS):
        await asyncio.sleep(0)


def _cut(server: web.Server) -> None:
    for connection in list(server.connections):
        if connection.transport is not None:
            connection.transport.abort()
