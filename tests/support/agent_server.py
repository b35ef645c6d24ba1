"""A program that is many Pods: it answers TCP and UDP on each of its addresses with that address and the client's.

    python -m tests.support.agent_server PORT ADDRESS...

A TCP client gets `ADDRESS SOURCE` and a newline at once, and again whenever it says something.
"""

import selectors
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial

_selector = selectors.DefaultSelector()


def main(port: int, addresses: list[str]) -> None:
    for address in addresses:
        _listen(address, port)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        for key, _ in _selector.select():
            with suppress(OSError):  # a client's doing
                key.data()


def _listen(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    stream, datagrams = socket.socket(family, socket.SOCK_STREAM), socket.socket(family, socket.SOCK_DGRAM)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for one in (stream, datagrams):
        one.bind((address, port))
    stream.listen(4096)
    _read(stream, partial(_accept, stream, address))
    _read(datagrams, partial(_answer, datagrams, address))


def _read(one: socket.socket, then: Callable[[], None]) -> None:
    one.settimeout(0)
    _selector.register(one, selectors.EVENT_READ, then)


def _accept(listener: socket.socket, address: str) -> None:
    made, source = listener.accept()
    answer = f"{address} {source[0]}\n".encode()
    _read(made, partial(_converse, made, answer))
    made.send(answer)


def _converse(made: socket.socket, answer: bytes) -> None:
    try:
        if made.recv(100):
            made.send(answer)
            return
    except OSError:
        pass
    _selector.unregister(made)
    made.close()


def _answer(datagrams: socket.socket, address: str) -> None:
    _, source = datagrams.recvfrom(100)
    datagrams.sendto(f"{address} {source[0]}\n".encode(), source)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
