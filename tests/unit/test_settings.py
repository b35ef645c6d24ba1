"""What a node knows about itself, from the Nodes of the input and what the user said."""

from itertools import permutations

import pytest

from nftsvc.errors import ExitCode, UsageError
from nftsvc.objects import KubernetesObject, Node
from nftsvc.plan import make_plan
from nftsvc.settings import SETTING_NAMES, Detector, DetectorKind, NodeSettings, primary_address, settings_for
from nftsvc.state import State
from nftsvc.values import FAMILIES, Family, without_overlaps
from tests.support.builders import decoded, service


def node(*addresses: tuple[str, str], name: str = "node-a") -> Node:
    made = decoded(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {"addresses": [{"type": kind, "address": address} for kind, address in addresses]},
        }
    )
    assert isinstance(made, Node)
    return made


A = node(("InternalIP", "192.0.2.11"), ("InternalIP", "2001:db8::11"))
B = node(("InternalIP", "192.0.2.12"), name="node-b")


def test_only_node_of_the_input_is_meant() -> None:
    settings = settings_for(State.of((A,)), None)
    assert settings.name == "node-a"
    assert settings.node_port_addresses == {Family.IPV4: ("192.0.2.11",), Family.IPV6: ("2001:db8::11",)}


def test_of_several_nodes_none_is_meant() -> None:
    settings = settings_for(State.of((A, B)), None)
    assert settings == NodeSettings(name=None, families=FAMILIES, node_port_addresses={})


def test_named_node_is_meant() -> None:
    settings = settings_for(State.of((A, B)), "node-b")
    assert (settings.name, settings.node_port_addresses) == ("node-b", {Family.IPV4: ("192.0.2.12",)})


def test_node_that_is_not_there_is_a_usage_error_that_names_those_that_are() -> None:
    with pytest.raises(UsageError, match=r"'node-c'.*node-a, node-b") as caught:
        settings_for(State.of((A, B)), "node-c")
    assert caught.value.exit_code == ExitCode.USAGE


def test_without_nodes_any_name_will_do_and_its_addresses_stay_unknown() -> None:
    assert settings_for(State.of(()), "node-c") == NodeSettings(name="node-c", node_port_addresses={})
    assert settings_for(State.of(()), None) == NodeSettings(name=None, node_port_addresses={})


@pytest.mark.parametrize("families", [(Family.IPV4,), (Family.IPV6,), FAMILIES])
def test_only_the_families_asked_for_count(families: tuple[Family, ...]) -> None:
    settings = settings_for(State.of((A,)), None, families)
    assert settings.families == tuple(settings.node_port_addresses) == families


@pytest.mark.parametrize(
    ("addresses", "primary"),
    [
        ([("InternalIP", "192.0.2.1"), ("InternalIP", "192.0.2.2")], "192.0.2.1"),
        ([("ExternalIP", "198.51.100.1"), ("InternalIP", "192.0.2.1")], "192.0.2.1"),
        ([("Hostname", "192.0.2.9"), ("ExternalIP", "198.51.100.1")], "198.51.100.1"),
        ([("InternalIP", "2001:db8::1"), ("InternalIP", "192.0.2.1")], "192.0.2.1"),
        ([("InternalIP", "127.0.0.1"), ("InternalIP", "192.0.2.1")], "192.0.2.1"),
        ([("InternalIP", "127.0.0.1"), ("ExternalIP", "198.51.100.1")], "198.51.100.1"),
        ([("Hostname", "node-a")], None),
        ([("InternalIP", "2001:db8::1")], None),
        ([], None),
    ],
)
def test_primary_address_is_the_first_internal_else_the_first_external(
    addresses: list[tuple[str, str]], primary: str | None
) -> None:
    assert primary_address(node(*addresses), Family.IPV4) == primary


def test_node_without_status_has_no_address() -> None:
    assert primary_address(Node(), Family.IPV6) is None


# NodeConfigurations and overrides ------------------------------------------------------------------------------------


