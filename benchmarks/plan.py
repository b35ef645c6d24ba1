"""What is measured, at which sizes and how often: all of it, and what fits into two minutes."""

from dataclasses import dataclass

from benchmarks.layouts import Layout

A, B, C, OURS = Layout.CHAINS, Layout.MAPS, Layout.IPTABLES, Layout.OURS
ALL = (A, B, C, OURS)


@dataclass(frozen=True, slots=True)
class Load:
    """A full load of so many Services with so many endpoints each by each of some layouts, so many times."""

    services: int
    endpoints: int
    layouts: tuple[Layout, ...]
    rounds: int


@dataclass(frozen=True, slots=True)
class Plane:
    """Traffic through some layouts, loaded for that; plain routing is always measured beside them."""

    services: int
    endpoints: int
    affinity: bool
    layouts: tuple[Layout, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that is measured, `seconds` at most.

    `changes` are sizes and how often each change is made. `cold` is the size of cold starts and the storm, and how
    often; `yaml` whether from YAML, too.
    """

    seconds: int
    loads: tuple[Load, ...]
    changes: tuple[tuple[int, int], ...]
    change_count: int
    planes: tuple[Plane, ...]
    packets: int
    packet_rounds: int
    cold: tuple[int, int]
    cold_rounds: int
    yaml: bool
    storm_seconds: int
    rolling: int


COMPARED = 2  # endpoints of each Service where layouts are compared

# What takes long comes last, so that where time runs out that is what is missing.
FULL = Plan(
    seconds=820,
    loads=(
        Load(1000, 2, ALL, 3),
        Load(2000, 2, ALL, 2),
        Load(5000, 2, (B, C, OURS), 1),
        Load(10_000, 2, (OURS,), 4),
        Load(10_000, 10, (OURS,), 3),
        Load(5000, 50, (OURS,), 3),
        Load(45_000, 1, (OURS,), 3),
        Load(5000, 2, (A,), 1),
    ),
    changes=((1000, 2), (10_000, 2), (50_000, 2)),
    change_count=300,
    planes=(
        Plane(10, 2, affinity=False, layouts=ALL),
        Plane(10, 50, affinity=False, layouts=ALL),
        Plane(10, 2, affinity=True, layouts=ALL),
        Plane(10, 50, affinity=True, layouts=ALL),
        Plane(1000, 2, affinity=False, layouts=ALL),
        Plane(1000, 2, affinity=True, layouts=ALL),
        Plane(1000, 50, affinity=False, layouts=(B, OURS)),
        Plane(1000, 50, affinity=True, layouts=(OURS,)),
        Plane(10_000, 2, affinity=True, layouts=(OURS,)),
        Plane(10_000, 50, affinity=False, layouts=(OURS,)),
        Plane(45_000, 2, affinity=False, layouts=(OURS,)),
        Plane(10_000, 2, affinity=False, layouts=(C, OURS, B, A)),
    ),
    packets=10_000,
    packet_rounds=9,
    cold=(10_000, 10),
    cold_rounds=2,
    yaml=True,
    storm_seconds=30,
    rolling=1000,
)

QUICK = Plan(
    seconds=115,
    loads=(
        Load(1000, 2, ALL, 2),
        Load(2000, 2, ALL, 1),
        Load(10_000, 2, (OURS,), 1),
    ),
    changes=((1000, 2), (10_000, 2)),
    change_count=150,
    planes=(
        Plane(10, 2, affinity=False, layouts=ALL),
        Plane(10, 2, affinity=True, layouts=ALL),
        Plane(1000, 2, affinity=False, layouts=ALL),
    ),
    packets=5000,
    packet_rounds=7,
    cold=(1000, 10),
    cold_rounds=1,
    yaml=False,
    storm_seconds=5,
    rolling=1000,
)
