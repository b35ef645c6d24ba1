"""Which endpoints a node may use for one port of a Service."""

from collections.abc import Iterable
from itertools import permutations

import pytest

from nftsvc.endpoints import Endpoint, Place, judge
from nftsvc.objects import (
    LABEL_HEADLESS,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Hint,
    ServicePort,
    SliceEndpoint,
    SliceMeta,
)
from nftsvc.values import Address, Family, Label, Port, Protocol, Subdomain

HTTP = ServicePort(name=Label("http"), port=Port(80))
UNNAMED = ServicePort(port=Port(80))


def usable(
    slices: Iterable[EndpointSlice], port: ServicePort, family: Family, node: str | None
) -> tuple[Endpoint, ...]:
    judged = judge(slices, port, family, Place(node, ""))
    return tuple(one.endpoint for one in judged if not one.not_in_cluster)


def endpoint(address: str, *, ready: bool | None = True, node: str | None = None) -> SliceEndpoint:
    return SliceEndpoint(
        addresses=(Address.parse(address),), conditions=EndpointConditions(ready=ready), node_name=node
    )


def slice_port(number: int | None = 8080, name: str | None = "http", protocol: str | None = "TCP") -> EndpointPort:
    return EndpointPort(
        name=Label(name) if name is not None else None,
        protocol=Protocol(protocol) if protocol is not None else None,
        port=Port(number) if number is not None else None,
    )


def of(
    *endpoints: SliceEndpoint,
    ports: tuple[EndpointPort, ...] = (slice_port(),),
    family: str = "IPv4",
    labels: dict[str, str] | None = None,
) -> EndpointSlice:
    return EndpointSlice(
        metadata=SliceMeta(name=Subdomain("web-1"), labels=labels),
        address_type=Family(family),
        endpoints=endpoints,
        ports=ports,
    )


def found(
    *slices: EndpointSlice, port: ServicePort = HTTP, family: Family = Family.IPV4, node: str | None = None
) -> list[str]:
    return [f"{one.address} {one.port}" for one in usable(slices, port, family, node)]


def on_node(*slices: EndpointSlice, node: str | None = "node-a") -> list[bool]:
    return [one.on_node for one in usable(slices, HTTP, Family.IPV4, node)]


def test_no_slices_give_no_endpoints() -> None:
    assert usable((), HTTP, Family.IPV4, None) == ()


def test_a_slice_without_endpoints_or_ports_gives_none() -> None:
    empty = EndpointSlice(address_type=Family.IPV4)
    assert found(empty, of(), of(endpoint("10.0.0.1"), ports=())) == []


# Ports ---------------------------------------------------------------------------------------------------------------


def test_ports_are_matched_by_name_and_the_slice_says_the_number() -> None:
    part = of(endpoint("10.0.0.1"), ports=(slice_port(8080), slice_port(9090, "metrics")))
    assert found(part) == ["10.0.0.1 8080"]
    assert found(part, port=ServicePort(name=Label("metrics"), port=Port(80))) == ["10.0.0.1 9090"]
    assert found(part, port=ServicePort(name=Label("other"), port=Port(8080))) == []


@pytest.mark.parametrize("name", [None, ""])
def test_an_unnamed_port_matches_the_empty_name_only(name: str | None) -> None:
    part = of(endpoint("10.0.0.1"), ports=(slice_port(8080, name), slice_port(9090, "metrics")))
    assert found(part, port=UNNAMED) == ["10.0.0.1 8080"]
    assert found(part) == []


def test_ports_are_matched_by_protocol() -> None:
    part = of(endpoint("10.0.0.1"), ports=(slice_port(53, "dns", "UDP"), slice_port(5353, "dns", "TCP")))
    assert found(part, port=ServicePort(name=Label("dns"), protocol=Protocol("UDP"))) == ["10.0.0.1 53"]
    assert found(part, port=ServicePort(name=Label("dns"), protocol=Protocol("TCP"))) == ["10.0.0.1 5353"]
    assert found(part, port=ServicePort(name=Label("dns"), protocol=Protocol("SCTP"))) == []


