"""The agent as its users run it, `nftsvc run`, in a namespace, and the API server double in a process of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from benchmarks.children import NFTSVC, Failed, TooLong, child
from benchmarks.cluster import NODE, POD_NETWORK, Cluster
from nftsvc.kernel.netlink import inside
from nftsvc.lab import Namespace

HEALTH, METRICS = 10256, 10249
_STEP_SECONDS = 0.02
_OK = 200

# Conntrack's size is the whole machine's, so it is left alone.
_CONFIGURATION = {
    "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
    "kind": "KubeProxyConfiguration",
    "mode": "nftables",
    "clusterCIDR": POD_NETWORK,
    "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    "oomScoreAdj": 0,
}


class Double:
    """The API server double's process; it is told what to do in lines of JSON, and answers so."""

    def __init__(self, process: "subprocess.Popen[bytes]", kubeconfig: Path) -> None:
        self._process = process
        self.kubeconfig = kubeconfig

    def tell(self, **order: Any) -> None:  # noqa: ANN401 - whatever JSON has
        """Have it do something."""
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(order).encode() + b"\n")
            self._process.stdin.flush()

    def answer(self) -> Any:  # noqa: ANN401
        """Wait for the end of that; Failed if the process has ended."""
        line = self._process.stdout.readline() if self._process.stdout is not None else b""
        if not line:
            raise Failed("the API server double has ended")
        return json.loads(line)


@contextmanager
def api_double(cluster: Cluster, namespace: Namespace, folder: Path) -> Iterator[Double]:
    """Serve a cluster in a namespace."""
    kubeconfig = folder / "kubeconfig"
    given = {"cluster": asdict(cluster), "namespace": str(namespace.path), "kubeconfig": str(kubeconfig)}
    command = (sys.executable, "-m", "benchmarks.double", json.dumps(given))
    with child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        double = Double(process, kubeconfig)
        double.answer()
        yield double


class Agent:
    """A process of `nftsvc run`; `begun` is when it was started, by `time.perf_counter`."""

    def __init__(self, process: "subprocess.Popen[bytes]", namespace: Namespace, begun: float) -> None:
        self._process = process
        self._namespace = namespace
        self.begun = begun

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def wait_until_ready(self, seconds: float) -> float:
        """Wait until everything is in the kernel and return how long that took from its start; TooLong."""

        def wait() -> float:
            while (now := time.perf_counter() - self.begun) < seconds:
                if self._process.poll() is not None:
                    raise Failed(f"nftsvc run: exit code {self._process.returncode}")
                if _page(HEALTH, "/readyz")[0] == _OK:
                    return time.perf_counter() - self.begun
                time.sleep(_STEP_SECONDS)
            raise TooLong(f"nftsvc run is not ready after {now:.0f} s")

        return inside(self._namespace.path, wait)

    def metrics(self) -> Mapping[str, float]:
        """Return what /metrics says, by name and labels as they are written."""
        text = inside(self._namespace.path, lambda: _page(METRICS, "/metrics")[1]).decode()
        pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def stop(self) -> None:
        """Ask it to end and wait for that; its rules stay."""
        self._process.terminate()
        self._process.wait()


def _page(port: int, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        with suppress(OSError, HTTPException):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        return 0, b""
    finally:
        connection.close()


@contextmanager
def agent_on(double: Double, namespace: Namespace) -> Iterator[Agent]:
    """Start the agent."""
    configuration = double.kubeconfig.with_name("configuration.json")
    configuration.write_text(json.dumps(_CONFIGURATION), encoding="ascii")
    log = double.kubeconfig.with_name("agent.log")
    command = (*NFTSVC, "run", "--kubeconfig", str(double.kubeconfig), "--node", NODE, "--config", str(configuration))
    with log.open("wb") as errors:
        begun = time.perf_counter()
        with child(command, namespace, stderr=errors) as process:
            yield Agent(process, namespace, begun)
