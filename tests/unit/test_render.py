"""Values to nft text: the last gate, and the way back from a line to what it was made from."""

import re
from pathlib import Path

import pytest

from nftsvc import changes
from nftsvc.changes import AddChain, AddElements, AddSet, AddTable, DeleteElements, DeleteTable, compare
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import EMPTY, Chain, Entry, Key, Owners, Rule, Ruleset, Table, make_ruleset
from nftsvc.values import Family
from tests.support.builders import Raw, endpoint_slice, plan_of, service

V4 = Family.IPV4
RENDERER = Renderer()
WEB: tuple[Raw, ...] = (
    service("web", ["10.96.0.1"], [{"name": "http", "port": 80, "nodePort": 30080}]),
    endpoint_slice("web", ["10.244.1.1", "10.244.1.2"], [{"name": "http", "port": 8080}]),
    service("empty", ["10.96.0.2"]),
)
NASTY = [
    ";",
    '"',
    "\n",
    "\r",
    "\t",
    "\0",
    "{",
    "}",
    "#",
    "$",
    "@",
    "\\",
    ",",
    "'",
    "*",
    "=",
    "`",
    "(",
    "é",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "\N{LINE SEPARATOR}",
]


def small() -> Ruleset:
    return make_ruleset(plan_of(*WEB, families=(V4,)))


def with_element(name: str, key: Key, entry: Entry) -> Ruleset:
    table = small().tables[V4]
    elements = {**table.elements, name: {key: entry}}
    return Ruleset({V4: Table(V4, table.sets, table.chains, elements)})


def everything(ruleset: Ruleset) -> str:
    return "".join(script.text for script in RENDERER.scripts(compare(EMPTY, ruleset).transactions()))


# The last gate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nasty", NASTY)
def test_character_with_a_meaning_to_nft_is_refused_wherever_it_stands(nasty: str) -> None:
    good_key: Key = ("10.96.0.1", "tcp", 80)
    for text in (nasty, f"1{nasty}", f"{nasty}1", f"1{nasty}1"):
        for key, entry in (
            ((f"10.96.0.1{text}", "tcp", 80), Entry(("goto x",), "a/b")),
            (good_key, Entry((f"goto x{text}",), "a/b")),
            (good_key, Entry(("goto x",), f"a/b{text}")),
        ):
            ruleset = with_element("service-ips", key, entry)
            with pytest.raises(ValueError, match="refusing to write"):
                RENDERER.ruleset(ruleset)
            with pytest.raises(ValueError, match="refusing to write"):
                everything(ruleset)


def test_key_to_be_deleted_passes_the_gate_too() -> None:
    old = with_element("hairpin", ("10.0.0.1; flush ruleset", "x"), Entry())
    with pytest.raises(ValueError, match="refusing to write key"):
        [one.text for one in RENDERER.scripts(compare(old, small()).transactions())]


@pytest.mark.parametrize("key", [(), ("",)])
def test_empty_key_is_refused(key: Key) -> None:
    with pytest.raises(ValueError, match="refusing to write key"):
        RENDERER.ruleset(with_element("cluster-ips", key, Entry()))


def test_comment_of_a_rule_passes_the_gate() -> None:
    table = small().tables[V4]
    chain = Chain("strange", (Rule.of("return", 'x" drop comment "y'),))
    ruleset = Ruleset({V4: Table(V4, table.sets, (*table.chains, chain), table.elements)})
    with pytest.raises(ValueError, match="refusing to write comment"):
        RENDERER.ruleset(ruleset)
    with pytest.raises(ValueError, match="refusing to write comment"):
        everything(ruleset)


# Text ----------------------------------------------------------------------------------------------------------------


def test_full_ruleset_replaces_each_table_and_says_its_layout_first() -> None:
    ruleset = make_ruleset(plan_of(*WEB))
    text = RENDERER.ruleset(ruleset)
    head = text.splitlines()[:2]
    assert head == [f"# table {ip} nftsvc: {ruleset.tables[family].layout}" for ip, family in _families()]
    for ip, _ in _families():
        assert f"\ntable {ip} nftsvc\ndelete table {ip} nftsvc\ntable {ip} nftsvc {{\n" in text


def _families() -> list[tuple[str, Family]]:
    return [("ip", Family.IPV4), ("ip6", Family.IPV6)]


def test_full_ruleset_and_changes_have_the_same_elements_and_rules() -> None:
    ruleset = small()
    full, script = RENDERER.ruleset(ruleset), everything(ruleset)
    found = [re.findall(rf"^\t{{{tabs}}}([^\t\n]+?),?$", text, re.MULTILINE) for text, tabs in ((full, 3), (script, 1))]
    assert sorted(found[0]) == sorted(found[1])
    assert len(found[0]) > 10
    for chain in ruleset.tables[V4].chains:
        for rule in chain.rules:
            line = f'{rule.text} comment "{rule.comment}"'
            assert f"\t\t{line}\n" in full
            assert f"add rule ip nftsvc {chain.name} {line}\n" in script


