"""What happens to one packet, and whether the steps say why."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest

from nftsvc.explain import Explanation, Outcome, Packet, explain
from nftsvc.plan import make_plan
from nftsvc.settings import settings_for
from nftsvc.state import State
from nftsvc.values import FAMILIES, Address, Family, Port, Protocol
from tests.support.builders import NODE, Raw, decoded, endpoint_slice, service

NODE_IP, NODE_IP_6 = "192.0.2.11", "2001:db8::11"
OTHER_NODE = "192.0.2.12"
VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
LB, LB_6 = "203.0.113.10", "2001:db8:203::10"
EXTERNAL = "203.0.113.20"
POD, POD_6 = "10.244.1.10", "fd00:244:1::10"
CLIENT, CLIENT_6 = "198.51.100.7", "2001:db8:100::7"
HERE, THERE = "10.244.1.5", "10.244.2.9"
NODE_PORT = 30080
CIDRS = "clusterCIDRs=10.244.0.0/16,fd00:244::/32"


def node(name: str = NODE, *, zone: str = "zone-a", addresses: Iterable[str] = (NODE_IP, NODE_IP_6)) -> Raw:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"addresses": [{"type": "InternalIP", "address": one} for one in addresses]},
    }


def web(*ingress: str, **spec: Any) -> Raw:
    """Return a Service with every way in."""
    ports = [{"port": 80, "nodePort": NODE_PORT}]
    raw = service("web", [VIP, VIP_6], ports, **{"type": "LoadBalancer", "externalIPs": [EXTERNAL], **spec})
    raw["status"] = {"loadBalancer": {"ingress": [{"ip": one} for one in ingress or (LB, LB_6)]}}
    return raw


def here(*addresses: str, **fields: Any) -> Raw:
    return endpoint_slice("web", addresses or (HERE,), suffix="here", **fields)


def there(*addresses: str, **fields: Any) -> Raw:
    return endpoint_slice("web", addresses or (THERE,), node="node-b", suffix="there", **fields)


def conditions(raw: Raw, *, ready: bool = False, serving: bool = False, terminating: bool = False) -> Raw:
    for one in raw["endpoints"]:
        one["conditions"] = {"ready": ready, "serving": serving, "terminating": terminating}
    return raw


def ask(
    *raws: Raw,
    to: str,
    port: int = 80,
    source: str = CLIENT,
    own: Iterable[str] = (),
    sets: tuple[str, ...] = (CIDRS,),
    **more: Any,
) -> Explanation:
    """Explain a packet on node-a, which the input has unless it has a Node or shall have none.

    `more` are the packet's protocol and interface, and the families of the node.
    """
    nodes = () if any(one["kind"] in ("Node", "NoNode") for one in raws) else (node(),)
    state = State.of(decoded(one) for one in (*nodes, *raws) if one["kind"] != "NoNode")
    plan = make_plan(state, settings_for(state, None, more.get("families", FAMILIES), sets))
    protocol = Protocol(more.get("protocol", "TCP"))
    packet = Packet(Address(source), Address(to), Port(port), protocol, more.get("interface"))
    return explain(state, plan, packet, tuple(own))


NO_NODE: Raw = {"kind": "NoNode"}


def step(found: Explanation, topic: str) -> str:
    (only,) = [text for name, text in found.steps if name == topic]
    return only


def reached(found: Explanation) -> dict[str, bool]:
    """Return the endpoints that may be reached, and whether they see an address of the node."""
    return {str(one.endpoint.address): one.masqueraded for one in found.reached}


def left_out(found: Explanation) -> dict[str, str]:
    return {str(one.endpoint.address): one.reason for one in found.left_out}


# Frontends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to", "port", "kind", "written"),
    [
        (VIP, 80, "ClusterIP", f"ClusterIP {VIP}:80"),
        (LB, 80, "LoadBalancer", f"LoadBalancer {LB}:80"),
        (EXTERNAL, 80, "ExternalIP", f"ExternalIP {EXTERNAL}:80"),
        (NODE_IP, NODE_PORT, "NodePort", f"NodePort {NODE_PORT}"),
    ],
)
def test_the_frontend_that_matched_is_named(to: str, port: int, kind: str, written: str) -> None:
    found = ask(web(), here(), to=to, port=port)
    assert (found.outcome, found.service) == (Outcome.FORWARD, "shop/web")
    assert found.frontend is not None
    assert found.frontend.kind == kind
    assert step(found, "frontend") == f"{written} of Service shop/web"
    assert reached(found).keys() == {HERE}


def test_ipv6_is_written_in_brackets() -> None:
    found = ask(web(), here("fd00:244:1::5"), to=VIP_6, source=CLIENT_6)
    assert step(found, "frontend") == f"ClusterIP [{VIP_6}]:80 of Service shop/web"
    assert reached(found).keys() == {"fd00:244:1::5"}


def test_a_named_port_is_part_of_the_services_name() -> None:
    raw = service("web", [VIP], [{"name": "http", "port": 80}, {"name": "dns", "port": 80, "protocol": "UDP"}])
    slices = endpoint_slice("web", [HERE], [{"name": "http", "port": 1}, {"name": "dns", "port": 2, "protocol": "UDP"}])
    for protocol, name, number in (("TCP", "http", 1), ("UDP", "dns", 2)):
        found = ask(raw, slices, to=VIP, protocol=protocol)
        assert (found.service, [one.endpoint.port for one in found.reached]) == (f"shop/web:{name}", [number])


def test_a_services_address_comes_before_a_node_port() -> None:
    other = service("other", ["10.96.0.11"], [{"port": NODE_PORT}], externalIPs=[NODE_IP])
    found = ask(web(), here(), other, endpoint_slice("other", [THERE]), to=NODE_IP, port=NODE_PORT)
    assert found.service == "shop/other"


# Endpoints -----------------------------------------------------------------------------------------------------------


def test_every_endpoint_is_said_with_its_share() -> None:
    found = ask(web(), here(HERE, "10.244.1.6"), there(), to=VIP, source=POD)
    assert {str(one.endpoint.address): one.share for one in found.reached} == {
        HERE: Fraction(1, 3),
        "10.244.1.6": Fraction(1, 3),
        THERE: Fraction(1, 3),
    }
    assert sum(one.share for one in found.reached) == 1
    assert "3 of 3" in step(found, "endpoints")


def test_every_endpoint_left_out_is_said_with_the_reason() -> None:
    draining = conditions(there("10.244.2.1"), serving=True, terminating=True)
    gone = conditions(endpoint_slice("web", ["10.244.2.2"], suffix="gone"), terminating=True)
    unready = conditions(endpoint_slice("web", ["10.244.2.3"], suffix="unready"), serving=True)
    found = ask(web(), here(), draining, gone, unready, to=VIP)
    assert reached(found).keys() == {HERE}
    assert left_out(found) == {
        "10.244.2.1": "terminating",
        "10.244.2.2": "terminating, no longer serving",
        "10.244.2.3": "not ready",
    }
    assert "1 of 4" in step(found, "endpoints")


def test_endpoints_left_to_other_zones_and_nodes_are_said() -> None:
    def hinted(kind: str, *names: str) -> Raw:
        raw = here(HERE, "10.244.1.6")
        for one, name in zip(raw["endpoints"], names, strict=True):
            one["hints"] = {kind: [{"name": name}]}
        return raw

    assert left_out(ask(web(), hinted("forZones", "zone-a", "zone-b"), to=VIP)) == {"10.244.1.6": "other zone"}
    assert left_out(ask(web(), hinted("forNodes", NODE, "node-b"), to=VIP)) == {"10.244.1.6": "other node"}
    assert left_out(ask(web(), hinted("forZones", "zone-b", "zone-b"), to=VIP)) == {}


def test_no_endpoint_anywhere_is_rejected_and_says_so() -> None:
    for to, port in ((VIP, 80), (LB, 80), (EXTERNAL, 80), (NODE_IP, NODE_PORT)):
        for source in (CLIENT, POD, NODE_IP):
            found = ask(web(), to=to, port=port, source=source)
            assert (found.outcome, found.service, found.reached) == (Outcome.REJECT, "shop/web", ())
            assert "no endpoint" in step(found, "endpoints")


@pytest.mark.parametrize("policy", ["internalTrafficPolicy", "externalTrafficPolicy"])
def test_no_endpoint_anywhere_is_rejected_whatever_the_policy(policy: str) -> None:
    for to in (VIP, LB):
        assert ask(web(**{policy: "Local"}), conditions(here(), serving=True), to=to).outcome is Outcome.REJECT


def test_a_rejection_says_which_endpoints_there_are_and_why_none_is_fit() -> None:
    found = ask(web(), conditions(here(), serving=True), conditions(there(), terminating=True), to=VIP)
    assert found.outcome is Outcome.REJECT
    assert left_out(found) == {HERE: "not ready", THERE: "terminating, no longer serving"}


def test_endpoints_that_terminate_are_the_last_resort() -> None:
    found = ask(web(), conditions(here(), serving=True, terminating=True), to=VIP)
    assert reached(found).keys() == {HERE}


def test_affinity_is_said() -> None:
    spec = {"sessionAffinity": "ClientIP"}
    found = ask(web(**spec), here(), to=VIP)
    assert found.affinity == 10800
    assert "10800" in step(found, "affinity")
    timeout = {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}
    assert ask(web(**spec, **timeout), here(), to=VIP).affinity == 60
    without = ask(web(sessionAffinity="None", **timeout), here(), to=VIP)
    assert without.affinity == 0
    assert "affinity" not in dict(without.steps)


# Policies ------------------------------------------------------------------------------------------------------------

BOTH = {HERE, THERE}
OUTSIDE_WAYS = ((LB, 80), (EXTERNAL, 80), (NODE_IP, NODE_PORT))


@pytest.mark.parametrize("source", [POD, NODE_IP, CLIENT])
def test_internal_policy_local_keeps_everybody_to_the_nodes_endpoints(source: str) -> None:
    found = ask(web(internalTrafficPolicy="Local"), here(), there(), to=VIP, source=source)
    assert reached(found).keys() == {HERE}
    assert left_out(found) == {THERE: "not local"}
    assert "internalTrafficPolicy Local" in step(found, "policy")


@pytest.mark.parametrize("source", [POD, NODE_IP, CLIENT])
def test_internal_policy_local_with_nobody_here_drops(source: str) -> None:
    found = ask(web(internalTrafficPolicy="Local"), there(), to=VIP, source=source)
    assert found.outcome is Outcome.DROP
    assert left_out(found) == {THERE: "not local"}
    assert "on this node" in step(found, "endpoints")


@pytest.mark.parametrize(("to", "port"), OUTSIDE_WAYS)
@pytest.mark.parametrize(("source", "inside"), [(POD, True), (NODE_IP, True), (CLIENT, False), (OTHER_NODE, False)])
def test_external_policy_local_is_for_clients_outside(to: str, port: int, source: str, inside: bool) -> None:
    raw = web(externalTrafficPolicy="Local")
    found = ask(raw, here(), there(), to=to, port=port, source=source)
    assert reached(found).keys() == (BOTH if inside else {HERE})
    text = step(found, "policy")
    assert "externalTrafficPolicy Local" in text
    assert ("inside" in text) is inside
    elsewhere = ask(raw, there(), to=to, port=port, source=source)
    assert elsewhere.outcome is (Outcome.FORWARD if inside else Outcome.DROP)


def test_external_policy_local_treats_pods_that_nobody_knows_as_outside() -> None:
    raw = web(externalTrafficPolicy="Local")
    found = ask(raw, here(), there(), to=LB, source=POD, sets=())
    assert reached(found) == {HERE: False}
    assert "detectLocalMode" in step(found, "source")
    assert reached(ask(raw, here(), there(), to=LB, source=NODE_IP, sets=())).keys() == BOTH


def test_policies_do_not_mix() -> None:
    assert reached(ask(web(internalTrafficPolicy="Local"), here(), there(), to=LB)).keys() == BOTH
    assert reached(ask(web(externalTrafficPolicy="Local"), here(), there(), to=VIP)).keys() == BOTH


def test_policy_local_falls_back_to_endpoints_here_that_terminate() -> None:
    draining = conditions(here(), serving=True, terminating=True)
    assert reached(ask(web(externalTrafficPolicy="Local"), draining, there(), to=LB)).keys() == {HERE}
    assert reached(ask(web(externalTrafficPolicy="Local"), draining, there(), to=LB, source=POD)).keys() == {THERE}


def test_policy_local_does_not_look_at_hints() -> None:
    slices = (here(), there())
    for raw, zone in zip(slices, ("zone-b", "zone-a"), strict=True):
        raw["endpoints"][0]["hints"] = {"forZones": [{"name": zone}]}
    assert reached(ask(web(externalTrafficPolicy="Local"), *slices, to=LB)).keys() == {HERE}
    assert reached(ask(web(externalTrafficPolicy="Local"), *slices, to=VIP)).keys() == {THERE}


# Masquerading --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ((CIDRS,), {POD: False, NODE_IP: True, CLIENT: True}),
        ((), {POD: False, NODE_IP: False, CLIENT: False}),
        ((CIDRS, "masqueradeAll=true"), {POD: True, NODE_IP: True, CLIENT: True}),
        (("masqueradeAll=true",), {POD: True, NODE_IP: True, CLIENT: True}),
    ],
)
@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_who_is_masqueraded_to_a_cluster_ip(sets: tuple[str, ...], expected: dict[str, bool], policy: str) -> None:
    for source, masqueraded in expected.items():
        raw = web(internalTrafficPolicy=policy)
        found = ask(raw, here(), to=VIP, source=source, sets=sets)
        assert reached(found) == {HERE: masqueraded}
        assert "ClusterIP" in found.reached[0].why


@pytest.mark.parametrize("sets", [(), (CIDRS,), ("masqueradeAll=true",)])
@pytest.mark.parametrize(("to", "port"), OUTSIDE_WAYS)
def test_everybody_is_masqueraded_to_other_addresses(to: str, port: int, sets: tuple[str, ...]) -> None:
    for source in (POD, NODE_IP, CLIENT):
        found = ask(web(), here(), there(), to=to, port=port, source=source, sets=sets)
        assert reached(found) == {HERE: True, THERE: True}
        assert all("everybody" in one.why for one in found.reached)


@pytest.mark.parametrize("sets", [(), (CIDRS,), (CIDRS, "masqueradeAll=true")])
@pytest.mark.parametrize(("to", "port"), OUTSIDE_WAYS)
def test_external_policy_local_masquerades_the_node_alone(to: str, port: int, sets: tuple[str, ...]) -> None:
    for source in (POD, NODE_IP, CLIENT):
        found = ask(web(externalTrafficPolicy="Local"), here(), to=to, port=port, source=source, sets=sets)
        assert reached(found) == {HERE: source == NODE_IP}
        assert "this node" in found.reached[0].why


@pytest.mark.parametrize(("to", "port"), [(VIP, 80), *OUTSIDE_WAYS])
@pytest.mark.parametrize("sets", [(), (CIDRS,)])
@pytest.mark.parametrize("policy", ["Cluster", "Local"])
def test_a_pod_that_reaches_itself_is_masqueraded(to: str, port: int, sets: tuple[str, ...], policy: str) -> None:
    raw = web(externalTrafficPolicy=policy, internalTrafficPolicy=policy)
    found = ask(raw, here(), to=to, port=port, source=HERE, sets=sets)
    assert reached(found) == {HERE: True}
    assert "hairpin" in found.reached[0].why


def test_a_pod_that_reaches_another_is_not_taken_for_itself() -> None:
    assert reached(ask(web(), here(), there(), to=VIP, source=HERE)) == {HERE: True, THERE: False}


def test_an_endpoint_on_the_node_itself_sees_the_client() -> None:
    for to, port in ((VIP, 80), *OUTSIDE_WAYS):
        found = ask(web(), here(NODE_IP), to=to, port=port)
        assert reached(found) == {NODE_IP: False}
        assert "this node itself" in found.reached[0].why


def test_an_address_of_the_node_in_the_range_of_pods_is_a_local_pods_to_a_cluster_ip() -> None:
    """The rule looks at the source alone, and traffic policy Local at whether it is the node's first."""
    bridge = "10.244.1.1"
    found = ask(web(externalTrafficPolicy="Local"), there(), to=VIP, source=bridge, own=[bridge])
    assert reached(found) == {THERE: False}
    assert reached(ask(web(externalTrafficPolicy="Local"), there(), to=LB, source=bridge, own=[bridge])) == {
        THERE: True
    }


