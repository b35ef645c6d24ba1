"""What a kubeconfig may say, what cannot work, and that no message gives a secret away."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from nftsvc.errors import ClusterUnreachable, ExitCode
from nftsvc.sources.cluster.kubeconfig import UserEntry, check_server, read_kubeconfig

SECRET = "-".join(["hush"] * 6)
PEM = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"

Raw = dict[str, Any]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(cluster: object = None, user: object = None, **other: object) -> Raw:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": cluster if cluster is not None else {"server": "https://10.0.0.1:6443"}}],
        "users": [{"name": "u", "user": user if user is not None else {"token": SECRET}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}],
        "current-context": "x",
        "preferences": {},
        **other,
    }


def written(folder: Path, raw: object) -> Path:
    path = folder / "config"
    path.write_text(raw if isinstance(raw, str) else json.dumps(raw))
    return path


def test_the_current_context(tmp_path: Path) -> None:
    found = read_kubeconfig(written(tmp_path, config()))
    assert found.cluster.server == "https://10.0.0.1:6443"
    assert found.user == UserEntry(token=SECRET)
    assert found.files() == (tmp_path / "config",)


def test_another_context_and_another_server(tmp_path: Path) -> None:
    raw = config()
    raw["clusters"].append({"name": "other", "cluster": {"server": "https://other:6443", "proxy-url": "http://p:1"}})
    raw["contexts"].append({"name": "y", "context": {"cluster": "other"}})
    path = written(tmp_path, raw)
    found = read_kubeconfig(path, "y")
    assert (found.cluster.server, found.cluster.proxy_url, found.user) == (
        "https://other:6443",
        "http://p:1",
        UserEntry(),
    )
    assert read_kubeconfig(path, server="https://[fd00::1]:6443").cluster.server == "https://[fd00::1]:6443"


def test_yaml_with_comments_nulls_and_unknown_fields(tmp_path: Path) -> None:
    text = """
# written by hand
apiVersion: v1
kind: Config
current-context: x
extensions: null
clusters:
- {name: c, cluster: {server: "https://k8s:6443", certificate-authority: null, extensions: []}}
contexts:
- {name: x, context: {cluster: c, user: u}}
users:
- name: u
  user: {token: abc, exec: null, client-certificate: null}
