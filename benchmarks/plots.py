"""Plots of the results: PNG for everywhere, SVG for the rest."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.extrapolation import expected_seconds
from benchmarks.layouts import Layout
from benchmarks.overhead import overhead
from benchmarks.plan import COMPARED
from benchmarks.results import Results, What, quantile

_LAYOUTS = (Layout.CHAINS, Layout.MAPS, Layout.IPTABLES, Layout.OURS)
_COLOURS = dict(zip(_LAYOUTS, ("#c0392b", "#d98c00", "#7f8c8d", "#1f6fb4"), strict=True))
_LARGEST = 45_000


def draw(results: Results, folder: Path) -> tuple[str, ...]:
    """Draw every plot into a folder, as NAME.png and NAME.svg; return the names."""
    mpl.rcParams["svg.hashsalt"] = "nftsvc"  # the same results give the same file
    for name, paint in PLOTS.items():
        figure = Figure(figsize=(7, 4.5), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_xlabel("Services")
        axes.grid(visible=True, which="major", alpha=0.3)
        paint(results, axes)
        if axes.lines:
            axes.legend(fontsize="small")
        figure.savefig(folder / f"{name}.png", dpi=120)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    return tuple(PLOTS)


def _loads(results: Results, axes: Axes) -> None:
    axes.set_title(f"Full load, {COMPARED} endpoints for each Service (dashed: extrapolated)")
    axes.set_ylabel("seconds")
    axes.set_yscale("log")
    for layout in _LAYOUTS:
        known = [
            (one.services, one.median)
            for one in results.of(What.LOAD)
            if one.layout == layout and one.endpoints == COMPARED and one.values
        ]
        _line(axes, known, layout)
        guess = expected_seconds(results, layout, _LARGEST, COMPARED)
        if known and guess is not None and known[-1][0] < _LARGEST:
            ends = (known[-1], (_LARGEST, guess))
            axes.plot(*zip(*ends, strict=True), linestyle="--", color=_COLOURS[layout])


def _changes(results: Results, axes: Axes) -> None:
    axes.set_title("One change, from event bytes to committed")
    axes.set_ylabel("milliseconds")
    axes.set_ylim(bottom=0)
    for what, colour in ((What.REPLACED, "#1f6fb4"), (What.MORE, "#2e8b57"), (What.LESS, "#8e5ea2")):
        for share, style in ((0.5, "-"), (0.99, ":")):
            known = [(one.services, quantile(one.values, share) * 1000) for one in results.of(what) if one.values]
            if known:
                label = f"{what}, p{share * 100:.0f}"
                axes.plot(*zip(*known, strict=True), linestyle=style, marker="o", color=colour, label=label)
    axes.set_ylim(bottom=0)


def _traffic(results: Results, axes: Axes) -> None:
    axes.set_title(f"A new connection over plain routing, {COMPARED} endpoints for each Service")
    axes.set_ylabel("nanoseconds")
    axes.set_yscale("log")
    for layout in _LAYOUTS:
        sizes = [size for size in results.sizes(What.PACKET) if size[1] == COMPARED]
        known = [(size[0], overhead(results, layout, size)) for size in sizes]
        _line(axes, [one for one in known if one[1] > 0 and not math.isnan(one[1])], layout)


def _line(axes: Axes, known: Sequence[tuple[int, float]], layout: Layout) -> None:
    if known:
        axes.plot(*zip(*known, strict=True), marker="o", color=_COLOURS[layout], label=layout.heading)


PLOTS: dict[str, Callable[[Results, Axes], None]] = {
    "full-load": _loads,
    "one-change": _changes,
    "data-plane": _traffic,
}
