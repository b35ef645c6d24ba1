"""The agent's log: one line a record, for people (`key=value`) or for machines (JSON), to standard error.

What comes from outside (names, error messages) cannot do more to a terminal or a log than be read. Lines:

    2026-05-04T03:02:01.000123Z INFO synced kind=change services=1 added=2 removed=1 seconds=0.0021
    {"time": "2026-05-04T03:02:01.000123Z", "level": "info", "logger": "nftsvc.agent", "message": "synced", ...}
"""

import json
import logging
import os
import re
import sys
import traceback
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TextIO

from nftsvc.agent.status import PassKind, PassReport
from nftsvc.errors import printable

# How much of a value and of a message a line shows; a refusal repeats nft's line, and lines can be long.
MOST_CHARACTERS = 4000

_OWN = "nftsvc"
_FIELDS = "nftsvc_fields"
_BARE = re.compile(r"[\w.:/@%+,\[\]*~-]+")
_COLOURS = {logging.DEBUG: 2, logging.INFO: 32, logging.WARNING: 33, logging.ERROR: 31, logging.CRITICAL: 31}


class LogFormat(StrEnum):
    """How a line is written (`logging.format` of a KubeProxyConfiguration)."""

    TEXT = "text"
    JSON = "json"


def configure(form: LogFormat = LogFormat.TEXT, verbosity: int = 0, stream: TextIO | None = None) -> None:
    """Send all log records of the process to the stream (standard error), replacing what was set before.

    With verbosity 0 the agent's own records from INFO up and the libraries' from WARNING up; from 1 the agent's DEBUG,
    too; from 2 the libraries' INFO. Libraries' DEBUG never: it has requests with their headers.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    colour = handler.stream.isatty() and not os.environ.get("NO_COLOR")
    handler.setFormatter(_Json() if form is LogFormat.JSON else _Text(colour=colour))
    root = logging.getLogger()
    for one in root.handlers[:]:
        root.removeHandler(one)
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbosity > 1 else logging.WARNING)
    logging.getLogger(_OWN).setLevel(logging.DEBUG if verbosity > 0 else logging.INFO)


def event(logger: logging.Logger, level: int, message: str, /, **fields: object) -> None:
    """Log that something happened: what, in constant words, and the particulars as fields."""
    logger.log(level, "%s", message, extra={_FIELDS: fields}, stacklevel=2)


def log_pass(logger: logging.Logger, report: PassReport) -> None:
    """Log a pass in one line: an error if the kernel refused it, at DEBUG if there was nothing to do but at first."""
    fields: dict[str, object] = {"kind": report.kind, "reason": report.reason, "services": report.services}
    fields |= {name: getattr(report, name) for name in ("added", "removed", "transactions", "operations", "bytes")}
    fields["seconds"] = round(report.seconds, 6)
    if report.latencies:
        fields["latency"] = round(max(report.latencies), 6)
    if report.error:
        event(logger, logging.ERROR, "sync failed", **fields, refused=report.refused, error=report.error)
    else:
        told = report.transactions or report.kind is PassKind.FIRST
        event(logger, logging.INFO if told else logging.DEBUG, "synced", **fields)


class _Text(logging.Formatter):
    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        level = record.levelname
        if self._colour:
            level = f"\x1b[{_COLOURS.get(record.levelno, 0)}m{level}\x1b[0m"
        words = [f"{name}={_quoted(_cut(value))}" for name, value in _fields(record).items() if value not in ("", None)]
        return " ".join((_time(record), level, printable(_cut(record.getMessage())), *words))


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fixed: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": printable(_cut(record.getMessage())),
        }
        fields = {name: _plain(value) for name, value in _fields(record).items() if name not in fixed}
        return json.dumps({**fixed, **fields})


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields: dict[str, object] = dict(getattr(record, _FIELDS, {}))
    if record.exc_info and record.exc_info[0] is not None:
        fields["exception"] = traceback.format_exception_only(*record.exc_info[:2])[-1].strip()
        fields["traceback"] = "".join(traceback.format_tb(record.exc_info[2]))
    return fields


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, (bool, int, float)) else printable(_cut(value))


def _quoted(text: str) -> str:
    if _BARE.fullmatch(text) and text.isprintable():
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(escaped)}"'


def _cut(value: object) -> str:
    """Return the value as text, cut in the middle if it is long: a traceback and a message end with what matters."""
    text = str(value)
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return f"{text[:half]} ... {len(text) - 2 * half} characters ... {text[-half:]}"
