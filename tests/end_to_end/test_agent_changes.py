"""The agent under load while a cluster lives: whatever changes, not one connection fails."""

import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nftsvc.lab import NODE, Cluster
from tests.support.agent_plane import Double, Folder
from tests.support.agent_site import NODE_PORT, PLANES, VIP, Site, build_lab, build_site, pod
from tests.support.agent_traffic import reach, until

LOST_SECONDS = float(os.environ.get("NFTSVC_TEST_LOST_SECONDS", "3"))  # how long the API server is away

OTHER = ("10.96.0.81", "fd00:96::81")


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    with build_lab() as made:
        yield made


@pytest.fixture(params=PLANES)
def site(lab: Cluster, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """An agent that serves `web` with the Pods 0, 1 and 2, and clients; no connection fails until the end."""
    with build_site(lab, request.param, tmp_path) as made:
        made.put_web(0, 1, 2)
        with made.agent(), made.load():
            made.assert_reached(0, 1, 2)
            yield made


def test_other_services_come_and_go_and_come_again(site: Site, lab: Cluster) -> None:
    other = site.service("other", OTHER, NODE_PORT + 1)
    for _ in range(3):
        slices = site.slices([1, 2], "other")
        site.plane.put(other, *slices)
        site.wait_in_step()
        assert reach(lab.pods["app"], OTHER[0], 80) in {pod(1)[0], pod(2)[0]}
        site.plane.delete(other, *slices)
        site.wait_in_step()
        assert reach(lab.client, NODE[0], NODE_PORT + 1) == "ECONNREFUSED"
    site.assert_reached(0, 1, 2)


def test_scale_up_and_down(site: Site) -> None:
    """1 -> 50 -> 3, in one go and then one by one."""
    for numbers in ([0], range(50), [0, 1, 2]):
        site.plane.put(*site.slices(list(numbers)))
        site.wait_in_step()
        site.assert_reached(*numbers)
    for count in (*range(4, 51, 3), *range(47, 0, -3)):
        site.plane.put(*site.slices(list(range(count))))
    site.plane.put(*site.slices([0]))
    site.wait_in_step()
    site.assert_reached(0)


def test_rolling_update(site: Site) -> None:
    """Each of the old Pods is joined by a new one, stops being ready, terminates, goes."""
    present = [0, 1, 2]
    for old in (0, 1, 2):
        new = old + 3
        for conditions in (None, {"ready": False, "serving": True, "terminating": True}):
            slices = site.slices([*present, new])
            for one in slices:
                if conditions is not None:
                    one["endpoints"][present.index(old)]["conditions"] = conditions
            site.plane.put(*slices)
            site.wait_in_step()
        site.assert_reached(*(one for one in (*present, new) if one != old))
        present = [one for one in (*present, new) if one != old]
        site.plane.put(*site.slices(present))
        site.wait_in_step()
    site.assert_reached(3, 4, 5)


def test_another_selector(site: Site) -> None:
    """All endpoints change at once, as they do where a Service's selector or target port does."""
    for numbers in ([6, 7], [8, 9, 10], [0, 1, 2]) * 3:
        site.plane.put(site.service(selector={"app": f"set-{numbers[0]}"}), *site.slices(numbers))
    site.plane.put(*site.slices([6, 7]))
    site.wait_in_step()
    site.assert_reached(6, 7)


def test_another_zone(site: Site) -> None:
    """Clients reach the endpoints with a hint for the node's zone, wherever the node moves."""
    slices = site.slices([0, 1, 2])
    for one in slices:
        for number, endpoint in enumerate(one["endpoints"]):
            endpoint["hints"] = {"forZones": [{"name": f"zone-{'aab'[number]}"}]}
    site.plane.put(*slices)
    site.wait_in_step()
    site.assert_reached(0, 1)
    for zone, numbers in (("zone-b", [2]), ("zone-a", [0, 1]), ("zone-c", [0, 1, 2])):
        site.plane.put(site.node(zone=zone))
        site.wait_in_step()
        site.assert_reached(*numbers)


def test_everything_at_once(site: Site) -> None:
    """Three hundred random changes as fast as they can be made; Pod 0 stays."""
    chance = random.Random(7)
    other = site.service("other", OTHER, NODE_PORT + 1)
    slices, present = site.slices([1, 2], "other"), False
    for _ in range(150):
        site.plane.put(*site.slices([0, *chance.sample(range(1, 20), chance.randrange(6))]))
        if chance.random() < 0.3:
            (site.plane.delete if present else site.plane.put)(other, *slices)
            present = not present
    site.plane.put(*site.slices([0, 4]))
    site.wait_in_step()
    site.assert_reached(0, 4)


def test_established_connections_see_nothing_of_it(site: Site, lab: Cluster) -> None:
    def connect(address: str, port: int) -> socket.socket:
        return socket.create_connection((address, port), 10)

    def said(one: socket.socket) -> str:
        return one.recv(100).decode().split()[0]

    held = [lab.pods["app"].call(lambda: connect(VIP[0], 80)) for _ in range(10)]
    held += [lab.client.call(lambda: connect(NODE[1], NODE_PORT)) for _ in range(10)]
    first = [said(one) for one in held]
    for numbers in ([0], [3, 4], list(range(10)), [5]):
        site.plane.put(*site.slices(numbers))
        site.wait_in_step()
        for one in held:
            one.sendall(b"?")
        assert [said(one) for one in held] == first
    site.assert_reached(5)
    for one in held:
        one.close()


@pytest.fixture
def far(lab: Cluster, tmp_path: Path) -> Iterator[Site]:
    """As `site`, with the API server double."""
    with build_site(lab, "double", tmp_path) as made:
        made.put_web(0, 1, 2)
        with made.agent(), made.load():
            made.assert_reached(0, 1, 2)
            yield made


@pytest.mark.parametrize(("ahead", "refuse"), [(-2, True), (1000, False)], ids=["older", "newer"])
def test_api_server_lost_and_back_with_other_data(far: Site, ahead: int, refuse: bool) -> None:
    """What comes back is at an older revision than the agent has seen, or at a newer one."""
    assert isinstance(far.plane, Double)
    server = far.plane.server
    for _ in range(3):
        far.plane.put(*far.slices([0, 1]), *far.slices([0, 1, 2]))
    far.wait_in_step()
    seen = server.revision
    server.down(refuse=refuse)
    lost = time.monotonic()
    while time.monotonic() - lost < LOST_SECONDS:
        far.assert_reached(0, 1, 2)
    documents = [far.node(), far.service(), *far.slices([0, 5, 6])]
    server.replace(documents, revision=seen + ahead - len(documents))
    assert server.revision == seen + ahead
    far.wait_in_step()
    far.assert_reached(0, 5, 6)


def test_api_server_comes_back_with_new_services_and_without_old_ones(far: Site) -> None:
    assert isinstance(far.plane, Double)
    other, new = far.service("other", OTHER, NODE_PORT + 1), far.service("new", ("10.96.0.82",), 0)
    far.plane.put(other, *far.slices([1], "other"))
    far.wait_in_step()
    far.plane.server.replace([far.node(), far.service(), *far.slices([0, 1]), new, *far.slices([2], "new")], revision=9)
    far.wait_in_step()
    far.assert_reached(0, 1)


def test_manifests_swept_away_and_put_back(lab: Cluster, tmp_path: Path) -> None:
    """A folder that is not there keeps everything as it was."""
    with build_site(lab, "folder", tmp_path) as site:
        assert isinstance(site.plane, Folder)
        site.put_web(0, 1)
        with site.agent() as agent, site.load():
            away = site.plane.folder.with_name("away")
            site.plane.folder.rename(away)
            until(lambda: not agent.ready, lambda: agent.output)
            site.assert_reached(0, 1)
            away.rename(site.plane.folder)
            site.plane.put(*site.slices([1, 2]))
            site.wait_in_step()
            agent.wait_ready()
            site.assert_reached(1, 2)
            assert pod(1)[0] in {one.pod for one in site.loads[0].attempts}
