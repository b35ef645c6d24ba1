"""Every code has a manifest with the finding and one without it, and is documented; every golden case is linted."""

import re
import textwrap
from pathlib import Path

import pytest

from nftsvc.lint import RULES, Rule
from nftsvc.lint.registry import OF_ALL, OF_SERVICES
from tests.support.cases import EXAMPLES, Case, all_cases
from tests.support.linted import codes, linted_files

ROOT = EXAMPLES.parent
FOLDERS = sorted(path for path in (EXAMPLES / "lint").iterdir() if path.is_dir())
DOCUMENT = (ROOT / "docs" / "lint.md").read_text()


def by_name(rule: Rule) -> str:
    return rule.code


# Examples ------------------------------------------------------------------------------------------------------------


def test_every_code_has_examples_and_there_are_no_others() -> None:
    assert [folder.name for folder in FOLDERS] == [f"{rule.code}-{rule.name}" for rule in RULES]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_the_bad_example_has_that_finding_alone_and_the_good_one_none(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"bad.yaml", "good.yaml"}
    code = folder.name[:5]
    bad = linted_files(folder / "bad.yaml")
    assert set(codes(bad)) == {code}
    assert all(one.origin is not None and one.origin.file.endswith("bad.yaml") for one in bad.findings)
    assert linted_files(folder / "good.yaml").findings == ()


def test_the_annotation_is_shown_at_work() -> None:
    for folder in FOLDERS:
        suppressed = linted_files(folder / "good.yaml").suppressed
        assert bool(suppressed) == folder.name.startswith("NS9")
        assert all(one.reason for one in suppressed)


# Codes ---------------------------------------------------------------------------------------------------------------


def test_codes_and_names_are_said_once() -> None:
    assert len({rule.code for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)
    assert all(re.fullmatch(r"NS[1-9]\d\d", rule.code) for rule in RULES)
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name) for rule in RULES)


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_every_code_says_what_it_means_and_what_helps(rule: Rule) -> None:
    assert len(rule.title) <= 80
    assert not rule.title.endswith(".")
    for text in (rule.explanation, rule.remedy):
        assert text.endswith((".", ").", '".'))
        assert "  " not in text


def test_every_check_is_used_once() -> None:
    checks = (*OF_SERVICES, *OF_ALL)
    assert len(set(checks)) == len(checks)


# Documentation -------------------------------------------------------------------------------------------------------


def section(rule: Rule) -> str:
    def wrapped(text: str) -> str:
        return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)

    return f"### {rule.code} {rule.name}\n\n{wrapped(rule.explanation)}\n\n{wrapped(f'Remedy: {rule.remedy}')}\n"


def test_documentation_has_exactly_the_codes() -> None:
    assert re.findall(r"^### (NS\d+ \S+)$", DOCUMENT, re.MULTILINE) == [f"{one.code} {one.name}" for one in RULES]
    rows = re.findall(r"^\| \[(NS\d+)\]\(#(\S+)\) \| (\w+) \| (.*) \|$", DOCUMENT, re.MULTILINE)
    assert rows == [(one.code, f"{one.code.lower()}-{one.name}", one.level, one.title) for one in RULES]


@pytest.mark.parametrize("rule", RULES, ids=by_name)
def test_documentation_says_of_a_code_what_the_program_says(rule: Rule) -> None:
    assert section(rule) in DOCUMENT


# Golden cases --------------------------------------------------------------------------------------------------------

# What others of the golden cases are for is no mistake in their manifests, or the one that the case shows.
EXPECTED = {
    "100-my-service": [],
    "101-target-port-left-out": [],
    "102-target-port-by-name": ["NS106"],
    "106-endpoints-object": ["NS518"],
    "107-several-slices": [],
    "108-headless-and-external-name": [],
    "109-no-endpoints": [],
    "117-kubectl-list": [],
    "119-other-proxy": [],
    "120-no-cluster-ip": [],
    "133-one-endpoint-many-times": ["NS107", "NS107"],
    "136-slices-of-nobody": ["NS514", "NS514", "NS515", "NS515", "NS515", "NS515"],
    "139-ports-by-name": ["NS511", "NS512"],
    "143-first-address-only": ["NS110", "NS110", "NS110", "NS110"],
    "200-node-ports": [],
    "207-load-balancer-ip-modes": [],
    "209-any-type": ["NS204", "NS210", "NS211"],
    "214-node-ports-of-an-unlisted-family": ["NS209"],
    "301-internal-local-elsewhere": ["NS104", "NS301"],
    "310-external-local-without-effect": ["NS210", "NS211", "NS304"],
    "331-hints-that-do-not-count": ["NS305", "NS306"],
    "337-node-hints": [],
    "400-client-affinity": [],
    "424-source-ranges-everybody": ["NS413", "NS413"],
    "425-source-ranges-of-one-family": ["NS412", "NS412"],
    "500-demo": ["NS102"],
    "600-dual-stack": [],
    "603-endpoints-in-one-family": ["NS108"],
    "800-captures": ["NS101", "NS102", "NS204", "NS311", "NS415"],
    "802-conflicting-claims": ["NS202", "NS202", "NS206"],
    "803-many-services": [],
    "812-one-node-port-in-two-families": ["NS207"],
    "903-given-twice": ["NS101", "NS503", "NS503", "NS503", "NS518"],
}


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.name)
def test_golden_case_is_linted(case: Case) -> None:
    report = linted_files(case.folder, node=case.node, families=case.families)
    if case.refused:
        assert {"NS501", "NS502", "NS503", "NS504"} & set(codes(report))
    else:
        assert not {"NS402", "NS501", "NS502", "NS503", "NS504"} & set(codes(report))
    if case.name in EXPECTED:
        assert sorted(codes(report)) == EXPECTED[case.name]


def test_the_sample_names_cases_that_are_there() -> None:
    assert EXPECTED.keys() <= {case.name for case in all_cases()}
