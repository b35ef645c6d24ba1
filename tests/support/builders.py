"""Short ways to a plan: manifests as Python values, with the defaults that most tests want."""

from collections.abc import Iterable, Mapping
from typing import Any

from nftsvc.decode import decode
from nftsvc.objects import KubernetesObject
from nftsvc.plan import Plan, make_plan
from nftsvc.settings import NodeSettings
from nftsvc.state import State
from nftsvc.values import FAMILIES, Address, Family

Raw = dict[str, Any]

NODE = "node-a"
NODE_ADDRESSES = {Family.IPV4: (Address("192.0.2.11"),), Family.IPV6: (Address("2001:db8::11"),)}


def service(
    name: str, addresses: Iterable[str], ports: Iterable[Raw] = ({"port": 80},), namespace: str = "shop", **spec: Any
) -> Raw:
    listed = list(addresses)
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"clusterIP": listed[0], "clusterIPs": listed, "ports": list(ports), **spec},
    }


def endpoint_slice(
    service_name: str,
    addresses: Iterable[str],
    ports: Iterable[Raw] = ({"port": 8080},),
    namespace: str = "shop",
    node: str | None = NODE,
    suffix: str = "1",
) -> Raw:
    listed = list(addresses)
    family = "IPv6" if any(":" in one for one in listed) else "IPv4"
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{service_name}-{family.lower()}-{suffix}",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service_name},
        },
        "addressType": family,
        "endpoints": [{"addresses": [one], "nodeName": node} for one in listed],
        "ports": list(ports),
    }


def decoded(raw: object) -> KubernetesObject:
    made = decode(raw)
    assert made.value is not None, made
    return made.value


def plan_of(
    *raws: Raw,
    node: str | None = NODE,
    families: tuple[Family, ...] = FAMILIES,
    node_port_addresses: Mapping[Family, tuple[Address, ...]] = NODE_ADDRESSES,
) -> Plan:
    settings = NodeSettings(name=node, families=families, node_port_addresses=node_port_addresses)
    return make_plan(State.of(map(decoded, raws)), settings)


def many_services(count: int, endpoints: int = 2) -> Plan:
    """Return a plan with that many Services, each with a node port every tenth."""
    raws: list[Raw] = []
    for number in range(count):
        high, low = divmod(number, 250)
        port: Raw = {"port": 80, **({"nodePort": 30000 + number // 10} if number % 10 == 0 else {})}
        raws.append(service(f"s-{number}", [f"10.96.{high}.{low + 1}"], [port]))
        addresses = [f"10.{100 + part}.{high}.{low + 1}" for part in range(endpoints)]
        raws.append(endpoint_slice(f"s-{number}", addresses, node="node-b"))
    return plan_of(*raws)
