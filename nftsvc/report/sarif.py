"""Findings as SARIF 2.1.0, the form in which code scanning takes them.

Source: OASIS SARIF 2.1.0, and the part of it that GitHub's code scanning reads. What has no place in a file is told as
a notification of the run, because a result must have a location there.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from urllib.parse import quote

from nftsvc.errors import Origin
from nftsvc.lint import Finding, Level, Report, Rule

_LEVELS = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "note"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"

Json = dict[str, object]


def sarif(report: Report, rules: Sequence[Rule], lines: Mapping[Finding, int], version: str) -> str:
    """Return one run with all rules and a result for each finding; those that annotations ignore are left out."""
    places = {rule.code: at for at, rule in enumerate(rules)}
    located = [one for one in report.findings if one.origin is not None]
    elsewhere = [one for one in report.findings if one.origin is None]
    fingerprints = _fingerprints(located)
    run: Json = {
        "tool": {
            "driver": {
                "name": "nftsvc",
                "semanticVersion": version,
                "version": version,
                "rules": [_rule(one) for one in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not elsewhere,
                "toolExecutionNotifications": [
                    {
                        "level": _LEVELS[one.severity],
                        "message": {"text": _message(one)},
                        "associatedRule": {"id": one.code, "index": places[one.code]},
                    }
                    for one in elsewhere
                ],
            }
        ],
        "results": [
            _result(one, places[one.code], lines.get(one, 0), fingerprint)
            for one, fingerprint in zip(located, fingerprints, strict=True)
        ],
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(rule: Rule) -> Json:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.explanation},
        "help": {
            "text": f"{rule.explanation}\n\nRemedy: {rule.remedy}",
            "markdown": f"{rule.explanation}\n\n**Remedy:** {rule.remedy}",
        },
        "defaultConfiguration": {"level": _LEVELS[rule.level]},
        "properties": {"problem.severity": _SEVERITIES[rule.level], "tags": ["kubernetes", "network"]},
    }


# GitHub's words for a rule that is not about security.
_SEVERITIES = {Level.ERROR: "error", Level.WARNING: "warning", Level.INFO: "recommendation"}


def _result(finding: Finding, rule: int, line: int, fingerprint: str) -> Json:
    location: Json = {}
    if finding.origin is not None:
        physical: Json = {"artifactLocation": {"uri": _uri(finding.origin)}}
        physical["region"] = {"startLine": line or 1}
        location["physicalLocation"] = physical
    if finding.ref is not None:
        location["logicalLocations"] = [{"fullyQualifiedName": str(finding.ref), "kind": "resource"}]
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": _LEVELS[finding.severity],
        "message": {"text": f"{_message(finding)}\n{finding.remedy}"},
        "locations": [location],
        "partialFingerprints": {"nftsvc/v1": fingerprint},
    }


def _message(finding: Finding) -> str:
    return ": ".join(part for part in (str(finding.ref or ""), finding.field, finding.message) if part)


def _uri(origin: Origin) -> str:
    """Return a file's name as a reference: relative to where the command ran, or absolute if it was given so."""
    path = PurePath(origin.file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _fingerprints(findings: Sequence[Finding]) -> list[str]:
    """Tell findings apart by what they are about, not by where it is; of equal ones, by their order."""
    seen: Counter[str] = Counter()
    made: list[str] = []
    for one in findings:
        about = "\n".join((one.code, str(one.ref or ""), one.field, "" if one.ref is not None else one.message))
        digest = hashlib.sha256(about.encode()).hexdigest()[:16]
        seen[digest] += 1
        made.append(f"{digest}:{seen[digest]}")
    return made
