"""One raw document to one object, or to every problem it has, each with the path it has in the document."""

import contextlib
import copy
import re
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftsvc.decode import Decoded, decode
from nftsvc.errors import ObjectRef
from nftsvc.objects import Endpoints, EndpointSlice, Node, Pod, Service

Document = dict[str, Any]
Path = tuple[str | int, ...]
HUGE = 10**5000


def service(**spec: object) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}], **spec},
    }


def endpoint_slice(*endpoints: object, **fields: object) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [{"name": "", "port": 8080}],
        **fields,
    }


def full_service() -> Document:
    document = service(
        type="NodePort",
        selector={"app": "web"},
        clusterIP="10.96.0.1",
        clusterIPs=["10.96.0.1", "fd00::1"],
        ipFamilies=["IPv4", "IPv6"],
        externalIPs=["203.0.113.20"],
        sessionAffinity="ClientIP",
        internalTrafficPolicy="Cluster",
        externalTrafficPolicy="Local",
        publishNotReadyAddresses=True,
        ports=[
            {"name": "http", "port": 80, "targetPort": "web", "nodePort": 31217, "protocol": "TCP"},
            {"name": "dns", "port": 53, "targetPort": 5353, "nodePort": 31218, "protocol": "UDP"},
        ],
    )
    document["metadata"]["creationTimestamp"] = "2026-11-22T23:46:58Z"
    document["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}]}}
    return document


def full_slice() -> Document:
    return endpoint_slice(
        {
            "addresses": ["10.244.1.5"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": "node-a",
        },
        {"addresses": ["10.244.2.5"], "nodeName": None},
        ports=[{"name": "http", "port": 8080, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    )


def full_pod() -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "containers": [{"ports": [{"name": "web", "containerPort": 8080, "protocol": "TCP"}]}],
            "initContainers": [{"restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 9090}]}],
            "nodeName": "node-a",
            "hostNetwork": False,
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "podIP": "10.244.1.5",
            "podIPs": [{"ip": "10.244.1.5"}, {"ip": "fd00:244::5"}],
        },
    }


def full_endpoints() -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "web", "namespace": "shop"},
        "subsets": [
            {
                "addresses": [{"ip": "10.244.1.5", "nodeName": "node-a"}],
                "notReadyAddresses": [{"ip": "10.244.1.6"}],
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            }
        ],
    }


def full_node() -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "a"}},
        "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
    }


FULL: tuple[Callable[[], Document], ...] = (full_service, full_slice, full_pod, full_endpoints, full_node)


def paths_in(tree: object, path: Path = ()) -> list[Path]:
    """Every place in a document, its root included."""
    steps = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [path, *(one for step, value in steps for one in paths_in(value, (*path, step)))]


def replaced(document: Document, path: Path, value: object) -> Document:
    tree: Any = {"root": copy.deepcopy(document)}
    place = tree
    for step in ("root", *path)[:-1]:
        place = place[step]
    place[("root", *path)[-1]] = value
    return tree["root"]


def without(document: Document, path: Path) -> Document:
    tree: Any = copy.deepcopy(document)
    place = tree
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return tree


def problems(document: object) -> dict[str, str]:
    """Field path to message; a path with two problems is a failure of its own."""
    found = decode(document).problems
    fields = {problem.field: problem.message for problem in found}
    assert len(fields) == len(found), [str(problem) for problem in found]
    return fields


# What decodes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "kind", "ref"),
    [
        (full_service(), Service, "Service shop/web"),
        (full_slice(), EndpointSlice, "EndpointSlice shop/web-1"),
        (full_pod(), Pod, "Pod shop/web-1"),
        (full_endpoints(), Endpoints, "Endpoints shop/web"),
        (full_node(), Node, "Node node-a"),
    ],
)
def test_each_kind_is_decoded(document: Document, kind: type, ref: str) -> None:
    decoded = decode(document)
    assert decoded.problems == ()
    assert isinstance(decoded.value, kind)
    assert str(decoded.value.ref) == ref