def test_a_protocol_left_out_in_a_slice_is_tcp() -> None:
    part = of(endpoint("10.0.0.1"), ports=(slice_port(protocol=None),))
    assert found(part) == ["10.0.0.1 8080"]
    assert found(part, port=ServicePort(name=Label("http"), protocol=Protocol("UDP"))) == []


def test_a_slice_port_without_a_number_is_ignored() -> None:
    assert found(of(endpoint("10.0.0.1"), ports=(slice_port(None),))) == []
    assert found(of(endpoint("10.0.0.1"), ports=(slice_port(None, "other"), slice_port(8080)))) == ["10.0.0.1 8080"]


def test_slices_with_different_numbers_for_one_port_give_different_endpoints() -> None:
    slices = of(endpoint("10.0.0.1"), ports=(slice_port(3456),)), of(endpoint("10.0.0.2"), ports=(slice_port(4567),))
    assert found(*slices) == ["10.0.0.1 3456", "10.0.0.2 4567"]


# Readiness -----------------------------------------------------------------------------------------------------------


def test_only_ready_endpoints_are_used() -> None:
    assert found(of(endpoint("10.0.0.1", ready=False), endpoint("10.0.0.2"))) == ["10.0.0.2 8080"]


@pytest.mark.parametrize("conditions", [None, EndpointConditions(), EndpointConditions(serving=False)])
def test_ready_left_out_means_ready(conditions: EndpointConditions | None) -> None:
    unset = SliceEndpoint(addresses=(Address("10.0.0.1"),), conditions=conditions)
    assert found(of(unset)) == ["10.0.0.1 8080"]


def test_an_endpoint_that_serves_but_is_not_ready_and_not_terminating_is_not_used() -> None:
    conditions = EndpointConditions(ready=False, serving=True, terminating=False)
    part = of(SliceEndpoint(addresses=(Address("10.0.0.1"),), conditions=conditions))
    assert found(part) == []


@pytest.mark.parametrize("addresses", [None, ()])
def test_an_endpoint_without_addresses_is_ignored(addresses: tuple[Address, ...] | None) -> None:
    assert found(of(SliceEndpoint(addresses=addresses), endpoint("10.0.0.2"))) == ["10.0.0.2 8080"]


def test_only_the_first_address_of_an_endpoint_counts() -> None:
    two = SliceEndpoint(addresses=(Address("10.0.0.2"), Address("10.0.0.1")))
    assert found(of(two)) == ["10.0.0.2 8080"]


# Slices --------------------------------------------------------------------------------------------------------------


def test_only_slices_of_the_family_count() -> None:
    slices = of(endpoint("10.0.0.1")), of(endpoint("fd00::1"), family="IPv6")
    assert found(*slices) == ["10.0.0.1 8080"]
    assert found(*slices, family=Family.IPV6) == ["fd00::1 8080"]


@pytest.mark.parametrize("value", ["", "true", "false"])
def test_slices_labelled_headless_are_ignored_whatever_the_value(value: str) -> None:
    labelled = of(endpoint("10.0.0.1"), labels={LABEL_HEADLESS: value, "app": "web"})
    assert found(labelled, of(endpoint("10.0.0.2"), labels={"app": "web"})) == ["10.0.0.2 8080"]


def test_an_endpoint_that_several_slices_repeat_is_one() -> None:
    assert found(of(endpoint("10.0.0.1"), endpoint("10.0.0.1")), of(endpoint("10.0.0.1"))) == ["10.0.0.1 8080"]


def test_an_endpoint_that_is_ready_in_one_of_two_slices_is_used() -> None:
    slices = of(endpoint("10.0.0.1", ready=False)), of(endpoint("10.0.0.1"))
    assert found(*slices) == found(*reversed(slices)) == ["10.0.0.1 8080"]


