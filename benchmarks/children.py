"""Processes of the benchmark's own: one for each measurement, ended where it takes too long or the benchmark ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from nftsvc.lab import Namespace, uninterrupted

ROOT = Path(__file__).resolve().parent.parent
NFTSVC = (sys.executable, "-m", "nftsvc")

Outcome = dict[str, Any]
Stream = int | IO[Any] | None


class Failed(Exception):
    """A measurement that did not come to an end; the message says why."""


class TooLong(Failed):
    """A measurement that was ended because it took too long."""


@contextmanager
def child(
    command: Sequence[str],
    namespace: Namespace | None = None,
    *,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a command, in a namespace if there is one; it and what it has started are ended in the end."""
    # Without this one modules are compiled anew each time, which nobody's nftsvc does.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
        )

    process: subprocess.Popen[bytes] | None = None
    try:
        with uninterrupted():
            process = start() if namespace is None else namespace.call(start)
        yield process
    finally:
        if process is not None:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def measured(task: str, seconds: float, **given: Any) -> Outcome:  # noqa: ANN401 - whatever JSON has
    """Have a measurement made by a process of its own and return what it found.

    `task` is a function of `benchmarks.tasks`, `given` its arguments. TooLong after so many seconds.
    """
    command = (sys.executable, "-m", "benchmarks.worker", task, json.dumps(given))
    with child(command, stdout=subprocess.PIPE) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise TooLong(f"{task}: more than {seconds:.0f} s") from None
        if process.returncode != 0:
            raise Failed(f"{task} {given}: exit code {process.returncode}")
    found: Outcome = json.loads(output)
    return found


def memory_of(pid: int) -> Mapping[str, int]:
    """Return a process's memory in KiB: `VmHWM`, the most it has had, and `VmRSS`, what it has."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) for name in ("VmHWM", "VmRSS")}


def processor_seconds_of(pid: int) -> float:
    """Return how long a process has kept processors busy."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
