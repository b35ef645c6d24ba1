"""Whatever the Services are: order does not show, changes lead where they should, nobody else is touched on the way."""

import re
from collections.abc import Iterable
from random import Random

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nftsvc.changes import AddElements, DeleteElements, Transaction, compare
from nftsvc.plan import Plan
from nftsvc.render import Renderer
from nftsvc.ruleset import EMPTY, POOL_OF_MAP, Ruleset, frontend_key, make_ruleset
from tests.support.builders import Raw, endpoint_slice, plan_of, service
from tests.support.model import Model, content_of, meaning

RENDERER = Renderer()
BOUNDED = settings(
    max_examples=50, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
SAFE = re.compile(r"[A-Za-z0-9_ \t\n.:,;/{}#@!=\"'~-]*")
ELEMENT = re.compile(
    r"[0-9a-f.:]+( \. [0-9a-z.:]+)*( comment \"[A-Za-z0-9.:/~-]+\")?( : [0-9a-z.: -]+)?,?|(tcp|udp|sctp) \. \d+.*,?"
)
CLUSTER_SIZE = 6

Cluster = tuple[Raw, ...]


@st.composite
def ports(draw: st.DrawFn) -> list[Raw]:
    """Ports of one Service that the API server would take; few numbers, so that Services get in each other's way."""
    keys = draw(
        st.lists(
            st.tuples(st.sampled_from((53, 80, 443)), st.sampled_from(("TCP", "UDP", "SCTP"))),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    node_ports = draw(st.lists(st.sampled_from((0, 30053, 30080, 30443, 31000)), min_size=3, max_size=3, unique=True))
    return [
        {"name": f"p{number}", "port": port, "protocol": protocol, "nodePort": node_port}
        for number, ((port, protocol), node_port) in enumerate(zip(keys, node_ports, strict=False))
    ]


@st.composite
def members(draw: st.DrawFn, name: str, targets: list[Raw]) -> Cluster:
    """The slices of one Service: endpoints of both families that other Services may have, too, on any node."""
    found: list[Raw] = []
    for prefix in ("10.244.1.", "fd00:244:1::"):
        numbers = draw(st.lists(st.integers(1, 6), max_size=4, unique=True))
        node = draw(st.sampled_from(("node-a", "node-b", None)))
        if numbers:
            found.append(endpoint_slice(name, [f"{prefix}{number}" for number in numbers], targets, node=node))
    return tuple(found)


@st.composite
def services(draw: st.DrawFn, name: str) -> Cluster:
    number = draw(st.integers(1, 8))
    families = draw(st.sampled_from(("4", "6", "46", "64")))
    addresses = [{"4": f"10.96.0.{number}", "6": f"fd00:96::{number}"}[family] for family in families]
    listed = draw(ports())
    raw = service(name, addresses, listed)
    created = draw(st.sampled_from((None, "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z")))
    raw["metadata"] = {**raw["metadata"], "creationTimestamp": created}
    targets = [{**port, "port": 8000 + port["port"]} for port in listed]
    for target in targets:
        del target["nodePort"]
    return (raw, *draw(members(name, targets)))


@st.composite
def clusters(draw: st.DrawFn) -> Cluster:
    names = draw(st.lists(st.integers(0, CLUSTER_SIZE), max_size=CLUSTER_SIZE, unique=True))
    return tuple(raw for number in names for raw in draw(services(f"s-{number}")))


def plan(cluster: Iterable[Raw]) -> Plan:
    return plan_of(*cluster)


def owned(ruleset: Ruleset) -> dict[tuple[object, ...], tuple[str, object]]:
    """Return each element that belongs to a frontend, slots included: the frontend's comment, and what it is."""
    found: dict[tuple[object, ...], tuple[str, object]] = {}
    for family, table in ruleset.tables.items():
        comments = {
            key: entry.comment
            for elements in table.elements.values()
            for key, entry in elements.items()
            if entry.comment
        }
        for name, elements in table.elements.items():
            for key, entry in elements.items():
                frontend = frontend_key(name, key)
                if frontend is not None:
                    found[family, name, key] = (comments[frontend].partition(":")[0], entry)
    return found


@given(clusters(), st.integers(0, 1000))
@BOUNDED
def test_order_of_the_input_does_not_show(cluster: Cluster, seed: int) -> None:
    shuffled = list(cluster)
    Random(seed).shuffle(shuffled)
    first, second = plan(cluster), plan(shuffled)
    assert first == second
    assert RENDERER.ruleset(make_ruleset(first)) == RENDERER.ruleset(make_ruleset(second))


@given(clusters(), clusters(), st.integers(1, 40))
@BOUNDED
def test_changes_lead_from_any_cluster_to_any_other(before: Cluster, after: Cluster, limit: int) -> None:
    old = make_ruleset(plan(before))
    new = make_ruleset(plan(after), old)
    model = Model(old)
    model.run(compare(old, new).transactions(limit))
    assert model.content() == content_of(new)
    assert meaning(new) == meaning(make_ruleset(plan(after)))
    assert not compare(new, make_ruleset(plan(after), new))


@given(clusters(), st.integers(1, 40))
@BOUNDED
def test_changes_from_nothing_are_the_full_ruleset(cluster: Cluster, limit: int) -> None:
    new = make_ruleset(plan(cluster))
    model = Model(EMPTY)
    model.run(compare(EMPTY, new).transactions(limit))
    assert model.content() == content_of(new)


@given(clusters(), clusters(), st.integers(1, 40))
@BOUNDED
def test_every_transaction_leaves_untouched_services_in_place(before: Cluster, after: Cluster, limit: int) -> None:
    old = make_ruleset(plan(before))
    new = make_ruleset(plan(after), old)
    changes = compare(old, new)
    start, end = owned(old), owned(new)
    touched = {owner for owner, _ in (value for _, value in start.items() ^ end.items())}
    kept = {key: value for key, value in start.items() if value[0] not in touched}
    assert not {owner for owner, _ in kept.values()} & set(changes.services)
    model = Model(old)
    for transaction in changes.transactions(limit):
        model.run([transaction])
        tables = {family: content[2] for family, content in model.content().items()}  # type: ignore[index]
        for (family, name, key), (_, entry) in kept.items():
            assert tables[family][name][key] == entry


@given(clusters(), clusters(), st.integers(1, 40))
@BOUNDED
def test_no_transaction_splits_a_service(before: Cluster, after: Cluster, limit: int) -> None:
    """Only slots that nothing leads to any more go later."""
    old = make_ruleset(plan(before))
    changes = compare(old, make_ruleset(plan(after), old))
    seen: dict[str, Transaction] = {}
    done = changes.transactions(limit)
    late = len(changes.cleanup(limit))
    for number, transaction in enumerate(done):
        for operation in transaction:
            if not isinstance(operation, AddElements | DeleteElements):
                continue
            for key, _ in operation.entries:
                if number >= len(done) - late:
                    assert isinstance(operation, DeleteElements)
                    assert operation.set.name in POOL_OF_MAP
                elif owner := operation.owner(key):
                    assert seen.setdefault(owner, transaction) is transaction
    assert set(seen) <= set(changes.services)


@given(clusters(), clusters())
@BOUNDED
def test_text_stays_within_a_safe_alphabet_and_elements_within_their_form(before: Cluster, after: Cluster) -> None:
    old = make_ruleset(plan(before))
    new = make_ruleset(plan(after), old)
    text = RENDERER.ruleset(new)
    scripts = "".join(script.text for script in RENDERER.scripts(compare(old, new).transactions(10)))
    assert SAFE.fullmatch(text)
    assert SAFE.fullmatch(scripts)
    lines = re.findall(r"^\t([^\t\n}]+)$", scripts, re.MULTILINE) + re.findall(r"^\t{3}(.+)$", text, re.MULTILINE)
    assert [line for line in lines if not ELEMENT.fullmatch(line)] == []


@given(clusters(), st.data())
@BOUNDED
def test_one_endpoint_costs_three_elements_for_each_frontend_and_one_more(
    cluster: Cluster, data: st.DataObject
) -> None:
    """The endpoint is new, so no other Service has it; elements that change count once."""
    slices = [number for number, raw in enumerate(cluster) if raw["kind"] == "EndpointSlice"]
    assume(slices)
    at = data.draw(st.sampled_from(slices))
    chosen = cluster[at]
    new = "10.244.9.9" if chosen["addressType"] == "IPv4" else "fd00:244:9::9"
    grown = {**chosen, "endpoints": [*chosen["endpoints"], {"addresses": [new], "nodeName": "node-a"}]}
    bigger = (*cluster[:at], grown, *cluster[at + 1 :])
    name = chosen["metadata"]["labels"]["kubernetes.io/service-name"]
    frontends = sum(
        len(port.frontends)
        for port in plan(bigger).ports
        if port.service.name == name and port.family == chosen["addressType"]
    )
    for before, after in ((cluster, bigger), (bigger, cluster)):
        old = make_ruleset(plan(before))
        changes = compare(old, make_ruleset(plan(after), old))
        touched = [{key for entries in found for key, _ in entries} for found in changes.elements.values()]
        assert sum(map(len, touched)) <= 3 * frontends + (frontends > 0)
        assert changes.services in ((), (f"shop/{name}",))
