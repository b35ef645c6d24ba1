"""What a node must do for the Services of a state: who owns which way in, and where it leads."""

from collections.abc import Iterable
from itertools import permutations
from typing import Any

import pytest

from nftsvc.errors import Severity
from nftsvc.frontends import Frontend, FrontendKind
from nftsvc.plan import Masquerade, Plan, PortPlan
from nftsvc.state import ServiceKey
from nftsvc.values import FAMILIES, Address, Family, Port
from tests.support.builders import Raw, endpoint_slice, plan_of, service


def created(raw: Raw, time: str | None) -> Raw:
    return {**raw, "metadata": {**raw["metadata"], "creationTimestamp": time}}


def messages(plan: Plan) -> list[str]:
    return list(map(str, plan.problems))


def owners(plan: Plan) -> dict[tuple[str | None, int, str], set[str]]:
    """Return the Services that each way in (address or None, port, protocol) leads to."""
    found: dict[tuple[str | None, int, str], set[str]] = {}
    for port in plan.ports:
        for frontend in port.frontends:
            found.setdefault((frontend.address, frontend.port, port.protocol), set()).add(str(port.service))
    return found


def endpoints(port: PortPlan) -> list[tuple[str, int]]:
    return [(one.address, one.port) for one in port.cluster]


def the_port(plan: Plan) -> PortPlan:
    (port,) = plan.ports
    return port


def pod(name: str, address: str, node: str = "node-a", **labels: str) -> Raw:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "spec": {"nodeName": node},
        "status": {"podIP": address, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def old_endpoints(name: str, addresses: Iterable[str], port: int = 8080) -> Raw:
    subsets = [{"addresses": [{"ip": one} for one in addresses], "ports": [{"port": port}]}]
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": name, "namespace": "shop"},
        "subsets": subsets,
    }


# Ways in -------------------------------------------------------------------------------------------------------------


def test_cluster_ip_and_node_port_are_two_ways_in_and_only_the_node_port_masquerades() -> None:
    plan = plan_of(service("web", ["10.96.0.1"], [{"port": 80, "nodePort": 30080}]))
    port = the_port(plan)
    assert [plan.masquerade(one, port.family) for one in port.frontends] == [Masquerade.NOBODY, Masquerade.EVERYBODY]
    assert port.frontends == (
        Frontend(FrontendKind.CLUSTER_IP, Address("10.96.0.1"), Port(80)),
        Frontend(FrontendKind.NODE_PORT, None, Port(30080)),
    )


def test_service_without_endpoints_keeps_its_ways_in() -> None:
    port = the_port(plan_of(service("web", ["10.96.0.1"], [{"port": 80, "nodePort": 30080}])))
    assert (len(port.frontends), port.cluster) == (2, ())


def test_name_is_namespace_name_and_port() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "https", "port": 443}]
    plan = plan_of(service("web", ["10.96.0.1"], ports), service("api", ["10.96.0.2"]))
    assert [port.name for port in plan.ports] == ["shop/api", "shop/web:http", "shop/web:https"]


def test_ports_are_sorted_and_the_order_of_the_input_does_not_show() -> None:
    raws = [
        service("web", ["10.96.0.1", "fd00:96::1"], [{"name": "b", "port": 2}, {"name": "a", "port": 1}]),
        service("api", ["10.96.0.2"], namespace="zoo"),
        service("db", ["10.96.0.1"], [{"port": 2}]),
    ]
    plans = [plan_of(*order) for order in permutations(raws)]
    assert all(plan == plans[0] for plan in plans)
    assert [(port.name, port.family) for port in plans[0].ports] == [
        ("shop/db", Family.IPV4),
        ("shop/web:a", Family.IPV4),
        ("shop/web:a", Family.IPV6),
        ("shop/web:b", Family.IPV6),
        ("zoo/api", Family.IPV4),
    ]


