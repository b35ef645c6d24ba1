"""Certificates for the API server double, made with the command `openssl` (Debian and Ubuntu: package openssl)."""

import shutil
import subprocess
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_DAYS = ("-days", "2")


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority of its own in a folder; works for OpenSSL 3 and for Python's strict verification."""

    def __init__(self, folder: Path, name: str = "test-ca") -> None:
        assert shutil.which("openssl"), "the command openssl is missing (Debian and Ubuntu: apt-get install openssl)"
        self.pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
        self._folder = folder
        extensions = ("basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign")
        _request(self.pair, name, extensions)

    def server(self, hosts: tuple[str, ...]) -> Pair:
        """A certificate for a server at these names and addresses."""
        names = ",".join(f"IP:{host}" if _is_address(host) else f"DNS:{host}" for host in hosts)
        return self._issue("server", "kube-apiserver", "serverAuth", (f"subjectAltName={names}",))

    def client(self, name: str) -> Pair:
        """A certificate for a client; the name is what the server takes for the user's."""
        return self._issue(f"client-{name}", name, "clientAuth", ())

    def _issue(self, file: str, name: str, usage: str, extensions: tuple[str, ...]) -> Pair:
        pair = Pair(self._folder / f"{file}.crt", self._folder / f"{file}.key")
        common = ("basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature")
        signer = ("-CA", str(self.pair.certificate), "-CAkey", str(self.pair.key))
        _request(pair, name, (*common, f"extendedKeyUsage={usage}", *extensions), signer)
        return pair


def _request(pair: Pair, name: str, extensions: tuple[str, ...], signer: tuple[str, ...] = ()) -> None:
    files = ("-keyout", str(pair.key), "-out", str(pair.certificate))
    added = [part for extension in extensions for part in ("-addext", extension)]
    command = ["openssl", "req", "-x509", *_KEY, *_DAYS, *files, "-subj", f"/CN={name}", *signer, *added]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pair.key.chmod(0o600)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
