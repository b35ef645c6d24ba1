"""A kubeconfig file as one checked context: which server, whom to trust, who we are.

In: the path of a file and the name of a context. Out: a Kubeconfig. No message carries a value from the file other than
names, servers and paths: everything else may be a secret. Source: Kubernetes `clientcmd/api/v1`.
"""

import base64
import binascii
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from nftsvc.errors import ClusterUnreachable
from nftsvc.sources.documents import Unreadable, documents

_PLACE = re.compile(r"line \d+, column \d+")


class ClusterEntry(msgspec.Struct, frozen=True, rename="kebab", kw_only=True):
    """`clusters[].cluster`."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    disable_compression: bool = False


class ExecVariable(msgspec.Struct, frozen=True):
    """`users[].user.exec.env[]`."""

    name: str
    value: str = ""


class ExecEntry(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """`users[].user.exec`: a program that prints credentials (KEP-541)."""

    command: str
    api_version: str
    args: tuple[str, ...] | None = None
    env: tuple[ExecVariable, ...] | None = None
    install_hint: str | None = None


class UserEntry(msgspec.Struct, frozen=True, rename="kebab", kw_only=True):
    """`users[].user`."""

    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(default="", name="tokenFile")
    username: str = ""
    password: str = ""
    exec: ExecEntry | None = None
    auth_provider: dict[str, object] | None = None
    impersonate: str = msgspec.field(default="", name="as")


class ContextEntry(msgspec.Struct, frozen=True, kw_only=True):
    """`contexts[].context`."""

    cluster: str
    user: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: ClusterEntry


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: UserEntry = UserEntry()


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: ContextEntry


class _File(msgspec.Struct, frozen=True, rename="kebab", kw_only=True):
    clusters: tuple[_NamedCluster, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None
    current_context: str = ""


@dataclass(frozen=True, slots=True)
class Kubeconfig:
    """One context of a kubeconfig file; all paths in it are absolute."""

    path: Path
    cluster: ClusterEntry
    user: UserEntry

    def files(self) -> tuple[Path, ...]:
        """Return the files that make up the credentials, itself first; a change in one of them calls for new ones."""
        named = (
            self.cluster.certificate_authority,
            self.user.client_certificate,
            self.user.client_key,
            self.user.token_file,
        )
        return (self.path, *(Path(one) for one in named if one))


def read_kubeconfig(path: Path, context: str | None = None, server: str | None = None) -> Kubeconfig:
    """Read one context of a file, the current one if none is named; `server` is used instead of the file's.

    Raises ClusterUnreachable if the file cannot be read or what it says cannot work.
    """
    file = _parsed(path)
    wanted = context if context is not None else file.current_context
    if not wanted:
        raise ClusterUnreachable(f"{path}: no context is named and the file has no current-context")
    chosen = _named(file.contexts or (), wanted, f"{path}: no context").context
    cluster = _named(file.clusters or (), chosen.cluster, f"{path}: context {wanted!r}: no cluster").cluster
    user = UserEntry()
    if chosen.user:
        user = _named(file.users or (), chosen.user, f"{path}: context {wanted!r}: no user").user
    if server:
        cluster = msgspec.structs.replace(cluster, server=server)
    found = _with_absolute_paths(Kubeconfig(path, cluster, user))
    _check(found)
    return found


def _parsed(path: Path) -> _File:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClusterUnreachable(f"{path}: cannot be read: {error.strerror}") from error
    try:
        raw = next(documents(data), None)
    except Unreadable as error:  # its message may name a piece of a secret
        place = _PLACE.search(str(error))
        raise ClusterUnreachable(f"{path}: not YAML{f' ({place[0]})' if place else ''}") from None
    if not isinstance(raw, dict) or raw.get("kind", "Config") != "Config":
        raise ClusterUnreachable(f"{path}: not a kubeconfig (kind Config)")
    try:
        return msgspec.convert(_without_nulls(raw), _File)
    except msgspec.ValidationError as error:
        raise ClusterUnreachable(f"{path}: not a kubeconfig: {error}") from None


def _without_nulls(raw: object) -> object:
    """Take out explicit nulls: they mean the default."""
    if isinstance(raw, dict):
        return {key: _without_nulls(value) for key, value in raw.items() if value is not None}
    return [_without_nulls(one) for one in raw] if isinstance(raw, list) else raw


_Named = TypeVar("_Named", _NamedCluster, _NamedUser, _NamedContext)


def _named(entries: Sequence[_Named], name: str, missing: str) -> _Named:
    """Return the first entry of that name, as kubectl does where there are several."""
    for entry in entries:
        if entry.name == name:
            return entry
    known = ", ".join(repr(entry.name) for entry in entries) or "none"
    raise ClusterUnreachable(f"{missing} is called {name!r} (there is: {known})")


def _with_absolute_paths(found: Kubeconfig) -> Kubeconfig:
    """Resolve the paths in a file, which start at its folder; so does a plugin's that is not looked up on PATH."""

    def absolute(path: str) -> str:
        return str((found.path.parent / path).absolute()) if path else ""

    user, plugin = found.user, found.user.exec
    if plugin is not None and "/" in plugin.command:
        plugin = msgspec.structs.replace(plugin, command=absolute(plugin.command))
    cluster = found.cluster
    return replace(
        found,
        cluster=msgspec.structs.replace(
            cluster,
            certificate_authority="" if cluster.certificate_authority_data else absolute(cluster.certificate_authority),
        ),
        user=msgspec.structs.replace(
            user,
            client_certificate="" if user.client_certificate_data else absolute(user.client_certificate),
            client_key="" if user.client_key_data else absolute(user.client_key),
            token_file=absolute(user.token_file),
            exec=plugin,
        ),
    )


