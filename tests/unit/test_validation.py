"""What the API server would refuse in an object and no single field can tell: one rule, one test."""

from typing import Any

import msgspec
import pytest

from nftsvc.decode import decode
from nftsvc.objects import NodeConfiguration, ServiceCIDR

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


# ServiceCIDRs --------------------------------------------------------------------------------------------------------


def service_cidr(*cidrs: object, **fields: object) -> Document:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": list(cidrs)},
        **fields,
    }


@pytest.mark.parametrize(
    "cidrs", [("10.96.0.0/12",), ("fd00:96::/108",), ("10.96.0.0/12", "fd00:96::/108"), ("fd00::/108", "10.0.0.0/8")]
)
def test_a_service_cidr_has_a_network_of_each_family(cidrs: tuple[str, ...]) -> None:
    value = decode(service_cidr(*cidrs)).value
    assert isinstance(value, ServiceCIDR)
    assert value.spec is not None
    assert value.spec.cidrs == cidrs
    assert str(value.ref) == "ServiceCIDR kubernetes"


@pytest.mark.parametrize("spec", [None, {}, {"cidrs": None}, {"cidrs": []}])
def test_a_service_cidr_needs_a_network(spec: Document | None) -> None:
    assert problems(service_cidr(spec=spec)) == {"spec.cidrs": "missing, but required"}


def test_a_service_cidr_needs_a_name() -> None:
    assert set(problems(service_cidr("10.96.0.0/12", metadata={}))) == {"metadata.name"}


def test_two_networks_of_one_family_in_a_service_cidr_are_refused_and_the_first_is_named() -> None:
    (message,) = problems(service_cidr("10.96.0.0/12", "fd00::/108", "10.97.0.0/16")).items()
    assert message[0] == "spec.cidrs[2]"
    assert "spec.cidrs[0]" in message[1]
    assert "IPv4" in message[1]


def test_every_bad_network_of_a_service_cidr_is_named() -> None:
    found = problems(service_cidr("10.96.0.0", "fd00::/129", "10.96.0.0/12", 7))
    assert set(found) == {"spec.cidrs[0]", "spec.cidrs[1]", "spec.cidrs[3]"}


def test_another_version_of_service_cidrs_is_an_error_that_names_ours() -> None:
    found = problems(service_cidr("10.96.0.0/12", apiVersion="networking.k8s.io/v1beta1"))
    assert "networking.k8s.io/v1" in found["apiVersion"]


def test_what_else_a_service_cidr_says_is_ignored() -> None:
    spec = {"cidrs": ["10.96.0.0/12"], "pools": ["a"]}
    assert problems(service_cidr(spec=spec, status={"conditions": []}, immutable=True)) == {}


# NodeConfigurations --------------------------------------------------------------------------------------------------


def configuration(name: str | None = "node-a", /, **spec: object) -> Document:
    metadata = {"name": name} if name is not None else {}
    return {"apiVersion": "nftsvc/v1", "kind": "NodeConfiguration", "metadata": metadata, "spec": spec}


EVERYTHING: Document = {
    "addresses": ["192.0.2.11", "2001:db8::11"],
    "zone": "zone-a",
    "podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64"],
    "clusterCIDRs": ["10.244.0.0/16", "fd00:244::/32"],
    "detectLocalMode": "ClusterCIDR",
    "bridgeInterface": "cbr0",
    "interfaceNamePrefix": "veth",
    "masqueradeAll": False,
    "nodePortAddresses": ["primary"],
    "serviceCIDRs": ["10.96.0.0/12", "fd00:96::/108"],
}


def spec_of(document: Document) -> Document:
    """Return the fields of a configuration that say something, by the names that they have in the document."""
    value = decode(document).value
    assert isinstance(value, NodeConfiguration), [str(one) for one in decode(document).problems]
    assert value.spec is not None
    fields = {one.encode_name: getattr(value.spec, one.name) for one in msgspec.structs.fields(value.spec)}
    return {name: one for name, one in fields.items() if one is not None}


def test_a_configuration_may_say_everything() -> None:
    expected = {name: tuple(value) if isinstance(value, list) else value for name, value in EVERYTHING.items()}
    assert spec_of(configuration(**EVERYTHING)) == expected


@pytest.mark.parametrize("document", [{"metadata": {}}, {"metadata": None}, {}, {"metadata": {"name": None}}])
def test_a_configuration_needs_no_name_and_no_spec(document: Document) -> None:
    decoded = decode({"apiVersion": "nftsvc/v1", "kind": "NodeConfiguration", **document})
    assert isinstance(decoded.value, NodeConfiguration)
    assert (decoded.value.name, decoded.value.spec) == ("", None)


def test_a_configuration_is_of_no_namespace() -> None:
    document = configuration(zone="a")
    document["metadata"]["namespace"] = "shop"
    assert str(decode(document).ref) == "NodeConfiguration node-a"


@pytest.mark.parametrize("field", sorted(EVERYTHING))
def test_null_in_a_configuration_means_that_nothing_is_said(field: str) -> None:
    assert set(spec_of(configuration(**{**EVERYTHING, field: None}))) == EVERYTHING.keys() - {field}


def test_null_in_all_of_a_configuration_means_that_nothing_is_said() -> None:
    assert spec_of(configuration(**dict.fromkeys(EVERYTHING))) == {}


@pytest.mark.parametrize(
    "field",
    ["masqueradeall", "MasqueradeAll", "masquerade_all", "nodePorts", "nodeportAddresses", "podCidrs", "node", "mode"],
)
@pytest.mark.parametrize("value", [True, "x", 0, ["a"], {"b": 1}])
def test_an_unknown_field_of_a_configuration_is_reported_with_its_path(field: str, value: object) -> None:
    assert problems(configuration(**{field: value})) == {f"spec.{field}": "no such field"}