"""
    assert read_kubeconfig(written(tmp_path, text)).user.token == "abc"  # noqa: S105


def test_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    for name in ("ca.crt", "me.crt", "me.key", "token"):
        (tmp_path / name).write_text("x")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "login").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "login").chmod(0o755)
    user = {
        "client-certificate": "me.crt",
        "client-key": str(tmp_path / "me.key"),
        "tokenFile": "./token",
        "exec": {"command": "bin/login", "apiVersion": "client.authentication.k8s.io/v1", "env": [{"name": "A"}]},
    }
    found = read_kubeconfig(written(tmp_path, config({"server": "https://a", "certificate-authority": "ca.crt"}, user)))
    assert found.files() == tuple(tmp_path / name for name in ("config", "ca.crt", "me.crt", "me.key", "token"))
    assert found.user.exec is not None
    assert found.user.exec.command == str(tmp_path / "bin" / "login")


def test_data_wins_over_files(tmp_path: Path) -> None:
    cluster = {
        "server": "https://a",
        "certificate-authority": "no-such-file",
        "certificate-authority-data": encoded(PEM),
    }
    found = read_kubeconfig(written(tmp_path, config(cluster)))
    assert found.files() == (tmp_path / "config",)


def login(command: str = "sh", **more: object) -> Raw:
    return {"exec": {"command": command, "apiVersion": "client.authentication.k8s.io/v1", **more}}


BAD: list[tuple[object, str]] = [
    ("", "not a kubeconfig"),
    ("[]", "not a kubeconfig"),
    ("kind: Pod", "not a kubeconfig (kind Config)"),
    ("a: [", "not YAML (line"),
    (f"token: !{SECRET} x", "not YAML (line 1, column 8)"),
    (f"a: *{SECRET}", "not YAML (line 1"),
    (f"{{{SECRET}: 1, {SECRET}: 2}}", "not YAML"),
    (config(clusters="none"), "not a kubeconfig: Expected `array | null`, got `str` - at `$.clusters`"),
    (config(user={"token": 3}), "not a kubeconfig: Expected `str`, got `int` - at `$.users[0].user.token`"),
    (config(**{"current-context": ""}), "no context is named and the file has no current-context"),
    (config(**{"current-context": "z"}), "no context is called 'z' (there is: 'x')"),
    (config(clusters=[]), "context 'x': no cluster is called 'c' (there is: none)"),
    (config(users=None), "context 'x': no user is called 'u' (there is: none)"),
    (config(cluster={}), "'' is not the URL of an API server"),
    (config(cluster={"server": "10.0.0.1:6443"}), "'10.0.0.1:6443' is not the URL of an API server"),
    (config(cluster={"server": "https://u:p@a"}), "the server's URL has more than scheme, host, port and path"),
    (config(cluster={"server": "https://a", "proxy-url": "socks5://p"}), "only http and https proxies"),
    (
        config(cluster={"server": "https://a", "insecure-skip-tls-verify": True, "certificate-authority-data": "MA=="}),
        "insecure-skip-tls-verify and a certificate authority exclude each other",
    ),
    (config(cluster={"server": "https://a", "certificate-authority": "no.crt"}), "no.crt cannot be read: No such file"),
    (
        config(cluster={"server": "https://a", "certificate-authority-data": f"!{SECRET}"}),
        "certificate-authority-data is not base64",
    ),
    (config(user={"client-certificate": "me.crt"}), "client-certificate and client-key need each other"),
    (config(user={"client-key-data": encoded(SECRET)}), "client-certificate and client-key need each other"),
    (config(user={"tokenFile": "no-token"}), "no-token cannot be read: No such file"),
    (config(user={"as": "admin", "token": SECRET}), "impersonation (`as`) is not supported"),
    (
        config(user=login("no-such-plugin", installHint="get it\n")),
        "no-such-plugin cannot be run: no such program; get it",
    ),
    (config(user={"exec": {"command": "sh"}}), "missing required field `apiVersion`"),
    (
        config(
            user={
                "client-certificate-data": encoded(PEM),
                "client-key-data": encoded("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
            }
        ),
        "the client key is encrypted",
    ),
]


@pytest.mark.parametrize(("raw", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_what_cannot_work(raw: object, message: str, tmp_path: Path) -> None:
    path = written(tmp_path, raw)
    with pytest.raises(ClusterUnreachable) as caught:
        read_kubeconfig(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert message in told
    assert "\n" not in told
    assert SECRET not in told
    assert caught.value.exit_code is ExitCode.CLUSTER_UNREACHABLE


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnreachable, match="cannot be read: No such file"):
        read_kubeconfig(tmp_path / "none")
    with pytest.raises(ClusterUnreachable, match="cannot be read: Is a directory"):
        read_kubeconfig(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ClusterUnreachable, match="not YAML"):
        read_kubeconfig(tmp_path / "binary")


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ClusterUnreachable, match="no context is called 'prod'"):
        read_kubeconfig(written(tmp_path, config()), "prod")


@pytest.mark.parametrize(
    "server",
    ["https://a", "http://127.0.0.1:8001", "https://[fd00::1]:6443", "https://rancher.example/k8s/clusters/c-1"],
)
def test_servers(server: str) -> None:
    check_server(server)


@pytest.mark.parametrize(
    "server", ["", "a", "ftp://a", "https://", "https://a:x", "https://[::1", "https://a?b=c", "https://a:0"]
)
def test_what_is_no_server(server: str) -> None:
    with pytest.raises(ClusterUnreachable):
        check_server(server)
