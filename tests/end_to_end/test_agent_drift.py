"""Other processes that change nftsvc's tables: put right within a second, told with their name, counted."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from typing import NamedTuple

import pytest

from nftsvc.lab import Cluster, Namespace
from tests.support.agent import RunningAgent
from tests.support.agent_site import VIP, Site, build_lab, build_site, pod
from tests.support.agent_traffic import Dialogue, Load, inside, until

UNDER_WAY = 2.0  # seconds before the meddling: connections that had perhaps not got their answer
RESOLVER = ("10.96.0.53",)


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    with build_lab() as made:
        yield made


class Watched(NamedTuple):
    site: Site
    agent: RunningAgent


@pytest.fixture
def watched(lab: Cluster, tmp_path: Path) -> Iterator[Watched]:
    """An agent in step, with the Service `web` over TCP and `resolver` over UDP."""
    with build_site(lab, "folder", tmp_path) as site:
        site.put_web(0, 1, 2)
        resolver = site.service("resolver", RESOLVER, 0, protocol="UDP")
        site.plane.put(resolver, *site.slices([3], "resolver", "UDP"))
        with site.agent() as agent:
            site.wait_in_step()
            yield Watched(site, agent)


class Meddling(NamedTuple):
    """What somebody else did: with which process, and when (seconds since 1970) that began and was done."""

    pid: int
    began: float
    done: float


def nft(namespace: Namespace, *words: str) -> Meddling:
    began = time.time()
    with subprocess.Popen(inside(namespace, "nft", *words), stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        complaint = process.stderr.read()
    assert process.returncode == 0, complaint
    return Meddling(process.pid, began, time.time())


def listed(namespace: Namespace, *words: str) -> str:
    return subprocess.run(inside(namespace, "nft", *words), capture_output=True, text=True, check=True).stdout


def repaired_at(watched: Watched, meddling: Meddling) -> float:
    """Wait until all is as it was; check that it was told who did it; return when it was put right."""
    site, agent = watched
    until(lambda: agent.said("another process changed our tables", process="nft", pid=meddling.pid), agent.output)
    until(lambda: repairs(agent, meddling), lambda: agent.output)
    site.wait_in_step()
    return max(datetime.fromisoformat(one["time"]).timestamp() for one in repairs(agent, meddling))


def repairs(agent: RunningAgent, meddling: Meddling) -> list[dict[str, object]]:
    return [one for one in agent.said("synced", kind="repair") if f"nft (pid {meddling.pid})" in one["reason"]]


def count(agent: RunningAgent) -> float:
    """Return how many repairs /metrics tells of; its text is up to half a second old."""
    return agent.metrics.samples.get("nftsvc_drift_repairs_total", {}).get(frozenset({("process", "nft")}), 0)


DAMAGES = {
    "flushed": ("flush", "ruleset"),
    "one table deleted": ("delete", "table", "ip", "nftsvc"),
    "the other table deleted": ("delete", "table", "ip6", "nftsvc"),
    "a Service removed": ("delete", "element", "ip", "nftsvc", "service-ips", "{ 10.96.0.80 . tcp . 80 }"),
    "a node port removed": ("delete", "element", "ip6", "nftsvc", "nodeports", "{ tcp . 30080 }"),
    "a set emptied": ("flush", "map", "ip", "nftsvc", "tcp-endpoints"),
    "rules removed": ("flush", "chain", "ip6", "nftsvc", "nat-prerouting"),
    "everything dropped": ("add", "rule", "ip", "nftsvc", "filter-forward", "drop"),
}


@pytest.mark.parametrize("words", DAMAGES.values(), ids=DAMAGES)
def test_damage_under_load_is_repaired_and_hurts_nobody_else(watched: Watched, words: tuple[str, ...]) -> None:
    site, agent = watched
    with site.bombarded():
        site.assert_reached(0, 1, 2)
        meddling = nft(site.cluster.node, *words)
        repaired = repaired_at(watched, meddling)
        assert repaired - meddling.done < 1
        site.assert_reached(0, 1, 2)
        assert_confined(site.loads, meddling.began, repaired)
    until(lambda: count(agent) == 1, lambda: agent.output)
    drift = agent.status["lastDrift"]
    assert (drift["process"], drift["pid"]) == ("nft", meddling.pid)


def assert_confined(loads: list[Load], began: float, repaired: float) -> None:
    """Connections fail only if they were under way at some moment while something was missing."""
    for one in loads:
        outside = [made for made in one.stop() if made.error and not began - UNDER_WAY < made.began < repaired]
        assert not outside, f"{one.name}: {'; '.join(map(str, outside[:20]))}"


def test_damage_while_something_else_changes(watched: Watched) -> None:
    """Repairs and changes go together: in the end everything is as it should be."""
    site, agent = watched
    for number in range(12):
        site.plane.put(*site.slices([0, number % 3 + 1]))
        words = list(DAMAGES.values())[number % 3 : number % 3 + 1][0] if number % 2 else ("flush", "ruleset")
        nft(site.cluster.node, *words)
        until(lambda: len(site.kernel.present()) == 2, lambda: agent.output)
    site.wait_in_step()
    assert agent.ready


def test_tables_of_others_are_left_alone(watched: Watched) -> None:
    site, agent = watched
    node = site.cluster.node
    nft(node, "add table inet other; add set inet other s { type ipv4_addr; }; add element inet other s { 10.0.0.1 }")
    before, passes = listed(node, "-a", "list", "table", "inet", "other"), len(agent.passes)
    try:
        site.plane.put(*site.slices([0]))
        site.wait_in_step()
        repaired_at(watched, nft(node, "delete", "table", "ip", "nftsvc"))
        nft(node, "add", "element", "inet", "other", "s", "{ 10.0.0.2 }")
        assert listed(node, "-a", "list", "table", "inet", "other") == before.replace("10.0.0.1", "10.0.0.1, 10.0.0.2")
        assert len(agent.passes) == passes + 2
    finally:
        nft(node, "delete", "table", "inet", "other")


# What clients sent while nothing was there ----------------------------------------------------------------------------


FIREWALL = """
table inet firewall {
    chain forward {
        type filter hook forward priority -10; policy accept;
        ct state established accept
    }
}
"""


@pytest.fixture
def firewall(watched: Watched) -> Iterator[None]:
    """Rules of somebody else's that follow connections, as most nodes have: flows are tracked without nftsvc, too."""
    node = watched.site.cluster.node
    subprocess.run(inside(node, "nft", "-f", "-"), input=FIREWALL, text=True, check=True)
    yield
    nft(node, "delete", "table", "inet", "firewall")


