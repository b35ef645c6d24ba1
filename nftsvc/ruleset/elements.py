"""The plan as elements of maps and sets.

Everything that belongs to one Service is an element; rules and chains are the same whatever Services there are.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import msgspec

from nftsvc.endpoints import Endpoint
from nftsvc.frontends import Frontend, FrontendKind
from nftsvc.plan import Masquerade, PortPlan, Refusal, ServicePlan, external_masquerade
from nftsvc.ruleset.names import (
    ALLOWED_SOURCES,
    BY_ADDRESS,
    BY_PORT,
    CLUSTER_IPS,
    GUARDED_IPS,
    HAIRPIN,
    MASQUERADE_ALWAYS,
    MASQUERADE_OWN,
    POOL_OF_MAP,
    REJECT,
    WAYS,
    Pool,
    Way,
    remember,
)
from nftsvc.ruleset.objects import Entry, Key, Table
from nftsvc.slots import assign
from nftsvc.values import Address, Family

# nft 1.0.6 takes 128 bytes of comment and refuses 129.
COMMENT_BYTES = 128
UNCUT_BYTES = COMMENT_BYTES - 9

Elements = dict[str, dict[Key, Entry]]

NOTHING = Entry()

# Says in which order endpoints hold the slots of a frontend: of an endpoint map, the frontend's part of the key, and
# the endpoints in canonical order.
Order = Callable[[str, Key, Sequence[Key]], Sequence[Key]]


def elements_of(ports: Iterable[PortPlan], family: Family, order: Order) -> Elements:
    """Return the elements of one family's Service ports by the name of their set, but for those that others share."""
    elements: Elements = defaultdict(dict)
    for port in ports:
        if port.family == family:
            ends = _Ends(_pairs(port.cluster), _pairs(port.local) if port.local else [], cut_comment(port.name))
            for frontend in port.frontends:
                _add_frontend(elements, port, frontend, ends, order)
    return elements


def shared_of(services: Iterable[ServicePlan]) -> dict[Family, list[tuple[str, str]]]:
    """Return, by family, the elements that Services need and others may need, too: the name of a set and an address.

    What a Service needs it has once, what several need is there for each of them.
    """
    found: dict[Family, list[tuple[str, str]]] = defaultdict(list)
    for service in services:
        for family, address in on_node(service.ports):
            found[family].append((HAIRPIN, address))
        for address in dict.fromkeys(service.cluster_ips):
            found[address.family].append((CLUSTER_IPS, address))
    return found


def on_node(ports: Iterable[PortPlan]) -> set[tuple[Family, Address]]:
    """Return the endpoints that run, or may run, on this node, each once."""
    found: set[tuple[Family, Address]] = set()
    for port in ports:
        for one in port.cluster:
            if one.on_node:
                found.add((port.family, one.address))
        for one in port.local:
            if one.on_node:
                found.add((port.family, one.address))
    return found


def shared_key(name: str, address: str) -> Key:
    """Return the key of a shared element."""
    return (address, address) if name == HAIRPIN else (address,)


def verdicts_of(elements: Mapping[str, Mapping[Key, Entry]]) -> Iterator[str]:
    """Yield what decides which chains and rules there are: for each element where it leads, or the name of its set.

    Chains come and go with the numbers of endpoints and with the times of records, rules with the elements that they
    look for.
    """
    for name in _LEADING:
        for entry in elements.get(name, {}).values():
            yield str(entry.value[0])
    for name in _LOOKED_FOR:
        for _ in elements.get(name, {}):
            yield name


_LEADING = tuple(name for way in WAYS for name in (way.verdicts, way.inside, way.outside, way.affinity))
_LOOKED_FOR = (GUARDED_IPS, *(way.masquerade for way in WAYS))


class FoundSlots:
    """The slots in a table, by the endpoint map they are in and the frontend's part of the key."""

    def __init__(self, table: Table | None) -> None:
        self._found: dict[tuple[str, Key], dict[int, Key]] = defaultdict(dict)
        for name, elements in table.elements.items() if table is not None else ():
            if name in POOL_OF_MAP:
                for key, entry in elements.items():
                    if isinstance(key[-1], int):
                        self._found[name, key[:-1]][key[-1]] = entry.value

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._found)

    def order(self, name: str, frontend: Key, wanted: Sequence[Key]) -> Sequence[Key]:
        """Let endpoints keep the slots that they have: an Order."""
        held = self._found.get((name, frontend))
        if not held:
            return wanted
        if len(held) == len(wanted) and all(held.get(slot) == one for slot, one in enumerate(wanted)):
            return wanted
        # No further than twice the endpoints wanted, whatever the kernel has.
        last = min(max(held) + 1, 2 * (len(wanted) + len(held)))
        return assign(wanted, tuple(held.get(slot) for slot in range(last)))


