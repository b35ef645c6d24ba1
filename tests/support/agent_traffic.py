"""Pods that answer and clients that never rest, each a process of its own in the lab's namespaces."""

import errno
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from nftsvc.lab import Namespace

ROOT = Path(__file__).resolve().parents[2]
RATE = 200  # connections a second
PATIENCE = 60.0  # seconds until a test gives up


def until(holds: Callable[[], object], what: object = "", seconds: float = PATIENCE) -> None:
    """Wait until something is true; AssertionError with `what` (called if it can be) if it never is."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.01)


def inside(namespace: Namespace, *command: str) -> list[str]:
    """Return a command that runs in a namespace; the process that it starts becomes the command."""
    return ["ip", "netns", "exec", namespace.name, *command]


@contextmanager
def ended(process: subprocess.Popen[bytes], seconds: float = PATIENCE) -> Iterator[subprocess.Popen[bytes]]:
    """See to it that a process ends: asked to at first, then made to."""
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


@contextmanager
def serve(namespace: Namespace, addresses: Iterable[str], port: int) -> Iterator[None]:
    """Answer on all these addresses of a namespace."""
    command = inside(namespace, sys.executable, "-m", "tests.support.agent_server", str(port), *addresses)
    with ended(subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield


def reach(namespace: Namespace, host: str, port: int, seconds: float = 10) -> str:
    """Open a connection; return the address of the Pod that answers, or the name of the errno."""

    def attempt() -> str:
        try:
            with socket.create_connection((host, port), seconds) as made:
                return made.recv(100).decode().split()[0]
        except TimeoutError:
            return "ETIMEDOUT"
        except OSError as error:
            return errno.errorcode[error.errno or errno.EIO]

    return namespace.call(attempt)


class Dialogue:
    """A UDP socket that asks one address, always from the same port."""

    def __init__(self, namespace: Namespace, host: str, port: int, source: int = 0) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = namespace.call(lambda: socket.socket(family, socket.SOCK_DGRAM))
        self._socket.settimeout(0.3)
        try:
            self._socket.bind(("", source))
            self._socket.connect((host, port))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self) -> str:
        """Send a datagram; return the address of the Pod that answers it, "" if none does or it is refused."""
        try:
            while self._socket.recv(100, socket.MSG_DONTWAIT):
                pass  # an answer that came late
        except OSError:
            pass
        try:
            self._socket.send(b"?")
            return self._socket.recv(100).decode().split()[0]
        except OSError:
            return ""

    def wait_for(self, *pods: str) -> str:
        """Ask until one of these Pods answers, and return which."""
        heard = ""

        def answered() -> bool:
            nonlocal heard
            heard = self.ask()
            return heard in pods

        until(answered, lambda: f"{heard!r} answers instead of {pods}")
        return heard


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection: when it was begun (seconds since 1970), how long it took, the errno ("" if it was fine)."""

    began: float
    seconds: float
    error: str
    pod: str
    source: str

    def __str__(self) -> str:
        return f"{self.error} at {self.began:.3f} after {self.seconds:.3f}s"


class Load:
    """A client that opens connections to one address all the time."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path, name: str) -> None:
        self._process = process
        self._path = path
        self.name = name

    @property
    def attempts(self) -> list[Attempt]:
        """All connections that have ended, well or not, in the order of their ends."""
        text = self._path.read_text(encoding="ascii") if self._path.exists() else ""
        rows = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
        return [Attempt(float(a), float(b), error.strip("-"), pod, source) for a, b, error, pod, source in rows]

    @property
    def failures(self) -> list[Attempt]:
        return [one for one in self.attempts if one.error]

    def go_on(self, count: int = 100) -> list[Attempt]:
        """Wait until so many connections have been begun after now and ended; return them."""
        now = time.time()
        found: list[Attempt] = []

        def enough() -> bool:
            found[:] = [one for one in self.attempts if one.began > now]
            return len(found) >= count

        until(enough, lambda: f"{self.name}: {len(found)} connections of {count}")
        return found

    def stop(self) -> list[Attempt]:
        """Begin no more, let the open ones end, and return all."""
        self._process.terminate()
        self._process.wait(PATIENCE)
        return self.attempts


@contextmanager
def load(namespace: Namespace, host: str, port: int, folder: Path, name: str) -> Iterator[Load]:
    """Open connections at `RATE` from a namespace while the context lasts. The first has been made when it begins."""
    path = folder / f"load-{name}.txt"
    path.unlink(missing_ok=True)
    words = ("-m", "tests.support.agent_client", host, str(port), str(RATE), str(path))
    with ended(subprocess.Popen(inside(namespace, sys.executable, *words), cwd=ROOT)) as process:
        made = Load(process, path, name)
        until(lambda: made.attempts, f"{name}: no connection ends")
        yield made