def configuration(name: str | None = None, /, **spec: object) -> KubernetesObject:
    metadata = {"name": name} if name is not None else {}
    return decoded({"apiVersion": "nftsvc/v1", "kind": "NodeConfiguration", "metadata": metadata, "spec": spec})


def a_node(
    name: str = "node-a", zone: str | None = None, pod_cidrs: tuple[str, ...] = (), **spec: object
) -> KubernetesObject:
    labels = {"topology.kubernetes.io/zone": zone} if zone is not None else {}
    reported = [{"type": "InternalIP", "address": one} for one in ("192.0.2.11", "2001:db8::11")]
    return decoded(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": {"podCIDRs": list(pod_cidrs), **spec},
            "status": {"addresses": reported},
        }
    )


def service_cidrs(name: str, *cidrs: str) -> KubernetesObject:
    metadata = {"name": name}
    return decoded(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "ServiceCIDR",
            "metadata": metadata,
            "spec": {"cidrs": list(cidrs)},
        }
    )


def settings_of(*objects: KubernetesObject, node: str | None = None, sets: tuple[str, ...] = ()) -> NodeSettings:
    return settings_for(State.of(objects), node, FAMILIES, sets)


def refusal(*objects: KubernetesObject, node: str | None = None, sets: tuple[str, ...] = ()) -> str:
    with pytest.raises(UsageError) as caught:
        settings_of(*objects, node=node, sets=sets)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


def test_what_the_user_says_comes_first_then_the_nodes_own_configuration_then_anybodys_then_the_node() -> None:
    objects: list[KubernetesObject] = []
    zones = []
    for one in (a_node(zone="node"), configuration(zone="anybody"), configuration("node-a", zone="own")):
        objects.append(one)
        zones.append(settings_of(*objects).zone)
    zones.append(settings_of(*objects, sets=("zone=user",)).zone)
    assert zones == ["node", "anybody", "own", "user"]


def test_each_field_is_taken_from_the_first_that_has_it() -> None:
    found = settings_of(
        a_node(zone="node"),
        configuration("node-a", clusterCIDRs=["10.1.0.0/16"]),
        configuration(clusterCIDRs=["10.2.0.0/16"], masqueradeAll=True, addresses=["192.0.2.99"]),
        sets=("masqueradeAll=false",),
    )
    assert found.zone == "node"
    assert found.detectors == {Family.IPV4: Detector(DetectorKind.SOURCE, "10.1.0.0/16")}
    assert found.masquerade_all is False
    assert found.addresses == {Family.IPV4: "192.0.2.99", Family.IPV6: "2001:db8::11"}


def test_an_empty_value_is_a_value() -> None:
    objects = (a_node(zone="node"), configuration(zone="own", clusterCIDRs=["10.244.0.0/16"]))
    found = settings_of(*objects, sets=("zone=", "clusterCIDRs="))
    assert (found.zone, found.detectors) == ("", {})


def test_null_is_none() -> None:
    assert settings_of(a_node(zone="node"), configuration("node-a", zone=None), configuration(zone=None)).zone == "node"


def test_another_nodes_configuration_says_nothing_of_this_one() -> None:
    found = settings_of(a_node(), configuration("node-b", masqueradeAll=True, zone="b"))
    assert (found.name, found.zone, found.masquerade_all) == ("node-a", "", False)


def test_nothing_said_is_what_kube_proxy_does_by_default() -> None:
    found = settings_of(a_node())
    assert found.node_port_addresses == {Family.IPV4: ("192.0.2.11",), Family.IPV6: ("2001:db8::11",)}
    assert (found.node_port_networks, found.node_ports_everywhere) == ({}, ())
    assert (found.detectors, found.masquerade_all, found.service_cidrs, found.zone) == ({}, False, {}, "")


def test_order_of_the_input_does_not_matter() -> None:
    objects = (
        a_node(zone="node"),
        configuration(zone="anybody", serviceCIDRs=["10.96.0.0/16"]),
        configuration("node-a", masqueradeAll=True),
        service_cidrs("b", "10.98.0.0/16"),
        service_cidrs("a", "10.97.0.0/16", "fd00:96::/112"),
    )
    assert len({repr(settings_of(*order)) for order in permutations(objects)}) == 1


