"""Where credentials for a cluster come from.

Each kind of access can say which files it is made of, and make Credentials: TLS, token and server, as they are now.
The package `kubernetes` is imported only where it has work to do, here for `auth-provider`, in `plugin` for programs
that print credentials: it takes a third of a second and 18 MiB, which an agent in a Pod does without.
"""

# mypy: allow-untyped-calls
# (the package's configuration has no types)

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Protocol

import aiohttp

from nftsvc.errors import ClusterUnreachable
from nftsvc.sources.cluster.kubeconfig import (
    Kubeconfig,
    UserEntry,
    check_server,
    client_key,
    decoded_data,
    read_kubeconfig,
)
from nftsvc.sources.cluster.plugin import Issued, Plugin
from nftsvc.sources.cluster.session import Credentials, Server, make_credentials

_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN = _ACCOUNT / "token"
AUTHORITY = _ACCOUNT / "ca.crt"

_PROVIDERS = ("gcp", "oidc")


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
        return make_credentials(Server(url=self._server))


class PodAccess:
    """The ServiceAccount of the Pod that we run in; its token rotates (KEP-1205).

    A `server` takes the place of the cluster IP that Pods are told.
    """

    def __init__(
        self,
        token: Path = TOKEN,
        authority: Path = AUTHORITY,
        environment: Mapping[str, str] = os.environ,
        server: str | None = None,
    ) -> None:
        if server is not None:
            check_server(server)
        self._server = server
        self._token = token
        self._authority = authority
        self._environment = environment

    def files(self) -> tuple[Path, ...]:
        """Return the token's file and the authority's."""
        return (self._token, self._authority)

    async def credentials(self, *, complete: bool) -> Credentials:  # noqa: ARG002
        """Read token and authority."""
        server = self._server or self._told_server()
        token = _content(self._token)
        _content(self._authority)
        return make_credentials(Server(url=server, authority=str(self._authority)), f"Bearer {token}")

    def _told_server(self) -> str:
        host, port = (self._environment.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
        if not (host and port):
            raise _no_pod("KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set")
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _content(file: Path) -> str:
    """Return a file's text; ClusterUnreachable if there is none."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise _no_pod(f"{file}: {reason}") from error
    if not text:
        raise _no_pod(f"{file}: empty")
    return text


def _no_pod(reason: str) -> ClusterUnreachable:
    return ClusterUnreachable(f"no kubeconfig is given, and this is no Pod with a ServiceAccount: {reason}")


class KubeconfigAccess:
    """A context of a kubeconfig file; the file is read anew whenever credentials are made."""

    def __init__(self, path: Path, context: str | None = None, server: str | None = None) -> None:
        self._path = path
        self._context = context
        self._server = server
        self._files: tuple[Path, ...] = (path,)
        self._plugin = Plugin()

    def files(self) -> tuple[Path, ...]:
        """Return the file and those that it names."""
        return self._files

    async def credentials(self, *, complete: bool) -> Credentials:
        """Read the file, run the plugin where there is one."""
        found = read_kubeconfig(self._path, self._context, self._server)
        self._files = found.files()
        issued = Issued()
        if found.user.exec is not None and complete:
            issued = await self._plugin.run(found.user.exec)
        expires = None
        with suppress(ValueError):
            expires = datetime.fromisoformat(issued.expiration_timestamp or "")
        authorization = await _provided(found) if complete else ""
        with _key_pair(found, issued) as (certificate, key):
            return make_credentials(
                _server(found, certificate, key),
                authorization or _authorization(found.user, issued),
                place=f"{self._path}: ",
                expires=expires,
            )


def _server(found: Kubeconfig, certificate: str, key: str) -> Server:
    cluster = found.cluster
    data = decoded_data(cluster.certificate_authority_data, f"{found.path}: certificate-authority-data")
    tls = cluster.server.startswith("https")
    return Server(
        url=cluster.server,
        authority=cluster.certificate_authority if tls else "",
        authority_data=data.decode(errors="replace"),
        certificate=certificate if tls else "",
        key=key if tls else "",
        verify=not cluster.insecure_skip_tls_verify,
        name=cluster.tls_server_name,
        proxy=cluster.proxy_url,
        compression=not cluster.disable_compression,
    )


def _authorization(user: UserEntry, issued: Issued) -> str:
    """Return the header: the plugin's token, else the one in a file, else the one given, else name and password."""
    in_file = Path(user.token_file).read_text() if user.token_file else ""
    token = issued.token or in_file.strip() or user.token
    if token:
        return f"Bearer {token}"
    if user.username and user.password:
        return f"Basic {base64.b64encode(f'{user.username}:{user.password}'.encode()).decode()}"
    return ""


async def _provided(found: Kubeconfig) -> str:
    """Return the header that an auth-provider gives, "" where there is none; ClusterUnreachable if it gives nothing."""
    provider = found.user.auth_provider or {}
    if provider.get("name") not in _PROVIDERS:
        return ""
    from kubernetes.aio.client.configuration import Configuration  # noqa: PLC0415 - heavy: see above
    from kubernetes.aio.config import ConfigException, load_kube_config_from_dict  # noqa: PLC0415

    chosen = {"current-context": "one", "contexts": [{"name": "one", "context": {"cluster": "one", "user": "one"}}]}
    cluster = {"name": "one", "cluster": {"server": found.cluster.server}}
    user = {"name": "one", "user": {"auth-provider": provider}}
    configuration = Configuration()
    try:
        await load_kube_config_from_dict(
            {**chosen, "clusters": [cluster], "users": [user]}, client_configuration=configuration
        )
    except (ConfigException, aiohttp.ClientError, LookupError, TypeError, ValueError) as error:
        raise ClusterUnreachable(f"{found.path}: credentials cannot be had: {type(error).__name__}") from None
    return await configuration.get_api_key_with_prefix("BearerToken") or ""


@contextmanager
def _key_pair(found: Kubeconfig, issued: Issued) -> Iterator[tuple[str, str]]:
    """Give paths of the client's certificate and key: the plugin's, those in the file, or those that it names.

    OpenSSL reads them from files only. Secrets that are in none yet go to memory (memfd_create), never to a disk.
    """
    certificate, key = issued.client_certificate_data, issued.client_key_data
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