def test_one_address_with_two_ports_is_two_endpoints() -> None:
    slices = of(endpoint("10.0.0.1")), of(endpoint("10.0.0.1"), ports=(slice_port(9090),))
    assert found(*slices) == ["10.0.0.1 8080", "10.0.0.1 9090"]


def test_endpoints_are_sorted_by_address_as_a_number_and_then_by_port() -> None:
    one = of(*(endpoint(address) for address in ("10.0.0.10", "10.0.0.9", "9.0.0.1", "100.0.0.1")))
    other = of(endpoint("10.0.0.9"), endpoint("9.0.0.1"), ports=(slice_port(10000), slice_port(80, "metrics")))
    expected = [
        *("9.0.0.1 8080", "9.0.0.1 10000"),
        *("10.0.0.9 8080", "10.0.0.9 10000"),
        *("10.0.0.10 8080", "100.0.0.1 8080"),
    ]
    assert found(one, other) == found(other, one) == expected


def test_ipv6_endpoints_are_sorted_by_number_too() -> None:
    part = of(*(endpoint(address) for address in ("fd00::10", "fd00:1::", "fd00::9", "2001:db8::1")), family="IPv6")
    order = [line.split()[0] for line in found(part, family=Family.IPV6)]
    assert order == ["2001:db8::1", "fd00::9", "fd00::10", "fd00:1::"]


# Nodes ---------------------------------------------------------------------------------------------------------------


def test_an_endpoint_is_on_the_node_that_it_names() -> None:
    part = of(endpoint("10.0.0.1", node="node-a"), endpoint("10.0.0.2", node="node-b"))
    assert on_node(part) == [True, False]
    assert on_node(part, node="node-b") == [False, True]


def test_an_endpoint_that_names_no_node_may_be_on_this_one() -> None:
    assert on_node(of(endpoint("10.0.0.1"))) == [True]


def test_without_a_node_every_endpoint_may_be_on_this_one() -> None:
    assert on_node(of(endpoint("10.0.0.1", node="node-a"), endpoint("10.0.0.2")), node=None) == [True, True]


@pytest.mark.parametrize("node", ["node-a", "node-b"])
def test_of_repeated_endpoints_one_that_says_where_it_runs_wins_in_any_order(node: str) -> None:
    slices = of(endpoint("10.0.0.1")), of(endpoint("10.0.0.1", node=node)), of(endpoint("10.0.0.1"))
    assert {tuple(on_node(*order)) for order in permutations(slices)} == {(node == "node-a",)}


def test_the_order_of_slices_and_endpoints_does_not_matter() -> None:
    endpoints = (endpoint("10.0.0.1", node="node-a"), endpoint("10.0.0.2", node="node-b"), endpoint("10.0.0.3"))
    slices = of(*endpoints), of(*reversed(endpoints), ports=(slice_port(9090),)), of(endpoint("10.0.0.4"))
    answers = {usable(order, HTTP, Family.IPV4, "node-a") for order in permutations(slices)}
    assert len(answers) == 1
    assert Endpoint(Address("10.0.0.2"), Port(9090), on_node=False) in next(iter(answers))


# Termination ---------------------------------------------------------------------------------------------------------


def draining(address: str, *, serving: bool | None = True, ready: bool = False) -> SliceEndpoint:
    conditions = EndpointConditions(ready=ready, serving=serving, terminating=True)
    return SliceEndpoint(addresses=(Address.parse(address),), conditions=conditions)


def test_where_none_is_ready_those_that_terminate_and_serve_are_used() -> None:
    assert found(of(draining("10.0.0.1"), draining("10.0.0.2", serving=False))) == ["10.0.0.1 8080"]
    assert found(of(draining("10.0.0.1", serving=None))) == ["10.0.0.1 8080"]


def test_one_ready_endpoint_anywhere_ends_the_use_of_those_that_terminate() -> None:
    assert found(of(draining("10.0.0.1")), of(endpoint("10.0.0.2"))) == ["10.0.0.2 8080"]


