"""Packets with an expected fate: the rows of a case's `packets.toml`, strictly read, and what a judge finds for one.

Nothing here knows nftables or the kernel; whoever judges packets (a real kernel, a model) takes a Packet and returns an
Outcome, and `disagreement` says in words how the two differ.
"""

import ipaddress
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

Endpoint = tuple[str, int]
Masquerade = bool | Literal["hairpin"] | None

NODE = ("192.0.2.11", "2001:db8::11")
SECOND = ("192.0.2.111", "2001:db8::111")
GATEWAY = ("10.244.1.1", "fd00:244:1::1")
NODE_ADDRESSES = frozenset((*NODE, *SECOND, *GATEWAY))
PODS = ("10.244.1.0/24", "fd00:244:1::/64")
BRIDGE = "cbr0"
BRIDGE_PODS = range(200, 210)
_ENDS = ("192.0.2.0/24", "2001:db8::/64", "10.244.0.0/16", "fd00:244::/32")  # where Pods and nodes are
_ELSEWHERE = (
    *("198.51.100.0/24", "2001:db8:100::/64"),  # clients
    *("10.96.0.0/12", "fd00:96::/108", "203.0.113.0/24", "2001:db8:203::/64"),  # Services
)

_TARGET = re.compile(
    r"(?:\[(?P<six>[0-9a-f:]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})(?:/(?P<protocol>TCP|UDP|SCTP))?"
)
_KEYS = {"note", "from", "to", "expect", "endpoints", "masquerade", "affinity", "interface"}
_FORWARD_ONLY = ("endpoints", "masquerade", "affinity")
_EXPECT = ("forward", "reject", "drop", "pass")


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, and what must happen to it."""

    source: str
    address: str
    port: int
    protocol: str
    expect: str
    endpoints: frozenset[Endpoint] = frozenset()
    masquerade: Masquerade = None
    affinity: bool = False
    interface: str = ""
    note: str = ""

    @property
    def six(self) -> bool:
        return ":" in self.address

    @property
    def destination(self) -> Endpoint:
        return self.address, self.port

    def __str__(self) -> str:
        at = f"[{self.address}]" if self.six else self.address
        return f"{self.source} -> {at}:{self.port}/{self.protocol}" + (f" ({self.note})" if self.note else "")


@dataclass(frozen=True)
class Outcome:
    """What a judge found.

    `masqueraded` are those endpoints that saw an address other than the sender's; after `pass`, the destination, if it
    saw one. `sticky`: a second connection reached the same endpoint; only looked at where the packet says `affinity`.
    A judge that found several fates names them all in `verdict` (`drop+forward`), and may use words that no packet
    expects.
    """

    verdict: str
    endpoints: frozenset[Endpoint] = frozenset()
    masqueraded: frozenset[Endpoint] = frozenset()
    sticky: bool = False


def expected_outcome(packet: Packet) -> Outcome:
    """Return what a judge who sees everything finds where all is well."""
    return Outcome(packet.expect, packet.endpoints, _masqueraded(packet, packet.endpoints), packet.affinity)


def disagreement(packet: Packet, outcome: Outcome) -> str:
    """Say how an outcome differs from what the packet expects; "" if it does not.

    With affinity a client that really connects reaches one of the endpoints and stays there: one is enough.
    """
    expected = expected_outcome(packet)
    if packet.affinity and outcome.endpoints and outcome.endpoints < packet.endpoints:
        some = outcome.endpoints
        expected = Outcome(expected.verdict, some, _masqueraded(packet, some), expected.sticky)
    wrong = [
        f"{field.name} {_shown(getattr(outcome, field.name))} instead of {_shown(getattr(expected, field.name))}"
        for field in fields(Outcome)
        if getattr(outcome, field.name) != getattr(expected, field.name)
    ]
    return f"{packet}: {'; '.join(wrong)}" if wrong else ""


def _masqueraded(packet: Packet, endpoints: frozenset[Endpoint]) -> frozenset[Endpoint]:
    if packet.masquerade == "hairpin":
        return frozenset(one for one in endpoints if one[0] == packet.source)
    return endpoints if packet.masquerade else frozenset()


def _shown(value: object) -> str:
    if isinstance(value, frozenset):
        return "{" + ", ".join(f"{address} {port}" for address, port in sorted(value)) + "}"
    return str(value)


def pod_number(address: str) -> int | None:
    """Return the number of the Pod of node-a that has an address: 7 for 10.244.1.7 and for fd00:244:1::7."""
    if address in NODE_ADDRESSES or not _within(address, *PODS):
        return None
    last = re.split("[.:]", address)[-1]
    return int(last) if last.isdecimal() else None


def _within(address: str, *networks: str) -> bool:
    return any(ipaddress.ip_address(address) in ipaddress.ip_network(one) for one in networks)


# reading --------------------------------------------------------------------------------------------------------------


def packets_of(folder: Path) -> tuple[Packet, ...]:
    """Read a case's packets; none if it has no such file. AssertionError names the file and the row (from 1)."""
    file = folder / "packets.toml"
    if not file.exists():
        return ()
    name = f"{folder.name}/{file.name}"
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise AssertionError(f"{name}: {error}") from error
    rows = content.get("packet")
    assert content.keys() == {"packet"}, f"{name}: holds {sorted(content)}, not [[packet]] alone"
    assert isinstance(rows, list), f"{name}: write [[packet]], not [packet]"
    made: dict[tuple[str, str, int, str, str], int] = {}
    packets = []
    for number, row in enumerate(rows, start=1):
        where = f"{name}: packet {number}"
        assert isinstance(row, dict), f"{where} is no table"
        try:
            packet = _packet(row)
        except ValueError as error:
            raise AssertionError(f"{where}: {error}") from error
        key = (packet.source, packet.address, packet.port, packet.protocol, packet.interface)
        assert key not in made, f"{where} is packet {made[key]} again"
        made[key] = number
        packets.append(packet)
    return tuple(packets)


