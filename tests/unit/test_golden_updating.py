"""What `golden update` and `golden new` write, and what they leave alone."""

import json
import stat
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from nftsvc.errors import ExitCode, InputError, KernelError, UsageError
from nftsvc.golden import (
    Case,
    Status,
    Verdict,
    check_case,
    find_cases,
    new_case,
    refuse_in_ci,
    update_case,
    update_cases,
)
from nftsvc.golden.updating import Outcome
from nftsvc.render import Renderer
from nftsvc.values import Family
from tests.support.builders import service
from tests.support.cases import EXAMPLES, made_case, write_shop

TEMPLATES = EXAMPLES.parent / "templates"
BAD = "apiVersion: v1\nkind: Service\nmetadata: {name: Bad}\n"


@pytest.fixture
def silent_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no kernel can be asked."""
    monkeypatch.setattr("nftsvc.golden.kernel.why_unavailable", lambda: "nobody there")


@pytest.fixture
def refusing_kernel(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that is sent rules which no kernel takes."""
    templates = tmp_path_factory.mktemp("templates")
    objects = (TEMPLATES / "objects.nft.j2").read_text()
    (templates / "objects.nft.j2").write_text(objects.replace("{{ rule.text }}", "{{ rule.text }} bogus"))
    monkeypatch.setattr("nftsvc.golden.kernel.renderer", lambda: Renderer(templates))


def files_of(folder: Path) -> dict[str, str]:
    return {str(one.relative_to(folder)): one.read_text() for one in folder.rglob("*") if one.is_file()}


