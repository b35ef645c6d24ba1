"""Ports, time spans and points in time."""

from datetime import UTC, datetime
from typing import Self

from nftsvc.values.text import Scalar, as_text, quoted

MAX_PORT = 65535
DAY = 86400


class Port(int):
    """A port number, 1-65535. Manifests may also say 0 where that means "none" (`spec.ports[].nodePort`)."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the number; ValueError says what is wrong with it."""
        if type(value) is not int or not 1 <= value <= MAX_PORT:
            raise ValueError(f"{quoted(value)} is not a port number (1-{MAX_PORT})")
        return cls(value)


class NodePort(Port):
    """`spec.ports[].nodePort`: a port number, or 0 for none."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the number; ValueError says what is wrong with it."""
        return cls(0) if type(value) is int and value == 0 else super().parse(value)


class Seconds(int):
    """`spec.sessionAffinityConfig.clientIP.timeoutSeconds`: a time span of 1 second to a day."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the number; ValueError says what is wrong with it."""
        if type(value) is not int or not 1 <= value <= DAY:
            raise ValueError(f"{quoted(value)} is not a number of seconds (1-{DAY})")
        return cls(value)


class Timestamp(Scalar):
    """An RFC 3339 time, rewritten to UTC so that text order is time order."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the time; ValueError says what is wrong with it."""
        try:
            moment = datetime.fromisoformat(as_text(value, "a time"))
            if moment.tzinfo is None:
                raise ValueError  # noqa: TRY301 - a time without a zone is none
            in_utc = moment if moment.tzinfo is UTC else moment.astimezone(UTC)
            return cls(in_utc.replace(tzinfo=None).isoformat(timespec="microseconds") + "+00:00")
        except (ValueError, OverflowError):
            raise ValueError(f"{quoted(value)} is not an RFC 3339 time") from None
