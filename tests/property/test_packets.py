"""Whatever the cluster: explain and the ruleset's text agree on every packet, and nobody gets what it must not."""

from collections.abc import Mapping
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nftsvc.plan import Plan
from nftsvc.render import Renderer
from nftsvc.ruleset import Entry, Key, Ruleset, Table, make_ruleset
from nftsvc.ruleset.names import AFFINITY, BY_ADDRESS, POD_CIDRS, POOL_OF_MAP, POOLS, WAYS, Way, affinity_maps
from nftsvc.ruleset.records import hashed_address
from nftsvc.values import Family
from tests.support import explained, interpreter
from tests.support.builders import Raw
from tests.support.clusters import CLIENTS, Cluster, altered, clusters, plan_of, trials, with_affinity
from tests.support.packets import NODE, Endpoint, Packet

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


def fit(cluster: Cluster, service: Raw, port: Raw, family: str, local: bool) -> set[Endpoint]:
    """Return the endpoints that a Service port may use on node-a, told from the manifests in the simplest words.

    `local`: traffic policy Local holds. Of an endpoint that is given twice the better copy counts.
    """
    copies = [
        (one, (one["addresses"][0], target["port"]))
        for raw in cluster
        if raw["kind"] == "EndpointSlice"
        and raw["addressType"] == family
        and raw["metadata"]["labels"]["kubernetes.io/service-name"] == service["metadata"]["name"]
        for one in raw["endpoints"]
        for target in raw["ports"]
        if target["name"] == port["name"]
    ]
    if local:
        copies = [(one, endpoint) for one, endpoint in copies if one.get("nodeName") == "node-a"]
    ready = [(one, endpoint) for one, endpoint in copies if one["conditions"]["ready"] is not False]
    if not ready:
        draining = (one for one in copies if one[0]["conditions"]["terminating"])
        return {endpoint for one, endpoint in draining if one["conditions"]["serving"] is not False}
    zone = cluster[0]["spec"]["zone"]
    for kind, here in () if local else (("forNodes", "node-a"), ("forZones", zone)):
        hinted = [({hint["name"] for hint in one.get("hints", {}).get(kind, ())}, endpoint) for one, endpoint in ready]
        if here and all(names for names, _ in hinted) and any(here in names for names, _ in hinted):
            return {endpoint for names, endpoint in hinted if here in names}
    return {endpoint for _, endpoint in ready}


def without_copies(cluster: Cluster) -> Cluster:
    """Return the cluster with every endpoint of a Service once, and every claim made by one Service only."""
    seen: set[tuple[object, ...]] = set()

    def new(*claim: object) -> bool:
        known = claim in seen
        seen.add(claim)
        return not known

    kept: list[Raw] = []
    for raw in cluster:
        if raw["kind"] == "EndpointSlice":
            name = raw["metadata"]["labels"]["kubernetes.io/service-name"]
            unique = [one for one in raw["endpoints"] if new(name, one["addresses"][0], raw["ports"][0]["port"])]
            kept.append({**raw, "endpoints": unique})
        elif raw["kind"] == "Service":
            spec = {**raw["spec"], "externalIPs": [one for one in raw["spec"]["externalIPs"] if new(one)]}
            spec["ports"] = [
                {**port, "nodePort": port["nodePort"] if new(port["nodePort"], port["protocol"]) else 0}
                for port in spec["ports"]
            ]
            kept.append({**raw, "spec": spec, "status": {"loadBalancer": {"ingress": []}}})
        else:
            kept.append(raw)
    return tuple(kept)


