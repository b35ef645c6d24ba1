"""The targets, and whether results meet them."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.layouts import Layout
from benchmarks.overhead import overhead
from benchmarks.results import DASH, Results, What, quantile

_SMALL, _BIG = (1000, 2), (10_000, 2)
_COLD = (10_000, 10)
_SECOND, _MILLISECOND = 1.0, 1e-3

# "Flat" is not more than this much between the smallest size and the largest.
FLAT = 1.5

_WHOLE = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """A number that is to be at most `limit`, or at least where `at_least`; NaN where it is not known.

    `unit` is what the number is divided by and its word.
    """

    what: str
    limit: float
    measure: Callable[[Results], float]
    unit: tuple[float, str] = (1.0, "")
    at_least: bool = False

    def words(self, number: float) -> str:
        """Write a number in the target's unit."""
        if math.isnan(number):
            return "not measured"
        divisor, word = self.unit
        value = number / divisor
        return f"{value:.3g}{word}" if value < _WHOLE else f"{value:.0f}{word}"

    @property
    def asked(self) -> str:
        """The target as words."""
        return f"{'≥' if self.at_least else '≤'} {self.words(self.limit)}"

    def verdict(self, results: Results) -> str:
        """Say whether it is met: yes, no, or a dash where that is not known."""
        number = self.measure(results)
        if math.isnan(number):
            return DASH
        return "yes" if (number >= self.limit if self.at_least else number <= self.limit) else "**no**"


def _median(what: str, size: tuple[int, int]) -> Callable[[Results], float]:
    return lambda results: results.median(what, *size)


def _share(what: str, size: tuple[int, int], share: float) -> Callable[[Results], float]:
    def find(results: Results) -> float:
        found = results.find(what, Layout.OURS, *size)
        return quantile(found.values, share) if found is not None else math.nan

    return find


def _ratio(above: Callable[[Results], float], below: Callable[[Results], float]) -> Callable[[Results], float]:
    return lambda results: above(results) / below(results)


def _load_of(layout: Layout) -> Callable[[Results], float]:
    return lambda results: results.median(What.LOAD, *_BIG, layout)


def _against_chains(results: Results) -> float:
    """Return the largest share of (a)'s overhead that ours is, without affinity."""
    shares = [
        overhead(results, Layout.OURS, size) / overhead(results, Layout.CHAINS, size)
        for size in results.sizes(What.PACKET)
    ]
    return max((one for one in shares if not math.isnan(one)), default=math.nan)


def _spread(results: Results) -> float:
    """Return the largest overhead of ours as a multiple of the smallest, without affinity."""
    known = [one for size in results.sizes(What.PACKET) if not math.isnan(one := overhead(results, Layout.OURS, size))]
    return max(known) / min(known) if len(known) > 1 else math.nan


def _missed(results: Results) -> float:
    told, seen = (results.median(one, *_COLD) for one in (What.STORM_TOLD, What.STORM_SEEN))
    return told - seen


_S, _MS, _MIB = (_SECOND, " s"), (_MILLISECOND, " ms"), (1.0, " MiB")
_TIMES, _PERCENT = (1.0, " x"), (0.01, " %")

TARGETS = (
    Target(
        "full load, 10k x 2: (a) against ours",
        40,
        _ratio(_load_of(Layout.CHAINS), _load_of(Layout.OURS)),
        _TIMES,
        at_least=True,
    ),
    Target(
        "full load, 10k x 2: (b) against ours",
        20,
        _ratio(_load_of(Layout.MAPS), _load_of(Layout.OURS)),
        _TIMES,
        at_least=True,
    ),
    Target("full load, 45k x 1", 2, _median(What.LOAD, (45_000, 1)), _S),
    Target("full load, 5k x 50", 4, _median(What.LOAD, (5000, 50)), _S),
    Target(
        "full load: 10k x 2 against 1k x 2", 12, _ratio(_median(What.LOAD, _BIG), _median(What.LOAD, _SMALL)), _TIMES
    ),
    Target("one endpoint replaced at 10k, p50", 1e-3, _share(What.REPLACED, _BIG, 0.5), _MS),
    Target("one endpoint replaced at 10k, p99", 5e-3, _share(What.REPLACED, _BIG, 0.99), _MS),
    Target(
        "one endpoint replaced, p50: 50k against 1k",
        2,
        _ratio(_median(What.REPLACED, (50_000, 2)), _median(What.REPLACED, _SMALL)),
        _TIMES,
    ),
    Target("one endpoint more at 10k, p50", 2e-3, _share(What.MORE, _BIG, 0.5), _MS),
    Target("one endpoint less at 10k, p50", 2e-3, _share(What.LESS, _BIG, 0.5), _MS),
    Target("one endpoint more at 50k, p50", 6e-3, _share(What.MORE, (50_000, 2), 0.5), _MS),
    Target("one endpoint less at 50k, p50", 6e-3, _share(What.LESS, (50_000, 2), 0.5), _MS),
    Target("cold start 10k x 10, `nftsvc apply`, JSON manifests", 4, _median(What.APPLY_JSON, _COLD), _S),
    Target("cold start 10k x 10, `nftsvc run`, API double", 4, _median(What.RUN, _COLD), _S),
    Target("peak memory of that", 160, _median(What.RUN_PEAK, _COLD), _MIB),
    Target("steady memory after that", 120, _median(What.RUN_STEADY, _COLD), _MIB),
    Target("restart adoption, 100,000 endpoints, from decoded objects", 4, _median(What.ADOPT, _COLD), _S),
    Target("restart adoption, 100,000 endpoints, from process start", 4, _median(What.RESTART, _COLD), _S),
    Target("changes sent by that", 0, _median(What.RESTART_CHANGES, _COLD)),
    Target("new connection: our overhead as a share of (a)'s, at most", 0.6, _against_chains, _PERCENT),
    Target("new connection: our largest overhead against our smallest", FLAT, _spread, _TIMES),
    Target("storm: lag, p99", 0.05, _share(What.STORM_LAG, _COLD, 0.99), _MS),
    Target("storm: changes not in the kernel two seconds after it", 0, _missed),
    Target("storm: processors kept busy", 1, _median(What.STORM_CPU, _COLD)),
)


def verdicts(results: Results) -> Iterator[tuple[str, str, str, str]]:
    """Yield, for each target, what it is about, what was asked, what was measured, and whether that meets it."""
    for target in TARGETS:
        yield target.what, target.asked, target.words(target.measure(results)), target.verdict(results)
