"""Traffic: every layout is loaded on a node of its own, then packets go through all of them in turn."""

from contextlib import ExitStack
from dataclasses import asdict
from functools import partial

from benchmarks.bench import Bench
from benchmarks.cluster import Cluster
from benchmarks.layouts import Layout
from benchmarks.plan import Plane
from benchmarks.plane import plane
from benchmarks.results import Measurement, What
from benchmarks.steps.loads import PROTOCOL, likely_seconds, load_into, take_load
from nftsvc.lab import Namespace

_BESIDES = (Layout.ROUTING, Layout.TRACKING, Layout.TRANSLATION)
_OVERHEAD_SECONDS = 5.0
_SECONDS_A_PACKET = 20e-6
_SECONDS_A_RULE = 6e-9


def measure_planes(bench: Bench) -> None:
    """Measure what the first packet of a flow costs."""
    for wanted in bench.plan.planes:
        missing = Measurement(What.PACKET, Layout.OURS, wanted.services, wanted.endpoints, (), wanted.affinity)
        bench.try_to(partial(_measure, bench, wanted), _flood_seconds(bench, wanted), missing)


def _flood_seconds(bench: Bench, wanted: Plane) -> float:
    """Return how long sending about takes; in iptables a packet meets half of all Services."""
    sent = bench.plan.packets * (bench.plan.packet_rounds + 1)
    slow = wanted.services * _SECONDS_A_RULE if Layout.IPTABLES in wanted.layouts else 0.0
    return sent * (len(wanted.layouts) * _SECONDS_A_PACKET + slow) + _OVERHEAD_SECONDS


def _measure(bench: Bench, wanted: Plane) -> None:
    cluster = Cluster(wanted.services, wanted.endpoints, PROTOCOL, wanted.affinity)
    size = (wanted.services, wanted.endpoints)
    with ExitStack() as stack:
        planes = []
        for layout in (*_BESIDES, *wanted.layouts):
            made = stack.enter_context(plane())
            if layout is Layout.ROUTING or _is_loaded(bench, layout, cluster, made.node):
                planes.append({"layout": layout, "node": str(made.node.path), "client": str(made.client.path)})
        counts = {"packets": bench.plan.packets, "rounds": bench.plan.packet_rounds}
        outcome = bench.measured("flood", cluster=asdict(cluster), planes=planes, **counts)
    for name, values in outcome.items():
        layout = Layout(name)
        bench.results.add(What.PACKET, layout, size, values, affinity=wanted.affinity)
        median = bench.results.median(What.PACKET, *size, layout, affinity=wanted.affinity)
        bench.say(f"  {layout.heading}: {median:.0f} ns")


def _is_loaded(bench: Bench, layout: Layout, cluster: Cluster, node: Namespace) -> bool:
    """Load a layout for traffic, if there is time for it, and tell whether that was done."""
    size = (cluster.services, cluster.endpoints)
    done: list[Layout] = []

    def load() -> None:
        counts = layout not in _BESIDES and not cluster.affinity
        memory = counts and bench.results.find(What.SLAB, layout, *size) is None
        outcome = load_into(bench, node, layout, cluster, memory=memory)
        if counts:
            take_load(bench, layout, size, outcome)
        done.append(layout)

    missing = Measurement(What.PACKET, layout, *size, (), cluster.affinity)
    bench.try_to(load, likely_seconds(bench, layout, *size) + _OVERHEAD_SECONDS, missing)
    return bool(done)
