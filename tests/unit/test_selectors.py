"""Selectors over Pods, judged by what the controllers of a real cluster made of the same Pods and Services."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftsvc.decode import decode
from nftsvc.objects import Endpoints, EndpointSlice, KubernetesObject, Pod, Service
from nftsvc.selectors import families_of, slices_from_endpoints, slices_from_pods, slices_of, topology_mode_auto
from nftsvc.state import ServiceKey, State

Document = dict[str, Any]
CAPTURES = Path(__file__).resolve().parent.parent / "captures"


class Member(NamedTuple):
    """One endpoint of a slice."""

    addresses: tuple[str, ...]
    ready: bool | None
    serving: bool | None
    terminating: bool | None
    node: str | None


class Content(NamedTuple):
    """What a slice says, without its name and the order of what is in it."""

    family: str
    ports: frozenset[tuple[str, str, int]]
    members: frozenset[Member]


def contents(slices: Iterable[EndpointSlice]) -> list[Content]:
    """Describe the slices; those without endpoints are placeholders."""
    return sorted(
        (
            Content(
                str(one.address_type),
                frozenset((port.name or "", str(port.protocol), int(port.port or 0)) for port in one.ports or ()),
                frozenset(
                    Member(
                        tuple(map(str, end.addresses or ())),
                        end.conditions and end.conditions.ready,
                        end.conditions and end.conditions.serving,
                        end.conditions and end.conditions.terminating,
                        end.node_name,
                    )
                    for end in one.endpoints
                ),
            )
            for one in slices
            if one.endpoints
        ),
        key=repr,
    )


# The recorded cluster ------------------------------------------------------------------------------------------------


class Event(NamedTuple):
    """One line of a recorded watch."""

    version: int
    deleted: bool
    value: KubernetesObject


def decoded(document: Document) -> KubernetesObject:
    value = decode(document)
    assert value.value is not None, (value.skipped, [str(one) for one in value.problems])
    return value.value


def recorded(kind: str) -> list[KubernetesObject]:
    listed = json.loads((CAPTURES / f"{kind}.list.json").read_text())
    known = {"apiVersion": listed["apiVersion"], "kind": listed["kind"].removesuffix("List")}
    return [decoded({**known, **item}) for item in listed["items"]]


def events(kind: str) -> Iterator[Event]:
    for line in (CAPTURES / f"{kind}.watch.jsonl").read_text().splitlines():
        event = json.loads(line)
        if event["type"] != "BOOKMARK":
            version = int(event["object"]["metadata"]["resourceVersion"])
            yield Event(version, event["type"] == "DELETED", decoded(event["object"]))


def replayed(*kinds: str) -> Iterator[State]:
    """Yield the state of the lists, and then that after each event, in the order of the cluster."""
    known = {one.ref: one for kind in kinds for one in recorded(kind)}
    yield State.of(known.values())
    for event in sorted((event for kind in kinds for event in events(kind)), key=lambda event: event.version):
        known.pop(event.value.ref, None)
        if not event.deleted:
            known[event.value.ref] = event.value
        yield State.of(known.values())


def selected(state: State, key: ServiceKey) -> list[Content]:
    return contents(slices_from_pods(state.services[key], state.pods.get(key.namespace, ())))


def with_selector(state: State) -> list[ServiceKey]:
    return [key for key, service in state.services.items() if service.spec is not None and service.spec.selector]


START = next(replayed("services", "pods", "endpointslices", "endpoints"))
*_, END = replayed("services", "pods", "endpointslices", "endpoints")


def test_the_recordings_hold_what_the_tests_below_compare() -> None:
    assert len(with_selector(START)) == 11
    assert len(with_selector(END)) == 10
    assert sum(bool(selected(START, key)) for key in with_selector(START)) == 10


@pytest.mark.parametrize("key", with_selector(START), ids=str)
def test_selectors_give_the_slices_that_the_cluster_listed(key: ServiceKey) -> None:
    assert selected(START, key) == contents(START.slices(key))


@pytest.mark.parametrize("key", with_selector(END), ids=str)
def test_selectors_give_the_slices_that_the_cluster_had_after_all_events(key: ServiceKey) -> None:
    assert selected(END, key) == contents(END.slices(key))


def test_after_every_event_selectors_give_slices_that_the_cluster_had_at_some_time() -> None:
    had: dict[ServiceKey, list[list[Content]]] = defaultdict(list)
    for state in replayed("endpointslices"):
        for key in START.services.keys() | END.services.keys():
            for one in contents(state.slices(key)):
                had[key].append([one])
    states = list(replayed("services", "pods"))
    assert len(states) > 8
    for state in states:
        for key in with_selector(state):
            for one in selected(state, key):
                assert [one] in had[key]


def test_a_service_without_a_selector_selects_nothing() -> None:
    keys = [key for key in START.services if key not in with_selector(START)]
    assert {str(key) for key in keys} == {"default/kubernetes", "demo/external-name", "demo/no-selector"}
    assert all(selected(START, key) == [] for key in keys)


def ready_by_ports(slices: Iterable[EndpointSlice]) -> dict[tuple[str, str, int], set[tuple[str, str | None]]]:
    """Ready IPv4 addresses and their nodes by port: what an Endpoints object of these Services says, too."""
    found = defaultdict(set)
    for one in contents(one for one in slices if one.address_type == "IPv4"):
        for port in one.ports:
            found[port] |= {(*member.addresses, member.node) for member in one.members if member.ready}
    return {port: members for port, members in found.items() if members}


@pytest.mark.parametrize(("state", "count"), [(START, 12), (END, 11)], ids=["list", "after all events"])
def test_endpoints_objects_give_the_ready_endpoints_of_the_clusters_slices(state: State, count: int) -> None:
    compared = 0
    for key, endpoints in state.endpoints.items():
        if key in state.services:
            slices = slices_from_endpoints(endpoints, state.services[key])
            assert ready_by_ports(slices) == ready_by_ports(state.slices(key)), str(key)
            compared += 1
    assert compared == count


# Ports ---------------------------------------------------------------------------------------------------------------


def service(*ports: Document, **spec: object) -> Service:
    document = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "clusterIP": "10.96.0.1",
            "selector": {"app": "web"},
            "ports": list(ports) or [{"port": 80, "targetPort": 8080}],
            **spec,
        },
    }
    value = decoded(document)
    assert isinstance(value, Service)
    return value


def container(*ports: Document, **fields: object) -> Document:
    return {"ports": list(ports), **fields}


def port(name: str, number: int, **fields: object) -> Document:
    return {"name": name, "containerPort": number, **fields}


def pod(
    name: str = "a", *ports: Document, status: Document | None = None, spec: Document | None = None, **meta: object
) -> Pod:
    number = ord(name[0]) - ord("a") + 1
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}, **meta},
        "spec": {"nodeName": "node-a", "containers": [container(*ports)], **(spec or {})},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "podIP": f"10.244.1.{number}",
            "podIPs": [{"ip": f"10.244.1.{number}"}, {"ip": f"fd00:244::{number:x}"}],
            **(status or {}),
        },
    }
    value = decoded(document)
    assert isinstance(value, Pod)
    return value


def by_port(slices: Iterable[EndpointSlice]) -> dict[tuple[str, ...], set[str]]:
    """Addresses by the ports (name/protocol/number) of their slice."""
    return {
        tuple(sorted("/".join(map(str, port)) for port in one.ports)): {
            a for member in one.members for a in member.addresses
        }
        for one in contents(slices)
    }


def only_member(slices: Iterable[EndpointSlice]) -> Member:
    (content,) = contents(slices)
    (member,) = content.members
    return member


@pytest.mark.parametrize("target", [{}, {"targetPort": None}, {"targetPort": 0}, {"targetPort": ""}])
def test_a_target_port_left_out_is_the_services_port(target: Document) -> None:
    slices = slices_from_pods(service({"port": 80, **target}), [pod("a", port("http", 9376))])
    assert by_port(slices) == {("/TCP/80",): {"10.244.1.1"}}


def test_a_target_port_by_number_needs_no_container_port() -> None:
    slices = slices_from_pods(service({"port": 80, "targetPort": 9376}), [pod("a")])
    assert by_port(slices) == {("/TCP/9376",): {"10.244.1.1"}}


def test_pods_whose_named_port_has_different_numbers_are_in_different_slices() -> None:
    pods = [pod("a", port("web", 3456)), pod("b", port("web", 4567)), pod("c", port("web", 3456))]
    slices = slices_from_pods(service({"port": 80, "targetPort": "web"}), pods)
    assert by_port(slices) == {("/TCP/3456",): {"10.244.1.1", "10.244.1.3"}, ("/TCP/4567",): {"10.244.1.2"}}


def test_slices_of_one_service_have_different_names_and_say_whose_they_are() -> None:
    web = service({"port": 80, "targetPort": "web"}, clusterIPs=["10.96.0.1", "fd00::1"], ipFamilies=["IPv4", "IPv6"])
    slices = slices_from_pods(web, [pod("a", port("web", 3456)), pod("b", port("web", 4567))])
    assert len(slices) == 4
    assert len(State.of(slices).slices(ServiceKey("shop", "web"))) == 4


def test_a_pod_without_the_named_port_is_an_endpoint_for_the_other_ports_only() -> None:
    web = service({"name": "http", "port": 80, "targetPort": "web"}, {"name": "admin", "port": 81, "targetPort": 8081})
    slices = slices_from_pods(web, [pod("a", port("web", 8080)), pod("b", port("other", 8080))])
    assert by_port(slices) == {("admin/TCP/8081", "http/TCP/8080"): {"10.244.1.1"}, ("admin/TCP/8081",): {"10.244.1.2"}}


def test_a_named_port_is_found_in_any_container_and_in_sidecars_only_of_the_init_containers() -> None:
    sidecar = container(port("side", 9090), restartPolicy="Always")
    setup = container(port("setup", 7070))
    spec = {
        "containers": [container(port("one", 1111)), container(port("two", 2222))],
        "initContainers": [setup, sidecar],
    }
    web = service(
        *({"name": name, "port": number, "targetPort": name} for number, name in enumerate(("two", "side", "setup"), 1))
    )
    assert by_port(slices_from_pods(web, [pod("a", spec=spec)])) == {("side/TCP/9090", "two/TCP/2222"): {"10.244.1.1"}}


def test_a_containers_port_comes_before_a_sidecars_of_the_same_name() -> None:
    spec = {"initContainers": [container(port("web", 9090), restartPolicy="Always")]}
    slices = slices_from_pods(service({"port": 80, "targetPort": "web"}), [pod("a", port("web", 8080), spec=spec)])
    assert by_port(slices) == {("/TCP/8080",): {"10.244.1.1"}}


def test_a_named_port_must_have_the_services_protocol_and_tcp_is_the_default() -> None:
    dns = service(
        {"name": "t", "port": 53, "targetPort": "dns"},
        {"name": "u", "port": 53, "targetPort": "dns", "protocol": "UDP"},
    )
    one = pod("a", port("dns", 5353, protocol="UDP"), port("dns", 5354))
    other = pod("b", port("dns", 53, protocol="UDP"))
    slices = slices_from_pods(dns, [one, other])
    assert by_port(slices) == {("t/TCP/5354", "u/UDP/5353"): {"10.244.1.1"}, ("u/UDP/53",): {"10.244.1.2"}}


def test_a_target_port_that_is_a_number_does_not_change_with_the_protocol() -> None:
    web = service(
        {"name": "t", "port": 1, "targetPort": 9}, {"name": "s", "port": 1, "targetPort": 9, "protocol": "SCTP"}
    )
    assert by_port(slices_from_pods(web, [pod("a")])) == {("s/SCTP/9", "t/TCP/9"): {"10.244.1.1"}}


# Pods ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("selector", [None, {}])
def test_an_empty_selector_selects_nothing(selector: object) -> None:
    assert slices_from_pods(service(selector=selector), [pod("a")]) == ()


def test_an_external_name_service_selects_nothing() -> None:
    assert slices_from_pods(service(type="ExternalName", ipFamilies=["IPv4"]), [pod("a")]) == ()


def test_a_pod_needs_every_label_of_the_selector() -> None:
    web = service(selector={"app": "web", "tier": "front"})
    pods = [
        pod("a", labels={"app": "web"}),
        pod("b", labels={"app": "web", "tier": "front", "more": "x"}),
        pod("c", labels={"app": "web", "tier": "Front"}),
        pod("d", labels=None),
    ]
    assert by_port(slices_from_pods(web, pods)) == {("/TCP/8080",): {"10.244.1.2"}}


def test_an_empty_label_is_not_a_missing_one() -> None:
    pods = [pod("a", labels={"app": "web"}), pod("b", labels={"app": "web", "tier": ""})]
    assert by_port(slices_from_pods(service(selector={"tier": ""}), pods)) == {("/TCP/8080",): {"10.244.1.2"}}


def test_pods_of_another_namespace_are_not_selected() -> None:
    state = State.of([service(), pod("a"), pod("b", namespace="other")])
    assert by_port(slices_from_pods(service(), state.pods["shop"])) == {("/TCP/8080",): {"10.244.1.1"}}


def test_a_pod_says_its_node_and_its_conditions() -> None:
    member = only_member(slices_from_pods(service(), [pod("a")]))
    assert member == Member(("10.244.1.1",), ready=True, serving=True, terminating=False, node="node-a")


def test_a_pod_that_is_on_no_node_yet_says_none() -> None:
    assert only_member(slices_from_pods(service(), [pod("a", spec={"nodeName": None})])).node is None


@pytest.mark.parametrize(
    "status",
    [
        {"podIP": None, "podIPs": None},
        {"podIP": None, "podIPs": []},
        {"podIP": "", "podIPs": None},
        {"podIP": "", "podIPs": [{}]},
    ],
)
def test_a_pod_without_an_address_is_no_endpoint(status: Document) -> None:
    assert contents(slices_from_pods(service(), [pod("a", status=status)])) == []


def test_a_pod_that_says_only_pod_ip_has_that_address() -> None:
    one = pod("a", status={"podIPs": None, "podIP": "10.244.1.77"})
    assert only_member(slices_from_pods(service(), [one])).addresses == ("10.244.1.77",)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_finished_pod_is_no_endpoint(phase: str) -> None:
    for publish in (False, True):
        web = service(publishNotReadyAddresses=publish)
        assert contents(slices_from_pods(web, [pod("a", status={"phase": phase})])) == []


@pytest.mark.parametrize(
    "conditions",
    [
        None,
        [],
        [{"type": "Ready", "status": "False"}],
        [{"type": "Ready", "status": "Unknown"}],
        [{"type": "ContainersReady", "status": "True"}, {"type": "PodScheduled", "status": "True"}],
    ],
)
@pytest.mark.parametrize("phase", ["Running", "Pending"])
def test_a_pod_that_is_not_ready_is_an_endpoint_that_is_not_ready(conditions: object, phase: str) -> None:
    one = pod("a", status={"phase": phase, "conditions": conditions})
    assert only_member(slices_from_pods(service(), [one]))[1:4] == (False, False, False)


TERMINATING = "2026-11-22T23:47:53Z"


def test_a_terminating_pod_still_serves_but_is_not_ready() -> None:
    member = only_member(slices_from_pods(service(), [pod("a", deletionTimestamp=TERMINATING)]))
    assert member == Member(("10.244.1.1",), ready=False, serving=True, terminating=True, node="node-a")


def test_a_terminating_pod_that_is_unready_does_not_serve() -> None:
    one = pod("a", deletionTimestamp=TERMINATING, status={"conditions": []})
    assert only_member(slices_from_pods(service(), [one]))[1:4] == (False, False, True)


def test_publish_not_ready_addresses_makes_unready_and_terminating_pods_ready() -> None:
    web = service(publishNotReadyAddresses=True)
    unready = pod("a", status={"conditions": []})
    assert only_member(slices_from_pods(web, [unready]))[1:4] == (True, False, False)
    assert only_member(slices_from_pods(web, [pod("a", deletionTimestamp=TERMINATING)]))[1:4] == (True, True, True)


def test_a_pod_on_the_hosts_network_is_an_endpoint_at_the_nodes_address() -> None:
    status = {"podIP": "192.0.2.11", "podIPs": [{"ip": "192.0.2.11"}], "hostIP": "192.0.2.11"}
    one = pod(
        "a",
        port("web", 8080, hostPort=8080),
        status=status,
        spec={"hostNetwork": True, "containers": [container(port("web", 8080))]},
    )
    slices = slices_from_pods(service({"port": 80, "targetPort": "web"}), [one])
    assert by_port(slices) == {("/TCP/8080",): {"192.0.2.11"}}


# Families ------------------------------------------------------------------------------------------------------------


def by_family(slices: Iterable[EndpointSlice]) -> dict[str, set[str]]:
    return {one.family: {a for member in one.members for a in member.addresses} for one in contents(slices)}


@pytest.mark.parametrize(
    ("spec", "families"),
    [
        ({"ipFamilies": ["IPv4"]}, {"IPv4"}),
        ({"clusterIP": "fd00::1", "ipFamilies": ["IPv6"]}, {"IPv6"}),
        ({"clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"]}, {"IPv4", "IPv6"}),
        ({"clusterIP": "10.96.0.1"}, {"IPv4"}),
        ({"clusterIP": "fd00::1"}, {"IPv6"}),
        ({"clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "10.96.0.1"]}, {"IPv4", "IPv6"}),
        ({"clusterIP": "None", "ipFamilies": ["IPv6"]}, {"IPv6"}),
    ],
)
def test_a_dual_stack_pod_is_an_endpoint_in_the_services_families(spec: Document, families: set[str]) -> None:
    addresses = {"IPv4": {"10.244.1.1"}, "IPv6": {"fd00:244::1"}}
    web = service(**spec)
    assert by_family(slices_from_pods(web, [pod("a")])) == {family: addresses[family] for family in families}
    assert set(families_of(web)) == families


def test_a_pod_without_an_address_of_the_family_is_no_endpoint_in_it() -> None:
    web = service(clusterIPs=["10.96.0.1", "fd00::1"], ipFamilies=["IPv4", "IPv6"])
    pods = [pod("a"), pod("b", status={"podIPs": [{"ip": "10.244.1.2"}]})]
    assert by_family(slices_from_pods(web, pods)) == {"IPv4": {"10.244.1.1", "10.244.1.2"}, "IPv6": {"fd00:244::1"}}


@given(order=st.permutations("abcd"))
@settings(max_examples=24, derandomize=True, deadline=None)
def test_the_order_of_pods_changes_neither_slices_nor_their_names(order: list[str]) -> None:
    numbers = {"a": 1111, "b": 2222, "c": 1111, "d": 3333}
    web = service({"port": 80, "targetPort": "web"}, clusterIPs=["10.96.0.1", "fd00::1"])

    def named(names: Iterable[str]) -> dict[str, list[Content]]:
        slices = slices_from_pods(web, [pod(name, port("web", numbers[name])) for name in names])
        return {one.name: contents([one]) for one in slices}

    assert named(order) == named("abcd")
    assert len(named("abcd")) == 6


# Endpoints objects ---------------------------------------------------------------------------------------------------


def endpoints(*subsets: Document) -> Endpoints:
    metadata = {"name": "web", "namespace": "shop"}
    value = decoded({"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": list(subsets)})
    assert isinstance(value, Endpoints)
    return value


def test_endpoints_without_subsets_or_addresses_give_no_endpoints() -> None:
    assert contents(slices_from_endpoints(endpoints(), service())) == []
    assert contents(slices_from_endpoints(endpoints({"ports": [{"port": 80}]}), service())) == []


def test_addresses_that_are_not_ready_are_endpoints_that_are_not_ready() -> None:
    subset = {
        "addresses": [{"ip": "10.0.0.1", "nodeName": "node-a"}],
        "notReadyAddresses": [{"ip": "10.0.0.2"}],
        "ports": [{"port": 80}],
    }
    (content,) = contents(slices_from_endpoints(endpoints(subset), service()))
    assert content.ports == {("", "TCP", 80)}
    assert {(member.addresses, member.ready, member.node) for member in content.members} == {
        (("10.0.0.1",), True, "node-a"),
        (("10.0.0.2",), False, None),
    }


def test_endpoints_of_both_families_give_slices_of_both() -> None:
    subset = {"addresses": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}], "ports": [{"port": 80}]}
    assert by_family(slices_from_endpoints(endpoints(subset), service())) == {"IPv4": {"10.0.0.1"}, "IPv6": {"fd00::1"}}


def test_each_subset_keeps_its_own_ports() -> None:
    slices = slices_from_endpoints(
        endpoints(
            {"addresses": [{"ip": "10.0.0.1"}], "ports": [{"name": "dns", "port": 53, "protocol": "UDP"}]},
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"name": "dns", "port": 54}]},
        ),
        service(),
    )
    assert by_port(slices) == {("dns/UDP/53",): {"10.0.0.1"}, ("dns/TCP/54",): {"10.0.0.1", "10.0.0.2"}}
    assert len(State.of(slices).slices(ServiceKey("shop", "web"))) == 2


# Hints ---------------------------------------------------------------------------------------------------------------

ZONES = {"node-a": "zone-a", "node-b": "zone-b", "node-c": ""}
HINTS_ANNOTATION = "service.kubernetes.io/topology-aware-hints"
MODE_ANNOTATION = "service.kubernetes.io/topology-mode"
Hints = tuple[tuple[str, ...], tuple[str, ...]]
NO_HINTS: Hints = ((), ())


def annotated(value: Service, **annotations: str) -> Service:
    names = {"hints": HINTS_ANNOTATION, "mode": MODE_ANNOTATION}
    given = {names[name]: text for name, text in annotations.items()}
    return msgspec.structs.replace(value, metadata=msgspec.structs.replace(value.metadata, annotations=given))


def on(node: str | None, name: str = "a", **fields: Any) -> Pod:
    return pod(name, spec={"nodeName": node} if node is not None else {"nodeName": None}, **fields)


def hints_of(web: Service, *pods: Pod, zones: Mapping[str, str] = ZONES) -> list[Hints]:
    """Return (zones, nodes) of every endpoint, in the order of their addresses."""
    found = {
        str((one.addresses or ("",))[0]): (
            tuple(hint.name for hint in (one.hints.for_zones if one.hints is not None else None) or ()),
            tuple(hint.name for hint in (one.hints.for_nodes if one.hints is not None else None) or ()),
        )
        for part in slices_from_pods(web, pods, zones)
        for one in part.endpoints or ()
    }
    return [found[address] for address in sorted(found)]


@pytest.mark.parametrize("wanted", ["PreferClose", "PreferSameZone"])
def test_ready_endpoints_are_for_their_own_zone(wanted: str) -> None:
    web = service(trafficDistribution=wanted)
    assert hints_of(web, on("node-a"), on("node-b", "b")) == [(("zone-a",), ()), (("zone-b",), ())]


def test_prefer_same_node_gives_hints_for_node_and_zone() -> None:
    web = service(trafficDistribution="PreferSameNode")
    expected = [(("zone-a",), ("node-a",)), (("zone-b",), ("node-b",))]
    assert hints_of(web, on("node-a"), on("node-b", "b")) == expected


@pytest.mark.parametrize("wanted", [None, "", "PreferLocal", "preferclose", "PreferSameZone "])
def test_no_known_wish_gives_no_hints(wanted: str | None) -> None:
    assert hints_of(service(trafficDistribution=wanted), on("node-a")) == [NO_HINTS]


@pytest.mark.parametrize("node", ["node-c", "node-x", None, ""])
def test_an_endpoint_in_no_zone_gets_no_hint_for_one(node: str | None) -> None:
    assert hints_of(service(trafficDistribution="PreferClose"), on(node)) == [NO_HINTS]
    nodes = (node,) if node else ()
    assert hints_of(service(trafficDistribution="PreferSameNode"), on(node)) == [((), nodes)]


def test_zones_of_the_input_are_those_of_its_nodes() -> None:
    labelled = {"topology.kubernetes.io/zone": "zone-z"}
    node = decoded({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a", "labels": labelled}})
    web = service(trafficDistribution="PreferClose")
    (part,) = slices_of(State.of([node, web, on("node-a")]), ServiceKey("shop", "web"), web)
    (endpoint,) = part.endpoints or ()
    assert endpoint.hints is not None
    assert [one.name for one in endpoint.hints.for_zones or ()] == ["zone-z"]


UNREADY: Document = {"conditions": [{"type": "Ready", "status": "False"}]}


@pytest.mark.parametrize("wanted", ["PreferClose", "PreferSameZone", "PreferSameNode"])
def test_only_ready_endpoints_get_hints(wanted: str) -> None:
    web = service(trafficDistribution=wanted)
    found = hints_of(
        web, on("node-a"), on("node-a", "b", status=UNREADY), on("node-a", "c", deletionTimestamp=TERMINATING)
    )
    assert found[0] != NO_HINTS
    assert found[1:] == [NO_HINTS, NO_HINTS]


def test_endpoints_published_before_they_are_ready_get_hints() -> None:
    web = service(trafficDistribution="PreferClose", publishNotReadyAddresses=True)
    assert hints_of(web, on("node-a", status=UNREADY)) == [(("zone-a",), ())]


def test_endpoints_of_both_families_get_hints() -> None:
    web = service(trafficDistribution="PreferClose", clusterIPs=["10.96.0.1", "fd00::1"])
    assert hints_of(web, on("node-a")) == [(("zone-a",), ())] * 2


# The annotation for topology-aware routing ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("annotations", "auto"),
    [
        ({}, False),
        ({"mode": "Auto"}, True),
        ({"mode": "auto"}, True),
        ({"hints": "Auto"}, True),
        ({"hints": "auto"}, True),
        ({"mode": "Disabled"}, False),
        ({"mode": "disabled"}, False),
        ({"mode": ""}, False),
        ({"mode": "AUTO"}, False),
        ({"hints": "Disabled", "mode": "Auto"}, False),
        ({"hints": "", "mode": "Auto"}, False),
        ({"hints": "Auto", "mode": "Disabled"}, True),
    ],
)
def test_the_annotation_is_on_or_off_and_beats_traffic_distribution(annotations: dict[str, str], auto: bool) -> None:
    web = annotated(service(trafficDistribution="PreferClose"), **annotations)
    assert topology_mode_auto(web) is auto
    assert hints_of(web, on("node-a")) == [NO_HINTS if auto else (("zone-a",), ())]


def test_hints_of_slices_are_left_as_they_are_whatever_the_service_wishes() -> None:
    part = decoded(
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1"], "nodeName": "node-a", "hints": {"forZones": [{"name": "z"}]}}],
            "ports": [{"port": 80}],
        }
    )
    for web in (service(), service(trafficDistribution="PreferSameNode"), annotated(service(), mode="Auto")):
        assert slices_of(State.of([web, part]), ServiceKey("shop", "web"), web) == (part,)
