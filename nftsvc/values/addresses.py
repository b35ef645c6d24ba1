"""IP addresses and networks, in canonical spelling."""

import ipaddress
import re
from collections.abc import Iterable
from enum import StrEnum
from functools import lru_cache
from typing import ClassVar, Self

from nftsvc.values.text import Scalar, as_text, quoted

MAX_PREFIX_DIGITS = 3

# What nearly every address of a cluster looks like: four plain numbers, of no kind that is refused. To see that costs
# little, to remember it a lot.
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_PLAIN = re.compile(rf"(?!127[.]|169[.]254[.])(?:22[0-3]|2[01][0-9]|1[0-9]{{2}}|[1-9][0-9]?)(?:[.]{_OCTET}){{3}}")

_DOTTED = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10}){3}")


class Family(StrEnum):
    """An IP family, as Kubernetes spells it (`spec.ipFamilies`)."""

    IPV4 = "IPv4"
    IPV6 = "IPv6"

    __hash__ = str.__hash__  # Enum's own is written in Python, and families are part of many keys


FAMILIES = tuple(Family)


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
        if isinstance(value, str) and _PLAIN.fullmatch(value):
            return cls(value)
        return cls(_usable_address(as_text(value, "an IP address")))

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


def any_address(text: str) -> Address:
    """Return an IP address that packets may carry, in canonical spelling; ValueError says why the text is none."""
    address = _parsed_address(text)
    if address.is_unspecified:
        raise ValueError(f"{text} is the unspecified address")
    return Address(str(address))


def authority(address: str, port: int) -> str:
    """Write `address:port`, an IPv6 address in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


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


def address_order(address: str) -> bytes:
    """Return a key that sorts addresses and networks of one family by number, not by spelling; both are canonical."""
    if ":" not in address and "/" not in address:
        return bytes(map(int, address.split(".")))
    return _order_of_others(address)


@lru_cache(maxsize=8192)
def _order_of_others(address: str) -> bytes:
    if "/" in address:
        network = _as_network(address)
        return network.network_address.packed + bytes((network.prefixlen,))
    return ipaddress.IPv6Address(address).packed


class Prefix(Scalar):
    """A network in canonical spelling, host bits zero (`10.0.0.0/8`); a single address is written without its length.

    White space around it is taken off, as Kubernetes does for `loadBalancerSourceRanges`.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the canonical network; ValueError says what is wrong with it."""
        return cls(_network(as_text(value, "a network such as 10.0.0.0/8").strip()))

    @property
    def family(self) -> Family:
        """Which IP family the network belongs to."""
        return Family.IPV6 if ":" in self else Family.IPV4

    @property
    def length(self) -> int:
        """How many bits all its addresses have in common; 0 is the whole family."""
        return _as_network(self).prefixlen

    def covers(self, address: str) -> bool:
        """Tell whether an address belongs to the network; those of the other family do not."""
        first, last = _bounds(self)
        packed = address_order(address)
        return len(packed) == len(first) and first <= packed <= last


Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@lru_cache(maxsize=65536)
def _as_network(text: str) -> Network:
    return ipaddress.ip_network(text)


@lru_cache(maxsize=8192)
def _bounds(text: str) -> tuple[bytes, bytes]:
    network = _as_network(text)
    return network.network_address.packed, network.broadcast_address.packed


def _network(text: str) -> str:
    address, slash, length = text.partition("/")
    if not (slash and length.isdecimal() and length.isascii() and len(length) <= MAX_PREFIX_DIGITS):
        raise ValueError(
            f"{quoted(text)} is not a network (an address, a slash and a number of bits, as in 10.0.0.0/8)"
        )
    parsed = _parsed_address(address)
    if int(length) > parsed.max_prefixlen:
        raise ValueError(f"{quoted(text)} is not a network: the address has {parsed.max_prefixlen} bits")
    return _written_network(ipaddress.ip_network((parsed, int(length)), strict=False))


def _written_network(network: Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)


def without_overlaps(prefixes: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """Return the same addresses as few networks in order; all of one family. The kernel takes no overlaps in a set."""
    networks = [_as_network(one) for one in prefixes]
    return tuple(Prefix(_written_network(one)) for one in ipaddress.collapse_addresses(networks))  # type: ignore[type-var]


class NodePortAddress(Scalar):
    """Where node ports answer: `primary`, `all`, or a network whose local addresses are meant (`nodePortAddresses`)."""

    __slots__ = ()
    PRIMARY: ClassVar[str] = "primary"
    ALL: ClassVar[str] = "all"

    @classmethod
    def parse(cls, value: object) -> Self:
        """Return the word or the network; ValueError says what is wrong with it."""
        text = as_text(value, "primary, all or a network").strip()
        if text in (cls.PRIMARY, cls.ALL):
            return cls(text)
        if text == "localhost":
            raise ValueError(f"localhost {_NO_LOOPBACK}")
        network = Prefix.parse(text)
        if _as_network(network).is_loopback:
            raise ValueError(f"{network} {_NO_LOOPBACK}")
        return cls(network)

    @property
    def network(self) -> Prefix | None:
        """The network, or None for a word."""
        return None if self in (self.PRIMARY, self.ALL) else Prefix(self)


_NO_LOOPBACK = (
    "is not served: a packet to a loopback address cannot leave this machine once its destination is a pod's"
    " (route_localnet would let it, and everybody else to what listens on loopback here)"
)


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
        text = as_text(value, "an IP address")
        return cls(text if text in ("", cls.HEADLESS) else Address.parse(text))

    @property
    def address(self) -> Address | None:
        """The address, or None for a headless or not yet allocated Service."""
        return None if self in ("", self.HEADLESS) else Address(self)
