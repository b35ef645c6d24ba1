"""Rules NS101 to NS106 and NS108: Services that new connections reach in vain, and why."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from nftsvc.lint.cluster import Cluster, Evidence, Subject, Way
from nftsvc.lint.findings import Finding, Level, Rule, counted, enumerated
from nftsvc.objects import ServicePort
from nftsvc.selectors import target_port
from nftsvc.values import Family, quoted

NO_ENDPOINTS = Rule(
    "NS101",
    "no-endpoints",
    Level.WARNING,
    "Service without endpoints",
    "Nobody is behind the Service: new connections are rejected. It is said only where the input would show"
    " endpoints: where it has EndpointSlices or Endpoints of the Service, running Pods of its namespace, or slices of"
    " other Services there. A repository of Service manifests alone has none of these, and none of its Services is"
    " accused.",
    "Start what the Service is for, correct its selector, or remove it. A Service without a selector needs an"
    " EndpointSlice with the label kubernetes.io/service-name.",
)
NO_POD = Rule(
    "NS102",
    "selector-matches-no-pod",
    Level.WARNING,
    "Selector that matches no Pod",
    "A Pod must have every label of the selector, and be in the Service's own namespace. It is said only where the"
    " input has Pods of that namespace with a status, as in a cluster: manifests of Deployments are not read.",
    "Compare spec.selector with the labels of the Pods (kubectl get pods --show-labels) and with their namespace.",
)
NO_TARGET = Rule(
    "NS103",
    "target-port-that-no-pod-has",
    Level.ERROR,
    "Named target port that no selected Pod has",
    "A targetPort that is a name means the container port of that name and the same protocol. Pods without it are no"
    " endpoints of this port, so nobody is.",
    "Name the container port (spec.containers[].ports[].name, with the same protocol) or write its number.",
)
UNREADY = Rule(
    "NS104",
    "only-unready-endpoints",
    Level.WARNING,
    "Endpoints, none of which is ready",
    "Endpoints that are neither ready nor terminating while they still serve get no connections: clients are rejected"
    " as if there were none.",
    "Look at the readiness of the Pods. Set spec.publishNotReadyAddresses only for clients that can deal with Pods"
    " that have not started.",
)
TERMINATING = Rule(
    "NS105",
    "only-terminating-endpoints",
    Level.INFO,
    "Endpoints, all of which terminate",
    "No endpoint is ready, so those that are about to end still get connections, as a last resort (KEP-1669).",
    "Let new Pods become ready before the last old ones end.",
)
SOME_LACK_TARGET = Rule(
    "NS106",
    "target-port-that-some-pods-lack",
    Level.INFO,
    "Named target port that some selected Pods lack",
    "Pods without the named container port are no endpoints of this Service port. All of its connections go to the"
    " other Pods.",
    "Name the port in every Pod that is meant, or select only those that have it.",
)
ONE_FAMILY = Rule(
    "NS108",
    "endpoints-of-another-family",
    Level.WARNING,
    "Endpoints in one IP family only",
    "The Service has an address in a family in which nobody is behind it; clients that try this family first are"
    " rejected. Families do not stand in for each other.",
    "Give the Pods addresses of both families, or take the family out of spec.ipFamilies.",
)

RULES = (NO_ENDPOINTS, NO_POD, NO_TARGET, UNREADY, TERMINATING, SOME_LACK_TARGET, ONE_FAMILY)


def unreached(cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield why connections to some ports of a Service, or to all, reach nobody: once for each reason."""
    if not subject.judged:
        return
    reasons: defaultdict[Rule, list[Way]] = defaultdict(list)
    for way in subject.ways:
        rule = _reason(subject, way)
        if rule is not None:
            reasons[rule].append(way)
    for rule, ways in reasons.items():
        yield rule.at(subject.ref, _field(rule), f"{_told(cluster, subject, rule, ways)}{_at(subject, ways)}")


def _reason(subject: Subject, way: Way) -> Rule | None:
    """Return what keeps connections from an endpoint; None where nothing does, or where a rule about slices says it."""
    if way.usable:
        return None if any(one.ready for one in way.judged) else TERMINATING
    if way.judged:
        return UNREADY
    if subject.has_endpoints(way.family) or subject.has_endpoints(way.family, counted=False):
        return None
    if any(subject.has_endpoints(one) for one in Family if one != way.family):
        return ONE_FAMILY
    return NO_POD if subject.pods is not None and not subject.pods else NO_ENDPOINTS


