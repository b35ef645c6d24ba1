"""iptables of the old kind (legacy), which is not in nftables: its chains, and their removal.

Chains are listed as iptables itself does it, through getsockopt (<linux/netfilter_ipv4/ip_tables.h>), so no program is
needed to see them. To remove them it takes `iptables-legacy-restore`. All functions are about the calling thread's
network namespace.
"""

import ctypes
import errno
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from nftsvc.errors import KernelError
from nftsvc.kernel.foreign import Jump
from nftsvc.kernel.kubechains import Removal
from nftsvc.values import Family

PROGRAMS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
_NAMES = {Family.IPV4: "ip_tables_names", Family.IPV6: "ip6_tables_names"}
_SOCKETS = {
    Family.IPV4: (socket.AF_INET, socket.SOL_IP),
    Family.IPV6: (socket.AF_INET6, socket.IPPROTO_IPV6),
}
_INFO, _ENTRIES = 64, 65
_SIZE_AT, _INFO_BYTES = 80, 84
_TABLE = struct.Struct("=32sI4x")  # what is asked for entries, and comes before them
# A chain begins with an entry whose target is called ERROR, and after that comes the chain's name.
_CHAIN = re.compile(rb"ERROR\0{24}.([^\0]{1,29})\0", re.DOTALL)
_TRIES = 5
_SECONDS = 60
_TARGETS = ("-j", "-g")


class Saved(NamedTuple):
    """What `iptables-save` prints of one table: its chains, those of them that are built in, and its jumps.

    A jump's `rule` is the rule as it is written after its chain.
    """

    chains: tuple[str, ...]
    base: frozenset[str]
    jumps: tuple[Jump, ...]


def table_names(family: Family) -> tuple[str, ...]:
    """Return the tables in use, so that none is brought into being by looking for it.

    None are seen by a user to whom the kernel does not show them (the file is for root and its group).
    """
    try:
        return tuple(Path("/proc/thread-self/net", _NAMES[family]).read_text(encoding="ascii").split())
    except (FileNotFoundError, PermissionError):
        return ()


def chain_names(family: Family, table: str) -> tuple[str, ...]:
    """Return the chains of a table that is in use, but for the built-in ones. OSError if the kernel refuses."""
    kind, level = _SOCKETS[family]
    with socket.socket(kind, socket.SOCK_DGRAM) as asked:
        for last in reversed(range(_TRIES)):
            info = _ask(asked, level, _INFO, _TABLE.pack(table.encode("ascii"), 0), _INFO_BYTES)
            (size,) = struct.unpack_from("=I", info, _SIZE_AT)
            try:
                entries = _ask(asked, level, _ENTRIES, _TABLE.pack(table.encode("ascii"), size), _TABLE.size + size)
            except OSError as error:
                if error.errno != errno.EAGAIN or not last:  # it has changed since
                    raise
            else:
                return tuple(one.decode("ascii", "backslashreplace") for one in _CHAIN.findall(entries))[:-1]
    return ()


def _ask(asked: socket.socket, level: int, option: int, question: bytes, size: int) -> bytes:
    """Call getsockopt with a buffer that says what is wanted, which Python's own cannot."""
    buffer = ctypes.create_string_buffer(question, size)
    length = ctypes.c_uint32(size)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(asked.fileno(), level, option, buffer, ctypes.byref(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw[: length.value]


def saved(family: Family, table: str) -> Saved:
    """Return what is in a table. KernelError if the program is missing or fails."""
    try:
        return parse_saved(_run(family, "save", ("-t", table)))
    except ValueError as error:
        raise KernelError(f"{PROGRAMS[family]}-save: table {table}: {error}") from error


def parse_saved(text: str) -> Saved:
    """Read what `iptables-save` prints of one table."""
    policies = dict(line[1:].split()[:2] for line in text.splitlines() if line.startswith(":"))
    return Saved(
        tuple(policies),
        frozenset(chain for chain, policy in policies.items() if policy != "-"),
        tuple(_jumps(text, policies)),
    )


def _jumps(text: str, chains: Mapping[str, str]) -> Iterator[Jump]:
    for line in text.splitlines():
        if line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            words = shlex.split(rule)
            target = next((words[n + 1] for n, word in enumerate(words[:-1]) if word in _TARGETS), "")
            if target in chains:
                yield Jump(chain, target, rule)


def remove(family: Family, removals: Mapping[str, Removal]) -> None:
    """Remove chains from some tables, each table at once. KernelError if the program is missing or fails."""
    _run(family, "restore", ("--noflush", "--wait=10"), "".join(_commands(*item) for item in removals.items()))


def _commands(table: str, removal: Removal) -> str:
    # To name a chain empties it.
    lines = [
        f"*{table}",
        *(f":{chain} - [0:0]" for chain in (*removal.delete, *removal.empty)),
        *(f"-D {jump.chain} {jump.rule}" for jump in removal.unlink),
        *(f"-X {chain}" for chain in removal.delete),
        "COMMIT",
    ]
    return "".join(f"{line}\n" for line in lines)


def _run(family: Family, action: str, arguments: tuple[str, ...], text: str = "") -> str:
    return run_program((_program(family, action), *arguments), text)


def run_program(command: tuple[str, ...], text: str = "") -> str:
    """Run a program on some input and return what it prints; KernelError says what it complains about."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise KernelError(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def find_program(name: str) -> str | None:
    """Return where a program is, those included that only root has on its PATH; None if it is not installed."""
    return shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")


def _program(family: Family, action: str) -> str:
    """Return the program of the old kind; where there is one kind only it goes by the plain name."""
    legacy = find_program(f"{PROGRAMS[family]}-legacy-{action}")
    if legacy is not None:
        return legacy
    plain = find_program(f"{PROGRAMS[family]}-{action}")
    if plain is not None and "nf_tables" not in run_program((plain, "--version")):
        return plain
    raise KernelError(
        f"{PROGRAMS[family]}-legacy-{action} is not installed"
        " (Debian and Ubuntu: apt-get install iptables; Fedora: iptables-legacy)"
    )
