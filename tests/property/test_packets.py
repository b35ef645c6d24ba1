"""Whatever the cluster: explain and the ruleset's text agree on every packet, and nobody gets what it must not."""

from collections.abc import Mapping
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nftsvc.plan import Plan
from nftsvc.render import Renderer
from nftsvc.ruleset import NFT_FAMILY, Entry, Key, Ruleset, Table, make_ruleset
from nftsvc.ruleset.affinity import hashed_address
from nftsvc.ruleset.names import AFFINITY, BY_ADDRESS, POOL_OF_MAP, affinity_maps
from nftsvc.values import Family
from tests.support import explained, interpreter
from tests.support.builders import Raw
from tests.support.clusters import Cluster, clusters, plan_of, trials, with_affinity
from tests.support.packets import Endpoint, Packet

RENDERER = Renderer()
BOUNDED = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
Trial = tuple[Cluster, list[Packet]]


def text_of(plan: Plan) -> str:
    return RENDERER.ruleset(make_ruleset(plan))


@given(trials())
@BOUNDED
def test_explain_and_the_text_of_the_ruleset_agree(trial: Trial) -> None:
    cluster, tried = trial
    state, plan = plan_of(cluster)
    ruleset = interpreter.parse(text_of(plan))
    for packet in tried:
        said = explained.judge(state, plan, with_affinity(packet, affinity=True))
        assert said == interpreter.judge(ruleset, with_affinity(packet, affinity=said.sticky)), packet
        even = {endpoint: Fraction(1, len(said.endpoints)) for endpoint in said.endpoints}
        assert interpreter.shares(ruleset, packet) == even


def raw_endpoints(cluster: Cluster, service: str) -> list[tuple[Raw, Endpoint]]:
    """Return every endpoint of a Service with what its slice says of it."""
    return [
        (one, (one["addresses"][0], port["port"]))
        for raw in cluster
        if raw["kind"] == "EndpointSlice" and raw["metadata"]["labels"]["kubernetes.io/service-name"] == service
        for one in raw["endpoints"]
        for port in raw["ports"]
    ]


@given(trials())
@BOUNDED
def test_no_endpoint_that_is_unfit_is_ever_reached(trial: Trial) -> None:
    """Told from the manifests alone: ready ones, or draining ones where none is ready; Local keeps to the node."""
    cluster, tried = trial
    ruleset = interpreter.parse(text_of(plan_of(cluster)[1]))
    policies = {raw["metadata"]["name"]: raw["spec"] for raw in cluster if raw["kind"] == "Service"}
    for packet in tried:
        reached = interpreter.shares(ruleset, packet).keys()
        for name, spec in policies.items() if reached else ():
            own = raw_endpoints(cluster, name)
            if not reached <= {endpoint for _, endpoint in own}:
                continue
            ready = {endpoint for one, endpoint in own if one["conditions"]["ready"] is not False}
            draining = {
                endpoint
                for one, endpoint in own
                if one["conditions"]["terminating"] and one["conditions"]["serving"] is not False
            }
            assert reached <= ready | draining
            if spec["internalTrafficPolicy"] != "Local" and spec["externalTrafficPolicy"] != "Local" and ready:
                assert reached <= ready
            break
        else:
            assert not reached


def pools(ruleset: Ruleset) -> dict[tuple[object, ...], dict[int, Key]]:
    """Return the endpoints by slot of every frontend in every endpoint map."""
    found: dict[tuple[object, ...], dict[int, Key]] = {}
    for family, table in ruleset.tables.items():
        for name in POOL_OF_MAP:
            for key, entry in table.elements[name].items():
                assert isinstance(key[-1], int)
                found.setdefault((family, name, *key[:-1]), {})[key[-1]] = entry.value
    return found


@given(clusters(), clusters())
@BOUNDED
def test_slots_move_only_for_endpoints_that_come_and_go(before: Cluster, after: Cluster) -> None:
    old = make_ruleset(plan_of(before)[1])
    new = make_ruleset(plan_of(after)[1], old)
    was, becomes = pools(old), pools(new)
    for frontend, slots in becomes.items():
        assert sorted(slots) == list(range(len(slots)))
        held = was.get(frontend, {})
        came = set(slots.values()) - set(held.values())
        gone = set(held.values()) - set(slots.values())
        touched = {slot for slot in slots.keys() | held.keys() if slots.get(slot) != held.get(slot)}
        assert len(touched) <= len(came) + 2 * len(gone)


def with_records(ruleset: Ruleset, draw: st.DrawFn) -> Ruleset:
    """Return the ruleset with clients on record at some of the endpoints that they may have."""
    tables = {}
    for family, table in ruleset.tables.items():
        elements: dict[str, Mapping[Key, Entry]] = dict(table.elements)
        pairs = list(table.elements[BY_ADDRESS.affinity])
        for pair in draw(st.lists(st.sampled_from(pairs), max_size=4, unique=True)) if pairs else ():
            for name, key, value in _records(family, pair):
                elements[name] = {**elements[name], key: Entry(value)}
        tables[family] = Table(family, table.sets, table.chains, elements)
    return Ruleset(tables)


def _records(family: Family, pair: Key) -> list[tuple[str, Key, Key]]:
    address, protocol, port, *endpoint = pair
    if NFT_FAMILY[family] == "ip":
        return [(AFFINITY, ("198.51.100.7", address, protocol, port), tuple(endpoint))]
    key = (4711, *hashed_address(str(address)), port)
    return [(name, key, (part,)) for name, part in zip(affinity_maps(str(protocol)), endpoint, strict=True)]


@given(clusters(), clusters(), st.data())
@BOUNDED
def test_records_stay_just_as_long_as_their_endpoints_do(before: Cluster, after: Cluster, data: st.DataObject) -> None:
    old = with_records(make_ruleset(plan_of(before)[1]), data.draw)
    new = make_ruleset(plan_of(after)[1], old)
    for family, table in new.tables.items():
        there, inside = table.elements[BY_ADDRESS.affinity], table.elements[BY_ADDRESS.inside]
        was_inside = old.tables[family].elements[BY_ADDRESS.inside]
        for pair in old.tables[family].elements[BY_ADDRESS.affinity]:
            if _has(old.tables[family], _records(family, pair)):
                same_policy = (pair[:3] in inside) == (pair[:3] in was_inside)
                assert _has(table, _records(family, pair)) == (pair in there and same_policy)


def _has(table: Table, records: list[tuple[str, Key, Key]]) -> bool:
    return all(table.elements[name].get(key) == Entry(value) for name, key, value in records)