def test_a_services_fields_are_read() -> None:
    value = decode(full_service()).value
    assert isinstance(value, Service)
    assert value.spec is not None
    assert value.spec.type == "NodePort"
    assert value.spec.selector == {"app": "web"}
    assert value.addresses == ("10.96.0.1", "fd00::1")
    assert value.spec.session_affinity == "ClientIP"
    assert value.spec.internal_traffic_policy == "Cluster"
    assert value.spec.external_traffic_policy == "Local"
    assert value.spec.publish_not_ready_addresses is True
    assert [(one.name, one.protocol, one.port, one.target_port, one.node_port) for one in value.spec.ports or ()] == [
        ("http", "TCP", 80, "web", 31217),
        ("dns", "UDP", 53, "5353", 31218),
    ]


def test_a_slices_fields_are_read() -> None:
    value = decode(full_slice()).value
    assert isinstance(value, EndpointSlice)
    assert (value.service_name, value.address_type) == ("web", "IPv4")
    assert [(one.addresses, one.ready, one.node_name) for one in value.endpoints or ()] == [
        (("10.244.1.5",), True, "node-a"),
        (("10.244.2.5",), True, None),
    ]
    assert [(one.name, one.protocol, one.port) for one in value.ports or ()] == [
        ("http", "TCP", 8080),
        ("dns", "UDP", 53),
    ]


def test_the_namespace_left_out_is_default_and_a_node_has_none() -> None:
    assert decode(without(service(), ("metadata", "namespace"))).value is not None
    refs = [
        one.ref
        for one in (decode(without(service(), ("metadata", "namespace"))).value, decode(full_node()).value)
        if one is not None
    ]
    assert refs == [ObjectRef("Service", "default", "web"), ObjectRef("Node", "", "node-a")]


def test_addresses_are_rewritten_in_canonical_spelling() -> None:
    value = decode(service(clusterIP="172.30.0.041")).value
    assert isinstance(value, Service)
    assert value.addresses == ("172.30.0.41",)


def test_unknown_fields_are_ignored() -> None:
    document = service(color="red", ports=[{"port": 80, "appProtocol": 5}])
    document["extra"] = {"spec": [1, {"ports": 70000}]}
    assert decode(document).value == decode(service()).value


@pytest.mark.parametrize("path", [(), ("spec",), ("metadata",), ("spec", "ports", 0)])
def test_a_key_that_is_not_text_is_an_unknown_field(path: Path) -> None:
    document = service()
    place: Any = document
    for step in path:
        place = place[step]
    place[1] = 2
    assert problems(document) == {}
    assert decode(document).value == decode(service()).value


OPTIONAL: list[tuple[Callable[[], Document], Path]] = [
    (build, path)
    for build, allowed in (
        (
            full_service,
            r"metadata\.(namespace|labels|creationTimestamp)|spec\.\w+|spec\.ports\.1\.(?!port$)\w+|status.*",
        ),
        (
            full_slice,
            r"metadata\.(namespace|labels)|endpoints|endpoints\.\d\.(?!addresses)\w+(\.\w+)?|ports(\.0\.\w+)?",
        ),
        (
            full_pod,
            r"metadata\.(namespace|labels)|status|spec\.\w+|spec\.\w+\.0\.\w+(\.0\.\w+)?|status\.\w+(\.\d\.\w+)?",
        ),
        (full_endpoints, r"metadata\.namespace|subsets|subsets\.0\.\w+|subsets\.0\.\w+\.0\.(nodeName|name|protocol)"),
        (full_node, r"metadata\.labels|status|status\.addresses(\.0\.\w+)?"),
    )
    for path in paths_in(build())
    if re.fullmatch(allowed, ".".join(map(str, path))) and not isinstance(path[-1], int) and path != ("spec", "ports")
    if path not in {("spec", "ports", 1, "name"), ("spec", "clusterIP")}
]


