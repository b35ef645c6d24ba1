"""The cluster source against an API server that speaks the real protocol and fails in every way that those do.

Whatever happens, the receiver must end up with what the server has, without a restart, and never see half a list.
"""

import asyncio
import base64
import json
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pytest

from nftsvc.decode import decode
from nftsvc.errors import ClusterUnreachable, ObjectRef, Severity
from nftsvc.events import Put, Removed, Replaced
from nftsvc.objects import LABEL_HEADLESS, LABEL_PROXY_NAME, KubernetesObject
from nftsvc.sources.cluster import open_cluster
from nftsvc.sources.cluster.access import PodAccess
from nftsvc.sources.cluster.opening import OpenCluster, access_to, opened
from nftsvc.sources.cluster.pace import Pace
from nftsvc.sources.source import Batch
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
from tests.support.apiserver_load import cluster, endpoint_slice, service
from tests.support.apiserver_tls import Authority
from tests.support.kept import kept

PATIENCE = 60.0
QUICK = Pace(
    answer=20,
    shortest_watch=100,
    longest_watch=200,
    steady=1000,
    pointless=0,
    absent=0.2,
    first_wait=0.02,
    longest_wait=0.2,
)
RESOURCES = ("services", "endpointslices", "nodes", "servicecidrs", "endpoints")
KIND = {
    "services": "Service",
    "endpointslices": "EndpointSlice",
    "nodes": "Node",
    "servicecidrs": "ServiceCIDR",
    "endpoints": "Endpoints",
}
NODE = "node-a"

Raw = dict[str, Any]
Key = tuple[str, str]


@dataclass
class View:
    """A receiver that does what it is told and remembers what that was; tests look at it from another thread."""

    objects: dict[str, dict[Key, KubernetesObject]] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    reasons: list[tuple[str, str]] = field(default_factory=list)
    broken_now: dict[str, str] = field(default_factory=dict)
    problems: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    broken_at: dict[str, float] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def deliver(self, batch: Batch) -> None:
        with self.changed:
            self.batches.append(batch)
            self.broken_now.pop(batch.source, None)
            self.problems[batch.source] = batch.problems
            if not batch.read_at <= asyncio.get_running_loop().time():
                self.mistakes.append(f"{batch.source}: read in the future")
            for event in batch.events:
                self._apply(batch.source, event)
            if batch.objects != len(self.objects.get(batch.source, ())):
                self.mistakes.append(f"{batch.source}: says that it knows {batch.objects} objects")
            self.changed.notify_all()

    def _apply(self, source: str, event: Replaced | Put | Removed) -> None:
        known = self.objects.get(source)
        if isinstance(event, Replaced):
            self.objects[source] = {(one.namespace, one.name): one for one in event.objects}
        elif known is None:
            self.mistakes.append(f"{source}: the first event is no Replaced")
        elif isinstance(event, Put):
            known[event.object.namespace, event.object.name] = event.object
        else:
            known.pop((event.ref.namespace, event.ref.name), None)

    def broken(self, source: str, reason: str) -> None:
        with self.changed:
            self.reasons.append((source, reason))
            self.broken_now[source] = reason
            self.broken_at[source] = asyncio.get_running_loop().time()
            self.changed.notify_all()

    # For tests --------------------------------------------------------------------------------------------------------

    def wait(self, holds: Callable[[], object], what: str = "") -> None:
        """Wait until something is true; AssertionError if it never is."""
        with self.changed:
            assert self.changed.wait_for(holds, PATIENCE), (what, self.broken_now, self.reasons[-5:], self.mistakes)

    def wait_in_step(self, server: ApiServer, *sources: str) -> None:
        """Wait until the objects are the server's and every source works."""
        names = sources or tuple(self.objects) or ("services", "endpointslices", "nodes")
        self.wait(lambda: not self.differences(server, names) and not self.broken_now, "in step")
        assert not self.mistakes

    def differences(self, server: ApiServer, names: tuple[str, ...]) -> list[str]:
        return [name for name in names if self.objects.get(name) != wanted(server, name)]

    def wait_for_reason(self, text: str, source: str = "services") -> str:
        """Wait until the source is reported broken for a reason with this in it; returns the reason."""

        def found() -> str:
            return next((why for name, why in self.reasons if name == source and text in why), "")

        self.wait(found, text)
        return found()

    def replaced(self, source: str) -> list[int]:
        """How many objects each `Replaced` of a source had."""
        return [
            len(event.objects)
            for batch in self.batches
            if batch.source == source
            for event in batch.events
            if isinstance(event, Replaced)
        ]


def wanted(server: ApiServer, name: str) -> dict[Key, KubernetesObject]:
    """What a source must have: the server's objects that kube-proxy would be told of, decoded the slow way."""
    found = {}
    for raw in server.objects(KIND[name]):
        labels = raw["metadata"].get("labels") or {}
        if name == "services" and (LABEL_PROXY_NAME in labels or raw["spec"].get("clusterIP") == "None"):
            continue
        if name in {"endpointslices", "endpoints"} and LABEL_HEADLESS in labels:
            continue
        if name == "nodes" and raw["metadata"]["name"] != NODE:
            continue
        value = kept(decode(raw).value)
        if value is not None:
            found[value.namespace, value.name] = value
    return found


class Agent:
    """Runs sources on an event loop in a thread, as the agent does in its own."""

    def __init__(self, opening: Callable[[], Any], sources: tuple[str, ...], view: View) -> None:
        self.view = view
        self.cluster: OpenCluster | None = None
        self._opening = opening
        self._sources = sources
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="agent")

    def __enter__(self) -> View:
        self._thread.start()
        assert self._ready.wait(PATIENCE)
        if self._error is not None:
            self._thread.join()
            raise self._error
        return self.view

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self.call(self._stop.set)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function on the loop's thread."""
        self._loop.call_soon_threadsafe(function, *arguments)

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._run())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
        except BaseException as error:  # noqa: BLE001 - raised again on the test's thread
            self._error = error
        finally:
            self._ready.set()
            self._loop.close()

    async def _run(self) -> None:
        async with self._opening() as self.cluster:
            assert self.cluster is not None
            all_sources = self.cluster.sources(NODE, with_endpoints="endpoints" in self._sources)
            tasks = [asyncio.create_task(one.run(self.view)) for one in all_sources if one.name in self._sources]
            self._ready.set()
            await self._stop.wait()
            assert not any(task.done() for task in tasks), "a source must run for ever"
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0.01)


