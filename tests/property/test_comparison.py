"""Whatever the rulesets: the comparison sees a difference just where packets are treated differently."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from random import Random

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nftsvc.comparison import Comparison, Fact, FactChange, compare_traffic
from nftsvc.render import Renderer
from nftsvc.ruleset import POOL_OF_MAP, Elements, Entry, Key, Ruleset, Table, make_ruleset
from nftsvc.ruleset.names import ALLOWED_SOURCES, CLUSTER_IPS, GUARDED_IPS, HAIRPIN, WAYS
from nftsvc.traffic import traffic_of
from tests.support import interpreter
from tests.support.builders import Raw
from tests.support.clusters import CLIENTS, FAMILIES, PREFIX, Cluster, altered, clusters, configurations, plan_of
from tests.support.dialect import Ruleset as Text
from tests.support.explained import interface_of
from tests.support.packets import BRIDGE, GATEWAY, NODE, SECOND, Packet

BOUNDED = settings(
    max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
RENDERER = Renderer()
NOBODYS = {"IPv4": "10.96.0.250", "IPv6": "fd00:96::250"}
OTHER_PORT = 7


def ruleset_of(cluster: Cluster) -> Ruleset:
    return make_ruleset(plan_of(cluster)[1])


def compared(old: Ruleset, new: Ruleset) -> Comparison:
    return compare_traffic(traffic_of(old), traffic_of(new))


def parsed(ruleset: Ruleset) -> Text:
    return interpreter.parse(RENDERER.ruleset(ruleset))


def shuffled(elements: Mapping[str, Elements], random: Random) -> dict[str, Elements]:
    """Return the same elements in another order, endpoints in other slots of their frontends."""
    found: dict[str, Elements] = {}
    for name, listed in elements.items():
        items = list(listed.items())
        if name in POOL_OF_MAP:
            values: dict[Key, list[Entry]] = {}
            for key, entry in items:
                values.setdefault(key[:-1], []).append(entry)
            for group in values.values():
                random.shuffle(group)
            items = [(key, values[key[:-1]].pop()) for key, _ in items]
        random.shuffle(items)
        found[name] = dict(items)
    return found


@given(clusters(), st.integers(0, 1000))
@BOUNDED
def test_neither_order_nor_slots_show(cluster: Cluster, seed: int) -> None:
    random = Random(seed)
    listed = list(cluster)
    random.shuffle(listed)
    made = ruleset_of(tuple(listed))
    tables = {
        family: replace(table, elements=shuffled(table.elements, random)) for family, table in made.tables.items()
    }
    found = compared(ruleset_of(cluster), Ruleset(tables))
    assert found.same
    assert not found.layout_differs
    assert (found.renamed, found.oddities) == ((), ((), ()))
    assert traffic_of(Ruleset(tables)) == traffic_of(made)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Cluster, Cluster]:
    """A cluster, and one that differs from it in anything from nothing to everything."""
    old = draw(clusters())
    at = draw(st.integers(1, len(old) - 1))
    match draw(st.integers(0, 5)):
        case 0:
            new = draw(clusters())
        case 1:
            new = (draw(configurations()), *old[1:])
        case 2:
            new = draw(altered(old))
        case 3:
            new = (*old[:at], *old[at + 1 :])
        case 4 if old[at]["kind"] == "Service":
            new = (*old[:at], _changed_spec(draw, old[at], draw(clusters())), *old[at + 1 :])
        case _:
            new = old
    return elsewhere(old), elsewhere(new)


def elsewhere(cluster: Cluster) -> Cluster:
    """Return the cluster without endpoints at the node's own address: which addresses those are no ruleset says."""
    return tuple(
        {**raw, "endpoints": [one for one in raw["endpoints"] if one["addresses"][0] not in NODE]}
        if raw["kind"] == "EndpointSlice"
        else raw
        for raw in cluster
    )


def _changed_spec(draw: st.DrawFn, service: Raw, other: Cluster) -> Raw:
    """Return a Service with one field of another one."""
    model = next(raw for raw in other if raw["kind"] == "Service")
    field = draw(
        st.sampled_from(
            (
                "type",
                "externalIPs",
                "internalTrafficPolicy",
                "externalTrafficPolicy",
                "sessionAffinity",
                "loadBalancerSourceRanges",
                "ports",
                "status",
            )
        )
    )
    if field == "status":
        return {**service, "status": model["status"]}
    return {**service, "spec": {**service["spec"], field: model["spec"][field]}}


