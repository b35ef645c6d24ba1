"""The annotation nftsvc/lint-ignore: findings that somebody has looked at, each with the reason why it stays.

`nftsvc/lint-ignore: "NS302 the balancer probes the nodes; NS415 a firewall guards them"`: a code, a reason; the next
after a semicolon or on a line of its own. It counts for the object that has it, on a Service for its EndpointSlices and
Endpoints, too. Without a reason, or with a code that is none, nothing is ignored, and that is a finding.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from nftsvc.errors import ObjectRef
from nftsvc.lint.findings import Finding, Level, Rule
from nftsvc.objects import (
    ANNOTATION_LINT_IGNORE,
    Endpoints,
    EndpointSlice,
    KubernetesObject,
    NodeConfiguration,
    Service,
)
from nftsvc.values import quoted

NO_REASON = Rule(
    "NS901",
    "ignored-without-a-reason",
    Level.WARNING,
    "Annotation that ignores a finding without a reason",
    f"{ANNOTATION_LINT_IGNORE} takes a code and a reason, separated by a space; several with semicolons or on lines of"
    " their own. Who reads it later wants to know why. Without a reason nothing is ignored.",
    'Write it as in "NS415 a firewall guards the nodes; NS302 the balancer probes them".',
)
NO_CODE = Rule(
    "NS902",
    "ignored-code-that-is-none",
    Level.WARNING,
    "Annotation that ignores a code that does not exist",
    f"What {ANNOTATION_LINT_IGNORE} names first must be a code of `nftsvc lint --list`. Findings about the annotation"
    " and about objects that cannot be read are not to be ignored this way; there is --ignore for them.",
    "Correct the code.",
)

RULES = (NO_REASON, NO_CODE)

_FIELD = f"metadata.annotations[{quoted(ANNOTATION_LINT_IGNORE)}]"
_SEPARATORS = re.compile(r"[;\n]")


class Suppressed(NamedTuple):
    """A finding that an annotation ignores, and the reason that it gives."""

    finding: Finding
    reason: str


Ignored = Mapping[ObjectRef, Mapping[str, str]]


def annotated(objects: Iterable[KubernetesObject], codes: Collection[str]) -> tuple[Ignored, tuple[Finding, ...]]:
    """Return the reasons by object and code, and what is wrong with them; `codes` are those that may be ignored."""
    reasons: defaultdict[ObjectRef, dict[str, str]] = defaultdict(dict)
    findings: list[Finding] = []
    for one in objects:
        for code, reason in _entries(_annotation(one)):
            if code not in codes:
                findings.append(NO_CODE.at(one.ref, _FIELD, f"{quoted(code)} is no code that can be ignored"))
            elif not reason:
                findings.append(NO_REASON.at(one.ref, _FIELD, f"{code} without a reason"))
            else:
                reasons[one.ref][code] = reason
    return reasons, tuple(findings)


def _annotation(one: KubernetesObject) -> str:
    match one:
        case EndpointSlice():
            annotations = one.metadata.annotations
            return (annotations.lint_ignore if annotations is not None else None) or ""
        case Service() | NodeConfiguration():
            return (one.metadata.annotations or {}).get(ANNOTATION_LINT_IGNORE, "")
        case _:
            return ""


def _entries(text: str) -> Iterator[tuple[str, str]]:
    """Yield (code, reason)."""
    for entry in _SEPARATORS.split(text):
        code, _, reason = entry.strip().partition(" ")
        if code:
            yield code.rstrip(":"), reason.strip()


def reason_for(finding: Finding, ignored: Ignored, services: Mapping[ObjectRef, ObjectRef]) -> str:
    """Return why a finding is to be ignored, or "". `services` says whose slices and Endpoints are."""
    if finding.ref is None:
        return ""
    for ref in (finding.ref, services.get(finding.ref)):
        reason = ignored.get(ref, {}).get(finding.code, "") if ref is not None else ""
        if reason:
            return reason
    return ""


def services_of(objects: Iterable[KubernetesObject]) -> dict[ObjectRef, ObjectRef]:
    """Return the Service of each slice and each Endpoints object."""
    found: dict[ObjectRef, ObjectRef] = {}
    for one in objects:
        if isinstance(one, EndpointSlice):
            found[one.ref] = ObjectRef(Service.KIND, one.namespace, one.service_name)
        elif isinstance(one, Endpoints):
            found[one.ref] = ObjectRef(Service.KIND, one.namespace, one.name)
    return found
