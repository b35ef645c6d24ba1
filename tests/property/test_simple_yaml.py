"""The fast way through YAML and the whole parser agree on everything, or the fast one leaves it to the other."""

from itertools import islice

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from nftsvc.sources.documents import MOST_LEVELS, Unreadable, _from_any_yaml, _Loader, documents
from nftsvc.sources.simple_yaml import NotSimple, simple_documents
from tests.support.cases import EXAMPLES

MANIFESTS = [path.read_text() for path in sorted(EXAMPLES.glob("[0-4]*/*.yaml"))]
PIECES = st.sampled_from(
    [
        *("a", "b: ", "- ", "\n", "  ", "---\n", "...\n", "{", "}", "[", "]", ",", "'", '"', "#", "|\n", ">-\n", "? "),
        *(
            "&x ",
            "*x",
            "!!str ",
            "!t ",
            "<<: ",
            "%YAML 1.1\n",
            "1:30",
            "0x1F",
            "1_000",
            "1e3",
            ".inf",
            "~",
            "yes",
            "on",
        ),
        *("null", "True", "2001-01-01", "=", "\t", "\u00e9", "0o7", "017", "-", "1", "1.0", "''", "k: v\n"),
    ]
)


def slow(text: str) -> tuple[list[object], str]:
    return told(_from_any_yaml(text))


def told(found: object) -> tuple[list[object], str]:
    read: list[object] = []
    try:
        for one in found:  # type: ignore[attr-defined]
            read.append(one)
            repr(one)
    except Unreadable as error:
        return read, str(error)
    return read, ""


@given(st.lists(PIECES, max_size=30).map("".join))
@example("a: 1\na: 2\n")
@example("1: a\ntrue: b\n")
@example("{a: 1}\n---\n&x [*x]\n")
@example("- " * (MOST_LEVELS + 5))
@example("a: b\n---\n[")
def test_any_text_reads_the_same_both_ways(text: str) -> None:
    assert repr(told(documents(text.encode()))) == repr(slow(text)) or text.lstrip().startswith(("{", "["))


@given(st.sampled_from(MANIFESTS), st.data())
def test_damaged_manifests_read_the_same_both_ways(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 10)))
    damaged = text[:start] + data.draw(PIECES | st.just("")) + text[end:]
    assert repr(told(documents(damaged.encode()))) == repr(slow(damaged))


def test_manifests_are_simple() -> None:
    fast = 0
    for text in MANIFESTS:
        try:
            read = list(simple_documents(text, _Loader, MOST_LEVELS))
        except NotSimple:
            continue
        fast += 1
        assert read == list(islice(yaml.load_all(text, _Loader), len(read) + 1))
    assert fast > len(MANIFESTS) * 0.9
