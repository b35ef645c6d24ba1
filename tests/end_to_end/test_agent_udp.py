"""UDP through the agent: a client that always asks from one port follows the endpoints; nobody else is disturbed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nftsvc.lab import NODE, Cluster
from tests.support.agent import RunningAgent
from tests.support.agent_flows import flows_of
from tests.support.agent_site import PLANES, Site, build_lab, build_site, pod
from tests.support.agent_traffic import Dialogue, serve, until

RESOLVER = ("10.96.0.53", "fd00:96::53")
OUTSIDE_PORT = 30_053
SOURCE_PORT = 20_053


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    with build_lab() as made, serve(made.pods["app"], ["10.244.1.9", "fd00:244:1::9"], OUTSIDE_PORT):
        yield made


@pytest.fixture(params=PLANES)
def site(lab: Cluster, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with build_site(lab, request.param, tmp_path) as made:
        made.plane.put(made.node(), resolver(made), *made.slices([0], "resolver", "UDP"))
        yield made


def resolver(site: Site) -> dict[str, object]:
    return site.service("resolver", RESOLVER, OUTSIDE_PORT, protocol="UDP")


def test_a_client_with_one_port_follows_the_endpoints(site: Site, lab: Cluster) -> None:
    app, client = lab.pods["app"], lab.client
    with (
        site.agent() as agent,
        Dialogue(app, RESOLVER[0], 80, SOURCE_PORT) as inside,
        Dialogue(client, NODE[1], OUTSIDE_PORT, SOURCE_PORT) as outside,
        Dialogue(client, "10.244.1.9", OUTSIDE_PORT, SOURCE_PORT + 1) as overlay,
    ):
        site.wait_in_step()
        first = (inside.ask(), outside.ask(), overlay.ask())
        assert first == (pod(0)[0], pod(0)[1], "10.244.1.9")
        bystander = flow_to(lab, "10.244.1.9", SOURCE_PORT + 1)
        for numbers in ([1], [2, 3], [], [4]):
            site.plane.put(*site.slices(numbers, "resolver", "UDP"))
            site.wait_in_step()
            if numbers:
                inside.wait_for(*(pod(number)[0] for number in numbers))
                outside.wait_for(*(pod(number)[1] for number in numbers))
            else:
                until(lambda: not inside.ask() and not outside.ask(), lambda: agent.output)
            assert overlay.ask() == "10.244.1.9"
        assert flow_to(lab, "10.244.1.9", SOURCE_PORT + 1) == bystander
        assert metric(agent, "deleted_entries_total") > 0


def test_a_deleted_service_answers_no_more_and_again_when_it_is_back(site: Site, lab: Cluster) -> None:
    with site.agent() as agent, Dialogue(lab.pods["app"], RESOLVER[0], 80, SOURCE_PORT) as inside:
        site.wait_in_step()
        assert inside.ask() == pod(0)[0]
        site.plane.delete(resolver(site), *site.slices([], "resolver", "UDP"))
        until(lambda: not inside.ask(), lambda: agent.output)
        site.plane.put(resolver(site), *site.slices([1], "resolver", "UDP"))
        inside.wait_for(pod(1)[0])


def test_endpoints_that_stay_keep_their_clients_and_a_restart_keeps_all(site: Site, lab: Cluster) -> None:
    site.plane.put(*site.slices(range(6), "resolver", "UDP"))
    with Dialogue(lab.pods["app"], RESOLVER[0], 80, SOURCE_PORT) as inside:
        with site.agent() as agent:
            site.wait_in_step()
            answered = inside.ask()
            number = next(one for one in range(6) if pod(one)[0] == answered)
            before = flow_to(lab, RESOLVER[0])
            site.plane.put(*site.slices([number, 9], "resolver", "UDP"))
            site.wait_in_step()
            until(lambda: metric(agent, "sync_duration_seconds_count") >= 2, lambda: agent.output)
            assert {inside.ask() for _ in range(5)} == {answered}
            assert agent.stop() == 0
        with site.agent() as agent:
            assert {inside.ask() for _ in range(5)} == {answered}
            assert agent.stop() == 0
        assert flow_to(lab, RESOLVER[0]) == before


def flow_to(lab: Cluster, target: str, source_port: int = SOURCE_PORT) -> int:
    """Return the number of the one flow from a port to an address."""
    (found,) = [one for one in flows_of(lab.node) if one.target == target and one.source_port == source_port]
    return found.number


def metric(agent: RunningAgent, name: str) -> float:
    """Return a metric of the removal of flows, of IPv4."""
    return agent.metrics.value(f"kubeproxy_conntrack_reconciler_{name}", ip_family="IPv4")