def test_a_ready_endpoint_of_another_port_leaves_this_port_to_those_that_terminate() -> None:
    other = of(endpoint("10.0.0.2"), ports=(slice_port(9090, "metrics"),))
    assert found(of(draining("10.0.0.1")), other) == ["10.0.0.1 8080"]


def test_a_terminating_endpoint_that_is_ready_all_the_same_is_a_ready_one() -> None:
    """publishNotReadyAddresses: the controller says ready of Pods that terminate, too."""
    assert found(of(draining("10.0.0.1", ready=True), endpoint("10.0.0.2"))) == ["10.0.0.1 8080", "10.0.0.2 8080"]


# The node's own list -------------------------------------------------------------------------------------------------

HERE = Place("node-a", "zone-a")


def made(
    number: int,
    state: str = "ready",
    *,
    node: str | None = "node-a",
    zones: tuple[str, ...] = (),
    nodes: tuple[str, ...] = (),
) -> SliceEndpoint:
    """Return 10.0.0.NUMBER in one of the states that an endpoint may be in."""
    ready, serving, terminating = {
        "ready": (True, True, False),
        "unready": (False, False, False),
        "serving": (False, True, False),
        "draining": (False, True, True),
        "gone": (False, False, True),
        "unset": (None, None, None),
    }[state]
    return SliceEndpoint(
        addresses=(Address(f"10.0.0.{number}"),),
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        node_name=node,
        hints=EndpointHints(
            for_zones=tuple(Hint(name=one) for one in zones), for_nodes=tuple(Hint(name=one) for one in nodes)
        )
        if zones or nodes
        else None,
    )


def verdicts(*endpoints: SliceEndpoint, place: Place = HERE) -> dict[int, tuple[str, str]]:
    """Return by last number of the address why an endpoint is on neither list."""
    judged = judge([of(*endpoints)], HTTP, Family.IPV4, place)
    return {int(one.endpoint.address.split(".")[-1]): (one.not_in_cluster, one.not_local) for one in judged}


def cluster(*endpoints: SliceEndpoint, place: Place = HERE) -> list[int]:
    return [number for number, (reason, _) in verdicts(*endpoints, place=place).items() if not reason]


def local(*endpoints: SliceEndpoint, place: Place = HERE) -> list[int]:
    return [number for number, (_, reason) in verdicts(*endpoints, place=place).items() if not reason]


def test_the_local_list_has_the_endpoints_that_name_this_node() -> None:
    endpoints = (made(1), made(2, node="node-b"), made(3, node=None), made(4, node="Node-A"))
    assert local(*endpoints) == [1]
    assert {reason for _, reason in verdicts(*endpoints).values()} == {"", "not local"}
    assert local(*endpoints, place=Place("node-b", "")) == [2]


def test_for_no_node_in_particular_nothing_is_local() -> None:
    assert local(made(1), made(2, node=None), place=Place(None, "")) == []
    assert cluster(made(1), made(2, node=None), place=Place(None, "")) == [1, 2]


@pytest.mark.parametrize(
    ("here", "elsewhere", "of_cluster", "of_node"),
    [
        ("ready", "ready", [1, 2], [1]),
        ("ready", "draining", [1], [1]),
        ("draining", "ready", [2], [1]),
        ("draining", "draining", [1, 2], [1]),
        ("draining", "gone", [1], [1]),
        ("gone", "draining", [2], []),
        ("serving", "draining", [2], []),
        ("unready", "ready", [2], []),
        ("unready", "serving", [], []),
        ("unset", "draining", [1], [1]),
    ],
)
def test_each_list_falls_back_to_those_that_drain_on_its_own(
    here: str, elsewhere: str, of_cluster: list[int], of_node: list[int]
) -> None:
    endpoints = (made(1, here), made(2, elsewhere, node="node-b"))
    assert (cluster(*endpoints), local(*endpoints)) == (of_cluster, of_node)