# Source ranges -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [CLIENT, POD, NODE_IP, OTHER_NODE])
def test_sources_outside_the_ranges_are_dropped_at_the_load_balancer_and_nowhere_else(source: str) -> None:
    raw = web(loadBalancerSourceRanges=["198.51.100.128/25", "203.0.113.128/25"])
    found = ask(raw, here(), to=LB, source=source)
    assert (found.outcome, found.service, found.reached) == (Outcome.DROP, "shop/web", ())
    assert "198.51.100.128/25" in step(found, "source ranges")
    assert LB in step(found, "frontend")
    for to, port in ((VIP, 80), (EXTERNAL, 80), (NODE_IP, NODE_PORT)):
        assert ask(raw, here(), to=to, port=port, source=source).outcome is Outcome.FORWARD


def test_sources_in_the_ranges_are_forwarded() -> None:
    raw = web(loadBalancerSourceRanges=["198.51.100.0/24"])
    assert ask(raw, here(), to=LB).outcome is Outcome.FORWARD
    assert ask(raw, here("fd00:244:1::5"), to=LB_6, source=CLIENT_6).outcome is Outcome.FORWARD


def test_source_ranges_come_before_missing_endpoints() -> None:
    raw = web(loadBalancerSourceRanges=["198.51.100.0/24"])
    assert ask(raw, to=LB, source=CLIENT).outcome is Outcome.REJECT
    assert ask(raw, to=LB, source=POD).outcome is Outcome.DROP


