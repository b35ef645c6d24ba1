"""Agents that end, in every way that they can, and begin again: under load not one connection fails."""

import random
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from nftsvc.lab import Cluster
from nftsvc.values import FAMILIES
from tests.support.agent import RunningAgent
from tests.support.agent_site import PLANES, VIP, Raw, Site, build_lab, build_site, pod
from tests.support.agent_traffic import Dialogue, inside, reach, until

SOURCE_PORT = 20_053
STICKY = ("10.96.0.90",)
RESOLVER = ("10.96.0.53",)


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    with build_lab() as made:
        yield made


@pytest.fixture(params=PLANES)
def site(lab: Cluster, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with build_site(lab, request.param, tmp_path) as made:
        made.put_web(0, 1, 2)
        yield made


def listed(site: Site) -> str:
    """Return all rules and elements with their handles, without what packets count."""
    words = inside(site.cluster.node, "nft", "-a", "list", "ruleset")
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    text = re.sub(r"counter packets \d+ bytes \d+", "counter", text)
    return re.sub(r"timeout \S+ expires \S+", "timeout", text)


def counted(site: Site) -> int:
    """Return how many packets the elements of all maps have counted."""
    words = inside(site.cluster.node, "nft", "list", "ruleset")
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return sum(int(one) for one in re.findall(r"counter packets (\d+)", text))


def many(count: int, namespace: str, skip: int = 0) -> list[Raw]:
    """Return Services with twenty endpoints each, none of which anybody asks."""
    made: list[Raw] = []
    for number in range(skip, skip + count):
        meta = {"name": f"idle-{number}", "namespace": namespace}
        address = f"10.96.{10 + number // 200}.{number % 200 + 1}"
        port = {"name": "http", "port": 80, "protocol": "TCP"}
        spec = {"type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "ports": [port]}
        ends = [{"addresses": [f"10.{100 + one}.{number // 200}.{number % 200 + 1}"]} for one in range(20)]
        labels = {"kubernetes.io/service-name": meta["name"]}
        made.append({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec})
        made.append(
            {
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {**meta, "labels": labels},
                "addressType": "IPv4",
                "endpoints": ends,
                "ports": [{**port, "port": 8080}],
            }
        )
    return made


@contextmanager
def changing(site: Site, chance: random.Random) -> Iterator[None]:
    """Change the endpoints of `web`, but Pod 0, and some other Services, all the time."""
    stop, failures = Event(), list[Exception]()
    idle = many(40, site.plane.namespace, skip=1000)

    def change() -> None:
        try:
            while not stop.wait(0.005):
                site.plane.put(*site.slices([0, *chance.sample(range(1, 20), 3)]))
                slices = chance.sample(idle[1::2], 4)
                site.plane.put(*({**one, "endpoints": chance.sample(one["endpoints"], 10)} for one in slices))
        except Exception as error:  # noqa: BLE001 - carried over to the test
            failures.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failures


def test_killed_again_and_again_while_things_change(site: Site) -> None:
    chance = random.Random(11)
    site.plane.put(*many(40, site.plane.namespace, skip=1000))
    with site.agent():
        site.wait_in_step()
    with site.load(), changing(site, chance):
        for _ in range(3):
            with site.agent() as agent:
                wait_for_passes(agent, chance.randrange(1, 6))
                threading.Event().wait(chance.random() * 0.03)
                agent.kill()
    with site.load():
        site.plane.put(*site.slices([0, 30]))
        with site.agent():
            site.wait_in_step()
            site.assert_reached(0, 30)


def wait_for_passes(agent: RunningAgent, count: int) -> None:
    until(lambda: len(agent.passes) >= count, lambda: agent.output)


def test_killed_in_the_middle_of_a_first_load(lab: Cluster, tmp_path: Path) -> None:
    """Several transactions long: whoever comes next finds a part of it, which leads nowhere yet, or all of it."""
    chance = random.Random(5)
    with build_site(lab, "double", tmp_path) as site:
        site.plane.put(site.node(), site.service(), *site.slices([0, 1]), *many(600, site.plane.namespace))
        partly = 0
        for _ in range(3):
            with site.agent(ready=False) as agent:
                until(lambda: site.kernel.present() or agent.passes, lambda: agent.output)
                threading.Event().wait(chance.random() * 0.2)
                agent.kill()
            partly += bool(site.differences())
            assert reach(lab.pods["app"], VIP[0], 80, 0.5) in {pod(0)[0], pod(1)[0], "ETIMEDOUT"}
        with site.agent():
            site.wait_in_step()
            with site.load():
                site.assert_reached(0, 1)
        assert partly


def test_restart_changes_nothing(site: Site, lab: Cluster) -> None:
    """Neither the end nor the beginning of an agent sends anything; connections, flows, affinity, counters go on."""
    sticky = site.service("sticky", STICKY, 0, sessionAffinity="ClientIP")
    resolver = site.service("resolver", RESOLVER, 0, protocol="UDP")
    site.plane.put(sticky, *site.slices([0, 1, 2, 3, 4, 5], "sticky"))
    site.plane.put(resolver, *site.slices([0, 1, 2, 3, 4, 5], "resolver", "UDP"))
    app = lab.pods["app"]
    with (
        site.agent() as agent,
        Dialogue(app, RESOLVER[0], 80, SOURCE_PORT) as resolver_asked,
        app.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as held,
    ):
        site.wait_in_step()
        held.connect((VIP[0], 80))
        first = held.recv(100)
        answered, stuck = resolver_asked.ask(), reach(app, STICKY[0], 80)
        with site.load():
            site.assert_reached(0, 1, 2)
            before, packets = listed(site), counted(site)
            assert agent.stop() == 0
            site.assert_reached(0, 1, 2)
            for _ in range(3):
                with site.agent() as again:
                    site.assert_reached(0, 1, 2)
                    until(lambda: again.status["passes"]["total"] >= 1, "no pass")
                    assert again.status["lastGood"]["transactions"] == 0
                    assert not again.passes
                    assert again.stop() == 0
            assert listed(site) == before
            assert counted(site) >= packets + 400
        held.sendall(b"?")
        assert held.recv(100) == first
        assert {resolver_asked.ask() for _ in range(5)} == {answered}
        assert {reach(app, STICKY[0], 80) for _ in range(12)} == {stuck}


def with_another_layout(site: Site, *, sets: bool) -> None:
    """Make the tables say that they are another version's: of other rules, or of other sets, too."""
    layout = next(iter(site.kernel.read(FAMILIES).tables.values())).sets_layout
    comment = "nftsvc layout 1.00000000.00000000" if sets else f"{layout}.00000000"
    text = "".join(
        f'flush chain {family} nftsvc layout\nadd rule {family} nftsvc layout return comment "{comment}"\n'
        f"flush chain {family} nftsvc masquerade-cluster-ip\n"
        for family in ("ip", "ip6")
    )
    subprocess.run(inside(site.cluster.node, "nft", "-f", "-"), input=text, text=True, check=True)


@pytest.mark.parametrize("sets", [True, False], ids=["other sets", "other rules"])
def test_another_version_takes_over(site: Site, lab: Cluster, *, sets: bool) -> None:
    """Rules, or whole tables, are replaced in one transaction, under load; with rules alone nothing is forgotten."""
    site.plane.put(site.service("sticky", STICKY, 0, sessionAffinity="ClientIP"))
    site.plane.put(*site.slices([0, 1, 2, 3, 4, 5], "sticky"))
    app = lab.pods["app"]
    with site.agent() as agent:
        site.wait_in_step()
        stuck = reach(app, STICKY[0], 80)
        assert agent.stop() == 0
    with site.load():
        site.assert_reached(0, 1, 2)
        with_another_layout(site, sets=sets)
        before = counted(site)
        with site.agent() as agent:
            site.wait_in_step()
            assert [one["transactions"] for one in agent.passes][:1] == [1]
            site.assert_reached(0, 1, 2)
        assert pod(0)[0] in {one.pod for one in site.loads[0].attempts}
        if not sets:
            assert counted(site) >= before
            assert {reach(app, STICKY[0], 80) for _ in range(12)} == {stuck}