def _check(found: Kubeconfig) -> None:
    """Raise ClusterUnreachable for what cannot work, as `clientcmd`'s validation does."""
    path, cluster, user = found.path, found.cluster, found.user
    check_server(cluster.server, f"{path}: ")
    if cluster.proxy_url and not cluster.proxy_url.startswith(("http://", "https://")):
        raise ClusterUnreachable(f"{path}: proxy-url: only http and https proxies are supported")
    if cluster.insecure_skip_tls_verify and (cluster.certificate_authority or cluster.certificate_authority_data):
        raise ClusterUnreachable(f"{path}: insecure-skip-tls-verify and a certificate authority exclude each other")
    if bool(user.client_certificate or user.client_certificate_data) != bool(user.client_key or user.client_key_data):
        raise ClusterUnreachable(f"{path}: client-certificate and client-key need each other")
    if user.impersonate:
        raise ClusterUnreachable(f"{path}: impersonation (`as`) is not supported")
    if user.exec is not None and shutil.which(user.exec.command) is None:
        hint = f"; {user.exec.install_hint.strip()}" if user.exec.install_hint else ""
        raise ClusterUnreachable(f"{path}: exec plugin {user.exec.command} cannot be run: no such program{hint}")
    for file in found.files():
        try:
            file.open("rb").close()
        except OSError as error:
            raise ClusterUnreachable(f"{path}: {file} cannot be read: {error.strerror}") from error
    for field, data in _data_fields(found).items():
        decoded_data(data, f"{path}: {field}")
    if b"ENCRYPTED" in client_key(found):  # OpenSSL would ask for the pass phrase at the terminal
        raise ClusterUnreachable(f"{path}: the client key is encrypted, which is not supported")


def _data_fields(found: Kubeconfig) -> Mapping[str, str]:
    return {
        "certificate-authority-data": found.cluster.certificate_authority_data,
        "client-certificate-data": found.user.client_certificate_data,
        "client-key-data": found.user.client_key_data,
    }


def client_key(found: Kubeconfig) -> bytes:
    """Return the client's key as PEM, b"" if there is none."""
    if found.user.client_key_data:
        return decoded_data(found.user.client_key_data, f"{found.path}: client-key-data")
    return Path(found.user.client_key).read_bytes() if found.user.client_key else b""


def decoded_data(data: str, place: str) -> bytes:
    """Decode a `*-data` field; ClusterUnreachable names the field, never what is in it."""
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (ValueError, binascii.Error):
        raise ClusterUnreachable(f"{place} is not base64") from None


def check_server(server: str, place: str = "") -> None:
    """Raise ClusterUnreachable if that is no URL of an API server."""
    try:
        parts = urlsplit(server)
        fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        fine = False
    else:
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ClusterUnreachable(f"{place}the server's URL has more than scheme, host, port and path")
    if not fine:
        raise ClusterUnreachable(f"{place}{server!r} is not the URL of an API server (such as https://10.0.0.1:6443)")
