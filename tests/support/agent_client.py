"""A program that opens so many TCP connections a second, waits for no other, and writes down what became of each.

    python -m tests.support.agent_client HOST PORT RATE FILE

A line for each connection: when it was begun (seconds since 1970), how many seconds it took, the errno's name (`-` if
it was fine), who answered and which source that saw. Ends, with all connections accounted for, on SIGTERM.
"""

import errno
import resource
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

PATIENCE = 15.0  # seconds: a packet that is lost is sent again after 1, 3 and 7


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    began: float
    clock: float = field(default_factory=time.monotonic)
    heard: bytes = b""


class Client:
    def __init__(self, host: str, port: int, file: TextIO) -> None:
        self._target = (host, port)
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._file = file
        self._selector = selectors.DefaultSelector()
        self.open: dict[socket.socket, _Connection] = {}

    def begin(self) -> None:
        made = socket.socket(self._family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        one = self.open[made] = _Connection(made, time.time())
        self._selector.register(made, selectors.EVENT_READ, one)
        code = made.connect_ex(self._target)
        if code not in {0, errno.EINPROGRESS}:
            self._end(one, code)

    def work(self, until: float) -> None:
        """Take care of the open connections until a moment of the monotonic clock."""
        while True:
            for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
                self._read(key.data)
            now = time.monotonic()
            for one in [one for one in self.open.values() if now - one.clock > PATIENCE]:
                self._end(one, errno.ETIMEDOUT)
            if now >= until:
                return

    def _read(self, one: _Connection) -> None:
        try:
            part = one.socket.recv(200)
        except BlockingIOError:
            return
        except OSError as error:
            self._end(one, error.errno or errno.EIO)
            return
        one.heard += part
        if not part or part.endswith(b"\n"):
            self._end(one, 0 if part else errno.ENODATA)

    def _end(self, one: _Connection, code: int) -> None:
        del self.open[one.socket]
        self._selector.unregister(one.socket)
        one.socket.close()
        took = time.monotonic() - one.clock
        result = f"{errno.errorcode[code]} - -\n" if code else f"- {one.heard.decode()}"
        self._file.write(f"{one.began:.6f} {took:.6f} {result}")


def main(host: str, port: int, rate: float, path: Path) -> None:
    stop: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stop.append(number))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with path.open("w", encoding="ascii", buffering=1) as file:
        client, due = Client(host, port, file), time.monotonic()
        while not stop:
            client.begin()
            due = max(due + 1 / rate, time.monotonic() - 0.02)  # what the machine has not let it begin is left out
            client.work(due)
        while client.open:
            client.work(time.monotonic() + 0.05)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