@pytest.mark.parametrize(("build", "path"), OPTIONAL, ids=lambda value: getattr(value, "__name__", None) or str(value))
def test_null_in_an_optional_field_means_its_default(build: Callable[[], Document], path: Path) -> None:
    assert decode(replaced(build(), path, None)) == decode(without(build(), path))
    assert problems(replaced(build(), path, None)) == {}


def test_a_port_name_of_null_means_an_unnamed_port() -> None:
    assert decode(service(ports=[{"port": 80, "name": None}])) == decode(service())


def test_null_metadata_is_an_object_without_a_name() -> None:
    assert problems({**service(), "metadata": None}) == problems({**service(), "metadata": {}})


# What is skipped -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("v1", "ConfigMap"),
        ("apps/v1", "Deployment"),
        ("serving.knative.dev/v1", "Service"),
        ("example.com/v1", "EndpointSlice"),
        ("metrics.k8s.io/v1beta1", "Pod"),
    ],
)
def test_other_kinds_are_skipped_and_named(version: str, kind: str) -> None:
    assert decode({"apiVersion": version, "kind": kind, "spec": 5}) == Decoded(skipped=kind)


def test_slices_of_names_are_skipped() -> None:
    decoded = decode(endpoint_slice({"addresses": ["example.com"]}, addressType="FQDN"))
    assert (decoded.value, decoded.problems) == (None, ())
    assert "EndpointSlice" in decoded.skipped
    assert "FQDN" in decoded.skipped


@pytest.mark.parametrize(
    ("document", "supported"),
    [
        ({**full_slice(), "apiVersion": "discovery.k8s.io/v1beta1"}, "discovery.k8s.io/v1"),
        ({**service(), "apiVersion": "v2"}, "v1"),
    ],
)
def test_another_version_of_our_own_kinds_is_an_error_that_names_ours(document: Document, supported: str) -> None:
    decoded = decode(document)
    assert (decoded.value, decoded.skipped) == (None, "")
    (problem,) = decoded.problems
    assert problem.field == "apiVersion"
    assert str(document["apiVersion"]) in problem.message
    assert problem.message.endswith(supported)
    assert str(problem.ref) == f"{document['kind']} shop/{document['metadata']['name']}"


@pytest.mark.parametrize(
    "document",
    [
        None,
        5,
        "text",
        [],
        [service()],
        {},
        {"kind": "Service"},
        {"apiVersion": "v1"},
        {"apiVersion": "", "kind": "Service"},
        {"apiVersion": "v1", "kind": ""},
        {"apiVersion": 1, "kind": "Service"},
        {"apiVersion": "v1", "kind": ["Service"]},
        {"apiVersion": None, "kind": None},
    ],
)
def test_what_is_no_kubernetes_object_is_an_error(document: object) -> None:
    decoded = decode(document)
    assert (decoded.value, decoded.skipped) == (None, "")
    assert ["Kubernetes object" in problem.message for problem in decoded.problems] == [True]


# Every problem, with its path -----------------------------------------------------------------------------------------


def test_a_bad_node_port_is_reported_as_the_issue_shows_it() -> None:
    (problem,) = decode(service(ports=[{"port": 80, "nodePort": 70000}])).problems
    assert str(problem) == "Service shop/web: spec.ports[0].nodePort: 70000 is not a port number (1-65535)"


def test_every_bad_field_is_reported_in_one_run() -> None:
    document = service(
        type="Clusterip",
        clusterIP="127.0.0.1",
        ipFamilies=["IPv4", "IPv5"],
        sessionAffinity="clientip",
        internalTrafficPolicy="Near",
        externalTrafficPolicy=3,
        publishNotReadyAddresses="yes",
        selector={"app": 5, "tier": "web"},
        ports=[
            {"name": "HTTP", "port": 0, "targetPort": "a_b", "nodePort": 70000, "protocol": "ICMP"},
            {"name": "ok", "port": 80},
            {"name": "b", "port": "81"},
        ],
    )
    document["metadata"] |= {"namespace": "Shop", "creationTimestamp": "yesterday"}
    found = problems(document)
    shown = {
        "metadata.namespace": "'Shop'",
        "metadata.creationTimestamp": "'yesterday'",
        "spec.type": "'Clusterip'",
        "spec.clusterIP": "127.0.0.1",
        "spec.ipFamilies[1]": "'IPv5'",
        "spec.sessionAffinity": "'clientip'",
        "spec.internalTrafficPolicy": "'Near'",
        "spec.externalTrafficPolicy": "3",
        "spec.publishNotReadyAddresses": "'yes'",
        "spec.selector['app']": "5",
        "spec.ports[0].name": "'HTTP'",
        "spec.ports[0].port": "0",
        "spec.ports[0].targetPort": "'a_b'",
        "spec.ports[0].nodePort": "70000",
        "spec.ports[0].protocol": "'ICMP'",
        "spec.ports[2].port": "'81'",
    }
    assert {field: message[: len(shown.get(field, ""))] for field, message in found.items()} == shown


