"""On which lines of its file a field is, in YAML and in JSON, in lists and in text that makes no sense."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftsvc.errors import Origin
from nftsvc.sources.documents import MOST_LEVELS, lines
from nftsvc.sources.lines import field_lines

MANIFEST = b"""\
# the web shop
apiVersion: v1
kind: Service
metadata:
  name: web
  annotations:
    nftsvc/lint-ignore: NS204
spec:
  selector: {app: web,
             tier: front}
  ports:
    - name: http
      port: 80
    -
      name: https
      port: 443
---
---
kind: List
items:
- kind: Service
- kind: Service
  spec:
    ports:
    - port: 80
      nodePort: 30080
"""


def line_of(document: int, *path: str | int, data: bytes = MANIFEST) -> int | None:
    return lines(data, {document: [path]}).get((document, path))


@pytest.mark.parametrize(
    ("document", "path", "line"),
    [
        (1, (), 2),
        (1, ("kind",), 3),
        (1, ("metadata", "name"), 5),
        (1, ("metadata", "annotations", "nftsvc/lint-ignore"), 7),
        (1, ("spec", "selector"), 9),
        (1, ("spec", "selector", "tier"), 10),
        (1, ("spec", "ports", 0), 12),
        (1, ("spec", "ports", 0, "port"), 13),
        (1, ("spec", "ports", 1), 15),
        (1, ("spec", "ports", 1, "port"), 16),
        (3, ("items", 0), 21),
        (3, ("items", 1, "spec", "ports", 0, "nodePort"), 26),
    ],
)
def test_the_line_of_a_field(document: int, path: tuple[str | int, ...], line: int) -> None:
    assert line_of(document, *path) == line
    assert MANIFEST.splitlines()[line - 1].strip()


def test_what_is_not_there_is_where_it_would_be() -> None:
    assert line_of(1, "spec", "type") == 8
    assert line_of(1, "spec", "ports", 7, "port") == 11
    assert line_of(1, "kind", "x") == 3
    assert line_of(4) is None


def test_many_fields_are_found_at_once() -> None:
    wanted: dict[int, list[tuple[str | int, ...]]] = {1: [("kind",), ("spec",)], 3: [("items", 1)]}
    assert lines(MANIFEST, wanted) == {(1, ("kind",)): 3, (1, ("spec",)): 8, (3, ("items", 1)): 22}


@pytest.mark.parametrize("indent", [1, 2, "\t"])
def test_json_has_lines_too(indent: int | str) -> None:
    text = json.dumps({"items": [{"spec": {"url": "a\\/b\u00e9", "ports": [{"port": 80}]}}]}, indent=indent)
    number = line_of(1, "items", 0, "spec", "ports", 0, "port", data=text.encode())
    assert number is not None
    assert '"port": 80' in text.splitlines()[number - 1]


def test_documents_before_one_that_cannot_be_read_have_lines() -> None:
    broken = MANIFEST + b"---\n}: [\n"
    assert line_of(1, "kind", data=broken) == 3
    assert line_of(4, data=broken) in (None, 28)


@pytest.mark.parametrize("opened", ["[", "{a: ", "- "])
def test_text_that_nests_deeply_harms_nobody(opened: str) -> None:
    deep = opened * 200_000
    assert line_of(1, "a", data=deep.encode()) is None
    before = f"kind: Service\n---\nx: {opened * (MOST_LEVELS + 50)}"
    assert line_of(1, "kind", data=before.encode()) == 1


@given(data=st.binary(max_size=200) | st.text(alphabet="a-:[]{}&*,'\"\n #|>%!?", max_size=80).map(str.encode))
def test_no_bytes_are_too_strange(data: bytes) -> None:
    found = lines(data, {1: [(), ("a",), (0,)], 2: [()]})
    assert all(1 <= line <= data.count(b"\n") + data.count(b"\r") + 3 for line in found.values())


def test_fields_as_problems_write_them(tmp_path: Path) -> None:
    file = tmp_path / "web.yaml"
    file.write_bytes(MANIFEST)
    first, item = Origin(str(file), 1), Origin(str(file), 3, 1)
    places = {
        (first, ""): 2,
        (first, "spec.ports[1].port"): 16,
        (first, "metadata.annotations['nftsvc/lint-ignore']"): 7,
        (first, "spec.loadBalancerSourceRanges"): 8,
        (item, "spec.ports[0].nodePort"): 26,
        (item, ""): 22,
    }
    assert field_lines(places) == places
    assert field_lines([(Origin(str(tmp_path / "gone.yaml"), 1), "")]) == {}
    assert field_lines([(Origin("<stdin>", 1), "kind")], {"<stdin>": MANIFEST}) == {(Origin("<stdin>", 1), "kind"): 3}
