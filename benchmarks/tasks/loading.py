"""A full load, of any layout, into a namespace; and what a restart does to one that is there."""

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.children import memory_of
from benchmarks.cluster import FIRST_PODS, SERVICE_NETWORK, Cluster
from benchmarks.kernel_memory import KernelMemory, settled
from benchmarks.layouts import KUBE_PROXY_130, KUBE_PROXY_136, Layout, iptables_text, kube_proxy_text
from benchmarks.ours import follower_in, passed
from nftsvc.kernel.namespaces import enter

Outcome = Mapping[str, Any]

_TRACKING = """add table ip t
add chain ip t c { type nat hook prerouting priority -100 ; }
add rule ip t c ct state invalid drop
"""
_TRANSLATION = f"""add table ip t
add chain ip t c {{ type nat hook prerouting priority -100 ; }}
add rule ip t c dnat ip prefix to ip daddr map {{ {SERVICE_NETWORK} : {FIRST_PODS} }}
"""
_LOOK_MILLISECONDS = 20


def load(layout: str, cluster: Mapping[str, Any], namespace: str, memory: bool) -> Outcome:  # noqa: FBT001 - from JSON
    """Load a cluster's Services: for nftsvc from decoded objects to committed, for the others the command alone.

    `seconds` it took; with `memory`, which takes a while: `peak` KiB that the loading process had at most, for nftsvc
    `steady` KiB that it has in the end, `slab` and `percpu` KiB more in the kernel afterwards.
    """
    wanted = Cluster(**cluster)
    if layout == Layout.OURS:
        return _load_ours(wanted, Path(namespace), memory=memory)
    text = _text(Layout(layout), wanted)
    enter(Path(namespace))
    with _written(text) as path:
        command = ("iptables-nft-restore" if layout == Layout.IPTABLES else "nft", *_options(Layout(layout)), path)
        before = settled() if memory else None
        begun = time.perf_counter()
        process = subprocess.Popen(command)
        peak = _peak_until_the_end(process.pid)
        code = process.wait()
        seconds = time.perf_counter() - begun
    if code != 0:
        raise RuntimeError(f"{command[0]}: exit code {code}")
    return {"seconds": seconds, **({"peak": peak, **_more(before)} if before is not None else {})}


def _more(before: KernelMemory) -> Mapping[str, int]:
    return asdict(settled() - before)


def _peak_until_the_end(pid: int) -> int:
    """Wait until a process ends and return the most memory that it was seen to have, in KiB."""
    descriptor, peak = os.pidfd_open(pid), 0
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        while not ended.poll(_LOOK_MILLISECONDS):
            with suppress(KeyError):  # it has ended
                peak = memory_of(pid)["VmHWM"]
    finally:
        os.close(descriptor)
    return peak


def _options(layout: Layout) -> tuple[str, ...]:
    return ("--noflush",) if layout is Layout.IPTABLES else ("-f",)


def _text(layout: Layout, cluster: Cluster) -> str:
    match layout:
        case Layout.CHAINS:
            return kube_proxy_text(KUBE_PROXY_130, cluster)
        case Layout.MAPS:
            return kube_proxy_text(KUBE_PROXY_136, cluster)
        case Layout.IPTABLES:
            return iptables_text(cluster)
        case Layout.TRACKING:
            return _TRACKING
        case Layout.TRANSLATION:
            return _TRANSLATION
        case _:
            raise ValueError(layout)


@contextmanager
def _written(text: str) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", encoding="ascii", prefix="nftsvc-bench-") as file:
        file.write(text)
        file.flush()
        yield file.name


def _load_ours(cluster: Cluster, namespace: Path, *, memory: bool) -> Outcome:
    events = cluster.events()
    with follower_in(namespace) as follower:
        before = settled() if memory else None
        begun = time.perf_counter()
        follower.take(events)
        progress = passed(follower)
        seconds = time.perf_counter() - begun
        if before is None:
            return {"seconds": seconds, "elements": progress.added}
        own = memory_of(os.getpid())
        sizes = {"peak": own["VmHWM"], "steady": own["VmRSS"], **_more(before)}
    return {"seconds": seconds, "elements": progress.added, **sizes}


def adopt(cluster: Mapping[str, Any], namespace: str) -> Outcome:
    """Start where everything is loaded already: from decoded objects to knowing that nothing differs."""
    events = Cluster(**cluster).events()
    with follower_in(Path(namespace)) as follower:
        begun = time.perf_counter()
        follower.take(events)
        progress = passed(follower)
        seconds = time.perf_counter() - begun
    return {"seconds": seconds, "changes": progress.added + progress.removed + progress.operations}
