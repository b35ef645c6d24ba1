"""One run of the benchmark: its results so far, its time, its say on standard error."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.children import Failed, Outcome, TooLong, measured
from benchmarks.machine import loop_seconds
from benchmarks.plan import Plan
from benchmarks.results import Measurement, Results

_LEAST_PATIENCE = 2.0
_MOST_PATIENCE = 150.0

# What a loop may take more than the fastest, and how many seconds a measurement waits for that at most.
_QUIET = 1.15
MOST_WAIT = 2.5


@dataclass
class Bench:
    """What every step has in hand; `folder` is for files that nobody keeps."""

    plan: Plan
    folder: Path
    results: Results = field(default_factory=Results)
    begun: float = field(default_factory=time.monotonic)
    loops: list[float] = field(default_factory=lambda: [loop_seconds()])
    _waiting_left: float = 100.0

    @property
    def left(self) -> float:
        """How many seconds are left."""
        return self.plan.seconds - (time.monotonic() - self.begun)

    def measured(self, task: str, **given: Any) -> Outcome:  # noqa: ANN401 - whatever JSON has
        """Have a measurement made by a process of its own, while there is time."""
        return measured(task, self.patience, **given)

    @property
    def patience(self) -> float:
        """How many seconds something that has begun may take: not all that is left for the others."""
        return max(min(self.left, _MOST_PATIENCE), _LEAST_PATIENCE)

    def say(self, text: str) -> None:
        """Tell how far it has come."""
        seconds = time.monotonic() - self.begun
        sys.stderr.write(f"{int(seconds) // 60:2}:{int(seconds) % 60:02}  {text}\n")
        sys.stderr.flush()

    def _await_quiet(self) -> None:
        """Wait for a moment in which the machine is as fast as it has been, but not for long."""
        waits_until = time.monotonic() + min(MOST_WAIT, self._waiting_left)
        begun = time.monotonic()
        while True:
            self.loops.append(loop_seconds())
            if self.loops[-1] <= _QUIET * min(self.loops) or time.monotonic() > waits_until:
                break
        self._waiting_left -= time.monotonic() - begun

    def try_to(self, measure: Callable[[], None], seconds: float, missing: Measurement) -> None:
        """Measure something that takes about so many seconds, unless there is no time left for that.

        Where it does not come to an end, `missing` with the reason is what the results have of it.
        """
        name = f"{missing.what}, {missing.services} x {missing.endpoints}, {missing.layout}"
        reason = ""
        if seconds > self.left:
            reason = f"no time left for about {seconds:.0f} s"
        else:
            self.say(name)
            self._await_quiet()
            try:
                measure()
            except TooLong as error:
                reason = f"ended: {error}"
            except Failed as error:
                reason = f"failed: {error}"
        if reason:
            self.say(f"{name}: {reason}")
            self.results.leave_out(replace(missing, note=reason))