def test_all_that_is_wrong_with_a_configuration_is_reported_at_once() -> None:
    found = problems(
        configuration(
            masqueradeEverything=True,
            zones="zone-a",
            masqueradeAll="yes",
            addresses=["192.0.2.11", "192.0.2.300"],
            clusterCIDRs=["10.244.0.0/16", "10.245.0.0/16"],
            detectLocalMode="BridgeInterface",
            bridgeInterface=None,
            nodePortAddresses=["primary", "127.0.0.0/8"],
        )
    )
    assert set(found) == {
        *("spec.masqueradeEverything", "spec.zones", "spec.masqueradeAll", "spec.addresses[1]"),
        *("spec.clusterCIDRs[1]", "spec.bridgeInterface", "spec.nodePortAddresses[1]"),
    }


@pytest.mark.parametrize("field", ["example.com/masquerade", "a.b", "zone[0]", "a`b", ""])
def test_an_unknown_field_with_odd_letters_is_reported_with_the_other_problems(field: str) -> None:
    found = problems(configuration(**{field: 1, "masqueradeAll": 3}))
    assert len(found) == 2
    assert found["spec.masqueradeAll"] == "3 is not true or false"
    assert "no such field" in found.values()
    assert all(path.startswith("spec") for path in found)


def test_an_unknown_field_of_null_is_reported_too() -> None:
    assert problems(configuration(masqueradeEverything=None)) == {"spec.masqueradeEverything": "no such field"}


@pytest.mark.parametrize("key", [True, 1, None, 1.5])
def test_a_field_of_a_configuration_whose_name_is_no_text_is_reported(key: object) -> None:
    document = configuration(zone="a")
    document["spec"][key] = "x"
    assert problems(document)


@pytest.mark.parametrize("spec", ["x", ["zone"], 1, True])
def test_the_spec_of_a_configuration_is_a_mapping(spec: object) -> None:
    assert list(problems({**configuration(), "spec": spec})) == ["spec"]


@pytest.mark.parametrize(
    ("mode", "field"), [("BridgeInterface", "bridgeInterface"), ("InterfaceNamePrefix", "interfaceNamePrefix")]
)
@pytest.mark.parametrize("given", [{}, {"null": None}])
def test_a_mode_that_needs_an_interface_must_have_one(mode: str, field: str, given: Document) -> None:
    fields = dict.fromkeys([field]) if given else {}
    found = problems(configuration(detectLocalMode=mode, **fields))
    assert list(found) == [f"spec.{field}"]
    assert mode in found[f"spec.{field}"]
    assert problems(configuration(detectLocalMode=mode, **{field: "veth"})) == {}


@pytest.mark.parametrize("value", ["", "veth*", 'x" accept', "a b", "x" * 16, 5])
@pytest.mark.parametrize(
    ("mode", "field"), [("BridgeInterface", "bridgeInterface"), ("InterfaceNamePrefix", "interfaceNamePrefix")]
)
def test_a_bad_interface_is_reported_once(mode: str, field: str, value: object) -> None:
    assert list(problems(configuration(detectLocalMode=mode, **{field: value}))) == [f"spec.{field}"]


@pytest.mark.parametrize("mode", ["ClusterCIDR", "NodeCIDR", None])
def test_other_modes_need_no_interface(mode: str | None) -> None:
    assert problems(configuration(detectLocalMode=mode)) == {}


@pytest.mark.parametrize("mode", ["", "clusterCIDR", "LocalModeNodeCIDR", 1, True])
def test_another_mode_is_refused_and_the_known_ones_are_listed(mode: object) -> None:
    message = problems(configuration(detectLocalMode=mode))["spec.detectLocalMode"]
    assert all(known in message for known in ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"))


@pytest.mark.parametrize("field", ["addresses", "podCIDRs", "clusterCIDRs"])
def test_a_configuration_has_one_value_per_family(field: str) -> None:
    length = "" if field == "addresses" else "/24"
    values = [f"{address}{length}" for address in ("192.0.2.1", "2001:db8::1", "198.51.100.1")]
    found = problems(configuration(**{field: values}))
    assert list(found) == [f"spec.{field}[2]"]
    assert f"spec.{field}[0]" in found[f"spec.{field}[2]"]
    assert problems(configuration(**{field: values[:2]})) == {}


@pytest.mark.parametrize("field", ["nodePortAddresses", "serviceCIDRs"])
def test_node_port_addresses_and_service_cidrs_may_be_several_of_a_family(field: str) -> None:
    assert problems(configuration(**{field: ["192.0.2.0/24", "198.51.100.0/24", "2001:db8::/64"]})) == {}


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1", "fe80::1", "224.0.0.1", "node-a"])  # noqa: S104
def test_the_nodes_address_is_one_that_traffic_may_be_sent_to(address: str) -> None:
    assert list(problems(configuration(addresses=[address]))) == ["spec.addresses[0]"]


def test_the_name_of_a_configuration_is_one_of_a_node() -> None:
    assert list(problems(configuration("Node A"))) == ["metadata.name"]


@pytest.mark.parametrize("version", ["v1", "nftsvc/v2", "nftsvc/v1alpha1"])
def test_another_version_of_configurations_is_never_applied(version: str) -> None:
    decoded = decode({**configuration(masqueradeAll=True), "apiVersion": version})
    assert decoded.value is None
    assert decoded.problems or decoded.skipped == "NodeConfiguration"
