"""Single changes, a rolling update, and adoption, all from decoded objects or from the bytes of a watch."""

from dataclasses import asdict
from functools import partial

from benchmarks.bench import Bench
from benchmarks.cluster import Cluster
from benchmarks.layouts import Layout
from benchmarks.results import Measurement, What, quantile
from benchmarks.steps.loads import load_into
from nftsvc.lab import namespaces

_OVERHEAD_SECONDS = 2.0
_SECONDS_A_SERVICE = 0.0003
_SECONDS_AN_ENDPOINT = 0.0001
AT_ONCE = 10
ROLLING_BESIDE = (1000, 2)


def measure_changes(bench: Bench) -> None:
    """Measure single changes at every size, and a rolling update."""
    for services, endpoints in bench.plan.changes:
        missing = Measurement(What.REPLACED, Layout.OURS, services, endpoints, ())
        seconds = 5 + services * _SECONDS_A_SERVICE + bench.plan.change_count * 0.015
        bench.try_to(partial(_change, bench, Cluster(services, endpoints)), seconds, missing)
    missing = Measurement(What.ROLL, Layout.OURS, 1, bench.plan.rolling, ())
    bench.try_to(partial(_roll, bench), 5, missing)


def _change(bench: Bench, cluster: Cluster) -> None:
    with namespaces("bench") as (namespace,):
        given = {"cluster": asdict(cluster), "namespace": str(namespace.path), "count": bench.plan.change_count}
        outcome = bench.measured("change", **given)
    size = (cluster.services, cluster.endpoints)
    kinds = {"replaced": What.REPLACED, "more": What.MORE, "less": What.LESS, "first": What.FIRST}
    for name, what in kinds.items():
        bench.results.add(what, Layout.OURS, size, outcome[name])
        bench.say(f"  {what}: {quantile(outcome[name], 0.5) * 1000:.2f} ms")


def _roll(bench: Bench) -> None:
    with namespaces("bench") as (namespace,):
        given = {"cluster": asdict(Cluster(*ROLLING_BESIDE)), "namespace": str(namespace.path)}
        sizes = {"endpoints": bench.plan.rolling, "at_once": AT_ONCE}
        outcome = bench.measured("roll", **given, **sizes)
    size = (1, bench.plan.rolling)
    bench.results.add(What.ROLL, Layout.OURS, size, outcome["seconds"])
    bench.results.add(What.ROLL_OPERATIONS, Layout.OURS, size, [outcome["operations"]])
    bench.results.add(What.ROLL_BYTES, Layout.OURS, size, [outcome["bytes"]])


def measure_adoption(bench: Bench) -> None:
    """Measure a restart without the rest of the process: from decoded objects to knowing that nothing differs."""
    missing = Measurement(What.ADOPT, Layout.OURS, *bench.plan.cold, ())
    cluster = Cluster(*bench.plan.cold)
    seconds = (1 + bench.plan.cold_rounds) * (_OVERHEAD_SECONDS + cluster.total * _SECONDS_AN_ENDPOINT)
    bench.try_to(partial(_adopt, bench, cluster), seconds, missing)


def _adopt(bench: Bench, cluster: Cluster) -> None:
    size = (cluster.services, cluster.endpoints)
    with namespaces("bench") as (namespace,):
        load_into(bench, namespace, Layout.OURS, cluster)
        for _ in range(bench.plan.cold_rounds):
            given = {"cluster": asdict(cluster), "namespace": str(namespace.path)}
            outcome = bench.measured("adopt", **given)
            bench.results.add(What.ADOPT, Layout.OURS, size, [outcome["seconds"]])
            bench.results.add(What.ADOPT_CHANGES, Layout.OURS, size, [outcome["changes"]])
