"""What a layout adds to the cost of a flow's first packet."""

import math

from benchmarks.layouts import Layout
from benchmarks.results import Results, What, quantile


def overhead(
    results: Results, layout: str, size: tuple[int, int], *, affinity: bool = False, over: Layout = Layout.ROUTING
) -> float:
    """Return the median, over the rounds, of the nanoseconds more than `over` took; NaN where it was not measured."""
    found = results.find(What.PACKET, layout, *size, affinity=affinity)
    plain = results.find(What.PACKET, over, *size, affinity=affinity)
    if found is None or plain is None or not found.values:
        return math.nan
    return quantile([one - other for one, other in zip(found.values, plain.values, strict=True)], 0.5)
