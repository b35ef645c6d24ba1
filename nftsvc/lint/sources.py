"""Rules NS401 and NS411 to NS416: session affinity, and source ranges that guard less than they seem to."""

from collections.abc import Iterator, Sequence

from nftsvc.lint.cluster import Cluster, Subject
from nftsvc.lint.findings import Finding, Level, Rule, enumerated
from nftsvc.values import Family, Prefix, quoted

IDLE_TIMEOUT = Rule(
    "NS401",
    "affinity-timeout-without-affinity",
    Level.WARNING,
    "Affinity timeout without session affinity",
    "spec.sessionAffinityConfig counts only with sessionAffinity: ClientIP; without it every connection goes to any"
    " endpoint. The API server refuses one without the other.",
    "Set sessionAffinity: ClientIP, or remove spec.sessionAffinityConfig.",
)
NO_BALANCER = Rule(
    "NS411",
    "source-ranges-without-load-balancer",
    Level.WARNING,
    "Source ranges in a Service that is no load balancer",
    "loadBalancerSourceRanges guard load-balancer IPs and nothing else: not the cluster IP, not node ports, not"
    " external IPs. The API server refuses them in other types.",
    "Set type LoadBalancer, or guard the Service with a NetworkPolicy.",
)
OTHER_FAMILY = Rule(
    "NS412",
    "source-ranges-of-another-family",
    Level.WARNING,
    "Load-balancer IPs that no source range is for",
    "Ranges count for load-balancer IPs of their own IP family. A family without a range is open to everybody, here"
    " as with kube-proxy.",
    "Add ranges of the family, or take it out of spec.ipFamilies.",
)
EVERYBODY_TOO = Rule(
    "NS413",
    "source-range-for-everybody-beside-others",
    Level.WARNING,
    "Source range for everybody beside narrower ones",
    "A range of length 0 lets in everybody of its IP family; the others beside it have no effect.",
    "Remove the range of length 0, or all others.",
)
EVERYBODY = Rule(
    "NS414",
    "source-range-for-everybody",
    Level.INFO,
    "Source range for everybody",
    "A range of length 0 is the same as no ranges.",
    "Nothing, if everybody is meant.",
)
WAYS_AROUND = Rule(
    "NS415",
    "ways-around-source-ranges",
    Level.WARNING,
    "Node ports and external IPs beside source ranges",
    "Source ranges guard the load-balancer IPs only. Who reaches a node reaches the Service through its node port, or"
    " an external IP, whatever the ranges.",
    "Set allocateLoadBalancerNodePorts: false and remove nodePort where the balancer can do without, guard the nodes"
    " with a firewall, or use a NetworkPolicy with externalTrafficPolicy: Local.",
)
ANNOTATION = Rule(
    "NS416",
    "source-ranges-annotation",
    Level.WARNING,
    "Annotation service.beta.kubernetes.io/load-balancer-source-ranges",
    "Proxies do not read this annotation. Some cloud controllers do, where the field is empty, so that a cloud's"
    " firewall filters and the nodes do not.",
    "Write the ranges into spec.loadBalancerSourceRanges.",
)

RULES = (IDLE_TIMEOUT, NO_BALANCER, OTHER_FAMILY, EVERYBODY_TOO, EVERYBODY, WAYS_AROUND, ANNOTATION)

_ANNOTATION = "service.beta.kubernetes.io/load-balancer-source-ranges"
_FIELD = "spec.loadBalancerSourceRanges"


def affinity(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield a time limit for an affinity that is off."""
    config = subject.spec.session_affinity_config
    if config is not None and config.client_ip is not None and subject.spec.session_affinity != "ClientIP":
        said = subject.spec.session_affinity or "None"
        message = f"no effect: sessionAffinity is {said}"
        yield IDLE_TIMEOUT.at(subject.ref, "spec.sessionAffinityConfig", message)


def annotation(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield the annotation that nobody here reads."""
    if (subject.service.metadata.annotations or {}).get(_ANNOTATION):
        message = "not read: the nodes let everybody in"
        if subject.spec.load_balancer_source_ranges:
            message = f"not read: {_FIELD} counts"
        yield ANNOTATION.at(subject.ref, f"metadata.annotations[{quoted(_ANNOTATION)}]", message)


def ranges(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield what the source ranges of a Service do not guard."""
    listed = subject.spec.load_balancer_source_ranges or ()
    if not listed:
        return
    if subject.spec.type != "LoadBalancer" and not subject.balancers:
        message = f"they guard nothing: type {subject.spec.type} has no load-balancer IP"
        yield NO_BALANCER.at(subject.ref, _FIELD, message)
        return
    for family in Family:
        yield from _everybody(subject, family, [one for one in listed if one.family == family])
    open_to_all = {one.family for one in listed if one.length == 0}
    guarded = {one.family for one in listed} - open_to_all
    if not open_to_all:
        yield from _unguarded_families(subject, guarded)
    if guarded:
        yield from _ways_around(subject)


def _everybody(subject: Subject, family: Family, own: Sequence[Prefix]) -> Iterator[Finding]:
    whole = [one for one in own if one.length == 0]
    others = [one for one in own if one.length]
    if whole and others:
        message = f"{whole[0]} lets everybody in, {enumerated(others)} {_has(others)} no effect"
        yield EVERYBODY_TOO.at(subject.ref, _FIELD, message)
    elif whole:
        yield EVERYBODY.at(subject.ref, _FIELD, f"{whole[0]} is the whole of {family}")


def _has(ranges: Sequence[Prefix]) -> str:
    return "has" if len(ranges) == 1 else "have"


def _unguarded_families(subject: Subject, guarded: set[Family]) -> Iterator[Finding]:
    """Yield the families with load-balancer IPs and without ranges.

    While no address is allocated yet, only ranges that suit none of the Service's families are known to be wrong.
    """
    if not subject.declared:
        return
    addresses = [address for _, address in subject.balancers if address.family in subject.families]
    open_ones = [one for one in addresses if one.family not in guarded]
    if open_ones:
        message = f"{enumerated(open_ones)} {'is' if len(open_ones) == 1 else 'are'} open to everybody:"
        yield OTHER_FAMILY.at(subject.ref, _FIELD, f"{message} all ranges are of {enumerated(sorted(guarded))}")
    elif not addresses and not guarded & set(subject.families):
        message = f"the Service is in {enumerated(subject.families)}, but all ranges are of"
        yield OTHER_FAMILY.at(subject.ref, _FIELD, f"{message} {enumerated(sorted(guarded))}: everybody is let in")


def _ways_around(subject: Subject) -> Iterator[Finding]:
    balancers = {address for _, address in subject.balancers}
    ports = [f"node port {port.node_port}/{port.protocol}" for port in subject.ports if port.node_port]
    others = [f"external IP {address}" for _, address in subject.external_ips if address not in balancers]
    ways = [*ports, *others]
    if ways:
        yield WAYS_AROUND.at(subject.ref, _FIELD, f"they do not guard {enumerated(ways)}")
