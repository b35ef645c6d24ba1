"""Two Services want one address and port, or one node port: the older has it, the other is told."""

from collections.abc import Iterable
from itertools import permutations
from typing import Any

import pytest

from nftsvc.claims import Claim, Claimant, Claims
from nftsvc.errors import Severity
from nftsvc.plan import Plan
from nftsvc.state import ServiceKey
from nftsvc.values import Address, Family
from tests.support import builders
from tests.support.builders import Raw, plan_of

SHARED, SHARED_6 = "203.0.113.10", "2001:db8:203::10"
OLD, NEW = "2026-01-01T00:00:00Z", "2026-06-01T00:00:00Z"
IP_KINDS = ("clusterIP", "externalIP", "loadBalancer")
FIELDS = {
    "clusterIP": "spec.clusterIPs",
    "externalIP": "spec.externalIPs",
    "loadBalancer": "status.loadBalancer.ingress",
}


def service(
    name: str,
    *ways: str,
    address: str = SHARED,
    created: str | None = None,
    namespace: str = "shop",
    ports: Iterable[Raw] = ({"port": 80},),
    number: int | None = None,
) -> Raw:
    """Return a Service that claims an address in some ways; `number` makes its own cluster IP differ from others'."""
    six = ":" in address
    own = f"fd00:96::{number or len(name)}" if six else f"10.96.0.{number or len(name)}"
    spec: dict[str, Any] = {"externalIPs": [address]} if "externalIP" in ways else {}
    raw = builders.service(name, [address if "clusterIP" in ways else own], ports, namespace, **spec)
    if "loadBalancer" in ways:
        raw["status"] = {"loadBalancer": {"ingress": [{"ip": address}]}}
    if created is not None:
        raw["metadata"]["creationTimestamp"] = created
    return raw


def owner(plan: Plan, address: str | None = SHARED, port: int = 80, protocol: str = "TCP") -> str:
    """Return the only Service that has an address and port, or (None) a node port."""
    found = {
        str(one.service)
        for one in plan.ports
        for frontend in one.frontends
        if (frontend.address, frontend.port, one.protocol) == (address, port, protocol)
    }
    (only,) = found
    return only


def warnings(plan: Plan) -> list[str]:
    assert all(one.severity is Severity.WARNING for one in plan.problems)
    return [str(one) for one in plan.problems]


# Addresses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("older", IP_KINDS)
@pytest.mark.parametrize("younger", IP_KINDS)
@pytest.mark.parametrize("address", [SHARED, SHARED_6])
def test_the_older_service_has_the_address_however_both_claim_it(older: str, younger: str, address: str) -> None:
    one = service("old", older, address=address, created=OLD, number=1)
    other = service("new", younger, address=address, created=NEW, number=2)
    for raws in ((one, other), (other, one)):
        plan = plan_of(*raws)
        assert owner(plan, address) == "shop/old"
        (warning,) = warnings(plan)
        authority = f"[{address}]:80/TCP" if ":" in address else f"{address}:80/TCP"
        assert f"Service shop/new: {FIELDS[younger]}: {authority} " in warning
        assert "Service shop/old" in warning


@pytest.mark.parametrize("kind", IP_KINDS)
def test_ports_and_protocols_of_one_address_may_have_several_owners(kind: str) -> None:
    plan = plan_of(
        service("a", kind, number=1),
        service("b", kind, number=2, ports=[{"port": 443}]),
        service("c", kind, number=3, ports=[{"port": 80, "protocol": "UDP"}]),
        service("d", kind, number=4, ports=[{"port": 80, "protocol": "SCTP"}]),
    )
    found = [owner(plan), owner(plan, port=443), owner(plan, protocol="UDP"), owner(plan, protocol="SCTP")]
    assert found == ["shop/a", "shop/b", "shop/c", "shop/d"]
    assert warnings(plan) == []


def test_one_protocol_of_a_port_can_be_lost_alone() -> None:
    both = [{"name": "tcp", "port": 80}, {"name": "udp", "port": 80, "protocol": "UDP"}]
    plan = plan_of(
        service("old", "externalIP", created=OLD, number=1, ports=[{"port": 80, "protocol": "UDP"}]),
        service("new", "externalIP", created=NEW, number=2, ports=both),
    )
    assert (owner(plan), owner(plan, protocol="UDP")) == ("shop/new", "shop/old")
    (warning,) = warnings(plan)
    assert f"{SHARED}:80/UDP" in warning


