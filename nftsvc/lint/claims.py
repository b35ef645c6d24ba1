"""Rules NS201, NS202, NS206, NS207 and NS212: what two Services claim, and who has it.

The older Service has it, as in `nftsvc.claims`. Services that the API server has not seen yet are looked at, too: their
node ports and external addresses are known already.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from nftsvc.claims import Claim, Claimant
from nftsvc.errors import ObjectRef
from nftsvc.lint.cluster import Cluster, Subject
from nftsvc.lint.findings import Finding, Level, Rule, enumerated
from nftsvc.objects import Service
from nftsvc.plan.service import claimant
from nftsvc.state import ServiceKey
from nftsvc.values import FAMILIES, authority

ADDRESS_TAKEN = Rule(
    "NS201",
    "address-taken",
    Level.ERROR,
    "Address and port that another Service has",
    "Two Services claim the same address, port and protocol. One has it: the older one by metadata.creationTimestamp,"
    " then the first by namespace and name; nothing of the other answers there. kube-proxy takes either, by chance.",
    "Give one of them another address or port.",
)
NODE_PORT_TAKEN = Rule(
    "NS202",
    "node-port-taken",
    Level.ERROR,
    "Node port that another Service has",
    "Two Services claim the same node port for the same protocol and IP family. The older one has it. The API server"
    " refuses the second.",
    "Give one of them another node port, or leave nodePort out and let the API server choose.",
)
CLUSTER_IP_TAKEN = Rule(
    "NS206",
    "cluster-ip-taken",
    Level.ERROR,
    "Cluster IP that another Service has",
    "The API server gives a cluster IP to one Service. It refuses the second, whatever its ports.",
    "Leave spec.clusterIP and spec.clusterIPs out and let the API server choose.",
)
NUMBER_TAKEN = Rule(
    "NS207",
    "node-port-number-taken",
    Level.WARNING,
    "Node port whose number another Service has",
    "Protocol or IP family differ, so both could be served; but the API server gives each number to one Service, for"
    " all protocols and families, and refuses the second.",
    "Give one of them another node port, or make one Service with both ports.",
)
HEALTH_PORT_TAKEN = Rule(
    "NS212",
    "health-check-port-taken",
    Level.ERROR,
    "healthCheckNodePort that is taken",
    "The port is a node port, or the healthCheckNodePort of an older Service. The health check cannot be answered,"
    " and the load balancer takes the node for broken. The API server refuses it.",
    "Leave spec.healthCheckNodePort out and let the API server choose.",
)

RULES = (ADDRESS_TAKEN, NODE_PORT_TAKEN, CLUSTER_IP_TAKEN, NUMBER_TAKEN, HEALTH_PORT_TAKEN)


class _Claimed(NamedTuple):
    """A claim and the field that makes it."""

    claim: Claim
    field: str
    cluster_ip: bool = False


def conflicts(cluster: Cluster) -> Iterator[Finding]:
    """Yield every claim of a Service that an older one has."""
    claimants = {one.key: claimant(one.key, one.service) for one in cluster.subjects}
    claimed = {one.key: tuple(_claims(one)) for one in cluster.subjects}
    owners: dict[Claim, Claimant] = {}
    for key, claims in claimed.items():
        for one in claims:
            owners[one.claim] = min(owners.get(one.claim, claimants[key]), claimants[key])
    for subject in cluster.subjects:
        lost = [one for one in claimed[subject.key] if owners[one.claim].service != subject.key]
        yield from _cluster_ips(cluster, subject)
        yield from _lost(subject, lost, owners, cluster)
    yield from _node_port_numbers(cluster, claimed, claimants, owners)
    yield from _health_ports(cluster, claimed, claimants)


def _claims(subject: Subject) -> Iterator[_Claimed]:
    """Yield what a Service claims; one that says nothing of its families yet claims node ports in both."""
    families = subject.families if subject.declared else FAMILIES
    listed = "spec.clusterIPs[{}]" if subject.spec.cluster_ips else "spec.clusterIP"
    places = [
        *((one, listed.format(at), True) for at, one in enumerate(subject.service.addresses)),
        *((one, f"status.loadBalancer.ingress[{at}].ip", False) for at, one in subject.balancers),
        *((one, f"spec.externalIPs[{at}]", False) for at, one in subject.external_ips),
    ]
    for position, port in enumerate(subject.ports):
        for address, field, is_cluster_ip in places:
            if port.port and address.family in families:
                claim = Claim(address.family, port.protocol, address, port.port)
                yield _Claimed(claim, field, is_cluster_ip)
        for family in families if port.node_port else ():
            claim = Claim(family, port.protocol, None, port.node_port or 0)
            yield _Claimed(claim, f"spec.ports[{position}].nodePort")


def _ref(key: ServiceKey) -> ObjectRef:
    return ObjectRef(Service.KIND, *key)


def _lost(
    subject: Subject, lost: Iterable[_Claimed], owners: Mapping[Claim, Claimant], cluster: Cluster
) -> Iterator[Finding]:
    """Yield each field whose claim another Service has, once for each of these."""
    said: defaultdict[tuple[str, ServiceKey], list[str]] = defaultdict(list)
    rules: dict[tuple[str, ServiceKey], Rule] = {}
    for one in lost:
        address, owner = one.claim.address, owners[one.claim].service
        if one.cluster_ip and address is not None and cluster.cluster_ips.get(address) == owner:
            continue  # NS206 says it
        where = authority(address, one.claim.port) if address is not None else str(one.claim.port)
        written = f"{where}/{one.claim.protocol}"
        rules[one.field, owner] = NODE_PORT_TAKEN if address is None else ADDRESS_TAKEN
        if written not in said[one.field, owner]:
            said[one.field, owner].append(written)
    for (field, owner), places in said.items():
        verb = "belongs" if len(places) == 1 else "belong"
        message = f"{enumerated(places)} {verb} to {_ref(owner)}, which comes first"
        yield rules[field, owner].at(subject.ref, field, message)


def _cluster_ips(cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    listed = "spec.clusterIPs[{}]" if subject.spec.cluster_ips else "spec.clusterIP"
    for at, address in enumerate(subject.service.addresses):
        owner = cluster.cluster_ips[address]
        if owner != subject.key:
            message = f"{address} belongs to {_ref(owner)}, which comes first"
            yield CLUSTER_IP_TAKEN.at(subject.ref, listed.format(at), message)


def _node_port_numbers(
    cluster: Cluster,
    claimed: Mapping[ServiceKey, tuple[_Claimed, ...]],
    claimants: Mapping[ServiceKey, Claimant],
    owners: Mapping[Claim, Claimant],
) -> Iterator[Finding]:
    """Yield node ports that a Service has for itself, but whose number is another's, too."""
    first = _numbers(claimed, claimants)
    for subject in cluster.subjects:
        mine = [one for one in claimed[subject.key] if one.claim.address is None]
        lost = {one.claim.port for one in mine if owners[one.claim].service != subject.key}
        for field, port in {one.field: one.claim.port for one in mine}.items():
            owner = first[port].service
            if owner != subject.key and port not in lost:
                message = f"{port} is a node port of {_ref(owner)} for another protocol or family"
                yield NUMBER_TAKEN.at(subject.ref, field, message)


