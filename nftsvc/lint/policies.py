"""Rules NS301 to NS304: traffic policy Local, and who gets nothing because of it."""

from collections.abc import Iterator

from nftsvc.frontends import is_external
from nftsvc.lint.cluster import Cluster, Subject, counts
from nftsvc.lint.findings import Finding, Level, Rule

INTERNAL_ELSEWHERE = Rule(
    "NS301",
    "internal-policy-without-local-endpoint",
    Level.WARNING,
    "internalTrafficPolicy: Local, and no endpoint on this node",
    "On a node without an endpoint of its own, packets to the cluster IP are dropped without a word, those of all"
    " Pods of that node included. It is said only where it is known which node is meant: --node, or the only Node of"
    " the input.",
    "Run an endpoint on every node whose Pods use the Service (a DaemonSet), or say trafficDistribution:"
    " PreferSameNode, which goes to other nodes where there is none.",
)
EXTERNAL_ELSEWHERE = Rule(
    "NS302",
    "external-policy-without-local-endpoint",
    Level.WARNING,
    "externalTrafficPolicy: Local, and no endpoint on this node",
    "On a node without an endpoint of its own, packets of clients outside are dropped without a word. It is said only"
    " where it is known which node is meant, and not for type LoadBalancer, whose balancer asks healthCheckNodePort"
    " and goes to other nodes.",
    "Send clients to nodes with an endpoint only, run one on every node, or set externalTrafficPolicy: Cluster.",
)
NOWHERE = Rule(
    "NS303",
    "local-policy-and-no-node-names",
    Level.ERROR,
    "Traffic policy Local, and no endpoint says where it runs",
    "An endpoint is local to the node that its nodeName names. Without one it is local nowhere, so that on every node"
    " packets under policy Local are dropped.",
    "Write endpoints[].nodeName, or set the policy to Cluster: endpoints outside the cluster are on none of its nodes.",
)
WITHOUT_EFFECT = Rule(
    "NS304",
    "external-policy-without-effect",
    Level.WARNING,
    "externalTrafficPolicy without effect",
    "The field counts for types NodePort and LoadBalancer, and for ClusterIP with external IPs. The API server"
    " refuses it elsewhere.",
    "Remove spec.externalTrafficPolicy; for clients inside there is spec.internalTrafficPolicy.",
)

RULES = (INTERNAL_ELSEWHERE, EXTERNAL_ELSEWHERE, NOWHERE, WITHOUT_EFFECT)


def local_policies(cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield each policy Local that leaves clients without an endpoint while there are some elsewhere."""
    if not (subject.judged and any(way.usable for way in subject.ways)):
        return
    spec = subject.spec
    policies = (
        ("spec.internalTrafficPolicy", spec.internal_traffic_policy, INTERNAL_ELSEWHERE, True),
        (
            "spec.externalTrafficPolicy",
            spec.external_traffic_policy if is_external(subject.service) else None,
            EXTERNAL_ELSEWHERE,
            spec.type != "LoadBalancer",
        ),
    )
    elsewhere = [way for way in subject.ways if way.usable and not way.usable_here]
    for field, policy, rule, said in policies:
        if policy != "Local":
            continue
        if not _placed(subject):
            yield NOWHERE.at(subject.ref, field, "Local, but none of the endpoints has a nodeName: packets are dropped")
        elif said and cluster.settings.name is not None and elsewhere:
            where = f"Local, but no endpoint on node {cluster.settings.name}"
            yield rule.at(subject.ref, field, f"{where}{_ports(subject, {way.position for way in elsewhere})}")


def _placed(subject: Subject) -> bool:
    """Tell whether any endpoint says on which node it runs."""
    return any(one.node_name for part in subject.slices if counts(part) for one in part.endpoints or ())


def _ports(subject: Subject, positions: set[int]) -> str:
    if len(positions) == len(subject.ports):
        return ""
    return f" for port {', '.join(subject.ports[one].name for one in sorted(positions))}"


def external_policy(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield a policy for clients outside in a Service that is not for them."""
    policy = subject.spec.external_traffic_policy
    if policy is not None and not is_external(subject.service):
        message = f"{policy} has no effect: type {subject.spec.type} without external IPs"
        yield WITHOUT_EFFECT.at(subject.ref, "spec.externalTrafficPolicy", message)
