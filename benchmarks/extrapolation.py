"""How long a load would take that nobody waited for: a power law through the two largest that were measured."""

import math

from benchmarks.layouts import Layout
from benchmarks.results import Results, What

_LEAST_POWER, _MOST_POWER = 1.0, 2.2
_POINTS = 2


def chains(layout: str, services: int, endpoints: int) -> int:
    """Return how many chains a layout has for ClusterIP Services without affinity, but for a few."""
    return services if layout == Layout.MAPS else services * (1 + endpoints)


def expected_seconds(results: Results, layout: str, services: int, endpoints: int) -> float | None:
    """Return how long a full load would about take, going by chains; None where too little was measured."""
    known = {
        chains(layout, one.services, one.endpoints): one.median
        for one in results.of(What.LOAD)
        if one.layout == layout and one.values
    }
    if len(known) < _POINTS:
        return None
    (small, fast), (large, slow) = sorted(known.items())[-_POINTS:]
    power = min(max(math.log(slow / fast) / math.log(large / small), _LEAST_POWER), _MOST_POWER)
    return slow * float((chains(layout, services, endpoints) / large) ** power)
