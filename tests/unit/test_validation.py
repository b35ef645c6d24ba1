"""What the API server would refuse in an object and no single field can tell: one rule, one test."""

from typing import Any

import pytest

from nftsvc.decode import decode

Document = dict[str, Any]


def service(**spec: object) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}], **spec},
    }


def endpoint_slice(*endpoints: object, **fields: object) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "namespace": "shop"},
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        **fields,
    }


def endpoints(**subset: object) -> Document:
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"}, "subsets": [subset]}


def port(name: str, number: int, **fields: object) -> Document:
    return {"name": name, "port": number, **fields}


def problems(document: Document) -> dict[str, str]:
    decoded = decode(document)
    assert (decoded.value is None) == bool(decoded.problems)
    fields = {problem.field: problem.message for problem in decoded.problems}
    assert len(fields) == len(decoded.problems), [str(problem) for problem in decoded.problems]
    return fields


# Every object --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        service(),
        endpoint_slice(),
        endpoints(),
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {}},
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}},
    ],
    ids=lambda document: document["kind"],
)
@pytest.mark.parametrize("metadata", [{}, {"name": ""}, {"name": None}, {"namespace": "shop"}])
def test_every_object_needs_a_name(document: Document, metadata: Document) -> None:
    assert problems(document) == {}
    assert problems({**document, "metadata": metadata}) == {"metadata.name": "missing, but required"}


@pytest.mark.parametrize("kind", ["Service", "Pod"])
def test_services_and_pods_need_a_spec(kind: str) -> None:
    document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "web"}}
    assert problems(document) == {"spec": "missing, but required"}


def test_a_services_name_has_no_dots_but_a_slices_may() -> None:
    assert list(problems({**service(), "metadata": {"name": "web.shop"}})) == ["metadata.name"]
    assert problems({**endpoint_slice(), "metadata": {"name": "web.shop"}}) == {}


# Ports of a Service --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ports", [None, []])
def test_a_service_needs_ports(ports: object) -> None:
    assert problems(service(ports=ports)) == {"spec.ports": "missing, but required"}


def test_headless_and_external_name_services_need_no_ports() -> None:
    assert problems(service(clusterIP="None", ports=None)) == {}
    assert problems(service(type="ExternalName", clusterIP=None, ports=None)) == {}


def test_a_service_whose_cluster_ips_say_none_is_headless_too() -> None:
    assert problems(service(clusterIP="None", clusterIPs=["None"], ports=None)) == {}


def test_a_service_port_needs_a_number() -> None:
    assert problems(service(ports=[{"name": "http"}])) == {"spec.ports[0].port": "missing, but required"}


def test_every_one_of_several_ports_needs_a_name() -> None:
    assert problems(service(ports=[{"port": 80}])) == {}
    found = problems(service(ports=[{"port": 80}, port("b", 81), {"port": 82, "name": ""}]))
    assert set(found) == {"spec.ports[0].name", "spec.ports[2].name"}
    assert all("required" in message for message in found.values())


def test_port_names_differ_within_a_service() -> None:
    assert problems(service(ports=[port("a", 80), port("b", 81)])) == {}
    found = problems(service(ports=[port("a", 80), port("b", 81), port("a", 82)]))
    assert found == {"spec.ports[2].name": "a is already used by spec.ports[0].name"}


def test_one_port_number_may_serve_two_protocols_but_not_one_protocol_twice() -> None:
    assert problems(service(ports=[port("a", 53), port("b", 53, protocol="UDP"), port("c", 53, protocol="SCTP")])) == {}
    found = problems(service(ports=[port("a", 53), port("b", 53, protocol="TCP")]))
    assert list(found) == ["spec.ports[1].port"]
    assert "53" in found["spec.ports[1].port"]
    assert "TCP" in found["spec.ports[1].port"]
    assert "spec.ports[0].port" in found["spec.ports[1].port"]


def test_one_node_port_may_serve_two_protocols_but_not_one_protocol_twice() -> None:
    ports = [port("a", 80, nodePort=31217), port("b", 81, nodePort=31217, protocol="UDP")]
    assert problems(service(type="NodePort", ports=ports)) == {}
    found = problems(service(type="NodePort", ports=[*ports, port("c", 82, nodePort=31217)]))
    assert list(found) == ["spec.ports[2].nodePort"]
    assert "31217" in found["spec.ports[2].nodePort"]
    assert "spec.ports[0].nodePort" in found["spec.ports[2].nodePort"]


