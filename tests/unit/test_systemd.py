"""What systemd is told, on a real socket."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nftsvc.agent.systemd import Notifier
from tests.support.web import DEADLINE, run, until


@contextmanager
def listening(name: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind("\0" + name[1:] if name.startswith("@") else name)
        made.settimeout(DEADLINE)
        yield made


def received(end: socket.socket, count: int) -> list[str]:
    return [end.recv(4096).decode() for _ in range(count)]


@pytest.fixture(params=["path", "abstract"])
def name(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "notify") if request.param == "path" else f"@nftsvc-test-{os.getpid()}"


def test_ready_status_and_stopping(name: str) -> None:
    with listening(name) as end:
        notifier = Notifier({"NOTIFY_SOCKET": name})
        notifier.ready()
        notifier.status("10,000 Services\nREADY=0")
        notifier.stopping()
        assert received(end, 3) == ["READY=1", "STATUS=10,000 Services\\nREADY=0", "STOPPING=1"]


def test_nothing_is_sent_where_nobody_asked() -> None:
    notifier = Notifier({"WATCHDOG_USEC": "1000000"})
    notifier.ready()
    notifier.status("fine")
    notifier.stopping()
    assert notifier.watchdog_interval is None


@pytest.mark.parametrize(
    ("variables", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
    ],
)
def test_how_often_a_sign_of_life_is_due(variables: dict[str, str], interval: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "/nowhere", **variables}).watchdog_interval == interval


def test_signs_of_life_come_while_the_agent_lives_and_only_then(name: str, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        answers = [True, True, False, False, False, True]
        with listening(name) as end:
            notifier = Notifier({"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "20000"})
            task = asyncio.create_task(
                notifier.watchdog(lambda: answers.pop(0) if len(answers) > 1 else _end(notifier))
            )
            await until(lambda: len(answers) == 1)
            assert await asyncio.to_thread(received, end, 3) == ["WATCHDOG=1", "WATCHDOG=1", "STOPPING=1"]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _end(notifier: Notifier) -> bool:
        """Mark where the five answers before have been given."""
        notifier.stopping()
        return False

    run(scenario)
    assert "no sign of life" in caplog.text


def test_no_watchdog_ends_at_once(name: str) -> None:
    async def scenario() -> None:
        await Notifier({"NOTIFY_SOCKET": name}).watchdog(lambda: True)

    run(scenario)


def test_a_lost_message_is_logged_once_and_harms_nobody(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "missing")})
    for _ in range(3):
        notifier.ready()
    assert [record.message for record in caplog.records] == ["systemd cannot be told"]
    Notifier({"NOTIFY_SOCKET": "x" * 500}).ready()
