"""The agent and an API server with all the faults that those have: the kernel never gets half of anything."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nftsvc.lab import Cluster
from tests.support.agent import RunningAgent
from tests.support.agent_plane import Double
from tests.support.agent_site import NODE_PORT, VIP, Site, build_lab, build_site, pod
from tests.support.agent_traffic import reach, until
from tests.support.apiserver import ApiServer
from tests.support.apiserver_faults import (
    GARBAGE,
    UNKNOWN_TYPE,
    Action,
    Answer,
    Cut,
    Hang,
    Insert,
    Repeat,
    error_line,
)
from tests.support.apiserver_load import endpoint_slice, service

RESOURCES = ("services", "endpointslices", "nodes")


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    with build_lab() as made:
        yield made


@pytest.fixture
def site(lab: Cluster, tmp_path: Path) -> Iterator[Site]:
    with build_site(lab, "double", tmp_path) as made:
        made.put_web(0, 1, 2)
        yield made


def server_of(site: Site) -> ApiServer:
    assert isinstance(site.plane, Double)
    return site.plane.server


# Before the first sync ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resource", RESOURCES)
def test_nothing_is_written_before_every_list_is_there(site: Site, resource: str) -> None:
    server = server_of(site)
    fault = server.faults.add(Hang(), resource=resource, verb="list", times=None)
    with site.agent(ready=False) as agent:
        fault.wait()
        server.wait(lambda: all(server.watching(one) for one in RESOURCES if one != resource))
        site.plane.put(*site.slices([0, 1]))
        until(lambda: page_code(agent) == 503, lambda: agent.output)
        assert f"waiting for {resource}" in agent.page("/readyz").body.decode()
        assert agent.page("/livez").code == 200
        assert not site.kernel.present()
        assert not agent.passes
        fault.remove()
        agent.wait_ready()
        site.wait_in_step()


def page_code(agent: RunningAgent) -> int:
    try:
        return agent.page("/readyz").code
    except OSError:
        return 0


def test_half_a_list_is_never_written(site: Site, lab: Cluster) -> None:
    """Lists of several pages, of which the later ones fail: at the start nothing is there, later everything stays."""
    server = server_of(site)
    for number in range(700):
        server.put(service(number + 200))
        server.put(endpoint_slice(number + 200, range(1)))
    fault = server.faults.add(Answer(500), resource="services", verb="list", continued=True, times=None)
    with site.agent(ready=False) as agent:
        fault.wait(2)
        assert not site.kernel.present()
        fault.remove()
        agent.wait_ready()
        site.wait_in_step()
        count = len(agent.passes)
        hit = [
            server.faults.add(action, resource=resource, verb="list", continued=True)
            for resource, action in (("services", Cut(after=20_000)), ("endpointslices", Answer(410)))
        ]
        server.put(service(950))
        server.compact()
        server.end_watches(then="reset")
        server.faults.add(Insert(error_line(410)), resource="services", verb="watch")
        server.faults.add(Insert(error_line(410)), resource="endpointslices", verb="watch")
        for one in hit:
            one.wait(seconds=60)
        site.wait_in_step()
        assert all(one["removed"] <= 2 for one in agent.passes[count:]), agent.passes[count:]
        assert reach(lab.pods["app"], VIP[0], 80) in {pod(number)[0] for number in range(3)}


# Later ----------------------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[str, Action]] = {
    "list answers 429": ("list", Answer(429, retry_after=1)),
    "list answers 500": ("list", Answer(500)),
    "watch answers 429": ("watch", Answer(429, retry_after=1)),
    "watch answers 410": ("watch", Answer(410)),
    "watch says 410": ("watch", Insert(error_line(410))),
    "watch cut in mid-line": ("watch", Cut(after=0)),
    "watch reset": ("watch", Cut(after=0, midline=False, reset=True)),
    "watch says garbage": ("watch", Insert(GARBAGE)),
    "watch says the unheard-of": ("watch", Insert(UNKNOWN_TYPE)),
    "watch repeats itself": ("watch", Repeat(3)),
}


@pytest.mark.parametrize(("verb", "action"), FAULTS.values(), ids=FAULTS)
def test_fault_ends_in_the_right_state_without_a_failed_connection(site: Site, verb: str, action: Action) -> None:
    server = server_of(site)
    other = site.service("other", ("10.96.0.81", "fd00:96::81"), NODE_PORT + 1)
    with site.agent() as agent, site.load():
        for resource in ("services", "endpointslices"):
            server.faults.add(action, resource=resource, verb=verb)
        if verb == "list":
            server.compact()
        server.end_watches()
        site.plane.put(other, *site.slices([0, 3]))
        site.wait_in_step()
        agent.wait_ready()
        site.assert_reached(0, 3)
        assert {one["kind"] for one in agent.passes} <= {"first", "change"}


def test_a_token_that_is_exchanged(lab: Cluster, tmp_path: Path) -> None:
    """401 for the old one: the file is read again, and nobody restarts anything."""
    with build_site(lab, "double", tmp_path) as site:
        server, token = server_of(site), tmp_path / "token"
        token.write_text("first", encoding="ascii")
        server.set_token("first")
        server.kubeconfig(tmp_path / "kubeconfig", {"tokenFile": str(token)})
        site.put_web(0, 1, 2)
        with site.agent() as agent, site.load():
            for number in range(3):
                fresh = token.with_name("fresh")
                fresh.write_text(f"token-{number}", encoding="ascii")
                server.set_token(f"token-{number}", cut=True)
                site.plane.put(*site.slices([0, number + 4]))
                if number % 2:
                    server.wait(lambda: server.count(status=401) > 0)
                fresh.rename(token)
                site.wait_in_step()
                site.assert_reached(0, number + 4)
            agent.wait_ready()
            assert "token-" not in agent.output


def test_source_that_does_not_work_is_told_and_told_well_again(site: Site) -> None:
    server = server_of(site)
    with site.agent() as agent:
        server.down()
        until(lambda: not agent.ready, lambda: agent.output)
        body = agent.page("/readyz").body.decode()
        assert "broken since" in body
        assert agent.page("/livez").code == 200
        broken = {one["name"] for one in agent.status["sources"] if not one["working"]}
        assert broken
        until(lambda: agent.metrics.samples.get("nftsvc_source_failures_total"), lambda: agent.output)
        server.up()
        agent.wait_ready()
        until(lambda: all(one["working"] for one in agent.status["sources"]), lambda: agent.output)
        assert agent.said("source works again")
        requests = agent.metrics.samples["rest_client_requests_total"]
        assert {"200"} <= {dict(one)["code"] for one in requests} <= {"200", "201", "<error>"}
        assert {dict(one)["host"] for one in requests} == {f"{server.host}:{server.port}"}


def test_bad_object_stops_nobody_and_is_told_everywhere(site: Site, lab: Cluster) -> None:
    """An API server would refuse it; one with a bug, or of another version, may have it."""
    server = server_of(site)
    with site.agent() as agent:
        bad = site.service("bad", ("10.96.0.99",), 0)
        bad["spec"]["ports"][0]["port"] = 70_000
        server.put(bad)
        site.plane.put(*site.slices([4, 5]))
        until(lambda: reach(lab.pods["app"], VIP[0], 80) in {pod(4)[0], pod(5)[0]}, lambda: agent.output)
        until(lambda: [one for one in server.events if one["reason"] == "NotServed"], lambda: agent.output)
        (told,) = [one for one in server.events if one["reason"] == "NotServed"]
        about = told.get("involvedObject") or told["regarding"]
        assert (about["kind"], about["namespace"], about["name"]) == ("Service", "shop", "bad")
        (line,) = agent.said("problem")
        assert "shop/bad" in line["what"]
        assert "70000" in line["what"]
        listed = [one for source in agent.status["sources"] for one in source["problems"]["first"]]
        assert any("shop/bad" in one["object"] for one in listed), agent.status
        assert sum(value for name, one in agent.metrics.samples.items() if "problem" in name for value in one.values())
        server.put(site.service("bad", ("10.96.0.99",), 0))
        server.put_many(site.slices([6], "bad")[:1])
        until(lambda: reach(lab.pods["app"], "10.96.0.99", 80) == pod(6)[0], lambda: agent.output)
        until(
            lambda: not [one for source in agent.status["sources"] for one in source["problems"]["first"]],
            lambda: agent.output,
        )