def test_a_service_that_loses_an_address_keeps_its_others() -> None:
    plan = plan_of(
        service("old", "externalIP", created=OLD, number=1), service("new", "externalIP", created=NEW, number=2)
    )
    assert owner(plan, "10.96.0.2") == "shop/new"


def test_a_service_may_claim_one_address_twice() -> None:
    assert warnings(plan_of(service("web", "clusterIP", "externalIP", "loadBalancer"))) == []


def test_the_owner_need_not_have_endpoints() -> None:
    plan = plan_of(
        service("old", "externalIP", created=OLD, number=1),
        service("new", "externalIP", created=NEW, number=2),
        builders.endpoint_slice("new", ["10.244.1.5"]),
    )
    assert owner(plan) == "shop/old"


@pytest.mark.parametrize("why", ["headless", "external name", "other proxy", "not allocated"])
def test_a_service_that_is_left_out_claims_nothing(why: str) -> None:
    old = service("old", "externalIP", created=OLD, number=1)
    match why:
        case "headless":
            old["spec"] |= {"clusterIP": "None", "clusterIPs": ["None"]}
        case "external name":
            old["spec"] |= {"type": "ExternalName", "externalName": "example.com"}
        case "other proxy":
            old["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
        case _:
            old["spec"] |= {"clusterIP": "", "clusterIPs": []}
    plan = plan_of(old, service("new", "externalIP", created=NEW, number=2))
    assert owner(plan) == "shop/new"
    assert not any("belongs to" in one for one in warnings(plan))


def test_a_load_balancer_that_replaces_addresses_claims_nothing() -> None:
    old = service("old", created=OLD, number=1)
    old["status"] = {"loadBalancer": {"ingress": [{"ip": SHARED, "ipMode": "Proxy"}]}}
    plan = plan_of(old, service("new", "loadBalancer", created=NEW, number=2))
    assert (owner(plan), warnings(plan)) == ("shop/new", [])


# Node ports ----------------------------------------------------------------------------------------------------------

NODE_PORT: list[Raw] = [{"port": 80, "nodePort": 30080}]


def test_the_older_service_has_the_node_port() -> None:
    plan = plan_of(
        service("new", created=NEW, number=2, ports=[{"name": "a", "port": 81}, {"name": "b", **NODE_PORT[0]}]),
        service("old", created=OLD, number=1, ports=NODE_PORT),
    )
    assert owner(plan, None, 30080) == "shop/old"
    (warning,) = warnings(plan)
    assert "Service shop/new: spec.ports[1].nodePort: 30080/TCP " in warning
    assert "Service shop/old" in warning


def test_a_node_port_and_an_address_with_the_same_number_are_two_things() -> None:
    plan = plan_of(
        service("a", "externalIP", number=1, ports=[{"port": 30080}]), service("b", number=2, ports=NODE_PORT)
    )
    assert (owner(plan, SHARED, 30080), owner(plan, None, 30080)) == ("shop/a", "shop/b")
    assert warnings(plan) == []


def test_a_node_port_has_an_owner_in_each_family() -> None:
    plan = plan_of(
        service("four", number=4, ports=NODE_PORT), service("six", number=6, address=SHARED_6, ports=NODE_PORT)
    )
    assert warnings(plan) == []
    assert {(str(one.service), one.family) for one in plan.ports} == {("shop/four", "IPv4"), ("shop/six", "IPv6")}


# Age -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("times", "winner"),
    [
        ((OLD, NEW), "shop/a"),
        ((NEW, OLD), "shop/b"),
        ((OLD, OLD), "shop/a"),
        ((None, None), "shop/a"),
        ((None, NEW), "shop/b"),
        ((NEW, None), "shop/a"),
        (("2026-01-01T01:00:00+02:00", "2026-01-01T00:00:00Z"), "shop/a"),
        (("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+02:00"), "shop/b"),
        (("2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00Z"), "shop/b"),
    ],
)
def test_the_earlier_creation_wins_and_one_not_yet_created_is_the_youngest(
    times: tuple[str | None, str | None], winner: str
) -> None:
    raws = [
        service(name, "externalIP", created=time, number=number)
        for number, (name, time) in enumerate(zip("ab", times, strict=True), start=1)
    ]
    assert owner(plan_of(*raws)) == owner(plan_of(*reversed(raws))) == winner


