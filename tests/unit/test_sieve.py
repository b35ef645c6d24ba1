"""Which flows are stale, judged by the bytes that the kernel has of them."""

from ipaddress import ip_address

import pytest

from nftsvc.flows import UDP, Endpoints, Target
from nftsvc.kernel.sieve import Sieve
from nftsvc.values import FAMILIES, Address, Family, Protocol

SERVICE = {Family.IPV4: "10.96.0.10", Family.IPV6: "fd00:96::10"}
NODE = {Family.IPV4: "192.0.2.11", Family.IPV6: "2001:db8::11"}
OTHER_NODE = {Family.IPV4: "192.0.2.12", Family.IPV6: "2001:db8::12"}
POD = {Family.IPV4: "10.244.1.1", Family.IPV6: "fd00:244:1::1"}
GONE_POD = {Family.IPV4: "10.244.1.2", Family.IPV6: "fd00:244:1::2"}
LOCAL = tuple(NODE.values())
every_family = pytest.mark.parametrize("family", FAMILIES)


def end(address: str, port: int) -> bytes:
    return ip_address(address).packed + port.to_bytes(2, "big")


def ends(*endpoints: tuple[str, int]) -> Endpoints:
    return frozenset((Address(one), number) for one, number in endpoints)


def frontend(
    family: Family, address: str | None, port: int, *endpoints: tuple[str, int], protocol: Protocol = UDP
) -> tuple[Target, Endpoints]:
    return Target(family, protocol, None if address is None else Address(address), port), ends(*endpoints)


@every_family
def test_flow_to_an_endpoint_that_serves_stays_and_any_other_goes(family: Family) -> None:
    sieve = Sieve(dict([frontend(family, SERVICE[family], 53, (POD[family], 5353))]), family, UDP, ())
    service = end(SERVICE[family], 53)
    assert not sieve.is_stale(service, end(POD[family], 5353))
    assert sieve.is_stale(service, end(GONE_POD[family], 5353))
    assert sieve.is_stale(service, end(POD[family], 5354)), "the endpoint has another port now"


@every_family
def test_flow_that_was_never_translated_goes_once_there_is_an_endpoint(family: Family) -> None:
    service = end(SERVICE[family], 53)
    served = Sieve(dict([frontend(family, SERVICE[family], 53, (POD[family], 5353))]), family, UDP, ())
    unserved = Sieve(dict([frontend(family, SERVICE[family], 53)]), family, UDP, ())
    assert served.is_stale(service, service)
    assert not unserved.is_stale(service, service)
    assert unserved.is_stale(service, end(POD[family], 5353))


@every_family
def test_other_addresses_and_ports_are_not_looked_at(family: Family) -> None:
    sieve = Sieve(dict([frontend(family, SERVICE[family], 53)]), family, UDP, LOCAL)
    gone = end(GONE_POD[family], 5353)
    assert not sieve.is_stale(end(SERVICE[family], 54), gone)
    assert not sieve.is_stale(end(NODE[family], 53), gone)
    assert sieve.destinations == ((ip_address(SERVICE[family]).packed, b"\x00\x35"),)


@every_family
def test_node_port_counts_at_the_nodes_own_addresses_only(family: Family) -> None:
    sieve = Sieve(dict([frontend(family, None, 4789, (POD[family], 5353))]), family, UDP, LOCAL)
    gone = end(GONE_POD[family], 5353)
    assert sieve.is_stale(end(NODE[family], 4789), gone)
    assert not sieve.is_stale(end(NODE[family], 4789), end(POD[family], 5353))
    assert not sieve.is_stale(end(OTHER_NODE[family], 4789), gone), "a VXLAN to another node"
    assert sieve.destinations == ((b"", (4789).to_bytes(2, "big")),)


@every_family
def test_frontend_at_one_of_the_nodes_addresses_comes_before_a_node_port(family: Family) -> None:
    listed = [
        frontend(family, NODE[family], 4789, (POD[family], 53)),
        frontend(family, None, 4789, (GONE_POD[family], 53)),
    ]
    sieve = Sieve(dict(listed), family, UDP, LOCAL)
    assert not sieve.is_stale(end(NODE[family], 4789), end(POD[family], 53))
    assert sieve.is_stale(end(NODE[family], 4789), end(GONE_POD[family], 53))


def test_families_and_protocols_are_kept_apart() -> None:
    listed = dict([frontend(Family.IPV4, SERVICE[Family.IPV4], 53), frontend(Family.IPV4, None, 30053)])
    assert Sieve(listed, Family.IPV4, UDP, LOCAL)
    assert not Sieve(listed, Family.IPV6, UDP, LOCAL)
    assert not Sieve(listed, Family.IPV4, Protocol("TCP"), LOCAL)
    only_other_family = [NODE[Family.IPV6]]
    assert len(Sieve(listed, Family.IPV4, UDP, only_other_family).destinations) == 1
    assert not Sieve(dict([frontend(Family.IPV4, None, 30053)]), Family.IPV4, UDP, ())


@every_family
@pytest.mark.parametrize("protocol", [Protocol("TCP"), Protocol("SCTP")])
def test_of_connections_only_those_without_translation_go(family: Family, protocol: Protocol) -> None:
    listed = dict([frontend(family, SERVICE[family], 80, (POD[family], 8080), protocol=protocol)])
    sieve = Sieve(listed, family, protocol, ())
    service = end(SERVICE[family], 80)
    assert not sieve.answered
    assert sieve.is_stale(service, service)
    assert not sieve.is_stale(service, end(POD[family], 8080))
    assert not sieve.is_stale(service, end(GONE_POD[family], 8080)), "connections end by themselves"
    listed[Target(family, protocol, Address(SERVICE[family]), 80)] = ends()
    assert not sieve.is_stale(service, service)


@every_family
def test_what_is_an_endpoint_itself_is_not_translated(family: Family) -> None:
    listed = dict([frontend(family, POD[family], 53, (POD[family], 53))])
    assert not Sieve(listed, family, UDP, ()).is_stale(end(POD[family], 53), end(POD[family], 53))


@every_family
def test_flows_are_judged_by_the_endpoints_of_now(family: Family) -> None:
    target, endpoints = frontend(family, SERVICE[family], 53, (POD[family], 5353))
    listed = {target: endpoints}
    sieve = Sieve(listed, family, UDP, ())
    service, other = end(SERVICE[family], 53), end(GONE_POD[family], 5353)
    assert sieve.is_stale(service, other)
    listed[target] = ends((POD[family], 5353), (GONE_POD[family], 5353))
    assert not sieve.is_stale(service, other)
    listed[target] = endpoints
    assert sieve.is_stale(service, other)