def now() -> datetime:
    return datetime.now(UTC)


def follow(server: ApiServer, *sources: str, pace: Pace = QUICK) -> Agent:
    """Follow a server that lets everybody in."""
    chosen = sources or ("services", "endpointslices", "nodes")
    access = access_to(None, None, server.url)
    return Agent(lambda: opened(access, random.Random(4).random, now, pace), chosen, View())


def follow_with(kubeconfig: Path, *sources: str, pace: Pace = QUICK, clock: Callable[[], datetime] = now) -> Agent:
    """Follow the server that a kubeconfig names."""
    chosen = sources or ("services",)
    return Agent(
        lambda: opened(access_to(kubeconfig, None, None), random.Random(4).random, clock, pace), chosen, View()
    )


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as made:
        for name in ("services", "endpointslices", "endpoints", "nodes"):
            made.load(f"{name}.list.json")
        yield made


def lists(server: ApiServer, resource: str) -> int:
    """How many times a list was begun; a look at one object to see where the server is does not count."""
    return sum(
        one.call.verb == "list"
        and one.call.resource == resource
        and not one.call.continued
        and one.query.get("limit") != "1"
        for one in server.requests
    )


def watched_from(server: ApiServer, resource: str) -> list[int]:
    """The resourceVersions that watches began at."""
    return [
        int(one.query["resourceVersion"])
        for one in server.requests
        if one.call.verb == "watch" and one.call.resource == resource
    ]


def end_watch(server: ApiServer, resource: str, then: Literal["end", "close", "reset"] = "end") -> None:
    """End the watch of a resource, once there is one."""
    watched(server, resource)
    server.end_watches(resource, then=then)


def watched(server: ApiServer, resource: str) -> None:
    """Wait until there is a watch of a resource."""
    server.wait(lambda: server.watching(resource) == 1)


# In step --------------------------------------------------------------------------------------------------------------


def test_recorded_changes_end_in_the_recorded_state(server: ApiServer) -> None:
    with follow(server, *RESOURCES) as view:
        view.wait_in_step(server, *RESOURCES)
        server.replay(
            "services.watch.jsonl", "endpointslices.watch.jsonl", "endpoints.watch.jsonl", "nodes.watch.jsonl"
        )
        view.wait_in_step(server, *RESOURCES)
        assert [lists(server, name) for name in RESOURCES] == [1] * 5
        assert not view.reasons
    names = {name for _, name in view.objects["services"]}
    assert "near" not in names
    assert set(view.objects["nodes"]) == {("", NODE)}


def test_what_kube_proxy_is_not_sent_we_are_not_either(server: ApiServer) -> None:
    with follow(server, "services", "endpointslices", "nodes") as view:
        view.wait_in_step(server)
        server.wait(lambda: server.watching() == 3)
        queries = {one.call.resource: one.query for one in server.requests if one.call.verb == "watch"}
        assert queries["services"]["labelSelector"] == "!service.kubernetes.io/service-proxy-name"
        assert queries["services"]["fieldSelector"] == "spec.clusterIP!=None"
        assert queries["endpointslices"]["labelSelector"] == "!service.kubernetes.io/headless"
        assert queries["nodes"]["fieldSelector"] == "metadata.name=node-a"
        changed = service(1, "demo")
        server.put(changed)
        view.wait(lambda: ("demo", "service-1") in view.objects["services"])
        server.put({**changed, "metadata": {**changed["metadata"], "labels": {LABEL_PROXY_NAME: "other"}}})
        view.wait(lambda: ("demo", "service-1") not in view.objects["services"])
        view.wait_in_step(server)


def test_large_lists_come_in_pages_and_are_delivered_in_one() -> None:
    with ApiServer() as server:
        server.put_many(cluster(1203, 1))
        with follow(server) as view:
            view.wait_in_step(server)
            assert view.replaced("services") == view.replaced("endpointslices") == [1203]
            pages = [
                one.query for one in server.requests if one.call.verb == "list" and one.call.resource == "services"
            ]
            assert [page["limit"] for page in pages] == ["500"] * 3
            assert all("resourceVersion" not in page for page in pages), "must be consistent"


def test_many_changes_at_once_are_few_batches() -> None:
    with ApiServer() as server, follow(server, "services") as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        with server.hold("services"):
            server.put_many(service(number) for number in range(1000))
            server.put_many(service(number, port=81) for number in range(1000))
        view.wait_in_step(server, "services")
        assert len(view.batches) < 200
        assert sum(len(batch.events) for batch in view.batches) <= 2001


def test_an_object_of_megabytes_arrives() -> None:
    big = endpoint_slice(1, range(1000))
    for number, one in enumerate(big["endpoints"]):
        one["targetRef"]["name"] = f"pod-{number}-" + "ä€𝄞" * 500
    with ApiServer() as server, follow(server, "endpointslices") as view:
        view.wait_in_step(server, "endpointslices")
        server.put(big)
        view.wait_in_step(server, "endpointslices")
        assert len(view.objects["endpointslices"]) == 1


# Bad objects ----------------------------------------------------------------------------------------------------------


def bad_service(number: int) -> Raw:
    made = service(number)
    made["spec"]["ports"][0]["port"] = 70000
    return made


def test_one_bad_object_never_blocks_others_and_keeps_its_last_good_version() -> None:
    with ApiServer() as server:
        server.put_many([service(1), bad_service(2), service(3)])
        with follow(server, "services") as view:
            view.wait(lambda: view.replaced("services") == [2])
            assert set(view.objects["services"]) == {("load", "service-1"), ("load", "service-3")}
            (problem,) = view.problems["services"]
            assert (problem.ref, problem.field) == (ObjectRef("Service", "load", "service-2"), "spec.ports[0].port")
            good = view.objects["services"]["load", "service-1"]

            server.put(bad_service(1))
            view.wait(lambda: len(view.problems["services"]) == 2)
            assert view.objects["services"]["load", "service-1"] == good

            server.faults.add(Insert(error_line(410), after=0), resource="services", verb="watch")
            end_watch(server, "services")
            view.wait(lambda: len(view.replaced("services")) == 2)
            assert view.objects["services"]["load", "service-1"] == good, "also over a new list"
            assert len(view.problems["services"]) == 2

            server.put(service(2))
            view.wait(lambda: len(view.problems["services"]) == 1)
            server.delete("Service", "load", "service-1")
            view.wait(lambda: not view.problems["services"])
            view.wait_in_step(server, "services")
            assert not view.reasons


