"""The ruleset that changes in parts: the same as if made at once, and no part touches more than it must."""

from typing import Any

import pytest

from nftsvc.changes import compare
from nftsvc.events import Put, Removed
from nftsvc.plan import Planner, make_plan
from nftsvc.ruleset import Entry, Part, Ruleset, Table, Wanted, make_ruleset
from nftsvc.ruleset.names import AFFINITY, AFFINITY_ENDPOINTS, CLUSTER_IPS, HAIRPIN, affinity_maps
from nftsvc.ruleset.records import hashed_address
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey, State
from nftsvc.values import FAMILIES, Family
from tests.support.builders import NODE, NODE_ADDRESSES, Raw, decoded, endpoint_slice, service
from tests.support.model import Model, content_of, meaning

SETTINGS = NodeSettings(name=NODE, families=FAMILIES, node_port_addresses=NODE_ADDRESSES)
V4, V6 = Family.IPV4, Family.IPV6
STAYS: Raw = {"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}


class Follows:
    """A wanted ruleset that follows a state, beside tables in memory that get what it says."""

    def __init__(self, *raws: Raw) -> None:
        self.state = State.of(map(decoded, raws))
        self.planner = Planner(SETTINGS)
        self.planner.update(self.state, self.state.services)
        start = make_ruleset(self.planner.plan())
        self.wanted = Wanted(SETTINGS)
        assert content_of(self.wanted.adopt(self.planner.plans.values(), start)) == content_of(start)
        self.kernel = Model(start)

    def change(self, *raws: Raw, gone: str = "") -> Part:
        touched: set[ServiceKey] = set()
        for raw in raws:
            touched |= self.state.apply(Put(decoded(raw))).services
        if gone:
            key = ServiceKey("shop", gone)
            touched |= self.state.apply(Removed(self.state.services[key].ref)).services
        part = self.wanted.change(*self.planner.update(self.state, touched))
        self.kernel.run(compare(*part).transactions())
        assert content_of(self.kernel.ruleset()) == content_of(self.wanted.ruleset)
        assert meaning(self.wanted.ruleset) == meaning(make_ruleset(make_plan(self.state, SETTINGS)))
        return part

    def table(self, family: Family = V4) -> Table:
        return self.wanted.ruleset.tables[family]

    def elements(self, name: str, family: Family = V4) -> set[Any]:
        return set(self.table(family).elements[name])

    def chains(self, family: Family = V4) -> set[str]:
        return {one.name for one in self.table(family).chains}


def changed(part: Part, family: Family = V4) -> set[str]:
    """Return the sets that a part changes."""
    sides = [one.tables[family].elements if family in one.tables else {} for one in part]
    return {name for name in sides[0].keys() | sides[1].keys() if sides[0].get(name, {}) != sides[1].get(name, {})}


def web(name: str, number: int, *endpoints: str, **spec: Any) -> list[Raw]:
    return [service(name, [f"10.96.0.{number}"], **spec), endpoint_slice(name, endpoints)]


def test_what_two_services_need_stays_until_neither_does() -> None:
    made = Follows(*web("a", 1, "10.244.1.5", "10.244.1.6"), *web("b", 2, "10.244.1.5"))
    both = {("10.244.1.5", "10.244.1.5"), ("10.244.1.6", "10.244.1.6")}
    assert made.elements(HAIRPIN) == both
    made.change(gone="b")
    assert made.elements(HAIRPIN) == both
    made.change(*web("b", 2, "10.244.1.6", "10.244.1.7"))
    assert made.elements(HAIRPIN) == both | {("10.244.1.7", "10.244.1.7")}
    made.change(gone="a")
    assert made.elements(HAIRPIN) == {("10.244.1.6", "10.244.1.6"), ("10.244.1.7", "10.244.1.7")}
    made.change(gone="b")
    assert not made.elements(HAIRPIN)
    assert not made.elements(CLUSTER_IPS)


def test_what_moves_from_one_service_to_another_in_one_change_stays_where_it_is() -> None:
    made = Follows(*web("a", 1, "10.244.1.5"), *web("b", 2, "10.244.1.6"))
    part = made.change(endpoint_slice("a", ["10.244.1.6"]), endpoint_slice("b", ["10.244.1.5"]))
    assert changed(part) == {"tcp-endpoints"}


def test_an_address_of_two_services_is_a_cluster_ip_until_both_are_gone() -> None:
    made = Follows(*web("a", 1, "10.244.1.5"), service("b", ["10.96.0.1"], [{"port": 81}]))
    made.change(gone="a")
    assert made.elements(CLUSTER_IPS) == {("10.96.0.1",)}
    made.change(gone="b")
    assert made.elements(CLUSTER_IPS) == set()


def test_chains_come_and_go_with_the_counts_that_are_in_use() -> None:
    made = Follows(*web("a", 1, "10.244.1.5"), *web("b", 2, "10.244.1.5"))
    assert {"tcp-lb-1"} == {one for one in made.chains() if "lb-" in one}
    made.change(endpoint_slice("a", ["10.244.1.5", "10.244.1.6"]))
    assert {"tcp-lb-1", "tcp-lb-2"} <= made.chains()
    made.change(endpoint_slice("b", ["10.244.1.5", "10.244.1.6"]))
    assert "tcp-lb-1" not in made.chains()
    made.change(service("a", ["10.96.0.1"], **STAYS))
    assert {"tcp-lb-2", "tcp-lb-2-affinity", "remember-60"} <= made.chains()
    made.change(gone="a")
    assert "tcp-lb-2-affinity" not in made.chains()
    assert "remember-60" not in made.chains()
    assert made.chains(V6) == {one for one in made.chains(V6) if "lb-" not in one}


def test_the_verdict_stays_where_the_number_of_endpoints_does() -> None:
    made = Follows(*web("a", 1, "10.244.1.5", "10.244.1.6", "10.244.1.7"))
    part = made.change(endpoint_slice("a", ["10.244.1.5", "10.244.1.8", "10.244.1.7"]))
    assert changed(part) == {"tcp-endpoints", HAIRPIN}
    before, after = (one.tables[V4].elements["tcp-endpoints"] for one in part)
    assert {key for key in before if before[key] != after[key]} == {("10.96.0.1", 80, 1)}
    assert not changed(part, V6)


def test_slots_stay_whoever_comes_and_goes() -> None:
    made = Follows(*web("a", 1, "10.244.1.5", "10.244.1.6", "10.244.1.7"))
    made.change(endpoint_slice("a", ["10.244.1.1", "10.244.1.5", "10.244.1.6", "10.244.1.7"]))
    made.change(endpoint_slice("a", ["10.244.1.1", "10.244.1.6", "10.244.1.7"]))
    slots = {key[-1]: entry.value[0] for key, entry in made.table().elements["tcp-endpoints"].items()}
    assert slots == {0: "10.244.1.1", 1: "10.244.1.6", 2: "10.244.1.7"}


def test_a_change_that_changes_nothing_is_an_empty_part() -> None:
    made = Follows(*web("a", 1, "10.244.1.5"))
    assert not compare(*made.change(*web("a", 1, "10.244.1.5")))


def test_a_ruleset_that_was_handed_over_is_left_as_it_was() -> None:
    state = State.of(map(decoded, web("a", 1, "10.244.1.5")))
    planner = Planner(SETTINGS)
    planner.update(state, state.services)
    start = make_ruleset(planner.plan())
    copy = content_of(Model(start).ruleset())
    wanted = Wanted(SETTINGS)
    wanted.adopt(planner.plans.values(), start)
    wanted.change(tuple(planner.plans.values()), ())
    assert content_of(start) == copy


# Records --------------------------------------------------------------------------------------------------------------

CLIENT, CLIENT_HASH = "198.51.100.7", 12345
VIPS = {"a": ("10.96.0.1", "fd00:96::1"), "b": ("10.96.0.2", "fd00:96::2")}
NODE_PORT = 30080


def staying(name: str, *numbers: int, **spec: Any) -> list[Raw]:
    """A Service in both families whose clients stay with one of its endpoints."""
    told = {**STAYS, "type": "NodePort", **spec}
    ports: list[Raw] = [{"port": 80, "nodePort": NODE_PORT if name == "a" else 0}]
    return [
        service(name, VIPS[name], ports, **told),
        endpoint_slice(name, [f"10.244.1.{one}" for one in numbers]),
        endpoint_slice(name, [f"fd00:244:1::{one}" for one in numbers]),
    ]


def recorded(ruleset: Ruleset) -> Ruleset:
    """Return a ruleset with records of a client for both Services and the node port, with endpoints 5 and 6 each."""
    records: dict[Family, dict[str, dict[Any, Entry]]] = {
        V4: {AFFINITY: {}},
        V6: {name: {} for name in affinity_maps("tcp")},
    }
    node = NODE_ADDRESSES[V4][0], NODE_ADDRESSES[V6][0]
    for number in (5, 6):
        for four, six, port in (*((*one, 80) for one in VIPS.values()), (*node, NODE_PORT)):
            key = (f"198.51.100.{number}", four, "tcp", port)
            records[V4][AFFINITY][key] = Entry((f"10.244.1.{number}", 8080))
            hashed = (number, *hashed_address(six), port)
            for name, value in zip(affinity_maps("tcp"), ((f"fd00:244:1::{number}",), (8080,)), strict=True):
                records[V6][name][hashed] = Entry(value)
    return Ruleset(
        {
            family: Table(family, table.sets, table.chains, {**table.elements, **records[family]})
            for family, table in ruleset.tables.items()
        }
    )


def left(ruleset: Ruleset) -> dict[Family, set[tuple[str, int]]]:
    """Return the records in a ruleset, as `a`, `b` or `node` and the endpoint's number."""
    names = {VIPS[name][six]: name for name in VIPS for six in (0, 1)} | {
        str(NODE_ADDRESSES[one][0]): "node" for one in FAMILIES
    }
    hashes = {hashed_address(one): name for one, name in names.items() if ":" in one}
    four = ruleset.tables[V4].elements[AFFINITY]
    six = ruleset.tables[V6].elements[affinity_maps("tcp")[0]]
    assert six.keys() == ruleset.tables[V6].elements[affinity_maps("tcp")[1]].keys()
    return {
        V4: {(names[str(key[1])], int(str(entry.value[0]).rsplit(".", 1)[1])) for key, entry in four.items()},
        V6: {(hashes[key[1], key[2]], int(str(entry.value[0]).rsplit(":", 1)[1])) for key, entry in six.items()},  # type: ignore[index]
    }


EVERY = {(name, number) for name in ("a", "b", "node") for number in (5, 6)}


@pytest.mark.parametrize(
    ("new", "gone"),
    [
        (staying("a", 5), {("a", 6), ("node", 6)}),
        (staying("a", 5, 6, 7), set()),
        (staying("a", 7), {("a", 5), ("a", 6), ("node", 5), ("node", 6)}),
        (staying("a", 5, 6, sessionAffinity="None"), {("a", 5), ("a", 6), ("node", 5), ("node", 6)}),
        (staying("a", 5, 6, externalTrafficPolicy="Local"), {("node", 5), ("node", 6)}),
        (staying("a", 5, 6, sessionAffinityConfig={"clientIP": {"timeoutSeconds": 90}}), set()),
        (staying("b", 6), {("b", 5)}),
    ],
)
def test_records_of_others_stay_while_stale_ones_go(new: list[Raw], gone: set[tuple[str, int]]) -> None:
    made = Follows(*staying("a", 5, 6), *staying("b", 5, 6))
    found = recorded(make_ruleset(make_plan(made.state, SETTINGS)))
    assert left(found) == dict.fromkeys(FAMILIES, EVERY)
    part = made.change(*new)
    if not part.records_in_doubt:
        assert not gone
        return
    kernel = Model(found)
    kernel.run(compare(*made.wanted.without_stale_records(part.before, part, found)).transactions())
    assert left(kernel.ruleset()) == dict.fromkeys(FAMILIES, EVERY - gone)
    late = made.wanted.without_stale_records(part.after, part, recorded(kernel.ruleset()))
    kernel = Model(recorded(kernel.ruleset()))
    kernel.run(compare(*late).transactions())
    assert left(kernel.ruleset()) == dict.fromkeys(FAMILIES, EVERY - gone), "what was recorded meanwhile goes, too"


def test_a_service_that_goes_takes_its_records_and_nobody_elses() -> None:
    made = Follows(*staying("a", 5, 6), *staying("b", 5, 6))
    found = recorded(make_ruleset(make_plan(made.state, SETTINGS)))
    part = made.change(gone="a")
    assert part.records_in_doubt
    kernel = Model(found)
    kernel.run(compare(*made.wanted.without_stale_records(part.before, part, found)).transactions())
    assert left(kernel.ruleset()) == {V4: {("b", 5), ("b", 6)}, V6: {("b", 5), ("b", 6)}}


@pytest.mark.parametrize("spec", [{}, STAYS])
def test_records_are_looked_at_only_where_an_endpoint_goes_that_clients_stay_with(spec: Raw) -> None:
    made = Follows(*web("a", 1, "10.244.1.5", **spec), *staying("b", 5, 6))
    assert not made.change(endpoint_slice("a", ["10.244.1.5", "10.244.1.6"])).records_in_doubt
    assert made.change(endpoint_slice("a", ["10.244.1.6"])).records_in_doubt == bool(spec)
    assert made.elements(AFFINITY_ENDPOINTS) >= {("10.96.0.2", "tcp", 80, "10.244.1.5", 8080)}
