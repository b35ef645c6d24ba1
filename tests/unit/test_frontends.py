"""Where clients knock: the ways into a Service port, in order, each address once, with policy and source ranges."""

from collections.abc import Iterable
from typing import Any

import pytest

from nftsvc.frontends import Frontend, FrontendKind, frontends_of, is_external
from nftsvc.objects import Service
from nftsvc.values import Address, Port
from tests.support import builders

VIP, VIP_6 = "10.96.0.1", "fd00:96::1"
LB, LB_6 = "203.0.113.10", "2001:db8:203::10"
EXTERNAL, EXTERNAL_6 = "203.0.113.20", "2001:db8:203::20"
NODE, NODE_6 = "192.0.2.11", "2001:db8::11"

CLUSTER_IP = FrontendKind.CLUSTER_IP
LOAD_BALANCER = FrontendKind.LOAD_BALANCER
EXTERNAL_IP = FrontendKind.EXTERNAL_IP
NODE_PORT = FrontendKind.NODE_PORT
EVERY_TYPE = ("ClusterIP", "NodePort", "LoadBalancer")


def service(*ingress: dict[str, Any] | str, **spec: Any) -> Service:
    """Return a dual-stack Service; `ingress` are its load balancer's addresses."""
    ports = spec.pop("ports", [{"port": 80}])
    raw = builders.service("web", [VIP, VIP_6], ports, **spec)
    listed = [{"ip": one} if isinstance(one, str) else one for one in ingress]
    raw["status"] = {"loadBalancer": {"ingress": listed}}
    made = builders.decoded(raw)
    assert isinstance(made, Service)
    return made


def frontends(web: Service, *, six: bool = False, node: str | None = None, port: int = 0) -> list[Frontend]:
    assert web.spec is not None
    assert web.spec.ports is not None
    address = Address(VIP_6 if six else VIP)
    return list(frontends_of(web, web.spec.ports[port], address, Address(node) if node is not None else None))


def ways(found: Iterable[Frontend]) -> list[tuple[FrontendKind, str | None, int]]:
    return [(one.kind, one.address, int(one.port)) for one in found]


def sources(web: Service, *, six: bool = False, node: str | None = None) -> tuple[str, ...]:
    (balancer,) = [one for one in frontends(web, six=six, node=node) if one.kind is LOAD_BALANCER]
    return balancer.sources


# Ways in -------------------------------------------------------------------------------------------------------------


def test_a_service_is_reached_at_its_cluster_ip() -> None:
    assert frontends(service()) == [Frontend(CLUSTER_IP, Address(VIP), Port(80))]


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_every_way_in_is_used_whatever_the_type_and_the_cluster_ip_comes_first(kind: str) -> None:
    web = service(LB, LB_6, type=kind, externalIPs=[EXTERNAL, EXTERNAL_6], ports=[{"port": 80, "nodePort": 30080}])
    assert ways(frontends(web)) == [
        (CLUSTER_IP, VIP, 80),
        (LOAD_BALANCER, LB, 80),
        (EXTERNAL_IP, EXTERNAL, 80),
        (NODE_PORT, None, 30080),
    ]
    assert ways(frontends(web, six=True)) == [
        (CLUSTER_IP, VIP_6, 80),
        (LOAD_BALANCER, LB_6, 80),
        (EXTERNAL_IP, EXTERNAL_6, 80),
        (NODE_PORT, None, 30080),
    ]


def test_only_the_cluster_ip_is_internal() -> None:
    web = service(LB, externalIPs=[EXTERNAL], ports=[{"port": 80, "nodePort": 30080}])
    assert {one.kind: one.external for one in frontends(web)} == {
        CLUSTER_IP: False,
        LOAD_BALANCER: True,
        EXTERNAL_IP: True,
        NODE_PORT: True,
    }


@pytest.mark.parametrize("number", [None, 0])
def test_a_node_port_of_zero_is_none(number: int | None) -> None:
    assert ways(frontends(service(ports=[{"port": 80, "nodePort": number}]))) == [(CLUSTER_IP, VIP, 80)]


def test_each_port_has_its_own_frontends() -> None:
    ports = [{"name": "a", "port": 80, "nodePort": 30080}, {"name": "b", "port": 443}]
    web = service(EXTERNAL, ports=ports)
    assert ways(frontends(web, port=1)) == [(CLUSTER_IP, VIP, 443), (LOAD_BALANCER, EXTERNAL, 443)]


def test_addresses_of_the_other_family_are_left_to_it() -> None:
    web = service(LB_6, externalIPs=[EXTERNAL_6])
    assert ways(frontends(web)) == [(CLUSTER_IP, VIP, 80)]
    assert len(frontends(web, six=True)) == 3


def test_several_addresses_of_a_kind_keep_their_order() -> None:
    web = service("203.0.113.12", "203.0.113.11", externalIPs=["203.0.113.22", "203.0.113.21"])
    assert [one.address for one in frontends(web)][1:] == [
        *("203.0.113.12", "203.0.113.11", "203.0.113.22", "203.0.113.21"),
    ]


