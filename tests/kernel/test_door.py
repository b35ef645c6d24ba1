"""What the door reads besides whole tables: single sets, and the counters of elements under Services' names."""

import asyncio
import subprocess
import threading
from collections import Counter

import pytest

from nftsvc.agent.connections import COUNTED, service_counts
from nftsvc.agent.drift import DriftWatch
from nftsvc.agent.status import Drift
from nftsvc.events import Replaced
from nftsvc.frontends import FrontendKind
from nftsvc.kernel import Kernel
from nftsvc.lab import NODE, Cluster, Namespace
from nftsvc.objects import KINDS
from nftsvc.plan import Planner, ServicePlan
from nftsvc.render import Renderer
from nftsvc.ruleset import AFFINITY_MAPS, Ruleset
from nftsvc.settings import NodeSettings, settings_for
from nftsvc.state import State
from nftsvc.sync import Follower, PassKind, Suspicion, synchronise
from nftsvc.values import FAMILIES, Family
from tests.kernel.conftest import POD_PORT, PODS
from tests.support.builders import NODE_ADDRESSES, Raw, decoded, endpoint_slice, service
from tests.support.traffic import ask, error_of

SETTINGS = NodeSettings(name="node-a", families=FAMILIES, node_port_addresses=NODE_ADDRESSES)
VIP, EMPTY_VIP, AWAY_VIP = ("10.96.0.80", "fd00:96::80"), ("10.96.0.81", "fd00:96::81"), ("10.96.0.82", "fd00:96::82")
EXTERNAL = ("203.0.113.80", "2001:db8:203::80")
NODE_PORT = 30080
PORTS: list[Raw] = [
    {"name": "http", "port": 80, "nodePort": NODE_PORT},
    {"name": "dns", "port": 53, "protocol": "UDP", "nodePort": NODE_PORT},
]
TARGETS: list[Raw] = [{"name": "http", "port": POD_PORT}, {"name": "dns", "port": POD_PORT, "protocol": "UDP"}]


def raws() -> list[Raw]:
    slices = [endpoint_slice("web", [PODS["web-1"][six], PODS["web-2"][six]], TARGETS) for six in (0, 1)]
    stays: Raw = {"type": "NodePort", "externalIPs": list(EXTERNAL), "sessionAffinity": "ClientIP"}
    away = [endpoint_slice("away", [one], TARGETS[:1], node="node-b") for one in ("10.244.2.5", "fd00:244:2::5")]
    return [
        service("web", VIP, PORTS, **stays),
        *slices,
        service("empty", EMPTY_VIP),
        service("away", AWAY_VIP, [{"name": "http", "port": 80}], internalTrafficPolicy="Local"),
        *away,
    ]


def loaded(kernel: Kernel, *listed: Raw) -> tuple[ServicePlan, ...]:
    state = State.of(map(decoded, listed))
    planner = Planner(SETTINGS)
    planner.update(state, state.services)
    synchronise(kernel, planner.plan(), Renderer())
    return tuple(planner.plans.values())


# Single sets ----------------------------------------------------------------------------------------------------------


def test_single_sets_are_what_they_are_in_the_whole(kernel: Kernel) -> None:
    loaded(kernel, *raws())
    whole = kernel.read()
    for family in FAMILIES:
        table = whole.tables[family]
        names = frozenset(table.elements)
        some = kernel.read_sets({family: names})
        assert list(some.tables) == [family]
        assert some.tables[family].elements == table.elements
        assert {(one.name, one.data) for one in some.tables[family].sets} == {
            (one.name, one.data) for one in table.sets
        }
        assert not some.tables[family].chains
        one = kernel.read_sets({family: ("service-ips",)}).tables[family]
        assert one.elements == {"service-ips": table.elements["service-ips"]}