def test_a_range_for_the_node_lets_the_load_balancers_own_address_in() -> None:
    allowed = web(loadBalancerSourceRanges=["192.0.2.11/32"])
    assert ask(allowed, here(), to=LB, source=NODE_IP).outcome is Outcome.FORWARD
    assert ask(allowed, here(), to=LB, source=LB, own=[LB]).outcome is Outcome.FORWARD
    others = web(loadBalancerSourceRanges=["198.51.100.0/24"])
    assert ask(others, here(), to=LB, source=LB, own=[LB]).outcome is Outcome.DROP


# Nobody's packets ----------------------------------------------------------------------------------------------------

RANGES = (CIDRS, "serviceCIDRs=10.96.0.0/12,fd00:96::/108")


@pytest.mark.parametrize(
    ("to", "port", "protocol"), [(VIP, 81, "TCP"), (VIP, 80, "UDP"), (VIP, 80, "SCTP"), (VIP, NODE_PORT, "TCP")]
)
@pytest.mark.parametrize("sets", [(CIDRS,), RANGES])
def test_another_port_of_a_cluster_ip_is_rejected(to: str, port: int, protocol: str, sets: tuple[str, ...]) -> None:
    found = ask(web(), here(), to=to, port=port, protocol=protocol, sets=sets)
    assert (found.outcome, found.service, found.frontend) == (Outcome.REJECT, "", None)
    assert "no Service has this port" in step(found, "frontend")


