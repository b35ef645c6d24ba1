"""The small values everything else is made of, valid by construction: addresses, ports, names, choices.

Each class is built by its `parse`, which takes what a manifest said (any type) and raises ValueError with a message fit
for a user. A value that exists is safe to print into nft text.
"""

import ipaddress
import re
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Self

MAX_PORT = 65535
MAX_LABEL = 63
MAX_SUBDOMAIN = 253
MAX_PORT_NAME = 15
MOST_DIGITS = 40

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DOTTED = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10}){3}")


class Family(StrEnum):
    """An IP family, as Kubernetes spells it (`spec.ipFamilies`)."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"


FAMILIES = tuple(Family)


def quoted(value: object, limit: int = 60) -> str:
    """Show a manifest's value in a message: quoted if text, cut if long, in one line."""
    text = _written(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."


def _written(value: object) -> str:
    """Write a value as manifests write it; text in quotes, so that control characters show and end nothing."""
    match value:
        case None | bool():
            return {None: "null", True: "true", False: "false"}[value]
        case str():
            return repr(str(value))
        case int() | float():
            huge = isinstance(value, int) and abs(value) >= 10**MOST_DIGITS
            return f"a number of more than {MOST_DIGITS} digits" if huge else str(value)
        case _:
            return "a list" if isinstance(value, list) else "a mapping"


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is not {expected}")  # noqa: TRY004 - one error type for decoding
    return value


class Scalar(str):
    """A validated piece of text; subclasses say which text is valid."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the value if it is valid; ValueError otherwise."""
        raise NotImplementedError


class Address(Scalar):
    """An IPv4 or IPv6 address in canonical spelling that traffic may be sent to.

    Unspecified, loopback, link-local, multicast and broadcast addresses are refused, as the API server refuses them for
    endpoints (ValidateNonSpecialIP), and so are IPv4-mapped ones, which would change family. Zeros in front of an octet
    are decimal, as in Kubernetes' lenient parser.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the canonical address; ValueError says what is wrong with it."""
        return cls(_usable_address(_text(value, "an IP address")))

    @property
    def family(self) -> Family:
        """Which IP family the address belongs to."""
        return Family.IPV6 if ":" in self else Family.IPV4


@lru_cache(maxsize=65536)
def _usable_address(text: str) -> str:
    address = _parsed_address(text)
    for special, adjective in (
        (address.is_unspecified, "the unspecified address"),
        (address.is_loopback, "a loopback address"),
        (address.is_link_local, "a link-local address"),
        (address.is_multicast, "a multicast address"),
        (address == ipaddress.IPv4Address(0xFFFFFFFF), "the broadcast address"),
        (address.version == 4 and int(address) < 1 << 24, "an address of 0.0.0.0/8"),  # noqa: PLR2004
        (isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped, "an IPv4-mapped IPv6 address"),
    ):
        if special:
            raise ValueError(f"{text} is {adjective}, which traffic must not be sent to")
    return str(address)


def is_ip_address(text: str) -> bool:
    """Tell whether the text is an IP address at all, of whatever kind."""
    try:
        _parsed_address(text)
    except ValueError:
        return False
    return True


def _parsed_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if _DOTTED.fullmatch(text):
        text = ".".join(str(int(octet)) for octet in text.split("."))
    try:
        if "%" in text:
            raise ValueError  # noqa: TRY301 - a zone is this machine's, never a cluster's
        return ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address") from None


@lru_cache(maxsize=65536)
def address_order(address: str) -> bytes:
    """Return a key that sorts addresses of one family by number, not by spelling."""
    return ipaddress.ip_address(address).packed


class OptionalAddress(Scalar):
    """An address, or empty while there is none (`status.podIP` of a Pod that does not run yet)."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the canonical value; ValueError says what is wrong with it."""
        return cls(value if value == "" else Address.parse(value))


class ClusterIP(Scalar):
    """`spec.clusterIP`: an address, `None` for a headless Service, or empty while none is allocated."""

    __slots__ = ()
    HEADLESS: ClassVar[str] = "None"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the canonical value; ValueError says what is wrong with it."""
        text = _text(value, "an IP address")
        return cls(text if text in ("", cls.HEADLESS) else Address.parse(text))

    @property
    def address(self) -> Address | None:
        """The address, or None for a headless or not yet allocated Service."""
        return None if self in ("", self.HEADLESS) else Address(self)


class Subdomain(Scalar):
    """A DNS-1123 subdomain: what most objects are named by. Empty where a name is not given."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the name; ValueError says what is wrong with it."""
        text = _text(value, "a name")
        if text and not is_subdomain(text):
            raise ValueError(
                f"{quoted(text)} is not a DNS name (a-z, 0-9, '-', '.'; at most {MAX_SUBDOMAIN} characters)"
            )
        return cls(text)


def is_subdomain(text: str) -> bool:
    """Tell whether the text is a DNS-1123 subdomain."""
    return len(text) <= MAX_SUBDOMAIN and _SUBDOMAIN.fullmatch(text) is not None


class Label(Scalar):
    """A DNS-1123 label: namespaces, Services and Service ports are named by one. Empty where a name is not given."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the label; ValueError says what is wrong with it."""
        text = _text(value, "a name")
        if text and not is_label(text):
            raise ValueError(f"{quoted(text)} is not a DNS label (a-z, 0-9, '-'; at most {MAX_LABEL} characters)")
        return cls(text)


def is_label(text: str) -> bool:
    """Tell whether the text is a DNS-1123 label."""
    return len(text) <= MAX_LABEL and _LABEL.fullmatch(text) is not None


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


class TargetPort(Scalar):
    """`spec.ports[].targetPort`: a number (as text), the name of a container port, or empty for the Service's port."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the target; ValueError says what is wrong with it."""
        if type(value) is int:
            return cls("" if value == 0 else Port.parse(value))
        text = _text(value, "a port number or the name of a container port")
        letters = any(character.isalpha() for character in text)
        if text and not (len(text) <= MAX_PORT_NAME and _LABEL.fullmatch(text) and "--" not in text and letters):
            raise ValueError(
                f"{quoted(text)} is not a port number or the name of a container port"
                f" (a-z, 0-9, '-', at least one letter; at most {MAX_PORT_NAME} characters)"
            )
        return cls(text)


class Timestamp(Scalar):
    """An RFC 3339 time, rewritten to UTC so that text order is time order."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the time; ValueError says what is wrong with it."""
        try:
            moment = datetime.fromisoformat(_text(value, "a time"))
            if moment.tzinfo is None:
                raise ValueError  # noqa: TRY301 - a time without a zone is none
            return cls(moment.astimezone(UTC).isoformat(timespec="microseconds"))
        except (ValueError, OverflowError):
            raise ValueError(f"{quoted(value)} is not an RFC 3339 time") from None


class Choice(Scalar):
    """One of a few words."""

    __slots__ = ()
    choices: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the word; ValueError lists the known ones."""
        if not isinstance(value, str) or value not in cls.choices:
            raise ValueError(f"{quoted(value)} is not one of {', '.join(cls.choices)}")
        return cls(value)


class Protocol(Choice):
    """`ports[].protocol`."""

    __slots__ = ()
    choices = ("TCP", "UDP", "SCTP")


class ServiceType(Choice):
    """`spec.type` of a Service."""

    __slots__ = ()
    choices = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")


class TrafficPolicy(Choice):
    """`spec.internalTrafficPolicy` and `spec.externalTrafficPolicy`."""

    __slots__ = ()
    choices = ("Cluster", "Local")


class SessionAffinity(Choice):
    """`spec.sessionAffinity`."""

    __slots__ = ()
    choices = ("None", "ClientIP")
