"""How traffic differs, in lines for people: what is the same for all Services, then Service by Service."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from math import floor, log10
from typing import NamedTuple

from nftsvc.comparison import (
    Change,
    Clients,
    Comparison,
    EndpointChange,
    Fact,
    FactChange,
    Kind,
    NodeChange,
    PortChange,
    ServiceChange,
)
from nftsvc.errors import printable
from nftsvc.explain import Outcome
from nftsvc.traffic import Oddity, Reached, Where
from nftsvc.values import Family

_STYLES = {"+": "green", "-": "red", "~": "yellow"}
_LABELS = {
    Fact.OUTCOME: "connections",
    Fact.POLICY: "traffic policy",
    Fact.AFFINITY: "session affinity",
    Fact.MASQUERADE: "masquerade",
    Fact.SOURCES: "allowed sources",
    Fact.LOST: "without endpoint",
    Fact.NAME: "port name",
    Fact.TABLE: "table",
    Fact.CLUSTER_IP_MASQUERADE: "masquerade at cluster IPs",
    Fact.PODS: "Pods of this node",
    Fact.NODE_PORTS: "node ports answer on",
    Fact.OTHER_PORTS: "other ports of",
    Fact.SERVICE_CIDRS: "other addresses are dropped in",
    Fact.RULES: "rules of chain",
    Fact.UNREAD: "not understood",
}
_CLIENTS = {
    Clients.EVERYBODY: "",
    Clients.INSIDE: "from this node and its Pods",
    Clients.OUTSIDE: "from elsewhere",
}
_THEN = {
    Outcome.REJECT: "connections are rejected",
    Outcome.DROP: "connections are dropped",
    Outcome.PASS: "connections pass untouched",
}
_MOST_WORDS = 6  # of a list before and after; longer ones are told by what comes and goes
_MOST_ALIKE = 3  # endpoints that stay and change alike; more are told in one line
_MOST_ODD = 20
_MOST_DIGITS = 6
_WHOLE = 100


class Line(NamedTuple):
    """A line of text: its sign (`+`, `-`, `~`, or "" for a heading), then words."""

    sign: str
    words: str

    def styled(self) -> tuple[str, str]:
        """Return the line as it is printed, and its style; a heading is bold."""
        safe = printable(self.words)
        return (f"  {self.sign} {safe}", _STYLES[self.sign]) if self.sign else (safe, "bold")


def node_lines(comparison: Comparison) -> Iterator[Line]:
    """Yield what changes for all Services alike; nothing if nothing does."""
    if comparison.node:
        yield Line("", "all Services")
    for one in comparison.node:
        yield _node_line(one, comparison.families)


def service_lines(service: ServiceChange, families: Sequence[Family]) -> Iterator[Line]:
    """Yield what changes for a Service: a heading for each Service port, then its changes."""
    for port in service.ports:
        yield Line("", f"{port.name} {_frontends(port.frontends, families)}{_note(port, service.kind)}")
        for group in _compact(port.changes):
            yield _change_line(group)


def end_lines(comparison: Comparison) -> Iterator[str]:
    """Yield what is worth knowing but changes no packet: other names, another layout, oddities."""
    if comparison.renamed:
        yield "renamed, with the same traffic:"
        yield from (f"  {old} -> {new}" for old, new in comparison.renamed)
    if comparison.layouts:
        yield "same traffic, new layout:" if comparison.same else "and a new layout, which changes no packet:"
        yield from (f"  {family}: {old or 'none'} -> {new or 'none'}" for family, old, new in comparison.layouts)
    old, new = comparison.oddities
    for side, oddities in (
        ("both", [one for one in old if one in set(new)]),
        ("the old ruleset", [one for one in old if one not in set(new)]),
        ("the new ruleset", [one for one in new if one not in set(old)]),
    ):
        yield from _odd_lines(side, oddities)


def _odd_lines(side: str, oddities: list[Oddity]) -> Iterator[str]:
    if oddities:
        yield f"odd in {side}:"
        yield from (f"  {one.family} {one.where}: {one.what}" for one in oddities[:_MOST_ODD])
        if len(oddities) > _MOST_ODD:
            yield f"  and {len(oddities) - _MOST_ODD} more"


# Headings -------------------------------------------------------------------------------------------------------------


def _frontends(listed: Iterable[Where], families: Sequence[Family]) -> str:
    """Write frontends; of a node port the family, too, unless it is in all that there are."""
    of_port: dict[str, list[Family]] = defaultdict(list)
    for where in listed:
        of_port[str(where)].append(where.family)
    return ", ".join(
        name if not name.startswith("node port") or len(of) == len(families) else f"{name} ({of[0]})"
        for name, of in of_port.items()
    )


def _note(port: PortChange, service: Kind) -> str:
    match port.kind:
        case Kind.ADDED:
            new = "new Service" if service is Kind.ADDED else "added"
            return f"  {new}{f', was of {port.other}' if port.other else ''}"
        case Kind.REMOVED:
            gone = "Service removed" if service is Kind.REMOVED else "removed"
            return f"  {gone}, {f'now of {port.other}' if port.other else _THEN[Outcome(port.then)]}"
        case Kind.CHANGED:
            return ""


# Changes --------------------------------------------------------------------------------------------------------------


def _compact(changes: Iterable[Change]) -> Iterator[Sequence[Change]]:
    """Yield the changes; those of many endpoints that stay and change alike in one."""
    for alike, group in groupby(changes, _kind_of):
        listed = list(group)
        if alike is None or len(listed) <= _MOST_ALIKE:
            yield from ([one] for one in listed)
        else:
            yield listed


def _kind_of(change: Change) -> tuple[Reached, Reached, Clients] | None:
    """Return what two changes of endpoints that stay have in common if they are alike."""
    if isinstance(change, FactChange) or change.old is None or change.new is None:
        return None
    return change.old, change.new, change.clients


def _change_line(changes: Sequence[Change]) -> Line:
    first = changes[0]
    who = f"  {_CLIENTS[first.clients]}" if first.clients is not Clients.EVERYBODY else ""
    if isinstance(first, FactChange):
        line = _fact_line(first.fact, "", first.old, first.new)
        return Line(line.sign, line.words + who)
    sign = "+" if first.old is None else "-" if first.new is None else "~"
    subject = str(first.endpoint) if len(changes) == 1 else f"{len(changes)} endpoints that stay"
    return Line(sign, f"{subject}  {'  '.join(_endpoint_words(first))}{who}")


def _endpoint_words(change: EndpointChange) -> Iterator[str]:
    old, new = change.old or change.new, change.new or change.old
    if old is None or new is None:
        return
    if old.share != new.share:
        yield "share {} -> {}".format(*shares(old.share, new.share))
    elif old is new or old.refused != new.refused:
        yield f"share {shares(new.share)[0]}"
    if old.refused != new.refused:
        yield f"then {old.refused or Outcome.FORWARD} -> {new.refused or Outcome.FORWARD}"
    elif new.refused:
        yield f"then {new.refused}"
    if old.hairpin != new.hairpin:
        words = [f"{'' if one.hairpin else 'not '}masqueraded" for one in (old, new)]
        yield f"reaching itself {words[0]} -> {words[1]}"


def _node_line(change: NodeChange, families: Sequence[Family]) -> Line:
    line = _fact_line(change.fact, change.subject, change.old, change.new)
    only = "" if len(change.families) >= len(families) else f"  ({', '.join(change.families)})"
    return Line(line.sign, line.words + only)


def _fact_line(fact: Fact, subject: str, old: tuple[str, ...], new: tuple[str, ...]) -> Line:
    label = f"{_LABELS[fact]} {subject}".rstrip()
    if fact is Fact.RULES:
        old, new = old or ("as usual",), new or ("as usual",)
    if not old or not new:
        return Line("+" if new else "-", f"{label}  {_written(fact, new or old)}")
    if len(old) + len(new) > _MOST_WORDS:
        return Line("~", f"{label}  {_differing(old, new)}")
    return Line("~", f"{label}  {_written(fact, old)} -> {_written(fact, new)}")


def _written(fact: Fact, words: tuple[str, ...]) -> str:
    """Write what a fact is."""
    match fact:
        case Fact.AFFINITY:
            return ", ".join(
                f"{seconds} s{blank}{where}" for seconds, blank, where in (one.partition(" ") for one in words)
            )
        case Fact.LOST:
            return f"{shares(Fraction(words[0]))[0]}, then {words[1]}"
        case Fact.NODE_PORTS:
            return f"{words[0]}{': ' * bool(words[1:])}{', '.join(words[1:])}"
        case _:
            return ", ".join(words)


def _differing(old: Sequence[str], new: Sequence[str]) -> str:
    """Write of two lists what comes, what goes, and how much stays."""
    came, went = [one for one in new if one not in set(old)], [one for one in old if one not in set(new)]
    stay = len(new) - len(came)
    return ", ".join((*(f"+{one}" for one in came), *(f"-{one}" for one in went), *([f"{stay} stay"] if stay else [])))


def shares(*listed: Fraction) -> tuple[str, ...]:
    """Write shares in per cent with as few digits as it takes to tell them apart, else as fractions."""
    for digits in range(2, _MOST_DIGITS):
        written = tuple(_percent(one, digits) for one in listed)
        if len(set(written)) == len(set(listed)):
            return tuple(f"{one} %" for one in written)
    return tuple(map(str, listed))


def _percent(share: Fraction, digits: int) -> str:
    number = float(share * _WHOLE)
    places = max(0, digits - 1 - floor(log10(number))) if number else 0
    written = f"{number:.{places}f}"
    return written.rstrip("0").rstrip(".") if "." in written else written