def _field(rule: Rule) -> str:
    return "spec.ipFamilies" if rule is ONE_FAMILY else "spec.selector"


def _told(cluster: Cluster, subject: Subject, rule: Rule, ways: Sequence[Way]) -> str:
    if rule is NO_POD:
        return _why_no_pod(cluster, subject)
    if rule is ONE_FAMILY:
        lacking = enumerated(sorted({way.family for way in ways}))
        return f"it is in {enumerated(subject.families)}, but its endpoints are not: nobody answers over {lacking}"
    if rule is NO_ENDPOINTS:
        return _why_none(subject)
    number = len({one.endpoint.address for way in ways for one in way.judged})
    unready = "its only endpoint is not ready" if number == 1 else f"none of its {number} endpoints is ready"
    return f"{unready}; what terminates and still serves is used" if rule is TERMINATING else unready


def _why_none(subject: Subject) -> str:
    match subject.evidence:
        case Evidence.SLICES:
            number = len(subject.slices)
            return (
                "its EndpointSlice has no endpoint" if number == 1 else f"its {number} EndpointSlices have no endpoint"
            )
        case Evidence.ENDPOINTS:
            return "its Endpoints object has no endpoint"
        case Evidence.PODS:
            number = len(subject.pods or ())
            return "its only Pod has no address" if number == 1 else f"none of its {number} Pods has an address"
        case _:
            also = "" if subject.spec.selector else ", and it has no selector"
            return f"namespace {subject.key.namespace} has no EndpointSlice with addresses for it{also}"


def _why_no_pod(cluster: Cluster, subject: Subject) -> str:
    """Say which labels keep a selector from matching: those that no Pod has, else all of them together."""
    namespace = subject.key.namespace
    wanted = sorted((subject.spec.selector or {}).items())
    nowhere = [one for one in wanted if not cluster.labelled[namespace, *one]]
    written = enumerated([quoted(f"{key}={value}") for key, value in nowhere or wanted])
    how = "" if nowhere or len(wanted) == 1 else " together"
    return f"no Pod of namespace {namespace} has {written}{how}"


def _at(subject: Subject, ways: Iterable[Way]) -> str:
    """Write which ports are concerned, if not all are."""
    positions = {way.position for way in ways}
    if len(positions) == len(subject.ports):
        return ""
    names = [subject.ports[position].name or str(subject.ports[position].port) for position in sorted(positions)]
    return f" (port {enumerated(names)})"


# Named target ports --------------------------------------------------------------------------------------------------


class _Named(NamedTuple):
    """A port with a named target: which Pods have it."""

    position: int
    port: ServicePort
    having: int
    number: int
    other_protocol: bool


def named_targets(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield each named target port that no selected Pod has, or that some of them lack."""
    if not subject.judged:
        return
    reached = {way.position for way in subject.ways if way.judged}
    for named in _named(subject):
        field = f"spec.ports[{named.position}].targetPort"
        what = quoted(str(named.port.target_port))
        if not named.having and named.position not in reached:
            other = "; there is one for another protocol" if named.other_protocol else ""
            pods = counted(named.number, "selected Pod")
            message = f"{what}: none of {pods} has a container port of this name for {named.port.protocol}{other}"
            yield NO_TARGET.at(subject.ref, field, message)
        elif named.having < named.number and subject.evidence is Evidence.PODS and named.having:
            lacking = named.number - named.having
            pods = counted(named.number, "selected Pod")
            message = f"{what}: {lacking} of {pods} without a container port of this name for {named.port.protocol}"
            yield SOME_LACK_TARGET.at(subject.ref, field, message)


def lacks_named_target(subject: Subject, position: int) -> bool:
    """Tell whether NS103 says why a port has no endpoints."""
    return any(one.position == position and not one.having for one in _named(subject))


def _named(subject: Subject) -> Iterator[_Named]:
    for position, port in enumerate(subject.ports):
        target = port.target_port or ""
        if subject.pods and target and not target.isdigit():
            having = sum(target_port(port, pod) is not None for pod in subject.pods)
            others = any(
                one.name == target
                for pod in subject.pods
                for container in (pod.spec.containers if pod.spec is not None else None) or ()
                for one in container.ports or ()
            )
            yield _Named(position, port, having, len(subject.pods), others)
