"""Files, folders and standard input to objects: what is read, in which order, and that every error is told at once."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftsvc.objects import Service
from nftsvc.sources.manifests import Loaded, load

Document = dict[str, Any]
CAPTURES = Path(__file__).resolve().parent.parent / "captures"
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
from nftsvc.sources.manifests import load
loaded = load(sys.argv[1:])
print(f"{len(loaded.objects)} objects", *loaded.skipped, *loaded.problems, sep="\\n")
"""


def service(name: str = "web", **spec: object) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"clusterIP": "10.96.0.1", "ports": [{"port": 80}], **spec},
    }


def service_yaml(name: str, port: object = 80) -> str:
    head = f"apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n"
    return f"{head}spec:\n  clusterIP: 10.96.0.1\n  ports: [{{port: {port}}}]\n"


def a_list(*items: object, kind: str = "List") -> Document:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"resourceVersion": ""}, "items": list(items)}


def write(path: Path, content: str | bytes | Document | list[object]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str | bytes) else json.dumps(content)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def names(loaded: Loaded) -> list[str]:
    return [one.name for one in loaded.objects]


def said(loaded: Loaded) -> list[str]:
    return [str(problem) for problem in loaded.problems]


def loaded_in_a_child(path: str, seconds: int = 10) -> str:
    """Load in another process, which a crash or an endless loop does not take along."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-500:] or f"ended with {child.returncode}"
    return child.stdout


# What is read --------------------------------------------------------------------------------------------------------


def test_a_single_yaml_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "web.yaml", service_yaml("web"))
    loaded = load([path])
    assert (names(loaded), said(loaded), dict(loaded.skipped)) == (["web"], [], {})
    assert isinstance(loaded.objects[0], Service)
    assert str(loaded.origins[loaded.objects[0].ref]) == f"{path} #1"


@pytest.mark.parametrize("name", ["web.json", "web.yaml", "web.yml", "web"])
def test_json_is_read_whatever_the_file_is_called(tmp_path: Path, name: str) -> None:
    assert names(load([write(tmp_path / name, json.dumps(service(), indent=1))])) == ["web"]


def test_many_documents_of_a_file_are_read_and_counted_with_the_empty_ones(tmp_path: Path) -> None:
    text = (
        "---\n"
        + "\n---\n".join([service_yaml("a"), "# nothing\n", service_yaml("b"), "", service_yaml("c")])
        + "...\n---\n"
    )
    path = write(tmp_path / "all.yaml", text)
    loaded = load([path])
    assert (names(loaded), said(loaded)) == (["a", "b", "c"], [])
    assert [str(loaded.origins[one.ref]) for one in loaded.objects] == [f"{path} #{number}" for number in (1, 3, 5)]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "---\n---\n", "null\n"])
def test_a_file_without_documents_is_fine(tmp_path: Path, text: str) -> None:
    loaded = load([write(tmp_path / "a.yaml", text)])
    assert (loaded.objects, loaded.problems) == ((), ())


@pytest.mark.parametrize("name", ["all.json", "all.yaml"])
def test_a_list_is_read_item_by_item(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, a_list(service("a"), {"apiVersion": "v1", "kind": "Secret"}, service("b")))
    loaded = load([path])
    assert (names(loaded), said(loaded), dict(loaded.skipped)) == (["a", "b"], [], {"Secret": 1})
    assert [str(loaded.origins[one.ref]) for one in loaded.objects] == [f"{path} #1 items[0]", f"{path} #1 items[2]"]


def test_items_of_a_typed_list_get_its_kind(tmp_path: Path) -> None:
    items = [{key: value for key, value in service(name).items() if key in ("metadata", "spec")} for name in "ab"]
    loaded = load([write(tmp_path / "services.json", a_list(*items, kind="ServiceList"))])
    assert (names(loaded), said(loaded)) == (["a", "b"], [])


def test_an_error_in_a_list_names_the_item(tmp_path: Path) -> None:
    path = write(tmp_path / "all.json", a_list(service("a"), service("b", ports=[{"port": 80, "nodePort": 70000}])))
    loaded = load([path])
    assert names(loaded) == ["a"]
    assert said(loaded) == [
        f"{path} #1 items[1] Service default/b: spec.ports[0].nodePort: 70000 is not a port number (1-65535)"
    ]


@pytest.mark.parametrize(
    ("file", "kind", "count"),
    [
        ("services.list.json", "Service", 14),
        ("endpointslices.list.json", "EndpointSlice", 15),
        ("endpoints.list.json", "Endpoints", 12),
        ("pods.list.json", "Pod", 7),
        ("nodes.list.json", "Node", 2),
    ],
)
def test_the_lists_of_a_real_api_server_are_read_without_a_problem(file: str, kind: str, count: int) -> None:
    expected = len(json.loads((CAPTURES / file).read_text())["items"])
    loaded = load([str(CAPTURES / file)])
    assert said(loaded) == []
    assert [one.KIND for one in loaded.objects] == [kind] * expected
    assert expected == count


@pytest.mark.parametrize("items", [None, []])
def test_an_empty_list_is_fine(tmp_path: Path, items: object) -> None:
    loaded = load([write(tmp_path / "a.json", {**a_list(), "items": items})])
    assert (loaded.objects, loaded.problems) == ((), ())


def test_items_that_are_no_list_are_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", {**a_list(), "items": {"a": service()}})
    (problem,) = said(load([path]))
    assert problem.startswith(f"{path} #1: items: ")


def test_a_list_inside_a_list_is_an_error_and_the_other_items_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", a_list(service("a"), a_list(service("b")), service("c")))
    loaded = load([path])
    assert names(loaded) == ["a", "c"]
    assert len(loaded.problems) == 1
    assert said(loaded)[0].startswith(f"{path} #1 items[1]: ")


def test_a_document_that_is_no_object_is_an_error_at_its_place(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", f"{service_yaml('a')}---\njust text\n---\n- 1\n---\n{service_yaml('b')}")
    loaded = load([path])
    assert names(loaded) == ["a", "b"]
    assert [problem.split(": ")[0] for problem in said(loaded)] == [f"{path} #2", f"{path} #3"]


def test_other_kinds_are_skipped_and_counted_by_kind(tmp_path: Path) -> None:
    text = "---\n".join(f"apiVersion: v1\nkind: {kind}\n" for kind in ("Secret", "ConfigMap", "Secret"))
    loaded = load([write(tmp_path / "a.yaml", text)])
    assert (loaded.objects, said(loaded), dict(loaded.skipped)) == ((), [], {"ConfigMap": 1, "Secret": 2})


@pytest.mark.parametrize(
    ("version", "kind"), [("v1", "SecretList"), ("example.com/v1", "ServiceList"), ("a.io/v1", "IPList")]
)
def test_a_list_of_another_kind_is_skipped_without_an_error(tmp_path: Path, version: str, kind: str) -> None:
    document = {"apiVersion": version, "kind": kind, "items": [{"metadata": {"name": "a"}}], "spec": {"items": 5}}
    loaded = load([write(tmp_path / "a.json", document)])
    assert (loaded.objects, said(loaded)) == ((), [])
    assert sum(loaded.skipped.values()) == 1


def test_text_that_looks_like_minutes_or_a_date_is_text(tmp_path: Path) -> None:
    text = service_yaml("web").replace("name: web", "name: web\n  labels: {a: 1:30, b: 2026-11-22, c: 1:30.5}")
    loaded = load([write(tmp_path / "a.yaml", text)])
    assert said(loaded) == []
    assert loaded.objects[0].labels == {"a": "1:30", "b": "2026-11-22", "c": "1:30.5"}


# Files, folders and standard input -----------------------------------------------------------------------------------


def test_a_folder_is_read_with_its_subfolders_in_path_order(tmp_path: Path) -> None:
    for name in ("b.yaml", "a/z.yml", "a/b/c.json", "c/a.yaml", "a.yaml", "a-b.yaml", "A.yaml"):
        stem = name.split(".")[0].replace("/", "-2-").lower()
        write(tmp_path / name, service(f"{stem}-1" if name == "A.yaml" else stem))
    loaded = load([str(tmp_path)])
    assert said(loaded) == []
    in_order = sorted(
        (Path(origin.file).relative_to(tmp_path).parts, ref.name) for ref, origin in loaded.origins.items()
    )
    assert names(loaded) == [name for _, name in in_order]
    assert len(in_order) == 7


def test_paths_are_read_in_the_order_given(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.yaml", service_yaml(name)) for name in "cab"]
    assert names(load(paths)) == ["c", "a", "b"]


def test_hidden_and_other_files_of_a_folder_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "web.yaml", service_yaml("web"))
    for name in (".hidden.yaml", ".git/config.yaml", "a/.b/c.yaml", "README.md", "notes.txt", "web.yaml.bak", "yaml"):
        write(tmp_path / name, "]not a manifest")
    loaded = load([str(tmp_path)])
    assert (names(loaded), said(loaded)) == (["web"], [])


def test_a_folder_whose_own_name_is_hidden_is_read(tmp_path: Path) -> None:
    write(tmp_path / ".manifests" / "web.yaml", service_yaml("web"))
    assert names(load([str(tmp_path / ".manifests")])) == ["web"]


def test_a_file_named_itself_is_read_whatever_it_is_called(tmp_path: Path) -> None:
    assert names(load([write(tmp_path / ".web.txt", service_yaml("web"))])) == ["web"]


def test_a_folder_without_manifests_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "README.md", "nothing")
    (problem,) = load([str(tmp_path)]).errors
    assert str(problem).startswith(f"{tmp_path}: ")


def test_a_missing_file_is_an_error_and_the_others_are_read(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing.yaml")
    loaded = load([missing, write(tmp_path / "web.yaml", service_yaml("web"))])
    assert names(loaded) == ["web"]
    assert len(loaded.errors) == 1
    assert said(loaded)[0].startswith(f"{missing}: ")


@pytest.mark.parametrize("target", ["missing.yaml", "link.yaml"])
def test_a_link_that_leads_nowhere_is_an_error_and_the_others_are_read(tmp_path: Path, target: str) -> None:
    write(tmp_path / "web.yaml", service_yaml("web"))
    (tmp_path / "link.yaml").symlink_to(target)
    loaded = load([str(tmp_path)])
    assert names(loaded) == ["web"]
    assert len(loaded.errors) == 1
    assert str(tmp_path / "link.yaml") in said(loaded)[0]


def test_standard_input_is_read_for_a_dash() -> None:
    loaded = load(["-"], io.BytesIO(service_yaml("web").encode()))
    assert names(loaded) == ["web"]
    assert str(loaded.origins[loaded.objects[0].ref]) == "<stdin> #1"


def test_standard_input_is_read_once_and_among_files(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", service_yaml("a"))
    loaded = load([path, "-", "-"], io.BytesIO(json.dumps(service("b")).encode()))
    assert (names(loaded), said(loaded)) == (["a", "b"], [])


def test_standard_input_is_left_alone_without_a_dash(tmp_path: Path) -> None:
    stdin = io.BytesIO(b"]")
    assert said(load([write(tmp_path / "a.yaml", service_yaml("a"))], stdin)) == []
    assert stdin.tell() == 0


def test_a_file_named_twice_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "web.yaml", service_yaml("web"))
    (tmp_path / "link.yaml").symlink_to(path)
    monkeypatch.chdir(tmp_path)
    loaded = load([path, str(tmp_path), "web.yaml", f"{tmp_path}/../{tmp_path.name}/web.yaml"])
    assert (names(loaded), said(loaded)) == (["web"], [])


def test_an_object_given_twice_is_an_error_that_names_the_first_place(tmp_path: Path) -> None:
    first = write(tmp_path / "a.yaml", f"{service_yaml('other')}---\n{service_yaml('web')}")
    second = write(tmp_path / "b.json", a_list(service("third"), service("web", clusterIP="10.96.0.2")))
    loaded = load([first, second])
    assert names(loaded) == ["other", "web", "third"]
    (problem,) = said(loaded)
    assert problem.startswith(f"{second} #1 items[1] Service default/web: ")
    assert problem.endswith(f"{first} #2")


def test_an_object_given_twice_is_an_error_even_where_it_is_bad(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", a_list(service("web", ports=[{"port": 0}]), service("web")))
    found = said(load([path]))
    assert len(found) == 2
    assert found[1].startswith(f"{path} #1 items[1] Service default/web: ")
    assert found[1].endswith(f"{path} #1 items[0]")


def test_the_namespace_left_out_is_the_same_object_as_default(tmp_path: Path) -> None:
    stated = service("web")
    stated["metadata"]["namespace"] = "default"
    assert len(load([write(tmp_path / "a.json", a_list(stated, service("web")))]).errors) == 1


def test_one_name_in_two_namespaces_or_of_two_kinds_is_two_objects(tmp_path: Path) -> None:
    other = service("web")
    other["metadata"]["namespace"] = "shop"
    endpoints = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "web"}}
    loaded = load([write(tmp_path / "a.json", a_list(service("web"), other, endpoints))])
    assert (len(loaded.objects), said(loaded)) == (3, [])


# Errors --------------------------------------------------------------------------------------------------------------


def test_the_error_of_the_issue_names_file_document_object_and_field(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
    bad += "spec: {clusterIP: 10.96.0.1, ports: [{port: 80, nodePort: 70000}]}\n"
    write(tmp_path / "web.yaml", f"{service_yaml('a')}---\n{bad}")
    monkeypatch.chdir(tmp_path)
    assert said(load(["web.yaml"])) == [
        "web.yaml #2 Service shop/web: spec.ports[0].nodePort: 70000 is not a port number (1-65535)"
    ]


@pytest.mark.parametrize(
    "broken", ["a: [1, 2\nb: 3\n", "a: b: c\n", "a:\n\t- b\n", "'open\n", "%TAG\n---\n", "a: *nowhere\n", "}"]
)
def test_a_yaml_syntax_error_names_file_document_and_line(tmp_path: Path, broken: str) -> None:
    path = write(tmp_path / "a.yaml", f"{service_yaml('a')}---\n{broken}")
    loaded = load([path])
    assert names(loaded) == ["a"]
    (problem,) = said(loaded)
    assert problem.startswith((f"{path} #2: ", f"{path} #1: ") if broken == "}" else f"{path} #2: ")
    assert any(f"line {line}" in problem for line in (8, 9, 10, 11))


def test_a_json_syntax_error_names_file_and_line(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", '{"apiVersion": "v1",\n "kind": "Service",\n}')
    (problem,) = said(load([path]))
    assert problem.startswith(f"{path} #1: ")
    assert "line 3" in problem


def test_all_errors_of_all_files_appear_in_one_run(tmp_path: Path) -> None:
    write(tmp_path / "1.yaml", f"{service_yaml('a', 0)}---\n{service_yaml('b')}---\n{service_yaml('c', 70000)}---\n]\n")
    write(tmp_path / "2.json", "{")
    write(tmp_path / "3.yaml", b"\xff\xfe")
    write(tmp_path / "4.json", a_list(service("d", clusterIP="127.0.0.1"), service("e")))
    write(tmp_path / "5.yaml", service_yaml("b"))
    loaded = load([str(tmp_path)])
    assert names(loaded) == ["b", "e"]
    assert [Path(problem.split()[0].rstrip(":")).name for problem in said(loaded)] == [
        *["1.yaml"] * 3,
        *["2.json", "3.yaml", "4.json", "5.yaml"],
    ]
    assert loaded.errors == loaded.problems


@pytest.mark.parametrize("data", [b"\xff\xfea\x00", b"name: caf\xe9\n", b"\x80", b"a: \xed\xa0\x80\n"])
def test_text_that_is_not_utf_8_is_an_error_that_names_the_file(tmp_path: Path, data: bytes) -> None:
    path = write(tmp_path / "a.yaml", data)
    (problem,) = said(load([path]))
    assert path in problem
    assert "UTF-8" in problem


@pytest.mark.parametrize("name", ["a.json", "a.yaml"])
def test_a_byte_order_mark_is_ignored(tmp_path: Path, name: str) -> None:
    text = json.dumps(service()) if name.endswith("json") else service_yaml("web")
    assert names(load([write(tmp_path / name, b"\xef\xbb\xbf" + text.encode())])) == ["web"]


def test_windows_line_ends_are_fine(tmp_path: Path) -> None:
    text = f"{service_yaml('a')}---\n{service_yaml('b')}".replace("\n", "\r\n")
    loaded = load([write(tmp_path / "a.yaml", text.encode())])
    assert (names(loaded), said(loaded)) == (["a", "b"], [])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.1}\nspec: {}\n"),
        ("a.yaml", "apiVersion: v1\nkind: ConfigMap\ndata: {spec: 1, 'spec': 2}\n"),
        ("a.json", '{"apiVersion": "v1", "kind": "ConfigMap", "data": {"spec": 1, "spec": 2}}'),
        ("a.yaml", '{"apiVersion": "v1", "kind": "ConfigMap", "data": {"spec": 1, "spec": 2}}'),
    ],
)
def test_a_key_given_twice_in_one_mapping_is_an_error_that_names_it(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / name, text)
    loaded = load([path])
    assert (loaded.objects, dict(loaded.skipped)) == ((), {})
    (problem,) = said(loaded)
    assert problem.startswith(f"{path} #1: ")
    assert "'spec'" in problem


def test_a_merged_mapping_may_be_overridden(tmp_path: Path) -> None:
    text = (
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
        "base: &base {port: 80, protocol: TCP}\n"
        "spec: {clusterIP: 10.96.0.1, ports: [{<<: *base, name: a}, {<<: *base, name: b, port: 81}]}\n"
    )
    loaded = load([write(tmp_path / "a.yaml", text)])
    assert said(loaded) == []
    assert isinstance(loaded.objects[0], Service)
    assert loaded.objects[0].spec is not None
    assert [one.port for one in loaded.objects[0].spec.ports or ()] == [80, 81]


def test_an_override_is_no_repeated_key_where_it_is_merged_again(tmp_path: Path) -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nbase: &base {x: 1}\n"
        "outer: {middle: {inner: &inner {<<: *base, x: 2}}}\nagain: {<<: *inner}\n"
    )
    loaded = load([write(tmp_path / "a.yaml", text)])
    assert (said(loaded), dict(loaded.skipped)) == ([], {"ConfigMap": 1})


def test_a_time_without_quotes_is_a_time(tmp_path: Path) -> None:
    stamp = "2026-11-22T23:46:58Z"
    quoted, plain = (
        load(
            [write(tmp_path / f"{name}.yaml", service_yaml("web").replace("web", f"web\n  creationTimestamp: {text}"))]
        )
        for name, text in (("a", f'"{stamp}"'), ("b", stamp))
    )
    assert said(plain) == said(quoted) == []
    assert plain.objects == quoted.objects
    assert plain.objects[0].metadata.creation_timestamp is not None


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.mkdir", "!!python/object/new:os.mkdir"])
def test_a_tag_that_would_run_code_is_refused_and_nothing_runs(tmp_path: Path, tag: str) -> None:
    path = write(tmp_path / "a.yaml", f"apiVersion: v1\nkind: ConfigMap\ndata: {tag} ['{tmp_path}/made']\n")
    loaded = load([path])
    assert not (tmp_path / "made").exists()
    assert dict(loaded.skipped) == {}
    assert len(loaded.errors) == 1
    assert said(loaded)[0].startswith(f"{path} #1: ")


@pytest.mark.parametrize(
    "value",
    [
        "!!timestamp foo",
        "!!int ''",
        "!!int '_'",
        "!!int x",
        "!!float ''",
        "!!bool foo",
        "!!set [a]",
        "!!omap [a]",
        "!!pairs a",
        "!!map x",
        "!!binary \u00e9",
        "!unknown x",
        "=",
        "{[a]: b}",
        "{{a: b}: c}",
        "!!timestamp 2001-99-99",
        "9" * 5000,
    ],
)
def test_a_value_that_yaml_cannot_build_is_an_error_of_its_document(tmp_path: Path, value: str) -> None:
    path = write(tmp_path / "a.yaml", f"{service_yaml('a')}---\napiVersion: v1\nkind: ConfigMap\ndata: {value}\n")
    loaded = load([path])
    assert names(loaded) == ["a"]
    (problem,) = said(loaded)
    assert problem.startswith(f"{path} #2: ")
    assert len(problem) < len(path) + 300


@pytest.mark.parametrize("field", ["name: {}", "name: web, labels: {{app: {}}}", "name: web, namespace: {}"])
def test_a_number_too_long_to_print_is_an_error(tmp_path: Path, field: str) -> None:
    metadata = field.format("0x" + "f" * 5000)
    text = service_yaml("web").replace("\n  name: web", f" {{{metadata}}}")
    assert len(load([write(tmp_path / "a.yaml", text)]).errors) == 1


@pytest.mark.parametrize(
    "value", ["!!set {a, b}", "!!pairs [a: b]", "!!omap [a: b]", "!!binary aGk=", "!!timestamp 2026-01-01"]
)
def test_values_that_only_yaml_has_are_errors_at_their_line(tmp_path: Path, value: str) -> None:
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{clusterIP: 10.96.0.1, ports: {value}}}\n"
    loaded = load([write(tmp_path / "a.yaml", text)])
    assert loaded.objects == ()
    (problem,) = loaded.problems
    assert re.search(r"line 4, column 37: tag '[^']*' is not supported", problem.message)


REPEATED = {
    "plain": '{"kind": "A", "kind": "B"}',
    "compact": '{"kind":"A","x":{"a":1,"b":2,"a":3}}',
    "a space before the colon": '{"kind": "A", "x": {"a" : 1, "a" : 2}}',
    "a line before the colon": '{"kind": "A", "a"\n: 1, "a"\n: 2}',
    "beside what looks like a key": '{"kind": "A", "x": "\\"a\\": 1", "a": 1, "a": 2}',
    "beside text that begins with a colon": '{"kind": ":x", "a": 1, "a": 2}',
    "beside keys that end in a backslash": '{"kind\\\\":1, "a": 1, "a": 2}',
    "with quotes": '{"kind": "A", "a\\"": 1, "a\\"": 2}',
    "written differently": '{"kind": "A", "\\u0061": 1, "a": 2}',
}


@pytest.mark.parametrize("text", REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_a_key_given_twice_is_an_error_however_it_is_written(tmp_path: Path, name: str, text: str) -> None:
    (problem,) = said(load([write(tmp_path / name, text)]))
    assert problem.endswith(" is given twice in one mapping")


@pytest.mark.parametrize("text", ['\\"a\\": 1', ":", "\\\\", '": "', '{\\"kind\\":\\"Pod\\",\\"kind\\":1}'])
def test_text_that_looks_like_keys_is_none(tmp_path: Path, text: str) -> None:
    raw = json.dumps({**service(), "metadata": {"name": "web", "annotations": {"a": "TEXT", "b": "TEXT"}}})
    try:
        json.loads(made := raw.replace("TEXT", text))
    except ValueError:
        made = raw.replace("TEXT", json.dumps(text)[1:-1])
    assert names(load([write(tmp_path / "a.json", made)])) == ["web"]


# Hostile files -------------------------------------------------------------------------------------------------------


DEEP = ["[" * 40_000, "- " * 40_000, "{a: " * 40_000, "[" * 40_000 + "]" * 40_000, '["]", ' * 40_000, "[ #]\n" * 40_000]


@pytest.mark.parametrize("text", DEEP, ids=lambda text: text[:6])
@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_deep_nesting_is_an_error_not_a_crash(tmp_path: Path, name: str, text: str) -> None:
    path = write(tmp_path / name, text)
    objects, *problems = loaded_in_a_child(path).splitlines()
    assert objects == "0 objects"
    assert len(problems) == 1
    assert problems[0].startswith(path)


@pytest.mark.parametrize("space", ["\u00a0", "\u1680", "\u2003", "\u202f", "\u3000"])
def test_what_only_looks_like_the_end_of_a_document_ends_no_nesting(tmp_path: Path, space: str) -> None:
    """Three dashes end a document where a blank or the end of the line follows; these spaces are letters to YAML."""
    path = write(tmp_path / "a.yaml", "a: " + ("[" * 90 + f"\n---{space}x,\n") * 3000)
    objects, *problems = loaded_in_a_child(path).splitlines()
    assert objects == "0 objects"
    assert [one.rpartition(": ")[2] for one in problems] == ["nested deeper than 100 levels"]


def test_brackets_that_are_closed_do_not_add_up(tmp_path: Path) -> None:
    empty = "".join(f"---\n{service_yaml(f'a-{number}')}status: {{loadBalancer: {{}}}}\n" for number in range(200))
    assert len(load([write(tmp_path / "a.yaml", empty)]).objects) == 200


def test_documents_before_one_that_is_nested_too_deeply_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", f"{service_yaml('a')}---\nx: {'[' * 2000}{']' * 2000}\n")
    loaded = load([path])
    assert names(loaded) == ["a"]
    assert [problem.split(": ")[0] for problem in said(loaded)] == [f"{path} #2"]


def nested(depth: int) -> str:
    document = json.dumps({**service(ports=[{"port": 70000}]), "extra": 0})
    return document.replace('"extra": 0', f'"extra": {"[" * depth}{"]" * depth}')


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_nesting_as_deep_as_in_real_objects_is_read(tmp_path: Path, name: str) -> None:
    (problem,) = said(load([write(tmp_path / name, nested(60))]))
    assert problem.endswith("spec.ports[0].port: 70000 is not a port number (1-65535)")


@pytest.mark.parametrize("depth", [100, 300, 600, 900, 2000])
@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_a_bad_object_in_deep_nesting_is_an_error_whatever_the_depth(tmp_path: Path, name: str, depth: int) -> None:
    loaded = load([write(tmp_path / name, nested(depth))])
    assert (loaded.objects, len(loaded.errors)) == ((), 1)


def laughs(levels: int, template: str, first: str) -> str:
    """Each level names the one before nine times."""
    lines = [f"l0: &l0 {first}"]
    lines += [f"l{n}: &l{n} {template.format(', '.join([f'*l{n - 1}'] * 9))}" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    "text",
    [
        laughs(12, "[{}]", "[lol]") + service_yaml("web", 70000),
        laughs(12, "[{}]", "[lol]") + service_yaml("web", 70000).replace("name: web", "name: *l11"),
        laughs(12, "[{}]", "[lol]") + service_yaml("web", 70000).replace("name: web", "name: web\n  namespace: *l11"),
        laughs(12, "[{}]", "[lol]") + service_yaml("web", 70000).replace("name: web", "name: web\n  labels: {a: *l11}"),
        laughs(12, "{{<<: [{}]}}", "{lol: 1}") + service_yaml("web", 70000),
    ],
    ids=["unknown field", "name", "namespace", "label", "merge keys"],
)
def test_aliases_that_multiply_finish_quickly(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.yaml", text)
    objects, *problems = loaded_in_a_child(path).splitlines()
    assert objects == "0 objects"
    assert problems
    assert all(problem.startswith(path) and len(problem) < len(path) + 1000 for problem in problems)


@pytest.mark.parametrize(
    "text",
    [
        "&a [*a]",
        "&a {apiVersion: v1, kind: List, items: [*a]}",
        "&a {apiVersion: v1, kind: Service, metadata: *a, spec: *a}",
        "apiVersion: v1\nkind: Service\nmetadata: &m {name: *m, labels: *m}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: &s {ports: &p [*p, *s]}\n",
        "&a {apiVersion: v1, kind: Service, <<: *a}",
    ],
)
def test_a_document_that_contains_itself_is_an_error(tmp_path: Path, text: str) -> None:
    loaded = load([write(tmp_path / "a.yaml", text)])
    assert loaded.objects == ()
    assert loaded.errors


@pytest.mark.parametrize(("text", "errors"), [('"a\\ud800"', 1), ('"a\\u001b[31m"', 2), ('"a\\nb"', 2)])
def test_an_error_is_one_printable_line_whatever_the_names_say(tmp_path: Path, text: str, errors: int) -> None:
    document = json.dumps(service("NAME", ports=[{"port": 70000}])).replace('"NAME"', text)
    found = said(load([write(tmp_path / "a.json", document)]))
    assert len(found) == errors
    assert all(problem.isprintable() for problem in found)


SYNTAX = st.text(st.sampled_from("{}[]:,-&*!<|>'\"?%@`#~=.\\ \n\tab019_\ufeff"), max_size=60)
KEYWORDS = [
    "apiVersion: v1\n",
    "kind: Service\n",
    "kind: List\n",
    "items:\n",
    "- ",
    "  ",
    "spec:\n",
    "metadata: ",
    "name: web\n",
    "---\n",
    "ports: ",
    "&a ",
    "*a ",
    "<<: ",
    "{",
]
MARKS = [
    "}",
    "[",
    "]",
    ", ",
    "null\n",
    "!!int ",
    "!!set ",
    "!!bool ",
    "!!float ",
    "!!timestamp ",
    '"',
    "port: 80\n",
    "0x",
    "1e",
    "2026-01-01\n",
]
WORDS = st.sampled_from([*KEYWORDS, *MARKS])
MANIFESTS = st.lists(WORDS, max_size=25).map("".join)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


@given(
    data=st.binary(max_size=80) | SYNTAX.map(str.encode) | MANIFESTS.map(str.encode),
    suffix=st.sampled_from(["json", "yaml"]),
)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_random_bytes_never_raise(folder: Path, data: bytes, suffix: str) -> None:
    path = write(folder / f"random.{suffix}", data)
    loaded = load([path])
    assert all(problem.startswith(path) and problem.isprintable() for problem in said(loaded))
    if suffix == "yaml":
        from_stdin = load(["-"], io.BytesIO(data))
        assert from_stdin.objects == loaded.objects
        assert said(from_stdin) == [problem.replace(path, "<stdin>") for problem in said(loaded)]
