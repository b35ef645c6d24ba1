"""What becomes of measurements: results, targets, report, plots; and that what is published is all of it."""

import math
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import FOLDER, QUICK_FOLDER
from benchmarks.bench import Bench
from benchmarks.children import Failed, TooLong
from benchmarks.extrapolation import expected_seconds
from benchmarks.layouts import Layout
from benchmarks.overhead import overhead
from benchmarks.plan import FULL, QUICK
from benchmarks.plots import PLOTS, draw
from benchmarks.report import NOT_RUN, report
from benchmarks.results import Measurement, Results, What, quantile
from benchmarks.targets import TARGETS, verdicts

ROOT = Path(__file__).parents[2]
PUBLISHED = FOLDER / "RESULTS.md"
README = ROOT / "README.md"


@pytest.fixture
def results() -> Results:
    """Results of a run in which a layout's time grows with the square of the Services, but ours with the Services."""
    made = Results({"cores": "2"})
    for services in (1000, 2000, 5000, 10_000):
        for layout, once in ((Layout.CHAINS, 8e-7), (Layout.MAPS, 3e-7)):
            if services < 10_000 or layout is Layout.CHAINS:
                made.add(What.LOAD, layout, (services, 2), [once * services**2])
        made.add(What.LOAD, Layout.OURS, (services, 2), [1e-4 * services, 1e-4 * services, 99])
    for layout, cost in ((Layout.ROUTING, 5000), (Layout.TRACKING, 7000), (Layout.CHAINS, 15000), (Layout.OURS, 10000)):
        for services in (10, 1000):
            made.add(What.PACKET, layout, (services, 2), [cost, cost + 100, cost + 50_000])
    for services, middle in ((1000, 0.0004), (10_000, 0.0011), (50_000, 0.0007)):
        made.add(What.REPLACED, Layout.OURS, (services, 2), [middle] * 98 + [0.004, 0.1])
    made.add(What.STORM_LAG, Layout.OURS, (10_000, 10), [0.01] * 99 + [0.9])
    made.add(What.STORM_TOLD, Layout.OURS, (10_000, 10), [1000])
    made.add(What.STORM_SEEN, Layout.OURS, (10_000, 10), [999])
    return made


def verdict(results: Results, what: str) -> tuple[str, str]:
    """Return what was measured and whether that meets the target."""
    (found,) = (one for one in verdicts(results) if one[0] == what)
    return found[2], found[3]


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([3, 1, 2], 0.5, 2), ([1, 2, 3, 4], 0.5, 2), (range(1, 101), 0.99, 99), (range(1, 101), 0.95, 95), ([7], 0.99, 7)],
)
def test_quantile_is_the_nearest_rank(values: list[float], share: float, found: float) -> None:
    assert quantile(list(values), share) == found


def test_quantile_of_nothing_is_not_a_number() -> None:
    assert math.isnan(quantile([], 0.5))


def test_results_come_back_as_they_were_written(results: Results, tmp_path: Path) -> None:
    results.leave_out(Measurement(What.LOAD, Layout.CHAINS, 45_000, 1, (), note="no time"))
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results


def test_values_of_one_kind_add_up_and_outlive_a_reason_to_leave_them_out() -> None:
    results = Results()
    results.add(What.LOAD, Layout.OURS, (1, 1), [1.0])
    results.add(What.LOAD, Layout.OURS, (1, 1), [3.0, 2.0])
    results.leave_out(Measurement(What.LOAD, Layout.OURS, 1, 1, (), note="ended"))
    (only,) = results.measurements
    assert (only.values, only.median, only.note) == ((1.0, 3.0, 2.0), 2.0, "")


def test_overhead_is_taken_round_by_round(results: Results) -> None:
    size = (9, 2)
    results.add(What.PACKET, Layout.ROUTING, size, [100, 900, 110])
    results.add(What.PACKET, Layout.OURS, size, [150, 1000, 150])
    assert overhead(results, Layout.OURS, size) == 50
    assert math.isnan(overhead(results, Layout.MAPS, size))


def test_what_is_not_run_is_guessed_from_how_it_grew(results: Results) -> None:
    guess = expected_seconds(results, Layout.MAPS, 20_000, 2)
    assert guess == pytest.approx(3e-7 * 20_000**2)
    assert expected_seconds(results, Layout.IPTABLES, 20_000, 2) is None
    line = next(one for one in report(results).splitlines() if one.startswith("| 10,000 x 2 "))
    assert f"| {NOT_RUN} 30.0 s |" in line
    assert f"| {NOT_RUN} 30 x |" in line
    assert "| 80.0 s |" in line
    assert "| 80 x |" in line


@pytest.mark.parametrize(
    ("what", "measured", "met"),
    [
        ("full load, 10k x 2: (a) against ours", "80 x", "yes"),
        ("full load, 10k x 2: (b) against ours", "not measured", "–"),  # noqa: RUF001
        ("full load: 10k x 2 against 1k x 2", "10 x", "yes"),
        ("one endpoint replaced at 10k, p50", "1.1 ms", "**no**"),
        ("one endpoint replaced at 10k, p99", "4 ms", "yes"),
        ("one endpoint replaced, p50: 50k against 1k", "1.75 x", "yes"),
        ("new connection: our overhead as a share of (a)'s, at most", "50 %", "yes"),
        ("storm: lag, p99", "10 ms", "yes"),
        ("storm: changes not in the kernel two seconds after it", "1", "**no**"),
    ],
)
def test_verdict(results: Results, what: str, measured: str, met: str) -> None:
    assert verdict(results, what) == (measured, met)


