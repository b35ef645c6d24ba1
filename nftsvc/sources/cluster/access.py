"""Where credentials for a cluster come from.

Each kind of access can say which files it is made of, and make a Client: TLS, token and server, as they are now. The
package `kubernetes` does the work. Only this module imports it.
"""

# mypy: allow-untyped-calls
# (the package's configuration and HTTP parts have no types)

import asyncio
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject
from kubernetes.aio.config import ConfigException, load_kube_config_from_dict
from kubernetes.aio.config.exec_provider import ExecProvider
from kubernetes.aio.config.incluster_config import (
    SERVICE_CERT_FILENAME,
    SERVICE_TOKEN_FILENAME,
    InClusterConfigLoader,
)
from kubernetes.aio.config.kube_config import ConfigNode

from nftsvc import __version__
from nftsvc.errors import ClusterUnreachable
from nftsvc.sources.cluster.faults import Fault, without_secrets
from nftsvc.sources.cluster.kubeconfig import (
    ExecEntry,
    Kubeconfig,
    check_server,
    client_key,
    decoded_data,
    read_kubeconfig,
)

PLUGIN_SECONDS = 60.0
TOKEN = Path(SERVICE_TOKEN_FILENAME)

# A peer that is gone without a word is noticed after 30 + 3 * 10 seconds (tcp(7)).
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))


# What a Pod's environment has about the server, for where that does not count.
_SOMEWHERE = {"KUBERNETES_SERVICE_HOST": "server", "KUBERNETES_SERVICE_PORT": "443"}


class Rest(RESTClientObject):
    """The package's HTTP client, on connections that notice when the other side is gone."""

    def _create_connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(limit=self.maxsize, ssl=self.ssl_context, socket_factory=_socket)


def _socket(info: tuple[Any, ...]) -> socket.socket:
    made = socket.socket(info[0], info[1], info[2])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made