@pytest.mark.parametrize(("to", "source"), [("10.100.0.1", CLIENT), ("10.100.0.1", POD), ("fd00:96::99", CLIENT_6)])
def test_an_address_in_the_range_of_cluster_ips_that_nobody_has_is_dropped(to: str, source: str) -> None:
    found = ask(web(), here(), to=to, source=source, sets=RANGES)
    assert found.outcome is Outcome.DROP
    assert ("10.96.0.0/12" if "." in to else "fd00:96::/108") in step(found, "frontend")
    unknown = ask(web(), here(), to=to, source=source)
    assert unknown.outcome is Outcome.PASS


@pytest.mark.parametrize(
    ("to", "port"),
    [(LB, 81), (EXTERNAL, 81), (NODE_IP, 80), (NODE_IP, 30081), (CLIENT, 80), (HERE, 8080), (OTHER_NODE, NODE_PORT)],
)
def test_what_is_no_services_business_passes(to: str, port: int) -> None:
    found = ask(web(), here(), to=to, port=port, source=POD, sets=RANGES)
    assert (found.outcome, found.service, found.reached) == (Outcome.PASS, "", ())
    assert step(found, "frontend")


def test_a_node_port_on_an_address_where_it_does_not_answer_is_said_to_be_one() -> None:
    found = ask(web(), here(), to="192.0.2.111", port=NODE_PORT, own=["192.0.2.111"])
    assert found.outcome is Outcome.PASS
    assert f"{NODE_PORT} is a node port" in step(found, "frontend")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (service("db", ["10.96.0.50"], type="ExternalName", externalName="db.example"), "ExternalName"),
        ({**service("db", ["10.96.0.50"]), "metadata": {"name": "db", "namespace": "shop"}}, ""),
    ],
)
def test_a_service_that_is_left_out_is_named_with_the_reason(raw: Raw, reason: str) -> None:
    if not reason:
        raw["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
        reason = "another proxy"
    found = ask(raw, to="10.96.0.50")
    assert found.outcome is Outcome.PASS
    assert "shop/db" in step(found, "frontend")
    assert reason in step(found, "frontend")


def test_an_address_of_a_left_out_service_in_the_range_is_dropped() -> None:
    raw = service("db", ["10.96.0.50"])
    raw["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
    assert ask(raw, to="10.96.0.50", sets=RANGES).outcome is Outcome.DROP


def test_a_family_without_a_table_passes() -> None:
    found = ask(web(), here("fd00:244:1::5"), to=VIP_6, source=CLIENT_6, families=(Family.IPV4,))
    assert found.outcome is Outcome.PASS
    assert "IPv6" in step(found, "family")


# Node ports ----------------------------------------------------------------------------------------------------------

SECOND, AWAY = "192.0.2.111", "198.18.0.11"


@pytest.mark.parametrize(
    ("entries", "answering"),
    [
        ("primary", {NODE_IP}),
        ("192.0.2.0/24", {NODE_IP, SECOND}),
        ("192.0.2.111/32", {SECOND}),
        ("198.18.0.0/15,primary", {NODE_IP, AWAY}),
        ("all", {NODE_IP, SECOND, AWAY}),
        ("0.0.0.0/0", {NODE_IP, SECOND, AWAY}),
        ("2001:db8::/64", {NODE_IP, SECOND, AWAY}),
        ("10.0.0.0/8", set()),
    ],
)
def test_node_ports_answer_on_the_nodes_own_addresses_that_were_chosen(entries: str, answering: set[str]) -> None:
    found = {
        to
        for to in (NODE_IP, SECOND, AWAY, OTHER_NODE, CLIENT)
        if ask(
            web(), here(), to=to, port=NODE_PORT, own=[SECOND, AWAY], sets=(CIDRS, f"nodePortAddresses={entries}")
        ).outcome
        is Outcome.FORWARD
    }
    assert found == answering


@pytest.mark.parametrize("entries", ["primary", "all", "0.0.0.0/0"])
@pytest.mark.parametrize("to", ["127.0.0.1", "127.1.2.3"])
def test_node_ports_never_answer_on_loopback(entries: str, to: str) -> None:
    found = ask(web(), here(), to=to, port=NODE_PORT, source=NODE_IP, sets=(f"nodePortAddresses={entries}",))
    assert found.outcome is Outcome.PASS


def test_addresses_that_the_node_reports_besides_its_primary_one_are_its_own() -> None:
    reported = node(addresses=(NODE_IP, SECOND))
    found = ask(reported, web(externalTrafficPolicy="Local"), there(), to=LB, source=SECOND)
    assert reached(found) == {THERE: True}
    assert SECOND in step(found, "source")
    assert (
        ask(reported, web(), here(), to=SECOND, port=NODE_PORT, sets=("nodePortAddresses=all",)).service == "shop/web"
    )


# Who sends -----------------------------------------------------------------------------------------------------------

BRIDGE = ("detectLocalMode=BridgeInterface", "bridgeInterface=cbr0")
PREFIX = ("detectLocalMode=InterfaceNamePrefix", "interfaceNamePrefix=veth")


@pytest.mark.parametrize(
    ("source", "words"), [(NODE_IP, "this node"), (POD, "a Pod of this node"), (CLIENT, "not this node")]
)
def test_the_sender_is_said_first(source: str, words: str) -> None:
    topic, text = ask(web(), here(), to=VIP, source=source).steps[0]
    assert topic == "source"
    assert text.startswith(words)


@pytest.mark.parametrize(
    ("sets", "interface", "local"),
    [
        (BRIDGE, "cbr0", True),
        (BRIDGE, "cbr01", False),
        (BRIDGE, "cbr", False),
        (BRIDGE, "eth0", False),
        (BRIDGE, "", False),
        (PREFIX, "veth", True),
        (PREFIX, "veth7", True),
        (PREFIX, "eth0", False),
        (PREFIX, "xveth", False),
        (PREFIX, "", False),
    ],
)
@pytest.mark.parametrize("source", [POD, CLIENT])
def test_the_interface_tells_pods_where_it_is_known(
    sets: tuple[str, ...], interface: str, local: bool, source: str
) -> None:
    for six in (False, True):
        sender = (POD_6 if source == POD else CLIENT_6) if six else source
        to, slices = (VIP_6, here("fd00:244:1::5")) if six else (VIP, here())
        found = ask(web(), slices, to=to, source=sender, interface=interface, sets=sets)
        assert set(reached(found).values()) == {not local}
        assert ("cbr0" if sets == BRIDGE else "veth*") in step(found, "source")


@pytest.mark.parametrize("sets", [BRIDGE, PREFIX])
def test_without_an_interface_the_input_tells_who_is_a_pod_here(sets: tuple[str, ...]) -> None:
    raw = web(externalTrafficPolicy="Local")
    expected = {HERE: True, POD: False, THERE: False, CLIENT: False}
    found = {source: ask(raw, here(), there(), to=EXTERNAL, source=source, sets=sets) for source in expected}
    assert {source: THERE in reached(one) for source, one in found.items()} == expected
    assert all("taken for one" in step(one, "source") for one in found.values())


@pytest.mark.parametrize("sets", [BRIDGE, PREFIX])
@pytest.mark.parametrize("name", [NODE, "node-b", None])
def test_without_an_interface_pods_of_the_input_are_known_too(sets: tuple[str, ...], name: str | None) -> None:
    pod: Raw = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client", "namespace": "other"},
        "spec": {"nodeName": name},
        "status": {"podIP": POD, "podIPs": [{"ip": POD}, {"ip": POD_6}]},
    }
    for six in (False, True):
        to, slices = (VIP_6, here("fd00:244:1::5")) if six else (VIP, here())
        found = ask(web(), slices, pod, to=to, source=POD_6 if six else POD, sets=sets)
        assert set(reached(found).values()) == {name != NODE}


@pytest.mark.parametrize("state", ["unready", "draining", "other zone"])
def test_an_endpoint_of_this_node_is_a_pod_of_it_whether_or_not_it_is_used(state: str) -> None:
    mine, others = here(), there()
    if state == "other zone":
        for raw, zone in ((mine, "zone-b"), (others, "zone-a")):
            raw["endpoints"][0]["hints"] = {"forZones": [{"name": zone}]}
    else:
        conditions(mine, serving=True, terminating=state == "draining")
    assert reached(ask(web(), mine, others, to=VIP, source=HERE, sets=BRIDGE)) == {THERE: False}


def test_for_no_node_in_particular_no_pod_is_known_to_run_here() -> None:
    unscheduled: Raw = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client", "namespace": "shop"},
        "spec": {},
        "status": {"podIP": POD},
    }
    for source in (POD, HERE):
        found = ask(NO_NODE, web(), here(), there(), unscheduled, to=VIP, source=source, sets=BRIDGE)
        assert reached(found)[THERE] is True


