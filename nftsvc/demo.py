"""The demonstration: a small cluster, real packets, and a change under load.

The node runs the agent (`nftsvc run`) on a folder of manifests. What happens then happens to the folder, or to the
node's nftables behind the agent's back, while requests go on.
"""

import shutil
import signal
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from types import FrameType

from rich.console import Console

from nftsvc.errors import KernelError
from nftsvc.frontends import Frontend
from nftsvc.lab import (
    CLIENT,
    Answer,
    Cluster,
    Namespace,
    RunningAgent,
    build_cluster,
    fetch,
    require_tools,
    run_agent_on,
    serve_http,
)
from nftsvc.pipeline import Planned, plan_from_manifests
from nftsvc.plan import PortPlan
from nftsvc.report.summary import bars, service_table
from nftsvc.state import ServiceKey
from nftsvc.values import Family, authority

_WEB = ServiceKey("demo", "web")
_EMPTY = ServiceKey("demo", "empty")
_LEAVING = "web-3"
_MOST_WAITS = 300


def run_demo(console: Console, requests: int) -> None:
    """Build the cluster, show traffic, remove a pod under load, clean up.

    Raises KernelUnavailable where something is missing that this takes, and KernelError where traffic did not go as it
    must.
    """
    require_tools()
    with _terminated_like_interrupted(), tempfile.TemporaryDirectory(prefix="nftsvc-demo-") as folder:
        manifests = Path(folder, "manifests")
        shutil.copytree(_own_manifests(), manifests)
        planned = plan_from_manifests([str(manifests)])
        with ExitStack() as stack:
            pods = _pods(planned)
            cluster = stack.enter_context(build_cluster({name: pods[name][0] for name in pods}))
            for name, namespace in cluster.pods.items():
                stack.enter_context(serve_http(namespace, name, pods[name][1]))
            agent = stack.enter_context(run_agent_on(cluster.node, manifests))
            _Demo(console, cluster, agent, manifests, requests).run(planned)
    console.print("\neverything is removed again")


def _own_manifests() -> Path:
    """Return the demo's manifests: inside the installed package, or the golden case in a checkout."""
    package = Path(str(files("nftsvc")))
    inside = package / "lab" / "manifests"
    return inside if inside.is_dir() else package.parent / "examples" / "500-demo"


