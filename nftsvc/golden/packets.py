"""Packets with an expected fate: the rows of a case's `packets.toml`, strictly read, and what a judge finds for one.

Nothing here knows nftables or a plan; whoever judges packets (`nftsvc.golden.judging` by `nftsvc explain`; a reading of
the ruleset and a real kernel in nftsvc's own tests) takes a Packet and returns an Outcome, and `disagreement` says in
words how the two differ.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from nftsvc.errors import InputError, Problem, printable
from nftsvc.golden.reading import toml_of
from nftsvc.values import InterfaceName, authority, quoted

PACKETS = "packets.toml"

Endpoint = tuple[str, int]
Masquerade = bool | Literal["hairpin"] | None

_TARGET = re.compile(
    r"(?:\[(?P<six>[0-9a-f:]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]{1,5})(?:/(?P<protocol>TCP|UDP|SCTP))?", re.ASCII
)
_KEYS = ("note", "from", "to", "expect", "endpoints", "masquerade", "affinity", "interface")
_FORWARD_ONLY = ("endpoints", "masquerade", "affinity")
_EXPECT = ("forward", "reject", "drop", "pass")


@dataclass(frozen=True)
class Packet:
    """The first packet of a connection, and what must happen to it.

    `expect` is forward, reject, drop or pass. With forward: exactly these `endpoints` may be reached; `masquerade` says
    whether they see an address of the node as its source, `hairpin` that only the sender itself does; with `affinity`
    a second connection reaches the same. `interface` is where it comes in, "" if that does not matter.
    """

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
        """Whether it is an IPv6 packet."""
        return ":" in self.address

    @property
    def destination(self) -> Endpoint:
        """Where it is sent: address and port."""
        return self.address, self.port

    def __str__(self) -> str:
        to = f"{authority(self.address, self.port)}/{self.protocol}"
        return f"{self.source} -> {to}" + (f" ({printable(self.note)})" if self.note else "")


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

    What another fate brings with it is not said again. With affinity a client that really connects reaches one of the
    endpoints and stays there: one is enough.
    """
    expected = expected_outcome(packet)
    if packet.affinity and outcome.endpoints and outcome.endpoints < packet.endpoints:
        some = outcome.endpoints
        expected = Outcome(expected.verdict, some, _masqueraded(packet, some), expected.sticky)
    if outcome.verdict != packet.expect and outcome.verdict in _EXPECT:
        return f"{packet}: {outcome.verdict} instead of {packet.expect}"
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


# Reading -------------------------------------------------------------------------------------------------------------


def read_packets(folder: Path) -> tuple[Packet, ...]:
    """Read a case's packets; none if it has no such file. InputError names file, row (from 1) and field."""
    content = toml_of(folder, PACKETS)
    if content is None:
        return ()
    rows = content.get("packet")
    if content.keys() != {"packet"}:
        held = ", ".join(map(quoted, sorted(content))) or "nothing"
        raise InputError((Problem(f"holds {held}, not [[packet]] alone", PACKETS),))
    if not isinstance(rows, list):
        raise InputError((Problem("write [[packet]], not [packet]", PACKETS),))
    packets, problems = [], list[Problem]()
    made: dict[tuple[str, str, int, str, str], int] = {}
    for number, row in enumerate(rows, start=1):
        try:
            packet = _packet(row)
            key = (packet.source, packet.address, packet.port, packet.protocol, packet.interface)
            if made.setdefault(key, number) != number:
                raise ValueError(f"packet {number} is packet {made[key]} again")  # noqa: TRY301 - one way out of a row
            packets.append(packet)
        except ValueError as error:
            problems.append(Problem(str(error), f"{PACKETS}: packet {number}"))
    if problems:
        raise InputError(tuple(problems))
    return tuple(packets)


def _packet(row: object) -> Packet:
    """Return one row's packet; ValueError says what is wrong with the row."""
    if not isinstance(row, dict):
        raise ValueError("is no table")  # noqa: TRY004 - one error type for a row
    _check_keys(row)
    address, port, protocol = _target("to", _text(row, "to"))
    packet = Packet(
        source=_address("from", _text(row, "from")),
        address=address,
        port=port,
        protocol=protocol or "TCP",
        expect=_text(row, "expect"),
        endpoints=frozenset(_endpoints(row.get("endpoints", []))),
        masquerade=_masquerade(row.get("masquerade")),
        affinity=_flag(row.get("affinity", False)),
        interface=_interface(row),
        note=_text(row, "note") if "note" in row else "",
    )
    for complaint in _contradictions(packet):
        raise ValueError(complaint)
    return packet


def _check_keys(row: Mapping[str, object]) -> None:
    if unknown := row.keys() - set(_KEYS):
        raise ValueError(f"unknown {', '.join(printable(one) for one in sorted(unknown))} (known: {', '.join(_KEYS)})")
    if row.get("expect") not in _EXPECT:
        raise ValueError(f"expect must be one of {', '.join(_EXPECT)}, not {quoted(row.get('expect'))}")
    forward = row["expect"] == "forward"
    needed = {"from", "to"} | ({"endpoints", "masquerade"} if forward else set())
    if missing := needed - row.keys():
        raise ValueError(f"{', '.join(sorted(missing))} missing")
    if not forward and (extra := [key for key in _FORWARD_ONLY if key in row]):
        raise ValueError(f"{', '.join(extra)} goes with forward, not with {row['expect']}")


def _contradictions(packet: Packet) -> Iterator[str]:
    reachable = {address for address, _ in packet.endpoints}
    if any((":" in address) != packet.six for address in (packet.source, *reachable)):
        yield "two families in one packet"
    if packet.expect == "forward" and not packet.endpoints:
        yield "forward to no endpoint"
    if packet.masquerade == "hairpin" and packet.source not in reachable:
        yield "hairpin, but the sender is none of the endpoints"


def _target(key: str, text: str) -> tuple[str, int, str | None]:
    match = _TARGET.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 1 << 16:
        raise ValueError(f"{key}: {quoted(text)} is not like 10.96.0.10:80/UDP or [fd00:96::10]:80")
    return _address(key, match["six"] or match["four"]), int(match["port"]), match["protocol"]


def _address(key: str, text: str) -> str:
    try:
        spelled = str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
    if text != spelled:
        raise ValueError(f"{key}: {text} is spelled {spelled}")
    return text


def _endpoints(value: object) -> Iterator[Endpoint]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("endpoints must be a list of address:port")
    if len(set(value)) < len(value):
        raise ValueError("endpoints: an endpoint twice")
    for one in value:
        address, port, protocol = _target("endpoints", one)
        if protocol is not None:
            raise ValueError(f"endpoints: {quoted(one)}: the protocol is that of the packet")
        yield address, port


def _masquerade(value: object) -> Masquerade:
    match value:
        case bool() | None:
            return value
        case "hairpin":
            return "hairpin"
        case _:
            raise ValueError(f"masquerade must be true, false or 'hairpin', not {quoted(value)}")


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"affinity must be true or false, not {quoted(value)}")  # noqa: TRY004 - one error type for a row
    return value


def _interface(row: Mapping[str, object]) -> str:
    try:
        return str(InterfaceName.parse(_text(row, "interface"))) if "interface" in row else ""
    except ValueError as error:
        raise ValueError(f"interface: {error}") from error


def _text(row: Mapping[str, object], key: str) -> str:
    value = row[key]
    if not isinstance(value, str) or not value or "\n" in value:
        raise ValueError(f"{key} must be text in one line")
    return value
