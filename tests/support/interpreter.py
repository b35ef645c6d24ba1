"""Judges packets by the text of a ruleset alone, as a kernel would treat the first packet of a connection.

A packet from elsewhere: prerouting, then input if its destination (by now translated) is this node's, else forward and
postrouting. One that the node sends: output and postrouting; if it is for the node itself, it comes back in through
`lo`: prerouting, input. NAT chains see a connection once for its destination (prerouting or output) and once for its
source (postrouting or input), filter chains each time.

Hashes are not the kernel's: any function will do, as long as it is the same when records are written and read.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple

from tests.support.consistency import check
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
    Ruleset,
    Statement,
    Table,
    Update,
    Value,
    Verdict,
)
from tests.support.packets import BRIDGE, BRIDGE_PODS, NODE, NODE_ADDRESSES, Endpoint, Outcome, Packet, pod_number
from tests.support.parser import parse_tables

Chooser = Callable[[int], int]  # takes a count, returns a number below it; so does random.Random().randrange
Records = dict[tuple[str, str], dict[Key, tuple[Key, float]]]  # by family and map: key, data, when it expires

_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_OUTSIDE = "eth0"


def parse(text: str) -> Ruleset:
    """Return the ruleset of a text; a `ValueError` quotes the line that is wrong."""
    tables = parse_tables(text)
    for table in tables.values():
        check(table)
    return Ruleset(tables)


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


# One packet -----------------------------------------------------------------------------------------------------------


class _NoMatch(Exception):
    """The rule ends here."""


class _Journey:
    """A packet on its way."""

    def __init__(self, table: Table, packet: Packet, where: Where, memory: "_Memory", choose: Chooser) -> None:
        self._table = table
        self._where = where
        self._memory = memory
        self._choose = choose
        self._protocol = packet.protocol.lower()
        self._source: Value = ip_address(packet.source)
        self._original: tuple[Value, int] = (ip_address(packet.address), packet.port)
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
        here = [
            (chain.hook.priority, chain)
            for chain in self._table.chains.values()
            if chain.hook and chain.hook.name == name
        ]
        for _, chain in sorted(here, key=lambda one: one[0]):
            end = "destination" if name in ("prerouting", "output") else "source"
            if chain.hook and chain.hook.type == "nat":
                if end in self._asked:
                    continue
                self._asked.add(end)
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
                case Verdict("return") | "accept":
                    return "accept"
                case Verdict(kind):
                    return kind

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
            case Fixed("ct state new"):
                return True
            case Fixed("ct status dnat"):
                return self._destination != self._original
            case Fixed("fib saddr type local"):
                return self._where.is_local(self._source)
            case Fixed("fib daddr type local"):
                return self._where.is_local(self._destination[0])
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
            case _:
                raise AssertionError(f"nobody has said what {statement} does")

    def _translate(self, lookups: tuple[Lookup, ...]) -> None:
        found: list[Value] = []
        for lookup in lookups:
            data = self._found(lookup)
            assert isinstance(data, tuple)
            found += data
        address, port = found
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


# Packets, one after the other -----------------------------------------------------------------------------------------


class _Memory:
    """What packets have put into maps."""

    def __init__(self, records: Records | None = None, now: float = 0.0) -> None:
        self._records = defaultdict(dict, {name: dict(there) for name, there in (records or {}).items()})
        self.now = now

    def copy(self) -> "_Memory":
        return _Memory(self._records, self.now)

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


class Interpreter:
    """Takes packets one after the other and remembers what they leave behind."""

    def __init__(self, ruleset: Ruleset, where: Where | None = None) -> None:
        self._ruleset = ruleset
        self._where = where or Where()
        self._memory = _Memory()

    def send(self, packet: Packet, choose: Chooser) -> Fate:
        """Say what becomes of the first packet of a new connection. `choose` stands for all that is random."""
        table = self._ruleset.tables.get("ip6" if packet.six else "ip")
        return Fate("pass") if table is None else _Journey(table, packet, self._where, self._memory, choose).fate()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._memory.now += seconds

    def copy(self) -> "Interpreter":
        """Return one that goes on from here without a trace in this one."""
        other = Interpreter(self._ruleset, self._where)
        other._memory = self._memory.copy()  # noqa: SLF001 - its own kind
        return other

    def fates(self, packet: Packet) -> "Iterator[tuple[Fraction, Fate, Interpreter]]":
        """Yield every way that chance may take it: how likely, what becomes of the packet, and what is there then."""
        waiting: list[tuple[int, ...]] = [()]
        while waiting:
            planned, after = waiting.pop(), self.copy()
            chosen: list[tuple[int, int]] = []

            def choose(count: int, planned: tuple[int, ...] = planned, chosen: list[tuple[int, int]] = chosen) -> int:
                number = len(chosen)
                if number == len(planned):
                    begun = tuple(index for index, _ in chosen)
                    waiting.extend((*begun, index) for index in range(1, count))
                    planned = (*planned, 0)
                chosen.append((planned[number] if number < len(planned) else 0, count))
                return chosen[-1][0]

            fate = after.send(packet, choose)
            likely = Fraction(1)
            for _, count in chosen:
                likely /= count
            yield likely, fate, after


# Judgement ------------------------------------------------------------------------------------------------------------


def judge(ruleset: Ruleset, packet: Packet, where: Where | None = None) -> Outcome:
    """Say all that may become of a new connection.

    It is `sticky` if the next one surely reaches the same endpoint; where a packet says nothing of affinity, one
    endpoint alone is not called so.
    """
    ways = list(Interpreter(ruleset, where).fates(packet))
    fates = [fate for _, fate, _ in ways]
    endpoints = frozenset(fate.endpoint for fate in fates if fate.endpoint is not None)
    masqueraded = {fate.endpoint or packet.destination for fate in fates if fate.masqueraded}
    return Outcome(
        "+".join(sorted({fate.verdict for fate in fates})),
        endpoints,
        frozenset(masqueraded),
        sticky=(packet.affinity or len(endpoints) > 1) and _sticks(packet, ways),
    )


def _sticks(packet: Packet, ways: Iterable[tuple[Fraction, Fate, Interpreter]]) -> bool:
    return all(
        fate.endpoint is not None and {again.endpoint for _, again, _ in after.fates(packet)} == {fate.endpoint}
        for _, fate, after in ways
    )


def shares(ruleset: Ruleset, packet: Packet, where: Where | None = None) -> Mapping[Endpoint, Fraction]:
    """Return how likely a new connection reaches each endpoint."""
    found: dict[Endpoint, Fraction] = defaultdict(Fraction)
    for likely, fate, _ in Interpreter(ruleset, where).fates(packet):
        if fate.endpoint is not None:
            found[fate.endpoint] += likely
    return dict(found)