def test_sets_that_are_not_there_are_left_out(kernel: Kernel) -> None:
    everywhere = dict.fromkeys(FAMILIES, ("service-ips", "no-such-set"))
    assert all(not one.elements for one in kernel.read_sets(everywhere).tables.values())
    loaded(kernel, *raws())
    found = kernel.read_sets(everywhere)
    assert [set(one.elements) for one in found.tables.values()] == [{"service-ips"}] * 2
    assert kernel.read_sets({}) == Ruleset({})
    assert not kernel.read_sets({Family.IPV4: ()}).tables[Family.IPV4].elements


def test_records_are_read_alone(cluster: Cluster, node_kernel: Kernel) -> None:
    loaded(node_kernel, *raws())
    for six in (0, 1):
        ask(cluster.client, NODE[six], NODE_PORT, 2)
    found = node_kernel.read_sets(dict.fromkeys(FAMILIES, AFFINITY_MAPS))
    whole = node_kernel.read()
    for family in FAMILIES:
        records = found.tables[family].elements
        assert sum(map(len, records.values())) == (1 if family is Family.IPV4 else 2)
        assert records == {name: one for name, one in whole.tables[family].elements.items() if name in AFFINITY_MAPS}


# Counters -------------------------------------------------------------------------------------------------------------


def counts(kernel: Kernel, plans: tuple[ServicePlan, ...]) -> Counter[tuple[str, ...]]:
    """Return the counters that are not 0."""
    found = service_counts(plans, kernel.counters(dict.fromkeys(FAMILIES, COUNTED)))
    labels = [(one.labels, one.refused) for one in found]
    assert len(set(labels)) == len(labels)
    return Counter(
        {
            (
                one.labels.service,
                one.labels.port,
                one.labels.ip_family,
                one.labels.frontend,
                one.labels.address,
                "refused" * one.refused,
            ): one.packets
            for one in found
            if one.packets
        }
    )


def test_each_new_connection_counts_once_where_it_came_in(cluster: Cluster, node_kernel: Kernel) -> None:
    plans = loaded(node_kernel, *raws())
    assert not counts(node_kernel, plans)
    pod = cluster.pods["web-3"]
    for six in (0, 1):
        ask(pod, VIP[six], 80, 5)
        ask(pod, VIP[six], 53, 4, "UDP")
        ask(cluster.client, EXTERNAL[six], 80, 3)
        ask(cluster.client, NODE[six], NODE_PORT, 2)
        assert error_of(pod, EMPTY_VIP[six], 80) == "ECONNREFUSED"
    wanted: Counter[tuple[str, ...]] = Counter()
    for six, family in enumerate(FAMILIES):
        wanted["web", "http", family, FrontendKind.CLUSTER_IP, VIP[six], ""] = 5
        wanted["web", "dns", family, FrontendKind.CLUSTER_IP, VIP[six], ""] = 4
        wanted["web", "http", family, FrontendKind.EXTERNAL_IP, EXTERNAL[six], ""] = 3
        wanted["web", "http", family, FrontendKind.NODE_PORT, "", ""] = 2
    found = counts(node_kernel, plans)
    refused = {key: found.pop(key) for key in list(found) if key[-1] == "refused"}
    assert found == wanted
    assert {key[:5] for key in refused} == {
        ("empty", "", family, FrontendKind.CLUSTER_IP, EMPTY_VIP[six]) for six, family in enumerate(FAMILIES)
    }


def test_what_is_in_the_kernel_and_in_no_plan_is_left_out(cluster: Cluster, node_kernel: Kernel) -> None:
    plans = loaded(node_kernel, *raws())
    ask(cluster.pods["web-3"], VIP[0], 80, 1)
    assert not counts(node_kernel, tuple(one for one in plans if one.service.name != "web"))
    assert not service_counts(plans, {})
    assert not service_counts((), node_kernel.counters(dict.fromkeys(FAMILIES, COUNTED)))


def test_counters_stay_while_other_services_change(cluster: Cluster, node_kernel: Kernel) -> None:
    loaded(node_kernel, *raws())
    ask(cluster.pods["web-3"], VIP[0], 80, 3)
    slices = [endpoint_slice("web", [PODS["web-2"][0], PODS["web-3"][0]], TARGETS), raws()[2]]
    plans = loaded(node_kernel, raws()[0], *slices, service("other", ["10.96.0.90"]))
    assert counts(node_kernel, plans) == {("web", "http", Family.IPV4, FrontendKind.CLUSTER_IP, VIP[0], ""): 3}


