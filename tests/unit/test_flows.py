"""Which frontends have flows that may lead to nobody."""

from dataclasses import replace
from typing import Any

import pytest

from nftsvc.flows import NONE_TRACKED, Target, Tracked, remade_frontends, served_frontends, stale_frontends
from nftsvc.plan import Planner, ServicePlan, make_plan
from nftsvc.ruleset import EMPTY, Elements, Ruleset, Table, make_ruleset
from nftsvc.settings import NodeSettings
from nftsvc.state import State
from nftsvc.values import FAMILIES, Address, Family, Protocol
from tests.support.builders import NODE, NODE_ADDRESSES, Raw, decoded, endpoint_slice, service

SETTINGS = NodeSettings(name=NODE, families=FAMILIES, node_port_addresses=NODE_ADDRESSES)
VIP, SIX, EXTERNAL, NODE_PORT = "10.96.0.10", "fd00:96::10", "203.0.113.1", 30053
A, B, C = "10.244.1.5", "10.244.1.6", "10.244.2.7"


def dns(*endpoints: str, protocol: str = "UDP", name: str = "dns", bad: tuple[str, ...] = (), **spec: Any) -> list[Raw]:
    """A Service; endpoints in `bad` neither serve nor are ready."""
    ports: list[Raw] = [{"port": 53, "protocol": protocol, "nodePort": NODE_PORT}]
    raws = [service(name, [VIP], ports, **{"type": "NodePort", "externalIPs": [EXTERNAL], **spec})]
    if endpoints:
        made = endpoint_slice(name, endpoints, [{"port": 5353, "protocol": protocol}])
        for one in made["endpoints"]:
            if one["addresses"][0] in bad:
                one["conditions"] = {"ready": False, "serving": False, "terminating": True}
        raws.append(made)
    return raws


def plans(raws: list[Raw]) -> tuple[ServicePlan, ...]:
    state = State.of(map(decoded, raws))
    planner = Planner(SETTINGS)
    planner.update(state, state.services)
    return tuple(planner.plans.values())


def ruleset(raws: list[Raw]) -> Ruleset:
    return make_ruleset(make_plan(State.of(map(decoded, raws)), SETTINGS))


def at(address: str | None, *endpoints: str, port: int = 53, protocol: str = "UDP") -> Tracked:
    found = frozenset((Address(one), 5353) for one in endpoints)
    place = Address(address) if address is not None else None
    return {Target(Family.IPV4, Protocol(protocol), place, port): found}


def everywhere(*endpoints: str, protocol: str = "UDP") -> Tracked:
    return {
        **at(VIP, *endpoints, protocol=protocol),
        **at(EXTERNAL, *endpoints, protocol=protocol),
        **at(None, *endpoints, port=NODE_PORT, protocol=protocol),
    }


def stale(old: list[Raw], new: list[Raw]) -> Tracked:
    return stale_frontends(plans(old), plans(new))


NOTHING: list[Raw] = []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (dns(A, B), dns(A, B), {}),
        (dns(A), dns(A, B), {}),
        (dns(A, B), dns(A), everywhere(A)),
        (dns(A, B), dns(A, C), everywhere(A, C)),
        (dns(A), dns(), everywhere()),
        (dns(), dns(A), everywhere(A)),
        (NOTHING, dns(A), everywhere(A)),
        (dns(A), NOTHING, everywhere()),
        (NOTHING, dns(), {}),
        (dns(), NOTHING, {}),
        (dns(A, B), dns(A, B, bad=(B,)), everywhere(A)),
        (dns(A, protocol="TCP"), dns(A), everywhere(A)),
        (dns(A), dns(A, protocol="TCP"), {**everywhere(), **everywhere(A, protocol="TCP")}),
        (dns(A, protocol="TCP"), dns(A, B, protocol="TCP"), {}),
        (dns(A, protocol="TCP"), dns(B, protocol="TCP"), {}),
        (dns(A, protocol="TCP"), dns(protocol="TCP"), {}),
        (dns(protocol="TCP"), dns(A, protocol="TCP"), everywhere(A, protocol="TCP")),
        (NOTHING, dns(A, protocol="SCTP"), everywhere(A, protocol="SCTP")),
        (dns(A, B, protocol="TCP"), dns(A, protocol="TCP"), {}),
        (dns(A, B, protocol="SCTP"), NOTHING, {}),
        (dns(A), dns(A, externalIPs=[]), at(EXTERNAL)),
        (dns(A), dns(A, type="ExternalName", externalName="example.org"), everywhere()),
    ],
)
def test_what_has_lost_an_endpoint_or_had_none_is_looked_at(old: list[Raw], new: list[Raw], found: Tracked) -> None:
    assert stale(old, new) == found


