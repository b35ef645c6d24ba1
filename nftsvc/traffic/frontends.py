"""What a table's elements do at each frontend.

An element leads to a chain that chooses one of so many slots; a slot that holds an endpoint sends connections there.
What cannot be understood is told as it is.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from fractions import Fraction
from functools import cache
from ipaddress import ip_address, ip_network

from nftsvc.explain import Outcome
from nftsvc.plan import Masquerade
from nftsvc.ruleset import Elements, Key, Table
from nftsvc.ruleset.names import (
    ALLOWED_SOURCES,
    BY_ADDRESS,
    BY_PORT,
    GUARDED_IPS,
    HAIRPIN,
    MASQUERADE_ALWAYS,
    MASQUERADE_OWN,
    POOL_OF_MAP,
    REJECT,
    WAYS,
    Pool,
    Way,
)
from nftsvc.traffic.rules import EVERY_ADDRESS, LISTED, MODULUS, Rules, chooses, networks, remembers
from nftsvc.traffic.values import AS_CLUSTER_IP, Fate, Frontend, Oddity, Reached, Target, Where

_PARTS = {BY_ADDRESS: 3, BY_PORT: 2}
_MASQUERADES = {f"goto {MASQUERADE_ALWAYS}": Masquerade.EVERYBODY, f"goto {MASQUERADE_OWN}": Masquerade.THIS_NODE}
_EVERYWHERE = ("0.0.0.0/0", "::/0")
_NOTHING: Elements = {}
_NONE, _ALL = Fraction(0), Fraction(1)


class Frontends:
    """The frontends of one table; `oddities` and `unread` grow as `read` goes on."""

    def __init__(self, table: Table, rules: Rules) -> None:
        self._family, self._elements, self._rules = table.family, table.elements, rules
        self._slots = _slots(table.elements)
        self._hairpin = frozenset(key[0] for key in self._of(HAIRPIN) if key[0] == key[-1])
        self._unused = [ip_network(one) for one in rules.node.unused if not set(one) & set("- ")]
        refused = (str(key[0]) for key in self._of(BY_ADDRESS.rejected))
        self._special = frozenset((*refused, *rules.node.closed, *rules.node.listed))
        self._allowed: dict[Key, list[str]] = defaultdict(list)
        for key in self._of(ALLOWED_SOURCES):
            self._allowed[key[:-1]].append(str(key[-1]))
        self._choices: dict[str, tuple[Pool, int, bool] | str] = {}
        self._met: dict[Key, Outcome | str | None] = {}
        self.oddities: list[Oddity] = []
        self.unread: list[str] = []

    def read(self) -> Iterator[Frontend]:
        """Yield every frontend that an element makes something of."""
        for way in WAYS:
            listed = [self._of(name) for name in (way.verdicts, way.rejected)]
            guarded = self._of(GUARDED_IPS) if way is BY_ADDRESS else _NOTHING
            for key in dict.fromkeys(key for elements in (*listed, guarded) for key in elements):
                if len(key) == _PARTS[way] and isinstance(key[-1], int):
                    yield self._frontend(way, key)
                else:
                    self.unread.append(f"{way.verdicts}: {' . '.join(map(str, key))}")

    def _of(self, name: str) -> Elements:
        return self._elements.get(name, _NOTHING)

    def _frontend(self, way: Way, key: Key) -> Frontend:
        address = str(key[0]) if way is BY_ADDRESS else ""
        where = Where(self._family, address, str(key[-2]).upper(), int(key[-1]))
        entries = (self._of(name).get(key) for name in (way.verdicts, way.rejected, way.inside, way.outside))
        name = next((one.comment for one in entries if one is not None and one.comment), str(where))
        by_client = self._verdict(way.verdicts, key) == f"goto {way.by_source}"
        if by_client and self._rules.has(way.by_source):
            outside = self._fate(name, where, key, way.outside)
            inside = self._fate(name, where, key, way.inside) if key in self._of(way.inside) else outside
        else:
            outside = inside = self._fate(name, where, key, way.verdicts)
        forwards = bool(inside.endpoints or outside.endpoints)
        masquerade = self._masquerade(way, key) if forwards else ""
        return Frontend(where, name, inside, outside, masquerade, self._sources(way, key), by_client)

    def _verdict(self, name: str, key: Key) -> str:
        """Return where an element leads; "" if it is not there."""
        entry = self._of(name).get(key)
        return " . ".join(map(str, entry.value)) if entry is not None else ""

    # Endpoints --------------------------------------------------------------------------------------------------------

    def _fate(self, name: str, where: Where, key: Key, verdicts: str) -> Fate:
        """Say what becomes of connections that look for their endpoints in one of the maps of verdicts."""
        verdict = self._verdict(verdicts, key)
        if verdict in ("", "accept", "return"):
            return Fate({}, _ALL, self._rest(where, key))
        if verdict == "drop":
            return Fate({}, _ALL, Outcome.DROP)
        chosen = self._choice(verdict)
        if isinstance(chosen, tuple) and (chosen[0].way is BY_PORT or where.address):
            return self._balanced(name, where, key, chosen)
        unknown = chosen if isinstance(chosen, str) else verdict
        self._odd(name, where, f"leads to {unknown}")
        return Fate({}, _NONE, Outcome.PASS, unknown)

    def _choice(self, verdict: str) -> tuple[Pool, int, bool] | str:
        """Return what a verdict chooses from, or what it leads to where that is not known."""
        if verdict not in self._choices:
            chain = verdict.removeprefix("goto ")
            found = chooses(chain) if chain != verdict else None
            if found is None:
                self._choices[verdict] = self._rules.written(verdict)
            else:
                pool, count, affinity = found
                plain = pool.chain(count)
                faults = [self._rules.fault(one) for one in dict.fromkeys((chain, plain))]
                modulus = MODULUS.search(self._rules.text(plain))
                size = int(modulus[1]) if modulus is not None else count
                self._choices[verdict] = next(filter(None, faults), (pool, size, affinity))
        return self._choices[verdict]

    def _balanced(self, name: str, where: Where, key: Key, chosen: tuple[Pool, int, bool]) -> Fate:
        pool, size, affinity = chosen
        at = (where.port,) if pool.way is BY_PORT else (where.address, where.port)
        held = self._slots.get((pool.endpoints, at), {}) if pool.protocol == key[-2] else {}
        counts: dict[Key, int] = {}
        for slot, value in held.items():
            if slot < size:
                counts[value] = counts.get(value, 0) + 1
        found = sum(counts.values())
        if found != size or len(held) != size:
            self._odd(name, where, _miscounted(size, found, len(held)))
        way = BY_ADDRESS if where.address else BY_PORT
        endpoints = {
            _target(value): Reached(
                _share(count, size),
                self._remembered(way, (*key, *value)) if affinity else 0,
                value[0] in self._hairpin,
                self._refused(value, pool.protocol),
            )
            for value, count in counts.items()
        }
        if affinity and len({one.seconds for one in endpoints.values()}) > 1:
            self._odd(name, where, "session affinity is not the same for all endpoints")
        if found == size:
            return Fate(endpoints, _NONE, Outcome.PASS)
        return Fate(endpoints, _share(size - found, size) if size else _ALL, self._rest(where, key))

    def _remembered(self, way: Way, pair: Key) -> int:
        """Return for how many seconds clients come back to the endpoint of a pair."""
        verdict = self._verdict(way.affinity, pair)
        seconds = remembers(verdict) if verdict else 0
        if seconds is None:
            self.unread.append(f"{way.affinity}: {' . '.join(map(str, pair))} leads to {verdict}")
        return seconds or 0

    # What meets packets after that ------------------------------------------------------------------------------------

    def _rest(self, where: Where, key: Key) -> str:
        """Say what happens to connections that find no endpoint."""
        if where.address:
            return self._refused((where.address, where.port), str(key[-2])) or Outcome.PASS
        return self._rejected(BY_PORT, key) or Outcome.PASS

    def _refused(self, endpoint: Key, protocol: str) -> str | None:
        """Say what meets every packet to an address and port; None if nothing does."""
        if endpoint[0] not in self._special and not self._unused:
            return None
        at = (endpoint[0], protocol, endpoint[-1])
        if at not in self._met:
            self._met[at] = self._meets(at)
        return self._met[at]

    def _meets(self, at: Key) -> str | None:
        rejected, node = self._rejected(BY_ADDRESS, at), self._rules.node
        if rejected:
            return rejected
        if node.node_ports == LISTED and at[0] in node.listed:
            return self._rejected(BY_PORT, at[1:])
        if at[0] in node.closed:
            return Outcome.REJECT
        if self._unused and any(ip_address(at[0]) in one for one in self._unused):
            return Outcome.DROP
        return None

    def _rejected(self, way: Way, key: Key) -> str | None:
        verdict = self._verdict(way.rejected, key)
        if not verdict:
            return None
        if verdict == "drop":
            return Outcome.DROP
        reject = verdict == f"goto {REJECT}" and not self._rules.fault(REJECT)
        return Outcome.REJECT if reject else self._rules.written(verdict)

    def _masquerade(self, way: Way, key: Key) -> str:
        """Say whose connections take an address of the node; in the order of the rules that decide it."""
        verdict, node = self._verdict(way.masquerade, key), self._rules.node
        if not verdict and way is BY_ADDRESS:
            if key[0] in node.closed:
                return AS_CLUSTER_IP
            if node.node_ports == EVERY_ADDRESS or key[0] in node.listed:
                verdict = self._verdict(BY_PORT.masquerade, key[1:])
        if not verdict:
            return Masquerade.NOBODY
        known = _MASQUERADES.get(verdict)
        if known is None or self._rules.fault(verdict.removeprefix("goto ")):
            return self._rules.written(verdict)
        return known

    def _sources(self, way: Way, key: Key) -> tuple[str, ...] | None:
        if way is BY_PORT or key not in self._of(GUARDED_IPS):
            return None
        allowed = networks(self._allowed.get(key, ()))
        return None if any(one in _EVERYWHERE for one in allowed) else allowed

    def _odd(self, name: str, where: Where, what: str) -> None:
        shown = str(where) if name == str(where) else f"{name} {where}"
        self.oddities.append(Oddity(self._family, shown, what))


def _slots(elements: Mapping[str, Elements]) -> dict[tuple[str, Key], dict[int, Key]]:
    """Return the slots of each frontend, by the endpoint map that they are in and the frontend's part of the key."""
    found: dict[tuple[str, Key], dict[int, Key]] = defaultdict(dict)
    for name in POOL_OF_MAP:
        for key, entry in elements.get(name, _NOTHING).items():
            slot = key[-1]
            if isinstance(slot, int):
                found[name, key[:-1]][slot] = entry.value
    return found


def _target(value: Key) -> Target:
    port = value[-1]
    return Target(str(value[0]), port if isinstance(port, int) else 0)


@cache
def _share(count: int, size: int) -> Fraction:
    return Fraction(count, size)


def _miscounted(size: int, found: int, held: int) -> str:
    if found < size:
        return f"{size - found} of the {size} slots that connections are sent to hold no endpoint"
    return f"{held - found} endpoints are in slots that no connection is sent to"