def test_the_node_is_itself_wherever_a_packet_comes_in() -> None:
    for sets, interface in ((BRIDGE, "cbr0"), (BRIDGE, None), (PREFIX, "veth1"), ((CIDRS,), None)):
        found = ask(web(externalTrafficPolicy="Local"), there(), to=LB, source=NODE_IP, interface=interface, sets=sets)
        assert reached(found) == {THERE: True}


def test_addresses_that_the_input_does_not_name_can_be_said_to_be_the_nodes() -> None:
    raw = web(externalTrafficPolicy="Local")
    assert ask(raw, there(), to=LB, source=SECOND).outcome is Outcome.DROP
    assert reached(ask(raw, there(), to=LB, source=SECOND, own=[SECOND])) == {THERE: True}


def test_without_nodes_in_the_input_the_nodes_address_is_unknown() -> None:
    found = ask(NO_NODE, web(), here(), to=VIP, source=NODE_IP)
    assert step(found, "source").startswith("not this node")
    assert ask(NO_NODE, web(), here(), to=NODE_IP, port=NODE_PORT, own=[NODE_IP]).outcome is Outcome.FORWARD


@pytest.mark.parametrize("to", [VIP, LB])
def test_an_address_of_a_service_that_the_node_has_itself_is_still_the_services(to: str) -> None:
    assert ask(web(), here(), to=to, own=[to]).outcome is Outcome.FORWARD
    assert ask(web(), here(), to=to, port=81, own=[to], sets=RANGES).outcome is Outcome.PASS


