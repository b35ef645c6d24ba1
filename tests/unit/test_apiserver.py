"""The API server double behaves like the server that was recorded, and goes wrong exactly as it is told."""

import asyncio
import contextlib
import gzip
import http.client
import json
import select
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import pytest
from kubernetes.aio import client as kubernetes_client
from kubernetes.aio import config as kubernetes_config

from nftsvc.lab import namespaces
from tests.support.apiserver import CAPTURES, ApiServer, Behaviour, digest
from tests.support.apiserver_faults import (
    GARBAGE,
    UNKNOWN_TYPE,
    Action,
    Answer,
    Cut,
    Disconnect,
    End,
    Hang,
    Insert,
    Mangle,
    Repeat,
    Slow,
    error_line,
)
from tests.support.apiserver_load import cluster, endpoint_slice, node, service

Document = dict[str, Any]
SERVICES = "/api/v1/services"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices"
PATHS = {
    "services": SERVICES,
    "endpoints": "/api/v1/endpoints",
    "nodes": "/api/v1/nodes",
    "pods": "/api/v1/pods",
    "endpointslices": SLICES,
}
TOKEN = "t0"  # noqa: S105 - opens nothing
LISTED = 294  # the resourceVersion of all recorded lists


class Client:
    """One connection to the server and no cleverness."""

    def __init__(self, server: ApiServer, token: str = "", context: ssl.SSLContext | None = None) -> None:
        self._connection = (
            http.client.HTTPConnection(server.host, server.port, timeout=30)
            if context is None
            else http.client.HTTPSConnection(server.host, server.port, timeout=30, context=context)
        )
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(
        self,
        path: str,
        body: Document | None = None,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> http.client.HTTPResponse:
        text = None if body is None else json.dumps(body)
        target = f"{path}?{urlencode(query)}" if query else path
        self._connection.request(method, target, text, {**self._headers, **(headers or {})})
        return self._connection.getresponse()

    def ask_only(self, path: str) -> None:
        self._connection.request("GET", path, None, self._headers)

    def answer(self) -> http.client.HTTPResponse:
        return self._connection.getresponse()

    def silent(self) -> bool:
        """Whether the server says nothing for a moment."""
        return not select.select([self._connection.sock], [], [], 0.1)[0]

    def watch(self, path: str, revision: int = LISTED, **query: Any) -> http.client.HTTPResponse:
        asked: Document = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": revision, **query}
        return self.ask(path, None, "GET", None, **asked)


def get(server: ApiServer, path: str, token: str = "", **query: Any) -> tuple[int, Document]:
    with Client(server, token) as client:
        answer = client.ask(path, **query)
        return answer.status, json.loads(answer.read())


def names(listed: Document) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


def events(lines: bytes) -> list[tuple[str, str]]:
    """Type and name of each event; a bookmark has no name."""
    read = [json.loads(line) for line in lines.splitlines()]
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in read]


def take(stream: http.client.HTTPResponse, lines: int) -> bytes:
    return b"".join(stream.readline() for _ in range(lines))


def recorded(name: str) -> bytes:
    return (CAPTURES / name).read_bytes()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as made:
        yield made


@pytest.fixture
def captured(server: ApiServer) -> ApiServer:
    for name in PATHS:
        server.load(f"{name}.list.json")
    return server


# As recorded


@pytest.mark.parametrize("name", PATHS)
def test_a_list_is_the_recorded_one(captured: ApiServer, name: str) -> None:
    with Client(captured) as client:
        answer = client.ask(PATHS[name])
        assert answer.read() == recorded(f"{name}.list.json")
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("name", ["services", "endpointslices"])
def test_pages_are_the_recorded_ones(captured: ApiServer, name: str) -> None:
    with Client(captured) as client:
        pages = [client.ask(PATHS[name], limit=3).read()]
        while token := json.loads(pages[-1])["metadata"].get("continue"):
            pages.append(client.ask(PATHS[name], limit=3, **{"continue": token}).read())
    assert pages[:2] == [recorded(f"{name}.list.page1.json"), recorded(f"{name}.list.page2.json")]
    assert "remainingItemCount" not in json.loads(pages[-1])["metadata"]
    assert [one for page in pages for one in names(json.loads(page))] == names(
        json.loads(recorded(f"{name}.list.json"))
    )