def test_bad_fields_and_broken_rules_are_reported_together() -> None:
    document = service(ports=[{"name": "a", "port": 80, "nodePort": 70000}, {"name": "a", "port": 81}, {"name": "c"}])
    assert set(problems(document)) == {"spec.ports[0].nodePort", "spec.ports[1].name", "spec.ports[2].port"}


def test_paths_stay_those_of_the_document_after_several_list_items_were_refused() -> None:
    addresses = ["127.0.0.1", "10.0.0.1", "x", "10.0.0.2", "::ffff:10.0.0.1", "fd00::1", 5, "10.0.0.3"]
    document = endpoint_slice("none", {"addresses": ["10.0.0.9"]}, None, {"addresses": addresses}, {"addresses": ["y"]})
    found = problems(document)
    assert {field: message.split()[0] for field, message in found.items()} == {
        "endpoints[0]": "'none'",
        "endpoints[2]": "null",
        "endpoints[3].addresses[0]": "127.0.0.1",
        "endpoints[3].addresses[2]": "'x'",
        "endpoints[3].addresses[4]": "::ffff:10.0.0.1",
        "endpoints[3].addresses[5]": "fd00::1",
        "endpoints[3].addresses[6]": "5",
        "endpoints[4].addresses[0]": "'y'",
    }


def test_a_rule_broken_behind_refused_items_is_reported_at_its_place_in_the_document() -> None:
    ports = ["x", {"name": "a", "port": 80}, 5, {"name": "b", "port": 81}, {"name": "b", "port": 82}]
    assert set(problems(service(ports=ports))) == {"spec.ports[0]", "spec.ports[2]", "spec.ports[4].name"}
    assert "spec.ports[3]" in problems(service(ports=ports))["spec.ports[4].name"]


