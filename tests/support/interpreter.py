"""Judges packets by the text of a ruleset alone, as a kernel would treat the first packet of a connection."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from tests.support.consistency import check
from tests.support.dialect import Ruleset
from tests.support.journey import Chooser, Fate, Journey, Memory, Where
from tests.support.packets import Endpoint, Outcome, Packet
from tests.support.parser import parse_tables

__all__ = ["Fate", "Interpreter", "Where", "judge", "parse", "shares"]


def parse(text: str) -> Ruleset:
    """Return the ruleset of a text; a `ValueError` quotes the line that is wrong."""
    tables = parse_tables(text)
    for table in tables.values():
        check(table)
    return Ruleset(tables)


class _Choices:
    """Chooses as planned, then the first of whatever there is; notes what else there was to choose."""

    def __init__(self, planned: tuple[int, ...]) -> None:
        self._planned = planned
        self._made: tuple[int, ...] = ()
        self.others: list[tuple[int, ...]] = []
        self.likely = Fraction(1)

    def __call__(self, count: int) -> int:
        number = len(self._made)
        if number < len(self._planned):
            choice = self._planned[number]
        else:
            choice = 0
            self.others += ((*self._made, other) for other in range(1, count))
        self._made = (*self._made, choice)
        self.likely /= count
        return choice


class Interpreter:
    """Takes packets one after the other and remembers what they leave behind."""

    def __init__(self, ruleset: Ruleset, where: Where | None = None) -> None:
        self._ruleset = ruleset
        self._where = where or Where()
        self._memory = Memory()

    def send(self, packet: Packet, choose: Chooser) -> Fate:
        """Say what becomes of the first packet of a new connection. `choose` stands for all that is random."""
        table = self._ruleset.tables.get("ip6" if packet.six else "ip")
        return Fate("pass") if table is None else Journey(table, packet, self._where, self._memory, choose).fate()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._memory.now += seconds

    def copy(self) -> "Interpreter":
        """Return one that goes on from here without a trace in this one."""
        other = Interpreter(self._ruleset, self._where)
        other._memory = self._memory.copy()
        return other

    def fates(self, packet: Packet) -> "Iterator[tuple[Fraction, Fate, Interpreter]]":
        """Yield every way that chance may take it: how likely, what becomes of the packet, and what is there then."""
        waiting: list[tuple[int, ...]] = [()]
        while waiting:
            choices, after = _Choices(waiting.pop()), self.copy()
            fate = after.send(packet, choices)
            waiting += choices.others
            yield choices.likely, fate, after


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