def test_watches_tell_what_was_recorded(captured: ApiServer) -> None:
    captured.behaviour.progress = False  # the recorded server's etcd could not tell
    with contextlib.ExitStack() as stack:
        streams = {name: stack.enter_context(Client(captured)).watch(path) for name, path in PATHS.items()}
        captured.wait(lambda: captured.watching() == len(PATHS))
        captured.replay(*(f"{name}.watch.jsonl" for name in PATHS))
        for name, stream in streams.items():
            expected = recorded(f"{name}.watch.jsonl")
            assert take(stream, len(expected.splitlines())) == expected, name


def test_a_watch_that_comes_later_is_told_the_same(captured: ApiServer) -> None:
    captured.replay("services.watch.jsonl", "nodes.watch.jsonl")
    with Client(captured) as client:
        assert events(take(client.watch(SERVICES), 3)) == [
            ("MODIFIED", "my-service"),
            ("MODIFIED", "my-service"),
            ("DELETED", "near"),
        ]
    with Client(captured) as client:
        assert events(take(client.watch(SERVICES, 342), 1)) == [("DELETED", "near")]


@pytest.mark.parametrize(
    ("path", "query", "file"),
    [
        (SERVICES, {}, "error.401.json"),
        ("/api/v1/namespaces/demo/services/none", {}, "error.404.json"),
        (SERVICES, {"resourceVersion": 5, "resourceVersionMatch": "Exact"}, "error.410-list.json"),
        (SERVICES, {"watch": "true", "sendInitialEvents": "true"}, "error.watchlist-unsupported.jsonl"),
    ],
)
def test_refusals_are_the_recorded_ones(captured: ApiServer, path: str, query: Document, file: str) -> None:
    captured.compact()
    captured.set_token("right")
    with Client(captured, "wrong" if "401" in file else "right") as client:
        answer = client.ask(path, **query)
        assert answer.read() == recorded(file)
        assert answer.status == {"error.401.json": 401, "error.404.json": 404, "error.410-list.json": 410}.get(
            file, 200
        )


def test_objects_read_alone_say_what_they_are(captured: ApiServer) -> None:
    code, found = get(captured, "/api/v1/nodes/node-a")
    assert (code, found["kind"], found["apiVersion"]) == (200, "Node", "v1")
    code, found = get(captured, "/api/v1/namespaces/demo/services", limit=1)
    assert (found["kind"], names(found), found["metadata"]["remainingItemCount"]) == (
        "ServiceList",
        ["all-protocols"],
        12,
    )


def test_a_server_may_lack_a_resource(server: ApiServer) -> None:
    path = "/apis/networking.k8s.io/v1/servicecidrs"
    assert get(server, path)[1]["items"] == []
    server.behaviour.absent.add("servicecidrs")
    code, body = get(server, path)
    assert (code, body["kind"], body["reason"]) == (404, "Status", "NotFound")
    assert get(server, "/apis/networking.k8s.io/v1")[0] == 404
    assert {one["name"] for one in get(server, "/api/v1")[1]["resources"]} >= {"services", "nodes"}


# What happens to objects


def test_put_completes_objects_and_writes_only_what_changes(server: ApiServer) -> None:
    first = server.put(service(1))
    assert server.put(service(1)) == first
    metadata = (server.get("Service", "load", "service-1") or {})["metadata"]
    assert list(metadata) == [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "labels",
        "managedFields",
    ]
    assert server.put({**service(1), "spec": {"type": "ExternalName"}}) == first + 1
    changed = (server.get("Service", "load", "service-1") or {})["metadata"]
    assert (changed["uid"], changed["creationTimestamp"]) == (metadata["uid"], metadata["creationTimestamp"])
    server.delete("Service", "load", "service-1")
    server.put(service(1))
    assert (server.get("Service", "load", "service-1") or {})["metadata"]["uid"] != metadata["uid"]


