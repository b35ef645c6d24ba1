"""The agent's log: one line a record, whatever is in it, for people and for machines."""

import io
import json
import logging
import os
import pty
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from nftsvc.agent.log import MOST_CHARACTERS, LogFormat, configure, event, log_pass
from nftsvc.agent.status import PassReport
from nftsvc.sync import PassKind

LOGGER = logging.getLogger("nftsvc.agent.test")
PASS = PassReport(
    PassKind.CHANGE,
    "an EndpointSlice",
    started=0.0,
    seconds=0.00212345678,
    services=1,
    added=2,
    removed=1,
    transactions=1,
    bytes=300,
    operations=3,
    latencies=(0.001, 0.004),
)


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leave logging as it was."""
    root, own = logging.getLogger(), logging.getLogger("nftsvc")
    before = root.handlers[:], root.level, own.level
    yield
    root.handlers[:], root.level, own.level = before[0], before[1], before[2]
    root.setLevel(before[1])
    own.setLevel(before[2])


def stream(form: LogFormat = LogFormat.TEXT, verbosity: int = 0) -> io.StringIO:
    made = io.StringIO()
    configure(form, verbosity, made)
    return made


def line(written: io.StringIO) -> str:
    text = written.getvalue()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text.removesuffix("\n")


def without_time(text: str) -> str:
    time, rest = text.split(" ", 1)
    assert len(time) == len("2026-05-04T03:02:01.000123Z")
    assert time.endswith("Z")
    return rest


def in_json(written: io.StringIO) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(line(written))
    assert said.pop("time").endswith("Z")
    return said


# Text ----------------------------------------------------------------------------------------------------------------


def test_an_event_is_one_line_of_words_and_fields() -> None:
    written = stream()
    event(LOGGER, logging.INFO, "listening", pages="healthz", address="[::]:10256", n=3, empty="", none=None)
    assert without_time(line(written)) == "INFO listening pages=healthz address=[::]:10256 n=3"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two words", '"two words"'),
        ('say "no"', '"say \\"no\\""'),
        ("a\nINFO forged=1", '"a\\nINFO forged=1"'),
        ("\x1b[2J\x07", '"\\x1b[2J\\x07"'),
        ("\u202egpj.exe", '"\\u202egpj.exe"'),
        ("back\\slash", '"back\\\\slash"'),
        ("a=b", '"a=b"'),
        ("\udc80", '"\\udc80"'),
        ("grün", "grün"),
    ],
)
def test_values_cannot_end_the_line_or_reach_the_terminal(value: str, shown: str) -> None:
    written = stream()
    event(LOGGER, logging.WARNING, "odd", value=value)
    assert without_time(line(written)) == f"WARNING odd value={shown}"


def test_messages_of_libraries_cannot_either() -> None:
    written = stream()
    logging.getLogger("somebody.else").warning("bad %s", "\r\nthing\x1b[31m")
    assert without_time(line(written)) == "WARNING bad \\r\\nthing\\x1b[31m"


def test_an_exception_stays_on_its_line() -> None:
    written = stream()
    _fail("not\nnow")
    said = line(written)
    assert 'exception="ValueError: not\\nnow"' in said
    assert "test_agent_log.py" in said


def _fail(words: str) -> None:
    def refuse() -> None:
        raise ValueError(words)

    try:
        refuse()
    except ValueError:
        LOGGER.exception("failed")


def test_long_values_are_cut() -> None:
    written = stream()
    event(LOGGER, logging.INFO, "m" * 100_000, value="v" * 100_000)
    assert len(line(written)) < 2 * MOST_CHARACTERS + 200


def test_colour_only_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in _on_terminal(wanted=False)
    assert "\x1b[33mWARNING\x1b[0m odd" in _on_terminal(wanted=True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in _on_terminal(wanted=True)


def _on_terminal(*, wanted: bool) -> str:
    """Log one line to a terminal, or to a pipe, and return what arrives there."""
    reading, writing = pty.openpty() if wanted else os.pipe()
    with os.fdopen(writing, "w", encoding="utf-8") as file:
        configure(stream=file)
        event(LOGGER, logging.WARNING, "odd")
        file.flush()
        arrived = os.read(reading, 4096).decode()
    os.close(reading)
    return arrived


# JSON ----------------------------------------------------------------------------------------------------------------


def test_json_has_one_object_a_line() -> None:
    written = stream(LogFormat.JSON)
    event(LOGGER, logging.INFO, "synced", kind="change", services=1, seconds=0.5, fine=True, none=None, at=("a", 1))
    assert in_json(written) == {
        "level": "info",
        "logger": "nftsvc.agent.test",
        "message": "synced",
        "kind": "change",
        "services": 1,
        "seconds": 0.5,
        "fine": True,
        "none": None,
        "at": "('a', 1)",
    }


def test_json_values_are_harmless_when_decoded_too() -> None:
    written = stream(LogFormat.JSON)
    event(LOGGER, logging.ERROR, "a\nb", value="\x1b[2J", level="x", time="y")
    assert in_json(written) == {
        "level": "error",
        "logger": "nftsvc.agent.test",
        "message": "a\\nb",
        "value": "\\x1b[2J",
    }


def test_json_exceptions() -> None:
    written = stream(LogFormat.JSON)
    _fail("not now")
    said = in_json(written)
    assert said["exception"] == "ValueError: not now"
    assert "test_agent_log.py" in said["traceback"]


# Levels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verbosity", "expected"),
    [(0, ["own INFO", "other WARNING"]), (1, ["own DEBUG", "own INFO", "other WARNING"])]
    + [(more, ["own DEBUG", "own INFO", "other INFO", "other WARNING"]) for more in (2, 4, 9)],
)
def test_verbosity(verbosity: int, expected: list[str]) -> None:
    written = stream(verbosity=verbosity)
    for name, logger in (("own", LOGGER), ("other", logging.getLogger("aiohttp.client"))):
        logger.debug("%s DEBUG", name)
        logger.info("%s INFO", name)
    logging.getLogger("aiohttp.client").warning("other WARNING")
    assert [one.split(" ", 2)[2] for one in written.getvalue().splitlines()] == expected


def test_configuring_again_replaces() -> None:
    before = stream()
    after = stream()
    event(LOGGER, logging.INFO, "once")
    assert before.getvalue() == ""
    assert line(after)


# Passes --------------------------------------------------------------------------------------------------------------


def test_a_pass_is_one_line_with_counts_and_durations() -> None:
    written = stream()
    log_pass(LOGGER, PASS)
    assert without_time(line(written)) == (
        'INFO synced kind=change reason="an EndpointSlice" services=1 added=2 removed=1 transactions=1 operations=3'
        " bytes=300 seconds=0.002123 latency=0.004"
    )


def test_a_refused_pass_is_an_error_that_names_the_object() -> None:
    written = stream()
    log_pass(LOGGER, replace(PASS, error="no: File exists\n  in: add element", refused="Service shop/web"))
    said = without_time(line(written))
    assert said.startswith("ERROR sync failed kind=change ")
    assert said.endswith(' refused="Service shop/web" error="no: File exists\\n  in: add element"')


def test_a_pass_with_nothing_to_do_is_said_only_when_asked() -> None:
    nothing = replace(PASS, kind=PassKind.VERIFY, transactions=0)
    written = stream()
    log_pass(LOGGER, nothing)
    assert written.getvalue() == ""
    written = stream(verbosity=1)
    log_pass(LOGGER, nothing)
    assert without_time(line(written)).startswith("DEBUG synced kind=verify ")


def test_the_caller_is_what_the_record_names() -> None:
    records: list[logging.LogRecord] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    stream()
    handler = Kept()
    LOGGER.addHandler(handler)
    event(LOGGER, logging.INFO, "here")
    LOGGER.removeHandler(handler)
    assert records[0].funcName == "test_the_caller_is_what_the_record_names"