def test_an_endpoint_that_drains_keeps_its_flows() -> None:
    draining = dns(A, B)
    draining[1]["endpoints"][1]["conditions"] = {"ready": False, "serving": True, "terminating": True}
    assert not stale(dns(A, B), draining)


@pytest.mark.parametrize("policy", ["externalTrafficPolicy", "internalTrafficPolicy"])
def test_a_policy_that_changes_breaks_no_flows(policy: str) -> None:
    assert not stale(dns(A, C), dns(A, C, **{policy: "Local"}))
    assert not stale(dns(A, C, **{policy: "Local"}), dns(A, C))


def test_a_frontend_that_goes_to_another_service_leads_to_that_ones_endpoints() -> None:
    old = [*dns(A), *dns(B, name="later")]
    assert stale(old, dns(B, name="later")) == everywhere(B)


def test_where_nobody_remembers_the_kernel_does() -> None:
    assert not stale_frontends((), plans(dns(A, B)), ruleset(dns(B, A)))
    assert stale_frontends((), plans(dns(A)), ruleset(dns(A, B))) == everywhere(A)
    assert stale_frontends((), (), ruleset(dns(A, B))) == everywhere()
    assert stale_frontends((), plans(dns(A)), EMPTY) == everywhere(A)
    tcp = dns(A, protocol="TCP")
    assert stale_frontends((), plans(tcp), EMPTY) == everywhere(A, protocol="TCP")
    assert not stale_frontends((), plans(tcp), ruleset(dns(A, B, protocol="TCP")))


def test_a_first_load_that_was_cut_short_served_nobody() -> None:
    loaded = ruleset(dns(A))
    without_hooks = Ruleset(
        {
            family: replace(table, chains=tuple(one for one in table.chains if one.hook is None))
            for family, table in loaded.tables.items()
        }
    )
    assert stale_frontends((), plans(dns(A)), without_hooks) == everywhere(A)


def test_a_restart_makes_nothing_stale_that_a_policy_leaves_without_endpoints() -> None:
    raws = dns(A, B, externalTrafficPolicy="Local")
    raws[1]["endpoints"][0]["nodeName"] = raws[1]["endpoints"][1]["nodeName"] = "node-b"
    assert not stale_frontends((), plans(raws), ruleset(raws))


def test_what_is_owed_stays_with_the_endpoints_of_now() -> None:
    owed = stale_frontends(plans(dns(A, B)), plans(dns(A)))
    assert stale_frontends(plans(dns(A)), plans(dns(A, C)), None, owed) == everywhere(A, C)
    assert stale_frontends((), (), None, owed) == everywhere(A)
    assert stale_frontends(plans(dns(A)), (), None, owed) == everywhere()
    other = plans(dns(B, name="other"))
    assert stale_frontends(other, other, None, owed) == everywhere(B)


def test_both_families_of_a_service() -> None:
    def both(*endpoints: str) -> list[Raw]:
        raws = dns()
        raws[0]["spec"]["clusterIPs"] = [VIP, SIX]
        return [*raws, endpoint_slice("dns", endpoints, [{"port": 5353, "protocol": "UDP"}])]

    found = stale(both("fd00:244:1::5", "fd00:244:1::6"), both("fd00:244:1::5"))
    assert {one.address for one in found} == {SIX, None}
    assert {one.family for one in found} == {Family.IPV6}


# Repairs --------------------------------------------------------------------------------------------------------------

BOTH = [*dns(A), *dns(B, name="web", protocol="TCP")]