def test_another_uid_is_another_object(server: ApiServer) -> None:
    start = server.put(service(1))
    other = service(1)
    server.put({**other, "metadata": {**other["metadata"], "uid": "other"}})
    with Client(server) as client:
        assert events(take(client.watch(SERVICES, start), 2)) == [("DELETED", "service-1"), ("ADDED", "service-1")]


def test_anything_can_be_stored_raw(server: ApiServer) -> None:
    odd: Document = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "odd", "labels": 7}, "spec": [None]}
    server.put(odd, raw=True)
    (listed,) = get(server, SERVICES, labelSelector="!a", fieldSelector="spec.type=")[1]["items"]
    assert listed == {"metadata": {**odd["metadata"], "resourceVersion": "2"}, "spec": [None]}
    server.delete("Service", "default", "odd")


def test_label_selectors(captured: ApiServer) -> None:
    name = "kubernetes.io/service-name"
    assert len(get(captured, SLICES, labelSelector=f"{name}=app2")[1]["items"]) == 2
    assert len(get(captured, SLICES, labelSelector=f"{name} in (app1,app2),!absent")[1]["items"]) == 3
    everything = len(get(captured, SLICES)[1]["items"])
    assert len(get(captured, SLICES, labelSelector=f"{name}!=app2")[1]["items"]) == everything - 2
    assert get(captured, SLICES, labelSelector=f"!{name}")[1]["items"] == []
    assert "remainingItemCount" not in get(captured, SLICES, labelSelector=name, limit=1)[1]["metadata"]
    assert get(captured, SLICES, labelSelector="a==b==c")[0] == 400


def test_field_selectors(captured: ApiServer) -> None:
    assert names(get(captured, "/api/v1/nodes", fieldSelector="metadata.name=node-b")[1]) == ["node-b"]
    listed = names(get(captured, SERVICES, fieldSelector="spec.clusterIP!=None")[1])
    assert "headless" not in listed
    assert "my-service" in listed
    assert get(captured, SERVICES, fieldSelector="spec.ports=80")[0] == 400


