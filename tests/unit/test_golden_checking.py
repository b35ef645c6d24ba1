"""What a check of a case finds, each kind of it, and that nothing gets past."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from nftsvc.errors import ExitCode
from nftsvc.golden import (
    Case,
    Checked,
    KernelChoice,
    Result,
    Status,
    check_case,
    check_cases,
    find_cases,
    kernel,
)
from nftsvc.golden.kernel import Verdict
from nftsvc.report.golden import result_lines
from tests.support.cases import made_case, write_shop


def lines_of(result: Result) -> list[str]:
    return list(result_lines(result))


def test_case_as_expected(tmp_path: Path) -> None:
    result = check_case(made_case(tmp_path / "a"))
    assert (result.status, result.exit_code, result.summary) == (Status.AS_EXPECTED, ExitCode.FINE, "")
    assert result.seconds > 0


def test_change_of_endpoints_is_told_by_meaning_then_as_text_then_how_to_agree(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a", 2).folder
    write_shop(folder, 3)
    result = check_case(Case(folder))
    assert (result.status, result.exit_code) == (Status.DIFFERS, ExitCode.DIFFERS)
    lines = lines_of(result)
    assert lines[0] == f"differs: {folder}: 1 Service changed, 0 added, 0 removed; 0 unchanged"
    assert lines[1:5] == [
        "  shop/web:http 10.96.7.1:80/TCP",
        "    + 10.244.1.3:8080  share 33 %",
        "    ~ 10.244.1.1:8080  share 50 % -> 33 %",
        "    ~ 10.244.1.2:8080  share 50 % -> 33 %",
    ]
    assert lines[5:8] == ["", "--- ruleset.nft (expected)", "+++ ruleset.nft (now)"]
    assert "+            10.96.7.1 . 80 . 2 : 10.244.1.3 . 8080" in lines
    assert lines[-1] == f"  if that is right: nftsvc golden update {folder}"


def with_layout(text: str) -> str:
    return re.sub(r"nftsvc layout \S+?(?=\"|$)", "nftsvc layout 1.00000000", text, flags=re.MULTILINE)


def test_new_layout_is_one_line_and_still_a_failure(tmp_path: Path) -> None:
    golden = made_case(tmp_path / "a").folder / "ruleset.nft"
    (layout,) = re.findall(r"^# table ip nftsvc: nftsvc layout (.*)$", golden.read_text(), re.MULTILINE)
    golden.write_text(with_layout(golden.read_text()))
    result = check_case(Case(golden.parent))
    assert result.exit_code is ExitCode.DIFFERS
    first, last = lines_of(result)
    assert first.startswith(f"differs: {golden.parent}: same traffic, new layout (1.00000000 -> {layout}")
    assert last == f"  if that is right: nftsvc golden update {golden.parent}"


def test_new_layout_does_not_hide_a_change_of_traffic(tmp_path: Path) -> None:
    golden = made_case(tmp_path / "a").folder / "ruleset.nft"
    golden.write_text(with_layout(golden.read_text()))
    write_shop(golden.parent, 1)
    lines = lines_of(check_case(Case(golden.parent)))
    assert "1 Service changed" in lines[0]
    assert "    - 10.244.1.2:8080  share 50 %" in lines
    assert "--- ruleset.nft (expected)" in lines


def test_other_text_with_the_same_traffic_is_shown(tmp_path: Path) -> None:
    golden = made_case(tmp_path / "a").folder / "ruleset.nft"
    golden.write_text(golden.read_text().replace("# finds the Service", "# Finds the Service"))
    lines = lines_of(check_case(Case(golden.parent)))
    assert lines[0].endswith(": same traffic, other text")
    assert "-    # Finds the Service of a new connection" in lines


def test_other_names_with_the_same_traffic_are_told(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    (folder / "web.json").write_text((folder / "web.json").read_text().replace('"http"', '"h"'))
    lines = lines_of(check_case(Case(folder)))
    assert lines[0].endswith(": same traffic, 1 renamed")
    assert "    shop/web:http -> shop/web:h" in lines


@pytest.mark.parametrize("text", ["", "<<<<<<< HEAD\n", "table ip nftsvc {\n", "table ip other {}\n"])
def test_golden_that_cannot_be_read_back_still_differs(tmp_path: Path, text: str) -> None:
    golden = made_case(tmp_path / "a").folder / "ruleset.nft"
    golden.write_text(text)
    result = check_case(Case(golden.parent))
    assert result.exit_code is ExitCode.DIFFERS
    assert "ruleset.nft is not what nftsvc writes: " in result.summary
    assert [line for line in lines_of(result) if line.startswith("+table ip nftsvc")]


def test_golden_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    golden = made_case(tmp_path / "a").folder / "ruleset.nft"
    golden.write_bytes(b"\xff\xfe")
    result = check_case(Case(golden.parent))
    assert (result.exit_code, result.summary) == (ExitCode.BAD_INPUT, "an expectation cannot be read: not UTF-8 text")


def test_nothing_strange_in_a_golden_gets_to_a_terminal(tmp_path: Path) -> None:
    golden = made_case(tmp_path / "a").folder / "ruleset.nft"
    golden.write_text("\x1b]0;owned\x07\n" + golden.read_text().replace("shop/web", "shop/\x1b[31mweb"))
    assert all(line.isprintable() for line in lines_of(check_case(Case(golden.parent))))


# Warnings and refusals -----------------------------------------------------------------------------------------------


def local(folder: Path) -> None:
    """Make a Service warn."""
    text = (folder / "web.json").read_text()
    (folder / "web.json").write_text(text.replace('"type"', '"internalTrafficPolicy": "Local", "type"'))


def test_new_warning_differs_and_an_old_one_that_is_gone_too(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    (folder / "warnings.txt").write_text("something\n")
    result = check_case(Case(folder))
    assert (result.exit_code, result.summary) == (ExitCode.DIFFERS, "other warnings")
    assert "-something" in lines_of(result)
    (folder / "warnings.txt").unlink()
    local(folder)
    result = check_case(Case(folder))
    assert result.summary.endswith("; other warnings")
    assert [one for one in lines_of(result) if one.startswith("+web.json #1 items[0] Service shop/web: spec.int")]


BAD = '{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "Bad"}, "spec": {"ports": [{"port": 0}]}}'


def test_bad_manifest_is_an_error_with_file_and_field(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    (folder / "bad.json").write_text(BAD)
    result = check_case(Case(folder))
    assert (result.status, result.exit_code) == (Status.ERROR, ExitCode.BAD_INPUT)
    first, *others = lines_of(result)
    assert first.startswith(f"error: {folder}: bad.json #1 Service default/Bad: metadata.name: 'Bad' is not a DNS name")
    assert first.endswith(" (and 1 more error)")
    assert [one for one in others if "spec.ports[0].port: 0 is not a port number" in one]


def test_case_of_a_refusal(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "bad.json").write_text(BAD)
    (folder / "errors.txt").write_text(Case(folder).made().files["errors.txt"])
    assert check_case(Case(folder)).status is Status.AS_EXPECTED
    (folder / "bad.json").write_text(BAD.replace('"port": 0', '"port": 1'))
    result = check_case(Case(folder))
    assert (result.exit_code, result.summary) == (ExitCode.DIFFERS, "refused for other reasons")
    (folder / "bad.json").write_text(BAD.replace('"port": 0', '"port": 1').replace("Bad", "good"))
    result = check_case(Case(folder))
    assert (result.exit_code, result.summary) == (ExitCode.DIFFERS, "must be refused, but is accepted")


def test_packets_of_a_refusal_are_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "bad.json").write_text(BAD)
    (folder / "errors.txt").write_text(Case(folder).made().files["errors.txt"])
    (folder / "packets.toml").write_text('[[packet]]\nfrom = "10.0.0.1"\nto = "10.0.0.2:1"\nexpect = "pass"\n')
    result = check_case(Case(folder))
    assert (result.exit_code, result.summary[:14]) == (ExitCode.BAD_INPUT, "packets.toml: ")


def test_both_expectations_at_once_differ(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    (folder / "errors.txt").write_text("x\n")
    assert check_case(Case(folder)).summary == "must be refused, but is accepted"


def test_case_of_which_nothing_is_expected_yet_differs(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "a")
    (folder / "case.toml").write_text('families = ["IPv4"]')
    result = check_case(Case(folder))
    assert result.exit_code is ExitCode.DIFFERS
    assert result.summary == "nothing is expected of it yet: no ruleset.nft and no errors.txt"
    assert lines_of(result)[-1] == f"  if that is right: nftsvc golden update {folder}"


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("case.toml", "nodes = 1", "case.toml: 'nodes': no such field"),
        ("packets.toml", "[[packets]]", "packets.toml: holds 'packets', not [[packet]] alone"),
        ("x.txt", "", 'x.txt: nothing reads it; in case.toml ignored = ["x.txt"] says that it may be here'),
    ],
)
def test_what_cannot_be_read_is_an_error(tmp_path: Path, file: str, text: str, complaint: str) -> None:
    folder = made_case(tmp_path / "a").folder
    (folder / file).write_text(text)
    result = check_case(Case(folder))
    assert result.exit_code is ExitCode.BAD_INPUT
    assert result.summary.startswith(complaint)


# Packets -------------------------------------------------------------------------------------------------------------

PACKET = """\
[[packet]]
note = "a client"
from = "198.51.100.1"
to = "10.96.7.1:80"
expect = "forward"
endpoints = ["10.244.1.1:8080", "10.244.1.2:8080"]
masquerade = false
"""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ("10.244.1.2:8080", "10.244.1.9:8080"),
            "endpoints {10.244.1.1 8080, 10.244.1.2 8080} instead of {10.244.1.1 8080, 10.2",
        ),
        (("masquerade = false", "masquerade = true"), "masqueraded {} instead of {10.244.1.1 8080, 10.244.1.2 8080}"),
        (("masquerade = false", "masquerade = false\naffinity = true"), "sticky False instead of True"),
        (("10.96.7.1:80", "10.96.7.2:80"), "pass instead of forward"),
        (("10.96.7.1:80", "10.96.7.1:81"), "reject instead of forward"),
    ],
)
def test_packets_are_judged(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    folder = made_case(tmp_path / "a").folder
    (folder / "packets.toml").write_text(PACKET)
    assert check_case(Case(folder)).status is Status.AS_EXPECTED
    (folder / "packets.toml").write_text(PACKET.replace(*change))
    result = check_case(Case(folder))
    assert (result.exit_code, result.summary) == (ExitCode.DIFFERS, "1 packet of packets.toml fares otherwise")
    first, second = lines_of(result)
    assert first.startswith("differs: ")
    assert second.startswith(
        f"  198.51.100.1 -> {change[1] if '10.96' in change[1] else '10.96.7.1:80'}/TCP (a client): {words}"
    )


def test_local_addresses_of_case_toml_count_for_packets(tmp_path: Path) -> None:
    """To an address of its own the node lets everything pass, whatever Service network it is in."""
    folder = made_case(tmp_path / "a").folder
    (folder / "node.yaml").write_text(
        "apiVersion: nftsvc/v1\nkind: NodeConfiguration\nspec: {serviceCIDRs: [10.96.0.0/16]}\n"
    )
    (folder / "packets.toml").write_text('[[packet]]\nfrom = "10.0.0.1"\nto = "10.96.0.9:1"\nexpect = "pass"\n')
    assert len(check_case(Case(folder)).packets) == 1
    (folder / "case.toml").write_text('local = ["10.96.0.9"]')
    assert check_case(Case(folder)).packets == ()


# Many ----------------------------------------------------------------------------------------------------------------


def three(folder: Path) -> Path:
    made_case(folder / "fine")
    write_shop(made_case(folder / "other").folder, 1)
    (made_case(folder / "bad").folder / "bad.json").write_text(BAD)
    return folder


@pytest.mark.parametrize("jobs", [1, 3])
def test_all_are_checked_whatever_is_wrong_with_one(tmp_path: Path, jobs: int) -> None:
    checked = check_cases(find_cases([three(tmp_path)]), jobs=jobs)
    assert [one.status for one in checked.results] == [Status.ERROR, Status.AS_EXPECTED, Status.DIFFERS]
    assert checked.exit_code is ExitCode.BAD_INPUT
    assert checked.summary == "3 cases: 1 as expected, 1 differs, 1 error"


def test_processes_find_what_one_finds(tmp_path: Path) -> None:
    found = find_cases([three(tmp_path)])
    alone, together = (check_cases(found, jobs=jobs) for jobs in (1, 2))
    assert [lines_of(one) for one in alone.failed] == [lines_of(one) for one in together.failed]
    assert all(pickle.loads(pickle.dumps(one)) == one for one in alone.results)  # noqa: S301 - our own


def test_difference_alone_exits_with_1(tmp_path: Path) -> None:
    write_shop(made_case(tmp_path / "other").folder, 1)
    assert check_cases(find_cases([tmp_path])).exit_code is ExitCode.DIFFERS


# The kernel ----------------------------------------------------------------------------------------------------------

Say = Callable[[Verdict], None]


@pytest.fixture
def kernel_says(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Have what asks the kernel say something."""
    return lambda verdict: monkeypatch.setattr("nftsvc.golden.checking.verdict_on", lambda _: verdict)