# Claims --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "winner"),
    [
        (("2024-01-01T00:00:00Z", "2023-01-01T00:00:00Z"), "b"),
        (("2023-01-01T00:00:00Z", "2024-01-01T00:00:00Z"), "a"),
        (("2023-01-01T00:00:00Z", "2023-01-01T00:00:00Z"), "a"),
        ((None, None), "a"),
        ((None, "2024-01-01T00:00:00Z"), "b"),
        (("2024-01-01T00:00:00Z", None), "a"),
        # the same moment is written in many ways: 23:00 and 23:30 UTC
        (("2023-12-31T23:30:00Z", "2024-01-01T01:00:00+02:00"), "b"),
        (("2023-12-31T23:00:00.5Z", "2023-12-31T23:00:00Z"), "b"),
    ],
)
def test_older_service_owns_what_two_claim(times: tuple[str | None, str | None], winner: str) -> None:
    port = {"port": 80, "nodePort": 30080}
    raws = [created(service(name, ["10.96.0.1"], [port]), time) for name, time in zip("ab", times, strict=True)]
    for order in (raws, raws[::-1]):
        plan = plan_of(*order)
        assert owners(plan) == {
            ("10.96.0.1", 80, "TCP"): {f"shop/{winner}"},
            (None, 30080, "TCP"): {f"shop/{winner}"},
        }
        loser = "b" if winner == "a" else "a"
        refused = f"belongs to Service shop/{winner}, which comes first; ignored here"
        assert messages(plan) == [
            f"Service shop/{loser}: spec.clusterIPs: 10.96.0.1:80/TCP {refused}",
            f"Service shop/{loser}: spec.ports[0].nodePort: 30080/TCP {refused}",
        ]
        assert {problem.severity for problem in plan.problems} == {Severity.WARNING}


def test_namespace_comes_before_name_where_the_age_is_the_same() -> None:
    raws = [service("a", ["10.96.0.1"], namespace="zoo"), service("z", ["10.96.0.1"], namespace="shop")]
    assert owners(plan_of(*raws)) == {("10.96.0.1", 80, "TCP"): {"shop/z"}}


def test_loser_keeps_what_nobody_else_claims() -> None:
    plan = plan_of(
        service("a", ["10.96.0.1"], [{"port": 80, "nodePort": 30080}]),
        service("b", ["10.96.0.1"], [{"name": "x", "port": 80}, {"name": "y", "port": 81, "nodePort": 30080}]),
    )
    assert owners(plan) == {
        ("10.96.0.1", 80, "TCP"): {"shop/a"},
        (None, 30080, "TCP"): {"shop/a"},
        ("10.96.0.1", 81, "TCP"): {"shop/b"},
    }
    assert len(plan.problems) == 2
    assert any("spec.ports[1].nodePort" in message for message in messages(plan))


def test_node_port_has_an_owner_in_each_family() -> None:
    port = {"port": 80, "nodePort": 30080}
    plan = plan_of(service("a", ["10.96.0.1"], [port]), service("b", ["fd00:96::1"], [port]))
    assert owners(plan)[None, 30080, "TCP"] == {"shop/a", "shop/b"}
    assert plan.problems == ()


def test_dual_stack_service_owns_its_node_port_in_both_families_without_a_warning() -> None:
    plan = plan_of(service("a", ["10.96.0.1", "fd00:96::1"], [{"port": 80, "nodePort": 30080}]))
    assert [(port.family, len(port.frontends)) for port in plan.ports] == [(Family.IPV4, 2), (Family.IPV6, 2)]
    assert plan.problems == ()


def test_refusal_in_both_families_is_said_once() -> None:
    port = {"port": 80, "nodePort": 30080}
    plan = plan_of(service("a", ["10.96.0.1", "fd00:96::1"], [port]), service("b", ["10.96.0.2", "fd00:96::2"], [port]))
    assert len(plan.problems) == 1


def test_one_number_for_two_protocols_is_no_conflict() -> None:
    plan = plan_of(
        service("a", ["10.96.0.1"], [{"port": 53, "nodePort": 30053, "protocol": "TCP"}]),
        service("b", ["10.96.0.1"], [{"port": 53, "nodePort": 30053, "protocol": "UDP"}]),
    )
    assert plan.problems == ()
    assert {protocol for _, _, protocol in owners(plan)} == {"TCP", "UDP"}


