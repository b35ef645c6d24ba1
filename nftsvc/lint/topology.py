"""Rules NS305 to NS311: topology hints, which are followed only under conditions, and what asks for them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from nftsvc.endpoints import HintUse, Place, hint_uses
from nftsvc.lint.cluster import Cluster, Evidence, Subject
from nftsvc.lint.findings import Finding, Level, Rule, enumerated
from nftsvc.selectors import topology_mode_auto
from nftsvc.values import quoted

SOME_WITHOUT = Rule(
    "NS305",
    "hints-not-on-every-endpoint",
    Level.WARNING,
    "Topology hints that are ignored because some endpoints have none",
    "Hints are followed only where every ready endpoint has one of the kind (forZones, forNodes). One without is"
    " enough for all endpoints to be used alike, on every node. Usually its Node has no label"
    " topology.kubernetes.io/zone.",
    "Label every Node with its zone; in slices written by hand give every endpoint a hint.",
)
NOT_FOR_HERE = Rule(
    "NS306",
    "hints-not-for-this-node",
    Level.INFO,
    "Topology hints that this node cannot follow",
    "Every endpoint has its hint, but none is for this node's zone, or the node has no zone, so all endpoints are"
    " used alike. It is said only where it is known which node is meant.",
    "Label the Node with topology.kubernetes.io/zone (or set `zone`), or run an endpoint in its zone.",
)
UNKNOWN_VALUE = Rule(
    "NS307",
    "unknown-traffic-distribution",
    Level.WARNING,
    "trafficDistribution that nobody knows",
    "Known are PreferSameZone, PreferSameNode and PreferClose, the old name of PreferSameZone (KEP-3015, KEP-4444)."
    " Anything else gives no hints, and the API server refuses it.",
    "Write PreferSameZone or PreferSameNode, or remove spec.trafficDistribution.",
)
OLD_ANNOTATION = Rule(
    "NS308",
    "topology-aware-hints-annotation",
    Level.WARNING,
    "Annotation service.kubernetes.io/topology-aware-hints",
    "The annotation is deprecated since Kubernetes 1.27. Only the endpoints controller still reads it; no proxy does.",
    "Use spec.trafficDistribution: PreferSameZone; or the annotation's new name, service.kubernetes.io/topology-mode.",
)
ANNOTATION_WINS = Rule(
    "NS309",
    "annotation-before-traffic-distribution",
    Level.WARNING,
    "trafficDistribution that an annotation overrides",
    "While service.kubernetes.io/topology-mode (or its old name) is Auto, the endpoints controller does what that"
    " asks for, and spec.trafficDistribution has no effect.",
    "Remove the annotation.",
)
NO_HINTS = Rule(
    "NS310",
    "hints-asked-for-and-missing",
    Level.INFO,
    "Topology hints that were asked for and are not there",
    "The Service asks for endpoints that are near, but no ready endpoint has a hint: all are used alike. Nodes"
    " without zones, too few endpoints for topology-mode, and slices written by hand are the usual reasons.",
    "Label the Nodes with topology.kubernetes.io/zone; write endpoints[].hints into slices of your own.",
)
OLD_VALUE = Rule(
    "NS311",
    "prefer-close",
    Level.INFO,
    "trafficDistribution under its old name",
    "PreferClose means PreferSameZone and is deprecated in its favour (KEP-3015).",
    "Write PreferSameZone where all clusters are at Kubernetes 1.35 or later.",
)

RULES = (SOME_WITHOUT, NOT_FOR_HERE, UNKNOWN_VALUE, OLD_ANNOTATION, ANNOTATION_WINS, NO_HINTS, OLD_VALUE)

_OLD_NAME = "service.kubernetes.io/topology-aware-hints"
_PREFER_CLOSE = "PreferClose"
_KNOWN = ("PreferSameZone", "PreferSameNode", _PREFER_CLOSE)


def wishes(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with how a Service asks for endpoints that are near."""
    wanted, auto = subject.spec.traffic_distribution, topology_mode_auto(subject.service)
    field = "spec.trafficDistribution"
    if _OLD_NAME in (subject.service.metadata.annotations or {}):
        message = "deprecated since Kubernetes 1.27"
        yield OLD_ANNOTATION.at(subject.ref, f"metadata.annotations[{quoted(_OLD_NAME)}]", message)
    if wanted and wanted not in _KNOWN:
        yield UNKNOWN_VALUE.at(subject.ref, field, f"{quoted(wanted)} is not one of {', '.join(_KNOWN)}")
    elif wanted and auto:
        yield ANNOTATION_WINS.at(subject.ref, field, f"{wanted} has no effect: the topology annotation says Auto")
    elif wanted == _PREFER_CLOSE:
        yield OLD_VALUE.at(subject.ref, field, "PreferClose is the old name of PreferSameZone")


def hints(cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield why hints are ignored, or that there are none: each reason once for a Service."""
    ready = any(one.ready for way in subject.ways for one in way.judged)
    if not (subject.judged and ready and _nodes_are_known(cluster, subject)):
        return
    field = "spec.trafficDistribution" if subject.spec.traffic_distribution else ""
    if not any(one.hints for part in subject.slices for one in part.endpoints or ()):
        if _asked(subject):
            yield NO_HINTS.at(subject.ref, field, "no ready endpoint has a topology hint: all are used alike")
        return
    place = Place(cluster.settings.name, cluster.settings.zone)
    partly: defaultdict[str, list[HintUse]] = defaultdict(list)
    elsewhere: dict[str, None] = {}
    for way in subject.ways:
        uses = hint_uses(subject.slices, way.port, way.family, place)
        for one in uses:
            if one.hinted and one.without:
                partly[one.kind].append(one)
        whole = [one for one in uses if one.hinted and not one.without]
        if place.node is not None and whole and not any(one.here for one in whole):
            elsewhere[_not_for_here(place, zone=any(one.kind == "zone" for one in whole))] = None
    for kind, found in partly.items():
        yield SOME_WITHOUT.at(subject.ref, field, _some_without(kind, found))
    for message in elsewhere:
        yield NOT_FOR_HERE.at(subject.ref, field, message)


def _nodes_are_known(cluster: Cluster, subject: Subject) -> bool:
    """Tell whether hints are to be seen: they are in the slices, or made here from the zones of the Pods' Nodes."""
    if subject.evidence is not Evidence.PODS:
        return True
    nodes = {pod.spec.node_name for pod in subject.pods or () if pod.spec is not None and pod.spec.node_name}
    return nodes <= cluster.state.nodes.keys()


def _asked(subject: Subject) -> bool:
    auto = topology_mode_auto(subject.service)
    if subject.evidence is Evidence.PODS and auto:  # the controller would make hints, nobody does here
        return False
    return auto or subject.spec.traffic_distribution in _KNOWN


def _some_without(kind: str, uses: Sequence[HintUse]) -> str:
    lacking = list(dict.fromkeys(one.address for use in uses for one in use.without))
    return f"hints for {kind}s are ignored: {enumerated(lacking)} {'has' if len(lacking) == 1 else 'have'} none"


def _not_for_here(place: Place, *, zone: bool) -> str:
    if not zone:
        return f"no endpoint is for node {place.node}: all are used"
    if not place.zone:
        return f"node {place.node} has no zone: endpoints of all zones are used"
    return f"no endpoint is for zone {quoted(place.zone)}: those of all zones are used"
