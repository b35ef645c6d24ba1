"""Whatever the Services are, their ruleset reads as it was made; whatever the text is, reading it comes to an end."""

import json
import re
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nftsvc.changes import compare
from nftsvc.errors import InputError
from nftsvc.reading import read_ruleset
from nftsvc.render import Renderer
from nftsvc.ruleset import NFT_FAMILY, VERDICTS, Chain, Entry, Key, NamedSet, Ruleset, Table, make_ruleset
from nftsvc.values import Family
from tests.support.cases import EXAMPLES
from tests.support.clusters import Cluster, clusters, plan_of

RENDERER = Renderer()
BOUNDED = settings(
    max_examples=50, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
MANY = settings(BOUNDED, max_examples=400)


# Made, written, read --------------------------------------------------------------------------------------------------


def made_of(cluster: Cluster) -> Ruleset:
    _, plan = plan_of(cluster)
    return make_ruleset(plan)


def recorded(table: Table, data: st.DataObject) -> Table:
    """Return the table with records of clients, as packets make them."""
    elements = dict(table.elements)
    for one in table.sets:
        if one.dynamic:
            found = data.draw(st.lists(st.tuples(*map(_value, one.key.split(" . "))), max_size=3, unique=True))
            elements[one.name] = {
                key: Entry(tuple(data.draw(_value(part)) for part in one.data.split(" . "))) for key in found
            }
    return Table(table.family, table.sets, table.chains, elements)


def _value(part: str) -> st.SearchStrategy[str | int]:
    """Values of a part of a record."""
    if "addr" in part:
        return st.ip_addresses(v=6 if "6" in part else 4).map(str)
    if part == "inet_proto":
        return st.sampled_from(("tcp", "udp", "sctp"))
    return st.integers(0, 65535 if "port" in part or "service" in part else 2**32 - 1)


@BOUNDED
@given(clusters(), st.data())
def test_every_ruleset_reads_as_it_was_made(cluster: Cluster, data: st.DataObject) -> None:
    made = made_of(cluster)
    full = Ruleset({family: recorded(table, data) for family, table in made.tables.items()})
    read = read_ruleset(RENDERER.ruleset(full), "x")
    assert read == full
    assert not compare(read, full)
    assert [[rule.text for rule in chain.rules] for table in read.tables.values() for chain in table.chains] == [
        [rule.text for rule in chain.rules] for table in full.tables.values() for chain in table.chains
    ]


@BOUNDED
@given(clusters(), st.data())
def test_every_ruleset_reads_as_it_was_made_from_json(cluster: Cluster, data: st.DataObject) -> None:
    made = made_of(cluster)
    full = Ruleset({family: recorded(table, data) for family, table in made.tables.items()})
    read = read_ruleset(listed(full), "x")
    assert not compare(read, full)
    assert not compare(full, read)
    for family, table in full.tables.items():
        assert read.tables[family].elements == table.elements
        assert [(one.name, one.keyword) for one in read.tables[family].sets] == [
            (one.name, one.keyword) for one in table.sets
        ]


@BOUNDED
@given(clusters(), clusters())
def test_what_differs_reads_as_different(before: Cluster, after: Cluster) -> None:
    old, new = made_of(before), made_of(after)
    read = [read_ruleset(RENDERER.ruleset(one), "x") for one in (old, new)]
    assert compare(read[0], read[1]) == compare(old, new)


def listed(ruleset: Ruleset) -> str:
    """Write a ruleset as nft 1.0.6 lists it in JSON; of rules only what they are compared by."""
    items: list[Any] = [{"metainfo": {"json_schema_version": 1}}]
    for family, table in ruleset.tables.items():
        ours = {"family": NFT_FAMILY[family], "table": "nftsvc"}
        items.append({"table": {"family": ours["family"], "name": "nftsvc", "handle": 1}})
        items += ({one.keyword: {**ours, **_set(one, table.elements[one.name])}} for one in table.sets)
        items += ({"chain": {**ours, **_chain(chain)}} for chain in table.chains)
        for chain in table.chains:
            for rule in chain.rules:
                expressions = [_expression(word) for word in rule.words]
                fields = {"chain": chain.name, "comment": rule.comment, "expr": expressions}
                items.append({"rule": {**ours, **fields}})
    return json.dumps({"nftables": items})


def _expression(word: str) -> Any:
    """A verdict, the chain that one leads to, or text with the set that is looked into."""
    return {word: None} if word in VERDICTS else f"update {word} {{ }}" if word[0] == "@" else {"target": word}


def _set(one: NamedSet, elements: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": one.name, "type": _types(one.key)}
    if one.data:
        fields["map"] = one.data if one.data == "verdict" else " . ".join(_types(one.data))
    fields["elem"] = [_element(key, entry, is_map=bool(one.data)) for key, entry in elements.items()]
    return fields


def _types(declared: str) -> list[str]:
    """What 1.0.6 has of a `typeof`."""
    return [_TYPES.get(part) or _TYPES.get(part.split()[-1], part) for part in declared.split(" . ")]


_TYPES = {"ip daddr": "ipv4_addr", "ip6 daddr": "ipv6_addr", "dport": "inet_service", "65536": "integer"}


def _element(key: Key, entry: Entry, *, is_map: bool) -> Any:
    bare: Any = _concatenated(key)
    if entry.comment:
        bare = {"elem": {"val": bare, "comment": entry.comment, "counter": {"packets": 0, "bytes": 0}}}
    if not is_map:
        return bare
    word, _, target = str(entry.value[0]).partition(" ")
    if target:
        return [bare, {word: {"target": target}}]
    return [bare, {"drop": None} if word == "drop" else _concatenated(entry.value)]


def _concatenated(parts: Key) -> Any:
    listed = [_network(part) if isinstance(part, str) and "/" in part else part for part in parts]
    return listed[0] if len(listed) == 1 else {"concat": listed}


def _network(text: str) -> Any:
    address, _, length = text.partition("/")
    return {"prefix": {"addr": address, "len": int(length)}}


def _chain(chain: Chain) -> dict[str, Any]:
    if chain.hook is None:
        return {"name": chain.name}
    hook = chain.hook
    return {"name": chain.name, "type": hook.type, "hook": hook.hook, "prio": hook.priority, "policy": hook.policy}


# Damaged --------------------------------------------------------------------------------------------------------------

SNIPPETS = (
    *'{}";:,#.\\\n \t=@$*%0/-',
    "\n}\n",
    " : ",
    " . ",
    "elements = {",
    "table ip nftsvc {",
    "table ip nftsvc\ndelete table ip nftsvc\n",
    "type ipv4_addr : verdict",
    "typeof",
    "flags",
    'comment "',
    "counter packets 3 bytes 180",
    "timeout 3h expires 2h59m",
    "policy drop;",
    "priority",
    "goto x",
    "0x7fffffffffffffffffffff",
    "9" * 50,
    "\x00",
    "\x1b[31m",
    "\N{SNOWMAN}",
    "include",
    "<<<<<<< ",
)


@cache
def goldens() -> tuple[str, ...]:
    """Small ones of several kinds."""
    names = ("100-my-service", "305-external-local-node-port", "413-affinity-at-every-address", "420-source-ranges")
    return tuple((EXAMPLES / name / "ruleset.nft").read_text() for name in names)


@st.composite
def damaged(draw: st.DrawFn) -> str:
    """A golden ruleset with a few pieces missing, doubled, moved or put in."""
    text = draw(st.sampled_from(goldens()))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        piece = text[start : start + draw(st.sampled_from((1, 2, 5, 20, 200, 5000)))]
        rest = text[:start], text[start + len(piece) :]
        match draw(st.sampled_from(("cut", "double", "move", "put in", "lines"))):
            case "cut":
                text = "".join(rest)
            case "double":
                text = rest[0] + piece + piece + rest[1]
            case "move":
                text = rest[1] + piece + rest[0]
            case "put in":
                text = rest[0] + draw(st.sampled_from(SNIPPETS)) + piece + rest[1]
            case _:
                text = rest[0] + piece.replace("\n", draw(st.sampled_from(("", " ", ";", "\n\n")))) + rest[1]
    return text


@MANY
@given(damaged())
def test_damaged_text_is_read_or_refused_with_its_line(text: str) -> None:
    try:
        read = read_ruleset(text, "x.nft")
    except InputError as error:
        for problem in error.problems:
            assert re.match(r"x\.nft #1: (line \d+: |no table )", str(problem))
            assert str(problem).isprintable()
            line = int(problem.field.removeprefix("line ") or 1)
            assert 1 <= line <= text.count("\n") + 1
    else:
        assert read.tables
        assert not compare(read, read)


@cache
def listing() -> Any:
    """The JSON of a small ruleset."""
    return json.loads(listed(read_ruleset(goldens()[1], "x")))


ODD = (
    *("null", "true", "7", "-1", "1.5", '""', '"x"', '"@"', '"10.0.0.1"', "[]", "{}", "[[]]", "[7, 7]"),
    *('{"concat": []}', '{"elem": {}}', '{"elem": 7}', '{"target": 7}', '{"goto": {}}', '{"range": ["a"]}'),
    *('{"prefix": {"addr": "10.0.0.1", "len": 99}}', '{"typeof": {}}', '{"typeof": {"concat": [7]}}'),
    *('{"range": [[], {}]}', '{"range": ["10.0.0.1", "x"]}', "1e999", "NaN", "12345678901234567890123"),
)


@st.composite
def damaged_listing(draw: st.DrawFn) -> str:
    """The JSON with a few of its values replaced by others."""
    tree = json.loads(json.dumps(listing()))
    for _ in range(draw(st.integers(1, 3))):
        node = tree["nftables"]
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = draw(st.sampled_from(keys))
            child = node[key]
            if not child or not isinstance(child, (dict, list)) or draw(st.integers(0, 4)) == 0:
                node[key] = json.loads(draw(st.sampled_from(ODD)))
                break
            node = child
    return json.dumps(tree)


@MANY
@given(damaged_listing())
def test_damaged_json_is_read_or_refused_with_its_object(text: str) -> None:
    try:
        read = read_ruleset(text, "x.json")
    except InputError as error:
        for problem in error.problems:
            assert re.match(r"x\.json #1: (nftables\[\d+\] |no table )", str(problem))
    else:
        assert not compare(read, read)


@BOUNDED
@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^x #1: "):
        read_ruleset(text, "x")


def test_the_listing_of_these_tests_is_as_the_ruleset() -> None:
    assert read_ruleset(json.dumps(listing()), "x").tables.keys() == set(Family)