def test_every_line_ends_and_no_line_ends_in_a_blank() -> None:
    ruleset = small()
    for text in (RENDERER.ruleset(ruleset), everything(ruleset)):
        assert text.endswith("\n")
        assert not re.search(r"[ \t]$", text, re.MULTILINE)


def test_nothing_is_no_text() -> None:
    assert RENDERER.script(()).text == ""
    assert list(RENDERER.scripts(())) == []


def test_templates_of_a_folder_come_before_ours(tmp_path: Path) -> None:
    (tmp_path / "ruleset.nft.j2").write_text("{% for table in tables %}{{ table.family | nft }} {{ name }}{% endfor %}")
    changed = Renderer(tmp_path)
    assert changed.ruleset(small()) == "ip nftsvc"
    transactions = compare(EMPTY, small()).transactions()
    texts, ours = ([one.text for one in renderer.scripts(transactions)] for renderer in (changed, RENDERER))
    assert texts == ours


# From a line to its source -------------------------------------------------------------------------------------------


def sources(script: Script) -> dict[str, str]:
    """Return the source of every line by its text."""
    return {line.strip(): script.source(number) for number, line in enumerate(script.text.splitlines(), 1)}


def test_every_line_of_a_first_load_has_a_source() -> None:
    (transaction,) = compare(EMPTY, small()).transactions()
    script = RENDERER.script(transaction)
    found = sources(script)
    assert all(found.values())
    assert found["create table ip nftsvc"] == "table ip nftsvc"
    for line, source in found.items():
        words = line.split()
        if words[:2] in (["add", "map"], ["add", "set"]):
            assert source == f"{words[1]} {words[4]}"
        elif words[:2] in (["add", "chain"], ["add", "rule"]):
            assert source == f"chain {words[4]}"
        elif words[:2] == ["add", "element"]:
            assert source.split()[1] == words[4]
        elif line.startswith(("10.96.0.1 . ", "tcp . 30080", "30080")):
            assert source == "Service shop/web"
        elif line.startswith("10.96.0.2 . "):
            assert source == "Service shop/empty"
    assert found["10.244.1.1 . 10.244.1.1,"] == "set hairpin"


def test_every_line_of_a_change_has_a_source() -> None:
    old = small()
    more = endpoint_slice("web", ["10.244.1.3"], [{"name": "http", "port": 8080}], suffix="2")
    new = make_ruleset(plan_of(*WEB, more, families=(V4,)), old)
    first, last = (RENDERER.script(transaction) for transaction in compare(old, new).transactions())
    found = sources(first)
    assert all(found.values())
    assert found["10.96.0.1 . tcp . 80"] == "Service shop/web"
    assert found['10.96.0.1 . tcp . 80 comment "shop/web:http" : goto tcp-lb-3'] == "Service shop/web"
    assert found["10.96.0.1 . 80 . 2 : 10.244.1.3 . 8080"] == "Service shop/web"
    for command in ("flush", "delete"):
        assert sources(last)[f"{command} chain ip nftsvc tcp-lb-2"] == "chain tcp-lb-2"
        assert sources(last)[f"{command} chain ip nftsvc tcp-nodeport-lb-2"] == "chain tcp-nodeport-lb-2"


def test_source_of_each_kind_of_operation() -> None:
    table = small().tables[V4]
    named = next(one for one in table.sets if one.name == "service-ips")
    chain = next(one for one in table.chains if one.name == "services")
    mine = ("10.96.0.1", "tcp", 80), Entry(("goto y",), "shop/web")
    shared = ("10.96.0.9", "tcp", 80), Entry(("goto y",))
    owners = Owners({"service-ips": dict((mine, shared))})
    rules = len(chain.rules)
    for operation, expected in (
        (AddTable(V4), ["table ip nftsvc"]),
        (DeleteTable(V4), ["table ip nftsvc"]),
        (AddSet(V4, named), ["map service-ips"]),
        (AddChain(V4, chain), ["chain services"] * (1 + rules)),
        (changes.ReplaceRules(V4, chain), ["chain services"] * (1 + rules)),
        (
            AddElements(V4, named, (mine, shared), owners),
            ["map service-ips", "Service shop/web"] + ["map service-ips"] * 2,
        ),
        (
            DeleteElements(V4, named, (shared, mine), owners),
            ["map service-ips"] * 2 + ["Service shop/web", "map service-ips"],
        ),
    ):
        script = RENDERER.script((AddTable(Family.IPV6), operation, AddTable(Family.IPV6)))
        lines = script.text.count("\n")
        assert lines == len(expected) + 2
        found = [script.source(number) for number in range(1, lines + 1)]
        assert found == ["table ip6 nftsvc", *expected, "table ip6 nftsvc"]


def test_line_before_the_first_has_no_source() -> None:
    assert RENDERER.script((AddTable(V4),)).source(0) == ""
    assert Script.of_text("").source(1) == ""
