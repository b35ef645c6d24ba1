"""What the kernel's memory is used for, for the whole machine: small objects and what there is for each processor."""

import time
from dataclasses import dataclass
from pathlib import Path

_CALM_KIB = 512
_STEP_SECONDS = 0.1
_CALM_STEPS = 3


@dataclass(frozen=True, slots=True)
class KernelMemory:
    """Sizes in KiB."""

    slab: int
    percpu: int

    def __sub__(self, other: "KernelMemory") -> "KernelMemory":
        """Return how much more that is."""
        return KernelMemory(self.slab - other.slab, self.percpu - other.percpu)


def kernel_memory() -> KernelMemory:
    """Return what is in use now."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return KernelMemory(*(int(fields[name].split()[0]) for name in ("Slab", "Percpu")))


def settled(most_seconds: float = 5.0) -> KernelMemory:
    """Wait until the kernel has given back what nobody needs any more, and return what is in use then."""
    deadline = time.monotonic() + most_seconds
    before, calm = kernel_memory(), 0
    while time.monotonic() < deadline:
        time.sleep(_STEP_SECONDS)
        now = kernel_memory()
        moved = abs((now - before).slab) + abs((now - before).percpu)
        calm = calm + 1 if moved < _CALM_KIB else 0
        before = now
        if calm == _CALM_STEPS:
            break
    return before