def test_a_node_port_of_zero_is_none_and_may_repeat() -> None:
    assert problems(service(ports=[port("a", 80, nodePort=0), port("b", 81, nodePort=0)])) == {}


# Cluster IPs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": None},
        {"clusterIP": ""},
        {"clusterIPs": ["10.96.0.1"]},
        {"clusterIPs": ["10.96.000.001"]},
        {"clusterIPs": ["10.96.0.1", "fd00::1"]},
        {"clusterIPs": ["10.96.0.1", "fd00::1"], "ipFamilies": ["IPv4", "IPv6"]},
        {"clusterIP": "fd00::1", "clusterIPs": ["fd00::1", "10.96.0.1"], "ipFamilies": ["IPv6", "IPv4"]},
        {"clusterIP": "fd00::1", "ipFamilies": ["IPv6"]},
        {"clusterIP": None, "ipFamilies": ["IPv4", "IPv6"]},
        {"clusterIP": "None", "clusterIPs": ["None"], "ipFamilies": ["IPv4", "IPv6"]},
    ],
)
def test_cluster_ips_that_agree_are_taken(spec: Document) -> None:
    assert problems(service(**spec)) == {}


@pytest.mark.parametrize("first", ["10.96.0.2", "fd00::1", "None"])
def test_the_first_of_the_cluster_ips_is_the_cluster_ip(first: str) -> None:
    found = problems(service(clusterIPs=[first]))
    assert list(found) == ["spec.clusterIPs[0]"]
    assert first in found["spec.clusterIPs[0]"]
    assert "10.96.0.1" in found["spec.clusterIPs[0]"]


def test_a_service_has_one_cluster_ip_per_family() -> None:
    found = problems(service(clusterIPs=["10.96.0.1", "10.96.0.2"]))
    assert list(found) == ["spec.clusterIPs[1]"]
    assert "IPv4" in found["spec.clusterIPs[1]"]


def test_a_service_has_at_most_two_cluster_ips() -> None:
    assert "spec.clusterIPs" in problems(service(clusterIPs=["10.96.0.1", "fd00::1", "10.96.0.2"]))


@pytest.mark.parametrize(
    "spec",
    [
        {"clusterIP": "None", "clusterIPs": ["None", "10.96.0.1"]},
        {"clusterIPs": ["10.96.0.1", "None"]},
        {"clusterIP": "None", "clusterIPs": ["None", "None"]},
    ],
)
def test_a_headless_service_has_no_other_cluster_ip(spec: Document) -> None:
    found = problems(service(**spec))
    assert len(found) == 1
    assert next(iter(found)).startswith("spec.clusterIPs")


def test_the_families_of_a_service_differ() -> None:
    assert list(problems(service(ipFamilies=["IPv4", "IPv4"]))) == ["spec.ipFamilies[1]"]


@pytest.mark.parametrize(
    ("spec", "field", "shown"),
    [
        ({"clusterIP": "fd00::1", "ipFamilies": ["IPv4"]}, "spec.clusterIP", "fd00::1"),
        ({"ipFamilies": ["IPv6", "IPv4"]}, "spec.clusterIP", "10.96.0.1"),
        ({"clusterIPs": ["10.96.0.1"], "ipFamilies": ["IPv6"]}, "spec.clusterIPs[0]", "10.96.0.1"),
    ],
)
def test_a_cluster_ip_is_of_the_family_that_the_service_states(spec: Document, field: str, shown: str) -> None:
    found = problems(service(**spec))
    assert list(found) == [field]
    assert shown in found[field]
    assert str(spec["ipFamilies"][0]) in found[field]


def test_every_cluster_ip_is_compared_with_the_family_at_its_place() -> None:
    found = problems(service(clusterIPs=["10.96.0.1", "fd00::1"], ipFamilies=["IPv6", "IPv4"]))
    assert set(found) == {"spec.clusterIPs[0]", "spec.clusterIPs[1]"}


# Slices and Endpoints ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [{}, {"addressType": None}])
def test_a_slice_needs_an_address_type(missing: Document) -> None:
    document = endpoint_slice({"addresses": ["10.244.1.5"]})
    del document["addressType"]
    assert problems({**document, **missing}) == {"addressType": "missing, but required"}


