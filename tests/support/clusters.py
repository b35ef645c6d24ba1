"""Random clusters that use every Service rule, in the world of tests/support/world.py; and packets that try them.

Few names, addresses and ports, so that Services get in each other's way and packets often hit something.
"""

from dataclasses import replace

from hypothesis import strategies as st

from nftsvc.plan import Plan, make_plan
from nftsvc.settings import settings_for
from nftsvc.state import State
from tests.support.builders import Raw, decoded
from tests.support.packets import NODE, SECOND, Packet

NODES = {"node-a": 1, "node-b": 2, "node-c": 3}
ZONES = ("zone-a", "zone-b")
PORTS = (53, 80, 443)
NODE_PORTS = (30053, 30080, 30443)
PROTOCOLS = ("TCP", "UDP")
PREFIX = {"IPv4": "10.244.{}.{}", "IPv6": "fd00:244:{}::{}"}
HOST = {"IPv4": "192.0.2.1{}", "IPv6": "2001:db8::1{}"}
VIP = {"IPv4": "10.96.0.{}", "IPv6": "fd00:96::{}"}
EXTERNAL = {"IPv4": "203.0.113.{}", "IPv6": "2001:db8:203::{}"}
CLIENTS = {"IPv4": ("198.51.100.7", "198.51.100.130"), "IPv6": ("2001:db8:100::7", "2001:db8:100::8:7")}
RANGES = ("198.51.100.0/25", "198.51.100.128/25", "10.244.0.0/16", "192.0.2.11/32", "2001:db8:100::/80", "0.0.0.0/0")
FAMILIES = ("IPv4", "IPv6")

Cluster = tuple[Raw, ...]
_maybe = st.booleans()


@st.composite
def endpoints(draw: st.DrawFn, family: str) -> list[Raw]:
    """Endpoints of one slice, in any condition, on any node, with and without hints."""
    found: list[Raw] = []
    hinted = draw(_maybe)
    for name, number in draw(
        st.lists(st.tuples(st.sampled_from(list(NODES)), st.integers(5, 8)), min_size=1, max_size=4, unique=True)
    ):
        on_host = draw(st.integers(0, 7)) == 0
        address = HOST[family].format(NODES[name]) if on_host else PREFIX[family].format(NODES[name], number)
        conditions = {
            "ready": draw(st.sampled_from((True, True, True, None, False))),
            "serving": draw(st.sampled_from((True, None, False))),
            "terminating": draw(st.sampled_from((False, None, True))),
        }
        one: Raw = {"addresses": [address], "conditions": conditions}
        if draw(st.integers(0, 4)):
            one["nodeName"] = name
        if hinted and draw(st.integers(0, 5)):
            one["hints"] = {"forZones": [{"name": draw(st.sampled_from(ZONES))}]}
            if draw(_maybe):
                one["hints"]["forNodes"] = [{"name": name}]
        found.append(one)
    return found


@st.composite
def services(draw: st.DrawFn, number: int) -> Cluster:
    """A Service with its slices."""
    name = f"s-{number}"
    families = draw(st.sampled_from((("IPv4",), ("IPv6",), FAMILIES, FAMILIES)))
    keys = draw(
        st.lists(st.tuples(st.sampled_from(PORTS), st.sampled_from(PROTOCOLS)), min_size=1, max_size=2, unique=True)
    )
    node_ports = draw(st.permutations((0, *NODE_PORTS)))
    listed = [
        {"name": f"p{at}", "port": port, "protocol": protocol, "nodePort": node_ports[at]}
        for at, (port, protocol) in enumerate(keys)
    ]
    externals = [EXTERNAL[family].format(n) for family in FAMILIES for n in (1, 2)]
    spec: Raw = {
        "type": draw(st.sampled_from(("ClusterIP", "NodePort", "LoadBalancer"))),
        "clusterIPs": [VIP[family].format(number) for family in families],
        "ipFamilies": list(families),
        "ports": listed,
        "externalIPs": draw(st.lists(st.sampled_from(externals), max_size=2, unique=True)),
        "internalTrafficPolicy": draw(st.sampled_from(("Cluster", "Local", None))),
        "externalTrafficPolicy": draw(st.sampled_from(("Cluster", "Local"))),
        "sessionAffinity": draw(st.sampled_from(("None", "None", "ClientIP"))),
        "loadBalancerSourceRanges": draw(st.lists(st.sampled_from(RANGES), max_size=2)),
    }
    ingress = draw(st.lists(st.sampled_from(externals), max_size=2, unique=True))
    mode = draw(st.sampled_from(("VIP", "Proxy", None)))
    created = draw(st.sampled_from((None, "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z")))
    service: Raw = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "shop", "creationTimestamp": created},
        "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": one, "ipMode": mode} for one in ingress]}},
    }
    slices = [
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-{family.lower()}-{part}",
                "namespace": "shop",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": family,
            "endpoints": draw(endpoints(family)),
            "ports": [
                {"name": one["name"], "protocol": one["protocol"], "port": 8000 + one["port"] + part} for one in listed
            ],
        }
        for family in families
        for part in range(draw(st.sampled_from((1, 1, 2, 0))))
    ]
    return (service, *slices)


