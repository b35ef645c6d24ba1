"""Plans kept up to date Service by Service: whoever is concerned is planned anew, and nobody else."""

from collections.abc import Iterable
from itertools import permutations
from typing import Any

import pytest

from nftsvc.events import Event, Put, Removed
from nftsvc.plan import HealthCheck, Planner, Replanned, make_plan
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey, State
from nftsvc.values import FAMILIES, Address, Family
from tests.support.builders import NODE, NODE_ADDRESSES, Raw, decoded, endpoint_slice, service

SETTINGS = NodeSettings(name=NODE, families=FAMILIES, node_port_addresses=NODE_ADDRESSES)
SHARED = "203.0.113.1"


def key(name: str) -> ServiceKey:
    return ServiceKey("shop", name)


def aged(name: str, year: int | None, address: str, *, node_port: int = 0, externals: Iterable[str] = ()) -> Raw:
    made = service(name, [address], [{"port": 80, "nodePort": node_port}], externalIPs=list(externals))
    made["metadata"]["creationTimestamp"] = f"{year}-01-01T00:00:00Z" if year is not None else None
    return made


class Planned:
    """A state and a planner that follows it."""

    def __init__(self, *raws: Raw) -> None:
        self.state = State.of(map(decoded, raws))
        self.planner = Planner(SETTINGS)
        self.planner.update(self.state, self.state.services)

    def apply(self, *events: Event) -> Replanned:
        touched = frozenset[ServiceKey]()
        for one in events:
            touched |= self.state.apply(one).services
        replanned = self.planner.update(self.state, touched)
        assert self.planner.plan() == make_plan(self.state, SETTINGS)
        return replanned

    def put(self, *raws: Raw) -> Replanned:
        return self.apply(*(Put(decoded(raw)) for raw in raws))

    def remove(self, *raws: Raw) -> Replanned:
        return self.apply(*(Removed(decoded(raw).ref) for raw in raws))

    def ways_in(self, name: str) -> set[tuple[str | None, int]]:
        ports = self.planner.plans[key(name)].ports
        return {(one.address, one.port) for port in ports for one in port.frontends}


def planned(replanned: Replanned) -> set[str]:
    return {one.service.name for one in replanned.new}


def test_only_what_is_asked_for_is_planned() -> None:
    made = Planned(*(service(f"s-{number}", [f"10.96.0.{number + 1}"]) for number in range(9)))
    untouched = dict(made.planner.plans)
    replanned = made.put(endpoint_slice("s-3", ["10.244.1.5"]))
    assert planned(replanned) == {"s-3"}
    assert [one.service.name for one in replanned.old] == ["s-3"]
    assert all(made.planner.plans[one] is plan for one, plan in untouched.items() if one.name != "s-3")


def test_a_slice_of_a_service_that_is_not_there_plans_nothing() -> None:
    made = Planned(service("s", ["10.96.0.1"]))
    assert made.put(endpoint_slice("other", ["10.244.1.5"])) == Replanned((), ())
    assert planned(made.put(service("other", ["10.96.0.2"]))) == {"other"}
    (port,) = made.planner.plans[key("other")].ports
    assert [one.address for one in port.cluster] == ["10.244.1.5"]


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_of_three_that_want_the_same_the_oldest_has_it_whoever_comes_first(order: tuple[int, ...]) -> None:
    raws = [
        aged(name, year, f"10.96.0.{year - 2000}", externals=[SHARED])
        for name, year in zip("abc", (2001, 2002, 2003), strict=True)
    ]
    made = Planned()
    for number in order:
        made.put(raws[number])
    assert (SHARED, 80) in made.ways_in("a")
    assert {name for name in "bc" if (SHARED, 80) in made.ways_in(name)} == set()
    made.remove(raws[0])
    assert (SHARED, 80) in made.ways_in("b")
    made.put(aged("b", 2002, "10.96.0.2"))
    assert (SHARED, 80) in made.ways_in("c")
    made.put(raws[0], raws[1])
    assert (SHARED, 80) in made.ways_in("a")
    assert (SHARED, 80) not in made.ways_in("c")


def test_a_loser_that_wins_may_make_another_lose_and_so_on() -> None:
    """The first beats the second over an address, the second the third over a node port, the third the fourth."""
    first = aged("a", 2001, "10.96.0.1", externals=["203.0.113.1"])
    second = aged("b", 2002, "10.96.0.2", externals=["203.0.113.1"], node_port=30001)
    third = aged("c", 2003, "10.96.0.3", node_port=30001, externals=["203.0.113.2"])
    fourth = aged("d", 2004, "10.96.0.4", externals=["203.0.113.2"])
    made = Planned(first, second, third, fourth)
    assert ("203.0.113.1", 80) not in made.ways_in("b")
    assert (None, 30001) in made.ways_in("b")
    assert (None, 30001) not in made.ways_in("c")
    assert ("203.0.113.2", 80) in made.ways_in("c")
    assert planned(made.remove(first)) == {"b"}
    assert planned(made.remove(second)) == {"c"}
    assert (None, 30001) in made.ways_in("c")
    assert planned(made.remove(third)) == {"d"}
    assert ("203.0.113.2", 80) in made.ways_in("d")
    made.put(first, second, third)
    assert made.planner.plan() == Planned(first, second, third, fourth).planner.plan()


