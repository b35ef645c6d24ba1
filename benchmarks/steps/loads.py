"""Full loads of every layout, in turn, each into a namespace that has nothing in it."""

from dataclasses import asdict
from functools import partial

from benchmarks.bench import Bench
from benchmarks.children import Outcome
from benchmarks.cluster import Cluster
from benchmarks.extrapolation import expected_seconds
from benchmarks.layouts import Layout
from benchmarks.plan import Load
from benchmarks.results import Measurement, What
from nftsvc.lab import Namespace, namespaces

_OVERHEAD_SECONDS = 1.5  # for starting a process, text or objects, and waiting until the kernel has settled
_SECONDS_AN_ENDPOINT = 0.0001
PROTOCOL = "UDP"


def measure_loads(bench: Bench) -> None:
    """Do all loads; what is loaded for traffic comes besides."""
    for load in bench.plan.loads:
        for turn in range(load.rounds):
            for layout in load.layouts:
                size = (load.services, load.endpoints)
                missing = Measurement(What.LOAD, layout, *size, ())
                once = partial(_load_once, bench, layout, load, turn)
                bench.try_to(once, likely_seconds(bench, layout, *size), missing)


def likely_seconds(bench: Bench, layout: Layout, services: int, endpoints: int) -> float:
    """Return how long a load about takes, with all that belongs to it."""
    known = bench.results.median(What.LOAD, services, endpoints, layout)
    guess = expected_seconds(bench.results, layout, services, endpoints)
    load = known if known == known else guess or 0.0  # noqa: PLR0124 - NaN
    return load + services * endpoints * _SECONDS_AN_ENDPOINT + _OVERHEAD_SECONDS


def _load_once(bench: Bench, layout: Layout, load: Load, turn: int) -> None:
    with namespaces("bench") as (namespace,):
        cluster = Cluster(load.services, load.endpoints, PROTOCOL)
        outcome = load_into(bench, namespace, layout, cluster, memory=turn == 0)
    take_load(bench, layout, (load.services, load.endpoints), outcome)


def load_into(bench: Bench, namespace: Namespace, layout: Layout, cluster: Cluster, *, memory: bool = False) -> Outcome:
    """Load a cluster's Services in a namespace."""
    given = {"layout": layout, "cluster": asdict(cluster), "namespace": str(namespace.path), "memory": memory}
    return bench.measured("load", **given)


def take_load(bench: Bench, layout: Layout, size: tuple[int, int], outcome: Outcome) -> None:
    """Take the outcome of a load into the results."""
    bench.say(f"  {layout.heading}, {size[0]} x {size[1]}: {outcome['seconds']:.2f} s")
    bench.results.add(What.LOAD, layout, size, [outcome["seconds"]])
    names = {"peak": What.PEAK, "steady": What.STEADY, "slab": What.SLAB, "percpu": What.PERCPU}
    for name in names.keys() & outcome.keys():
        bench.results.add(names[name], layout, size, [outcome[name] / 1024])