def _numbers(
    claimed: Mapping[ServiceKey, tuple[_Claimed, ...]], claimants: Mapping[ServiceKey, Claimant]
) -> dict[int, Claimant]:
    """Return the first Service with each number of a node port."""
    first: dict[int, Claimant] = {}
    for key, claims in claimed.items():
        for one in claims:
            if one.claim.address is None:
                first[one.claim.port] = min(first.get(one.claim.port, claimants[key]), claimants[key])
    return first


def _health_ports(
    cluster: Cluster, claimed: Mapping[ServiceKey, tuple[_Claimed, ...]], claimants: Mapping[ServiceKey, Claimant]
) -> Iterator[Finding]:
    node_ports = _numbers(claimed, claimants)
    checked = [(one, int(one.spec.health_check_node_port or 0)) for one in cluster.subjects if answers_health(one)]
    first: dict[int, Claimant] = {}
    for subject, port in checked:
        first[port] = min(first.get(port, claimants[subject.key]), claimants[subject.key])
    for subject, port in checked:
        taken = node_ports.get(port)
        if taken is not None:
            what = f"{port} is a node port of {_ref(taken.service)}"
        elif first[port].service != subject.key:
            what = f"{port} is the healthCheckNodePort of {_ref(first[port].service)}, which comes first"
        else:
            continue
        yield HEALTH_PORT_TAKEN.at(subject.ref, "spec.healthCheckNodePort", what)


def answers_health(subject: Subject) -> bool:
    """Tell whether nodes answer on the Service's healthCheckNodePort."""
    spec = subject.spec
    wanted = spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"
    return wanted and bool(spec.health_check_node_port)
