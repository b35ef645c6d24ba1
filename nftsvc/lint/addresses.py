"""Rules NS203 to NS205, NS208 to NS211 and NS213 to NS215: the ways into a Service."""

from collections import defaultdict
from collections.abc import Iterator

from nftsvc.errors import ObjectRef
from nftsvc.lint.claims import answers_health
from nftsvc.lint.cluster import Cluster, Subject
from nftsvc.lint.findings import Finding, Level, Rule, enumerated
from nftsvc.objects import Node, NodeConfiguration, Service
from nftsvc.plan import why_skipped
from nftsvc.state import ServiceKey
from nftsvc.values import Address, authority

FIRST_NODE_PORT, LAST_NODE_PORT = 30000, 32767

OUT_OF_RANGE = Rule(
    "NS203",
    "node-port-out-of-range",
    Level.WARNING,
    "Node port outside the default range",
    "The API server takes node ports, and a healthCheckNodePort, from 30000 to 32767 unless its flag"
    " --service-node-port-range says otherwise; other numbers may be in use on the node, or by clients of its own.",
    "Use a port of 30000-32767, or leave it out and let the API server choose.",
)
EXTERNAL_IPS = Rule(
    "NS204",
    "external-ips",
    Level.WARNING,
    "External IPs, which are deprecated",
    "spec.externalIPs is deprecated since Kubernetes 1.36 (KEP-5707) and shall be off by default in 1.40: who may"
    " write a Service may take any address with it (CVE-2020-8554).",
    "Use type LoadBalancer with a controller that hands out addresses, a Gateway, or a node port.",
)
OTHER_FAMILY = Rule(
    "NS205",
    "address-of-another-family",
    Level.WARNING,
    "External address of a family that the Service is not in",
    "A Service answers at an external or load-balancer IP only if it has a cluster IP of the same IP family. This"
    " address is ignored.",
    "Add the family to spec.ipFamilies, with ipFamilyPolicy PreferDualStack, or take the address out.",
)
OUTSIDE_NETWORKS = Rule(
    "NS208",
    "cluster-ip-outside-the-service-networks",
    Level.WARNING,
    "Cluster IP outside the networks for cluster IPs",
    "The ServiceCIDRs, or serviceCIDRs in the settings, do not hold this cluster IP. The API server does not hand it"
    " out, and others may not route it here.",
    "Leave spec.clusterIP out and let the API server choose, or add the network.",
)
OPEN_FAMILY = Rule(
    "NS209",
    "node-ports-on-every-address",
    Level.WARNING,
    "Node ports that are open in a family that nobody limited",
    "The node's settings say where node ports answer, but not for this IP family, so there they answer on every"
    " address of the node. A family is limited by an address of the Node, or by a network in nodePortAddresses. It is"
    " said only where the input describes the node.",
    "Add a network or an address of this family, or say `all` in nodePortAddresses if that is meant.",
)
NODE_PORT_TYPE = Rule(
    "NS210",
    "node-port-without-such-a-type",
    Level.WARNING,
    "Node port in a Service of type ClusterIP",
    "The node port is open all the same, here as with kube-proxy, which do not look at the type. The API server"
    " refuses it.",
    "Set type NodePort if the Service is meant to be seen from outside; else remove nodePort.",
)
BALANCER_TYPE = Rule(
    "NS211",
    "load-balancer-ip-without-such-a-type",
    Level.WARNING,
    "Load-balancer IP in a Service of another type",
    "The status has an address of a load balancer, and the Service answers there whatever its type. It is a leftover"
    " of an earlier type, or was copied from another Service.",
    "Remove status.loadBalancer, which is no business of a manifest, or set type LoadBalancer.",
)
IDLE_HEALTH_PORT = Rule(
    "NS213",
    "health-check-port-without-effect",
    Level.WARNING,
    "healthCheckNodePort without effect",
    "Nodes answer health checks only for type LoadBalancer with externalTrafficPolicy: Local. The API server refuses"
    " the field elsewhere.",
    "Remove spec.healthCheckNodePort, or set both.",
)
HIDDEN_PROCESS = Rule(
    "NS214",
    "node-port-hides-a-process",
    Level.WARNING,
    "Node port that hides what listens on the node",
    "An endpoint on the host's network listens at a node's address on the number of another Service's node port."
    " Packets to that address and port go to the other Service; where that has no endpoints, they are rejected, even"
    " those that this Service sends there.",
    "Let the Pod listen on a port outside 30000-32767, or choose another node port.",
)
IDLE_HEADLESS = Rule(
    "NS215",
    "headless-with-ways-in",
    Level.WARNING,
    "Headless Service with fields that need an address",
    "A headless Service (clusterIP: None) is a name in DNS only: node ports, external IPs and session affinity have"
    " no effect. The API server refuses some of them.",
    "Remove these fields, or the line clusterIP: None.",
)

RULES = (
    *(OUT_OF_RANGE, EXTERNAL_IPS, OTHER_FAMILY, OUTSIDE_NETWORKS, OPEN_FAMILY, NODE_PORT_TYPE, BALANCER_TYPE),
    *(IDLE_HEALTH_PORT, HIDDEN_PROCESS, IDLE_HEADLESS),
)


# Node ports ----------------------------------------------------------------------------------------------------------


