"""The installed command `nftsvc run` as a process of its own in a node's namespace, and how to look at it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple

from nftsvc.lab import Namespace
from tests.support.agent_traffic import PATIENCE, ended, inside, until
from tests.support.exposition import Exposition, checked

PROGRAM = Path(sys.executable).parent / "nftsvc"
HEALTH, METRICS = 10256, 10249  # the default ports

# Inside a namespace conntrack's size is the machine's, so it is left alone.
CONFIGURATION: dict[str, Any] = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "nftables",
    "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    "oomScoreAdj": 0,
}


class Page(NamedTuple):
    """What an HTTP server said."""

    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def get(namespace: Namespace, host: str, port: int, path: str = "/") -> Page:
    """Ask for a page from inside a namespace. OSError if there is no answer."""

    def ask() -> Page:
        connection = HTTPConnection(host, port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return Page(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    return namespace.call(ask)


class RunningAgent:
    """A process of `nftsvc run`."""

    def __init__(self, process: subprocess.Popen[bytes], namespace: Namespace, log: Path) -> None:
        self._process = process
        self._namespace = namespace
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def log(self) -> list[dict[str, Any]]:
        """The log's lines; whatever is no JSON is not among them."""
        found = []
        for line in self.output.splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
        return [one for one in found if isinstance(one, dict)]

    def said(self, message: str, **fields: object) -> list[dict[str, Any]]:
        """Return the log's lines with this message and these fields."""
        return [one for one in self.log if one["message"] == message and fields.items() <= one.items()]

    @property
    def passes(self) -> list[dict[str, Any]]:
        """The passes that sent something, or failed."""
        return [one for one in self.log if one["message"] == "sync failed" or one.get("transactions")]

    def page(self, path: str, port: int = METRICS) -> Page:
        return get(self._namespace, "127.0.0.1", port, path)

    @property
    def status(self) -> Any:
        return self.page("/statusz").json

    @property
    def metrics(self) -> Exposition:
        return checked(self.page("/metrics").body)

    @property
    def ready(self) -> bool:
        """Whether /readyz says so; AssertionError if the process is not there any more."""
        assert self._process.poll() is None, self.output
        try:
            return self.page("/readyz").code == 200
        except OSError:
            return False

    def wait_ready(self) -> None:
        until(lambda: self.ready, lambda: self.output)

    def send(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, wherever it is."""
        self._process.kill()
        self._process.wait(PATIENCE)

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self._process.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return self._process.wait(PATIENCE)


def written_configuration(path: Path, **fields: Any) -> Path:
    """Write a KubeProxyConfiguration that leaves the machine alone, with other fields besides."""
    path.write_text(json.dumps({**CONFIGURATION, **fields}), encoding="utf-8")
    return path


@contextmanager
def running(namespace: Namespace, arguments: Sequence[str], log: Path) -> Iterator[RunningAgent]:
    """Run `nftsvc run` with these arguments in a namespace; it has ended when the context has."""
    kept = {name: value for name, value in os.environ.items() if name not in {"NODE_NAME", "KUBECONFIG"}}
    words = inside(namespace, str(PROGRAM), "run", "--log-format", "json", *arguments)
    with log.open("wb") as file, ended(subprocess.Popen(words, stdout=file, stderr=file, env=kept)) as process:
        yield RunningAgent(process, namespace, log)