# The node's name -----------------------------------------------------------------------------------------------------


def test_the_node_of_the_only_configuration_with_a_name_is_meant() -> None:
    assert settings_of(configuration("node-a", zone="a")).name == "node-a"
    assert settings_of(configuration("node-a", zone="a"), configuration(zone="b")).zone == "a"


def test_of_several_configurations_with_a_name_none_is_meant() -> None:
    found = settings_of(configuration("node-a", zone="a"), configuration("node-b", zone="b"), configuration(zone="c"))
    assert (found.name, found.zone) == (None, "c")


def test_a_configuration_without_a_name_names_no_node() -> None:
    assert settings_of(configuration(zone="a")).name is None


def test_the_node_that_the_user_names_has_its_own_configuration() -> None:
    objects = (configuration("node-a", zone="a"), configuration("node-b", zone="b"))
    assert settings_of(*objects, node="node-b").zone == "b"
    assert settings_of(*objects, node="node-c").zone == ""


def test_the_only_node_comes_before_the_only_configuration() -> None:
    assert settings_of(a_node("node-b"), configuration("node-a", zone="a")).name == "node-b"


@pytest.mark.parametrize("name", ["Node A", "a/b", '"', "node_a", "", "a" * 254])
def test_what_is_no_name_of_a_node_is_refused(name: str) -> None:
    assert refusal(node=name).startswith("--node ")


# Addresses -----------------------------------------------------------------------------------------------------------


def test_addresses_given_come_before_those_of_the_node_in_each_family() -> None:
    found = settings_of(a_node(), sets=("addresses=192.0.2.99",))
    assert found.addresses == {Family.IPV4: "192.0.2.99", Family.IPV6: "2001:db8::11"}
    assert found.node_port_addresses == {Family.IPV4: ("192.0.2.99",), Family.IPV6: ("2001:db8::11",)}


def test_addresses_of_a_family_that_is_not_asked_for_do_not_count() -> None:
    found = settings_for(State.of((a_node(),)), None, (Family.IPV6,))
    assert found.addresses == {Family.IPV6: "2001:db8::11"}


# Who is a local Pod --------------------------------------------------------------------------------------------------


def source(network: str) -> Detector:
    return Detector(DetectorKind.SOURCE, network)


BOTH = ["10.244.0.0/16", "fd00:244::/32"]
FOUR, SIX = source("10.244.0.0/16"), source("fd00:244::/32")


@pytest.mark.parametrize(
    ("spec", "detectors"),
    [
        ({}, {}),
        ({"clusterCIDRs": BOTH}, {Family.IPV4: FOUR, Family.IPV6: SIX}),
        ({"clusterCIDRs": BOTH[:1]}, {Family.IPV4: FOUR}),
        ({"clusterCIDRs": BOTH[1:], "detectLocalMode": "ClusterCIDR"}, {Family.IPV6: SIX}),
        ({"detectLocalMode": "ClusterCIDR", "podCIDRs": BOTH}, {}),
        ({"detectLocalMode": "NodeCIDR", "podCIDRs": BOTH}, {Family.IPV4: FOUR, Family.IPV6: SIX}),
        ({"detectLocalMode": "NodeCIDR", "podCIDRs": BOTH[1:], "clusterCIDRs": BOTH}, {Family.IPV6: SIX}),
        (
            {"detectLocalMode": "BridgeInterface", "bridgeInterface": "cbr0", "clusterCIDRs": BOTH},
            dict.fromkeys(FAMILIES, Detector(DetectorKind.INTERFACE, "cbr0")),
        ),
        (
            {"detectLocalMode": "InterfaceNamePrefix", "interfaceNamePrefix": "veth"},
            dict.fromkeys(FAMILIES, Detector(DetectorKind.INTERFACE_PREFIX, "veth")),
        ),
        ({"bridgeInterface": "cbr0", "interfaceNamePrefix": "veth"}, {}),
    ],
)
def test_each_mode_has_a_detector_per_family(spec: dict[str, object], detectors: dict[Family, Detector]) -> None:
    assert settings_of(configuration(**spec)).detectors == detectors