# Lists that fail ------------------------------------------------------------------------------------------------------


def half_of_it(body: bytes) -> bytes:
    return body[: len(body) // 2]


BAD_LISTS: list[tuple[Action, str]] = [
    (Answer(429), "(429"),
    (Answer(500), "(500"),
    (Answer(503), "(503"),
    (Answer(403), "RBAC must allow this user to list services (403)"),
    (Answer(401), "does not accept the credentials"),
    (Answer(404), "(404"),
    (Answer(302), "sent the body is not a list"),
    (Answer(200, body=b"<html>proxy</html>", content_type="text/html"), "sent the body is not a list"),
    (Answer(200, body=b"{}"), "sent the body is not a list"),
    (Answer(200, body=b'{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[]}'), "not a list of Service"),
    (Answer(200, body=b'{"kind":"ServiceList","metadata":{}}'), "not a list of Service"),
    (Cut(after=900), "the connection was cut"),
    (Cut(after=900, reset=True), "the connection was cut"),
    (Disconnect(), "the connection was cut"),
    (Mangle(half_of_it), "sent the body is not a list"),
]


@pytest.mark.parametrize(("action", "reason"), BAD_LISTS, ids=lambda one: str(one)[:40])
@pytest.mark.parametrize("continued", [False, True], ids=["first page", "second page"])
def test_a_list_that_fails_is_told_and_asked_for_again(action: Action, reason: str, *, continued: bool) -> None:
    with ApiServer() as server:
        server.put_many(service(number) for number in range(501))
        # aiohttp asks once more where a connection in use turns out to be closed
        times = 2 if (isinstance(action, Answer) and action.code == 401) or isinstance(action, Disconnect) else 1
        server.faults.add(action, resource="services", verb="list", continued=continued, times=times)
        with follow(server, "services") as view:
            view.wait_in_step(server, "services")
        assert view.replaced("services") == [501]
        assert any(reason in why for _, why in view.reasons), view.reasons


def test_a_server_that_takes_requests_and_never_answers_is_given_up(server: ApiServer) -> None:
    hang = server.faults.add(Hang(), resource="services", times=None)
    with follow(server, "services", "nodes", pace=replace(QUICK, answer=0.3)) as view:
        view.wait_for_reason("says nothing for 0.3 s")
        hang.remove()
        view.wait_in_step(server, "services", "nodes")


def test_a_slow_list_is_waited_for(server: ApiServer) -> None:
    server.faults.add(Slow(0.005, 500), resource="services", verb="list")
    with follow(server, "services", pace=replace(QUICK, answer=2)) as view:
        view.wait_in_step(server, "services")
    assert not view.reasons


def test_compressed_lists_are_read() -> None:
    with ApiServer() as server:
        server.put_many(cluster(300, 1))
        with follow(server) as view:
            view.wait_in_step(server)
        server.behaviour.compress = False
        with follow(server) as view:
            view.wait_in_step(server)


def test_an_expired_continue_token_starts_the_list_again_and_in_the_end_in_one_piece() -> None:
    with ApiServer() as server:
        server.put_many(service(number) for number in range(600))
        server.faults.add(Answer(410), resource="services", verb="list", continued=True, times=2)
        with follow(server, "services") as view:
            view.wait_in_step(server, "services")
        assert view.replaced("services") == [600]
        limits = [one.query.get("limit") for one in server.requests if one.call.verb == "list"]
        assert limits == ["500", "500", "500", "500", None]


def test_objects_that_come_between_two_pages_are_not_lost() -> None:
    with ApiServer() as server:
        server.put_many(service(number) for number in range(600))
        server.faults.add(Slow(0.3, 1 << 20), resource="services", verb="list", continued=True)
        with follow(server, "services") as view:
            server.wait(lambda: server.count("list", "services") == 2)
            server.delete("Service", "load", "service-0")
            server.put_many(service(number) for number in range(700, 710))
            view.wait_in_step(server, "services")


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_is_honoured(code: int, server: ApiServer) -> None:
    server.faults.add(Answer(code, retry_after=1), resource="services", verb="list")
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
    assert view.batches[0].read_at - view.broken_at["services"] >= 1


# Watches that end -----------------------------------------------------------------------------------------------------


def test_a_watch_that_ends_is_taken_up_where_it_was(server: ApiServer) -> None:
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
        for number in range(3):
            server.wait(lambda: server.watching("services") == 1)
            last = server.put(service(number))
            view.wait_in_step(server, "services")
            end_watch(server, "services")
            server.wait(lambda last=last: watched_from(server, "services")[-1] == last)  # type: ignore[misc]
        assert lists(server, "services") == 1
        assert not view.reasons


def test_the_time_of_a_watch_is_spread_and_its_end_no_failure(server: ApiServer) -> None:
    pace = replace(QUICK, shortest_watch=1, longest_watch=2)
    with follow(server, "services", pace=pace) as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: sum(one.ended == "timeout" for one in server.requests) >= 2)
        server.put(service(1))
        view.wait_in_step(server, "services")
        assert lists(server, "services") == 1
        assert not view.reasons
    with follow(server, "services", "nodes", "endpointslices", pace=replace(QUICK, longest_watch=1000)) as view:
        server.wait(lambda: server.watching() == 3)
        seconds = {one.query["timeoutSeconds"] for one in server.requests if one.call.verb == "watch"}
        assert len(seconds) > 3
        assert all(1 <= int(one) <= 1000 for one in seconds)


def test_bookmarks_move_the_version_on(server: ApiServer) -> None:
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        last = server.put_many(endpoint_slice(number, range(2)) for number in range(50))
        recorded = (CAPTURES / "services.watch.jsonl").read_bytes().splitlines(keepends=True)[-1]
        server.send(recorded.replace(b'"347"', b'"%d"' % last), "services", then="end")
        server.wait(lambda: len(watched_from(server, "services")) == 2)
        assert watched_from(server, "services")[-1] == last
        assert len(view.batches) == 1


def test_bookmarks_are_asked_for_and_taken(server: ApiServer) -> None:
    server.behaviour.bookmark_period = 0.02
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
        last = server.put(endpoint_slice(1, range(2)))
        for _ in range(500):
            end_watch(server, "services")
            threading.Event().wait(0.05)
            if watched_from(server, "services")[-1] == last:
                break
        assert watched_from(server, "services")[-1] == last
        assert lists(server, "services") == 1


