"""`python -m benchmarks [--quick]`: measures, and writes results, report and plots."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from benchmarks.bench import Bench
from benchmarks.children import ROOT
from benchmarks.machine import machine_facts, pace
from benchmarks.plan import FULL, QUICK
from benchmarks.plots import draw
from benchmarks.report import report
from benchmarks.results import Results
from benchmarks.steps.changes import measure_adoption, measure_changes
from benchmarks.steps.loads import measure_loads
from benchmarks.steps.planes import measure_planes
from benchmarks.steps.processes import measure_applying, measure_commands, measure_running
from nftsvc.errors import NftsvcError

FOLDER = ROOT / "benchmarks"
QUICK_FOLDER = FOLDER / "quick"
_STEPS = (
    measure_commands,
    measure_changes,
    measure_loads,
    measure_planes,
    measure_running,
    measure_applying,
    measure_adoption,
)


def main(arguments: list[str]) -> int:
    """Do what is asked for and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two minutes; its results are in a folder of their own")
    parser.add_argument("--report", action="store_true", help="measure nothing: write the last run's report again")
    chosen = parser.parse_args(arguments)
    folder = QUICK_FOLDER if chosen.quick else FOLDER
    if not chosen.report:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            run(folder, quick=chosen.quick)
        except KeyboardInterrupt:
            sys.stderr.write("interrupted; nothing is left behind and no results are written\n")
            return 130
        except NftsvcError as error:
            sys.stderr.write(f"{error}\n")
            return 1
    write(Results.read(folder / "results.json"), folder)
    sys.stderr.write(f"{folder.relative_to(ROOT)}/RESULTS.md\n")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def run(folder: Path, *, quick: bool) -> None:
    """Measure everything and write the results."""
    with tempfile.TemporaryDirectory(prefix="nftsvc-bench-") as scratch:
        bench = Bench(QUICK if quick else FULL, Path(scratch))
        bench.results.machine.update(machine_facts())
        for step in _STEPS:
            step(bench)
        bench.results.machine["a loop of Python"] = pace(bench.loops)
        bench.say("done")
        folder.mkdir(exist_ok=True)
        bench.results.write(folder / "results.json")


def write(results: Results, folder: Path) -> None:
    """Write report and plots."""
    plots = draw(results, folder)
    (folder / "RESULTS.md").write_text(report(results, plots), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