def checked_with(folder: Path, choice: KernelChoice) -> Checked:
    return check_cases(find_cases([folder]), choice, jobs=1)


def test_kernel_takes_a_good_ruleset(tmp_path: Path) -> None:
    assert kernel.verdict_on(made_case(tmp_path / "a").made().ruleset) == kernel.TAKEN
    checked = checked_with(tmp_path, KernelChoice.REQUIRE)
    assert checked.exit_code is ExitCode.FINE
    assert checked.summary == "1 case: 1 as expected; the kernel takes 1"


def test_kernel_is_not_asked_unless_it_is_to_be(tmp_path: Path, kernel_says: Say) -> None:
    made_case(tmp_path / "a")
    kernel_says(Verdict(refused="no"))
    assert checked_with(tmp_path, KernelChoice.NO).summary == "1 case: 1 as expected"


def test_refusal_is_an_error_of_the_case(tmp_path: Path, kernel_says: Say) -> None:
    folder = made_case(tmp_path / "a").folder
    kernel_says(Verdict(refused="Service shop/web: the kernel refused the ruleset: no\n  in: add element"))
    checked = checked_with(tmp_path, KernelChoice.TRY)
    assert checked.exit_code is ExitCode.KERNEL_REFUSED
    assert checked.summary == "1 case: 0 as expected, 1 error; the kernel takes 0"
    assert lines_of(checked.failed[0]) == [
        f"error: {folder}: Service shop/web: the kernel refused the ruleset: no",
        "    in: add element",
    ]


def test_kernel_that_cannot_be_asked_is_never_silent(tmp_path: Path, kernel_says: Say) -> None:
    made_case(tmp_path / "a")
    kernel_says(Verdict(unavailable="no namespaces here\n  but there"))
    tried, required = (checked_with(tmp_path, one) for one in (KernelChoice.TRY, KernelChoice.REQUIRE))
    assert tried.summary == "1 case: 1 as expected; the kernel was not asked about 1: no namespaces here"
    assert tried.exit_code is ExitCode.FINE
    assert required.exit_code is ExitCode.KERNEL_REFUSED