def test_who_leaves_a_selection_is_deleted_as_last_seen(server: ApiServer) -> None:
    start = server.put(service(1))
    leaving = service(1)
    leaving["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    last = server.put(leaving)
    server.put({**leaving, "spec": {}})  # nobody who does not see it is told
    server.put(service(1))
    with Client(server) as client:
        stream = client.watch(SERVICES, start, labelSelector="!service.kubernetes.io/headless")
        gone, back = (json.loads(stream.readline()) for _ in range(2))
    assert (gone["type"], back["type"]) == ("DELETED", "ADDED")
    assert gone["object"]["metadata"]["resourceVersion"] == str(last)
    assert gone["object"]["metadata"]["labels"] == {"app": "app-1"}


def test_a_watch_of_one_namespace_and_one_without_a_start(server: ApiServer) -> None:
    server.put_many([service(1, "one"), service(2, "two")])
    with Client(server) as here, Client(server) as everywhere:
        one = here.watch("/api/v1/namespaces/one/services", 0)
        both = everywhere.watch(SERVICES, 0)
        server.wait(lambda: server.watching("services") == 2)
        server.put_many([service(3, "two"), service(4, "one")])
        assert events(take(one, 2)) == [("ADDED", "service-1"), ("ADDED", "service-4")]
        assert [name for _, name in events(take(both, 4))] == [f"service-{n}" for n in (1, 2, 3, 4)]


# Revisions


def test_pages_show_one_state_until_it_is_compacted(server: ApiServer) -> None:
    server.put_many(service(number) for number in range(5))
    first = get(server, SERVICES, limit=2)[1]
    server.delete("Service", "load", "service-3")
    server.put_many([service(9), {**service(4), "spec": {}}])
    token = first["metadata"]["continue"]
    second = get(server, SERVICES, limit=2, **{"continue": token})[1]
    third = get(server, SERVICES, limit=2, **{"continue": second["metadata"]["continue"]})[1]
    assert names(first) + names(second) + names(third) == [f"service-{number}" for number in range(5)]
    assert third["items"][0]["spec"]
    server.compact()
    code, body = get(server, SERVICES, limit=2, **{"continue": token})
    assert (code, body["reason"]) == (410, "Expired")
    code, rest = get(server, SERVICES, **{"continue": body["metadata"]["continue"]})
    assert (code, names(rest)) == (200, ["service-2", "service-4", "service-9"])
    assert get(server, SERVICES, **{"continue": "rubbish"})[0] == 400


def test_lists_at_a_revision(server: ApiServer) -> None:
    first = server.put(service(1))
    last = server.put(service(2))
    assert names(get(server, SERVICES, resourceVersion=first, resourceVersionMatch="Exact")[1]) == ["service-1"]
    assert len(names(get(server, SERVICES, resourceVersion=first)[1])) == 2
    assert len(names(get(server, SERVICES, resourceVersion=0, limit=1)[1])) == 2  # no limit there, as in reality
    code, body = get(server, SERVICES, resourceVersion=last + 1)
    assert (code, body["details"]["causes"][0]["reason"]) == (504, "ResourceVersionTooLarge")


def test_a_watch_from_a_compacted_revision_is_told_so(server: ApiServer) -> None:
    old = server.put(service(1))
    new = server.compact()
    with Client(server) as client:
        stream = client.watch(SERVICES, old)
        event = json.loads(stream.read())
    assert (stream.status, event["type"]) == (200, "ERROR")
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    server.behaviour.expired_watch = "status"
    with Client(server) as client:
        assert client.watch(SERVICES, old).status == 410
    with Client(server) as client:
        stream = client.watch(SERVICES, new)
        server.put(service(2))
        assert events(take(stream, 1)) == [("ADDED", "service-2")]


def test_compaction_does_not_disturb_open_watches(server: ApiServer) -> None:
    start = server.put(service(1))
    with Client(server) as client:
        stream = client.watch(SERVICES, start)
        server.put(service(2))
        server.compact()
        assert events(take(stream, 1)) == [("ADDED", "service-2")]


def test_bookmarks_come_in_time_and_before_the_end(server: ApiServer) -> None:
    server.behaviour.bookmark_period = 0.05
    start = server.put(service(1))
    server.put(endpoint_slice(1, range(3)))  # a newer revision, elsewhere
    with Client(server) as client:
        stream = client.watch(SERVICES, start)
        assert json.loads(take(stream, 2).splitlines()[1])["object"]["metadata"] == {"resourceVersion": str(start + 1)}
    server.behaviour.bookmark_period = 60
    with Client(server) as client:
        assert events(client.watch(SERVICES, start, timeoutSeconds=1).read()) == [("BOOKMARK", "")]
    assert server.requests[-1].ended == "timeout"
    with Client(server) as client:
        stream = client.watch(SERVICES, start + 1)
        assert server.send_bookmarks("services") == 1
        assert client.silent()  # it would say nothing new
        server.put(service(2))
        assert server.send_bookmarks("services") == 1
        assert events(take(stream, 2)) == [("ADDED", "service-2"), ("BOOKMARK", "")]


def test_it_can_come_back_with_other_data(server: ApiServer) -> None:
    server.put_many(service(number) for number in range(50))
    old = server.revision
    with Client(server) as client:
        stream = client.watch(SERVICES, old)
        server.replace([service(7)], revision=10)
        with pytest.raises((http.client.HTTPException, OSError)):
            stream.read()
    assert server.revision == 11 < old
    assert names(get(server, SERVICES)[1]) == ["service-7"]
    with Client(server) as client:  # as in reality, a watch from the future is silent
        stream = client.watch(SERVICES, old)
        server.put(service(8))
        assert client.silent()
        server.put_many(service(number) for number in range(50, 100))
        assert json.loads(stream.readline())["object"]["metadata"]["resourceVersion"] == str(old + 1)


# Who may


def test_tokens_rotate(server: ApiServer) -> None:
    server.set_token("old")
    start = server.put(service(1))
    assert get(server, SERVICES, "old")[0] == 200
    with Client(server, "old") as client:
        stream = client.watch(SERVICES, start)
        server.set_token("new", cut=True)
        assert stream.read() == b""
    assert (get(server, SERVICES, "old")[0], get(server, SERVICES)[0], get(server, SERVICES, "new")[0]) == (
        401,
        401,
        200,
    )
    seen = [one.authorization for one in server.requests]
    assert seen == [digest("Bearer old")] * 3 + ["", digest("Bearer new")]
    assert "Bearer" not in repr(server.requests)


def test_certificates(tmp_path: Path) -> None:
    with ApiServer(tls=True, token=TOKEN, behaviour=Behaviour(certificate_required=True)) as server:
        pair = server.client_certificate("system:node:a")
        context = ssl.create_default_context(cafile=server.ca_file)
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        with Client(server, context=context) as client:
            assert client.ask(SERVICES).status == 401
        with Client(server, TOKEN, context) as client:
            assert client.ask(SERVICES).status == 200
        context.load_cert_chain(pair.certificate, pair.key)
        with Client(server, context=context) as client:
            assert client.ask(SERVICES).status == 200
        assert server.requests[-1].user == "system:node:a"
        with Client(server, context=ssl.create_default_context()) as client, pytest.raises(ssl.SSLError):
            client.ask(SERVICES)
        assert server.service_account(tmp_path).joinpath("ca.crt").read_bytes() == server.ca_file.read_bytes()


async def names_by_library(path: Path) -> list[str]:
    configuration = kubernetes_client.Configuration()
    await kubernetes_config.load_kube_config(str(path), client_configuration=configuration)  # type: ignore[no-untyped-call]
    async with kubernetes_client.ApiClient(configuration) as api:
        listed = await kubernetes_client.CoreV1Api(api).list_service_for_all_namespaces()
        return [one.to_dict()["metadata"]["name"] for one in listed.items]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_kubernetes_library_reads_its_kubeconfig(host: str, tmp_path: Path) -> None:
    with ApiServer(host, tls=True, token=TOKEN) as server:
        server.put_many([service(1), service(2)])
        path = server.kubeconfig(tmp_path / "kubeconfig")
        assert asyncio.run(names_by_library(path)) == ["service-1", "service-2"]
        (file := tmp_path / "token").write_text(TOKEN)
        path = server.kubeconfig(tmp_path / "kubeconfig", {"tokenFile": str(file)})
        assert asyncio.run(names_by_library(path)) == ["service-1", "service-2"]


def test_it_can_live_in_a_namespace() -> None:
    with namespaces("apiserver") as (inside,), ApiServer(port=6443, call=inside.call) as server:

        def ask() -> int:
            return get(server, SERVICES)[0]

        assert inside.call(ask) == 200
        with pytest.raises(ConnectionRefusedError):
            ask()
        server.down()
        server.up()
        assert inside.call(ask) == 200


# Events that clients write

OLD_EVENTS = "/api/v1/namespaces/shop/events"
NEW_EVENTS = "/apis/events.k8s.io/v1/namespaces/shop/events"


def new_event(**changed: object) -> Document:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": "web.", "namespace": "shop"},
        "eventTime": "2026-11-22T23:47:17.000000Z",
        "reportingController": "nftsvc",
        "reportingInstance": "node-a",
        "action": "Sync",
        "reason": "Conflict",
        "type": "Warning",
        "note": "the address is taken",
        "regarding": {"kind": "Service", "namespace": "shop", "name": "web"},
        **changed,
    }


