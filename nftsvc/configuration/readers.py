"""What a field of a configuration may say: each reader takes any value and returns ours, or raises ValueError.

Source of the ranges: kube-proxy's validation.go, v1.36.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from nftsvc.configuration.durations import Duration
from nftsvc.values import (
    FAMILIES,
    Address,
    Family,
    InterfaceName,
    NodePortAddress,
    Port,
    Prefix,
    any_address,
    authority,
    is_ip_address,
    is_subdomain,
    quoted,
)

_AUTHORITY = re.compile(r"(?:\[(?P<bracketed>[^\[\]]*)\]|(?P<plain>[^:\[\]]*)):(?P<port>[0-9]{1,5})")
_BITS = {Family.IPV4: 32, Family.IPV6: 128}
_LOCALHOST = "localhost"
_MOST = 3.4e38  # of a Go float32
_UNSPECIFIED = {Family.IPV4: "0.0.0.0", Family.IPV6: "::"}  # noqa: S104 - compared and written, nothing is bound here


class WrongEntries(ValueError):
    """Some entries of a list or mapping are wrong: `entries` are (where in it, what is wrong)."""

    def __init__(self, entries: tuple[tuple[str, str], ...]) -> None:
        super().__init__("; ".join(message for _, message in entries))
        self.entries = entries


def boolean(value: object) -> bool:
    """Read `true` or `false`."""
    if not isinstance(value, bool):
        raise ValueError(f"{quoted(value)} is not true or false")  # noqa: TRY004 - one error type for readers
    return value


def text(value: object) -> str:
    """Read any text."""
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is not text")  # noqa: TRY004
    return value


def anything(value: object) -> object:
    """Read a field whose value means nothing here."""
    return value


def whole_number(lowest: int, highest: int = 2**31 - 1) -> Callable[[object], int]:
    """Return the reader of a whole number within these bounds."""

    def read(value: object) -> int:
        if type(value) is not int or not lowest <= value <= highest:
            raise ValueError(f"{quoted(value)} is not a whole number from {lowest} to {highest}")
        return value

    return read


def number(value: object) -> float:
    """Read a finite number."""
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not abs(value) <= _MOST:
        raise ValueError(f"{quoted(value)} is not a number")
    return float(value)


def one_of(*words: str) -> Callable[[object], str]:
    """Return the reader of one of these words or nothing."""

    def read(value: object) -> str:
        if value != "" and value not in words:
            raise ValueError(f"{quoted(value)} is not one of {', '.join(words)}")
        return str(value)

    return read


def duration(value: object) -> Duration:
    """Read a span of time that is not negative."""
    found = Duration.parse(value)
    if found < 0:
        raise ValueError(f"{quoted(value)} is negative")
    return found


def duration_or_nanoseconds(value: object) -> Duration:
    """Read a span of time; a plain number is one of nanoseconds (Kubernetes: TimeOrMetaDuration)."""
    if type(value) is int and 0 <= value <= Duration.MOST:
        return Duration(value)
    return duration(value)


def node_name(value: object) -> str:
    """Read the name of a node, trimmed and in lower case; empty where none is given."""
    given = text(value)
    name = given.strip().lower()
    if given and not is_subdomain(name):
        raise ValueError(f"{quoted(given)} is not the name of a Node (a-z, 0-9, '-', '.')")
    return name


def interface(value: object) -> InterfaceName | None:
    """Read the name of a network interface, or how such names begin; None where none is given."""
    return None if value == "" else InterfaceName.parse(value)


def ip_address(value: object) -> str:
    """Read an IP address of any kind, in canonical spelling; empty where none is given."""
    given = text(value)
    if not given:
        return ""
    if not is_ip_address(given):
        raise ValueError(f"{quoted(given)} is not an IP address")
    try:
        return any_address(given)
    except ValueError:
        return _UNSPECIFIED[Family.IPV6 if ":" in given else Family.IPV4]


def is_unspecified(address: str) -> bool:
    """Tell whether an address in canonical spelling means every address."""
    return address in _UNSPECIFIED.values()


def node_address(address: str) -> Address | None:
    """Return an address that a node can be reached at; None for loopback, multicast and the like."""
    try:
        return Address.parse(address)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Listen:
    """Where a server listens: an IP address (`host`) and a port.

    An unspecified address (`0.0.0.0` or `::`) means every address of both families, as in Go.
    """

    host: str
    port: int

    def __str__(self) -> str:
        """Write `address:port`."""
        return authority(self.host, self.port)


def listen(port: int) -> Callable[[object], Listen | None]:
    """Return the reader of `address:port` or an address alone, which gets this port; None where none is given."""

    def read(value: object) -> Listen | None:
        given = text(value)
        if not given:
            return None
        match = _AUTHORITY.fullmatch(given)
        host = (match["bracketed"] or match["plain"] or "") if match is not None else given
        if not is_ip_address(host):
            raise ValueError(f"{quoted(given)} is not an IP address with a port (IPv6: [::1]:{port})")
        return Listen(ip_address(host), Port.parse(int(match["port"])) if match is not None else port)

    return read


def cluster_cidrs(value: object) -> tuple[Prefix, ...]:
    """Read one network, or one of each family with a comma between them."""
    given = text(value)
    found = tuple(map(Prefix.parse, given.split(","))) if given else ()
    if len({one.family for one in found}) < len(found):
        raise ValueError(f"{quoted(given)} is not one network or one of each IP family")
    return found


def prefixes(value: object) -> tuple[Prefix, ...]:
    """Read a list of networks."""
    found = _entries(value, Prefix.parse)
    return tuple(one for one in found if isinstance(one, Prefix))


@dataclass(frozen=True, slots=True)
class NodePortNetworks:
    """`nodePortAddresses`: what node ports answer on, and the loopback networks that they cannot answer on.

    `nowhere` are the families of which nothing is left; in `served` the unspecified address, which no packet is sent
    to, stands for that, for a family without an entry would be open.
    """

    served: tuple[NodePortAddress, ...] = ()
    left_out: tuple[str, ...] = ()
    nowhere: tuple[Family, ...] = ()

    @property
    def open_families(self) -> tuple[Family, ...]:
        """The families in which node ports answer on every address but loopback."""
        if not self.served:
            return ()
        if NodePortAddress.ALL in self.served:
            return FAMILIES
        networks = [one.network for one in self.served if one.network is not None]
        primary = NodePortAddress.PRIMARY in self.served
        return tuple(
            family
            for family in FAMILIES
            if any(one.family == family and not one.length for one in networks)
            or not (primary or any(one.family == family for one in networks))
        )


def node_port_addresses(value: object) -> NodePortNetworks:
    """Read networks and the words `primary`, `all` and `localhost` (kube-proxy 1.37 takes all of them together)."""
    found = _entries(value, _node_port_entry)
    served = tuple(one for one in found if isinstance(one, NodePortAddress))
    left_out = tuple(one for one in found if not isinstance(one, NodePortAddress))
    if {NodePortAddress.PRIMARY, NodePortAddress.ALL} & set(served):
        return NodePortNetworks(served, left_out)
    reached = {one.network.family for one in served if one.network is not None}
    nowhere = tuple(family for family in FAMILIES if family not in reached and _concerned(left_out, family))
    nobody = tuple(NodePortAddress.parse(f"{_UNSPECIFIED[family]}/{_BITS[family]}") for family in nowhere)
    return NodePortNetworks((*served, *nobody), left_out, nowhere)


def _concerned(left_out: tuple[str, ...], family: Family) -> bool:
    return any(one == _LOCALHOST or (":" in one) == (family is Family.IPV6) for one in left_out)


def _node_port_entry(value: object) -> str:
    """Return a NodePortAddress, or plain text for what stands for loopback."""
    given = text(value).strip()
    if given == _LOCALHOST:
        return given
    network = None if given in (NodePortAddress.PRIMARY, NodePortAddress.ALL) else Prefix.parse(given)
    try:
        return NodePortAddress.parse(given)
    except ValueError:  # a network, and no good: of loopback addresses
        return str(network)


def _entries(value: object, read: Callable[[object], str]) -> list[str]:
    if not isinstance(value, list):
        raise ValueError(f"{quoted(value)} is not a list")  # noqa: TRY004
    found, wrong = [], []
    for index, entry in enumerate(value):
        try:
            found.append(read(entry))
        except ValueError as error:
            wrong.append((f"[{index}]", str(error)))
    if wrong:
        raise WrongEntries(tuple(wrong))
    return found


def feature_gates(value: object) -> dict[str, bool]:
    """Read a mapping of names to true or false."""
    if not isinstance(value, dict):
        raise ValueError(f"{quoted(value)} is not a mapping")  # noqa: TRY004
    wrong = tuple(
        (
            f".{name}" if isinstance(name, str) and name.isalnum() else f"[{quoted(name)}]",
            f"{quoted(one)} is not true or false",
        )
        for name, one in value.items()
        if not isinstance(one, bool) or not isinstance(name, str)
    )
    if wrong:
        raise WrongEntries(wrong)
    return dict(value)
