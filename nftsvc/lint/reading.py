"""Rules NS402, NS501 to NS504 and NS601: what cannot be read, and settings for nobody."""

import re
from collections.abc import Iterable, Iterator

from nftsvc.errors import ObjectRef, Problem
from nftsvc.lint.cluster import Cluster
from nftsvc.lint.findings import Finding, Level, Rule, enumerated
from nftsvc.objects import NodeConfiguration
from nftsvc.values import quoted

TIMEOUT = Rule(
    "NS402",
    "affinity-timeout-out-of-range",
    Level.ERROR,
    "Affinity timeout out of range",
    "sessionAffinityConfig.clientIP.timeoutSeconds is 1 to 86400, a day; left out it is 10800. The API server refuses"
    " anything else.",
    "Choose a number from 1 to 86400.",
)
UNREADABLE = Rule(
    "NS501",
    "unreadable",
    Level.ERROR,
    "File or document that cannot be read",
    "No YAML, no JSON, or no Kubernetes object. What it holds is not looked at, nor is what comes after it in its"
    " file; and because it may hold anything, nothing else is said to be missing.",
    "Correct the file; leave templates that are not rendered yet out of the paths.",
)
REFUSED = Rule(
    "NS502",
    "field-refused",
    Level.ERROR,
    "Field with a value that is not allowed",
    "The API server would refuse the object, and so do the other commands of nftsvc. The object is left out of all"
    " other rules, and nothing of its namespace that it may hold is said to be missing.",
    "Correct the field; kubectl explain says what it takes.",
)
TWICE = Rule(
    "NS503",
    "given-twice",
    Level.ERROR,
    "Object that is given twice",
    "Two documents have the same kind, namespace and name. The first is looked at.",
    "Remove one. Where the folders are variants for several clusters, lint each of them on its own.",
)
OLD_VERSION = Rule(
    "NS504",
    "unsupported-version",
    Level.ERROR,
    "Version of an API that is not supported",
    "The object is of a kind that counts, but in a version that Kubernetes has removed or nftsvc does not know.",
    "Write the version that the message names (kubectl convert may help).",
)
NO_SUCH_NODE = Rule(
    "NS601",
    "configuration-of-no-node",
    Level.WARNING,
    "NodeConfiguration for a Node that is not there",
    "A NodeConfiguration is for the Node of its name, or for any if it has none. The input has Nodes, but none of"
    " this name.",
    "Correct metadata.name, or leave it out.",
)

RULES = (TIMEOUT, UNREADABLE, REFUSED, TWICE, OLD_VERSION, NO_SUCH_NODE)

_TIMEOUT = re.compile(r"spec\.sessionAffinityConfig\.clientIP\.timeoutSeconds")


def unread(problems: Iterable[Problem]) -> Iterator[Finding]:
    """Yield a finding for each problem of reading and decoding."""
    for one in problems:
        yield _rule(one).at(one.ref, one.field, one.message, one.origin)


def _rule(problem: Problem) -> Rule:
    if problem.ref is None:
        return UNREADABLE
    if not problem.field and problem.message.startswith("given twice"):
        return TWICE
    if problem.field == "apiVersion":
        return OLD_VERSION
    return TIMEOUT if _TIMEOUT.fullmatch(problem.field) else REFUSED


def is_lost(problem: Problem) -> bool:
    """Tell whether a problem keeps an object, or a whole document, from being looked at."""
    return _rule(problem) is not TWICE


def configurations(cluster: Cluster) -> Iterator[Finding]:
    """Yield the NodeConfigurations that are for nobody."""
    nodes = sorted(cluster.state.nodes)
    for name in cluster.state.configurations:
        if name and nodes and name not in nodes and cluster.complete:
            message = f"the input has no Node {quoted(name)}; it has {enumerated(nodes)}"
            yield NO_SUCH_NODE.at(ObjectRef(NodeConfiguration.KIND, "", name), "metadata.name", message)