def test_families_that_are_not_asked_for_have_no_detector() -> None:
    for spec in ({"clusterCIDRs": BOTH}, {"detectLocalMode": "BridgeInterface", "bridgeInterface": "cbr0"}):
        found = settings_for(State.of((configuration(**spec),)), None, (Family.IPV6,))
        assert list(found.detectors) == [Family.IPV6]


@pytest.mark.parametrize(
    ("node", "detectors"),
    [
        (a_node(pod_cidrs=("10.244.1.0/24",)), {Family.IPV4: source("10.244.1.0/24")}),
        (
            a_node(pod_cidrs=("10.244.1.0/24", "fd00:244:1::/64", "10.245.1.0/24")),
            {Family.IPV4: source("10.244.1.0/24"), Family.IPV6: source("fd00:244:1::/64")},
        ),
        (a_node(podCIDR="10.244.9.0/24"), {Family.IPV4: source("10.244.9.0/24")}),
        (a_node(pod_cidrs=("10.244.1.0/24",), podCIDR="10.244.1.0/24"), {Family.IPV4: source("10.244.1.0/24")}),
    ],
)
def test_node_cidr_takes_the_first_network_per_family_of_the_node(
    node: KubernetesObject, detectors: dict[Family, Detector]
) -> None:
    assert settings_of(node, sets=("detectLocalMode=NodeCIDR",)).detectors == detectors


def test_networks_of_the_settings_come_before_those_of_the_node() -> None:
    found = settings_of(a_node(pod_cidrs=("10.244.1.0/24",)), sets=("detectLocalMode=NodeCIDR", "podCIDRs=10.9.0.0/24"))
    assert found.detectors == {Family.IPV4: source("10.9.0.0/24")}


@pytest.mark.parametrize("objects", [(), (a_node(),), (configuration(clusterCIDRs=BOTH),)])
def test_node_cidr_without_networks_is_a_usage_error(objects: tuple[KubernetesObject, ...]) -> None:
    message = refusal(*objects, sets=("detectLocalMode=NodeCIDR",))
    assert "NodeCIDR" in message
    assert "podCIDRs" in message


def test_the_user_may_choose_a_mode_whose_interface_a_configuration_names() -> None:
    found = settings_of(configuration(bridgeInterface="cbr0"), sets=("detectLocalMode=BridgeInterface",))
    assert set(found.detectors.values()) == {Detector(DetectorKind.INTERFACE, "cbr0")}


@pytest.mark.parametrize("mode", ["BridgeInterface", "InterfaceNamePrefix"])
def test_a_mode_without_its_interface_is_a_usage_error(mode: str) -> None:
    assert mode in refusal(a_node(), sets=(f"detectLocalMode={mode}",))


# Where node ports answer ---------------------------------------------------------------------------------------------

Groups = dict[Family, tuple[str, ...]]
OWN: Groups = {Family.IPV4: ("192.0.2.11",), Family.IPV6: ("2001:db8::11",)}