def test_a_message_about_who_has_it_follows_the_owner() -> None:
    raws = [
        aged(name, year, f"10.96.0.{year - 2000}", externals=[SHARED])
        for name, year in (("a", 2001), ("b", 2002), ("c", 2003))
    ]
    made = Planned(*raws)
    assert "Service shop/a" in made.planner.plans[key("c")].problems[0].message
    assert planned(made.remove(raws[0])) == {"b", "c"}
    assert "Service shop/b" in made.planner.plans[key("c")].problems[0].message


def test_one_that_was_made_anew_is_younger_than_it_was() -> None:
    made = Planned(aged("a", 2001, "10.96.0.1", node_port=30001), aged("b", 2002, "10.96.0.2", node_port=30001))
    made.put(aged("a", 2003, "10.96.0.1", node_port=30001))
    assert (None, 30001) in made.ways_in("b")
    assert (None, 30001) not in made.ways_in("a")


def test_one_that_is_left_out_has_no_plan_and_claims_nothing() -> None:
    older, younger = (aged(name, year, "10.96.0.9", node_port=30001) for name, year in (("a", 2001), ("b", 2002)))
    made = Planned(older, younger)
    replanned = made.planner.update(made.state, [key("a")], [key("a")])
    assert (planned(replanned), {one.service.name for one in replanned.old}) == ({"b"}, {"a", "b"})
    assert made.planner.plans.keys() == {key("b")}
    assert (None, 30001) in made.ways_in("b")
    made.planner.update(made.state, [key("b")], [key("a")])
    assert made.planner.plans.keys() == {key("b")}
    assert planned(made.planner.update(made.state, [key("a")])) == {"a", "b"}
    assert made.planner.plan() == make_plan(made.state, SETTINGS)


def test_nothing_is_kept_of_those_that_are_gone() -> None:
    made = Planned()
    raws = [aged(f"s-{number}", 2000 + number, "10.96.0.9", node_port=30001) for number in range(5)]
    made.put(*raws)
    made.remove(*raws)
    assert not made.planner.plans
    assert not any(vars(made.planner._claims).values())  # noqa: SLF001 - what nobody sees must not grow


# Health checks --------------------------------------------------------------------------------------------------------


def one(address: str, *, node: str = NODE, **conditions: Any) -> Raw:
    return {"addresses": [address], "nodeName": node, "conditions": conditions}


def check(
    *slices: Iterable[Raw], ports: Iterable[Raw] = ({"name": "a", "port": 80},), **spec: Any
) -> HealthCheck | None:
    told: Raw = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    raws = [service("web", ["10.96.0.1", "fd00:96::1"], ports, **{**told, **spec})]
    for number, endpoints in enumerate(slices):
        listed = list(endpoints)
        made = endpoint_slice("web", [raw["addresses"][0] for raw in listed], suffix=f"{number}")
        made["endpoints"] = listed
        made["ports"] = [{"name": raw["name"], "port": 8000 + at} for at, raw in enumerate(ports)]
        raws.append(made)
    return Planned(*raws).planner.plans[key("web")].health_check


def counts(*slices: Iterable[Raw], **rest: Any) -> dict[Family, int]:
    found = check(*slices, **rest)
    assert found is not None
    assert (found.service, found.port) == (key("web"), 32000)
    return dict(found.local)


def test_ready_endpoints_of_this_node_count() -> None:
    listed = [
        one("10.244.1.5"),
        one("10.244.1.6", ready=True),
        one("10.244.2.5", node="node-b"),
        one("10.244.1.7", ready=False),
    ]
    assert counts(listed) == {Family.IPV4: 2, Family.IPV6: 0}


def test_endpoints_that_terminate_do_not_count_even_where_traffic_goes_to_them() -> None:
    draining = {"ready": False, "serving": True, "terminating": True}
    assert counts([one("10.244.1.5", **draining)]) == {Family.IPV4: 0, Family.IPV6: 0}


def test_endpoints_count_by_address_however_many_ports_and_slices_they_are_in() -> None:
    ports: list[Raw] = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    assert counts([one("10.244.1.5")], [one("10.244.1.5")], ports=ports)[Family.IPV4] == 1


def test_each_family_counts_its_own() -> None:
    assert counts([one("10.244.1.5"), one("10.244.1.6")], [one("fd00:244:1::5")]) == {Family.IPV4: 2, Family.IPV6: 1}


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "NodePort"},
        {"externalTrafficPolicy": "Cluster"},
        {"healthCheckNodePort": 0},
        {"clusterIP": "None", "clusterIPs": ["None"]},
    ],
)
def test_others_have_no_health_check(spec: Raw) -> None:
    assert check([one("10.244.1.5")], **spec) is None


def test_an_endpoint_of_another_family_than_the_services_counts_for_nothing() -> None:
    raws = [
        service("web", ["10.96.0.1"], type="LoadBalancer", externalTrafficPolicy="Local", healthCheckNodePort=32000),
        endpoint_slice("web", ["fd00:244:1::5"]),
    ]
    found = Planned(*raws).planner.plans[key("web")].health_check
    assert found is not None
    assert dict(found.local) == {Family.IPV4: 0}
    assert Planned(*raws).planner.plans[key("web")].cluster_ips == (Address("10.96.0.1"),)