def remade(found: Ruleset, raws: list[Raw] = BOTH, owed: Tracked = NONE_TRACKED) -> Tracked:
    return remade_frontends(found, ruleset(raws), plans(raws), owed)


def without(table: Table, name: str, protocol: str | None = None) -> Table:
    """Take the elements of a set away, or those of one protocol."""
    kept: Elements = {key: entry for key, entry in table.elements[name].items() if protocol and protocol not in key}
    return replace(table, elements={**table.elements, name: kept})


def damaged(table: Table) -> Ruleset:
    return Ruleset({**ruleset(BOTH).tables, Family.IPV4: table})


def test_where_nothing_is_missing_nobody_is_looked_at() -> None:
    assert not remade(ruleset(BOTH))
    assert not remade(damaged(without(ruleset(BOTH).tables[Family.IPV4], "cluster-ips")))


@pytest.mark.parametrize("name", ["service-ips", "udp-endpoints"])
def test_only_frontends_with_elements_that_were_missing_are_looked_at(name: str) -> None:
    table = without(ruleset(BOTH).tables[Family.IPV4], name, "udp" if name == "service-ips" else None)
    assert remade(damaged(table)) == {**at(VIP, A), **at(EXTERNAL, A)}


def test_node_ports_that_were_missing_are_looked_at() -> None:
    table = without(ruleset(BOTH).tables[Family.IPV4], "nodeports", "tcp")
    assert remade(damaged(table)) == at(None, B, port=NODE_PORT, protocol="TCP")


def test_an_address_that_node_ports_did_not_answer_on_is_for_all_of_them() -> None:
    table = without(ruleset(BOTH).tables[Family.IPV4], "nodeport-ips")
    assert remade(damaged(table)) == {
        **at(None, A, port=NODE_PORT),
        **at(None, B, port=NODE_PORT, protocol="TCP"),
    }


def test_an_element_that_led_elsewhere_is_looked_at() -> None:
    table = ruleset([*dns(C), *dns(B, name="web", protocol="TCP")]).tables[Family.IPV4]
    assert remade(damaged(table)) == everywhere(A)


ALL = {**everywhere(A), **everywhere(B, protocol="TCP")}


def test_where_rules_were_missing_all_of_the_family_are_looked_at() -> None:
    whole = ruleset(BOTH).tables[Family.IPV4]
    hook = next(one for one in whole.chains if one.name == "nat-prerouting")
    others = tuple(one for one in whole.chains if one != hook)
    for table in (
        replace(whole, chains=others),
        replace(whole, chains=(*others, replace(hook, rules=()))),
        replace(whole, flags=("dormant",)),
    ):
        assert remade(damaged(table)) == ALL
    assert remade(EMPTY) == ALL
    assert remade(Ruleset({Family.IPV4: whole})) == {}, "in the other family nobody has endpoints"


def test_of_repaired_frontends_those_without_endpoints_are_not_looked_at() -> None:
    assert remade(EMPTY, dns()) == {}


def test_what_is_owed_is_looked_at_after_a_repair_as_well() -> None:
    owed = {**at(VIP, C), **at("10.96.0.99")}
    assert remade(ruleset(BOTH), owed=owed) == {**at(VIP, A), **at("10.96.0.99")}


# What is told to whoever is looking -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (dns(A), dns(A, B), everywhere(A, B)),
        (dns(A, B), dns(A), everywhere(A)),
        (dns(A), NOTHING, everywhere()),
        (NOTHING, dns(A), everywhere(A)),
        (dns(A, protocol="TCP"), dns(A, B, protocol="TCP"), {}),
    ],
)
def test_all_udp_frontends_that_change_are_told(old: list[Raw], new: list[Raw], found: Tracked) -> None:
    assert served_frontends(plans(old), plans(new)) == found


def test_the_latest_word_counts() -> None:
    earlier = served_frontends(plans(dns(A)), plans(dns(A, B)))
    assert served_frontends(plans(dns(A, B)), plans(dns(A, C)), earlier) == everywhere(A, C)
    assert served_frontends((), (), earlier) == everywhere(A, B)