@dataclass(frozen=True, slots=True)
class Credentials:
    """A server and how to talk to it; `expires` is when new ones are needed, None where nobody knows."""

    rest: Rest
    server: str
    authorization: str = field(repr=False)
    compression: bool = True
    expires: datetime | None = None

    async def send(self, path: str, body: object, limits: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        """Send a GET, or a POST where there is a body, and return the answer's head; raises what aiohttp raises."""
        headers = {"Accept": "application/json", "User-Agent": f"nftsvc/{__version__}"}
        if self.authorization:
            headers["Authorization"] = self.authorization
        if not self.compression:
            headers["Accept-Encoding"] = "identity"
        answer = await self.rest.request(
            "GET" if body is None else "POST",
            f"{self.server}{path}",
            headers=headers,
            body=body,
            _request_timeout=limits,
        )
        response: aiohttp.ClientResponse = answer.response
        return response

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is unsafe about them, one line each."""
        if self.server.startswith("http://"):
            return (f"{self.server}: not encrypted; whoever is on the way can read and change everything",)
        if not self.rest.configuration.verify_ssl:
            return (f"{self.server}: its certificate is not checked (insecure-skip-tls-verify)",)
        return ()


class Access(Protocol):
    """A source of credentials."""

    def files(self) -> tuple[Path, ...]:
        """Return the files that credentials are made of."""
        ...

    async def credentials(self, *, complete: bool) -> Credentials:
        """Make credentials; ClusterUnreachable for what cannot work, Fault for what may work later.

        Without `complete` no plugin is started: enough to see whether everything else is right.
        """
        ...


class PlainAccess:
    """An API server's URL and nothing else."""

    def __init__(self, server: str) -> None:
        check_server(server)
        self._server = server

    def files(self) -> tuple[Path, ...]:
        """Return none."""
        return ()

    async def credentials(self, *, complete: bool) -> Credentials:  # noqa: ARG002
        """Return credentials that hold none."""
        return await _made(Configuration(host=self._server.rstrip("/")))


class PodAccess:
    """The ServiceAccount of the Pod that we run in; its token rotates (KEP-1205).

    A `server` takes the place of the cluster IP that Pods are told.
    """

    def __init__(
        self,
        token: Path = TOKEN,
        authority: Path = Path(SERVICE_CERT_FILENAME),
        environment: Mapping[str, str] = os.environ,
        server: str | None = None,
    ) -> None:
        if server is not None:
            check_server(server)
        self._server = server
        self._token = token
        self._authority = authority
        self._environment = environment if server is None else _SOMEWHERE

    def files(self) -> tuple[Path, ...]:
        """Return the token's file and the authority's."""
        return (self._token, self._authority)

    async def credentials(self, *, complete: bool) -> Credentials:  # noqa: ARG002
        """Read token and authority."""
        configuration = Configuration()
        loader = InClusterConfigLoader(
            str(self._token), str(self._authority), try_refresh_token=False, environ=self._environment
        )
        try:
            loader.load_and_set(configuration)
        except (ConfigException, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ClusterUnreachable(
                f"no kubeconfig is given, and this is no Pod with a ServiceAccount: {reason}"
            ) from error
        if self._server is not None:
            configuration.host = self._server.rstrip("/")
        return await _made(configuration)


class KubeconfigAccess:
    """A context of a kubeconfig file; the file is read anew whenever credentials are made."""

    def __init__(self, path: Path, context: str | None = None, server: str | None = None) -> None:
        self._path = path
        self._context = context
        self._server = server
        self._files: tuple[Path, ...] = (path,)
        self._plugin = _Plugin()

    def files(self) -> tuple[Path, ...]:
        """Return the file and those that it names."""
        return self._files

    async def credentials(self, *, complete: bool) -> Credentials:
        """Read the file, run the plugin where there is one."""
        found = read_kubeconfig(self._path, self._context, self._server)
        self._files = found.files()
        said: Mapping[str, Any] = {}
        if found.user.exec is not None and complete:
            said = await self._plugin.run(found.user.exec)
        expires = None
        with suppress(ValueError, TypeError):
            expires = datetime.fromisoformat(said.get("expirationTimestamp", ""))
        with _key_pair(found, said) as (certificate, key):
            configuration = Configuration()
            raw = _as_loader_takes_it(found, certificate, key, said.get("token") or "", complete=complete)
            try:
                await load_kube_config_from_dict(raw, client_configuration=configuration)
            except (
                ConfigException,
                aiohttp.ClientError,
                LookupError,
                TypeError,
                ValueError,
            ) as error:  # an auth-provider's
                raise ClusterUnreachable(f"{self._path}: credentials cannot be had: {type(error).__name__}") from None
            if found.cluster.certificate_authority_data:
                place = f"{self._path}: certificate-authority-data"
                configuration.ca_cert_data = decoded_data(found.cluster.certificate_authority_data, place).decode(
                    errors="replace"
                )
            compression = not found.cluster.disable_compression
            return await _made(configuration, f"{self._path}: ", compression=compression, expires=expires)


def _as_loader_takes_it(found: Kubeconfig, certificate: str, key: str, token: str, *, complete: bool) -> dict[str, Any]:
    """Write the one context as a kubeconfig without plugin, *-data and files that the loader would read otherwise."""
    cluster, user = found.cluster, found.user
    if user.token_file:
        token = Path(user.token_file).read_text().strip()
    settings = {
        "server": cluster.server,
        "certificate-authority": cluster.certificate_authority,
        "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
        "tls-server-name": cluster.tls_server_name,
        "proxy-url": cluster.proxy_url,
    }
    account = {
        "client-certificate": certificate,
        "client-key": key,
        "token": token or user.token,
        "username": user.username,
        "password": user.password,
        "auth-provider": user.auth_provider if complete else None,
    }
    return {
        "current-context": "chosen",
        "contexts": [{"name": "chosen", "context": {"cluster": "chosen", "user": "chosen"}}],
        "clusters": [{"name": "chosen", "cluster": {name: value for name, value in settings.items() if value}}],
        "users": [{"name": "chosen", "user": {name: value for name, value in account.items() if value}}],
    }


@contextmanager
def _key_pair(found: Kubeconfig, said: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Give paths of the client's certificate and key: the plugin's, those in the file, or those that it names.

    OpenSSL reads them from files only. Secrets that are in none yet go to memory (memfd_create), never to a disk.
    """
    certificate, key = said.get("clientCertificateData"), said.get("clientKeyData")
    if not certificate or not key:
        user = found.user
        if not (user.client_certificate_data or user.client_key_data):
            yield user.client_certificate, user.client_key
            return
        pem = decoded_data(user.client_certificate_data, f"{found.path}: client-certificate-data")
        certificate = (pem or Path(user.client_certificate).read_bytes()).decode(errors="replace")
        key = client_key(found).decode(errors="replace")
    with _in_memory(certificate) as first, _in_memory(key) as second:
        yield first, second


@contextmanager
def _in_memory(text: str) -> Iterator[str]:
    with os.fdopen(os.memfd_create("nftsvc"), "w") as file:
        file.write(text)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


class _Plugin:
    """Runs an exec plugin; while one hangs no other is started."""

    def __init__(self) -> None:
        self._running: asyncio.Task[object] | None = None

    async def run(self, entry: ExecEntry) -> dict[str, Any]:
        """Return the `status` that the plugin prints; Fault if it gives none."""
        if self._running is None:
            plain: dict[str, object] = {
                "command": entry.command,
                "apiVersion": entry.api_version,
                "args": list(entry.args or ()),
            }
            plain["env"] = [{"name": one.name, "value": one.value} for one in entry.env or ()]
            self._running = asyncio.create_task(ExecProvider(ConfigNode("exec", plain)).run())
        running = self._running
        try:
            async with asyncio.timeout(PLUGIN_SECONDS):
                status = await asyncio.shield(running)
        except TimeoutError:
            raise Fault(f"exec plugin {entry.command} gives no answer for {PLUGIN_SECONDS:.0f} s") from None
        except OSError as error:
            raise Fault(f"exec plugin {entry.command} cannot be run: {error.strerror}") from None
        except ConfigException as error:
            raise Fault(f"exec plugin {entry.command} fails: {without_secrets(str(error))}") from None
        finally:
            self._running = None if running.done() else running
        if not isinstance(status, dict) or not (status.get("token") or status.get("clientCertificateData")):
            raise Fault(f"exec plugin {entry.command} prints neither a token nor a client certificate")
        return status


async def _made(
    configuration: Configuration, place: str = "", *, compression: bool = True, expires: datetime | None = None
) -> Credentials:
    # Chain, name and time are checked; not the forms that Go does not insist on either, which clusters' own
    # authorities lack (Python 3.13 checks them by default).
    configuration.disable_strict_ssl_verification = True
    try:
        rest = Rest(configuration)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", "") or getattr(error, "strerror", "") or "no PEM"
        raise ClusterUnreachable(f"{place}certificates cannot be used: {reason.lower().replace('_', ' ')}") from None
    authorization = await configuration.get_api_key_with_prefix("BearerToken") or ""
    scheme, _, secret = authorization.strip().partition(" ")
    return Credentials(rest, configuration.host, f"{scheme.title()} {secret}".strip(), compression, expires)
