"""What packets have recorded for session affinity, and how much of it stays when endpoints and policies change.

A record leads a client to an endpoint for as long as the client comes, so one that leads where it must not has to be
taken out: nothing else would ever do it.
"""

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from nftsvc.ruleset.jhash import jhash
from nftsvc.ruleset.names import (
    AFFINITY,
    AFFINITY_ENDPOINTS,
    AFFINITY_MAPS,
    BY_ADDRESS,
    BY_PORT,
    POD_CIDRS,
    POOLS,
    PROTOCOLS,
    WAYS,
    affinity_maps,
)
from nftsvc.ruleset.objects import Elements, Entry, Key
from nftsvc.values import Family

SEEDS = (1, 2)


_Both = tuple[Mapping[str, Elements], Mapping[str, Elements]]


def kept_records(
    family: Family, found: Mapping[str, Elements], elements: Mapping[str, Elements], change: _Both
) -> dict[str, dict[Key, Entry]]:
    """Return, by map, the records that still lead where they may.

    `found` are records, `elements` all elements that there are to be, `change` those that change as they were when the
    records were made and as they are to be. Left out are records of an endpoint that has left one of its frontend's
    lists (the cluster's or this node's), because the record does not say which list its client was sent to; and all of
    a frontend for which it has changed who is sent to which list.
    """
    if not any(found.get(name) for name in AFFINITY_MAPS):
        return {}
    rules = _Rules.of(elements, *change)
    if family == Family.IPV4:
        records = found.get(AFFINITY, {})
        return {AFFINITY: {key: entry for key, entry in records.items() if rules.allow(key[1:], entry.value)}}
    return _kept_pairs(found, elements, rules)


def in_doubt(old: Mapping[str, Elements], new: Mapping[str, Elements]) -> bool:
    """Tell whether a change may leave records behind that lead where they must not."""
    pairs = {pair for way in WAYS for pair in old.get(way.affinity, {})}
    if not pairs:
        return False
    gone = pairs.difference(*(new.get(way.affinity, {}) for way in WAYS))
    return bool(gone or _doubtful(old, new)) or any(True for _ in _left(old, new))


def _kept_pairs(
    found: Mapping[str, Elements], elements: Mapping[str, Elements], rules: "_Rules"
) -> dict[str, dict[Key, Entry]]:
    kept: dict[str, dict[Key, Entry]] = {}
    known = {key[0] for key in elements.get(AFFINITY_ENDPOINTS, {})}
    by_hash: dict[Key, str] = {hashed_address(str(address)): str(address) for address in known}
    for protocol in PROTOCOLS:
        names = affinity_maps(protocol)
        addresses, ports = (found.get(name, {}) for name in names)
        valid = []
        for key in addresses.keys() & ports.keys():
            frontend = (by_hash.get((key[1], key[2]), ""), protocol, key[3])
            if rules.allow(frontend, addresses[key].value + ports[key].value):
                valid.append(key)
        for name, records_there in zip(names, (addresses, ports), strict=True):
            kept[name] = {key: records_there[key] for key in valid}
    return kept


@dataclass(frozen=True, slots=True)
class _Rules:
    """Which records may stay: those of pairs (frontend and endpoint) that the elements have, less what is in doubt."""

    elements: Mapping[str, Elements]
    doubtful: frozenset[Key]
    left: frozenset[Key]

    @classmethod
    def of(cls, elements: Mapping[str, Elements], old: Mapping[str, Elements], new: Mapping[str, Elements]) -> "_Rules":
        """Compare what was with what is to be."""
        return cls(elements, frozenset(_doubtful(old, new)), frozenset(_left(old, new)))

    def allow(self, frontend: Key, endpoint: Key) -> bool:
        """Tell whether a record may stay; its frontend is an address and port, or else a node port."""
        for key, way in ((frontend, BY_ADDRESS), (frontend[1:], BY_PORT)):
            pair = (*key, *endpoint)
            if pair in self.elements.get(way.affinity, {}):
                return key not in self.doubtful and pair not in self.left
            if key in self.elements.get(way.verdicts, {}):
                return False
        return False


def _doubtful(old: Mapping[str, Elements], new: Mapping[str, Elements]) -> set[Key]:
    """Return the frontends for which it has changed who is sent to which list."""
    doubtful: set[Key] = set()
    for way in WAYS:
        was, becomes = old.get(way.inside, {}).keys(), new.get(way.inside, {}).keys()
        doubtful |= was ^ becomes
        if old.get(POD_CIDRS, {}).keys() != new.get(POD_CIDRS, {}).keys():
            doubtful |= becomes
    return doubtful


def _left(old: Mapping[str, Elements], new: Mapping[str, Elements]) -> Iterator[Key]:
    """Yield each frontend and endpoint of which the endpoint was on a list and no longer is."""
    for pool in POOLS:
        listed = [{(key[:-1], entry.value) for key, entry in one.get(pool.endpoints, {}).items()} for one in (old, new)]
        for where, endpoint in listed[0] - listed[1]:
            yield (*where[:-1], pool.protocol, where[-1], *endpoint)


@cache
def hashed_address(address: str) -> tuple[int, int]:
    """Return what the records have in place of a frontend's IPv6 address."""
    packed = ipaddress.IPv6Address(address).packed
    first, second = (jhash(packed, seed) for seed in SEEDS)
    return first, second
