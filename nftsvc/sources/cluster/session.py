"""HTTP to one server with one set of credentials, over connections that notice when the other side is gone."""

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from nftsvc import __version__
from nftsvc.errors import ClusterUnreachable

_MOST_CONNECTIONS = 100
_READ_AHEAD = 2 * 1024 * 1024  # bytes; a page of a list is about one

# A peer that is gone without a word is noticed after 30 + 3 * 10 seconds (tcp(7)).
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An API server's URL, whom to trust there and who we are in TLS: files, "" for none.

    `authority_data` is PEM and comes before `authority`; without one those of this machine are trusted, without
    `verify` anybody. `name` is the one to expect in the server's certificate, "" for that in the URL. `proxy` is a URL.
    """

    url: str
    authority: str = ""
    authority_data: str = ""
    certificate: str = ""
    key: str = ""
    verify: bool = True
    name: str = ""
    proxy: str = ""
    compression: bool = True


@dataclass(frozen=True, slots=True)
class Credentials:
    """A server and how to talk to it; `expires` is when new ones are needed, None where nobody knows."""

    session: aiohttp.ClientSession = field(repr=False)
    server: str
    authorization: str = field(repr=False)
    verified: bool = True
    compression: bool = True
    expires: datetime | None = None
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)  # for each request

    async def send(self, path: str, body: object, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send a GET, or a POST where there is a body, and return the answer's head; raises what aiohttp raises."""
        headers = {"Accept": "application/json", "User-Agent": f"nftsvc/{__version__}"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        if not self.compression:
            headers["Accept-Encoding"] = "identity"
        method = "GET" if body is None else "POST"
        url = f"{self.server}{path}"
        return await self.session.request(method, url, headers=headers, json=body, timeout=limits, **self.options)

    async def close(self) -> None:
        """Close all connections."""
        await self.session.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unsafe about them, one line each."""
        if self.server.startswith("http://"):
            return (f"{self.server}: not encrypted; whoever is on the way can read and change everything",)
        if not self.verified:
            return (f"{self.server}: its certificate is not checked (insecure-skip-tls-verify)",)
        return ()


def make_credentials(
    server: Server, authorization: str = "", *, place: str = "", expires: datetime | None = None
) -> Credentials:
    """Return credentials for a server; ClusterUnreachable, after `place`, if a certificate cannot be used.

    `authorization` is a scheme (`bearer`, in any case) and a secret, "" for none. To be called on an event loop.
    """
    try:
        context = _tls(server)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or "no PEM"
        raise ClusterUnreachable(f"{place}certificates cannot be used: {reason.lower().replace('_', ' ')}") from None
    connector = aiohttp.TCPConnector(limit=_MOST_CONNECTIONS, ssl=context, socket_factory=_socket)
    scheme, _, secret = authorization.strip().partition(" ")
    return Credentials(
        session=aiohttp.ClientSession(connector=connector, trust_env=True, read_bufsize=_READ_AHEAD),
        server=server.url.rstrip("/"),
        authorization=f"{scheme.title()} {secret}".strip(),
        verified=server.verify,
        compression=server.compression,
        expires=expires,
        options={key: value for key, value in (("server_hostname", server.name), ("proxy", server.proxy)) if value},
    )


def _tls(server: Server) -> ssl.SSLContext:
    context = ssl.create_default_context(
        cafile=server.authority if server.authority and not server.authority_data else None,
        cadata=server.authority_data or None,
    )
    if server.certificate:
        context.load_cert_chain(server.certificate, server.key or None)
    if not server.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # Chain, name and time are checked; not the forms that Go does not insist on either, which clusters' own
    # authorities lack (Python 3.13 checks them by default).
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def _socket(info: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