@st.composite
def configurations(draw: st.DrawFn) -> Raw:
    """The settings of node-a."""
    mode = draw(st.sampled_from(("ClusterCIDR", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")))
    node_ports = (["primary"], ["all"], ["192.0.2.0/24"], ["primary", "192.0.2.0/24", "2001:db8::/64"])
    spec: Raw = {
        "addresses": list(NODE),
        "zone": draw(st.sampled_from(("", *ZONES))),
        "podCIDRs": ["10.244.1.0/24", "fd00:244:1::/64"],
        "clusterCIDRs": draw(st.sampled_from(([], ["10.244.0.0/16", "fd00:244::/32"]))),
        "detectLocalMode": mode,
        "bridgeInterface": "cbr0",
        "interfaceNamePrefix": "veth",
        "masqueradeAll": draw(st.integers(0, 3)) == 0,
        "nodePortAddresses": draw(st.sampled_from(node_ports)),
        "serviceCIDRs": draw(st.sampled_from(([], ["10.96.0.0/16", "fd00:96::/108"]))),
    }
    return {
        "apiVersion": "nftsvc/v1",
        "kind": "NodeConfiguration",
        "metadata": {"name": "node-a"},
        "spec": spec,
    }


@st.composite
def clusters(draw: st.DrawFn, most: int = 4) -> Cluster:
    """Settings first, then Services with their slices."""
    numbers = draw(st.lists(st.integers(1, 5), min_size=1, max_size=most, unique=True))
    return (draw(configurations()), *(raw for number in numbers for raw in draw(services(number))))


@st.composite
def altered(draw: st.DrawFn, cluster: Cluster) -> Cluster:
    """The same cluster a little later: some endpoints drain, become unready or ready, or run elsewhere."""
    later = ({}, {}, {"ready": True}, {"ready": False, "serving": True, "terminating": True}, {"ready": False})
    changed: list[Raw] = []
    for raw in cluster:
        if raw["kind"] == "EndpointSlice":
            endpoints = [
                {**one, "conditions": {**one["conditions"], **draw(st.sampled_from(later))}} for one in raw["endpoints"]
            ]
            if endpoints and draw(st.integers(0, 3)) == 0:
                endpoints[0] = {**endpoints[0], "nodeName": draw(st.sampled_from(list(NODES)))}
            changed.append({**raw, "endpoints": endpoints})
        else:
            changed.append(raw)
    return tuple(changed)


Target = tuple[str, int, str]


@st.composite
def packets(draw: st.DrawFn, cluster: Cluster) -> Packet:
    """A packet from anywhere, mostly to where a Service of the cluster is. What to expect of it is left open."""
    known = targets(cluster)
    address, port, protocol = draw(st.sampled_from(known)) if known and draw(st.integers(0, 4)) else draw(_anywhere())
    at = ":" in address
    family = FAMILIES[at]
    local = (PREFIX[family].format(1, number) for number in (5, 6, 9, 201))
    source = draw(st.sampled_from((*local, NODE[at], PREFIX[family].format(2, 9), *CLIENTS[family])))
    return Packet(source, address, port, protocol, expect="pass")


def targets(cluster: Cluster) -> list[Target]:
    """Return every address, port and protocol that the Services of a cluster lay claim to."""
    found: list[Target] = []
    for raw in cluster:
        if raw["kind"] == "Service":
            spec, ingress = raw["spec"], raw["status"]["loadBalancer"]["ingress"]
            addresses = (*spec["clusterIPs"], *spec["externalIPs"], *(one["ip"] for one in ingress))
            for port in spec["ports"]:
                found += ((address, port["port"], port["protocol"]) for address in addresses)
                found += ((address, port["nodePort"], port["protocol"]) for address in NODE if port["nodePort"])
    return found


@st.composite
def _anywhere(draw: st.DrawFn) -> Target:
    family = draw(st.sampled_from(FAMILIES))
    vips = (VIP[family].format(number) for number in range(1, 7))
    externals = (EXTERNAL[family].format(number) for number in (1, 2, 3))
    at = FAMILIES.index(family)
    address = draw(st.sampled_from((*vips, *externals, NODE[at], SECOND[at])))
    return address, draw(st.sampled_from((*PORTS, *NODE_PORTS, 7))), draw(st.sampled_from(PROTOCOLS))


@st.composite
def trials(draw: st.DrawFn) -> tuple[Cluster, list[Packet]]:
    """A cluster and ten packets to try it with."""
    cluster = draw(clusters())
    return cluster, draw(st.lists(packets(cluster), min_size=10, max_size=10))


def plan_of(cluster: Cluster) -> tuple[State, Plan]:
    """Return the state and the plan of node-a."""
    state = State.of(map(decoded, cluster))
    return state, make_plan(state, settings_for(state, None))


def with_affinity(packet: Packet, affinity: bool) -> Packet:
    """Return the packet with the question whether its client stays where it is."""
    return replace(packet, affinity=affinity)