def test_counters_of_tables_that_are_not_there(kernel: Kernel) -> None:
    assert kernel.counters(dict.fromkeys(FAMILIES, COUNTED)) == {Family.IPV4: {}, Family.IPV6: {}}


def test_counters_are_read_beside_everything_else(kernel: Kernel) -> None:
    """The one who counts has a thread of its own: both go on at the same time, and each gets what it asked for."""
    plans = loaded(kernel, *raws())
    failures: list[BaseException] = []

    def count() -> None:
        try:
            for _ in range(30):
                assert service_counts(plans, kernel.counters(dict.fromkeys(FAMILIES, COUNTED)))
        except BaseException as error:  # noqa: BLE001 - told on the test's thread
            failures.append(error)

    thread = threading.Thread(target=count)
    thread.start()
    for number in range(15):
        loaded(kernel, *raws(), service(f"s-{number}", [f"10.97.0.{number + 1}"]))
    thread.join()
    assert not failures


# Drift ----------------------------------------------------------------------------------------------------------------


def settings_of(state: State) -> NodeSettings:
    return settings_for(state, "node-a", FAMILIES)


@pytest.mark.parametrize(
    ("command", "narrow"),
    [
        ("delete element ip nftsvc service-ips { 10.96.0.80 . tcp . 80 }", True),
        ("add element ip6 nftsvc hairpin { fd00::1 . fd00::1 }", True),
        ("flush map ip nftsvc tcp-endpoints", True),
        ("delete table ip6 nftsvc", False),
        ("flush ruleset", False),
        ("flush chain ip nftsvc services", False),
        ("add chain ip nftsvc mine", False),
    ],
)
def test_what_others_do_is_noticed_and_put_right(
    kernel: Kernel, empty_namespace: Namespace, command: str, narrow: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        follower = Follower(kernel, Renderer(), settings_of)
        seen: list[tuple[Suspicion, Drift]] = []
        watch = DriftWatch(kernel, lambda *one: seen.append(one), lambda: 5.0, empty_namespace.path)
        task = asyncio.create_task(watch.run())
        try:
            listed = list(map(decoded, raws()))
            follower.take(Replaced(kind, tuple(one for one in listed if type(one) is kind)) for kind in KINDS)
            async with asyncio.timeout(60):
                while not seen:  # until the watch is on: what is done before that is not seen
                    await asyncio.to_thread(nft, empty_namespace, "add table ip nftsvc")
                    await asyncio.to_thread(nft, empty_namespace, "delete table ip nftsvc")
                    await asyncio.sleep(0.01)
            assert (await asyncio.to_thread(follower.step)).error is None
            await asyncio.sleep(0.05)
            seen.clear()
            await asyncio.to_thread(nft, empty_namespace, command)
            async with asyncio.timeout(60):
                while not seen:  # noqa: ASYNC110 - the kernel's doing
                    await asyncio.sleep(0.005)
        finally:
            task.cancel()
            await asyncio.wait([task])
        suspicion, drift = seen[0]
        assert bool(suspicion.sets) == narrow
        assert (drift.process, drift.at) == ("nft", 5.0)
        told = [one for one in caplog.records if "another process" in one.getMessage()]
        assert len(told) == 1, "one line for a process and a second, and time stands still here"
        follower.suspect(suspicion)
        done = await asyncio.to_thread(follower.step)
        assert (done.kind, done.error) == (PassKind.REPAIR, None)
        assert done.transactions >= 1
        assert not (await asyncio.to_thread(lambda: follower.step(verify=True))).transactions

    asyncio.run(test())


def nft(namespace: Namespace, command: str) -> None:
    subprocess.run(["ip", "netns", "exec", namespace.name, "nft", command], check=True, capture_output=True)
