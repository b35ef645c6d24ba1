"""Results as JUnit XML, as the test views of CI systems read it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree as ET

_NO_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


@dataclass(frozen=True, slots=True)
class TestCase:
    """One result.

    `failure` is one line that says what is wrong, "" if nothing is; `error` says that it could not be found out,
    `skipped` why it was not. `details` are as long as they need to be. `seconds` is what it took.
    """

    __test__ = False  # for pytest: no class of tests

    name: str
    group: str = ""
    failure: str = ""
    error: str = ""
    skipped: str = ""
    details: str = ""
    seconds: float = 0.0


def junit(suite: str, cases: Iterable[TestCase]) -> str:
    """Return a document of one suite, ending with a line end."""
    cases = tuple(cases)
    counts = {
        "tests": len(cases),
        "failures": sum(bool(one.failure) for one in cases),
        "errors": sum(bool(one.error) for one in cases),
        "skipped": sum(bool(one.skipped) for one in cases),
    }
    attributes = {"name": suite} | {name: str(count) for name, count in counts.items()}
    attributes["time"] = f"{sum(one.seconds for one in cases):.3f}"
    root = ET.Element("testsuites", attributes)
    parent = ET.SubElement(root, "testsuite", attributes)
    for one in cases:
        _add(parent, one)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _add(parent: ET.Element, case: TestCase) -> None:
    given = {"name": _clean(case.name), "classname": _clean(case.group), "time": f"{case.seconds:.3f}"}
    element = ET.SubElement(parent, "testcase", given)
    for kind, message in (("failure", case.failure), ("error", case.error), ("skipped", case.skipped)):
        if message:
            ET.SubElement(element, kind, {"message": _clean(message)}).text = _clean(case.details) or None


def _clean(text: str) -> str:
    """Replace what XML 1.0 has no way to write."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
