"""HTTP servers in pods that say who they are and whom they see, and a client that asks them."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, NamedTuple

from nftsvc.lab.namespace import Namespace


class Answer(NamedTuple):
    """What a server said: its pod's name, and the address it saw the client at."""

    pod: str
    source: str


class Server(ThreadingHTTPServer):
    """Answers every GET with its pod's name and the client's address. Keeps connections open between requests."""

    daemon_threads = True
    request_queue_size = 256
    address_family = socket.AF_INET6

    def __init__(self, pod: str, port: int) -> None:
        self.pod = pod
        super().__init__(("::", port), _Handler)

    def server_bind(self) -> None:
        """Listen in both families, without HTTPServer's look for a name in a DNS that is not there."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        TCPServer.server_bind(self)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a GET."""
        source = self.client_address[0].removeprefix("::ffff:")
        assert isinstance(self.server, Server)  # noqa: S101 - it is made for that server only
        body = json.dumps({"pod": self.server.pod, "source": source}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's signature
        """Keep quiet."""


@contextmanager
def serve_http(namespace: Namespace, pod: str, port: int) -> Iterator[Server]:
    """Run a server on a port of a namespace, in both families."""
    server = namespace.call(lambda: Server(pod, port))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(host: str, port: int, timeout: float = 5) -> Answer:
    """Open a connection, ask once, close it. OSError if that fails. Runs in the calling thread's namespace."""
    connection = HTTPConnection(host, port, timeout=timeout)
    try:
        return ask(connection)
    finally:
        connection.close()


def ask(connection: HTTPConnection) -> Answer:
    """Ask over an open connection and leave it open."""
    connection.request("GET", "/")
    said = json.loads(connection.getresponse().read())
    return Answer(said["pod"], said["source"])