@pytest.mark.parametrize("empty", [None, [], [""]])
def test_no_external_ip_is_no_way_in(empty: object) -> None:
    assert ways(frontends(service(externalIPs=empty))) == [(CLUSTER_IP, VIP, 80)]


@pytest.mark.parametrize(
    ("ingress", "used"),
    [
        ({"ip": LB}, True),
        ({"ip": LB, "ipMode": None}, True),
        ({"ip": LB, "ipMode": "VIP"}, True),
        ({"ip": LB, "ipMode": "Proxy"}, False),
        ({"ip": LB, "hostname": "lb.example"}, True),
        ({"ip": "", "hostname": "lb.example"}, False),
        ({"hostname": "lb.example"}, False),
        ({"hostname": "lb.example", "ipMode": "VIP"}, False),
        ({}, False),
    ],
)
def test_a_load_balancer_ip_is_used_unless_packets_come_without_it(ingress: dict[str, Any], used: bool) -> None:
    assert ways(frontends(service(ingress)))[1:] == ([(LOAD_BALANCER, LB, 80)] if used else [])


def test_each_address_of_a_load_balancer_has_its_own_mode() -> None:
    web = service({"ip": LB, "ipMode": "Proxy"}, {"ip": "203.0.113.11", "ipMode": "VIP"}, "203.0.113.12")
    assert [one.address for one in frontends(web)][1:] == ["203.0.113.11", "203.0.113.12"]


def test_a_service_without_a_status_has_no_load_balancer() -> None:
    raw = builders.service("web", [VIP])
    statuses: list[Any] = [None, {}, {"loadBalancer": None}, {"loadBalancer": {}}, {"loadBalancer": {"ingress": None}}]
    for status in statuses:
        web = builders.decoded({**raw, "status": status})
        assert isinstance(web, Service)
        assert ways(frontends(web)) == [(CLUSTER_IP, VIP, 80)]


@pytest.mark.parametrize(
    ("ingress", "external_ips", "expected"),
    [
        ([LB, LB], [], [(LOAD_BALANCER, LB)]),
        ([], [EXTERNAL, EXTERNAL], [(EXTERNAL_IP, EXTERNAL)]),
        ([LB], [LB], [(LOAD_BALANCER, LB)]),
        ([LB], [EXTERNAL, LB], [(LOAD_BALANCER, LB), (EXTERNAL_IP, EXTERNAL)]),
        ([VIP], [VIP], []),
        ([], ["203.000.113.020", EXTERNAL], [(EXTERNAL_IP, EXTERNAL)]),
    ],
)
def test_each_address_is_one_way_in(
    ingress: list[str], external_ips: list[str], expected: list[tuple[FrontendKind, str]]
) -> None:
    found = frontends(service(*ingress, externalIPs=external_ips))
    assert [(one.kind, one.address) for one in found] == [(CLUSTER_IP, VIP), *expected]


# Traffic policies ----------------------------------------------------------------------------------------------------


def local(web: Service) -> set[FrontendKind]:
    return {one.kind for one in frontends(web) if one.local_policy}


ALL_WAYS: dict[str, Any] = {"externalIPs": [EXTERNAL], "ports": [{"port": 80, "nodePort": 30080}]}


@pytest.mark.parametrize("policy", [None, "Cluster"])
def test_policies_are_cluster_unless_they_are_local(policy: str | None) -> None:
    web = service(LB, type="LoadBalancer", internalTrafficPolicy=policy, externalTrafficPolicy=policy, **ALL_WAYS)
    assert local(web) == set()


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_the_internal_policy_is_about_the_cluster_ip_alone(kind: str) -> None:
    assert local(service(LB, type=kind, internalTrafficPolicy="Local", **ALL_WAYS)) == {CLUSTER_IP}


@pytest.mark.parametrize("kind", EVERY_TYPE)
def test_the_external_policy_is_about_everything_else(kind: str) -> None:
    web = service(LB, type=kind, externalTrafficPolicy="Local", **ALL_WAYS)
    assert local(web) == {LOAD_BALANCER, EXTERNAL_IP, NODE_PORT}


def test_both_policies_may_be_local() -> None:
    web = service(LB, type="LoadBalancer", internalTrafficPolicy="Local", externalTrafficPolicy="Local", **ALL_WAYS)
    assert local(web) == set(FrontendKind)


@pytest.mark.parametrize(
    ("kind", "external_ips", "counts"),
    [
        ("ClusterIP", [], False),
        ("ClusterIP", [EXTERNAL], True),
        ("ClusterIP", [EXTERNAL_6], True),
        ("NodePort", [], True),
        ("LoadBalancer", [], True),
        ("ExternalName", [EXTERNAL], False),
    ],
)
def test_the_external_policy_counts_for_services_that_are_seen_from_outside(
    kind: str, external_ips: list[str], counts: bool
) -> None:
    web = service(LB, type=kind, externalIPs=external_ips, externalTrafficPolicy="Local")
    assert is_external(web) is counts
    assert (LOAD_BALANCER in local(web)) is counts


# Source ranges -------------------------------------------------------------------------------------------------------