def test_the_same_question_has_the_same_answer() -> None:
    raws = [web(externalTrafficPolicy="Local"), here(), there(), node()]
    assert len({ask(*order, to=LB) for order in (raws, raws[::-1])}) == 1


# What a chosen endpoint meets ---------------------------------------------------------------------------------------


def service_networks(*networks: str) -> Raw:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "wide"},
        "spec": {"cidrs": list(networks)},
    }


def explained(*raws: Raw, source: str, to: str, port: int) -> Explanation:
    state = State.of(map(decoded, raws))
    overrides = ("addresses=192.0.2.11",)
    plan = make_plan(state, settings_for(state, "node-a", overrides=overrides))
    return explain(state, plan, Packet(Address(source), Address(to), Port(port), Protocol("TCP")))


def test_endpoints_in_a_service_network_are_not_reached_and_that_is_warned_of() -> None:
    raws = [service("web", ["10.96.0.10"]), endpoint_slice("web", ["10.96.1.5"]), service_networks("10.96.0.0/16")]
    found = explained(*raws, source="198.51.100.7", to="10.96.0.10", port=80)
    assert found.outcome == "drop"
    assert "10.96.0.0/16" in found.steps[-1][1]
    state = State.of(map(decoded, raws))
    (problem,) = make_plan(state, settings_for(state, "node-a")).problems
    assert "10.96.1.5" in problem.message


