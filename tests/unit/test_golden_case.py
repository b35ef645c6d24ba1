"""What a case's folder may hold, and which folders are cases."""

import os
from pathlib import Path

import pytest

from nftsvc.errors import InputError, UsageError
from nftsvc.golden import Case, CaseSettings, find_cases
from nftsvc.values import Family
from tests.support.cases import made_case, write_shop


def problems_of(folder: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        CaseSettings.read(folder)
    return [str(one) for one in caught.value.problems]


# case.toml -----------------------------------------------------------------------------------------------------------


def test_without_a_file_the_defaults_count(tmp_path: Path) -> None:
    assert CaseSettings.read(tmp_path) == CaseSettings(None, (Family.IPV4, Family.IPV6), (), ())


def test_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_text(
        'node = "a"\nfamilies = ["IPv6"]\nignored = ["x.txt", "charts/*"]\nlocal = ["192.0.2.1", "2001:db8::1"]\n'
    )
    assert CaseSettings.read(tmp_path) == CaseSettings(
        "a", (Family.IPV6,), ("x.txt", "charts/*"), ("192.0.2.1", "2001:db8::1")
    )


def test_families_have_one_order(tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_text('families = ["IPv6", "IPv4"]')
    assert CaseSettings.read(tmp_path).families == (Family.IPV4, Family.IPV6)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("nodes = 1", "case.toml: 'nodes': no such field (known: node, families, ignored, local)"),
        ("node = 1", "case.toml: node: 1 is not a name"),
        ('node = ""', "case.toml: node: '' is not a name"),
        ('families = "IPv4"', "case.toml: families: 'IPv4' is not a list of texts"),
        ("families = []", "case.toml: families: names no family"),
        ('families = ["IPv5"]', "case.toml: families: 'IPv5' is not one of IPv4, IPv6"),
        ("ignored = [1]", "case.toml: ignored: a list is not a list of texts"),
        ('local = ["x"]', "case.toml: local: 'x' is not an IP address"),
        ("node = ", "case.toml: not TOML: Invalid value (at end of document)"),
    ],
)
def test_bad_settings_are_named_by_file_and_field(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "case.toml").write_text(text)
    (found,) = problems_of(tmp_path)
    assert found == complaint


def test_all_bad_settings_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_text('node = 1\nfamilies = 2\n"\\u001b[31m" = 3')
    assert len(problems_of(tmp_path)) == 3
    assert all(one.isprintable() for one in problems_of(tmp_path))


def test_settings_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "case.toml").write_bytes(b"\xff")
    assert problems_of(tmp_path) == ["case.toml: not UTF-8 text"]
    (tmp_path / "case.toml").unlink()
    (tmp_path / "case.toml").mkdir()
    assert problems_of(tmp_path) == ["case.toml: cannot be read: Is a directory"]


# What a case comes to ------------------------------------------------------------------------------------------------