def names_in(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


# Update --------------------------------------------------------------------------------------------------------------


def test_changed_manifest_gives_a_changed_expectation_that_the_kernel_takes(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    write_shop(folder, 3)
    updated = update_case(Case(folder))
    assert (updated.written, updated.removed, updated.kernel) == (("ruleset.nft",), (), Verdict())
    assert (updated.outcome, updated.exit_code) == (Outcome.WRITTEN, ExitCode.FINE)
    assert "10.244.1.3" in (folder / "ruleset.nft").read_text()
    assert check_case(Case(folder)).status is Status.AS_EXPECTED


def test_nothing_changes_where_all_is_as_expected_and_no_kernel_is_asked(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    before = {one: one.stat().st_mtime_ns for one in folder.iterdir()}
    updated = update_case(Case(folder))
    assert (updated.outcome, updated.kernel) == (Outcome.AS_BEFORE, None)
    assert {one: one.stat().st_mtime_ns for one in folder.iterdir()} == before


@pytest.mark.usefixtures("silent_kernel")
def test_case_that_turns_bad_loses_its_ruleset_and_gets_it_back(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    golden = (folder / "ruleset.nft").read_text()
    (folder / "bad.yaml").write_text(BAD)
    updated = update_case(Case(folder))
    assert (updated.written, updated.removed, updated.kernel) == (("errors.txt",), ("ruleset.nft",), None)
    assert [str(one) for one in updated.refused] == (folder / "errors.txt").read_text().splitlines()
    (folder / "bad.yaml").unlink()
    updated = update_case(Case(folder))
    assert (updated.written, updated.removed) == (("ruleset.nft",), ("errors.txt",))
    assert (folder / "ruleset.nft").read_text() == golden


@pytest.mark.usefixtures("silent_kernel")
def test_warnings_come_and_go(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    manifest, before = folder / "web.json", (folder / "web.json").read_text()
    manifest.write_text(before.replace('"type"', '"internalTrafficPolicy": "Local", "type"'))
    assert "warnings.txt" in update_case(Case(folder)).written
    manifest.write_text(before)
    assert update_case(Case(folder)).removed == ("warnings.txt",)


@pytest.mark.usefixtures("silent_kernel")
def test_ruleset_that_no_kernel_was_asked_about_is_written_and_that_is_said(tmp_path: Path) -> None:
    write_shop(made_case(tmp_path / "a").folder, 3)
    updated = update_cases(find_cases([tmp_path]), jobs=1)
    assert updated.exit_code is ExitCode.FINE
    assert updated.kernel_unavailable == "nobody there"
    assert updated.summary == "1 case: 1 written"


@pytest.mark.usefixtures("refusing_kernel")
def test_ruleset_that_the_kernel_refuses_is_not_written(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    write_shop(folder, 3)
    before = files_of(folder)
    updated = update_case(Case(folder))
    assert (updated.outcome, updated.exit_code) == (Outcome.LEFT, ExitCode.KERNEL_REFUSED)
    assert updated.left.startswith("chain layout: the kernel refused the ruleset: ")
    assert files_of(folder) == before


@pytest.mark.usefixtures("silent_kernel")
def test_what_an_update_cannot_put_right_is_told(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    write_shop(folder, 3)
    (folder / "packets.toml").write_text('[[packet]]\nfrom = "10.0.0.1"\nto = "10.96.7.1:80"\nexpect = "reject"\n')
    updated = update_case(Case(folder))
    assert updated.written == ("ruleset.nft",)
    assert updated.exit_code is ExitCode.DIFFERS
    assert updated.after is not None
    assert updated.after.packets == ("10.0.0.1 -> 10.96.7.1:80/TCP: forward instead of reject",)


@pytest.mark.parametrize(("file", "text"), [("case.toml", "nodes = 1"), ("packets.toml", "x"), ("web.json", None)])
def test_case_that_cannot_be_read_is_left_alone(tmp_path: Path, file: str, text: str | None) -> None:
    folder = made_case(tmp_path / "a").folder
    (folder / "web.json").write_text((folder / "web.json").read_text().replace("10.96.7.1", "10.96.7.2"))
    if text is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(text)
    before = files_of(folder)
    updated = update_case(Case(folder))
    assert (updated.outcome, updated.exit_code) == (Outcome.LEFT, ExitCode.BAD_INPUT)
    assert files_of(folder) == before


@pytest.mark.usefixtures("silent_kernel")
def test_files_are_replaced_as_a_whole_with_their_modes_and_links(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    elsewhere = tmp_path / "elsewhere.nft"
    (folder / "ruleset.nft").rename(elsewhere)
    elsewhere.chmod(0o640)
    (folder / "ruleset.nft").symlink_to(elsewhere)
    inode = elsewhere.stat().st_ino
    write_shop(folder, 3)
    assert update_case(Case(folder)).written == ("ruleset.nft",)
    assert (folder / "ruleset.nft").is_symlink()
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o640
    assert elsewhere.stat().st_ino != inode
    assert [one.name for one in tmp_path.iterdir() if one.name.startswith(".")] == []


@pytest.mark.usefixtures("silent_kernel")
def test_file_that_cannot_be_written_is_a_usage_error_and_nothing_is_left_behind(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    write_shop(folder, 3)
    (folder / "ruleset.nft").unlink()
    (folder / "ruleset.nft").symlink_to("/proc/nothing/ruleset.nft")
    with pytest.raises(UsageError, match=r"cannot write .*ruleset"):
        update_case(Case(folder))


@pytest.mark.usefixtures("silent_kernel")
def test_what_stops_a_process_stops_the_update(tmp_path: Path) -> None:
    for number in range(3):
        golden = write_shop(made_case(tmp_path / str(number)).folder, 1) / "ruleset.nft"
    golden.unlink()
    golden.symlink_to("/proc/nothing/ruleset.nft")
    (golden.parent / "case.toml").touch()
    with pytest.raises(UsageError, match="cannot write"):
        update_cases(find_cases([tmp_path]), jobs=2)


@pytest.mark.usefixtures("silent_kernel")
def test_many_are_updated_by_processes(tmp_path: Path) -> None:
    for number in range(4):
        write_shop(made_case(tmp_path / str(number)).folder, 1 + number % 2)
    updated = update_cases(find_cases([tmp_path]), jobs=2)
    assert updated.summary == "4 cases: 2 written, 2 as before"


@pytest.mark.parametrize("value", ["true", "1", "yes", "drone", "0", " True"])
def test_in_ci_nothing_is_agreed_to(value: str) -> None:
    with pytest.raises(UsageError, match=r"does not run in CI"):
        refuse_in_ci({"CI": value})


@pytest.mark.parametrize("environment", [{}, {"CI": ""}, {"CI": "false"}, {"CI": "False"}])
def test_elsewhere_it_is(environment: Mapping[str, str]) -> None:
    refuse_in_ci(environment)


# New -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop(tmp_path: Path) -> str:
    return str(write_shop(tmp_path / "shop"))


def test_new_case_is_as_expected(tmp_path: Path, shop: str) -> None:
    new = new_case(tmp_path / "golden" / "web", [shop])
    assert new.files == ("manifests.yaml", "ruleset.nft")
    assert new.kernel == Verdict()
    assert names_in(new.folder) == list(new.files)
    assert check_case(Case(new.folder)).status is Status.AS_EXPECTED
    assert names_in(new.folder.parent) == ["web"]
    (tmp_path / "as-usual").mkdir()
    assert new.folder.stat().st_mode == (tmp_path / "as-usual").stat().st_mode


@pytest.mark.usefixtures("silent_kernel")
def test_new_case_knows_its_node_and_families(tmp_path: Path, shop: str) -> None:
    nodes = (
        '{"apiVersion": "v1", "kind": "NodeList", "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}'
    )
    new = new_case(tmp_path / "new", [shop, "-"], BytesIO(nodes.encode()), "b", (Family.IPV6,))
    assert new.files == ("case.toml", "manifests.yaml", "node.yaml", "ruleset.nft")
    assert (new.folder / "case.toml").read_text() == 'node = "b"\nfamilies = ["IPv6"]\n'
    assert "table ip6 nftsvc" in (new.folder / "ruleset.nft").read_text()
    assert "table ip nftsvc" not in (new.folder / "ruleset.nft").read_text()
    assert new.kernel.unavailable == "nobody there"


@pytest.mark.usefixtures("silent_kernel")
def test_what_nobody_reads_is_left_out(tmp_path: Path, shop: str) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"p": "aHVudGVyMg=="}}
    new = new_case(tmp_path / "new", [shop, "-"], BytesIO(json.dumps(secret).encode()))
    assert new.left_out == {"Secret": 1}
    assert not [text for text in files_of(new.folder).values() if "aHVudGVyMg" in text or "Secret" in text]


@pytest.mark.usefixtures("silent_kernel")
def test_folder_that_holds_something_is_refused(tmp_path: Path, shop: str) -> None:
    (tmp_path / "empty").mkdir()
    assert new_case(tmp_path / "empty", [shop]).folder.is_dir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    before = files_of(tmp_path)
    for name in ("empty", "link", "empty/ruleset.nft"):
        with pytest.raises(UsageError, match="already there, and not an empty folder"):
            new_case(tmp_path / name, [shop])
    assert files_of(tmp_path) == before


@pytest.mark.usefixtures("silent_kernel")
def test_working_directory_may_become_a_case(tmp_path: Path, shop: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    new_case(Path(), [shop])
    assert names_in(Path()) == ["manifests.yaml", "ruleset.nft"]


def test_bad_manifests_make_no_case(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BAD)
    with pytest.raises(InputError, match=r"bad\.yaml #1 Service default/Bad: metadata\.name"):
        new_case(tmp_path / "new" / "case", [str(tmp_path / "bad.yaml")])
    assert names_in(tmp_path) == ["bad.yaml"]


@pytest.mark.usefixtures("refusing_kernel")
def test_ruleset_that_the_kernel_refuses_makes_no_case(tmp_path: Path, shop: str) -> None:
    with pytest.raises(KernelError, match="the kernel refused the ruleset"):
        new_case(tmp_path / "new", [shop])
    assert names_in(tmp_path) == ["shop"]


@pytest.mark.usefixtures("silent_kernel")
def test_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path, shop: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot make .*: (Not a directory|File exists)"):
        new_case(tmp_path / "file" / "case", [shop])


@pytest.mark.usefixtures("silent_kernel")
def test_same_input_gives_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    raws = [service(name, [f"10.96.0.{number}"]) for number, name in enumerate(("b", "c", "a"), start=1)]
    made = []
    for number, order in enumerate((raws, raws[::-1])):
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": order})
        made.append(files_of(new_case(tmp_path / str(number), ["-"], BytesIO(text.encode())).folder))
    assert made[0] == made[1]
