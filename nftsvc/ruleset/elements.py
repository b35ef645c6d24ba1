"""The plan as elements of maps and sets.

Everything that belongs to one Service is an element; rules and chains are the same whatever Services there are.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

from nftsvc.endpoints import Endpoint
from nftsvc.frontends import Frontend, FrontendKind
from nftsvc.plan import Masquerade, Plan, PortPlan, Refusal
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
from nftsvc.values import Family

# nft 1.0.6 takes 128 bytes of comment and refuses 129.
COMMENT_BYTES = 128
UNCUT_BYTES = COMMENT_BYTES - 9

Elements = dict[str, dict[Key, Entry]]


def elements_of(plan: Plan, family: Family, current: Table | None) -> Elements:
    """Return the elements of one family's Services by the name of their set; endpoints keep the slots they have."""
    elements: Elements = defaultdict(dict)
    slots = _Slots(current)
    for port in plan.ports:
        if port.family == family:
            for frontend in port.frontends:
                _add_frontend(elements, plan, port, frontend, slots)
            for endpoint in (*port.cluster, *port.local):
                if endpoint.on_node:
                    elements[HAIRPIN][endpoint.address, endpoint.address] = Entry()
    elements[CLUSTER_IPS] = {(one,): Entry() for one in plan.cluster_ips if one.family == family}
    return elements


def verdicts_of(elements: Mapping[str, Mapping[Key, Entry]]) -> Iterator[str]:
    """Yield where elements lead whose chains come and go with them: to a number of endpoints, to a record's time."""
    for way in WAYS:
        for name in (way.verdicts, way.inside, way.outside, way.affinity):
            for entry in elements.get(name, {}).values():
                yield str(entry.value[0])


class _Slots:
    """The slots in a table, by the endpoint map they are in and the frontend's part of the key."""

    def __init__(self, table: Table | None) -> None:
        self._found: dict[tuple[str, Key], dict[int, Key]] = defaultdict(dict)
        for name, elements in table.elements.items() if table is not None else ():
            if name in POOL_OF_MAP:
                for key, entry in elements.items():
                    if isinstance(key[-1], int):
                        self._found[name, key[:-1]][key[-1]] = entry.value

    def of(self, name: str, frontend: Key, endpoints: int) -> tuple[Key | None, ...]:
        """Return who holds each slot; no further than twice the endpoints wanted, whatever the kernel has."""
        held = self._found.get((name, frontend), {})
        last = min(max(held, default=-1) + 1, 2 * (endpoints + len(held)))
        return tuple(held.get(slot) for slot in range(last))


def way_of(frontend: Frontend) -> Way:
    """Return the maps and chains that a frontend is found through."""
    return BY_PORT if frontend.kind is FrontendKind.NODE_PORT else BY_ADDRESS


def _add_frontend(elements: Elements, plan: Plan, port: PortPlan, frontend: Frontend, slots: _Slots) -> None:
    """Add one way in: its verdicts, its endpoints in their slots, and what else must know of it."""
    way, protocol = way_of(frontend), port.protocol.lower()
    address: Key = () if frontend.address is None else (frontend.address,)
    key: Key = (*address, protocol, int(frontend.port))
    comment = cut_comment(port.name)
    outside, inside = (port.endpoints(frontend, inside=one) for one in (False, True))
    if frontend.local_policy and frontend.external and port.cluster:
        elements[way.verdicts][key] = Entry((f"goto {way.by_source}",), comment)
        _add_pool(elements, port, Pool(way, protocol, local=False), way.inside, (key, inside), slots)
        _add_pool(elements, port, Pool(way, protocol, local=True), way.outside, (key, outside), slots)
    else:
        _add_pool(elements, port, Pool(way, protocol, local=False), way.verdicts, (key, outside), slots)
    if not outside:
        verdict = f"goto {REJECT}" if port.refusal is Refusal.REJECT else "drop"
        elements[way.rejected][key] = Entry((verdict,), comment)
    if frontend.external and port.cluster:
        own = plan.masquerade(frontend, port.family) is Masquerade.THIS_NODE
        elements[way.masquerade][key] = Entry((f"goto {MASQUERADE_OWN if own else MASQUERADE_ALWAYS}",))
    if port.affinity:
        for endpoint in {*inside, *outside}:
            pair = (*key, endpoint.address, int(endpoint.port))
            elements[way.affinity][pair] = Entry((f"goto {remember(port.affinity)}",))
    if frontend.sources:
        elements[GUARDED_IPS][key] = Entry()
        elements[ALLOWED_SOURCES].update(((*key, prefix), Entry()) for prefix in frontend.sources)


def _add_pool(
    elements: Elements,
    port: PortPlan,
    pool: Pool,
    verdicts: str,
    frontend: tuple[Key, tuple[Endpoint, ...]],
    slots: _Slots,
) -> None:
    """Add the endpoints of a frontend and the verdict that leads to one of them; nothing where there is none."""
    key, endpoints = frontend
    if not endpoints:
        return
    chain = pool.chain(len(endpoints), affinity=bool(port.affinity))
    elements[verdicts][key] = Entry((f"goto {chain}",), cut_comment(port.name))
    without_protocol = (*key[:-2], key[-1])
    wanted: list[Key] = [(endpoint.address, int(endpoint.port)) for endpoint in endpoints]
    for slot, one in enumerate(assign(wanted, slots.of(pool.endpoints, without_protocol, len(wanted)))):
        elements[pool.endpoints][*without_protocol, slot] = Entry(one)


def cut_comment(text: str) -> str:
    """Return the text, or its beginning and a digest of the whole where it is longer than nft's comments may be."""
    if len(text.encode()) <= COMMENT_BYTES:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return text.encode()[:UNCUT_BYTES].decode(errors="ignore") + "~" + digest
