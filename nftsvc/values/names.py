"""The names of objects, ports and interfaces."""

import re
from typing import NamedTuple, Self

from nftsvc.values.numbers import Port
from nftsvc.values.text import Scalar, as_text, quoted

MAX_LABEL = 63
MAX_SUBDOMAIN = 253
MAX_PORT_NAME = 15
MAX_INTERFACE = 15

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_INTERFACE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*")


class Subdomain(Scalar):
    """A DNS-1123 subdomain: what most objects are named by. Empty where a name is not given."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the name; ValueError says what is wrong with it."""
        text = as_text(value, "a name")
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
        text = as_text(value, "a name")
        if text and not is_label(text):
            raise ValueError(f"{quoted(text)} is not a DNS label (a-z, 0-9, '-'; at most {MAX_LABEL} characters)")
        return cls(text)


def is_label(text: str) -> bool:
    """Tell whether the text is a DNS-1123 label."""
    return len(text) <= MAX_LABEL and _LABEL.fullmatch(text) is not None


class TargetPort(Scalar):
    """`spec.ports[].targetPort`: a number (as text), the name of a container port, or empty for the Service's port."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the target; ValueError says what is wrong with it."""
        if type(value) is int:
            return cls("" if value == 0 else Port.parse(value))
        text = as_text(value, "a port number or the name of a container port")
        letters = any(character.isalpha() for character in text)
        if text and not (len(text) <= MAX_PORT_NAME and _LABEL.fullmatch(text) and "--" not in text and letters):
            raise ValueError(
                f"{quoted(text)} is not a port number or the name of a container port"
                f" (a-z, 0-9, '-', at least one letter; at most {MAX_PORT_NAME} characters)"
            )
        return cls(text)


class InterfaceName(Scalar):
    """The name of a network interface, or how such names begin."""

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the name; ValueError says what is wrong with it."""
        text = as_text(value, "the name of a network interface")
        if len(text) > MAX_INTERFACE or not _INTERFACE.fullmatch(text):
            raise ValueError(
                f"{quoted(text)} is not the name of a network interface"
                f" (letters, digits, '-', '_', '.'; at most {MAX_INTERFACE} characters)"
            )
        return cls(text)


class ServiceKey(NamedTuple):
    """What a Service is known by."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """Write `namespace/name`."""
        return f"{self.namespace}/{self.name}"