def test_events_are_kept(server: ApiServer) -> None:
    old = {"metadata": {"name": "web.1"}, "involvedObject": {"namespace": "shop"}, "count": 1, "message": "m"}
    with Client(server) as client:
        answer = client.ask(NEW_EVENTS, new_event(), "POST")
        made = json.loads(answer.read())
        assert answer.status == 201
        answer = client.ask(OLD_EVENTS, old, "POST")
        assert json.loads(answer.read())["metadata"]["uid"]
        again = client.ask(OLD_EVENTS, old, "POST")
        assert json.loads(again.read())["reason"] == "AlreadyExists"
        kind = {"Content-Type": "application/merge-patch+json"}
        answer = client.ask(f"{OLD_EVENTS}/web.1", {"count": 2, "message": None}, "PATCH", kind)
        assert (answer.status, json.loads(answer.read())["count"]) == (200, 2)
    kept_old, kept_new = server.events
    assert kept_new == made
    assert made["metadata"]["name"].startswith("web.")
    assert (kept_old["count"], "message" in kept_old, kept_old["kind"]) == (2, False, "Event")
    assert server.count("create", "events", 409) == 1


@pytest.mark.parametrize(
    ("path", "body", "method", "code"),
    [
        (NEW_EVENTS, new_event(type="Odd"), "POST", 422),
        (NEW_EVENTS, new_event(action=""), "POST", 422),
        (NEW_EVENTS, new_event(note="x" * 1025), "POST", 422),
        (NEW_EVENTS, new_event(regarding={"namespace": "other"}), "POST", 422),
        (NEW_EVENTS, new_event(metadata={"name": "a", "namespace": "other"}), "POST", 400),
        (f"{OLD_EVENTS}/none", {}, "PATCH", 404),
        ("/api/v1/namespaces/shop/services", {}, "POST", 405),
    ],
)
def test_bad_events_are_refused(server: ApiServer, path: str, body: Document, method: str, code: int) -> None:
    with Client(server) as client:
        answer = client.ask(path, body, method, {"Content-Type": "application/merge-patch+json"})
        assert (answer.status, json.loads(answer.read())["code"]) == (code, code)
    assert server.events == []


