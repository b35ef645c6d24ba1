"""Formats that others read: no text, however strange, breaks out of its place."""

import re
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftsvc.report import github, markdown
from nftsvc.report.junit import TestCase, junit

STRANGE = st.text(alphabet=st.one_of(st.sampled_from("|`*_\\<>[]():,%\n\r\t\x00\x1b#-&"), st.characters()))


@given(message=STRANGE, title=STRANGE, file=STRANGE)
def test_an_annotation_is_one_line_whose_parts_can_be_told_apart(message: str, title: str, file: str) -> None:
    line = github.annotation(github.Level.ERROR, message, title=title, file=file)
    assert line.splitlines() == [line]
    assert line.isprintable()
    match = re.fullmatch(r"::error(?: (?P<properties>[^:]*))?::.*", line)
    assert match is not None
    given_ones = [one.partition("=")[0] for one in (match["properties"] or "").split(",") if one]
    assert given_ones == [name for name, value in (("file", file), ("title", title)) if value.splitlines() != []]


def test_an_annotation_as_github_documents_it() -> None:
    assert (
        github.annotation(github.Level.WARNING, "50 % gone\nall: of it", title="a,b", file="x:y.yaml", line=7)
        == "::warning file=x%3Ay.yaml,line=7,title=a%2Cb::50 %25 gone%0Aall: of it"
    )
    assert github.annotation(github.Level.NOTICE, "fine") == "::notice::fine"


@given(texts=st.lists(STRANGE, min_size=4, max_size=4))
def test_junit_is_well_formed_whatever_it_tells(texts: list[str]) -> None:
    name, group, message, details = texts
    document = junit("nftsvc", [TestCase(name, group, failure=message, details=details), TestCase("fine", seconds=1.5)])
    root = ET.fromstring(document)  # noqa: S314 - our own
    first, second = root.iter("testcase")
    assert (root.get("tests"), root.get("failures")) == ("2", str(int(bool(message))))
    assert (first.find("failure") is not None) == bool(message)
    assert (second.get("name"), second.get("time"), len(second)) == ("fine", "1.500", 0)
    assert root.get("time") == "1.500"


def test_junit_tells_what_could_not_be_found_out_from_what_is_wrong() -> None:
    cases = [TestCase("a", error="no kernel"), TestCase("b", skipped="not asked for"), TestCase("c", failure="differs")]
    suite = ET.fromstring(junit("golden", cases)).find("testsuite")  # noqa: S314 - our own
    assert suite is not None
    assert [suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped")] == [
        *("golden", "3", "1", "1", "1")
    ]
    assert [[child.tag for child in one] for one in suite] == [["error"], ["skipped"], ["failure"]]


@given(text=STRANGE)
def test_code_and_blocks_hold_what_they_are_given(text: str) -> None:
    inline = markdown.code(text)
    fence = re.match("`+", inline)
    assert fence is not None
    assert "\n" not in inline
    block = markdown.block(text)
    first, *lines, last, end = block.split("\n")
    assert (first, end) == (last, "")
    assert all(not line.startswith(first) for line in lines)


@pytest.mark.parametrize("text", ["a|b", "`a|b`", "<b>", "[x](y)", "*a*", "a\nb", "@someone", "#1"])
def test_a_table_keeps_its_columns_and_plain_text_stays_plain(text: str) -> None:
    rows = markdown.table(["what", "more"], [[markdown.plain(text), markdown.code(text)]]).splitlines()
    assert len(rows) == 3
    assert len(re.findall(r"(?<!\\)\|", rows[2])) == 3
    assert not re.search(r"(?<!\\)[<*\[@#]", markdown.plain(text))
