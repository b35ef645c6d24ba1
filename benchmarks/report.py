"""The results as Markdown: RESULTS.md."""

import math
from collections.abc import Iterable, Iterator, Sequence

from benchmarks.bench import MOST_WAIT
from benchmarks.extrapolation import expected_seconds
from benchmarks.layouts import Layout
from benchmarks.overhead import overhead
from benchmarks.results import DASH, Measurement, Results, What, quantile
from benchmarks.targets import FLAT, verdicts

COMPARED = (Layout.CHAINS, Layout.MAPS, Layout.IPTABLES, Layout.OURS)
_OTHERS = COMPARED[:-1]
NOT_RUN = "≈"
_ABOUT = (
    "Made by `make bench`, in one run on one machine, everything in network namespaces of its own. Nothing absolute is"
    " promised: compare the columns."
)

_WHOLE, _TENFOLD = 100, 10


def report(results: Results, plots: Iterable[str] = ()) -> str:
    """Return the whole file; `plots` are the names of the pictures (without their endings)."""
    parts = [
        "# Benchmark results",
        _ABOUT,
        "## Targets",
        *_table(("what", "target", "here", "met"), verdicts(results)),
        "## The machine",
        *_table(("", ""), results.machine.items()),
        *_loads(results),
        *_starts(results),
        *_changes(results),
        *_storm(results),
        *_memory(results),
        *_traffic(results),
        "## Plots",
        *(f"![{name}]({name}.svg)" for name in plots),
        _METHOD,
    ]
    return "\n\n".join(parts) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["\n".join(f"| {' | '.join(line)} |" for line in lines)]


def seconds(value: float) -> str:
    """Write a time with three digits that count."""
    if math.isnan(value):
        return DASH
    number, unit = (value, "s") if value >= 1 else (value * 1000, "ms")
    return f"{number:.0f} {unit}" if number >= _WHOLE else f"{number:#.3g} {unit}"


def _size(services: int, endpoints: int) -> str:
    return f"{services:,} x {endpoints}"


def _times(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.{0 if value >= _TENFOLD else 1}f} x"


def _loads(results: Results) -> Iterator[str]:
    yield "## Full load"
    yield (
        "From decoded objects to committed for (d), all of its Python included; the time of `nft -f` or"
        " `iptables-nft-restore` alone for the others, whose own work comes on top. Services x endpoints of each;"
        f" medians. {NOT_RUN} marks what was not run: about how long it would take, by a power law through the two"
        " largest sizes of that layout."
    )
    head = ("size", *(one.heading for one in COMPARED), *(f"{one.heading[:3]} / (d)" for one in _OTHERS), "runs of (d)")
    yield from _table(head, (_load_row(results, size) for size in results.sizes(What.LOAD)))


def _load_row(results: Results, size: tuple[int, int]) -> Sequence[str]:
    cells, ratios = [], []
    ours = results.median(What.LOAD, *size)
    for layout in COMPARED:
        measured = results.median(What.LOAD, *size, layout)
        guessed = expected_seconds(results, layout, *size) if math.isnan(measured) else None
        mark = f"{NOT_RUN} " if guessed is not None else ""
        value = guessed if guessed is not None else measured
        cells.append(mark + seconds(value))
        ratios.append(mark + _times(value / ours))
    found = results.find(What.LOAD, Layout.OURS, *size)
    return _size(*size), *cells, *ratios[:-1], str(len(found.values) if found is not None else 0)


def _starts(results: Results) -> Iterator[str]:
    yield "## Cold start, restart, commands"
    yield (
        "From the start of the process: `nftsvc apply` to its end, `nftsvc run` with an API server double to /readyz."
        " A restart finds everything loaded; adoption is the part of it after decoding."
    )
    kinds = (What.APPLY_JSON, What.APPLY_YAML, What.RUN, What.RESTART, What.ADOPT, What.HELP, What.RENDER)
    rows = [
        (one.what, _size(one.services, one.endpoints), seconds(one.median) if one.values else one.note, _spread(one))
        for kind in kinds
        for one in results.of(kind)
    ]
    yield from _table(("what", "size", "median", "least to most (runs)"), rows)
    sent = [
        f"{one.what}: {one.median:.0f}" for one in results.of(What.RESTART_CHANGES, What.ADOPT_CHANGES) if one.values
    ]
    yield "Sent: " + "; ".join(sent) + "."


def _spread(one: Measurement) -> str:
    if not one.values:
        return DASH
    return f"{seconds(min(one.values))} to {seconds(max(one.values))} ({len(one.values)})"


def _changes(results: Results) -> Iterator[str]:
    yield "## One change"
    yield ("From the bytes of a watch's line to committed: decoded, into the state, planned, compared, rendered, sent.")
    rows = [_quantiles(one) for kind in (What.REPLACED, What.MORE, What.LESS, What.FIRST) for one in results.of(kind)]
    yield from _table(("what", "size", "p50", "p95", "p99", "changes"), rows)
    yield "## Rolling update"
    yield "One Service's endpoints replaced, ten at a time, beside 1,000 other Services."
    for one in results.of(What.ROLL):
        yield from _table(("what", "size", "p50", "p95", "p99", "steps"), [_quantiles(one)])
        size = (one.services, one.endpoints)
        sent = results.median(What.ROLL_OPERATIONS, *size), results.median(What.ROLL_BYTES, *size)
        yield f"All of it: {seconds(sum(one.values))}, {sent[0]:,.0f} nft commands, {sent[1]:,.0f} bytes."


def _quantiles(one: Measurement) -> Sequence[str]:
    shares = [seconds(quantile(one.values, share)) for share in (0.5, 0.95, 0.99)]
    return one.what, _size(one.services, one.endpoints), *shares, str(len(one.values)) if one.values else one.note


