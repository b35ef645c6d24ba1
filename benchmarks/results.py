"""What was measured, as values; written to a file as JSON and read back."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.layouts import Layout

DASH = "–"  # noqa: RUF001 - what stands where there is no number


class What:
    """What measurements are called."""

    LOAD = "full load"
    PEAK = "peak memory of the loading process"
    STEADY = "steady memory of the loading process"
    SLAB = "slab"
    PERCPU = "percpu"
    REPLACED = "one endpoint replaced"
    MORE = "one endpoint more"
    LESS = "one endpoint less"
    FIRST = "one endpoint more, as no other Service has"
    APPLY_JSON = "nftsvc apply, JSON manifests"
    APPLY_YAML = "nftsvc apply, YAML manifests"
    RUN = "nftsvc run, API double"
    RUN_PEAK = "peak memory of nftsvc run"
    RUN_STEADY = "steady memory of nftsvc run"
    RESTART = "nftsvc run again"
    RESTART_CHANGES = "commands sent by nftsvc run again"
    ADOPT = "adoption from decoded objects"
    ADOPT_CHANGES = "changes of adoption from decoded objects"
    STORM_LAG = "lag in the storm"
    STORM_CPU = "processor share in the storm"
    STORM_TRANSACTIONS = "transactions in the storm"
    STORM_TOLD = "changes told of in the storm"
    STORM_SEEN = "changes seen in the kernel after the storm"
    ROLL = "step of a rolling update"
    ROLL_OPERATIONS = "nft commands of a rolling update"
    ROLL_BYTES = "bytes of a rolling update"
    PACKET = "first packet of a flow"
    HELP = "nftsvc --help"
    RENDER = "nftsvc render of a small case"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Values of one kind at one size. Where there are none `note` says why."""

    what: str
    layout: str
    services: int
    endpoints: int
    values: tuple[float, ...]
    affinity: bool = False
    note: str = ""

    @property
    def median(self) -> float:
        """The value in the middle; NaN where there is none."""
        return quantile(self.values, 0.5)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of all is at most (nearest rank); NaN of none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass
class Results:
    """All measurements of one run; `machine` are its facts, by name."""

    machine: dict[str, str] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)

    def add(
        self, what: str, layout: str, size: tuple[int, int], values: Iterable[float], *, affinity: bool = False
    ) -> None:
        """Take values, six digits of each, in addition to those that there are of this kind."""
        old = self.find(what, layout, *size, affinity=affinity)
        if old is not None:
            self.measurements.remove(old)
        more = (*(old.values if old is not None else ()), *(float(f"{one:.6g}") for one in values))
        self.measurements.append(Measurement(what, layout, *size, more, affinity))

    def leave_out(self, missing: Measurement) -> None:
        """Say why something was not measured, unless it was."""
        if self.find(missing.what, missing.layout, missing.services, missing.endpoints, affinity=missing.affinity):
            return
        self.measurements.append(missing)

    def find(
        self, what: str, layout: str, services: int, endpoints: int, *, affinity: bool = False
    ) -> Measurement | None:
        """Return a measurement, None where there is none."""
        wanted = (what, layout, services, endpoints, affinity)
        return next((one for one in self.measurements if _key(one) == wanted), None)

    def median(
        self, what: str, services: int, endpoints: int, layout: str = Layout.OURS, *, affinity: bool = False
    ) -> float:
        """Return a measurement's median, NaN where there is none."""
        found = self.find(what, layout, services, endpoints, affinity=affinity)
        return found.median if found is not None else math.nan

    def of(self, *what: str) -> Iterator[Measurement]:
        """Yield the measurements of some kinds, by size."""
        chosen = (one for one in self.measurements if one.what in what)
        yield from sorted(chosen, key=lambda one: (one.services, one.endpoints, one.affinity))

    def sizes(self, *what: str) -> list[tuple[int, int]]:
        """Return the sizes that there are measurements of."""
        return list(dict.fromkeys((one.services, one.endpoints) for one in self.of(*what)))

    def write(self, path: Path) -> None:
        """Write everything to a file."""
        lines = ",\n".join(json.dumps(asdict(one)) for one in self.measurements)
        text = f'{{"machine": {json.dumps(self.machine)},\n"measurements": [\n{lines}\n]}}\n'
        path.write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Results":
        """Read what `write` has written."""
        plain = json.loads(path.read_text(encoding="utf-8"))
        return cls(plain["machine"], [_measurement(one) for one in plain["measurements"]])


def _key(one: Measurement) -> tuple[str, str, int, int, bool]:
    return one.what, one.layout, one.services, one.endpoints, one.affinity


def _measurement(plain: Mapping[str, Any]) -> Measurement:
    return Measurement(**{**plain, "values": tuple(plain["values"])})
