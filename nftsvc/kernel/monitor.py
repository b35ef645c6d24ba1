"""Who else changes our tables: the kernel's notifications about nftables, without those of our own transactions.

The last message of a transaction tells the thread that ran it, by its number in the initial pid namespace. That number
is what tells our own transactions from others', and the thread that runs them may not know it (in a container it sees
another). So it is learned once: the thread runs a harmless transaction that nobody else could have run, and the monitor
looks who it was. A thread's number is its own as long as it lives; netlink ports are not, for libnftables closes its
socket at times, and somebody else may get the port.

The ports serve to keep the cost away: a filter in the kernel drops the messages of our own transactions but for the
last of each. If that shows another thread behind one of our ports, what it did went unseen, and everything is to be
verified.
"""

import ctypes
import errno
import secrets
import socket
import struct
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from nftsvc.errors import KernelError, KernelUnavailable
from nftsvc.kernel.netlink import NETFILTER, Malformed, inside, receive
from nftsvc.kernel.notifications import NEWGEN, Reader, Transaction, in_words
from nftsvc.values import FAMILIES, Family

# A transaction of 100,000 elements is 15 MB of notifications, as the kernel counts them; it doubles what is asked for.
BUFFER = 32 << 20

_GROUP_NFTABLES = 7
_SOL_NETLINK, _ADD_MEMBERSHIP = 270, 1
_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_RCVBUFFORCE = 26, 27, 33
_DATAGRAMS = 64  # in one go, so that the event loop gets its turn
_TRIES = 3
_PORTS = 8
_HIDDEN = 2  # ports at a time: libnftables' and that of the socket for elements

_LOAD, _LOAD_HALF, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x28, 0x15, 0x06  # classic BPF
_KIND_AT, _PORT_AT = 4, 12  # in a message's header
_ALL, _NOTHING = 0xFFFFFFFF, 0

LOST = "lost notifications: everything must be verified"
UNREADABLE = "sent notifications that cannot be read: everything must be verified"
UNSEEN = "ran a transaction that was not watched: everything must be verified"


@dataclass(frozen=True, slots=True)
class Foreign:
    """One transaction of somebody else's that changed our tables, or may have.

    `process` is the name of the thread that ran it and `pid` its number in the initial pid namespace ("" and 0 where
    that is not known). `what` is words for the log. `sets` are those whose elements were changed; `structural` says
    that more than that was, or that nobody knows what.
    """

    process: str
    pid: int
    what: str
    families: frozenset[Family]
    sets: frozenset[tuple[Family, str]]
    structural: bool


class Monitor:
    """Watches the tables of one network namespace: the calling thread's, or the one that `namespace` (a file) names.

    `fileno` becomes readable when there is something to `read`, which never waits: made for an event loop. To be used
    by one thread at a time. KernelUnavailable says that it cannot be had; it takes CAP_NET_ADMIN.
    """

    def __init__(self, namespace: Path | None = None, buffer: int = BUFFER) -> None:
        self._socket = inside(namespace, lambda: _listen(buffer))
        self._reader = Reader()
        self._found: list[Foreign] = []
        self._pid: int | None = None
        self._hidden: tuple[int, ...] = ()
        self._ports: deque[int] = deque(maxlen=_PORTS)  # those that are hidden or were

    def __enter__(self) -> Self:
        """Watch for a while."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching."""
        self.close()

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()

    def fileno(self) -> int:
        """Return what an event loop waits for."""
        return self._socket.fileno()

    @property
    def introduced(self) -> bool:
        """Whether it knows whose transactions are our own; before that all are somebody else's."""
        return self._pid is not None

    def introduce(self, run: Callable[[str], None]) -> None:
        """Learn whose transactions are our own. `run` runs nft commands on the thread that is going to run ours.

        A thread introduced earlier is forgotten. What others do meanwhile is kept for the next `read`, which `fileno`
        does not tell of. KernelError if it cannot be learned; whatever `run` raises.
        """
        self._pid = None
        self._show_everything()
        for _ in range(_TRIES):
            self._reader.mark = mark = f"nftsvc-{secrets.token_hex(8)}"
            run(f"create table ip {mark}\ndelete table ip {mark}\n")
            while not self.introduced and self._read_some():  # what a transaction caused is there when it has ended
                pass
            self._reader.mark = None
            if self.introduced:
                return
        raise KernelError("cannot tell our own changes from others': the kernel did not tell who made one")

    def read(self) -> tuple[Foreign, ...]:
        """Return what others did since the last time, oldest first; empty if nothing. Never waits.

        More may be there still; then `fileno` stays readable.
        """
        self._read_some()
        found, self._found = tuple(self._found), []
        return found

    def _read_some(self) -> bool:
        """Read a number of datagrams; return whether there were any."""
        for number in range(_DATAGRAMS):
            try:
                for transaction in self._reader.feed(receive(self._socket)):
                    self._judge(transaction)
            except BlockingIOError:
                return number > 0
            except Malformed:
                self._anything("", 0, UNREADABLE)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"watching nftables: {error.strerror}") from error
                self._anything("", 0, LOST)
        return True

    def _judge(self, transaction: Transaction) -> None:
        if transaction.marked and transaction.pid:
            self._pid = transaction.pid
            self._ports.clear()  # this transaction began when nothing was hidden, so the next are seen whole
        if transaction.pid == self._pid:
            if transaction.port not in self._hidden:
                self._hide((transaction.port, *self._hidden)[:_HIDDEN])
        elif transaction.port in self._ports:
            self._show_everything()
            self._ports.remove(transaction.port)
            self._anything(transaction.process, transaction.pid, UNSEEN)
        elif transaction.changes:
            self._found.append(
                Foreign(
                    transaction.process,
                    transaction.pid,
                    in_words(transaction.changes),
                    transaction.families,
                    transaction.sets,
                    transaction.structural,
                )
            )

    def _anything(self, process: str, pid: int, what: str) -> None:
        self._reader.forget()
        self._found.append(Foreign(process, pid, what, frozenset(FAMILIES), frozenset(), structural=True))

    def _hide(self, ports: tuple[int, ...]) -> None:
        """Have the kernel drop what comes from some ports, but for the messages that end a transaction."""
        program = (
            (_LOAD, 0, 0, _PORT_AT),
            *(
                (_JUMP_IF_EQUAL, ahead, 0, socket.htonl(one))
                for ahead, one in zip(range(len(ports), 0, -1), ports, strict=True)
            ),
            (_RETURN, 0, 0, _ALL),
            (_LOAD_HALF, 0, 0, _KIND_AT),
            (_JUMP_IF_EQUAL, 1, 0, socket.htons(NEWGEN)),
            (_RETURN, 0, 0, _NOTHING),
            (_RETURN, 0, 0, _ALL),
        )
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
        header = struct.pack("HP", len(program), ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, header)
        self._hidden = ports
        self._ports.extend(one for one in ports if one not in self._ports)

    def _show_everything(self) -> None:
        if self._hidden:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
            self._hidden = ()


def _listen(buffer: int) -> socket.socket:
    """Return a socket that is told of every change to nftables in the calling thread's network namespace."""
    try:
        made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, NETFILTER)
    except OSError as error:
        raise KernelUnavailable(f"cannot open a netlink socket: {error.strerror}") from error
    try:
        made.bind((0, 0))
        try:
            made.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, buffer)
        except PermissionError:  # in a user namespace: what the system's limit allows
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        made.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
    except OSError as error:
        made.close()
        raise KernelUnavailable(f"cannot watch nftables: {error.strerror} (it takes root, CAP_NET_ADMIN)") from error
    return made
