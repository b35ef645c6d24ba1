"""The facts of the machine that results hang on."""

import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from benchmarks.children import ROOT

_ROUNDS = 400_000  # a few hundredths of a second


def loop_seconds() -> float:
    """Return how long it takes to do always the same in Python: how fast the machine is at this moment."""
    held: dict[int, int] = {}
    begun = time.perf_counter()
    for number in range(_ROUNDS):
        held[number & 255] = number
    return time.perf_counter() - begun


def pace(seconds: Sequence[float]) -> str:
    """Say how long loops took in the course of a run."""
    least, middle, most = (f"{one * 1000:.0f}" for one in (min(seconds), median(seconds), max(seconds)))
    return f"{middle} ms ({least} to {most} in the course of this run)"


def machine_facts() -> Mapping[str, str]:
    """Return them by name."""
    memory = re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo"))
    model = re.search(r"model name\s*:\s*(.*)", _read("/proc/cpuinfo"))
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": model[1] if model else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{int(memory[1]) >> 20} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "system": _system(),
        "nft": _said(("nft", "--version")),
        "iptables": _said(("iptables-nft-restore", "--version")),
        "Python": sys.version.split()[0],
        "commit": _said(("git", "-C", str(ROOT), "describe", "--always", "--dirty", "--exclude=*")),
    }


def _system() -> str:
    name = re.search(r'^PRETTY_NAME="?([^"\n]*)', _read("/etc/os-release"), re.MULTILINE)
    return name[1] if name else platform.system()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _said(command: Sequence[str]) -> str:
    """Return the first line that a command prints; "none" where there is no such command."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "none"
    return (done.stdout.splitlines() or ["unknown"])[0]