@given(clusters(), st.data())
@BOUNDED
def test_just_the_endpoints_that_are_fit_are_reached(drawn: Cluster, data: st.DataObject) -> None:
    """The fit ones are told from the manifests, not by the package: conditions, hints, policies by source."""
    cluster = without_copies(drawn)
    plan = plan_of(cluster)[1]
    ruleset = interpreter.parse(text_of(plan))
    for service in (raw for raw in cluster if raw["kind"] == "Service"):
        spec = service["spec"]
        port = data.draw(st.sampled_from(spec["ports"]))
        address = data.draw(st.sampled_from((*spec["clusterIPs"], *spec["externalIPs"], *NODE)))
        family = "IPv6" if ":" in address else "IPv4"
        number = port["nodePort"] if address in NODE else port["port"]
        if not number or family not in spec["ipFamilies"]:
            continue
        source = data.draw(st.sampled_from((NODE[family == "IPv6"], *CLIENTS[family])))
        external = address not in spec["clusterIPs"]
        local = spec["externalTrafficPolicy" if external else "internalTrafficPolicy"] == "Local"
        if external and local:
            applies = spec["type"] != "ClusterIP" or spec["externalIPs"]
            local = bool(applies) and source not in NODE
        wanted = fit(cluster, service, port, family, local)
        packet = Packet(source, address, number, port["protocol"], expect="pass")
        assert interpreter.shares(ruleset, packet).keys() == wanted, packet


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
        for way in WAYS:
            pairs = list(table.elements[way.affinity])
            for pair in draw(st.lists(st.sampled_from(pairs), max_size=4, unique=True)) if pairs else ():
                for name, key, value in _records(family, way, pair):
                    elements[name] = {**elements[name], key: Entry(value)}
        tables[family] = Table(family, table.sets, table.chains, elements)
    return Ruleset(tables)


def _records(family: Family, way: Way, pair: Key) -> list[tuple[str, Key, Key]]:
    """Return the records of a client that has the endpoint of a pair, by map; at a node port, at the node's address."""
    six = family == Family.IPV6
    address, protocol, port, *endpoint = pair if way is BY_ADDRESS else (NODE[six], *pair)
    if not six:
        return [(AFFINITY, ("198.51.100.7", str(address), protocol, port), tuple(endpoint))]
    key = (4711, *hashed_address(str(address)), port)
    return [(name, key, (part,)) for name, part in zip(affinity_maps(str(protocol)), endpoint, strict=True)]


def lists_of(table: Table, way: Way, frontend: Key) -> list[set[Key]]:
    """Return the endpoints of a frontend: the cluster's, and this node's."""
    where = (*frontend[:-2], frontend[-1])
    pools = [pool for pool in POOLS if pool.way is way and pool.protocol == frontend[-2]]
    return [
        {entry.value for key, entry in table.elements[pool.endpoints].items() if key[:-1] == where} for pool in pools
    ]


@given(clusters(), st.data())
@BOUNDED
def test_records_stay_just_as_long_as_their_endpoints_do(before: Cluster, data: st.DataObject) -> None:
    after = data.draw(st.one_of(altered(before), altered(before), clusters()))
    old = with_records(make_ruleset(plan_of(before)[1]), data.draw)
    new = make_ruleset(plan_of(after)[1], old)
    for family, table in new.tables.items():
        earlier = old.tables[family]
        same_pods = table.elements[POD_CIDRS] == earlier.elements[POD_CIDRS]
        for way in WAYS:
            for pair in earlier.elements[way.affinity]:
                records = _records(family, way, pair)
                if not _has(earlier, records):
                    continue
                frontend, endpoint = pair[:-2], pair[-2:]
                inside = [frontend in one.elements[way.inside] for one in (earlier, table)]
                was, becomes = (lists_of(one, way, frontend) for one in (earlier, table))
                stays = all(endpoint in now for then, now in zip(was, becomes, strict=True) if endpoint in then)
                wanted = pair in table.elements[way.affinity] and inside[0] == inside[1] and stays
                assert _has(table, records) == (wanted and (same_pods or not inside[1]))


def _has(table: Table, records: list[tuple[str, Key, Key]]) -> bool:
    return all(table.elements[name].get(key) == Entry(value) for name, key, value in records)
