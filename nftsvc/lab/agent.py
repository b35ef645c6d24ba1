"""The node agent, run as its users run it: the command, in a namespace, on a folder of manifests."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO

from nftsvc.errors import KernelError
from nftsvc.lab.namespace import Namespace

_HEALTH, _METRICS = ("127.0.0.1", 10256), ("127.0.0.1", 10249)
_MOST_WAITS = 600
_STEP_SECONDS = 0.05
_TIMEOUT = 5
_OK = 200

# Ends the agent when whoever holds the other end of the pipe is gone, killed even. The shell's own standard error is
# closed, so that the agent's ends with the agent.
_GUARD = '"$@" & agent=$!; exec 2> /dev/null; cat > /dev/null; kill "$agent"; wait "$agent"'


class RunningAgent:
    """An agent that runs. `lines` is what it has logged so far."""

    def __init__(self, namespace: Namespace, process: "subprocess.Popen[str]") -> None:
        self._namespace = namespace
        self._process = process
        self._changed = threading.Condition()
        self.lines: list[str] = []
        assert process.stderr is not None  # noqa: S101 - it was asked for
        self._reader = threading.Thread(target=self._read, args=(process.stderr,), daemon=True)
        self._reader.start()

    def wait_for(self, words: str, start: int = 0) -> str:
        """Return the first line, from `start` on, that has these words; KernelError if the agent ends without one."""
        return self._wait(lambda: next((line for line in self.lines[start:] if words in line), ""), words)

    def wait_ready(self) -> None:
        """Wait until /readyz says that everything is in the kernel; KernelError if it never does."""
        self._wait(lambda: "ready" if self._ask(_HEALTH, "/readyz")[0] == _OK else "", "readiness")

    def status(self) -> dict[str, object]:
        """Return what /statusz says."""
        found: dict[str, object] = json.loads(self._ask(_METRICS, "/statusz")[1])
        return found

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        code = self._process.wait()
        self._reader.join()
        return code

    def _ask(self, address: tuple[str, int], path: str) -> tuple[int, bytes]:
        def ask() -> tuple[int, bytes]:
            connection = HTTPConnection(*address, timeout=_TIMEOUT)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, HTTPException):
                return 0, b"{}"
            finally:
                connection.close()

        return self._namespace.call(ask)

    def _wait(self, found: Callable[[], str], what: str) -> str:
        for _ in range(_MOST_WAITS):
            if result := found():
                return result
            if not self._reader.is_alive():
                break
            with self._changed:
                self._changed.wait(_STEP_SECONDS)
        last = "\n".join(self.lines[-5:])
        raise KernelError(f"the agent does not get to {what}; the last that it said:\n{last}")

    def _read(self, stream: IO[str]) -> None:
        for line in stream:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()


@contextmanager
def run_agent_on(namespace: Namespace, manifests: Path, *options: str) -> Iterator[RunningAgent]:
    """Run `nftsvc run --manifests` in a namespace; it is told to end in the end, and what it has loaded stays."""
    command = [sys.executable, "-m", "nftsvc", "run", "--manifests", str(manifests)]
    command += ["--healthz-bind-address", "{}:{}".format(*_HEALTH), *options]
    guarded = ["sh", "-c", _GUARD, "sh", *command]
    process = namespace.call(
        lambda: subprocess.Popen(
            guarded, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
    )
    agent = RunningAgent(namespace, process)
    try:
        yield agent
    finally:
        if process.poll() is None:
            agent.stop()