def test_report_of_an_empty_run_has_every_target_and_claims_nothing() -> None:
    text = report(Results())
    for target in TARGETS:
        assert f"| {target.what} | {target.asked} | not measured | – |" in text  # noqa: RUF001


def test_plots_are_pictures(results: Results, tmp_path: Path) -> None:
    for name in draw(results, tmp_path):
        picture = (tmp_path / f"{name}.png").read_bytes()
        assert picture.startswith(b"\x89PNG")
        width, height = struct.unpack("!II", picture[16:24])
        assert width > height > 300
        assert (tmp_path / f"{name}.svg").read_text().count("<path") > 10


def test_plots_of_the_same_results_are_the_same(results: Results, tmp_path: Path) -> None:
    twice = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        draw(results, tmp_path / name)
        twice.append({path.name: path.read_bytes() for path in (tmp_path / name).glob("*.svg")})
    assert twice[0] == twice[1]


@pytest.mark.parametrize("error", [TooLong("a while"), Failed("broken")])
def test_what_fails_is_said_and_the_rest_goes_on(
    error: Failed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(QUICK, tmp_path)

    def fail() -> None:
        raise error

    bench.try_to(fail, 1, Measurement(What.RUN, Layout.OURS, 1, 1, ()))
    assert str(error) in bench.results.measurements[0].note
    assert str(error) in capsys.readouterr().err


def test_nothing_is_begun_that_there_is_no_time_for(tmp_path: Path) -> None:
    bench = Bench(QUICK, tmp_path)
    bench.try_to(lambda: pytest.fail("begun"), QUICK.seconds + 1, Measurement(What.RUN, Layout.OURS, 1, 1, ()))
    assert "no time left" in bench.results.measurements[0].note


def test_run_that_is_interrupted_leaves_nothing_behind() -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    before = results_file.read_bytes() if (results_file := QUICK_FOLDER / "results.json").exists() else None
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if What.REPLACED in line:  # a process of its own works in a namespace
                break
        process.send_signal(signal.SIGTERM)
        assert "interrupted" in process.stderr.read()
    assert process.returncode == 130
    assert not list(Path("/run/netns").glob(f"nftsvc-{process.pid}-*"))
    assert (results_file.read_bytes() if results_file.exists() else None) == before


# What the plan is, and what is published ------------------------------------------------------------------------------


def test_full_plan_measures_what_was_asked_for() -> None:
    loads = {(one.services, one.endpoints) for one in FULL.loads if Layout.OURS in one.layouts}
    assert loads >= {(1000, 2), (10_000, 2), (10_000, 10), (5000, 50), (45_000, 1)}
    assert [services for services, _ in FULL.changes] == [1000, 10_000, 50_000]
    assert FULL.cold == (10_000, 10)
    assert (FULL.storm_seconds, FULL.rolling) == (30, 1000)
    assert {one.services for one in FULL.planes} == {10, 1000, 10_000, 45_000}
    assert {one.endpoints for one in FULL.planes} == {2, 50}
    assert {one.affinity for one in FULL.planes} == {False, True}
    assert (FULL.seconds, QUICK.seconds) <= (15 * 60, 2 * 60)


@pytest.fixture(scope="module")
def published() -> str:
    return PUBLISHED.read_text(encoding="utf-8")


def test_published_report_and_plots_are_those_of_the_published_results(published: str) -> None:
    assert report(Results.read(FOLDER / "results.json"), tuple(PLOTS)) == published
    for name in PLOTS:
        assert (FOLDER / f"{name}.png").exists()
        assert (FOLDER / f"{name}.svg").exists()


def test_every_row_is_published(published: str) -> None:
    for target in TARGETS:
        assert f"| {target.what} | {target.asked} |" in published
    for size in ("1,000 x 2", "10,000 x 2", "10,000 x 10", "5,000 x 50", "45,000 x 1"):
        assert re.search(rf"^\| {re.escape(size)} \| .*\d m?s \|", published, re.MULTILINE), size
    for what in (
        What.APPLY_JSON,
        What.RUN,
        What.RESTART,
        What.REPLACED,
        What.MORE,
        What.LESS,
        What.FIRST,
        What.STORM_LAG,
        What.ROLL,
    ):
        assert re.search(rf"^\| {re.escape(what)} \| .*\d m?s \|", published, re.MULTILINE), what
    for one in FULL.planes:
        assert f"| {one.services:,} x {one.endpoints} | {'yes' if one.affinity else 'no'} |" in published


def test_no_measurement_of_the_published_run_failed(published: str) -> None:
    assert "failed:" not in published


def test_numbers_in_the_readme_are_the_published_ones(published: str) -> None:
    block = re.search(r"<!-- from benchmarks/RESULTS.md -->\n(.*?)<!-- end -->", README.read_text(), re.DOTALL)
    assert block is not None
    lines = [line for line in block[1].splitlines() if line.startswith("|")]
    assert len(lines) >= 5
    assert set(lines) <= set(published.splitlines())