def test_a_server_that_ends_watches_as_they_begin_is_not_asked_all_the_time(server: ApiServer) -> None:
    fault = server.faults.add(End(), resource="services", verb="watch", times=5)
    with follow(server, "services", pace=replace(QUICK, pointless=5)) as view:
        fault.wait(5)
        view.wait_for_reason("ends watches as soon as they begin")
        view.wait_in_step(server, "services")
        assert lists(server, "services") == 1


@pytest.mark.parametrize("cut", [Cut(1), Cut(1, reset=True), Cut(1, midline=False)], ids=str)
def test_a_stream_that_is_cut_goes_on_where_it_was(cut: Cut, server: ApiServer) -> None:
    server.faults.add(cut, resource="services", verb="watch", times=3)
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
        for number in range(8):
            server.put(service(number))
        view.wait_in_step(server, "services")
        assert lists(server, "services") == 1
        view.wait_for_reason("cut")


def test_a_stream_that_is_cut_after_a_while_is_no_failure(server: ApiServer) -> None:
    with follow(server, "services", pace=replace(QUICK, steady=0)) as view:
        view.wait_in_step(server, "services")
        for how in ("close", "reset"):
            end_watch(server, "services", how)
            server.put(service(1, port=81 if how == "close" else 82))
            view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        server.send(b'{"type":"MODIFIED","obj', "services", then="end")
        server.put(service(2))
        view.wait_in_step(server, "services")
        assert lists(server, "services") == 1
        assert not view.reasons


@pytest.mark.parametrize("how", ["event", "status"])
def test_a_forgotten_version_calls_for_a_new_list(how: Any) -> None:
    with ApiServer(behaviour=Behaviour(expired_watch=how)) as server:
        server.put_many(service(number) for number in range(20))
        with follow(server, "services") as view:
            view.wait_in_step(server, "services")
            with server.hold("services"):
                server.delete("Service", "load", "service-3")
                server.put(service(4, port=81))
                server.compact()
                end_watch(server, "services")
                view.wait(lambda: len(view.replaced("services")) == 2)
            view.wait_in_step(server, "services")
            assert not view.reasons, "routine"


@pytest.mark.parametrize("steady", [0, 1000], ids=["after a while", "at once"])
def test_a_watch_that_falls_behind_is_routine(steady: int, server: ApiServer) -> None:
    with follow(server, "services", pace=replace(QUICK, steady=steady)) as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        with server.hold("services"):
            server.put(service(1))
            server.send(error_line(410), "services")
            view.wait(lambda: len(view.replaced("services")) == 2)
        view.wait_in_step(server, "services")
        assert not view.reasons


def test_a_server_whose_watches_are_all_expired_is_not_asked_all_the_time(server: ApiServer) -> None:
    fault = server.faults.add(Answer(410), resource="services", verb="watch", times=4)
    with follow(server, "services") as view:
        fault.wait(4)
        view.wait_for_reason("(410")
        view.wait_in_step(server, "services")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (error_line(500, message="etcd is unwell"), "the watch ended with an error (500: etcd is unwell)"),
        (GARBAGE, "a line that is not a watch event"),
        (b"[]\n", "a line that is not a watch event"),
        (b'{"type":"MODIFIED"}\n', "a line that is not a watch event"),
        (b'{"type":"MODIFIED","object":3}\n', "a line that is not a watch event"),
        (UNKNOWN_TYPE, "of a type that nobody knows"),
    ],
    ids=["error", "garbage", "list", "no object", "number", "unknown"],
)
def test_a_watch_that_makes_no_sense_is_told_and_the_list_read_again(
    line: bytes, reason: str, server: ApiServer
) -> None:
    with follow(server, "services", pace=replace(QUICK, steady=0)) as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        with server.hold("services"):
            server.put(service(1))
            server.send(line, "services")
            view.wait_for_reason(reason)
            view.wait(lambda: len(view.replaced("services")) == 2)
        view.wait_in_step(server, "services")


def test_too_many_requests_inside_a_watch_keeps_the_version(server: ApiServer) -> None:
    server.faults.add(Insert(error_line(429)), resource="services", verb="watch")
    with follow(server, "services") as view:
        view.wait_for_reason("(429")
        server.put(service(1))
        view.wait_in_step(server, "services")
        assert lists(server, "services") == 1


def test_what_comes_before_an_error_in_one_piece_is_not_lost(server: ApiServer) -> None:
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        extra = service(77)
        extra["metadata"]["resourceVersion"] = str(server.revision + 1)
        refuse = server.faults.add(Answer(500), resource="services", verb="list", times=None)
        server.send(json.dumps({"type": "ADDED", "object": extra}).encode() + b"\n" + UNKNOWN_TYPE, "services")
        view.wait_for_reason("(500")
        assert ("load", "service-77") in view.objects["services"]
        refuse.remove()
        view.wait_in_step(server, "services")


def test_events_that_come_twice_do_no_harm(server: ApiServer) -> None:
    server.faults.add(Repeat(3), resource="services", verb="watch")
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
        server.put(service(1))
        server.delete("Service", "load", "service-1")
        server.put(service(1))
        server.delete("Service", "load", "service-1")
        server.put(service(2))
        view.wait_in_step(server, "services")
        assert not view.reasons


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_watch_that_is_refused_for_now_keeps_the_version(code: int, server: ApiServer) -> None:
    server.faults.add(Answer(code), resource="services", verb="watch", times=3)
    with follow(server, "services") as view:
        view.wait_for_reason(f"({code}")
        view.wait_in_step(server, "services")
        assert lists(server, "services") == 1


def test_a_watch_that_is_silent_for_too_long_is_begun_anew(server: ApiServer) -> None:
    pace = replace(QUICK, bookmarks=0.5, steady=0.2)
    with follow(server, "services", pace=pace) as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        server.put_many(endpoint_slice(number, range(2)) for number in range(2))
        server.send_bookmarks("services")
        server.wait(lambda: len(watched_from(server, "services")) >= 2)
        server.put(service(1))
        view.wait_in_step(server, "services")
        assert not view.reasons
        assert lists(server, "services") == 1


def test_without_bookmarks_a_watch_has_its_time_and_some_grace(server: ApiServer) -> None:
    pace = replace(QUICK, shortest_watch=1, longest_watch=1, grace=-0.5, steady=0.2)
    with follow(server, "services", pace=pace) as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: len(watched_from(server, "services")) >= 2)
        assert not view.reasons