# Services left out ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (service("web", ["None"]), "headless"),
        (
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"type": "ExternalName", "externalName": "example.com"},
            },
            "ExternalName",
        ),
        (
            {
                **service("web", ["10.96.0.1"]),
                "metadata": {
                    "name": "web",
                    "namespace": "shop",
                    "labels": {"service.kubernetes.io/service-proxy-name": ""},
                },
            },
            "service.kubernetes.io/service-proxy-name",
        ),
    ],
)
def test_service_that_is_not_ours_is_skipped_with_the_reason(raw: Raw, reason: str) -> None:
    plan = plan_of(raw, endpoint_slice("web", ["10.244.1.1"]))
    assert (plan.ports, plan.problems) == ((), ())
    ((key, said),) = plan.skipped
    assert key == ServiceKey("shop", "web")
    assert reason in said


@pytest.mark.parametrize("spec", [{}, {"clusterIP": ""}])
def test_service_without_an_allocated_address_is_left_out_with_a_warning(spec: dict[str, Any]) -> None:
    raw = {**service("web", ["x"]), "spec": {"ports": [{"port": 80, "nodePort": 30080}], **spec}}
    plan = plan_of(raw, service("other", ["10.96.0.1"], [{"port": 80, "nodePort": 30080}]))
    assert owners(plan)[None, 30080, "TCP"] == {"shop/other"}
    (message,) = messages(plan)
    assert message.startswith("Service shop/web: spec.clusterIP: not allocated yet")


# Endpoints -----------------------------------------------------------------------------------------------------------


def test_slices_win_over_endpoints_and_endpoints_over_pods() -> None:
    web = service("web", ["10.96.0.1"], [{"port": 80, "targetPort": 8080}], selector={"app": "web"})
    by_pod, by_object = pod("p", "10.244.1.3", app="web"), old_endpoints("web", ["10.244.1.2"])
    by_slice = endpoint_slice("web", ["10.244.1.1"])
    for raws, address in (
        ((by_pod,), "10.244.1.3"),
        ((by_pod, by_object), "10.244.1.2"),
        ((by_pod, by_object, by_slice), "10.244.1.1"),
        ((by_pod, by_slice), "10.244.1.1"),
    ):
        for order in permutations((web, *raws)):
            assert endpoints(the_port(plan_of(*order))) == [(address, 8080)]


@pytest.mark.parametrize("empty", [endpoint_slice("web", []), old_endpoints("web", [])])
def test_control_planes_answer_counts_even_if_it_is_nobody(empty: Raw) -> None:
    web = service("web", ["10.96.0.1"], selector={"app": "web"})
    assert the_port(plan_of(web, pod("p", "10.244.1.3", app="web"), empty)).cluster == ()


def test_slices_of_another_namespace_or_service_are_not_used() -> None:
    raws = (endpoint_slice("web", ["10.244.1.1"], namespace="zoo"), endpoint_slice("api", ["10.244.1.2"]))
    assert the_port(plan_of(service("web", ["10.96.0.1"]), *raws)).cluster == ()


def test_endpoints_are_in_order_of_their_number_and_given_once() -> None:
    slices = (
        endpoint_slice("web", ["10.244.1.10", "10.244.1.9"], suffix="1"),
        endpoint_slice("web", ["10.244.1.9", "10.244.1.2"], suffix="2"),
    )
    expected = [("10.244.1.2", 8080), ("10.244.1.9", 8080), ("10.244.1.10", 8080)]
    assert endpoints(the_port(plan_of(service("web", ["10.96.0.1"]), *slices))) == expected