def guarded(*ranges: str, ingress: Iterable[str] = (LB, LB_6), **spec: Any) -> Service:
    return service(*ingress, type="LoadBalancer", loadBalancerSourceRanges=list(ranges), **spec)


def test_source_ranges_guard_load_balancer_ips_and_nothing_else() -> None:
    found = {one.kind: one.sources for one in frontends(guarded("198.51.100.0/24", **ALL_WAYS))}
    assert found == {CLUSTER_IP: (), LOAD_BALANCER: ("198.51.100.0/24",), EXTERNAL_IP: (), NODE_PORT: ()}


def test_source_ranges_guard_every_load_balancer_ip_and_port() -> None:
    ports = [{"name": "a", "port": 80}, {"name": "b", "port": 443}]
    web = guarded("198.51.100.0/24", ingress=(LB, "203.0.113.11"), ports=ports)
    for port in (0, 1):
        assert [one.sources for one in frontends(web, port=port)] == [(), ("198.51.100.0/24",), ("198.51.100.0/24",)]


def test_an_address_that_is_an_external_ip_too_stays_guarded() -> None:
    assert sources(guarded("198.51.100.0/24", externalIPs=[LB])) == ("198.51.100.0/24",)


@pytest.mark.parametrize("kind", ["ClusterIP", "NodePort"])
def test_source_ranges_count_whatever_the_type(kind: str) -> None:
    assert sources(service(LB, type=kind, loadBalancerSourceRanges=["198.51.100.0/24"])) == ("198.51.100.0/24",)


@pytest.mark.parametrize(
    ("ranges", "four", "six"),
    [
        ([], (), ()),
        (["198.51.100.0/24"], ("198.51.100.0/24",), ()),
        (["2001:db8:100::/64"], (), ("2001:db8:100::/64",)),
        (["198.51.100.0/24", "2001:db8:100::/64"], ("198.51.100.0/24",), ("2001:db8:100::/64",)),
        ([" 198.51.100.7/24 "], ("198.51.100.0/24",), ()),
        (["198.51.100.7/32"], ("198.51.100.7",), ()),
        (["0.0.0.0/0"], (), ()),
        (["198.51.100.0/24", "0.0.0.0/0"], (), ()),
        (["0.0.0.0/0", "2001:db8:100::/64"], (), ("2001:db8:100::/64",)),
        (["198.51.100.0/24", "::/0"], ("198.51.100.0/24",), ()),
        (["198.51.100.0/24", "198.51.100.128/25", "198.51.100.0/24"], ("198.51.100.0/24",), ()),
        (["203.0.113.0/24", "198.51.100.0/24"], ("198.51.100.0/24", "203.0.113.0/24"), ()),
    ],
)
def test_each_family_has_its_own_ranges_and_none_means_no_condition(
    ranges: list[str], four: tuple[str, ...], six: tuple[str, ...]
) -> None:
    web = guarded(*ranges)
    assert (sources(web), sources(web, six=True)) == (four, six)


@pytest.mark.parametrize(
    ("ranges", "node", "more"),
    [
        (["192.0.2.0/24"], NODE, True),
        (["198.51.100.0/24", "192.0.2.11/32"], NODE, True),
        (["198.51.100.0/24"], NODE, False),
        (["192.0.2.0/24"], None, False),
        (["192.0.2.0/24"], "192.0.3.11", False),
    ],
)
def test_a_range_with_the_node_in_it_allows_the_load_balancer_ips_as_sources(
    ranges: list[str], node: str | None, more: bool
) -> None:
    web = guarded(*ranges, ingress=(LB, LB_6, "203.0.113.15"), externalIPs=["203.0.113.30"])
    given = {one.removesuffix("/32") for one in ranges}
    allowed = given | {LB, "203.0.113.15"} if more else given
    assert {one.kind: set(one.sources) for one in frontends(web, node=node) if one.sources} == {LOAD_BALANCER: allowed}


def test_the_nodes_address_of_the_other_family_counts_there() -> None:
    web = guarded("192.0.2.0/24", "2001:db8::/64")
    assert set(sources(web, six=True, node=NODE_6)) == {"2001:db8::/64", LB_6}
    assert set(sources(web, node=NODE)) == {"192.0.2.0/24", LB}


def test_load_balancers_that_replace_addresses_are_no_allowed_sources() -> None:
    web = service(
        LB, {"ip": "203.0.113.11", "ipMode": "Proxy"}, type="LoadBalancer", loadBalancerSourceRanges=["192.0.2.0/24"]
    )
    assert set(sources(web, node=NODE)) == {"192.0.2.0/24", LB}


def test_cluster_ip_that_is_the_load_balancers_is_behind_its_source_ranges() -> None:
    found = frontends(service(VIP, type="LoadBalancer", loadBalancerSourceRanges=["198.51.100.0/24"]))
    cluster_ip = next(one for one in found if one.kind is FrontendKind.CLUSTER_IP)
    assert (cluster_ip.address, cluster_ip.sources) == (VIP, ("198.51.100.0/24",))
    assert [one.kind for one in found if one.address == VIP] == [FrontendKind.CLUSTER_IP]
