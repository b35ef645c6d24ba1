"""The API server's bytes as objects: lines, lists, watch events, good and bad."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftsvc.decode import decode
from nftsvc.errors import ObjectRef, Problem
from nftsvc.events import Put, Removed, Replaced
from nftsvc.objects import Endpoints, EndpointSlice, KubernetesObject, Node, Pod, Service
from nftsvc.plan import make_plan
from nftsvc.settings import NodeSettings
from nftsvc.sources.cluster import wire
from nftsvc.sources.cluster.known import Known, latest
from nftsvc.sources.cluster.wire import Decoder, EventType, Garbled, Item, Lines
from nftsvc.state import State
from tests.support.builders import NODE, NODE_ADDRESSES, decoded, endpoint_slice, service
from tests.support.kept import kept

CAPTURES = Path(__file__).parents[1] / "captures"
KINDS: dict[str, type[KubernetesObject]] = {
    "services": Service,
    "endpointslices": EndpointSlice,
    "endpoints": Endpoints,
    "nodes": Node,
    "pods": Pod,
}

Raw = dict[str, Any]


def listed(*items: object, kind: str = "Service", **metadata: str) -> bytes:
    found = {"resourceVersion": "7", **metadata}
    return json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "metadata": found, "items": items}).encode()


def event(kind: str, raw: object) -> bytes:
    return json.dumps({"type": kind, "object": raw}).encode()


def at(raw: Raw, version: str) -> Raw:
    return {**raw, "metadata": {**raw["metadata"], "resourceVersion": version}}


def item_of(decoder: Decoder, raw: object) -> Item:
    return decoder.item(msgspec.Raw(json.dumps(raw).encode()))


# Lines ----------------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n")), max_size=8), st.data())
def test_lines_come_out_whole_wherever_the_chunks_end(texts: list[str], data: st.DataObject) -> None:
    body = "".join(f"{text}\n" for text in texts).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    lines = Lines()
    found = [
        line for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True) for line in lines.feed(body[start:end])
    ]
    assert found == [text.encode() for text in texts if text.encode().strip()]
    assert not lines.begun


def test_a_line_that_has_not_ended_is_kept_back() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntwo") == [b"one"]
    assert lines.begun
    assert lines.feed(b"") == []
    assert lines.feed(b"-more\n\n\nthree\n") == [b"two-more", b"three"]
    assert not lines.begun


def test_a_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MOST_LINE", 1000)
    lines = Lines()
    assert lines.feed(b"x" * 900) == []
    with pytest.raises(Garbled):
        lines.feed(b"x" * 101)


# Recorded bytes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_recorded_lists_decode_to_what_manifests_would(name: str) -> None:
    body = (CAPTURES / f"{name}.list.json").read_bytes()
    decoder = Decoder(KINDS[name])
    page = decoder.page(body)
    raws = json.loads(body)["items"]
    kind = {"apiVersion": KINDS[name].API_VERSION, "kind": KINDS[name].KIND}
    found = [decoder.item(raw) for raw in page.raws]
    assert (page.version, page.token) == ("294", "")
    assert [item.value for item in found] == [kept(decode({**raw, **kind}).value) for raw in raws]
    assert [item.name for item in found] == [
        (raw["metadata"].get("namespace", ""), raw["metadata"]["name"]) for raw in raws
    ]
    assert not any(item.problems for item in found)


@pytest.mark.parametrize("name", ["services", "endpointslices", "endpoints", "nodes", "pods"])
def test_recorded_events_decode_to_what_manifests_would(name: str) -> None:
    decoder = Decoder(KINDS[name])
    path = CAPTURES / f"{name}.watch.jsonl"
    lines = path.read_bytes().splitlines()
    found = [decoder.event(line) for line in lines]
    raws = [json.loads(line) for line in lines]
    types = {"ADDED": EventType.PUT, "MODIFIED": EventType.PUT, "DELETED": EventType.REMOVED}
    assert [one.type for one in found] == [types.get(raw["type"], EventType.BOOKMARK) for raw in raws]
    assert [one.version for one in found] == [raw["object"]["metadata"]["resourceVersion"] for raw in raws]
    for one, raw in zip(found, raws, strict=True):
        if one.type is EventType.PUT:
            assert one.item is not None
            assert one.item.value == kept(decode(raw["object"]).value) is not None


def test_equal_parts_are_kept_once() -> None:
    decoder = Decoder(EndpointSlice)
    raws = [endpoint_slice("web", ["10.0.0.1", "10.0.0.2"], suffix=str(number), node="a" * 30) for number in range(2)]
    for raw in raws:
        for one in raw["endpoints"]:
            one["conditions"] = {"ready": True}
            one["hints"] = {"forZones": [{"name": "zone-a"}]}
    items = [decoder.item(raw) for raw in decoder.page(listed(*raws, kind="EndpointSlice")).raws]
    values = [item.value for item in items]
    assert values == [decode(raw).value for raw in raws]
    slices = [value for value in values if isinstance(value, EndpointSlice)]
    endpoints = [one for value in slices for one in value.endpoints or ()]
    assert len(endpoints) == 4
    assert len({id(one.conditions) for one in endpoints}) == 1
    assert len({id(one.hints) for one in endpoints}) == 1
    assert len({id(one.node_name) for one in endpoints}) == 1
    assert len({id(value.namespace) for value in slices}) == 1
    assert len({id(value.ports) for value in slices}) == 1


def test_what_is_not_kept_makes_no_difference() -> None:
    mode = "service.kubernetes.io/topology-mode"
    raws: list[Raw] = []
    for number, annotations in enumerate(({}, {mode: "Auto"}, {mode: "Disabled"}, {"a": "b"}), 1):
        raw = service(f"web-{number}", [f"10.96.0.{number}"], selector={"app": "web"}, sessionAffinity="ClientIP")
        age = {"creationTimestamp": f"2026-01-0{number}T00:00:00Z", "annotations": annotations}
        raws.append({**raw, "metadata": {**raw["metadata"], **age, "labels": {"app": "web"}}})
        if number != 2:
            part = endpoint_slice(f"web-{number}", [f"10.244.1.{number}"])
            part["metadata"]["labels"]["app"] = "web"
            raws.append(part)
    raws[0]["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"] = "other"
    raws[-1]["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    decoders = {kind.KIND: Decoder(kind) for kind in (Service, EndpointSlice)}
    items = [item_of(decoders[raw["kind"]], raw) for raw in raws]
    whole = [decoded(raw) for raw in raws]
    settings = NodeSettings(name=NODE, node_port_addresses=NODE_ADDRESSES)
    less = [item.value for item in items if item.value is not None]
    assert less == [kept(one) for one in whole] != whole
    plan = make_plan(State.of(less), settings)
    assert plan == make_plan(State.of(whole), settings)
    assert [one.field for one in plan.problems] == ["metadata.annotations"]
    assert {name for _, name in (one.service for one in plan.ports)} == {"web-2", "web-3", "web-4"}


@pytest.mark.parametrize("value", [True, 1.0, "1", [1], {"a": 1}, None])
def test_what_only_looks_like_a_known_value_is_not_taken_for_it(value: object) -> None:
    decoder = Decoder(Service)
    assert item_of(decoder, service("web", ["10.96.0.1"], [{"port": 1, "name": "1"}])).value is not None
    raw = service("web", ["10.96.0.1"], [{"port": value}])
    item = item_of(decoder, raw)
    assert item.value is None
    assert item.problems == decode(raw).problems != ()


# Lists ----------------------------------------------------------------------------------------------------------------


def test_a_page_says_where_the_list_goes_on() -> None:
    page = Decoder(Service).page(listed(service("web", ["10.96.0.1"]), **{"continue": "abc"}))
    assert (page.version, page.token, len(page.raws)) == ("7", "abc", 1)


@pytest.mark.parametrize("items", ["null", "[]"])
def test_an_empty_list(items: str) -> None:
    page = Decoder(Service).page(b'{"metadata":{"resourceVersion":"7"},"items":%s}' % items.encode())
    assert page.raws == ()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"<html>",
        b'{"kind":"Status","metadata":{},"code":500}',
        b'{"kind":"PodList","metadata":{"resourceVersion":"7"},"items":[]}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"x"}}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":"7"},"items":{}}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":7},"items":[]}',
        b'{"kind":"ServiceList","metadata":{"resourceVersion":""},"items":[]}',
    ],
)
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(Garbled, match="not a list"):
        Decoder(Service).page(body)


def bad_port(name: str) -> Raw:
    return service(name, ["10.96.0.2"], [{"port": 70000}])


def test_problems_are_those_that_a_manifest_would_have() -> None:
    raw = service("web", ["10.96.0.1", "nonsense"], [{"port": 0}, {"port": 80, "protocol": "HTTP"}])
    item = item_of(Decoder(Service), raw)
    assert item.value is None
    assert item.problems == decode(raw).problems
    assert len(item.problems) > 2


def test_rules_that_no_single_field_can_tell_are_checked() -> None:
    raw = service("web", ["10.96.0.1"], [{"port": 80}, {"port": 80}])
    item = item_of(Decoder(Service), raw)
    assert item.value is None
    assert item.problems == decode(raw).problems != ()


@pytest.mark.parametrize(
    "raw",
    [3, [], {}, {"metadata": None}, {"metadata": {"name": None}}, {"metadata": {"name": ["x"]}}],
    ids=str,
)
def test_an_object_without_a_name_is_a_problem_and_no_more(raw: object) -> None:
    item = item_of(Decoder(Service), raw)
    assert item.value is None
    assert item.problems


def test_explicit_nulls_mean_defaults() -> None:
    raw = service("web", ["10.96.0.1"], [{"port": 80, "protocol": None, "name": None}])
    raw["metadata"]["labels"] = None
    item = item_of(Decoder(Service), raw)
    assert item.value == decode(raw).value is not None
    assert not item.problems


def test_slices_of_names_are_left_out_without_a_word() -> None:
    raw = {**endpoint_slice("web", ["10.0.0.1"]), "addressType": "FQDN"}
    item = item_of(Decoder(EndpointSlice), raw)
    assert item == Item(("shop", "web-ipv4-1"), None)


# Watches --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"{}",
        b"[]",
        b"null",
        b'{"type":"ADDED"}',
        b'{"type":"ADDED","object":null}',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":3}}}',
        b'{"type":"ADDED","object":{"metadata":{"resourceVersion":"\xff"}}}',
        b'{"type":"SURPRISE","object":{"metadata":{"resourceVersion":"3"}}}',
        b'{"type":"added","object":{"metadata":{"resourceVersion":"3"}}}',
        b'{"type":"ERROR","object":3}',
        b'{"type":"ADDED","object":' + b"[" * 100_000,
    ],
)
def test_lines_that_are_no_events(line: bytes) -> None:
    with pytest.raises(Garbled):
        Decoder(Service).event(line)


def test_a_bad_object_in_an_event_is_a_problem_and_moves_the_version_on() -> None:
    said = Decoder(Service).event(event("MODIFIED", at(bad_port("web"), "12")))
    assert (said.type, said.version) == (EventType.PUT, "12")
    assert said.item is not None
    assert said.item.name == ("shop", "web")
    assert said.item.problems == decode(bad_port("web")).problems


def test_what_is_deleted_need_not_be_readable() -> None:
    said = Decoder(Service).event(event("DELETED", at(bad_port("web"), "12")))
    assert (said.type, said.version, said.item) == (EventType.REMOVED, "12", Item(("shop", "web"), None))


def test_an_error_says_what_it_is() -> None:
    line = (CAPTURES.parent / "captures" / "services.watch.jsonl").read_bytes().splitlines()[0]
    assert Decoder(Service).event(line).status is None
    said = Decoder(Service).event(event("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "m"}))
    assert said.type is EventType.ERROR
    assert said.status is not None
    assert (said.status.code, said.status.message) == (410, "m")


@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_fail(junk: bytes) -> None:
    decoder = Decoder(EndpointSlice)
    for body in (junk, b'{"type":"ADDED","object":' + junk + b"}"):
        with suppress(Garbled):
            decoder.event(body)
    assert decoder.item(msgspec.Raw(junk)).problems
    with suppress(Garbled):
        decoder.page(b'{"metadata":{"resourceVersion":"1"},"items":[' + junk + b"]}")


def test_text_that_is_not_utf_8_is_a_problem_of_its_object() -> None:
    raw = msgspec.Raw(b'{"metadata":{"name":"web","namespace":"shop","labels":{"a":"\xff"}}}')
    item = Decoder(Service).item(raw)
    assert item.name == ("shop", "web")
    (problem,) = item.problems
    assert str(problem) == "Service shop/web: not JSON in UTF-8, or nested too deeply"


# What is known --------------------------------------------------------------------------------------------------------


def good(name: str, port: int = 80) -> Item:
    value = decode(service(name, ["10.96.0.1"], [{"port": port}])).value
    return Item(("shop", name), value)


def bad(name: str) -> Item:
    return Item(("shop", name), None, (Problem(f"{name} is bad"),))


def test_a_bad_object_stays_as_it_was_last_known() -> None:
    known = Known(Service)
    first = known.replace([good("a"), bad("b"), good("c")])
    assert first == Replaced(Service, tuple(item.value for item in (good("a"), good("c")) if item.value))
    assert known.put(bad("a")) is None
    assert [problem.message for problem in known.problems] == ["b is bad", "a is bad"]
    again = known.replace([bad("a"), bad("b")])
    assert [one.name for one in again.objects] == ["a"]
    assert len(known) == 1
    assert known.put(good("b")) == Put(good("b").value)  # type: ignore[arg-type]
    assert [problem.message for problem in known.problems] == ["a is bad"]
    assert known.remove(("shop", "a")) == Removed(ObjectRef("Service", "shop", "a"))
    assert known.problems == ()


def test_only_what_was_told_is_taken_back() -> None:
    known = Known(Service)
    known.replace([bad("a")])
    assert known.remove(("shop", "a")) is None
    assert known.remove(("shop", "never")) is None
    assert known.put(Item(("shop", "skipped"), None)) is None
    known.put(good("b"))
    assert known.put(Item(("shop", "b"), None)) == Removed(ObjectRef("Service", "shop", "b"))
    assert known.replace([]) == Replaced(Service, ())


def test_an_object_that_is_the_same_is_not_kept_twice() -> None:
    known = Known(Service)
    first = good("a")
    known.replace([first])
    assert known.kept(good("a")).value is first.value
    changed = good("a", 81)
    assert known.kept(changed) is changed
    assert known.kept(bad("a")) == bad("a")


def test_of_many_events_about_one_object_the_last_counts() -> None:
    put = [Put(item.value) for item in (good("a"), good("a", 81), good("b")) if item.value is not None]
    gone = Removed(ObjectRef("Service", "shop", "b"))
    a, b = ("shop", "a"), ("shop", "b")
    assert latest([(a, put[0]), (b, put[2]), (a, put[1]), (b, gone)]) == (put[1], gone)
