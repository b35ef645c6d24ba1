"""Spans of time as Kubernetes' configuration files write them: `30s`, `1m30s`, `1.5h`."""

import re
from typing import Self

from nftsvc.values import quoted

_UNITS = {
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "\u00b5s": 1_000,  # micro sign
    "\u03bcs": 1_000,  # Greek mu
    "ns": 1,
}
_SECOND = _UNITS["s"]
_PART = re.compile(rf"(?P<whole>[0-9]*)(?:\.(?P<fraction>[0-9]*))?(?P<unit>{'|'.join(sorted(_UNITS, key=len)[::-1])})")
_MOST_CHARACTERS = 100


class Duration(int):
    """A span of time in nanoseconds, which may be negative. Written as Go writes it.

    Source: `metav1.Duration`, which is Go's time.ParseDuration. Go multiplies fractions in floating point; here they
    are exact, what is less than a nanosecond is cut off.
    """

    __slots__ = ()
    MOST = 2**63 - 1

    @classmethod
    def parse(cls, value: object) -> Self:
        """Read a span of time; ValueError says what is wrong with it."""
        if isinstance(value, str) and len(value) <= _MOST_CHARACTERS:
            sign, magnitude = (-1, value[1:]) if value.startswith("-") else (1, value.removeprefix("+"))
            nanoseconds = 0 if magnitude == "0" else _sum_of_parts(magnitude)
            if nanoseconds is not None and nanoseconds <= cls.MOST + (sign < 0):
                return cls(sign * nanoseconds)
        raise ValueError(f"{quoted(value)} is not a duration (such as 30s, 1m30s or 1.5h)")

    @classmethod
    def of(cls, seconds: int) -> Self:
        """Return a span of whole seconds."""
        return cls(seconds * _SECOND)

    @classmethod
    def of_milliseconds(cls, milliseconds: int) -> Self:
        """Return a span of whole milliseconds."""
        return cls(milliseconds * _SECOND // 1000)

    @property
    def seconds(self) -> float:
        """The span in seconds."""
        return self / _SECOND

    def __str__(self) -> str:
        """Write the span as Go does: `1m30s`, `1.5s`, `250ms`, `0s`."""
        sign, rest = ("-", -self) if self < 0 else ("", int(self))
        if 0 < rest < _SECOND:
            unit = next(unit for unit in ("ms", "us", "ns") if rest >= _UNITS[unit])
            return f"{sign}{_decimal(rest, _UNITS[unit])}{unit}"
        minutes, nanoseconds = divmod(rest, _UNITS["m"])
        hours, minutes = divmod(minutes, 60)
        written = f"{hours}h" if hours else ""
        written += f"{minutes}m" if minutes or hours else ""
        return f"{sign}{written}{_decimal(nanoseconds, _SECOND)}s"


def _sum_of_parts(text: str) -> int | None:
    """Add up `1h30m`; None if the text is no such sum."""
    total = end = 0
    while end < len(text):
        part = _PART.match(text, end)
        if part is None or not (part["whole"] or part["fraction"]):
            return None
        unit, fraction = _UNITS[part["unit"]], part["fraction"] or "0"
        total += int(part["whole"] or "0") * unit + int(fraction) * unit // 10 ** len(fraction)
        end = part.end()
    return total if text else None


def _decimal(value: int, unit: int) -> str:
    """Write value/unit exactly, without zeros at the end; unit is a power of ten."""
    whole, rest = divmod(value, unit)
    digits = f"{rest:0{len(str(unit)) - 1}d}".rstrip("0") if rest else ""
    return f"{whole}.{digits}" if digits else str(whole)