def test_files_are_named_as_from_within_however_the_case_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder has the name of a namespace: nothing but paths is cut."""
    write_shop(tmp_path / "shop")
    manifest = tmp_path / "shop" / "web.json"
    manifest.write_text(manifest.read_text().replace('"type"', '"internalTrafficPolicy": "Local", "type"'))
    monkeypatch.chdir(tmp_path)
    found = {Case(folder).made().files["warnings.txt"] for folder in (Path("shop"), Path("./shop"), tmp_path / "shop")}
    monkeypatch.chdir("shop")
    found.add(Case(Path()).made().files["warnings.txt"])
    (text,) = found
    assert text.startswith("web.json #1 items[0] Service shop/web: spec.internalTrafficPolicy: ")


def test_messages_about_a_second_file_name_it_as_from_within_too(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "a")
    (folder / "more").mkdir()
    (folder / "more" / "again.json").write_text((folder / "web.json").read_text())
    first, second = Case(folder).made().files["errors.txt"].splitlines()
    assert first == "web.json #1 items[0] Service shop/web: given twice, first in more/again.json #1 items[0]"
    assert str(tmp_path) not in second


def test_case_without_manifests_is_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no manifests"):
        Case(tmp_path).made()


def test_case_may_use_manifests_that_are_elsewhere(tmp_path: Path) -> None:
    write_shop(tmp_path / "manifests")
    (tmp_path / "golden" / "shop").mkdir(parents=True)
    (tmp_path / "golden" / "shop" / "manifests").symlink_to("../../manifests")
    made = Case(tmp_path / "golden" / "shop").made()
    assert made.files.keys() == {"ruleset.nft"}
    assert "10.96.7.1 . tcp . 80" in made.files["ruleset.nft"]
    assert list(Case(tmp_path / "golden" / "shop").unknown_files()) == []
    write_shop(tmp_path / "manifests", 0).joinpath("bad.yaml").write_text("kind: [")
    (line,) = Case(tmp_path / "golden" / "shop").made().files["errors.txt"].splitlines()
    assert line.startswith("manifests/bad.yaml #1: not YAML: ")


def test_node_that_is_not_there_is_told_of_case_toml(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "a")
    (folder / "case.toml").write_text('node = "b"')
    node = '{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a"}}'
    (folder / "node.json").write_text(node)
    with pytest.raises(InputError, match=r"^case\.toml: .*b"):
        Case(folder).made()


def test_settings_that_fit_no_node_are_an_error_of_the_case(tmp_path: Path) -> None:
    folder = write_shop(tmp_path / "a")
    (folder / "node.yaml").write_text(
        "apiVersion: nftsvc/v1\nkind: NodeConfiguration\nspec: {detectLocalMode: NodeCIDR}"
    )
    with pytest.raises(InputError, match="detectLocalMode NodeCIDR"):
        Case(folder).made()


def test_files_that_nobody_reads_are_found(tmp_path: Path) -> None:
    folder = made_case(tmp_path / "a").folder
    for name in (
        "README.md",
        "notes.md",
        ".gitkeep",
        "sub/notes.md",
        ".git/config",
        "sub/packets.toml",
        "web.yml.orig",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "packets.toml").touch()
    assert list(Case(folder).unknown_files()) == ["sub/packets.toml", "web.yml.orig"]
    (folder / "case.toml").write_text('ignored = ["sub/*", "web.yml.orig"]')
    assert list(Case(folder).unknown_files()) == []


# Where cases are -----------------------------------------------------------------------------------------------------


def names(*folders: Path, base: Path) -> list[str]:
    return [str(case.folder.relative_to(base)) for case in find_cases(folders).cases]


@pytest.mark.parametrize("mark", ["ruleset.nft", "errors.txt", "case.toml", "packets.toml"])
def test_each_mark_makes_a_folder_a_case(tmp_path: Path, mark: str) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "deep" / "down" / mark).touch()
    assert names(tmp_path, base=tmp_path) == ["deep/down"]
    assert names(tmp_path / "deep" / "down", base=tmp_path) == ["deep/down"]


def test_cases_come_in_path_order_and_once(tmp_path: Path) -> None:
    for name in ("b/2", "b/10", "a", ".hidden/x", "c"):
        made_case(tmp_path / name)
    made_case(tmp_path / "c" / "within")  # belongs to c
    (tmp_path / "link").symlink_to("c")
    assert names(tmp_path, base=tmp_path) == ["a", "b/10", "b/2", "c"]
    assert names(tmp_path / "c", tmp_path / "b", tmp_path, base=tmp_path) == ["c", "b/10", "b/2", "a"]
    assert names(tmp_path / "c", tmp_path / "c", base=tmp_path) == ["c"]


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    made_case(tmp_path / "a" / "case")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert names(tmp_path, base=tmp_path) == ["a/case"]
    assert names(tmp_path / "a", tmp_path, base=tmp_path) == ["a/case"]


def test_link_to_a_case_elsewhere_is_followed(tmp_path: Path) -> None:
    made_case(tmp_path / "elsewhere" / "x")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "x").symlink_to(tmp_path / "elsewhere" / "x")
    assert names(tmp_path / "here", base=tmp_path) == ["here/x"]


def test_folder_without_a_case_is_refused_unless_it_may_become_one(tmp_path: Path) -> None:
    made_case(tmp_path / "good")
    write_shop(tmp_path / "bare")
    with pytest.raises(UsageError, match=r"bare: no golden case in there: .* ruleset\.nft, .* golden new"):
        find_cases([tmp_path / "good", tmp_path / "bare"])
    assert [case.folder.name for case in find_cases([tmp_path / "bare"], new=True).cases] == ["bare"]
    assert [case.folder.name for case in find_cases([tmp_path], new=True).cases] == ["good"]


SERVICES = {
    "block.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n",
    "quoted.yml": 'apiVersion: v1\n"kind":   "Service"  # really\n',
    "list.yaml": "kind: List\nitems:\n  - kind: Service\n",
    "typed.json": '{"apiVersion":"v1","kind":"ServiceList","items":[]}',
    "flow.yaml": "{apiVersion: v1, kind: Service}",
}
NO_SERVICES = {
    "account.yaml": "kind: ServiceAccount\n",
    "cidr.yaml": "kind: ServiceCIDR\n",
    "about.yaml": "unkind: Service\n",
    "service.txt": "kind: Service\n",
}


def test_folders_beside_cases_with_services_are_told(tmp_path: Path) -> None:
    made_case(tmp_path / "case")
    for name, text in (SERVICES | NO_SERVICES).items():
        (tmp_path / name.partition(".")[0]).mkdir()
        (tmp_path / name.partition(".")[0] / name).write_text(text)
    found = {Path(one).name for one in find_cases([tmp_path]).unchecked}
    assert found == {name.partition(".")[0] for name in SERVICES}


def test_folders_away_from_cases_are_not(tmp_path: Path) -> None:
    made_case(tmp_path / "golden" / "case")
    write_shop(tmp_path / "manifests")
    write_shop(tmp_path / "golden" / ".hidden")
    assert find_cases([tmp_path]).unchecked == ()


def test_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_case(tmp_path / "case")

    def refuse(_: Path) -> list[Path]:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(Path, "iterdir", refuse)  # root may list everything
    with pytest.raises(UsageError, match="cannot be read: Permission denied"):
        find_cases([tmp_path])
