"""One named network namespace: made, configured, worked in, removed."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

from nftsvc.errors import KernelUnavailable
from nftsvc.kernel.namespaces import enter

_Result = TypeVar("_Result")

_FOLDER = Path("/run/netns")
_OURS = re.compile(r"nftsvc-(?P<pid>\d+)-.+")


class Namespace:
    """A network namespace that `ip netns` knows, named after this process so that leftovers are told apart.

    Where this process has one of that name already, the next gets a number.
    """

    def __init__(self, name: str) -> None:
        stem = f"nftsvc-{os.getpid()}-{name}"
        names = (stem, *(f"{stem}-{number}" for number in range(2, 100)))
        self.name = next(name for name in names if not (_FOLDER / name).exists())
        self.path = _FOLDER / self.name

    def configure(self, *commands: str) -> None:
        """Run `ip` commands in the namespace, one string each, without the leading `ip`. All must succeed."""
        self.call(lambda: ip("-batch", "-", commands="".join(f"{command}\n" for command in commands)))

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Run a function on a thread inside the namespace; sockets it opens belong there wherever they are used."""
        outcome: list[_Result] = []
        failure: list[BaseException] = []

        def run() -> None:
            try:
                enter(self.path)
                outcome.append(function())
            except BaseException as error:  # noqa: BLE001 - carried over to the caller's thread
                failure.append(error)

        thread = threading.Thread(target=run, name=self.name, daemon=True)
        thread.start()
        while thread.is_alive():  # a join without end keeps Python from running the handlers of signals
            thread.join(0.1)
        if failure:
            raise failure[0]
        return outcome[0]

    def set_sysctls(self, **values: int) -> None:
        """Write sysctls below /proc/sys/net; `__` in a name stands for a slash."""

        def write() -> None:
            for name, value in values.items():
                Path("/proc/sys/net", name.replace("__", "/")).write_text(str(value), encoding="ascii")

        self.call(write)


@contextmanager
def namespaces(*names: str) -> Iterator[tuple[Namespace, ...]]:
    """Make namespaces and remove them in the end, with everything in them. Needs root and the `ip` command.

    Namespaces that a killed process left behind are removed, too.
    """
    require_tools()
    _remove_leftovers()
    made = tuple(Namespace(name) for name in names)
    try:
        for one in made:
            with uninterrupted():  # else the command may go on, and succeed when nobody looks any more
                ip("netns", "add", one.name)
            one.configure("link set lo up")
        yield made
    finally:
        with uninterrupted():
            failures = [failure for one in made if one.path.exists() if (failure := _delete(one.name)) is not None]
        if failures:
            raise failures[0]


def _delete(name: str) -> KernelUnavailable | None:
    try:
        ip("netns", "delete", name)
    except KernelUnavailable as error:
        return error
    return None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let SIGINT and SIGTERM wait until this is over. Only the main thread is ever interrupted by them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []

    def wait(number: int, _frame: FrameType | None) -> None:
        waiting.append(number)

    before = {one: signal.signal(one, wait) or signal.SIG_DFL for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in waiting:
            signal.raise_signal(number)


def require_tools() -> None:
    """Raise KernelUnavailable, saying what is missing, where namespaces cannot be made."""
    if os.geteuid() != 0:
        raise KernelUnavailable("making network namespaces takes root: run it with sudo")
    if shutil.which("ip") is None:
        raise KernelUnavailable("the command ip is missing (Debian and Ubuntu: apt-get install iproute2)")


def ip(*arguments: str, commands: str | None = None) -> None:
    """Run the `ip` command; KernelUnavailable says what it complained about."""
    done = subprocess.run(["ip", *arguments], input=commands, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise KernelUnavailable(f"ip {' '.join(arguments)}: {done.stderr.strip() or done.returncode}")


def _remove_leftovers() -> None:
    for path in sorted(_FOLDER.glob("nftsvc-*")):
        match = _OURS.fullmatch(path.name)
        if match is not None and not Path("/proc", match["pid"]).exists():
            ip("netns", "delete", path.name)