def test_namespace_and_then_name_decide_between_services_of_one_age() -> None:
    named = [("b", "a"), ("a", "c"), ("a", "b")]
    raws = [
        service(name, "externalIP", created=OLD, namespace=namespace, number=number)
        for number, (namespace, name) in enumerate(named, start=1)
    ]
    for order in permutations(raws):
        plan = plan_of(*order)
        assert owner(plan) == "a/b"
        assert len(warnings(plan)) == 2


def test_every_loser_is_warned_of_with_the_owner_not_with_another_loser() -> None:
    raws = [
        service(name, "externalIP", created=f"2026-01-0{number}T00:00:00Z", number=number)
        for number, name in enumerate("cab", start=1)
    ]
    found = warnings(plan_of(*raws))
    assert [one.split(":")[0] for one in found] == ["Service shop/a", "Service shop/b"]
    assert all("Service shop/c" in one for one in found)


# The book of claims --------------------------------------------------------------------------------------------------


def claims_of(*services: tuple[str, str | None, tuple[Claim, ...]]) -> tuple[Claims, list[set[ServiceKey]]]:
    """File the claims of (name, created, claims) one after the other; return what each made a difference to."""
    claims = Claims()
    return claims, [
        claims.file(Claimant(created is None, created or "", key(name)), wanted) for name, created, wanted in services
    ]


def key(name: str) -> ServiceKey:
    return ServiceKey("shop", name)


WEB_CLAIM = Claim(Family.IPV4, "TCP", Address(SHARED), 80)
PORT_CLAIM = Claim(Family.IPV4, "TCP", None, 30080)


@pytest.mark.parametrize("order", list(permutations((("old", OLD), ("new", NEW), ("none", None)))), ids=str)
def test_the_oldest_owns_in_whatever_order_they_come(order: tuple[tuple[str, str | None], ...]) -> None:
    claims, _ = claims_of(*((name, created, (WEB_CLAIM, PORT_CLAIM)) for name, created in order))
    assert claims.owner(WEB_CLAIM) == claims.owner(PORT_CLAIM) == key("old")


def test_a_change_of_the_owner_concerns_everybody_who_claims_the_same() -> None:
    _, affected = claims_of(
        ("b", NEW, (WEB_CLAIM,)),
        ("c", None, (WEB_CLAIM, PORT_CLAIM)),
        ("a", OLD, (WEB_CLAIM,)),
        ("a", OLD, (WEB_CLAIM,)),
        ("a", OLD, ()),
    )
    both = {key("b"), key("c")}
    assert affected == [set(), set(), both, set(), both]


def test_a_younger_claimant_concerns_nobody_else() -> None:
    _, affected = claims_of(("a", OLD, (WEB_CLAIM,)), ("b", NEW, (WEB_CLAIM,)), ("b", NEW, ()))
    assert affected == [set(), set(), set()]


def test_a_service_that_was_made_anew_is_as_old_as_its_new_self() -> None:
    claims, affected = claims_of(
        ("a", OLD, (WEB_CLAIM,)), ("b", NEW, (WEB_CLAIM,)), ("a", "2026-09-01T00:00:00Z", (WEB_CLAIM,))
    )
    assert claims.owner(WEB_CLAIM) == key("b")
    assert affected[-1] == {key("b")}


def test_nobody_owns_what_nobody_claims() -> None:
    claims, _ = claims_of(("a", OLD, (WEB_CLAIM,)), ("a", OLD, ()))
    with pytest.raises(KeyError):
        claims.owner(WEB_CLAIM)


def test_a_refusal_in_both_families_is_said_once() -> None:
    ports = [{"port": 80, "nodePort": 30080}]
    addresses = ([f"10.96.0.{number}", f"fd00:96::{number}"] for number in (1, 2))
    raws = [builders.service(name, ips, ports, "shop") for name, ips in zip(("one", "other"), addresses, strict=True)]
    said = [one for one in plan_of(*raws).problems if one.ref is not None]
    (problem,) = said
    assert problem.ref is not None
    assert (problem.field, problem.severity, problem.ref.name) == (
        "spec.ports[0].nodePort",
        Severity.WARNING,
        "other",
    )
    assert "30080/TCP" in problem.message
    assert "Service shop/one" in problem.message