# A server that goes away ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("refuse", [True, False], ids=["refuses", "is silent"])
def test_a_server_that_was_away_is_followed_again(server: ApiServer, *, refuse: bool) -> None:
    with follow(server, pace=replace(QUICK, answer=1, connect=1)) as view:
        view.wait_in_step(server)
        before = {name: dict(known) for name, known in view.objects.items()}
        server.down(refuse=refuse)
        view.wait_for_reason("refuses the connection" if refuse else "says nothing for 1 s")
        assert view.objects == before, "the last state stays"
        server.put(service(1))
        server.delete("Service", "demo", "near")
        server.up()
        view.wait_in_step(server)
        assert lists(server, "services") == 1


def test_a_server_that_forgot_the_past_while_it_was_away(server: ApiServer) -> None:
    with follow(server) as view:
        view.wait_in_step(server)
        server.down()
        server.delete("Service", "demo", "near")
        server.put(service(1))
        server.compact()
        server.up()
        view.wait(lambda: len(view.replaced("services")) == 2)
        view.wait_in_step(server)


@pytest.mark.parametrize("revision", [1, 100_000], ids=["older", "newer"])
def test_a_server_that_comes_back_with_other_data(revision: int, server: ApiServer) -> None:
    with follow(server) as view:
        view.wait_in_step(server)
        server.wait(lambda: server.watching() == 3)
        server.replace([*cluster(5, 2)], revision=revision)
        view.wait_in_step(server)
        server.put(service(9))
        view.wait_in_step(server)
        assert len(view.objects["services"]) == 6


def test_after_a_long_time_without_a_word_the_list_is_read_again(server: ApiServer) -> None:
    with follow(server, "services", pace=replace(QUICK, resumable=0.3)) as view:
        view.wait_in_step(server, "services")
        server.down()
        view.wait_for_reason("refuses")
        threading.Event().wait(0.5)  # longer than `resumable`
        server.up()
        view.wait(lambda: len(view.replaced("services")) == 2)
        view.wait_in_step(server, "services")


def test_a_watch_whose_versions_go_back_is_not_believed(server: ApiServer) -> None:
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        old = {"type": "BOOKMARK", "object": {"kind": "Service", "metadata": {"resourceVersion": "7"}}}
        server.send(json.dumps(old).encode() + b"\n", "services")
        view.wait_for_reason("older data than before")
        view.wait(lambda: len(view.replaced("services")) == 2)
        view.wait_in_step(server, "services")


def test_a_watch_from_a_version_that_the_server_has_not_reached_is_found_out(server: ApiServer) -> None:
    with follow(server, "services", pace=replace(QUICK, shortest_watch=1, longest_watch=1)) as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        far = {"type": "BOOKMARK", "object": {"kind": "Service", "metadata": {"resourceVersion": "999999"}}}
        server.send(json.dumps(far).encode() + b"\n", "services", then="end")
        server.wait(lambda: watched_from(server, "services")[-1] == 999_999)
        server.put(service(1))
        view.wait_in_step(server, "services")
        assert view.replaced("services")[1:]
        assert not view.reasons


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_in_whatever_order_the_state_is_right_in_the_end(seed: int) -> None:
    dice = random.Random(seed)
    actions: list[Action] = [action for action, _ in BAD_LISTS]
    endings: list[Action] = [Cut(1), Cut(2, reset=True), Cut(0, midline=False), End(1), Insert(GARBAGE, 1)]
    endings += [Insert(UNKNOWN_TYPE), Insert(error_line(410)), Insert(error_line(500), 2), Repeat(2), Answer(410)]
    with ApiServer() as server:
        server.put_many(cluster(520, 2))
        with follow(server) as view:
            for _ in range(60):
                number, resource = dice.randrange(540), dice.choice(["services", "endpointslices"])
                match dice.randrange(9):
                    case 0:
                        server.faults.add(dice.choice(actions), verb="list", resource=resource, skip=dice.randrange(2))
                    case 1 | 2:
                        server.faults.add(dice.choice(endings), verb="watch", resource=resource)
                    case 3:
                        server.end_watches(resource, then=dice.choice(["end", "close", "reset"]))  # type: ignore[arg-type]
                    case 4 if number % 4 == 0:
                        server.down()
                        server.put(service(number, port=dice.randrange(1, 9)))
                        server.up()
                    case 5 if number % 4 == 0:
                        server.compact()
                    case 6 if ("load", f"service-{number}") in wanted(server, "services"):
                        server.delete("Service", "load", f"service-{number}")
                    case 7:
                        server.put(endpoint_slice(number, range(dice.randrange(5))))
                    case _:
                        server.put(service(number, port=dice.randrange(1, 9)))
                threading.Event().wait(dice.random() / 50)
            server.faults.clear()
            view.wait_in_step(server)
        found = {size for name in ("services", "endpointslices") for size in view.replaced(name)}
        assert min(found) > 400, "never half a list"
        assert not [why for _, why in view.reasons if "internal" in why]


# Resources that are not there -----------------------------------------------------------------------------------------


def test_service_cidrs_are_not_missed_where_the_server_has_none(server: ApiServer) -> None:
    server.behaviour.absent.add("servicecidrs")
    cidr = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes"},
        "spec": {"cidrs": ["10.96.0.0/16"]},
    }
    with follow(server, "servicecidrs") as view:
        view.wait(lambda: view.replaced("servicecidrs") == [0])
        assert view.problems["servicecidrs"] == ()
        server.behaviour.absent.clear()
        server.put(cidr)
        view.wait_in_step(server, "servicecidrs")
        assert len(view.objects["servicecidrs"]) == 1
        assert not view.reasons


def test_service_cidrs_that_are_forbidden_are_a_warning(server: ApiServer) -> None:
    said = b"servicecidrs.networking.k8s.io is forbidden"
    body = json.dumps({"kind": "Status", "code": 403, "message": f'User "nftsvc" cannot: {said.decode()}'}).encode()
    fault = server.faults.add(Answer(403, body=body), resource="servicecidrs", verb="list", times=None)
    with follow(server, "servicecidrs") as view:
        view.wait(lambda: view.replaced("servicecidrs") == [0])
        (problem,) = view.problems["servicecidrs"]
        assert problem.severity is Severity.WARNING
        assert str(problem) == "RBAC must allow nftsvc to list servicecidrs.networking.k8s.io (403)"
        assert not view.reasons
        fault.remove()
        server.faults.clear()
        view.wait(lambda: not view.problems["servicecidrs"])
        server.wait(lambda: server.watching("servicecidrs") == 1)
        server.faults.add(Answer(403), resource="servicecidrs", verb="watch")
        end_watch(server, "servicecidrs")
        view.wait(lambda: view.problems["servicecidrs"])
        view.wait(lambda: not view.problems["servicecidrs"])
        assert not view.reasons