# What goes wrong


@pytest.mark.parametrize(
    ("code", "reason"), [(401, "Unauthorized"), (403, "Forbidden"), (410, "Expired"), (503, "ServiceUnavailable")]
)
def test_answers_on_demand_are_counted(server: ApiServer, code: int, reason: str) -> None:
    fault = server.faults.add(Answer(code), resource="services", verb="list", times=2, skip=1)
    seen = [get(server, SERVICES) for _ in range(4)]
    assert [one[0] for one in seen] == [200, code, code, 200]
    assert (seen[1][1]["kind"], seen[1][1]["reason"], seen[1][1]["code"]) == ("Status", reason, code)
    assert get(server, SLICES)[0] == 200
    assert fault.hits == 2
    assert server.count("list", "services", code) == 2


def test_too_many_requests_say_when_to_come_again(server: ApiServer) -> None:
    server.faults.add(Answer(429, retry_after=7), verb="watch")
    with Client(server) as client:
        answer = client.watch(SERVICES)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")
        assert json.loads(answer.read())["details"]["retryAfterSeconds"] == 7


def test_a_body_on_demand(server: ApiServer) -> None:
    server.faults.add(Answer(502, body=b"<html>Bad Gateway</html>", content_type="text/html"))
    with Client(server) as client:
        answer = client.ask(SERVICES)
        assert (answer.status, answer.read(), answer.headers["Content-Type"]) == (
            502,
            b"<html>Bad Gateway</html>",
            "text/html",
        )