def _packet(row: dict[str, object]) -> Packet:
    """Return one row's packet; ValueError says what is wrong with the row."""
    _check_keys(row)
    address, port, protocol = _target(_text(row, "to"))
    packet = Packet(
        source=_address(_text(row, "from")),
        address=address,
        port=port,
        protocol=protocol or "TCP",
        expect=_text(row, "expect"),
        endpoints=frozenset(_endpoints(row.get("endpoints", []))),
        masquerade=_masquerade(row.get("masquerade")),
        affinity=_flag(row.get("affinity", False)),
        interface=_text(row, "interface") if "interface" in row else "",
        note=_text(row, "note") if "note" in row else "",
    )
    for complaint in _contradictions(packet):
        raise ValueError(complaint)
    return packet


def _check_keys(row: dict[str, object]) -> None:
    if unknown := row.keys() - _KEYS:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    if row.get("expect") not in _EXPECT:
        raise ValueError(f"expect must be one of {', '.join(_EXPECT)}, not {row.get('expect')!r}")
    forward = row["expect"] == "forward"
    needed = {"from", "to"} | ({"endpoints", "masquerade"} if forward else set())
    if missing := needed - row.keys():
        raise ValueError(f"{', '.join(sorted(missing))} missing")
    if not forward and (extra := [key for key in _FORWARD_ONLY if key in row]):
        raise ValueError(f"{', '.join(extra)} goes with forward, not with {row['expect']}")


def _contradictions(packet: Packet) -> Iterator[str]:
    yield from _misplaced(packet)
    reachable = {address for address, _ in packet.endpoints}
    if any((":" in address) != packet.six for address in (packet.source, *reachable)):
        yield "two families in one packet"
    if packet.expect == "forward" and not packet.endpoints:
        yield "forward to no endpoint"
    if packet.masquerade == "hairpin" and packet.source not in reachable:
        yield "hairpin, but the sender is none of the endpoints"
    if packet.interface and not _fits(packet.interface, packet.source):
        yield f"packets from {packet.source} do not come in through {packet.interface}"


def _misplaced(packet: Packet) -> Iterator[str]:
    endpoints = sorted({address for address, _ in packet.endpoints})
    if not _within(packet.source, *_ENDS, *_ELSEWHERE) or packet.source in SECOND + GATEWAY:
        yield f"nobody sends from {packet.source}"
    if not _within(packet.address, *_ENDS, *_ELSEWHERE):
        yield f"{packet.address} is in no range that an address may be of"
    for address in endpoints:
        if not _within(address, *_ENDS):
            yield f"{address} is no Pod's and no node's"
    for address in (packet.source, packet.address, *endpoints):
        if _within(address, *PODS) and address not in GATEWAY and pod_number(address) not in range(2, 255):
            yield f"{address} has no decimal number of 2 to 254 at its end"


def _fits(interface: str, source: str) -> bool:
    number = pod_number(source)
    if number is None:
        return interface.startswith("eth") and source not in NODE_ADDRESSES
    return interface == BRIDGE if number in BRIDGE_PODS else interface.startswith("veth")


def _target(text: str) -> tuple[str, int, str | None]:
    match = _TARGET.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise ValueError(f"{text!r} is not like 10.96.0.10:80/UDP or [fd00:96::10]:80")
    return _address(match["six"] or match["four"]), int(match["port"]), match["protocol"]


def _address(text: str) -> str:
    if text != str(ipaddress.ip_address(text)):
        raise ValueError(f"{text} is spelled {ipaddress.ip_address(text)}")
    return text


def _endpoints(value: object) -> Iterator[Endpoint]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("endpoints must be a list of address:port")
    if len(set(value)) < len(value):
        raise ValueError("an endpoint twice")
    for one in value:
        address, port, protocol = _target(one)
        if protocol is not None:
            raise ValueError(f"endpoint {one}: the protocol is that of the packet")
        yield address, port


def _masquerade(value: object) -> Masquerade:
    match value:
        case bool() | None:
            return value
        case "hairpin":
            return "hairpin"
        case _:
            raise ValueError(f"masquerade must be true, false or 'hairpin', not {value!r}")


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"affinity must be true or false, not {value!r}")  # noqa: TRY004 - one error type for a row
    return value


def _text(row: dict[str, object], key: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value or "\n" in value:
        raise ValueError(f"{key} must be text in one line")
    return value