def node_ports(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield node ports outside the range, and those that no node port should be."""
    numbers = [(f"spec.ports[{at}].nodePort", int(port.node_port or 0)) for at, port in enumerate(subject.ports)]
    if subject.spec.type == "ClusterIP":
        for field, number in numbers:
            if number:
                yield NODE_PORT_TYPE.at(
                    subject.ref, field, f"{number} is open on the nodes, though the type is ClusterIP"
                )
    health = int(subject.spec.health_check_node_port or 0)
    if health and not answers_health(subject):
        message = f"{health} is not answered: needs type LoadBalancer and externalTrafficPolicy Local"
        yield IDLE_HEALTH_PORT.at(subject.ref, "spec.healthCheckNodePort", message)
    elif health:
        numbers.append(("spec.healthCheckNodePort", health))
    for field, number in numbers:
        if number and not FIRST_NODE_PORT <= number <= LAST_NODE_PORT:
            yield OUT_OF_RANGE.at(subject.ref, field, f"{number} is not in {FIRST_NODE_PORT}-{LAST_NODE_PORT}")


def open_families(cluster: Cluster) -> Iterator[Finding]:
    """Yield each family in which node ports answer everywhere though the node's settings limit them in the other."""
    settings = cluster.settings
    used = {way.family for one in cluster.subjects if one.declared for way in one.ways if way.port.node_port}
    limited = {*settings.node_port_addresses, *settings.node_port_networks, *settings.node_ports_everywhere}
    asked = bool(settings.node_port_networks or settings.node_ports_everywhere)
    for family in (one for one in settings.families if one in used - limited):
        if asked:
            what = f"no network of {family}: node ports answer on every {family} address of the node"
            yield OPEN_FAMILY.at(_settings_ref(cluster), "spec.nodePortAddresses", what)
        elif settings.addresses:
            what = f"no {family} address: node ports answer on every {family} address of the node"
            yield OPEN_FAMILY.at(_node_ref(cluster) or _settings_ref(cluster), "status.addresses", what)


def _settings_ref(cluster: Cluster) -> ObjectRef | None:
    """Return the NodeConfiguration that is the node's; None where the settings are not the input's."""
    configurations = cluster.state.configurations
    found = configurations.get(cluster.settings.name or "") or configurations.get("")
    return ObjectRef(NodeConfiguration.KIND, "", found.name) if found is not None else _node_ref(cluster)


def _node_ref(cluster: Cluster) -> ObjectRef | None:
    name = cluster.settings.name
    return ObjectRef(Node.KIND, "", name) if name is not None and name in cluster.state.nodes else None


def hidden_processes(cluster: Cluster) -> Iterator[Finding]:
    """Yield node ports on whose number an endpoint of another Service listens at a node's address."""
    hosts = {
        one.address
        for node in cluster.state.nodes.values()
        for one in (node.status.addresses if node.status is not None else None) or ()
    }
    listening = {
        (one.endpoint.address, way.port.protocol, int(one.endpoint.port)): subject.key
        for subject in cluster.subjects
        for way in subject.ways
        for one in way.judged
        if one.endpoint.address in hosts
    }
    by_port: defaultdict[tuple[str, int], list[tuple[Address, ServiceKey]]] = defaultdict(list)
    for (address, protocol, number), key in sorted(listening.items()):
        by_port[protocol, number].append((address, key))
    for subject in cluster.subjects:
        for position, port in enumerate(subject.ports):
            there = by_port.get((port.protocol, int(port.node_port or 0)), ())
            found = next((one for one in there if one[1] != subject.key), None)
            if found is not None:
                place = f"{authority(found[0], port.node_port or 0)}/{port.protocol}"
                message = f"{place} is an endpoint of {ObjectRef(Service.KIND, *found[1])} on the host's network"
                yield HIDDEN_PROCESS.at(subject.ref, f"spec.ports[{position}].nodePort", message)


# Addresses -----------------------------------------------------------------------------------------------------------


def external_ips(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield that a Service has external IPs."""
    if subject.external_ips:
        listed = enumerated([address for _, address in subject.external_ips])
        yield EXTERNAL_IPS.at(subject.ref, "spec.externalIPs", f"{listed}: deprecated since Kubernetes 1.36")


def other_families(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield the external addresses that a Service does not answer at."""
    if subject.declared:
        places = [
            *((address, f"spec.externalIPs[{at}]") for at, address in subject.external_ips),
            *((address, f"status.loadBalancer.ingress[{at}].ip") for at, address in subject.balancers),
        ]
        for address, field in places:
            if address.family not in subject.families:
                message = f"{address} is ignored: the Service is in {enumerated(subject.families)} only"
                yield OTHER_FAMILY.at(subject.ref, field, message)


def outside_networks(cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield cluster IPs that are in none of the networks for them."""
    listed = "spec.clusterIPs[{}]" if subject.spec.cluster_ips else "spec.clusterIP"
    for at, address in enumerate(subject.service.addresses):
        networks = cluster.settings.service_cidrs.get(address.family, ())
        if networks and not any(one.covers(address) for one in networks):
            message = f"{address} is not in {enumerated(networks)}"
            yield OUTSIDE_NETWORKS.at(subject.ref, listed.format(at), message)


def balancer_type(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield that a Service of another type answers at load-balancer IPs."""
    if subject.balancers and subject.spec.type != "LoadBalancer":
        listed = enumerated([address for _, address in subject.balancers])
        message = f"it answers at {listed}, though the type is {subject.spec.type}"
        yield BALANCER_TYPE.at(subject.ref, "status.loadBalancer", message)


def headless(cluster: Cluster) -> Iterator[Finding]:
    """Yield headless Services with fields that have no effect."""
    for service in (one for _, one in sorted(cluster.state.services.items())):
        spec = service.spec
        if spec is None or not why_skipped(service).startswith("headless"):
            continue
        idle = {
            "spec.externalIPs": bool(spec.external_ips),
            "spec.sessionAffinity": spec.session_affinity == "ClientIP",
            **{f"spec.ports[{at}].nodePort": bool(port.node_port) for at, port in enumerate(spec.ports or ())},
        }
        for field in (field for field, given in idle.items() if given):
            yield IDLE_HEADLESS.at(service.ref, field, "no effect: the Service is headless")