def test_nobody_answers_until_the_fault_is_gone(server: ApiServer) -> None:
    fault = server.faults.add(Hang(), resource="services")
    with Client(server) as client:
        client.ask_only(SERVICES)
        fault.wait()
        assert client.silent()
        assert get(server, SLICES)[0] == 200
        fault.remove()
        assert client.answer().status == 200


@pytest.mark.parametrize("reset", [False, True])
def test_closed_without_an_answer(server: ApiServer, reset: bool) -> None:
    server.faults.add(Disconnect(reset=reset))
    with Client(server) as client, pytest.raises(ConnectionResetError if reset else http.client.RemoteDisconnected):
        client.ask(SERVICES)
    assert server.requests[-1].status == 0


def test_a_list_is_cut(captured: ApiServer) -> None:
    captured.faults.add(Cut(after=1000))
    with Client(captured) as client, pytest.raises(http.client.IncompleteRead) as caught:
        client.ask(SERVICES).read()
    assert caught.value.partial == recorded("services.list.json")[:1000]


def test_the_connection_goes_between_two_pages(captured: ApiServer) -> None:
    captured.faults.add(Disconnect(), verb="list", continued=True)
    with Client(captured) as client:
        token = json.loads(client.ask(SERVICES, limit=3).read())["metadata"]["continue"]
        with pytest.raises(http.client.RemoteDisconnected):
            client.ask(SERVICES, limit=3, **{"continue": token})
    assert get(captured, SERVICES, limit=3, **{"continue": token})[0] == 200


def test_a_slow_list_is_whole(captured: ApiServer) -> None:
    captured.faults.add(Slow(pause=0.001, piece=500))
    with Client(captured) as client:
        assert client.ask(SERVICES).read() == recorded("services.list.json")


def test_a_list_may_be_something_else(captured: ApiServer) -> None:
    captured.faults.add(Mangle(lambda body: body.replace(b'"port":80', b'"port":"eighty"')), verb="list")
    with Client(captured) as client:
        assert b'"eighty"' in client.ask(SERVICES).read()
        assert client.ask(SERVICES).read() == recorded("services.list.json")


@pytest.mark.parametrize(
    ("action", "lines"),
    [
        (End(after=1), ["service-1"]),
        (Insert(GARBAGE, after=1), ["service-1", "\x00", "service-2"]),
        (Insert(UNKNOWN_TYPE), ["SURPRISE", "service-1", "service-2"]),
        (Insert(error_line(410), after=1), ["service-1", '"code":410', "service-2"]),
        (Repeat(), ["service-1", "service-1", "service-2", "service-2"]),
        (Slow(pause=0.01), ["service-1", "service-2"]),
        (Mangle(lambda one: b"" if b"service-1" in one else one), ["service-2"]),
    ],
)
def test_watches_with_faults(server: ApiServer, action: Action, lines: list[str]) -> None:
    fault = server.faults.add(action, verb="watch")
    start = server.revision
    server.put_many([service(1), service(2)])
    with Client(server) as client:
        stream = client.watch(SERVICES, start)
        read = take(stream, len(lines)).splitlines()
        server.end_watches()
        assert stream.read() == b""
    assert len(read) == len(lines)
    for line, expected in zip(read, lines, strict=True):
        assert expected.encode() in line
    assert fault.hits == 1


@pytest.mark.parametrize("midline", [True, False])
@pytest.mark.parametrize("tls", [True, False])
def test_a_watch_is_cut(midline: bool, tls: bool) -> None:
    with ApiServer(tls=tls) as server:
        server.faults.add(Cut(after=1, midline=midline), verb="watch")
        context = ssl.create_default_context(cafile=server.ca_file) if tls else None
        start = server.revision
        server.put_many([service(1), service(2)])
        with Client(server, context=context) as client:
            stream = client.watch(SERVICES, start)
            assert events(stream.readline()) == [("ADDED", "service-1")]
            with pytest.raises(http.client.IncompleteRead) as caught:
                stream.read()
        assert (b"service-2" in caught.value.partial, caught.value.partial[-1:] == b"\n") == (midline, False)
        assert server.requests[-1].ended == "fault"