def _storm(results: Results) -> Iterator[str]:
    yield "## Storm"
    yield (
        "1,000 slices change in a second, evenly, told of by the API server double, a process of its own. Lag is from"
        " before the double is told of a change to the kernel's own notification of the new element."
    )
    for one in results.of(What.STORM_LAG):
        size = (one.services, one.endpoints)
        yield from _table(("what", "size", "p50", "p95", "p99"), [_quantiles(one)[:-1]])
        kinds = (What.STORM_CPU, What.STORM_TRANSACTIONS, What.STORM_TOLD, What.STORM_SEEN)
        busy, sent, told, seen = (results.median(what, *size) for what in kinds)
        yield (
            f"{told:,.0f} changes told of, {seen:,.0f} seen in the kernel; {sent:,.0f} transactions; {busy:.2f} of a"
            " processor."
        )


def _memory(results: Results) -> Iterator[str]:
    yield "## Memory"
    yield (
        "In MiB. The loading process is `nft` or `iptables-nft-restore` for (a), (b) and (c), gone afterwards; for"
        " (d) the process that has the objects, too; it stays. Slab, percpu: what the kernel has more afterwards."
    )
    rows = []
    for size in results.sizes(What.SLAB):
        for layout in COMPARED:
            if results.find(What.SLAB, layout, *size) is not None:
                kinds = (What.PEAK, What.STEADY, What.SLAB, What.PERCPU)
                rows.append(
                    (_size(*size), layout.heading, *(_mebibytes(results.median(one, *size, layout)) for one in kinds))
                )
    yield from _table(("size", "layout", "process, peak", "process, steady", "slab", "percpu"), rows)
    rows = [
        (one.what, _size(one.services, one.endpoints), f"{one.median:.0f} MiB")
        for one in results.of(What.RUN_PEAK, What.RUN_STEADY)
    ]
    yield from _table(("`nftsvc run`, the whole agent", "size", "median"), rows)


def _mebibytes(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:.1f}"


def _traffic(results: Results) -> Iterator[str]:
    yield "## Data plane"
    yield (
        "Nanoseconds that the first packet of a new UDP flow costs a node that forwards it, over what it costs with"
        " plain routing; the median over rounds. The flows are spread over all Services (5,000 of them where there are"
        " more) and come from Pods. With affinity, clients come back. Each packet was counted as it left, translated."
    )
    head = (
        "size",
        "affinity",
        "plain routing",
        "tracking",
        "one rule",
        *(one.heading for one in COMPARED),
        "(d) / (a)",
        "(d) / (a), without tracking",
    )
    keys = dict.fromkeys((one.services, one.endpoints, one.affinity) for one in results.of(What.PACKET))
    yield from _table(
        head, (_traffic_row(results, (services, endpoints), affinity) for services, endpoints, affinity in keys)
    )


_FLOORS = (Layout.TRACKING, Layout.TRANSLATION)


def _traffic_row(results: Results, size: tuple[int, int], affinity: bool) -> Sequence[str]:  # noqa: FBT001 - a column
    plain = results.median(What.PACKET, *size, Layout.ROUTING, affinity=affinity)
    more = {one: overhead(results, one, size, affinity=affinity) for one in (*_FLOORS, *COMPARED)}
    rules = [
        overhead(results, one, size, affinity=affinity, over=Layout.TRACKING) for one in (Layout.OURS, Layout.CHAINS)
    ]
    shares = (more[Layout.OURS] / more[Layout.CHAINS], rules[0] / rules[1])
    return (
        _size(*size),
        "yes" if affinity else "no",
        _nanoseconds(plain),
        *(_nanoseconds(one) for one in more.values()),
        *(DASH if math.isnan(one) else f"{one:.0%}" for one in shares),
    )


def _nanoseconds(value: float) -> str:
    return DASH if math.isnan(value) else f"{value:,.0f}"


_METHOD = f"""## How it is measured

- The Services are ClusterIP Services with one port. Their endpoints are spread over Nodes of at most 110 Pods, as in a
  cluster, so about a hundred of them are on the Node whose ruleset this is. Local Pods are told by cluster CIDR.
- (a) and (b) are tables as kube-proxy 1.30 and 1.36 make them, every object of both, written by our own code from a
  description; `tests/benchmarks` counts them in a kernel and sends packets through them. They are for IPv4 alone, (d)
  has its tables for both families. They are loaded by one `nft -f` in one transaction, additions only.
- (c) is what a proxy in iptables mode makes, in statistic mode, loaded by one `iptables-nft-restore --noflush`.
- Layouts take turns. Each measurement is made by a process of its own in new namespaces, after the kernel has given
  back what the one before had.
- Packets are sent by `sendmmsg` through a packet socket, a few hundred through each layout in turn, on one processor:
  the same one that forwards them. "Tracking" is plain routing with connection tracking; without that nothing can be
  translated, so the last column is about the rules alone. "One rule" translates the network of all cluster IPs to Pods'
  addresses, without balancing and without a lookup that knows Services: what translation costs whoever asks for it.
- "Flat" means: the largest overhead is at most {FLAT} times the smallest, from 10 to 45,000 Services and 2 to 50
  endpoints.
- A loop of Python, always the same, is timed before each measurement: where a machine is shared, what it has for us
  changes by the minute, and with it every time in a run. So each measurement, of whatever layout, waits up to
  {MOST_WAIT} seconds for a moment in which the loop is nearly as fast as it has been.
- The storm's changes are told of by a server that shares this machine's processors with the agent.
- A dash means: not measured. What was left out because it takes too long is (a), (b) and (c) at sizes where loading
  them takes minutes."""