@contextmanager
def nothing_there(watched: Watched) -> Iterator[None]:
    """Delete the tables and keep the agent from doing anything about it while the context lasts."""
    watched.agent.send(SIGSTOP)
    try:
        nft(watched.site.cluster.node, "delete table ip nftsvc; delete table ip6 nftsvc")
        yield
    finally:
        watched.agent.send(SIGCONT)
    watched.site.wait_in_step()


@pytest.mark.usefixtures("firewall")
def test_connection_begun_while_nothing_was_there_succeeds(watched: Watched) -> None:
    """Its first packet got lost; the next, a second later, must not follow where the first one went."""
    app = watched.site.cluster.pods["app"]
    with app.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as client:
        client.settimeout(0)
        with nothing_there(watched):
            assert client.connect_ex((VIP[0], 80)) != 0
            sent = time.monotonic()
            until(lambda: time.monotonic() > sent + 0.2)
        client.settimeout(20)
        assert client.recv(100).decode().split()[0] in {pod(number)[0] for number in range(3)}


@pytest.mark.usefixtures("firewall")
def test_datagrams_sent_while_nothing_was_there_do_not_bind_those_after(watched: Watched) -> None:
    """A resolver asks from the same port for ever: it must reach the Service once that is there again."""
    app = watched.site.cluster.pods["app"]
    with Dialogue(app, RESOLVER[0], 80) as before, Dialogue(app, RESOLVER[0], 80) as meanwhile:
        assert before.ask() == pod(3)[0]
        with nothing_there(watched):
            assert meanwhile.ask() == ""
        before.wait_for(pod(3)[0])
        meanwhile.wait_for(pod(3)[0])
