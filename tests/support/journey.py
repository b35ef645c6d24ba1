"""One packet on its way through a table.

From elsewhere: prerouting, then input if its destination (by now translated) is this node's, else forward and
postrouting. Sent by the node: output and postrouting; if it is for the node itself, it comes back in through `lo`:
prerouting, input. NAT chains see a connection once for its destination (prerouting or output) and once for its source
(postrouting or input), filter chains each time.

Hashes are not the kernel's: any function will do, as long as it is the same when records are written and read.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from tests.support.dialect import (
    Chain,
    Concatenation,
    Dispatch,
    Dnat,
    Expression,
    Field,
    Fixed,
    Interface,
    Jhash,
    Key,
    Lookup,
    Member,
    NamedSet,
    Numgen,
    Outside,
    Protocol,
    Statement,
    Table,
    Update,
    Value,
    Verdict,
)
from tests.support.packets import BRIDGE, BRIDGE_PODS, NODE, NODE_ADDRESSES, Endpoint, Packet, pod_number

Chooser = Callable[[int], int]  # takes a count, returns a number below it; so does random.Random().randrange
Records = dict[tuple[str, str], dict[Key, tuple[Key, float]]]  # by family and map: key, data, when it expires

_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_OUTSIDE = "eth0"
_NAT = {"prerouting": "destination", "output": "destination", "input": "source", "postrouting": "source"}


@dataclass(frozen=True)
class Where:
    """What is around: the node's addresses, the one of each family that it masquerades as, and its interfaces."""

    addresses: frozenset[str] = NODE_ADDRESSES
    own: tuple[str, str] = NODE

    def is_local(self, address: Value) -> bool:
        """Tell what `fib ... type local` does."""
        if not isinstance(address, IPv4Address | IPv6Address):
            return False
        return str(address) in self.addresses or any(address in network for network in _LOOPBACK)

    def interface(self, packet: Packet) -> str:
        """Return where a packet comes in."""
        number = pod_number(packet.source)
        if packet.interface or number is None:
            return packet.interface or _OUTSIDE
        return BRIDGE if number in BRIDGE_PODS else f"veth{number}"


class Fate(NamedTuple):
    """What became of one packet: forward, reject, drop or pass; for forward, where to."""

    verdict: str
    endpoint: Endpoint | None = None
    masqueraded: bool = False


class Memory:
    """What packets have put into maps."""

    def __init__(self, records: Records | None = None, now: float = 0.0) -> None:
        self._records = defaultdict(dict, {name: dict(there) for name, there in (records or {}).items()})
        self.now = now

    def copy(self) -> "Memory":
        return Memory(self._records, self.now)

    def read(self, family: str, name: str, key: Key) -> Key | None:
        data, end = self._records[family, name].get(key, ((), self.now))
        return data if end > self.now else None

    def update(self, name: tuple[str, str], key: Key, data: Key, seconds: int, size: int) -> bool:
        """Add an element, or have the one that is there live on; return whether there was room."""
        there = self._records[name] = {one: kept for one, kept in self._records[name].items() if kept[1] > self.now}
        if key not in there and len(there) >= size:
            return False
        there[key] = (there.get(key, (data, 0.0))[0], self.now + seconds)
        return True


class _NoMatch(Exception):
    """The rule ends here."""