@pytest.mark.parametrize(
    ("entries", "exact", "networks", "everywhere"),
    [
        ([], OWN, {}, ()),
        (["primary"], OWN, {}, ()),
        (["all"], {}, {}, FAMILIES),
        (["primary", "all"], {}, {}, FAMILIES),
        (["all", "10.0.0.0/8"], {}, {}, FAMILIES),
        (["198.51.100.0/24"], {}, {Family.IPV4: ("198.51.100.0/24",)}, ()),
        (["2001:db8::/64"], {}, {Family.IPV6: ("2001:db8::/64",)}, ()),
        (["10.1.0.0/16", "10.0.0.0/8"], {}, {Family.IPV4: ("10.0.0.0/8",)}, ()),
        (["10.0.0.0/8", "fd00::/8"], {}, {Family.IPV4: ("10.0.0.0/8",), Family.IPV6: ("fd00::/8",)}, ()),
        (["0.0.0.0/0", "10.0.0.0/8", "fd00::/8"], {}, {Family.IPV6: ("fd00::/8",)}, (Family.IPV4,)),
        (["198.51.100.0/24", "::/0"], {}, {Family.IPV4: ("198.51.100.0/24",)}, (Family.IPV6,)),
        (
            ["primary", "198.51.100.0/24"],
            {},
            {Family.IPV4: ("192.0.2.11", "198.51.100.0/24"), Family.IPV6: ("2001:db8::11",)},
            (),
        ),
        (["primary", "0.0.0.0/0"], {}, {Family.IPV6: ("2001:db8::11",)}, (Family.IPV4,)),
    ],
)
def test_node_ports_answer_where_the_entries_say(
    entries: list[str], exact: Groups, networks: Groups, everywhere: tuple[Family, ...]
) -> None:
    found = settings_of(a_node(), configuration(nodePortAddresses=entries))
    assert found.node_port_addresses == exact
    assert {family: tuple(sorted(group)) for family, group in found.node_port_networks.items()} == networks
    assert found.node_ports_everywhere == everywhere


@pytest.mark.parametrize(
    ("entries", "warned_of"),
    [
        (["all"], ""),
        (["0.0.0.0/0", "::/0"], ""),
        (["primary", "0.0.0.0/0"], ""),
        (["0.0.0.0/0"], "every IPv6 address"),
        (["198.51.100.0/24"], "every IPv6 address"),
        (["198.51.100.0/24", "::/0"], ""),
    ],
)
def test_node_ports_on_every_address_are_warned_of_in_families_that_nobody_opened(
    entries: list[str], warned_of: str
) -> None:
    state = State.of(
        (
            a_node(),
            configuration(nodePortAddresses=entries),
            decoded(service("web", ["10.96.0.1", "fd00:96::1"], [{"port": 80, "nodePort": 30080}])),
        )
    )
    messages = [str(one) for one in make_plan(state, settings_for(state, None)).problems]
    assert len(messages) == bool(warned_of), messages
    assert all(warned_of in one and "nodePortAddresses" in one for one in messages), messages


@pytest.mark.parametrize("entries", [["primary", "192.0.2.0/24"], ["2001:db8::/64", "primary"]])
def test_networks_that_hold_the_primary_address_do_not_overlap_with_it(entries: list[str]) -> None:
    networks = settings_of(a_node(), configuration(nodePortAddresses=entries)).node_port_networks
    assert all(without_overlaps(group) == group for group in networks.values())


def test_primary_in_a_family_without_an_address_leaves_it_open() -> None:
    found = settings_of(configuration(addresses=["192.0.2.11"], nodePortAddresses=["primary"]))
    assert found.node_port_addresses == {Family.IPV4: ("192.0.2.11",)}
    assert found.node_port_networks == {}


# ServiceCIDRs --------------------------------------------------------------------------------------------------------


def test_service_cidrs_of_objects_and_settings_are_one_list_without_overlaps() -> None:
    found = settings_of(
        service_cidrs("kubernetes", "10.96.0.0/16", "fd00:96::/112"),
        service_cidrs("more", "10.97.0.0/16"),
        configuration(serviceCIDRs=["10.96.128.0/24", "192.168.0.0/24", "fd00:96::/108"]),
    )
    assert found.service_cidrs == {
        Family.IPV4: ("10.96.0.0/15", "192.168.0.0/24"),
        Family.IPV6: ("fd00:96::/108",),
    }


def test_service_cidrs_of_one_family_leave_the_other_unknown() -> None:
    assert settings_of(service_cidrs("kubernetes", "10.96.0.0/12")).service_cidrs == {Family.IPV4: ("10.96.0.0/12",)}


# Overrides -----------------------------------------------------------------------------------------------------------


