"""One libnftables context: nft commands in, listings and refusals out. The only module that imports `nftables`.

A context must stay on the thread that made it: sharing one between threads crashes libnftables 1.0.6. It talks to the
network namespace that the thread was in when the context was made.
"""

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, cast

import nftables

from nftsvc.errors import KernelRefused, KernelUnavailable

LIBRARY = "libnftables.so.1"

_REFUSAL = re.compile(r"^(?P<place>/proc/self/fd/\d+:(?P<line>\d+):[-\d]+: )?Error: (?P<reason>.*)$", re.MULTILINE)
_NET_ADMIN = 1 << 12
_NO_JSON = b"have no json callback"
_STANDARD_ERROR = threading.Lock()
_ABSENT = "No such file or directory"


class _Nftables(Protocol):
    """The part of the binding that is used here."""

    def cmd(self, text: str) -> tuple[int, str, str]: ...
    def set_json_output(self, value: bool) -> object: ...  # noqa: FBT001 - the binding's own signature


class Context:
    """Runs nft commands in the namespace of the thread that makes it."""

    def __init__(self) -> None:
        _require_permission()
        self._nft = _open()

    def run(self, text: str) -> None:
        """Run commands as one transaction.

        A refusal is asked for a second time, in a fresh context, because nft 1.1.0 keeps stale caches and because only
        from a file does nft say which line it refused. KernelRefused carries that line's text; its `source` is empty.
        """
        code, _, _ = self._nft.cmd(text)
        if code != 0:
            self._nft = _open()
            self._run_from_file(text)

    def _run_from_file(self, text: str) -> None:
        descriptor = os.memfd_create("nftsvc")
        try:
            with open(descriptor, "w", encoding="ascii", closefd=False) as file:
                file.write(text)
            code, _, error = self._nft.cmd(f'include "/proc/self/fd/{descriptor}"')
        finally:
            os.close(descriptor)
        if code != 0:
            raise _refusal(error, text)

    def list_table(self, family: str, name: str) -> str | None:
        """Return one table as nft's JSON, or None if there is none. `family` is nft's word for it.

        Only for a namespace in which nobody else is: as long as others change any table there, libnftables begins anew.
        """
        self._nft.set_json_output(True)
        try:
            with _without_warnings():
                code, output, error = self._nft.cmd(f"list table {family} {name}")
        finally:
            self._nft.set_json_output(False)
        if code == 0:
            return output
        if _ABSENT in error:
            return None
        raise KernelRefused(error.strip())


class Refusal(KernelRefused):
    """A refusal that knows the number of the refused line (from 1; 0 if nft did not say)."""

    def __init__(self, reason: str, line: str, number: int) -> None:
        super().__init__(reason, line)
        self.number = number


def _refusal(error: str, text: str) -> Refusal:
    match = _REFUSAL.search(error)
    if match is None:
        return Refusal(error.strip(), "", 0)
    number = int(match["line"] or 0)
    lines = text.splitlines()
    line = lines[number - 1] if 0 < number <= len(lines) else ""
    return Refusal(match["reason"], line, number)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep one warning of nft's from the terminal: that it writes the statement `update @map` as text into its JSON.

    libnftables prints it to the process's standard error itself. Everything else that arrives there meanwhile is passed
    on afterwards.
    """
    with _STANDARD_ERROR, _closing(os.memfd_create("stderr"), os.dup(2)) as (caught, real):
        os.dup2(caught, 2)
        try:
            yield
        finally:
            os.dup2(real, 2)
            os.lseek(caught, 0, os.SEEK_SET)
            with open(caught, "rb", closefd=False) as file:
                others = [line for line in file if _NO_JSON not in line]
            os.write(2, b"".join(others))


@contextmanager
def _closing(*descriptors: int) -> Iterator[tuple[int, ...]]:
    """Close file descriptors in the end."""
    try:
        yield descriptors
    finally:
        for one in descriptors:
            os.close(one)


def _require_permission() -> None:
    """Raise KernelUnavailable without CAP_NET_ADMIN: libnftables would only complain on the terminal."""
    try:
        status = Path("/proc/thread-self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), _NET_ADMIN)
    if not held & _NET_ADMIN:
        raise KernelUnavailable("nftables takes root (CAP_NET_ADMIN): run it with sudo")


def _open() -> _Nftables:
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise KernelUnavailable(
            f"{LIBRARY} is not installed (Debian and Ubuntu: apt-get install libnftables1; Fedora: nftables)"
        ) from error
    nft = nftables.Nftables(LIBRARY)
    nft.set_numeric_proto_output(True)
    return cast("_Nftables", nft)