def test_one_ready_endpoint_here_ends_the_use_of_those_that_drain_here() -> None:
    assert local(made(1, "draining"), made(2), made(3, "draining", node="node-b")) == [2]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("ready", ""),
        ("unset", ""),
        ("unready", "not ready"),
        ("serving", "not ready"),
        ("draining", "terminating"),
        ("gone", "terminating, no longer serving"),
    ],
)
def test_why_an_endpoint_is_left_out_while_others_are_ready(state: str, reason: str) -> None:
    assert verdicts(made(1, state), made(2)) == {1: (reason, reason), 2: ("", "")}
    assert verdicts(made(1, state, node="node-b"), made(2))[1] == (reason, "not local")


@pytest.mark.parametrize(
    ("state", "reason"),
    [("unready", "not ready"), ("serving", "not ready"), ("gone", "terminating, no longer serving")],
)
def test_what_cannot_serve_is_left_out_even_if_nothing_else_is_there(state: str, reason: str) -> None:
    assert verdicts(made(1, state)) == {1: (reason, reason)}
    assert verdicts(made(1, state), made(2, "draining")) == {1: (reason, reason), 2: ("", "")}


# Hints ---------------------------------------------------------------------------------------------------------------

A, B, AB = ("zone-a",), ("zone-b",), ("zone-a", "zone-b")
ON_A, ON_B = ("node-a",), ("node-b",)


@pytest.mark.parametrize(
    ("endpoints", "used"),
    [
        # zones
        ((made(1, zones=A), made(2, zones=B)), [1]),
        ((made(1, zones=A), made(2, zones=AB), made(3, zones=B)), [1, 2]),
        ((made(1, zones=A), made(2)), [1, 2]),
        ((made(1, zones=B), made(2, zones=("zone-c",))), [1, 2]),
        ((made(1, zones=A, node="node-b"), made(2, zones=B, node="node-a")), [1]),
        # nodes
        ((made(1, nodes=ON_A), made(2, nodes=ON_B)), [1]),
        ((made(1, nodes=ON_A, node="node-b"), made(2, nodes=ON_B)), [1]),
        ((made(1, nodes=("node-b", "node-a")), made(2, nodes=ON_B)), [1]),
        ((made(1, nodes=ON_A), made(2)), [1, 2]),
        ((made(1, nodes=ON_B), made(2, nodes=("node-c",))), [1, 2]),
        # both: the node comes first, then the zone, then everywhere
        ((made(1, nodes=ON_A, zones=A), made(2, nodes=ON_B, zones=A), made(3, nodes=ON_B, zones=B)), [1]),
        ((made(1, nodes=("node-c",), zones=A), made(2, nodes=ON_B, zones=A), made(3, nodes=ON_B, zones=B)), [1, 2]),
        ((made(1, nodes=("node-c",), zones=B), made(2, nodes=ON_B, zones=("zone-c",))), [1, 2]),
        ((made(1, nodes=ON_A, zones=A), made(2, zones=A), made(3, zones=B)), [1, 2]),
        ((made(1, nodes=ON_A, zones=B), made(2, zones=A)), [2]),
        ((made(1, nodes=ON_A), made(2, zones=A)), [1, 2]),
    ],
)
def test_hints_narrow_the_clusters_list_if_all_have_one_and_one_is_for_here(
    endpoints: tuple[SliceEndpoint, ...], used: list[int]
) -> None:
    assert cluster(*endpoints) == cluster(*reversed(endpoints)) == used


def test_why_an_endpoint_is_left_to_others() -> None:
    assert verdicts(made(1, zones=A), made(2, zones=B))[2] == ("other zone", "")
    assert verdicts(made(1, nodes=ON_A), made(2, nodes=ON_B, node="node-b"))[2] == ("other node", "not local")


@pytest.mark.parametrize("zone", ["", "zone-c", "ZONE-A"])
def test_hints_for_zones_are_for_nodes_in_a_zone(zone: str) -> None:
    assert cluster(made(1, zones=A), made(2, zones=B), place=Place("node-a", zone)) == [1, 2]


