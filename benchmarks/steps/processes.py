"""The program as its users run it: cold starts, restarts, a storm of changes, and commands that do little."""

import subprocess
import time
from dataclasses import asdict
from functools import partial

from benchmarks.agent import Agent, Double, agent_on, api_double
from benchmarks.bench import Bench
from benchmarks.children import NFTSVC, Failed, TooLong, child, memory_of, processor_seconds_of
from benchmarks.cluster import NODE, Cluster
from benchmarks.double import FRESH_POD
from benchmarks.layouts import Layout
from benchmarks.notifications import Appearances
from benchmarks.ours import SETTINGS
from benchmarks.plane import address_of
from benchmarks.results import Measurement, What, quantile
from nftsvc.lab import Namespace, namespaces

_STEADY_SECONDS = 3.0
_RATE = 1000
_BACKLOG_SECONDS = 2.0
_COMMANDS = 5
_SHARES = 1000  # of the lags that are kept
_OVERHEAD_SECONDS = 4.0
_SECONDS_AN_ENDPOINT = 0.0001
_SMALL_CASE = "examples/100-my-service"

_OPERATIONS = "nftsvc_transaction_operations_sum"
_TRANSACTIONS = "nftsvc_transaction_operations_count"


def measure_commands(bench: Bench) -> None:
    """Measure commands that have next to nothing to do."""
    for what, command in ((What.HELP, ("--help",)), (What.RENDER, ("render", _SMALL_CASE))):
        missing = Measurement(what, Layout.OURS, 1, 1, ())
        bench.try_to(partial(_command, bench, what, command), 5, missing)


def _command(bench: Bench, what: str, command: tuple[str, ...]) -> None:
    for _ in range(_COMMANDS):
        begun = time.perf_counter()
        _to_its_end(bench, what, command)
        bench.results.add(what, Layout.OURS, (1, 1), [time.perf_counter() - begun])


def _to_its_end(bench: Bench, what: str, command: tuple[str, ...], namespace: Namespace | None = None) -> None:
    """Run one of nftsvc's commands; Failed, with the last that it said, if that is no success."""
    said = bench.folder / "said"
    with (
        said.open("wb") as errors,
        child((*NFTSVC, *command), namespace, stdout=subprocess.DEVNULL, stderr=errors) as process,
    ):
        try:
            process.wait(bench.patience)
        except subprocess.TimeoutExpired:
            raise TooLong(what) from None
    if process.returncode != 0:
        last = said.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
        raise Failed(f"{what}: exit code {process.returncode}: {''.join(last)}")


def measure_applying(bench: Bench) -> None:
    """Measure `nftsvc apply` of manifests from the start of the process to its end."""
    files = bench.measured("write", cluster=asdict(Cluster(*bench.plan.cold)), folder=str(bench.folder))
    turns = [(What.APPLY_JSON, files["json"])] * bench.plan.cold_rounds
    turns += [(What.APPLY_YAML, files["yaml"])] * bench.plan.yaml
    for what, path in turns:
        missing = Measurement(what, Layout.OURS, *bench.plan.cold, ())
        bench.try_to(partial(_apply, bench, what, path), 10, missing)


def _apply(bench: Bench, what: str, path: str) -> None:
    settings = [word for one in SETTINGS for word in ("--set", one)]
    with namespaces("bench") as (namespace,):
        begun = time.perf_counter()
        _to_its_end(bench, what, ("apply", path, "--node", NODE, *settings), namespace)
        seconds = time.perf_counter() - begun
    bench.results.add(what, Layout.OURS, bench.plan.cold, [seconds])
    bench.say(f"  {seconds:.2f} s")


def measure_running(bench: Bench) -> None:
    """Measure `nftsvc run` with the API server double: cold starts, restarts, a storm."""
    missing = Measurement(What.RUN, Layout.OURS, *bench.plan.cold, ())
    cluster = Cluster(*bench.plan.cold)
    start = _OVERHEAD_SECONDS + cluster.total * _SECONDS_AN_ENDPOINT
    seconds = start * (1 + 2 * bench.plan.cold_rounds) + bench.plan.storm_seconds
    bench.try_to(partial(_run, bench, cluster), seconds, missing)


def _run(bench: Bench, cluster: Cluster) -> None:
    with namespaces("bench") as (namespace,), api_double(cluster, namespace, bench.folder) as double:
        for turn in range(bench.plan.cold_rounds):
            with agent_on(double, namespace) as agent:
                _cold(bench, agent)
            with agent_on(double, namespace) as agent:
                _again(bench, agent)
                if turn == bench.plan.cold_rounds - 1:
                    bench.say(f"storm: {_RATE} changes a second for {bench.plan.storm_seconds} s")
                    _storm(bench, cluster, double, agent, namespace)
            namespace.call(lambda: subprocess.run(["nft", "flush", "ruleset"], check=True))


def _cold(bench: Bench, agent: Agent) -> None:
    seconds = agent.wait_until_ready(bench.patience)
    bench.results.add(What.RUN, Layout.OURS, bench.plan.cold, [seconds])
    time.sleep(_STEADY_SECONDS)
    memory = memory_of(agent.pid)
    bench.results.add(What.RUN_PEAK, Layout.OURS, bench.plan.cold, [memory["VmHWM"] / 1024])
    bench.results.add(What.RUN_STEADY, Layout.OURS, bench.plan.cold, [memory["VmRSS"] / 1024])
    bench.say(f"  cold {seconds:.2f} s, at most {memory['VmHWM'] >> 10} MiB, then {memory['VmRSS'] >> 10} MiB")
    agent.stop()


def _again(bench: Bench, agent: Agent) -> None:
    seconds = agent.wait_until_ready(bench.patience)
    bench.results.add(What.RESTART, Layout.OURS, bench.plan.cold, [seconds])
    bench.results.add(What.RESTART_CHANGES, Layout.OURS, bench.plan.cold, [agent.metrics()[_OPERATIONS]])
    bench.say(f"  again {seconds:.2f} s")


def _storm(bench: Bench, cluster: Cluster, double: Double, agent: Agent, namespace: Namespace) -> None:
    seconds = bench.plan.storm_seconds
    first = address_of(cluster.pod_address(FRESH_POD))
    with Appearances(namespace.path, first, _RATE * seconds) as appearances:
        before, busy = agent.metrics(), processor_seconds_of(agent.pid)
        double.tell(rate=_RATE, seconds=seconds)
        told = double.answer()["told"]
        busy = processor_seconds_of(agent.pid) - busy
        deadline = time.monotonic() + _BACKLOG_SECONDS
        while len(appearances.seen) < len(told) and time.monotonic() < deadline:
            time.sleep(0.05)
        transactions = agent.metrics()[_TRANSACTIONS] - before[_TRANSACTIONS]
    seen = [appearances.seen.get(first + number) for number in range(len(told))]
    size = bench.plan.cold
    lags = [at - then for at, then in zip(seen, told, strict=True) if at is not None]
    bench.results.add(
        What.STORM_LAG, Layout.OURS, size, [quantile(lags, one / _SHARES) for one in range(1, _SHARES + 1)]
    )
    bench.results.add(What.STORM_CPU, Layout.OURS, size, [busy / (told[-1] - told[0])])
    bench.results.add(What.STORM_TRANSACTIONS, Layout.OURS, size, [transactions])
    bench.results.add(What.STORM_TOLD, Layout.OURS, size, [len(told)])
    bench.results.add(What.STORM_SEEN, Layout.OURS, size, [len(lags)])
