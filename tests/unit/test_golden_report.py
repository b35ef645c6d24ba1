"""What people and their CI systems read of golden cases."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from nftsvc.golden import Checked, KernelChoice, Result, Verdict, check_cases, find_cases, update_cases
from nftsvc.report.golden import (
    checked_github,
    checked_json,
    checked_junit,
    checked_markdown,
    print_checked,
    print_updated,
    update_command,
)
from tests.support.cases import made_case, write_shop


@pytest.fixture
def checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checked:
    """Three cases, one of each status, and a folder that is none."""
    monkeypatch.chdir(tmp_path)
    made_case(Path("golden/fine"))
    write_shop(made_case(Path("golden/other")).folder, 1)
    (made_case(Path("golden/bad")).folder / "x.txt").touch()
    write_shop(Path("golden/forgotten"))
    return check_cases(find_cases([Path("golden")]))


def printed(checked: Checked, *, color: bool = False) -> str:
    stream = io.StringIO()
    print_checked(Console(file=stream, force_terminal=color, no_color=not color, highlight=False, width=60), checked)
    return stream.getvalue()


NOTE = "nothing is expected of the Services in golden/forgotten; nftsvc golden update FOLDER makes a folder a case"


def test_text_ends_with_notes_and_the_summary(checked: Checked) -> None:
    lines = printed(checked).splitlines()
    assert (
        lines[0]
        == 'error: golden/bad: x.txt: nothing reads it; in case.toml ignored = ["x.txt"] says that it may be here'
    )
    assert lines[1] == "differs: golden/other: 1 Service changed, 0 added, 0 removed; 0 unchanged"
    assert lines[-3] == "  if that is right: nftsvc golden update golden/other"
    assert lines[-2:] == [f"note: {NOTE}", "3 cases: 1 as expected, 1 differs, 1 error"]


def test_colour_changes_no_words(checked: Checked) -> None:
    coloured = printed(checked, color=True)
    assert "\x1b[32m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == printed(checked)


def test_kernel_that_was_not_asked_is_a_note_or_an_error(checked: Checked) -> None:
    results = tuple(replace(one, kernel=Verdict(unavailable="no\n  really")) for one in checked.results)
    for choice, level in ((KernelChoice.TRY, "note"), (KernelChoice.REQUIRE, "error")):
        asked = Checked(results, (), choice)
        assert f"{level}: no kernel was asked: no\n  really\n" in printed(asked)
        root = ET.fromstring(checked_junit(asked))  # noqa: S314 - our own
        (found,) = root.iterfind(".//testcase[@name='kernel']/*")
        assert found.tag == ("skipped" if choice is KernelChoice.TRY else "error")


def test_many_folders_are_named_in_one_line(checked: Checked) -> None:
    many = replace(checked, unchecked=tuple(f"f{number}" for number in range(12)))
    assert "Services in f0, f1, f2, f3, f4 and 7 more; " in printed(many)


def test_json_holds_all_of_it(checked: Checked) -> None:
    found = json.loads(checked_json(checked))
    assert found["summary"] == {
        "text": "3 cases: 1 as expected, 1 differs, 1 error",
        "cases": 3,
        "asExpected": 1,
        "differ": 1,
        "errors": 1,
    }
    assert found["kernel"] == {"asked": "no", "unavailable": None}
    assert found["unchecked"] == ["golden/forgotten"]
    bad, fine, other = found["cases"]
    assert (bad["status"], len(bad["problems"]), fine["status"]) == ("error", 1, "as expected")
    assert (other["status"], other["newLayout"], other["traffic"]["same"]) == ("differs", False, False)
    assert [one["file"] for one in other["differences"]] == ["ruleset.nft"]
    assert "-\t\t\t10.96.7.1 . 80 . 1 : 10.244.1.2 . 8080" in other["differences"][0]["diff"]


def test_markdown_has_a_table_and_what_changes(checked: Checked) -> None:
    text = checked_markdown(checked)
    assert text.startswith("**3 cases: 1 as expected, 1 differs, 1 error**\n")
    assert "| `golden/other` | differs: 1 Service changed, 0 added, 0 removed; 0 unchanged |\n" in text
    assert "golden/fine" not in text
    assert "<details><summary>golden/other</summary>" in text
    assert "\n- 10.244.1.2:8080  share 50 %\n" in text
    assert "\n-            10.96.7.1 . 80 . 1 : 10.244.1.2 . 8080\n" in text
    assert "If that is right: `nftsvc golden update golden/other`\n" in text
    assert text.splitlines()[-1].startswith("note: ")


def test_markdown_fits_a_job_summary(checked: Checked) -> None:
    (other,) = (one for one in checked.failed if one.differences)
    text = checked_markdown(Checked((other,) * 3000))
    assert len(text) < 900_000
    assert re.search(r"^\d+ more without their texts$", text, re.MULTILINE)


def test_annotations_point_at_files(checked: Checked) -> None:
    bad, other, note, summary = checked_github(checked).splitlines()
    assert bad.startswith("::error file=golden/bad/x.txt,title=nftsvc golden check%3A golden/bad::error: golden/bad: ")
    assert other.startswith("::error file=golden/other/ruleset.nft,title=")
    assert "%0A    - 10.244.1.2:8080  share 50 %25%0A" in other
    assert note == f"::notice title=nftsvc golden check::{NOTE}"
    assert summary == "3 cases: 1 as expected, 1 differs, 1 error"


def test_annotation_of_a_bad_manifest_points_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (made_case(Path("a")).folder / "bad.yaml").write_text("kind: [")
    line = checked_github(check_cases(find_cases([Path("a")]))).splitlines()[0]
    assert line.startswith("::error file=a/bad.yaml,title=")


def test_annotation_of_packets_points_at_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = '[[packet]]\nfrom = "10.0.0.1"\nto = "10.0.0.2:1"\nexpect = "drop"\n'
    (made_case(Path("a")).folder / "packets.toml").write_text(text)
    line = checked_github(check_cases(find_cases([Path("a")]))).splitlines()[0]
    assert line.startswith("::error file=a/packets.toml,title=")


def test_junit_has_a_test_for_each_case_and_skips_the_forgotten(checked: Checked) -> None:
    suite = ET.fromstring(checked_junit(checked)).find("testsuite")  # noqa: S314 - our own
    assert suite is not None
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1"}
    found = {case.get("name"): [(one.tag, one.text or "") for one in case] for case in suite}
    assert list(found) == ["golden/bad", "golden/fine", "golden/other", "golden/forgotten"]
    assert found["golden/fine"] == []
    ((tag, text),) = found["golden/other"]
    assert tag == "failure"
    assert "    - 10.244.1.2:8080  share 50 %\n" in text
    assert text.endswith("if that is right: nftsvc golden update golden/other")


def test_strange_names_stay_in_their_places() -> None:
    name = "a b/\x1b[31m`|::<x>"
    strange = Checked((Result(name, packets=("x",)),), (name,))
    for text in (printed(strange), checked_github(strange), checked_markdown(strange)):
        assert "\x1b" not in text
    assert len(checked_github(strange).splitlines()) == 3
    assert update_command("a b'c") == """nftsvc golden update 'a b'"'"'c'"""


def test_update_tells_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("nftsvc.golden.kernel.why_unavailable", lambda: "nobody there")
    made_case(Path("fine"))
    write_shop(made_case(Path("other")).folder, 1)
    (made_case(Path("refused")).folder / "bad.yaml").write_text("kind: [")
    (made_case(Path("unread")).folder / "case.toml").write_text("x = 1")
    write_shop(Path("forgotten"))
    stream = io.StringIO()
    print_updated(Console(file=stream, highlight=False, width=60), update_cases(find_cases([Path()]), jobs=1))
    assert stream.getvalue().splitlines() == [
        "wrote: other: ruleset.nft",
        "wrote: refused: errors.txt",
        "removed: refused: ruleset.nft",
        "refused: refused: bad.yaml #1: not YAML: line 2, column 1: did not find expected node content",
        "error: unread: not written: case.toml: 'x': no such field (known: node, families, ignored, local)",
        "note: nothing is expected of the Services in forgotten; nftsvc golden update FOLDER makes a folder a case",
        "note: no kernel was asked whether it takes what was written: nobody there",
        "4 cases: 2 written, 1 as before, 1 not written",
    ]