def test_every_field_can_be_overridden() -> None:
    sets = (
        *("addresses=192.0.2.1, 2001:db8::1", "zone=z", "podCIDRs=10.1.0.0/24", "clusterCIDRs=10.0.0.0/8"),
        *("detectLocalMode=NodeCIDR", "bridgeInterface=cbr0", "interfaceNamePrefix=veth", "masqueradeAll=true"),
        *("nodePortAddresses=198.51.100.0/24,primary,", "serviceCIDRs=10.96.0.0/12,fd00:96::/108"),
    )
    found = settings_of(sets=sets)
    assert {pair.partition("=")[0] for pair in sets} == set(SETTING_NAMES)
    assert found.addresses == {Family.IPV4: "192.0.2.1", Family.IPV6: "2001:db8::1"}
    assert (found.zone, found.masquerade_all) == ("z", True)
    assert found.detectors == {Family.IPV4: source("10.1.0.0/24")}
    assert set(found.node_port_networks[Family.IPV4]) == {"192.0.2.1", "198.51.100.0/24"}
    assert found.service_cidrs == {Family.IPV4: ("10.96.0.0/12",), Family.IPV6: ("fd00:96::/108",)}


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("zone", ("zone", "FIELD=VALUE")),
        ("", ("FIELD=VALUE",)),
        ("mode=x", ("mode", "no such field")),
        ("=x", ("no such field",)),
        ("a.b=x", ("a.b", "no such field")),
        ("masqueradeAll=yes", ("masqueradeAll", "'yes'", "true or false")),
        ("masqueradeAll=", ("masqueradeAll", "true or false")),
        ("masqueradeAll=True", ("masqueradeAll", "'True'", "true or false")),
        ("detectLocalMode=cidr", ("detectLocalMode", "'cidr'", "NodeCIDR")),
        ("addresses=192.0.2.1,192.0.2.300", ("addresses[1]", "'192.0.2.300'")),
        ("addresses=192.0.2.1,192.0.2.2", ("addresses[1]", "IPv4")),
        ("clusterCIDRs=10.0.0.0", ("clusterCIDRs[0]", "'10.0.0.0'")),
        ("nodePortAddresses=localhost", ("nodePortAddresses[0]", "localhost")),
        ("bridgeInterface=", ("bridgeInterface", "''")),
        ('interfaceNamePrefix=x"', ("interfaceNamePrefix",)),
    ],
)
def test_a_bad_override_is_a_usage_error_that_names_option_field_and_value(
    override: str, named: tuple[str, ...]
) -> None:
    message = refusal(sets=(override,))
    assert message.startswith("--set ")
    assert [one for one in named if one not in message] == []
    assert "spec." not in message
    assert "$" not in message


def test_bad_overrides_are_named_all_at_once() -> None:
    lines = refusal(sets=("mode=x", "zone=a", "masqueradeAll=yes", "addresses=a,b", "other=y")).splitlines()
    assert sorted(line.split(":")[0].removeprefix("--set ") for line in lines) == [
        *("addresses[0]", "addresses[1]", "masqueradeAll", "mode", "other"),
    ]


def test_an_override_without_a_value_is_named_with_the_other_bad_ones() -> None:
    message = refusal(sets=("zone", "masqueradeAll=yes", "masqueradeall"))
    assert all(named in message for named in ("'zone'", "masqueradeAll", "'masqueradeall'"))


def test_the_last_override_of_a_field_counts() -> None:
    assert settings_of(sets=("zone=a", "zone=b")).zone == "b"


def test_overrides_of_a_list_add_up() -> None:
    found = settings_of(sets=("clusterCIDRs=10.244.0.0/16", "clusterCIDRs=fd00:244::/32"))
    assert {family: one.value for family, one in found.detectors.items()} == {
        Family.IPV4: "10.244.0.0/16",
        Family.IPV6: "fd00:244::/32",
    }


@pytest.mark.parametrize(
    ("detector", "words"),
    [
        (source("10.244.0.0/16"), "source in 10.244.0.0/16"),
        (Detector(DetectorKind.INTERFACE, "cbr0"), "comes in on cbr0"),
        (Detector(DetectorKind.INTERFACE_PREFIX, "veth"), "comes in on veth*"),
    ],
)
def test_detectors_say_what_they_look_at(detector: Detector, words: str) -> None:
    assert str(detector) == words