@pytest.mark.parametrize(
    ("node", "here"), [("node-a", ["10.244.1.1", "10.244.3.1"]), ("node-b", ["10.244.2.1", "10.244.3.1"]), (None, None)]
)
def test_endpoint_is_on_the_node_if_it_says_so_or_does_not_say(node: str | None, here: list[str] | None) -> None:
    slices = [
        endpoint_slice("web", [f"10.244.{number}.1"], node=name, suffix=str(number))
        for number, name in enumerate(("node-a", "node-b", None), 1)
    ]
    port = the_port(plan_of(service("web", ["10.96.0.1"]), *slices, node=node))
    everyone = ["10.244.1.1", "10.244.2.1", "10.244.3.1"]
    assert [one.address for one in port.cluster] == everyone
    assert [one.address for one in port.cluster if one.on_node] == (everyone if here is None else here)


def test_ports_of_a_slice_are_told_apart_by_their_whole_name() -> None:
    names = ["x" * 62 + end for end in "ab"]
    listed = [{"name": name, "port": number} for number, name in enumerate(names, 80)]
    targets = [{"name": name, "port": number} for number, name in enumerate(names, 8080)]
    plan = plan_of(service("web", ["10.96.0.1"], listed), endpoint_slice("web", ["10.244.1.1"], targets))
    assert [endpoints(port) for port in plan.ports] == [[("10.244.1.1", 8080)], [("10.244.1.1", 8081)]]


# Families ------------------------------------------------------------------------------------------------------------


def test_each_family_gets_its_own_endpoints() -> None:
    plan = plan_of(
        service("web", ["10.96.0.1", "fd00:96::1"]),
        endpoint_slice("web", ["10.244.1.1"]),
        endpoint_slice("web", ["fd00:244:1::1"]),
    )
    assert {port.family: endpoints(port) for port in plan.ports} == {
        Family.IPV4: [("10.244.1.1", 8080)],
        Family.IPV6: [("fd00:244:1::1", 8080)],
    }


@pytest.mark.parametrize("families", [FAMILIES, (Family.IPV4,), (Family.IPV6,), ()])
def test_only_the_families_of_the_node_are_planned(families: tuple[Family, ...]) -> None:
    plan = plan_of(service("web", ["10.96.0.1", "fd00:96::1"], [{"port": 80, "nodePort": 30080}]), families=families)
    assert tuple(port.family for port in plan.ports) == families


def test_family_that_the_service_does_not_name_is_not_served() -> None:
    plan = plan_of(service("web", ["10.96.0.1", "fd00:96::1"], ipFamilies=["IPv4"]))
    assert [port.family for port in plan.ports] == [Family.IPV4]


# Fields that this input does not let us follow ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"internalTrafficPolicy": "Local"}, "spec.internalTrafficPolicy"),
        ({"externalTrafficPolicy": "Local", "type": "NodePort"}, "spec.externalTrafficPolicy"),
        ({"externalTrafficPolicy": "Local", "externalIPs": ["203.0.113.1"]}, "spec.externalTrafficPolicy"),
    ],
)
def test_policy_local_without_a_node_is_warned_of(spec: dict[str, Any], field: str) -> None:
    raw = service("web", ["10.96.0.1"])
    plan = plan_of({**raw, "spec": {**raw["spec"], **spec}}, node=None)
    (problem,) = plan.problems
    assert (problem.field, problem.severity) == (field, Severity.WARNING)
    assert str(problem).startswith(f"Service shop/web: {field}: ")
    assert ("10.96.0.1", 80, "TCP") in owners(plan)


def test_topology_annotation_is_warned_of_where_there_are_no_slices() -> None:
    raw = service("web", ["10.96.0.1"])
    raw["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
    assert [problem.field for problem in plan_of(raw).problems] == ["metadata.annotations"]
    assert plan_of(raw, endpoint_slice("web", ["10.244.1.1"])).problems == ()


@pytest.mark.parametrize(
    "spec",
    [
        {"sessionAffinity": "None", "internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"},
        {"externalTrafficPolicy": "Local"},
        {"externalIPs": [], "trafficDistribution": None},
        {"type": "LoadBalancer"},
    ],
)
def test_what_asks_for_nothing_special_is_not_warned_of(spec: dict[str, Any]) -> None:
    assert plan_of(service("web", ["10.96.0.1"], **spec)).problems == ()