def test_an_empty_hint_is_for_no_node_without_a_zone() -> None:
    assert cluster(made(1, zones=("",)), made(2, zones=B), place=Place("node-a", "")) == [1, 2]
    assert cluster(made(1, nodes=("",)), made(2, nodes=ON_B), place=Place(None, "")) == [1, 2]


def test_a_zone_counts_without_a_node_and_a_hint_for_a_node_does_not() -> None:
    place = Place(None, "zone-a")
    assert cluster(made(1, zones=A), made(2, zones=B), place=place) == [1]
    assert cluster(made(1, nodes=ON_A), made(2, nodes=ON_B), place=place) == [1, 2]


@pytest.mark.parametrize("state", ["unready", "serving", "draining", "gone"])
@pytest.mark.parametrize("zones", [(), A, B])
def test_hints_of_endpoints_that_are_not_ready_are_not_looked_at(state: str, zones: tuple[str, ...]) -> None:
    endpoints = (made(1, zones=A), made(2, zones=B), made(3, state, zones=zones))
    assert cluster(*endpoints) == [1]
    assert cluster(made(1, zones=B), made(3, state, zones=A)) == [1]


def test_hints_are_not_looked_at_while_all_terminate() -> None:
    assert cluster(made(1, "draining", zones=A), made(2, "draining", zones=B)) == [1, 2]
    assert cluster(made(1, "draining", nodes=ON_A), made(2, "draining", nodes=ON_B)) == [1, 2]


def test_hints_do_not_change_the_nodes_own_list() -> None:
    endpoints = (
        made(1, zones=B, nodes=ON_B),
        made(2, zones=A, nodes=ON_A, node="node-b"),
        made(3, zones=B, nodes=ON_B),
    )
    assert (cluster(*endpoints), local(*endpoints)) == ([2], [1, 3])


# Repeated endpoints --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("copies", [("ready", "draining"), ("ready", "gone"), ("unset", "draining", "gone")])
def test_of_repeated_endpoints_one_that_does_not_terminate_wins_whatever_the_order(copies: tuple[str, ...]) -> None:
    slices = [of(made(1, state)) for state in copies]
    for order in permutations(slices):
        (judged,) = judge([*order, of(made(2))], HTTP, Family.IPV4, HERE)[:1]
        assert (judged.not_in_cluster, judged.not_local) == ("", "")


def test_an_unready_copy_wins_over_one_that_terminates_and_then_neither_is_used() -> None:
    for order in permutations([of(made(1, "unready")), of(made(1, "draining"))]):
        assert [one.not_in_cluster for one in judge(order, HTTP, Family.IPV4, HERE)] == ["not ready"]


def test_one_that_still_serves_wins_over_one_that_does_not() -> None:
    for order in permutations([of(made(1, "gone")), of(made(1, "draining"))]):
        assert [one.not_in_cluster for one in judge(order, HTTP, Family.IPV4, HERE)] == [""]


def test_copies_are_one_endpoint_when_hints_are_counted() -> None:
    copies = [of(made(1, zones=A)), of(made(1, "draining")), of(made(2, zones=B))]
    for order in permutations(copies):
        assert [one.not_in_cluster for one in judge(order, HTTP, Family.IPV4, HERE)] == ["", "other zone"]


def test_a_copy_that_says_it_runs_here_makes_the_endpoint_local() -> None:
    for order in permutations([of(made(1, node=None)), of(made(1, node="node-b")), of(made(1, node="node-a"))]):
        (judged,) = judge(order, HTTP, Family.IPV4, HERE)
        assert (judged.endpoint.on_node, judged.not_local) == (True, "")


def test_verdicts_do_not_depend_on_the_order_of_anything() -> None:
    endpoints = [made(1, zones=A), made(1, "draining", zones=B), made(2, zones=B), made(3, "gone"), made(3, "draining")]
    answers = {judge([of(*order)], HTTP, Family.IPV4, HERE) for order in permutations(endpoints)}
    answers |= {judge(map(of, order), HTTP, Family.IPV4, HERE) for order in permutations(endpoints)}
    assert len(answers) == 1