def test_what_is_written_once_and_used_twice_is_reported_at_both_places() -> None:
    shared = ["127.0.0.1", "fd00::1"]
    found = problems(endpoint_slice({"addresses": shared}, {"addresses": shared}))
    assert {field: message.split()[0] for field, message in found.items()} == {
        f"endpoints[{index}].addresses[{position}]": address
        for index in (0, 1)
        for position, address in enumerate(shared)
    }


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (
            service(ports=[{"name": "a", "port": 53, "protocol": "udp"}, {"name": "b", "port": 53}]),
            "spec.ports[0].protocol",
        ),
        (service(type="externalName", ports=None), "spec.type"),
        (service(clusterIP="none", ports=None), "spec.clusterIP"),
        (service(clusterIPs=["127.0.0.1", "fd00::1"], ipFamilies=["IPv4", "IPv6"]), "spec.clusterIPs[0]"),
        (service(clusterIPs=["10.96.0.1", "fd00::1"], ipFamilies=["ipv4", "IPv6"]), "spec.ipFamilies[0]"),
        (service(ports=[5]), "spec.ports[0]"),
        (service(ports="http"), "spec.ports"),
        (service(ports=[{"name": "a", "port": 80}, {"name": "B", "port": 81}]), "spec.ports[1].name"),
        ({**service(), "spec": 5}, "spec"),
        ({**service(), "metadata": 5}, "metadata"),
        (endpoint_slice({"addresses": ["fd00::1"]}, addressType="ipv6"), "addressType"),
        (endpoint_slice({"addresses": ["x"]}), "endpoints[0].addresses[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_one_mistake_is_reported_once(document: Document, field: str) -> None:
    assert [problem.field for problem in decode(document).problems] == [field]


@pytest.mark.parametrize(
    ("build", "path", "value", "field", "shown"),
    [
        (full_service, ("spec", "ports"), "http", "spec.ports", "'http' is not a list"),
        (full_service, ("spec", "ports"), {"port": 80}, "spec.ports", "a mapping is not a list"),
        (full_service, ("spec", "ports", 1), 53, "spec.ports[1]", "53 is not a mapping"),
        (full_service, ("spec",), [], "spec", "a list is not a mapping"),
        (full_service, ("spec", "selector"), "app=web", "spec.selector", "'app=web' is not a mapping"),
        (full_service, ("spec", "selector"), {"app": True}, "spec.selector['app']", "true is not text"),
        (full_service, ("spec", "selector"), {"app": None}, "spec.selector['app']", "null is not text"),
        (full_service, ("spec", "selector"), {"app": ["web"]}, "spec.selector['app']", "a list is not text"),
        (full_service, ("metadata", "labels"), {"app": 5}, "metadata.labels['app']", "5 is not text"),
        (full_service, ("metadata", "labels"), {"app": 1.5}, "metadata.labels['app']", "1.5 is not text"),
        (full_service, ("metadata", "labels"), {7: "web"}, "metadata.labels[7]", "7 is not text"),
        (full_service, ("metadata", "labels"), ["app"], "metadata.labels", "a list is not a mapping"),
        (full_service, ("metadata", "name"), 5, "metadata.name", "5 is not a name"),
        (full_service, ("metadata",), "web", "metadata", "'web' is not a mapping"),
        (
            full_service,
            ("spec", "publishNotReadyAddresses"),
            1,
            "spec.publishNotReadyAddresses",
            "1 is not true or false",
        ),
        (full_service, ("spec", "externalIPs"), "203.0.113.20", "spec.externalIPs", "'203.0.113.20' is not a list"),
        (full_slice, ("endpoints", 0, "nodeName"), 5, "endpoints[0].nodeName", "5 is not text"),
        (
            full_slice,
            ("endpoints", 0, "conditions", "ready"),
            "yes",
            "endpoints[0].conditions.ready",
            "'yes' is not true",
        ),
        (full_slice, ("endpoints", 1, "addresses"), "10.0.0.1", "endpoints[1].addresses", "'10.0.0.1' is not a list"),
        (full_slice, ("ports", 0, "port"), True, "ports[0].port", "true is not a port number"),
        (full_slice, ("ports", 1, "port"), 0, "ports[1].port", "0 is not a port number"),
        (full_slice, ("ports", 1, "port"), 53.0, "ports[1].port", "53.0 is not a port number"),
        (full_endpoints, ("subsets", 0, "addresses", 0, "ip"), "x", "subsets[0].addresses[0].ip", "'x' is not an IP"),
        (full_pod, ("status", "podIPs", 1, "ip"), 5, "status.podIPs[1].ip", "5 is not an IP"),
        (
            full_pod,
            ("spec", "containers", 0, "ports", 0, "containerPort"),
            "80",
            "spec.containers[0].ports[0].containerPort",
            "'80' is not a port",
        ),
        (full_node, ("status", "addresses"), {}, "status.addresses", "a mapping is not a list"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_type_is_reported_at_its_field_with_the_value(
    build: Callable[[], Document], path: Path, value: object, field: str, shown: str
) -> None:
    found = problems(replaced(build(), path, value))
    assert list(found) == [field]
    assert found[field].startswith(shown)


def test_every_bad_label_is_reported_and_good_ones_are_not() -> None:
    document = service()
    document["metadata"]["labels"] = {"a": 1, "b": "x", "c": None, 4: "y"}
    assert set(problems(document)) == {"metadata.labels['a']", "metadata.labels['c']", "metadata.labels[4]"}


@pytest.mark.parametrize("bad", [True, False])
def test_the_document_is_left_as_it_was(bad: object) -> None:
    document = full_service()
    if bad:
        document["spec"]["ports"] += ["x", {"port": 70000}]
        document["metadata"]["labels"]["n"] = 5
    before = copy.deepcopy(document)
    assert bool(decode(document).problems) is bad
    assert document == before


# Hostile documents ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [("metadata", "name"), ("metadata", "labels", "app"), ("spec", "ports", 0, "port")])
def test_a_number_too_long_to_print_is_a_problem(path: Path) -> None:
    assert len(problems(replaced(full_service(), path, HUGE))) == 1


def test_a_time_outside_the_calendar_is_a_problem() -> None:
    document = replaced(service(), ("metadata", "creationTimestamp"), "0001-01-01T00:00:00+14:00")
    assert list(problems(document)) == ["metadata.creationTimestamp"]


def nested(depth: int) -> object:
    tree: object = 1
    for _ in range(depth):
        tree = {"a": tree}
    return tree


@pytest.mark.parametrize("depth", [100, 900])
@pytest.mark.parametrize("path", [("extra",), ("metadata", "name"), ("metadata", "namespace"), ("spec", "ports")])
def test_a_deeply_nested_value_does_not_hide_a_bad_field(path: Path, depth: int) -> None:
    document = service()
    document["spec"]["type"] = "Bad"
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = nested(depth)
    found: dict[str, str] = {}
    with contextlib.suppress(RecursionError):  # a traceback as long as this one takes long to print
        found = problems(document)
    assert "spec.type" in found


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\ud800", "a\u2028b", "a\u202eb", "x" * 5000])
@pytest.mark.parametrize("path", [("metadata", "name"), ("metadata", "namespace"), ("spec", "type"), ("apiVersion",)])
def test_a_problem_is_one_short_printable_line(path: Path, text: str) -> None:
    document = replaced(service(), path, f"v1{text}" if path == ("apiVersion",) else text)
    for problem in decode(document).problems:
        assert str(problem).isprintable()
        assert len(str(problem)) < 1000


@pytest.mark.parametrize("text", ["a\nb", "a\x1b[31mb", "a\ud800"])
def test_the_name_of_a_skipped_kind_is_printable(text: str) -> None:
    decoded = decode({"apiVersion": "v1", "kind": text})
    assert decoded.skipped.isprintable()
    assert decoded.skipped or decoded.problems


KEYS = st.sampled_from(["spec", "metadata", "name", "ports", "port", "ip", "items", "a", ""]) | st.text(max_size=3)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 70000),
    st.floats(),
    st.text(st.characters(), max_size=8),
    st.sampled_from(
        ["v1", "Service", "10.0.0.1", "fd00::1", "TCP", "None", "IPv6", "a\nb", "a; flush ruleset", "2026-01-01T0Z"]
    ),
    st.binary(max_size=3),
    st.just(date(2026, 1, 1)),
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(KEYS | st.integers(0, 3) | st.booleans() | st.none(), inner, max_size=4)
        | st.tuples(inner, inner)
    ),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> Document:
    """A valid document in which some places hold anything, are gone, or are there twice."""
    document = draw(st.sampled_from(FULL))()
    for _ in range(draw(st.integers(1, 4))):
        path = draw(
            st.sampled_from([path for path in paths_in(document) if path and path[0] not in ("kind", "apiVersion")])
        )
        match draw(st.sampled_from(["replace", "drop", "repeat", "key"])):
            case "replace":
                document = replaced(document, path, draw(TREES))
            case "drop":
                document = without(document, path)
            case _:
                holder: Any = document
                for step in path[:-1]:
                    holder = holder[step]
                if isinstance(holder, list):
                    holder.append(holder[path[-1]])
                else:
                    holder[draw(KEYS | st.integers())] = draw(TREES)
    return document


def assert_an_object_or_problems(document: object) -> None:
    decoded = decode(document)
    outcomes = [decoded.value is not None, bool(decoded.problems), bool(decoded.skipped)]
    assert sum(outcomes) == 1
    for problem in decoded.problems:
        assert problem.message


@given(
    document=TREES
    | st.builds(lambda tree, kind: {"apiVersion": "v1", **tree, "kind": kind}, st.dictionaries(KEYS, TREES), KEYS)
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_anything_is_an_object_or_problems_or_skipped(document: object) -> None:
    assert_an_object_or_problems(document)


@given(document=mutated())
@settings(max_examples=200, derandomize=True, deadline=None)
def test_a_mutated_object_is_an_object_or_problems(document: Document) -> None:
    assert_an_object_or_problems(document)


SAFE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
SAFE_PORT_NAME = re.compile(r"([a-z0-9]([-a-z0-9]*[a-z0-9])?)?")
SAFE_ADDRESS = re.compile(r"[0-9]+(\.[0-9]+){3}|[0-9a-f:]+")
SAFE_WORDS = {"TCP", "UDP", "SCTP", "IPv4", "IPv6"}
NFT_TEXT = st.text(st.sampled_from('ab1-.:/ \n";{}#\\$@A_'), max_size=6)
NAMES = st.sampled_from(["web", "a", "0", "a-b"]) | NFT_TEXT
ADDRESSES = st.sampled_from(["10.0.0.1", "010.0.0.2", "fd00::1", "FD00::2", "None", ""]) | NFT_TEXT
PROTOCOLS = st.sampled_from(["TCP", "UDP", "SCTP", "tcp", "ip", "TCP\n", "TCP "])
NUMBERS = st.sampled_from([1, 80, 65535, 0, -1, 70000, "80", True, 1.0])


@given(
    name=NAMES,
    namespace=NAMES,
    addresses=st.lists(ADDRESSES, max_size=2),
    port_names=st.lists(NAMES, min_size=1, max_size=2),
    protocol=PROTOCOLS,
    number=NUMBERS,
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_all_text_of_an_accepted_object_that_could_reach_nft_is_safe(
    name: str, namespace: str, addresses: list[str], port_names: list[str], protocol: str, number: object
) -> None:
    ports = [{"name": one, "port": number, "nodePort": number, "protocol": protocol} for one in port_names]
    metadata = {"name": name, "namespace": namespace}
    of_service = decode(
        {**service(ports=ports, clusterIPs=addresses, clusterIP=next(iter(addresses), None)), "metadata": metadata}
    )
    if isinstance(of_service.value, Service) and of_service.value.spec is not None:
        assert SAFE_PORT_NAME.fullmatch(of_service.value.name)
        assert SAFE_PORT_NAME.fullmatch(of_service.value.namespace)
        assert all(SAFE_ADDRESS.fullmatch(one) for one in of_service.value.addresses)
        for one in of_service.value.spec.ports or ():
            assert SAFE_PORT_NAME.fullmatch(one.name)
            assert one.protocol in SAFE_WORDS
            assert isinstance(one.port, int)
            assert 1 <= one.port <= 65535
            assert 0 <= (one.node_port or 0) <= 65535
    family = "IPv6" if any(":" in one for one in addresses) else "IPv4"
    of_slice = decode(
        {**endpoint_slice({"addresses": addresses}, ports=ports, addressType=family), "metadata": metadata}
    )
    if isinstance(of_slice.value, EndpointSlice):
        assert SAFE_NAME.fullmatch(of_slice.value.name)
        assert SAFE_PORT_NAME.fullmatch(of_slice.value.namespace)
        assert of_slice.value.address_type in SAFE_WORDS
        assert all(SAFE_ADDRESS.fullmatch(one) for end in of_slice.value.endpoints or () for one in end.addresses or ())
        for port in of_slice.value.ports or ():
            assert SAFE_PORT_NAME.fullmatch(port.name or "")
            assert (port.protocol or "TCP") in SAFE_WORDS
            assert 1 <= (port.port or 1) <= 65535