class _Ends(msgspec.Struct, frozen=True, gc=False):
    """The endpoints of a port as values of elements: those of the cluster, and those of this node; what names it."""

    cluster: list[Key]
    local: list[Key]
    comment: str


def _pairs(endpoints: Iterable[Endpoint]) -> list[Key]:
    return [(one.address, one.port) for one in endpoints]


class _Verdicts(dict[tuple[int, bool], Key]):
    """The verdicts that lead to so many endpoints of a pool, with affinity or without; `endpoints` is its map."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.endpoints = pool.endpoints
        self._pool = pool

    def __missing__(self, wanted: tuple[int, bool]) -> Key:
        """Make a verdict for the first time."""
        count, affinity = wanted
        verdict = self[wanted] = (f"goto {self._pool.chain(count, affinity=affinity)}",)
        return verdict


class _Road(NamedTuple):
    """What the frontends of one kind and protocol have in common; `cluster` and `local` are the pools they lead to."""

    way: Way
    protocol: str
    cluster: _Verdicts
    local: _Verdicts


@cache
def _road(protocol: str, node_port: bool) -> _Road:  # noqa: FBT001 - a cache knows arguments by place
    way, word = BY_PORT if node_port else BY_ADDRESS, protocol.lower()
    return _Road(way, word, *(_Verdicts(Pool(way, word, local=local)) for local in (False, True)))


def way_of(frontend: Frontend) -> Way:
    """Return the maps and chains that a frontend is found through."""
    return BY_PORT if frontend.kind is FrontendKind.NODE_PORT else BY_ADDRESS


def verdict_key(protocol: str, frontend: Frontend) -> Key:
    """Return what maps of verdicts know a frontend by; the protocol as nft writes it."""
    return (protocol, frontend.port) if frontend.address is None else (frontend.address, protocol, frontend.port)


def _add_frontend(elements: Elements, port: PortPlan, frontend: Frontend, ends: _Ends, order: Order) -> None:
    """Add one way in: its verdicts, its endpoints in their slots, and what else must know of it."""
    road = _road(port.protocol, frontend.kind is FrontendKind.NODE_PORT)
    way = road.way
    key = verdict_key(road.protocol, frontend)
    where = _Where(key, key[1:] if frontend.address is None else key[::2], ends.comment)
    outside = inside = ends.cluster
    if frontend.local_policy:
        outside = ends.local
        inside = ends.cluster if frontend.external else ends.local
    if frontend.local_policy and frontend.external and ends.cluster:
        elements[way.verdicts][where.key] = Entry((f"goto {way.by_source}",), where.comment)
        _add_pool(elements, port, (road.cluster, way.inside, inside), where, order)
        _add_pool(elements, port, (road.local, way.outside, outside), where, order)
    else:
        _add_pool(elements, port, (road.cluster, way.verdicts, outside), where, order)
    if not outside:
        verdict = f"goto {REJECT}" if port.refusal is Refusal.REJECT else "drop"
        elements[way.rejected][where.key] = Entry((verdict,), where.comment)
    if frontend.external and ends.cluster:
        own = external_masquerade(frontend) is Masquerade.THIS_NODE
        elements[way.masquerade][where.key] = Entry((f"goto {MASQUERADE_OWN if own else MASQUERADE_ALWAYS}",))
    if port.affinity:
        for endpoint in {*inside, *outside}:
            elements[way.affinity][*where.key, *endpoint] = Entry((f"goto {remember(port.affinity)}",))
    if frontend.sources:
        elements[GUARDED_IPS][where.key] = NOTHING
        elements[ALLOWED_SOURCES].update(((*where.key, prefix), NOTHING) for prefix in frontend.sources)


class _Where(msgspec.Struct, frozen=True, gc=False):
    """A frontend as the key of verdicts and as the first part of a slot's, and what its verdicts say about it."""

    key: Key
    slots: Key
    comment: str


def _add_pool(
    elements: Elements, port: PortPlan, leads: tuple[_Verdicts, str, list[Key]], where: _Where, order: Order
) -> None:
    """Add the endpoints of a frontend and the verdict that leads to one of them; nothing where there is none."""
    pool, verdicts, endpoints = leads
    if endpoints:
        elements[verdicts][where.key] = Entry(pool[len(endpoints), port.affinity > 0], where.comment)
        slots, frontend = elements[pool.endpoints], where.slots
        for slot, one in enumerate(order(pool.endpoints, frontend, endpoints)):
            slots[*frontend, slot] = Entry(one)


def cut_comment(text: str) -> str:
    """Return the text, or its beginning and a digest of the whole where it is longer than nft's comments may be."""
    if len(text) <= COMMENT_BYTES and (text.isascii() or len(text.encode()) <= COMMENT_BYTES):
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return text.encode()[:UNCUT_BYTES].decode(errors="ignore") + "~" + digest