@pytest.mark.parametrize("address_type", ["", "ipv4", "IP", 4])
def test_a_slice_of_an_unknown_address_type_is_refused(address_type: object) -> None:
    assert list(problems(endpoint_slice(addressType=address_type))) == ["addressType"]


@pytest.mark.parametrize(
    ("family", "good", "bad"), [("IPv4", "10.244.1.5", "fd00:244::5"), ("IPv6", "fd00:244::5", "10.244.1.5")]
)
def test_the_addresses_of_a_slice_are_of_its_type(family: str, good: str, bad: str) -> None:
    assert problems(endpoint_slice({"addresses": [good]}, addressType=family)) == {}
    found = problems(endpoint_slice({"addresses": [good]}, {"addresses": [good, bad]}, addressType=family))
    assert list(found) == ["endpoints[1].addresses[1]"]
    assert bad in found["endpoints[1].addresses[1]"]
    assert family in found["endpoints[1].addresses[1]"]


@pytest.mark.parametrize("endpoint", [{}, {"addresses": None}, {"addresses": []}])
def test_an_endpoint_of_a_slice_needs_an_address(endpoint: Document) -> None:
    found = problems(endpoint_slice({"addresses": ["10.244.1.5"]}, endpoint))
    assert found == {"endpoints[1].addresses": "missing, but required"}


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.1.1", "224.0.0.1", "0.0.0.0"])  # noqa: S104 - refused here
def test_an_endpoint_on_a_special_address_is_refused(address: str) -> None:
    assert list(problems(endpoint_slice({"addresses": [address]}))) == ["endpoints[0].addresses[0]"]
    assert list(problems(endpoints(addresses=[{"ip": address}]))) == ["subsets[0].addresses[0].ip"]


def test_the_port_names_of_a_slice_differ() -> None:
    assert problems(endpoint_slice(ports=[port("a", 80), port("b", 80)])) == {}
    assert list(problems(endpoint_slice(ports=[port("a", 80), port("b", 81), port("a", 82)]))) == ["ports[2].name"]


def test_two_unnamed_ports_of_a_slice_have_the_same_name() -> None:
    assert list(problems(endpoint_slice(ports=[{"port": 80}, {"port": 81, "name": ""}]))) == ["ports[1].name"]


def test_a_slice_port_may_lack_a_number() -> None:
    assert problems(endpoint_slice(ports=[{"name": "a"}])) == {}


@pytest.mark.parametrize("field", ["addresses", "notReadyAddresses"])
def test_an_address_of_endpoints_needs_an_ip(field: str) -> None:
    found = problems(endpoints(**{field: [{"ip": "10.244.1.5"}, {"nodeName": "node-a"}]}))
    assert found == {f"subsets[0].{field}[1].ip": "missing, but required"}


def test_a_port_of_endpoints_needs_a_number() -> None:
    assert problems(endpoints(ports=[{"name": "a"}])) == {"subsets[0].ports[0].port": "missing, but required"}


def test_endpoints_may_mix_families() -> None:
    assert problems(endpoints(addresses=[{"ip": "10.244.1.5"}, {"ip": "fd00::5"}], ports=[{"port": 80}])) == {}


# Nodes ---------------------------------------------------------------------------------------------------------------


def node(kind: str, address: str) -> Document:
    addresses = [{"type": kind, "address": address}]
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}, "status": {"addresses": addresses}}


@pytest.mark.parametrize("kind", ["InternalIP", "ExternalIP"])
def test_an_address_of_a_node_that_is_an_ip_must_be_one(kind: str) -> None:
    assert problems(node(kind, "192.0.2.11")) == {}
    assert problems(node(kind, "fd00::11")) == {}
    found = problems(node(kind, "node-a.example.com"))
    assert list(found) == ["status.addresses[0].address"]
    assert "node-a.example.com" in found["status.addresses[0].address"]


@pytest.mark.parametrize("kind", ["Hostname", "InternalDNS", "ExternalDNS"])
def test_an_address_of_a_node_that_is_a_name_may_be_any(kind: str) -> None:
    assert problems(node(kind, "node-a.example.com")) == {}
