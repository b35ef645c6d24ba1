"""A node with Pods, a control plane and an agent, clients that never rest, and what must hold of all that.

Three namespaces hold the Pods of the Service `web`, `POD_COUNT` addresses of each family among them; `app` is a Pod
that only asks. `web` is asked from `app` at its IPv4 cluster IP, and from outside at its IPv6 node port.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nftsvc.kernel import Kernel
from nftsvc.lab import GATEWAY, NODE, Cluster, build_cluster
from nftsvc.plan import make_plan
from nftsvc.render import Renderer
from nftsvc.ruleset import AFFINITY_MAPS, EMPTY, Ruleset, make_ruleset
from nftsvc.settings import settings_for
from nftsvc.state import State
from nftsvc.sync import remove
from nftsvc.values import Family
from tests.support.agent import RunningAgent, running
from tests.support.agent_flows import forget_flows
from tests.support.agent_plane import Plane, plane_of
from tests.support.agent_traffic import Attempt, Load, load, serve, until
from tests.support.apiserver_load import node
from tests.support.builders import decoded, endpoint_slice, service

Raw = dict[str, Any]

PLANES = ("folder", "double", *(("real",) if os.environ.get("KUBECONFIG") else ()))
POD_COUNT = 54
POD_PORT = 8080
NODE_NAME = "node-a"
VIP = ("10.96.0.80", "fd00:96::80")
NODE_PORT = 30080
APP = ("10.244.1.9", "fd00:244:1::9")
_HOMES = ("web-1", "web-2", "web-3")


def pod(number: int) -> tuple[str, str]:
    """Return the addresses of a Pod of `web`, by its number from 0."""
    return f"10.244.1.{100 + number}", f"fd00:244:1::{100 + number}"


@contextmanager
def build_lab() -> Iterator[Cluster]:
    """Make the namespaces, with all Pods answering."""
    with ExitStack() as stack:
        first = {name: pod(at) for at, name in enumerate(_HOMES)}
        cluster = stack.enter_context(build_cluster({**first, "app": APP}))
        for at, name in enumerate(_HOMES):
            more = [one for number in range(at + len(_HOMES), POD_COUNT, len(_HOMES)) for one in pod(number)]
            cluster.pods[name].configure(*(f"address add {one} dev eth0{' nodad' * (':' in one)}" for one in more))
            cluster.node.configure(*(f"route add {one} dev pod{at}" for one in more))
            stack.enter_context(serve(cluster.pods[name], [*first[name], *more], POD_PORT))
        yield cluster


@dataclass
class Site:
    """All of it. `kernel` is the node's."""

    cluster: Cluster
    plane: Plane
    kernel: Kernel
    folder: Path
    agents: int = 0
    loads: list[Load] = field(default_factory=list)

    # Objects ----------------------------------------------------------------------------------------------------------

    def node(self, **more: Any) -> Raw:
        return node(NODE_NAME, *NODE, pods=("10.244.1.0/24", "fd00:244:1::/64"), **more)

    def service(self, name: str = "web", vip: Sequence[str] = VIP, node_port: int = NODE_PORT, **spec: Any) -> Raw:
        port = {"name": "http", "port": 80, "protocol": spec.pop("protocol", "TCP"), "targetPort": POD_PORT}
        if node_port:
            port["nodePort"] = node_port
        kind = "NodePort" if node_port else "ClusterIP"
        families = ["IPv6" if ":" in one else "IPv4" for one in vip]
        policy = "RequireDualStack" if len(families) > 1 else "SingleStack"
        spec = {"type": kind, "ipFamilies": families, "ipFamilyPolicy": policy, **spec}
        return service(name, vip, [port], self.plane.namespace, **spec)

    def slices(self, numbers: Sequence[int], name: str = "web", protocol: str = "TCP", **more: Any) -> list[Raw]:
        """Return the slices of both families with these Pods; `more` goes into each endpoint."""
        ports = [{"name": "http", "port": POD_PORT, "protocol": protocol}]
        made = []
        for six in (False, True):
            one = endpoint_slice(name, [pod(number)[six] for number in numbers], ports, self.plane.namespace)
            one |= {"addressType": "IPv6" if six else "IPv4"}
            one["metadata"]["name"] = f"{name}-{'ipv6' if six else 'ipv4'}-1"
            for endpoint in one["endpoints"]:
                endpoint.update(more)
            made.append(one)
        return made

    def put_web(self, *numbers: int) -> None:
        self.plane.put(self.node(), self.service(), *self.slices(numbers))

    # The agent --------------------------------------------------------------------------------------------------------

    @contextmanager
    def agent(self, *arguments: str, ready: bool = True) -> Iterator[RunningAgent]:
        """Run an agent while the context lasts; each has a log of its own."""
        self.agents += 1
        words = ("--node", NODE_NAME, *self.plane.arguments, *arguments)
        with running(self.cluster.node, words, self.folder / f"agent-{self.agents}.log") as made:
            if ready:
                made.wait_ready()
            yield made

    def differences(self) -> list[str]:
        """Return how the kernel's content differs from what the objects mean: nothing, if the agent is in step."""
        state = State.of(map(decoded, self.plane.objects()))
        plan = make_plan(state, settings_for(state, NODE_NAME))
        wanted, found = make_ruleset(plan, EMPTY), self.kernel.read()
        return [
            f"{family} {name}: {here.get(name)} instead of {there.get(name)}"
            for family in found.tables.keys() | wanted.tables.keys()
            for here, there in [(_content(found, wanted, family), _content(wanted, wanted, family))]
            for name in here.keys() | there.keys()
            if here.get(name) != there.get(name)
        ]

    def wait_in_step(self) -> None:
        until(lambda: not self.differences(), lambda: "\n".join(self.differences()))

    # Clients ----------------------------------------------------------------------------------------------------------

    @contextmanager
    def load(self) -> Iterator[None]:
        """Keep asking `web` at both places; not one connection may fail by the end of the context."""
        with self.bombarded():
            yield
            attempts = {one.name: one.stop() for one in self.loads}
            for name, made in attempts.items():
                failed = [one for one in made if one.error]
                assert not failed, f"{name}: {len(failed)} of {len(made)} failed: {'; '.join(map(str, failed[:20]))}"

    @contextmanager
    def bombarded(self) -> Iterator[None]:
        """Keep asking `web` at both places, whatever comes of it."""
        app, client = self.cluster.pods["app"], self.cluster.client
        with ExitStack() as stack:
            stack.callback(self.loads.clear)
            for namespace, host, port, name in (
                (app, VIP[0], 80, "cluster-ip"),
                (client, NODE[1], NODE_PORT, "node-port"),
            ):
                self.loads.append(stack.enter_context(load(namespace, host, port, self.folder, name)))
            yield

    def assert_reached(self, *numbers: int) -> None:
        """From now on clients reach all of these Pods and no other, as who they are (at the node port: as the node)."""
        count = max(60, 15 * len(numbers))
        for six, one in enumerate(self.loads):
            attempts = one.go_on(count)
            assert {attempt.pod for attempt in attempts} == {pod(number)[six] for number in numbers}, one.name
            assert {attempt.source for attempt in attempts} == {GATEWAY[1] if six else APP[0]}, one.name


def _content(ruleset: Ruleset, wanted: Ruleset, family: Family) -> dict[str, object]:
    """Return what is in a family's table, by name: elements without their slots, chains as how many rules they have."""
    table = ruleset.tables.get(family)
    if table is None:
        return {}
    slotted = {one.name for one in wanted.tables[family].sets if "numgen" in one.key}
    elements: dict[str, object] = {
        name: sorted((key[: len(key) - (name in slotted)], entry.value) for key, entry in found.items())
        for name, found in table.elements.items()
        if name not in AFFINITY_MAPS
    }
    return elements | {f"chain {one.name}": len(one.rules) for one in table.chains}


def errors(attempts: Sequence[Attempt]) -> list[str]:
    return [str(one) for one in attempts if one.error]


@contextmanager
def build_site(cluster: Cluster, plane: str, folder: Path) -> Iterator[Site]:
    """Make a site with an empty kernel and a control plane without objects; leave the kernel empty."""
    with Kernel(cluster.node.path) as kernel, plane_of(plane, cluster.node, folder) as made:
        remove(kernel, Renderer())
        forget_flows(cluster.node)
        try:
            yield Site(cluster, made, kernel, folder)
        finally:
            remove(kernel, Renderer())