def test_open_watches_take_orders(server: ApiServer) -> None:
    with Client(server) as one, Client(server) as other:
        slices = one.watch(SLICES, 1)
        services = other.watch(SERVICES, 1)
        server.wait(lambda: server.watching() == 2)
        assert server.send(GARBAGE, "services") == 1
        assert server.send(error_line(410), "services", then="end") == 1
        assert services.readline() == GARBAGE
        assert [kind for kind, _ in events(services.read())] == ["ERROR"]
        assert server.end_watches(then="close") == 1
        with pytest.raises(http.client.IncompleteRead):
            slices.read()
    server.wait(lambda: server.watching() == 0)
    assert [one.ended for one in server.requests] == ["ordered", "ordered"]


def test_one_resource_may_lag_behind_the_others(server: ApiServer) -> None:
    with Client(server) as one, Client(server) as other:
        slices, services = one.watch(SLICES, 1), other.watch(SERVICES, 1)
        with server.hold("services"):
            server.put_many([service(1), endpoint_slice(1, range(2))])
            assert events(slices.readline()) == [("ADDED", "service-1-ipv4")]
            assert other.silent()
        assert events(services.readline()) == [("ADDED", "service-1")]


def test_away_and_back_on_the_same_port(server: ApiServer) -> None:
    port = server.port
    server.put(service(1))
    with Client(server) as client:
        stream = client.watch(SERVICES, server.revision)
        server.down()
        with pytest.raises((http.client.HTTPException, OSError)):
            stream.read()
    with pytest.raises(ConnectionRefusedError):
        get(server, SERVICES)
    server.up()
    assert server.port == port
    assert names(get(server, SERVICES)[1]) == ["service-1"]


def test_away_without_refusing(server: ApiServer) -> None:
    server.down(refuse=False)
    with Client(server) as client:
        client.ask_only(SERVICES)
        assert client.silent()
        server.up()
        assert client.answer().status == 200


# Many of them


def test_large_lists_are_compressed_for_who_wants_it(server: ApiServer) -> None:
    server.put_many(cluster(300))
    with Client(server) as client:
        plain = client.ask(SERVICES).read()
        answer = client.ask(SERVICES, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == plain
    assert len(json.loads(plain)["items"]) == 300


def test_a_storm_reaches_watchers_whole_and_in_order(server: ApiServer) -> None:
    server.put(node("node-a", "192.0.2.11"))
    with Client(server) as client:
        stream = client.watch(SERVICES, server.revision)
        storm = threading.Thread(target=server.put_many, args=([service(number) for number in range(2000)],))
        storm.start()
        assert len(get(server, SERVICES)[1]["items"]) <= 2000
        seen = events(take(stream, 2000))
        storm.join()
    assert seen == [("ADDED", f"service-{number}") for number in range(2000)]


def test_who_does_not_read_is_forgotten_and_can_resume(server: ApiServer) -> None:
    server.behaviour.stall, server.behaviour.backlog = 0.05, 10
    padding = {"annotations": {"padding": "x" * 100_000}}
    with Client(server) as client:
        stream = client.watch(SERVICES, 1)
        given = [service(number) for number in range(300)]
        server.put_many({**one, "metadata": {**one["metadata"], **padding}} for one in given)
        server.wait(lambda: "slow" in {one.ended for one in server.requests})
        read = stream.read()
    seen = events(read)
    assert 0 < len(seen) < 300
    last = json.loads(read.splitlines()[-1])["object"]["metadata"]["resourceVersion"]
    server.behaviour.stall = 30
    with Client(server) as client:
        seen += events(take(client.watch(SERVICES, int(last)), 300 - len(seen)))
    assert seen == [("ADDED", f"service-{number}") for number in range(300)]