class Journey:
    """A packet on its way."""

    def __init__(self, table: Table, packet: Packet, where: Where, memory: Memory, choose: Chooser) -> None:
        self._table = table
        self._where = where
        self._memory = memory
        self._choose = choose
        self._protocol = packet.protocol.lower()
        self._source = ip_address(packet.source)
        self._original: tuple[IPv4Address | IPv6Address, int] = (ip_address(packet.address), packet.port)
        self._destination = self._original
        self._from_here = where.is_local(self._source)
        self._interface = "" if self._from_here else where.interface(packet)
        self._translated = False
        self._masqueraded = False
        self._asked: set[str] = set()  # which ends of the connection the NAT chains were asked about

    def fate(self) -> Fate:
        """Go all the way."""
        for hook in self._hooks():
            verdict = self._through(hook)
            if verdict != "accept":
                return Fate(verdict)
        if not self._translated:
            return Fate("pass", None, self._masqueraded)
        address, port = self._destination
        return Fate("forward", (str(address), port), self._masqueraded)

    def _hooks(self) -> Iterator[str]:
        """Yield hooks; routing happens between them, so the destination counts as it is by then."""
        if self._from_here:
            yield "output"
            yield "postrouting"
            if not self._where.is_local(self._destination[0]):
                return
            self._interface = "lo"
        yield "prerouting"
        if self._where.is_local(self._destination[0]):
            yield "input"
            return
        yield "forward"
        yield "postrouting"

    def _through(self, name: str) -> str:
        """Pass one hook's chains; NAT chains only if no hook before asked about the same end of the connection."""
        end = _NAT.get(name, "")
        asked = end in self._asked
        self._asked.add(end)
        for chain in self._table.at(name):
            if chain.hook and chain.hook.type == "nat" and asked:
                continue
            verdict = self._walk(chain)
            if verdict != "accept":
                return verdict
        return "accept"

    def _walk(self, chain: Chain) -> str:
        """Follow the rules from a base chain; return accept, drop or reject."""
        callers: list[tuple[Chain, int]] = []
        at = 0
        while True:
            verdict = self._rule(chain, at) if at < len(chain.rules) else Verdict("return")
            at += 1
            match verdict:
                case None:
                    pass
                case Verdict("goto", name):
                    chain, at = self._table.chains[name], 0
                case Verdict("jump", name):
                    callers.append((chain, at))
                    chain, at = self._table.chains[name], 0
                case Verdict("return") if callers:
                    chain, at = callers.pop()
                case Verdict("return"):
                    return "accept"
                case Verdict(kind):
                    return kind
                case str():
                    return verdict

    def _rule(self, chain: Chain, at: int) -> Verdict | str | None:
        verdict: Verdict | str | None = None
        try:
            for statement in chain.rules[at].statements:
                verdict = self._do(statement)
        except _NoMatch:
            return None
        return verdict

    def _do(self, statement: Statement) -> Verdict | str | None:
        match statement:
            case Dispatch():
                verdict = self._found(statement)
                assert isinstance(verdict, Verdict)
                return self._final(verdict)
            case Dnat(lookups):
                self._translate(lookups)
                return "accept"
            case Update():
                self._record(statement)
                return None
            case Verdict():
                return self._final(statement)
            case _:
                if not self._matches(statement):
                    raise _NoMatch
                return None

    def _final(self, verdict: Verdict) -> Verdict | str:
        if verdict.kind != "masquerade":
            return verdict
        self._masqueraded = True
        self._source = ip_address(self._where.own[isinstance(self._source, IPv6Address)])
        return "accept"

    def _matches(self, statement: Fixed | Interface | Protocol | Outside | Member) -> bool:
        match statement:
            case Fixed(words):
                return self._is(words)
            case Interface(name, negated):
                prefix = name.removesuffix("*")
                same = self._interface.startswith(prefix) if prefix != name else self._interface == name
                return same != negated
            case Protocol(names):
                return self._protocol in names
            case Outside(of, network):
                return not _covers(network, self._field(of))
            case Member(key, name, negated):
                return _has(self._table.sets[name], self._values(key)) != negated

    def _is(self, words: str) -> bool:
        return {
            "ct state new": True,
            "ct status dnat": self._destination != self._original,
            "ct status ! dnat": self._destination == self._original,
            "fib saddr type local": self._where.is_local(self._source),
            "fib daddr type local": self._where.is_local(self._destination[0]),
        }[words]

    def _translate(self, lookups: tuple[Lookup, ...]) -> None:
        found: list[Value] = []
        for lookup in lookups:
            data = self._found(lookup)
            assert isinstance(data, tuple)
            found += data
        address, port = found
        assert isinstance(address, IPv4Address | IPv6Address)
        assert isinstance(port, int)
        self._destination = (address, port)
        self._translated = True

    def _found(self, lookup: Lookup) -> Key | Verdict:
        used, key = self._table.sets[lookup.map], self._values(lookup.key)
        found = self._memory.read(self._table.family, used.name, key) if used.dynamic else used.elements.get(key)
        if found is None:
            raise _NoMatch
        return found

    def _record(self, update: Update) -> None:
        used = self._table.sets[update.map]
        assert used.size is not None
        key, data = self._values(update.key), self._values(update.data)
        if not self._memory.update((self._table.family, used.name), key, data, update.seconds, used.size):
            raise _NoMatch

    def _values(self, key: Concatenation) -> Key:
        return tuple(self._value(one) for one in key)

    def _value(self, one: Expression) -> Value:
        match one:
            case Numgen(modulus):
                return self._choose(modulus)
            case Jhash(of, modulus, seed):
                value = self._field(of)
                digest = hashlib.blake2b(f"{value}".encode(), digest_size=8, salt=seed.to_bytes(4, "big")).digest()
                return int.from_bytes(digest, "big") * modulus >> 64
            case Field():
                return self._field(one)

    def _field(self, field: Field) -> Value:
        match field.words.split():
            case ["ct", "original", *_, "daddr"]:
                return self._original[0]
            case ["ct", "original", "proto-dst"]:
                return self._original[1]
            case [_, "saddr"]:
                return self._source
            case [_, "daddr"]:
                return self._destination[0]
            case ["meta", "l4proto"]:
                return self._protocol
            case [protocol, "dport"]:
                if protocol not in ("th", self._protocol):
                    raise _NoMatch
                return self._destination[1]
            case _:
                raise AssertionError(f"nobody has said what {field.words} is")


def _has(one: NamedSet, values: Key) -> bool:
    if not one.interval:
        return values in one.elements
    return any(all(_covers(*pair) for pair in zip(key, values, strict=True)) for key in one.elements)


def _covers(part: Value, value: Value) -> bool:
    if isinstance(part, IPv4Network | IPv6Network):
        return isinstance(value, IPv4Address | IPv6Address) and value in part
    return part == value