def test_one_endpoint_of_several_may_be_unreachable() -> None:
    raws = [
        service("web", ["10.96.0.10"]),
        endpoint_slice("web", ["10.96.0.20", "10.244.1.5"]),
        service("other", ["10.96.0.20"]),
    ]
    found = explained(*raws, source="198.51.100.7", to="10.96.0.10", port=80)
    assert [(one.endpoint.address, one.share) for one in found.reached] == [("10.244.1.5", Fraction(1, 2))]
    assert [one.endpoint.address for one in found.left_out] == ["10.96.0.20"]


def test_endpoint_that_is_a_node_port_of_nobody_is_refused() -> None:
    node_port = [{"port": 80, "nodePort": 30081}]
    raws = [
        service("web", ["10.96.0.10"]),
        endpoint_slice("web", ["192.0.2.11"], [{"port": 30081}]),
        service("other", ["10.96.0.20"], node_port, type="NodePort"),
    ]
    assert explained(*raws, source="198.51.100.7", to="10.96.0.10", port=80).outcome == "reject"


def test_node_itself_does_not_get_through_to_its_own_address_in_a_service_network() -> None:
    raws = [service("web", ["10.96.0.10"]), service_networks("192.0.2.0/24")]
    assert explained(*raws, source="192.0.2.11", to="192.0.2.11", port=22).outcome == "drop"
    assert explained(*raws, source="198.51.100.7", to="192.0.2.11", port=22).outcome == "pass"