def _pods(planned: Planned) -> dict[str, tuple[list[str], int]]:
    """Return each Pod's addresses and the port its container listens on."""
    pods = {}
    for pod in planned.state.pods["demo"]:
        addresses = [str(one.ip) for one in (pod.status.pod_ips if pod.status else None) or ()]
        ports = [
            int(port.container_port)
            for container in (pod.spec.containers if pod.spec else None) or ()
            for port in container.ports or ()
            if port.container_port
        ]
        pods[pod.name] = (addresses, ports[0])
    return pods


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Clean up on SIGTERM and SIGHUP as on Ctrl-C, undisturbed by any further one."""
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Round:
    """What came of some requests."""

    answers: list[Answer] = field(default_factory=list)
    failures: list[OSError] = field(default_factory=list)

    def ask(self, address: str, port: int, times: int = 1) -> None:
        """Make requests one after the other, each over a connection of its own."""
        for _ in range(times):
            try:
                self.answers.append(fetch(address, port))
            except OSError as error:
                self.failures.append(error)


class _Demo:
    def __init__(self, console: Console, cluster: Cluster, agent: RunningAgent, manifests: Path, requests: int) -> None:
        self._console = console
        self._cluster = cluster
        self._agent = agent
        self._manifests = manifests
        self._requests = requests

    def run(self, planned: Planned) -> None:
        """Show everything, in order."""
        self._say(
            f"a node, {len(self._cluster.pods)} pods and a client outside, each in a network namespace of its own"
        )
        self._console.print(service_table(planned.plan))
        self._agent.wait_ready()
        self._say("the agent runs on the node and watches the folder")
        self._log(self._agent.wait_for("kind=first"))
        name, pod = next(iter(self._cluster.pods.items()))
        for port in _ports(planned, _WEB):
            for frontend in port.frontends:
                if frontend.address is not None:
                    self._round(f"pod {name} -> cluster IP", pod, (frontend.address, int(frontend.port)))
                    self._explain(f"(a pod keeps its address; only {name} reaching itself is masqueraded)")
                else:
                    target = (_node_address(planned, port.family), int(frontend.port))
                    who = f"client {CLIENT[port.family == Family.IPV6]} -> node port"
                    self._round(who, self._cluster.client, target)
                    self._explain("(node ports are masqueraded, so that the answers come back through the node)")
        self._refusal(pod, _ports(planned, _EMPTY)[0].frontends[0])
        self._change_under_load(planned)
        self._flush(planned)

    def _say(self, text: str) -> None:
        self._console.print(f"\n{text}", style="bold", markup=False, soft_wrap=True)

    def _explain(self, text: str) -> None:
        self._console.print(text, style="dim", markup=False, soft_wrap=True)

    def _log(self, line: str) -> None:
        self._console.print(f"agent: {line}", style="cyan", markup=False, soft_wrap=True)

    def _round(self, who: str, namespace: Namespace, target: tuple[str, int]) -> None:
        """Send requests one after the other and show who answered and whom the pods saw."""
        self._say(f"{self._requests} requests: {who} {authority(*target)}")
        done = _Round()
        namespace.call(lambda: done.ask(*target, times=self._requests))
        self._show_answers(done.answers)
        if done.failures:
            raise KernelError(f"{len(done.failures)} requests failed: {done.failures[0]}")

    def _show_answers(self, answers: Sequence[Answer]) -> None:
        counts = Counter(answer.pod for answer in answers)
        self._console.print(bars([(pod, counts[pod]) for pod in self._cluster.pods]))
        seen = Counter(answer.source for answer in answers)
        sources = ", ".join(f"{source} ({count})" for source, count in sorted(seen.items()))
        self._console.print(f"the pods saw requests from: {sources}", soft_wrap=True)

    def _refusal(self, pod: Namespace, frontend: Frontend) -> None:
        address, port = str(frontend.address), int(frontend.port)
        self._say(f"1 request to a Service without endpoints: {authority(address, port)}")
        try:
            pod.call(lambda: fetch(address, port))
        except ConnectionRefusedError as error:
            self._console.print(f"refused at once, as it should be: {error.strerror}")
        else:
            raise KernelError(f"{authority(address, port)} answered, but nobody is there")

    def _change_under_load(self, planned: Planned) -> None:
        """Take a pod out of the manifests while requests go on."""
        port = _ports(planned, _WEB)[0]
        target = (
            _node_address(planned, port.family),
            next(int(one.port) for one in port.frontends if one.address is None),
        )
        self._say(f"pod {_LEAVING} leaves the folder while the client goes on asking {authority(*target)}")
        before, after = _Round(), _Round()
        said = len(self._agent.lines)
        with self._load(target, before):
            Path(self._manifests, f"{_LEAVING}.yaml").unlink()
            line = self._agent.wait_for("kind=change", said)
        self._log(line)
        self._console.print(f"{len(before.answers)} requests during the change, {len(before.failures)} failed")
        self._cluster.client.call(lambda: after.ask(*target, times=self._requests))
        self._say(f"{self._requests} requests afterwards")
        self._show_answers(after.answers)
        failures = before.failures + after.failures
        if failures:
            raise KernelError(f"{len(failures)} requests failed: {failures[0]}")
        if any(answer.pod == _LEAVING for answer in after.answers):
            raise KernelError(f"{_LEAVING} still gets new connections")

    def _flush(self, planned: Planned) -> None:
        """Delete the node's whole ruleset behind the agent's back."""
        port = _ports(planned, _WEB)[0]
        target = (str(port.frontends[0].address), int(port.frontends[0].port))
        self._say("somebody runs `nft flush ruleset` on the node")
        said = len(self._agent.lines)
        self._cluster.node.call(lambda: subprocess.run(["nft", "flush", "ruleset"], check=True))
        self._log(self._agent.wait_for("another process changed our tables", said))
        self._log(self._agent.wait_for("kind=repair", said))
        name, pod = next(iter(self._cluster.pods.items()))
        self._round(f"pod {name} -> cluster IP", pod, target)

    @contextmanager
    def _load(self, target: tuple[str, int], result: _Round) -> Iterator[None]:
        """Ask again and again from the client, from some requests before the body to some after it."""
        enough, stop = threading.Event(), threading.Event()

        def ask() -> None:
            while not stop.is_set() and len(result.failures) < self._requests:
                result.ask(*target)
                if len(result.answers) + len(result.failures) >= self._requests // 2:
                    enough.set()

        worker = threading.Thread(target=lambda: self._cluster.client.call(ask), daemon=True)
        worker.start()
        try:
            for _ in range(_MOST_WAITS):
                if enough.wait(0.1):
                    break
            yield
            stop.wait(0.2)
        finally:
            stop.set()
            while worker.is_alive():
                worker.join(0.1)


def _ports(planned: Planned, service: ServiceKey) -> list[PortPlan]:
    return [port for port in planned.plan.ports if port.service == service]


def _node_address(planned: Planned, family: Family) -> str:
    return planned.plan.settings.node_port_addresses[family][0]
