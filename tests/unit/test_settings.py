"""What a node knows about itself, from the Nodes of the input and what the user said."""

import pytest

from nftsvc.errors import ExitCode, UsageError
from nftsvc.objects import Node
from nftsvc.settings import NodeSettings, primary_address, settings_for
from nftsvc.state import State
from nftsvc.values import FAMILIES, Family
from tests.support.builders import decoded


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
