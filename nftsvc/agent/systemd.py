"""What systemd is told, where it asks: that the agent is ready, how it is, that it is alive, that it stops.

Source: sd_notify(3) and sd_watchdog_enabled(3). NOTIFY_SOCKET names a datagram socket (`@` for one in the abstract
name space), WATCHDOG_USEC how often a sign of life is due, WATCHDOG_PID from which process.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Callable, Mapping

from nftsvc.agent.log import event
from nftsvc.errors import printable

_MICROSECONDS = 1_000_000
_log = logging.getLogger(__name__)


class Notifier:
    """Tells systemd; does nothing where there is no NOTIFY_SOCKET. Never raises: a lost message is only logged."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        name = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        self._interval = _watchdog_seconds(environment) if name else None
        self._failed = ""

    @property
    def watchdog_interval(self) -> float | None:
        """How often to give a sign of life, in seconds: at half of the time that systemd waits. None: not asked for."""
        return self._interval

    def ready(self) -> None:
        """Say that the first sync is done; what was waiting for the agent starts."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Say how the agent is doing, in one line for `systemctl status`."""
        if self._address:
            self._send(f"STATUS={printable(text)}")

    def stopping(self) -> None:
        """Say that the agent ends."""
        self._send("STOPPING=1")

    async def watchdog(self, alive: Callable[[], bool]) -> None:
        """Give signs of life until cancelled, on the agent's loop: none while that hangs, or `alive` says no.

        Returns at once if systemd did not ask.
        """
        while self._interval is not None:
            if alive():
                self._send("WATCHDOG=1")
            else:
                event(_log, logging.ERROR, "no sign of life for systemd: the last pass has not ended")
            await asyncio.sleep(self._interval)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as way:
                way.sendto(message.encode(errors="backslashreplace"), self._address)
        except OSError as error:
            if str(error) != self._failed:
                self._failed = str(error)
                event(_log, logging.WARNING, "systemd cannot be told", error=error)


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    """Return half of the time that systemd waits, if it waits for this process."""
    given, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not (given.isdecimal() and int(given)) or pid not in ("", str(os.getpid())):
        return None
    return int(given) / _MICROSECONDS / 2