# Credentials ----------------------------------------------------------------------------------------------------------


TOKEN = "first-token"  # noqa: S105


@pytest.fixture
def secure() -> Iterator[ApiServer]:
    with ApiServer(tls=True, token=TOKEN) as made:
        made.load("services.list.json")
        yield made


def plugin(folder: Path, text: str) -> Raw:
    """Write an exec plugin and return its place in a kubeconfig."""
    script = folder / "plugin"
    script.write_text(f"#!/bin/sh\necho x >> {folder}/runs\n{text}\n")
    script.chmod(0o755)
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "./plugin", "args": ["--now"]}}


def credential(token: str = "", **status: str) -> str:
    raw = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {**status, **({"token": token} if token else {})},
    }
    return f"cat <<'END'\n{json.dumps(raw)}\nEND"


def renew(path: Path, text: str) -> None:
    """Replace a file the way a kubelet does."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def test_a_token_in_a_kubeconfig(secure: ApiServer, tmp_path: Path) -> None:
    with follow_with(secure.kubeconfig(tmp_path / "config")) as view:
        view.wait_in_step(secure, "services")
        assert {one.authorization for one in secure.requests} == {digest("Bearer first-token")}
        assert all(one.agent.startswith("nftsvc/") for one in secure.requests)


def test_a_token_file_that_rotates_in_time(secure: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first-token\n")
    with follow_with(secure.kubeconfig(tmp_path / "config", {"tokenFile": "token"})) as view:
        view.wait_in_step(secure, "services")
        watched(secure, "services")
        renew(tmp_path / "token", "second-token\n")
        secure.set_token("second-token", cut=True)
        secure.put(service(1))
        view.wait_in_step(secure, "services")
        assert not view.reasons
        assert secure.count(status=401) == 0


def test_a_token_file_that_rotates_too_late(secure: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first-token")
    with follow_with(secure.kubeconfig(tmp_path / "config", {"tokenFile": "token"})) as view:
        view.wait_in_step(secure, "services")
        before = dict(view.objects["services"])
        watched(secure, "services")
        secure.set_token("second-token", cut=True)
        reason = view.wait_for_reason("does not accept the credentials")
        assert re.search(r"the credentials \(401 when asked to (list|watch) services\)$", reason)
        assert view.objects["services"] == before
        renew(tmp_path / "token", "second-token")
        secure.put(service(1))
        view.wait_in_step(secure, "services")
        assert lists(secure, "services") == 1


def test_a_kubeconfig_that_is_written_anew(secure: ApiServer, tmp_path: Path) -> None:
    path = secure.kubeconfig(tmp_path / "config")
    with follow_with(path) as view:
        view.wait_in_step(secure, "services")
        path.write_text("clusters: [")
        end_watch(secure, "services")
        secure.put(service(1))
        view.wait_in_step(secure, "services")
        assert not view.reasons, "half a file does no harm as long as the old credentials do"
        watched(secure, "services")
        secure.set_token("second-token", cut=True)
        view.wait_for_reason("not YAML (line ")
        secure.kubeconfig(path)
        secure.put(service(2))
        view.wait_in_step(secure, "services")


def test_the_service_account_of_a_pod(secure: ApiServer, tmp_path: Path) -> None:
    folder = secure.service_account(tmp_path)
    there = {"KUBERNETES_SERVICE_HOST": secure.host, "KUBERNETES_SERVICE_PORT": str(secure.port)}
    access = PodAccess(folder / "token", folder / "ca.crt", there)
    with Agent(lambda: opened(access, random.Random(4).random, now, QUICK), ("services",), View()) as view:
        view.wait_in_step(secure, "services")
        watched(secure, "services")
        secure.set_token("second-token")
        secure.service_account(tmp_path)
        end_watch(secure, "services")
        secure.put(service(1))
        view.wait_in_step(secure, "services")
        assert not view.reasons


def test_no_cluster_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with (
        pytest.raises(ClusterUnreachable, match="no kubeconfig is given, and this is no Pod"),
        Agent(open_cluster, (), View()),
    ):
        pass


@pytest.mark.parametrize("as_data", [False, True], ids=["files", "data"])
def test_client_certificates(secure: ApiServer, tmp_path: Path, *, as_data: bool) -> None:
    pair = secure.client_certificate("node-a")
    user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}
    if as_data:
        user = {f"{name}-data": base64.b64encode(Path(path).read_bytes()).decode() for name, path in user.items()}
    with follow_with(secure.kubeconfig(tmp_path / "config", user)) as view:
        view.wait_in_step(secure, "services")
        assert {one.user for one in secure.requests} == {"node-a"}


def test_a_client_certificate_that_is_renewed_is_used(secure: ApiServer, tmp_path: Path) -> None:
    first, second = secure.client_certificate("first"), secure.client_certificate("second")
    mine = tmp_path / "client.pem"
    mine.write_text(first.certificate.read_text() + first.key.read_text())
    user = {"client-certificate": "client.pem", "client-key": "client.pem"}
    with follow_with(secure.kubeconfig(tmp_path / "config", user)) as view:
        view.wait_in_step(secure, "services")
        secure.wait(lambda: secure.watching() == 1)
        renew(mine, second.certificate.read_text() + second.key.read_text())
        secure.put(service(1))
        view.wait_in_step(secure, "services")
        end_watch(secure, "services")
        secure.wait(lambda: secure.count("watch") == 2)
        assert [one.user for one in secure.requests] == ["first", "first", "second"]
        assert not view.reasons


def test_an_exec_plugin(secure: ApiServer, tmp_path: Path) -> None:
    user = plugin(tmp_path, credential("first-token"))
    with follow_with(secure.kubeconfig(tmp_path / "config", user), *RESOURCES[:3]) as view:
        view.wait_in_step(secure, "services")
        assert (tmp_path / "runs").read_text() == "x\n"
        plugin(tmp_path, credential("second-token"))
        watched(secure, "services")
        secure.set_token("second-token", cut=True)
        secure.put(service(1))
        view.wait_in_step(secure, "services", "nodes", "endpointslices")
        assert (tmp_path / "runs").read_text() == "x\nx\n"
        assert not view.reasons


def test_an_exec_plugin_is_run_again_when_its_token_expires(secure: ApiServer, tmp_path: Path) -> None:
    times = [datetime(2030, 1, 1, tzinfo=UTC)]
    user = plugin(tmp_path, credential("first-token", expirationTimestamp="2030-01-01T01:00:00Z"))
    with follow_with(secure.kubeconfig(tmp_path / "config", user), clock=lambda: times[0]) as view:
        view.wait_in_step(secure, "services")
        plugin(tmp_path, credential("second-token", expirationTimestamp="2030-01-01T02:00:00Z"))
        end_watch(secure, "services")
        secure.wait(lambda: secure.count("watch") == 2)
        assert (tmp_path / "runs").read_text() == "x\n"
        times[0] = datetime(2030, 1, 1, 0, 59, 30, tzinfo=UTC)
        watched(secure, "services")
        secure.set_token("second-token")
        end_watch(secure, "services")
        secure.wait(lambda: secure.count("watch") == 3)
        secure.put(service(1))
        view.wait_in_step(secure, "services")
        assert secure.count(status=401) == 0


def test_an_exec_plugin_that_prints_a_certificate(secure: ApiServer, tmp_path: Path) -> None:
    pair = secure.client_certificate("node-a")
    said = credential(clientCertificateData=pair.certificate.read_text(), clientKeyData=pair.key.read_text())
    with follow_with(secure.kubeconfig(tmp_path / "config", plugin(tmp_path, said))) as view:
        view.wait_in_step(secure, "services")
        assert {one.user for one in secure.requests} == {"node-a"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("echo 'no login for you; token=hush-hush' >&2; exit 3", "no login for you"),
        ("echo not json", "failed to decode"),
        ("echo '{}'", "malformed response"),
        (credential("t").replace("io/v1", "io/v1beta1"), "does not match"),
        (credential(), "neither a token nor a client certificate"),
    ],
    ids=["fails", "garbage", "empty", "another version", "nothing in it"],
)
def test_an_exec_plugin_that_fails_is_told_and_run_again(
    text: str, reason: str, secure: ApiServer, tmp_path: Path
) -> None:
    with follow_with(secure.kubeconfig(tmp_path / "config", plugin(tmp_path, text))) as view:
        told = view.wait_for_reason(reason)
        assert str(tmp_path / "plugin") in told
        assert "hush-hush" not in told
        plugin(tmp_path, credential("first-token"))
        view.wait_in_step(secure, "services")


def test_an_exec_plugin_is_told_what_is_wanted(secure: ApiServer, tmp_path: Path) -> None:
    conditions = ('"$1" = --now', '"$COLOUR" = blue', '-n "$PATH"')
    info = 'case "$KUBERNETES_EXEC_INFO" in *ExecCredential*) ;; *) exit 4 ;; esac'
    user = plugin(
        tmp_path, "\n".join((*(f"[ {one} ] || exit 3" for one in conditions), info, credential("first-token")))
    )
    user["exec"]["env"] = [{"name": "COLOUR", "value": "blue"}]
    secure.set_token("first-token")
    with follow_with(secure.kubeconfig(tmp_path / "config", user)) as view:
        view.wait_in_step(secure, "services")
        assert not view.reasons


def test_an_exec_plugin_that_hangs_is_started_once(
    secure: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nftsvc.sources.cluster.plugin.PLUGIN_SECONDS", 0.2)
    text = f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done\n" + credential("first-token")
    with follow_with(secure.kubeconfig(tmp_path / "config", plugin(tmp_path, text))) as view:
        view.wait(lambda: sum("gives no answer" in why for _, why in view.reasons) >= 3)
        assert (tmp_path / "runs").read_text() == "x\n"
        (tmp_path / "go").touch()
        view.wait_in_step(secure, "services")
        assert (tmp_path / "runs").read_text() == "x\n"


LOGINS: list[tuple[Raw, str]] = [
    ({"username": "admin", "password": "pw"}, f"Basic {base64.b64encode(b'admin:pw').decode()}"),
    ({"auth-provider": {"name": "gcp", "config": {"access-token": "abc"}}}, "Bearer abc"),
    ({"token": "ignored", "tokenFile": "token"}, "Bearer of-the-file"),
    ({}, ""),
]


@pytest.mark.parametrize(("user", "header"), LOGINS, ids=["password", "provider", "token file", "nobody"])
def test_other_ways_to_log_in(user: Raw, header: str, server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" of-the-file \n")
    with follow_with(server.kubeconfig(tmp_path / "config", user)) as view:
        view.wait_in_step(server, "services")
        assert {one.authorization for one in server.requests} == {digest(header)}


def test_a_provider_that_gives_nothing(server: ApiServer, tmp_path: Path) -> None:
    path = server.kubeconfig(tmp_path / "config", {"auth-provider": {"name": "oidc", "config": {"id-token": "x.y"}}})
    with follow_with(path) as view:
        view.wait_for_reason("credentials cannot be had")
        server.kubeconfig(path)
        view.wait_in_step(server, "services")


def test_a_proxy(server: ApiServer, tmp_path: Path) -> None:
    # for a server without TLS a proxy is sent the same requests, only with the whole URL: the double plays both
    path = server.kubeconfig(tmp_path / "config")
    edited(path, server="http://cluster.invalid:80", proxy_url=server.url)
    with follow_with(path) as view:
        view.wait_in_step(server, "services")


def test_connections_notice_that_the_other_side_is_gone(server: ApiServer) -> None:
    with follow(server, "services") as view:
        view.wait_in_step(server, "services")
        server.wait(lambda: server.watching("services") == 1)
        established, keepalive = "01", "02:"

        def timers() -> list[str]:
            rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
            return [row[5] for row in rows if row[2].endswith(f":{server.port:04X}") and row[3] == established]

        for _ in range(200):  # another timer runs while what has just been sent is not acknowledged yet
            if (found := timers()) and all(timer.startswith(keepalive) for timer in found):
                return
            time.sleep(0.05)
        pytest.fail(f"the keepalive timer does not run on every connection: {timers()}")


# What is said where nothing works -------------------------------------------------------------------------------------


def edited(path: Path, **cluster_fields: object) -> Path:
    raw = json.loads(path.read_text())
    known = raw["clusters"][0]["cluster"]
    known.update({name.replace("_", "-"): value for name, value in cluster_fields.items()})
    path.write_text(json.dumps(raw))
    return path


def test_a_certificate_that_is_not_trusted(secure: ApiServer, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other").pair.certificate
    data = base64.b64encode(other.read_bytes()).decode()
    path = edited(secure.kubeconfig(tmp_path / "config"), certificate_authority_data=data)
    with follow_with(path) as view:
        told = view.wait_for_reason("its certificate is not trusted: ")
        assert told.startswith(f"{secure.url}: ")


def test_a_certificate_for_another_name_and_the_name_to_expect(secure: ApiServer, tmp_path: Path) -> None:
    path = edited(secure.kubeconfig(tmp_path / "config"), tls_server_name="elsewhere.example")
    with follow_with(path) as view:
        view.wait_for_reason("Hostname mismatch")
        edited(path, tls_server_name="localhost")
        view.wait_in_step(secure, "services")


def test_an_unchecked_certificate_is_a_warning(secure: ApiServer, tmp_path: Path) -> None:
    path = secure.kubeconfig(tmp_path / "config")
    raw = json.loads(path.read_text())
    del raw["clusters"][0]["cluster"]["certificate-authority-data"]
    path.write_text(json.dumps(raw))
    agent = follow_with(edited(path, insecure_skip_tls_verify=True))
    with agent as view:
        view.wait_in_step(secure, "services")
        assert agent.cluster is not None
        (warning,) = agent.cluster.warnings
        assert "certificate is not checked" in warning


def test_the_servers_own_authority_by_file(secure: ApiServer, tmp_path: Path) -> None:
    path = secure.kubeconfig(tmp_path / "config")
    raw = json.loads(path.read_text())
    del raw["clusters"][0]["cluster"]["certificate-authority-data"]
    path.write_text(json.dumps(raw))
    (tmp_path / "ca.crt").write_text(secure.ca_file.read_text())
    with follow_with(edited(path, certificate_authority="ca.crt")) as view:
        view.wait_in_step(secure, "services")


def test_a_server_without_tls(server: ApiServer, tmp_path: Path) -> None:
    path = edited(server.kubeconfig(tmp_path / "config"), server=server.url.replace("http:", "https:"))
    with follow_with(path) as view:
        view.wait_for_reason("TLS fails: ")


def test_a_server_whose_name_is_not_known(server: ApiServer, tmp_path: Path) -> None:
    path = edited(server.kubeconfig(tmp_path / "config"), server="http://nowhere.invalid:6443")
    with follow_with(path) as view:
        assert view.wait_for_reason("DNS") == "http://nowhere.invalid:6443: the name is not known (DNS)"


def test_a_server_that_refuses(server: ApiServer, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        path = edited(server.kubeconfig(tmp_path / "config"), server=url)
        with follow_with(path) as view:
            assert view.wait_for_reason("refuses") == f"{url}: refuses the connection"
            edited(path, server=server.url)
            view.wait_in_step(server, "services")


def test_no_reason_carries_a_credential(secure: ApiServer, tmp_path: Path) -> None:
    secret = "-".join(["s3cr3t"] * 4)
    path = secure.kubeconfig(tmp_path / "config", {"token": secret})
    status = {"kind": "Status", "code": 500, "message": f"you said Authorization: Bearer {secret}"}
    secure.faults.add(Answer(500, body=json.dumps(status).encode()), times=2)
    with follow_with(path) as view:
        view.wait_for_reason("(500: you said Authorization: Bearer ...")
        view.wait_for_reason("401")
        secure.down()
        view.wait_for_reason("refuses")
    assert not [why for _, why in view.reasons if secret in why]


# Events ---------------------------------------------------------------------------------------------------------------


@contextmanager
def reporting(server: ApiServer) -> Iterator[Callable[..., None]]:
    agent = follow(server, "nodes")
    with agent:
        assert agent.cluster is not None
        post = agent.cluster.post_event

        def posted(*arguments: object, warning: bool = False) -> None:
            agent.call(lambda: post(*arguments, node=NODE, warning=warning))  # type: ignore[arg-type]

        yield posted


SERVICE = ObjectRef("Service", "demo", "my-service")


def test_events_about_services_and_nodes(server: ApiServer) -> None:
    found = server.get("Service", "demo", "my-service")
    assert found is not None
    with reporting(server) as post:
        post(SERVICE, "AddressConflict", "10.96.0.1:80 belongs to another Service", warning=True)
        post(ObjectRef("Node", "", NODE), "Repaired", "a table was gone\x1b")
        server.wait(lambda: server.count("create", "events", 201) == 2)
    about_service, about_node = sorted(server.events, key=lambda event: event["reason"])
    assert about_service["involvedObject"] == {
        "kind": "Service",
        "apiVersion": "v1",
        "namespace": "demo",
        "name": "my-service",
        "uid": found["metadata"]["uid"],
    }
    assert (about_service["type"], about_service["reason"]) == ("Warning", "AddressConflict")
    assert about_service["reportingComponent"] == "nftsvc"
    assert about_service["reportingInstance"] == NODE
    assert about_node["metadata"]["namespace"] == "default"
    assert about_node["involvedObject"] == {"kind": "Node", "apiVersion": "v1", "name": NODE, "uid": NODE}
    assert (about_node["type"], about_node["message"]) == ("Normal", "a table was gone\\x1b")


def test_events_are_not_repeated_and_not_too_many(server: ApiServer) -> None:
    with reporting(server) as post:
        for _ in range(10):
            post(SERVICE, "Same", "again and again")
        for number in range(100):
            post(SERVICE, "Other", f"number {number}")
        server.wait(lambda: server.count("create", "events", 201) == 25)
    assert sum(event["reason"] == "Same" for event in server.events) == 1


def test_events_that_the_server_does_not_take_are_dropped(server: ApiServer) -> None:
    with reporting(server) as post:
        for number, code in enumerate((403, 500, 429)):
            fault = server.faults.add(Answer(code), resource="events")
            post(SERVICE, "Refused", f"number {number}")
            fault.wait()
        server.faults.add(Answer(403), resource="services", verb="list")
        post(ObjectRef("Service", "demo", "gone"), "Without", "a uid")
        server.wait(lambda: server.count("create", "events", 201) == 1)
    (event,) = server.events
    assert "uid" not in event["involvedObject"]


def test_imports_stay_light_until_a_cluster_is_opened() -> None:
    found = "print('aiohttp' in sys.modules, 'kubernetes' in sys.modules)"
    code = f"import sys, nftsvc.sources.cluster; {found}; import nftsvc.sources.cluster.opening; {found}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True", "False"], "the package `kubernetes` is for few, and heavy"
