"""What is odd about the input: findings with stable codes, each with a severity, an explanation and a remedy.

In: objects, the problems of reading them, and what state and settings were made of them. Out: a Report. Pure, as all
of the core: rules are small functions over a `Cluster` and one of its `Subject`s, listed in `registry`.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from nftsvc.errors import ObjectRef, Origin, Problem
from nftsvc.lint.cluster import Cluster
from nftsvc.lint.findings import Finding, Level, Rule
from nftsvc.lint.ignoring import Suppressed, annotated, reason_for, services_of
from nftsvc.lint.reading import is_lost, unread
from nftsvc.lint.registry import ALWAYS_SAID, BY_CODE, OF_ALL, OF_SERVICES, RULES
from nftsvc.objects import KubernetesObject
from nftsvc.settings import NodeSettings
from nftsvc.state import State

__all__ = ["BY_CODE", "RULES", "Cluster", "Finding", "Level", "Report", "Rule", "Suppressed", "lint"]


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, by file, document and code; those that annotations ignore, with the reasons.

    `services` is how many Services were looked at, `unjudged` for how many of them the input does not tell the
    endpoints.
    """

    findings: tuple[Finding, ...]
    suppressed: tuple[Suppressed, ...] = ()
    services: int = 0
    unjudged: int = 0

    @property
    def counts(self) -> Mapping[Level, int]:
        """How many findings there are of each severity."""
        found = Counter(one.severity for one in self.findings)
        return {level: found[level] for level in Level}

    def any_at_least(self, level: Level) -> bool:
        """Tell whether a finding is as bad as that, or worse."""
        return any(one.severity.at_least(level) for one in self.findings)


def lint(
    objects: Sequence[KubernetesObject],
    state: State,
    settings: NodeSettings,
    problems: Collection[Problem] = (),
    origins: Mapping[ObjectRef, Origin] = MappingProxyType({}),
    ignored: Collection[str] = (),
) -> Report:
    """Look at all objects, and the state made of them, under the settings of a node (name None: none in particular).

    `problems` are those of reading the input, `origins` where each object was read, `ignored` codes that nobody wants
    to hear of.
    """
    cluster = Cluster(objects, state, settings, [one for one in problems if is_lost(one)])
    reasons, wrong = annotated(objects, BY_CODE.keys() - ALWAYS_SAID)
    services = services_of(objects)
    findings: list[Finding] = []
    suppressed: list[Suppressed] = []
    for one in (*unread(problems), *wrong, *_checked(cluster)):
        if one.code in ignored:
            continue
        found = replace(one, origin=_origin(one, origins))
        reason = reason_for(found, reasons, services)
        if reason:
            suppressed.append(Suppressed(found, reason))
        else:
            findings.append(found)
    return Report(
        tuple(sorted(findings, key=_place)),
        tuple(sorted(suppressed, key=lambda one: _place(one.finding))),
        len(cluster.subjects),
        sum(not one.judged for one in cluster.subjects),
    )


def _checked(cluster: Cluster) -> Iterator[Finding]:
    for subject in cluster.subjects:
        for of_service in OF_SERVICES:
            yield from of_service(cluster, subject)
    for of_all in OF_ALL:
        yield from of_all(cluster)


def _origin(finding: Finding, origins: Mapping[ObjectRef, Origin]) -> Origin | None:
    if finding.origin is not None or finding.ref is None:
        return finding.origin
    return origins.get(finding.ref)


def _place(finding: Finding) -> tuple[object, ...]:
    """Sort findings by where their objects were read, then by object, code and field."""
    origin = finding.origin
    place = ("", 0, 0) if origin is None else (origin.file, origin.document, origin.item or 0)
    return (*place, str(finding.ref or ""), finding.code, finding.field, finding.message)