def differs(old: Text, new: Text, packet: Packet) -> bool:
    """Tell whether a packet is treated differently: by what is found, and how likely each endpoint is."""
    asked = replace(packet, affinity=True, interface=interface_of(packet))
    was, becomes = (interpreter.judge(one, asked) for one in (old, new))
    return was != becomes or interpreter.shares(old, asked) != interpreter.shares(new, asked)


def tried(old: Ruleset, new: Ruleset) -> Iterator[Packet]:
    """Yield packets to everywhere that one of the rulesets makes something of, from everybody to whom it may matter."""
    targets = dict.fromkeys((address, OTHER_PORT, "TCP") for address in NOBODYS.values())
    endpoints: dict[str, None] = {}
    for ruleset in (old, new):
        for where in traffic_of(ruleset).frontends:
            at = FAMILIES.index(where.family)
            for address in (where.address,) if where.address else (NODE[at], SECOND[at], GATEWAY[at]):
                targets[address, where.port, where.protocol] = None
        for table in ruleset.tables.values():
            targets |= dict.fromkeys((str(key[0]), OTHER_PORT, "TCP") for key in table.elements[CLUSTER_IPS])
            listed = (entry.value for name in POOL_OF_MAP for entry in table.elements[name].values())
            endpoints |= dict.fromkeys(str(value[0]) for value in listed)
    for address, port, protocol in targets:
        six = ":" in address
        pods = (PREFIX[FAMILIES[six]].format(*one) for one in ((1, 9), (1, 201), (2, 9)))
        themselves = [one for one in endpoints if (":" in one) == six]
        for source in dict.fromkeys((*CLIENTS[FAMILIES[six]], NODE[six], *pods, *themselves)):
            yield Packet(source, address, port, protocol, expect="pass")
        for source, interface in product(themselves, ("veth9", BRIDGE)):  # no ruleset says where they run
            yield Packet(source, address, port, protocol, expect="pass", interface=interface)


EDITABLE = (
    *(name for way in WAYS for name in way[:6]),  # its maps
    *POOL_OF_MAP,
    CLUSTER_IPS,
    GUARDED_IPS,
    ALLOWED_SOURCES,
    HAIRPIN,
)


def edited(ruleset: Ruleset, choices: Iterable[tuple[int, int]]) -> Ruleset:
    """Return a ruleset after somebody has taken out elements by hand, or had others lead where other elements do.

    Each choice is which element, and where it leads.
    """
    tables = dict(ruleset.tables)
    for which, where in choices:
        family = list(tables)[which % len(tables)]
        table = tables[family]
        places = [(name, key) for name in EDITABLE for key in table.elements.get(name, ())]
        if places:
            name, key = places[which % len(places)]
            listed = dict(table.elements[name])
            entry, values = listed.pop(key), _leads(name, ruleset.tables[family])
            if where % (len(values) + 1):
                listed[key] = msgspec.structs.replace(entry, value=values[where % (len(values) + 1) - 1])
            tables[family] = replace(table, elements={**table.elements, name: listed})
    return Ruleset(tables)


def _leads(name: str, table: Table) -> list[Key]:
    """Return where the elements of maps like this one lead, in this table; nothing for a set."""
    kinds = [list(POOL_OF_MAP), *([way[kind] for way in WAYS] for kind in (3, 4, 5))]
    choosing = [one for way in WAYS for one in (way.verdicts, way.inside, way.outside)]
    group = next((kind for kind in kinds if name in kind), choosing if name in choosing else [])
    values = {entry.value for one in group for entry in table.elements[one].values()}
    if group is choosing:
        values.add(("drop",))
        if name not in {way.verdicts for way in WAYS}:
            values -= {(f"goto {way.by_source}",) for way in WAYS}  # a loop, which no kernel takes
    return sorted(values, key=str)


EDITS = st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 20)), max_size=3)


@given(pairs(), EDITS)
@BOUNDED
def test_a_difference_is_seen_just_where_some_packet_meets_it(
    pair: tuple[Cluster, Cluster], edits: list[tuple[int, int]]
) -> None:
    """Of changed clusters; and of rulesets that somebody has edited, which nftsvc would not have made."""
    old, new = map(ruleset_of, pair)
    if edits:
        new = edited(old, edits)
    found = compared(old, new)
    texts = parsed(old), parsed(new)
    witness = next((packet for packet in tried(old, new) if differs(*texts, packet)), None)
    if witness is not None:
        assert not found.same, witness
        return
    ports = [port for service in found.services for port in service.ports]
    assert not found.node, found.node
    assert all(is_hidden(change) for port in ports for change in port.changes), ports


def is_hidden(change: object) -> bool:
    """Tell whether no packet of now can show a change: who comes back to a single endpoint shows with a second one."""
    return isinstance(change, FactChange) and change.fact is Fact.AFFINITY
