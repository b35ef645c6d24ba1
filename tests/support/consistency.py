"""What is wrong with a table although it can be read: what a kernel, or nft on the way to it, refuses.

Stricter than they are in what no printed ruleset has a reason for: any overlap in an interval set (a kernel takes a
wide element after a narrow one), a map that packets fill without end, two chains at one hook with one priority.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network
from itertools import combinations

from tests.support.dialect import (
    ADDRESS,
    PROTOCOLS,
    BadRuleset,
    Chain,
    Concatenation,
    Dispatch,
    Dnat,
    Expression,
    Field,
    Hook,
    Jhash,
    Key,
    Line,
    Member,
    NamedSet,
    Outside,
    Protocol,
    Rule,
    Statement,
    Table,
    Update,
    Value,
    Verdict,
)

_REGISTERS = 64  # bytes; an IPv6 address takes 16 of them, whatever else 4
_LEVELS = 16
_REJECTING = ("prerouting", "input", "forward", "output")


class Refused(BadRuleset):
    """A line that is understood, but cannot be loaded."""


def check(table: Table) -> None:
    """Raise `Refused` if the table would not load."""
    for one in table.sets.values():
        _check_set(table, one)
    for chain in table.chains.values():
        for rule in chain.rules:
            _check_rule(table, rule)
    _check_levels(table)
    _check_hooks(table)


# Sets -----------------------------------------------------------------------------------------------------------------


def _check_set(table: Table, one: NamedSet) -> None:
    _check_width(one.line, one.key)
    if one.interval:
        _check_overlaps(one)
    if one.dynamic and one.size is None:
        raise Refused(one.line, "a map that packets fill needs a size")
    if one.size is not None and len(one.elements) > one.size:
        raise Refused(one.line, "more elements than its size")
    for key, data in one.elements.items():
        if isinstance(data, Verdict):
            _check_target(table, data, one.element_lines[key])


def _check_width(line: Line, types: Iterable[str]) -> None:
    if sum(16 if kind == "ipv6_addr" else 4 for kind in types) > _REGISTERS:
        raise Refused(line, "more than the registers hold")


def _check_overlaps(one: NamedSet) -> None:
    for key, other in combinations(one.elements, 2):
        if all(_overlap(*pair) for pair in zip(key, other, strict=True)):
            raise Refused(one.element_lines[other], "overlaps with another element")


def _overlap(one: Value, other: Value) -> bool:
    if isinstance(one, IPv4Network | IPv6Network) and isinstance(other, IPv4Network | IPv6Network):
        return one.overlaps(other)
    return one == other


def _check_target(table: Table, verdict: Verdict, line: Line) -> None:
    if verdict.chain and verdict.chain not in table.chains:
        raise Refused(line, f"no chain {verdict.chain}")
    if verdict.chain and table.chains[verdict.chain].hook is not None:
        raise Refused(line, f"{verdict.chain} is a base chain")


# Rules ----------------------------------------------------------------------------------------------------------------


def _check_rule(table: Table, rule: Rule) -> None:
    protocols: tuple[str, ...] = ()
    for statement in rule.statements:
        if isinstance(statement, Protocol):
            protocols = statement.names
        for key in _concatenations(statement):
            _check_width(rule.line, (one.type for one in key))
            for one in key:
                _check_expression(table, rule.line, one, protocols)
        if isinstance(statement, Verdict):
            _check_target(table, statement, rule.line)
        _check_use(table, rule.line, statement)
        if isinstance(statement, Dnat) and not protocols and not _has_protocol(statement):
            raise Refused(rule.line, "translates a port of no protocol")


def _has_protocol(dnat: Dnat) -> bool:
    """Tell whether a part of a key is of one transport protocol, so that the rule is, too."""
    parts = [one for lookup in dnat.lookups for one in lookup.key if isinstance(one, Field)]
    return any(one.words.split()[0] in PROTOCOLS for one in parts)


def _concatenations(statement: Statement) -> Iterator[Concatenation]:
    match statement:
        case Member(key=key) | Dispatch(key=key):
            yield key
        case Outside(of=of):
            yield (of,)
        case Dnat(lookups=lookups):
            yield from (one.key for one in lookups)
        case Update(key=key, data=data):
            yield from (key, data)
        case _:
            pass


def _check_expression(table: Table, line: Line, one: Expression, protocols: tuple[str, ...]) -> None:
    if isinstance(one, Jhash):
        one = one.of
    if not isinstance(one, Field):
        return
    words = one.words.split()
    if any(word in ADDRESS and word != table.family for word in words):
        raise Refused(line, "addresses of the other family")
    if one.words == "ct original proto-dst" and not protocols:
        raise Refused(line, "a port of no protocol")
    if words[-1] == "dport" and words[0] != "th" and protocols not in ((), (words[0],)):
        raise Refused(line, "conflicting protocols")


def _check_use(table: Table, line: Line, statement: Statement) -> None:
    """Check that the sets that a statement uses are there and of its types."""
    address = ADDRESS[table.family]
    match statement:
        case Member(key=key, set=name):
            _of_types(line, _named(table, line, name), key, ())
        case Dispatch(key=key, map=name):
            _of_types(line, _named(table, line, name), key, ("verdict",))
        case Dnat(lookups=(one,)):
            _of_types(line, _named(table, line, one.map), one.key, (address, "inet_service"))
        case Dnat(lookups=(one, other)):
            _of_types(line, _named(table, line, one.map), one.key, (address,))
            _of_types(line, _named(table, line, other.map), other.key, ("inet_service",))
        case Update(key=key, map=name, data=data):
            used = _named(table, line, name)
            _of_types(line, used, key, tuple(one.type for one in data))
            if not used.dynamic:
                raise Refused(line, f"{name} is not for packets to fill")
        case _:
            pass


def _named(table: Table, line: Line, name: str) -> NamedSet:
    if name not in table.sets:
        raise Refused(line, f"no set {name}")
    return table.sets[name]


def _of_types(line: Line, used: NamedSet, key: Concatenation, data: tuple[str, ...]) -> None:
    types = tuple(one.type for one in key)
    if (types, data) != (used.key, used.data):
        found, declared = (
            f"{' . '.join(one)} : {' . '.join(two)}" for one, two in ((types, data), (used.key, used.data))
        )
        raise Refused(line, f"{used.name} has {declared}, not {found}")


# Ways through chains --------------------------------------------------------------------------------------------------


def _targets(table: Table, chain: Chain) -> set[str]:
    """Return the chains that packets may go on to from here."""
    found: set[str] = set()
    for rule in chain.rules:
        match rule.statements[-1]:
            case Verdict(chain=target) if target:
                found.add(target)
            case Dispatch(map=name):
                verdicts: Iterable[Key | Verdict] = table.sets[name].elements.values()
                found.update(one.chain for one in verdicts if isinstance(one, Verdict) and one.chain)
            case _:
                pass
    return found


def _check_levels(table: Table) -> None:
    """Look for loops, and for ways that are too long."""
    levels: dict[str, int] = {}

    def level(chain: Chain, above: tuple[str, ...]) -> int:
        if chain.name in above:
            raise Refused(chain.line, "a loop")
        if chain.name not in levels:
            below = [level(table.chains[one], (*above, chain.name)) for one in sorted(_targets(table, chain))]
            levels[chain.name] = 1 + max(below, default=0)
        return levels[chain.name]

    for chain in table.chains.values():
        if level(chain, ()) > _LEVELS and chain.hook is not None:
            raise Refused(chain.line, "too many levels")


def _check_hooks(table: Table) -> None:
    hooks: set[Hook] = set()
    for base in table.chains.values():
        if base.hook is None:
            continue
        if base.hook in hooks:
            raise Refused(base.line, "another chain is at this hook with this priority")
        hooks.add(base.hook)
        seen: set[str] = set()
        waiting = [base]
        while waiting:
            chain = waiting.pop()
            for rule in chain.rules:
                _check_place(rule, base.hook)
            news = _targets(table, chain) - seen
            seen |= news
            waiting += (table.chains[name] for name in news)


def _check_place(rule: Rule, hook: Hook) -> None:
    """Check that a verdict may be given where the packet came from."""
    match rule.statements[-1]:
        case Dnat():
            allowed = hook.type == "nat" and hook.name in ("prerouting", "output")
        case Verdict("masquerade"):
            allowed = hook.type == "nat" and hook.name == "postrouting"
        case Verdict("reject"):
            allowed = hook.name in _REJECTING
        case _:
            allowed = True
    if not allowed:
        raise Refused(rule.line, f"not in {hook.type} {hook.name}, where it can be reached from")
