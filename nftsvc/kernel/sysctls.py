"""What kube-proxy sets once at its start: connection tracking, and how soon the process ends when memory runs out.

All files are below a root, `/` unless a test says otherwise. Nothing here ends the agent: what cannot be set becomes a
warning that says why, for a container without privilege may set none of it. Source: kube-proxy's conntrack/sysctls.go,
v1.36, where a failure is fatal.

What a network namespace other than the machine's first may do (measured, kernel 6.18): timeouts and be_liberal are its
own; nf_conntrack_max is the machine's and read-only there, hashsize is refused.
"""

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nftsvc.configuration import ConntrackSettings, Duration
from nftsvc.errors import Problem, Severity

MOST_CONNECTIONS = 1_048_576

_ROOT = Path("/")
_NETFILTER = "proc/sys/net/netfilter/"
_MAX = f"{_NETFILTER}nf_conntrack_max"
_HASHSIZE = "sys/module/nf_conntrack/parameters/hashsize"
_CONNECTIONS_PER_BUCKET = 4
_OOM_SCORE_ADJ = "proc/self/oom_score_adj"
_CPUS = "sys/devices/system/cpu/online"
_RANGE = re.compile(r"(?P<first>[0-9]{1,6})(?:-(?P<last>[0-9]{1,6}))?")
_NOT_ALLOWED = "not allowed: it takes root on the node, in the node's own network namespace (hostNetwork)"
_REASONS: Mapping[int, str] = {
    errno.ENOENT: "this kernel does not track connections here (module nf_conntrack is not loaded)",
    errno.EROFS: "mounted read-only, as in a container without privilege",
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
    errno.EOPNOTSUPP: "only the machine's first network namespace may set it",
    errno.EINVAL: "the kernel does not take this value",
}


@dataclass(frozen=True, slots=True)
class Write:
    """A file below the root that shall hold a number; `was` is what it holds, None if that cannot be read."""

    path: str
    value: int
    was: int | None = None

    def __str__(self) -> str:
        """Write `nf_conntrack_max 65536 -> 131072`."""
        return f"{self.path.rpartition('/')[2]} {'?' if self.was is None else self.was} -> {self.value}"


@dataclass(frozen=True, slots=True)
class Tuned:
    """What was written, and warnings about what could not be."""

    written: tuple[Write, ...] = ()
    problems: tuple[Problem, ...] = ()


def conntrack_writes(settings: ConntrackSettings, processors: int, current: Mapping[str, int]) -> tuple[Write, ...]:
    """Say what must be written so that connection tracking is as the settings want it; what is so already is left out.

    `current` are the numbers in the files that can be read, by path below the root. nf_conntrack_max may shrink, too;
    the number of hash buckets only grows.
    """
    wanted = _wanted(settings, processors)
    writes = [Write(path, value, current.get(path)) for path, value in wanted.items() if current.get(path) != value]
    buckets = wanted.get(_MAX, 0) // _CONNECTIONS_PER_BUCKET
    if _MAX in wanted and current.get(_HASHSIZE, 0) < buckets:
        place = next((index for index, one in enumerate(writes) if one.path == _MAX), -1) + 1
        writes.insert(place, Write(_HASHSIZE, buckets, current.get(_HASHSIZE)))
    return tuple(writes)


def _wanted(settings: ConntrackSettings, processors: int) -> dict[str, int]:
    wanted: dict[str, int] = {}
    if settings.max_per_core:
        scaled = settings.max_per_core * processors
        wanted[_MAX] = MOST_CONNECTIONS if scaled > MOST_CONNECTIONS else max(scaled, settings.minimum)
    for name, timeout in (
        ("nf_conntrack_tcp_timeout_established", settings.tcp_established_timeout),
        ("nf_conntrack_tcp_timeout_close_wait", settings.tcp_close_wait_timeout),
        ("nf_conntrack_udp_timeout", settings.udp_timeout),
        ("nf_conntrack_udp_timeout_stream", settings.udp_stream_timeout),
    ):
        if timeout > 0:
            wanted[_NETFILTER + name] = _whole_seconds(timeout)
    if settings.tcp_be_liberal:
        wanted[f"{_NETFILTER}nf_conntrack_tcp_be_liberal"] = 1
    return wanted


def _whole_seconds(timeout: Duration) -> int:
    """Cut off the fraction, as kube-proxy does, but never down to 0, which would end entries at once."""
    return max(1, timeout // Duration.of(1))


def tune_conntrack(settings: ConntrackSettings, processors: int | None = None, root: Path = _ROOT) -> Tuned:
    """Set connection tracking as the settings want it, in the network namespace of the calling thread.

    `processors` are those of the machine if not given. The module must be loaded, which the first ruleset sees to.
    """
    known = {path: value for path in _files(settings) if (value := _read(root, path)) is not None}
    count = processors if processors is not None else count_processors(root)
    written: list[Write] = []
    problems: list[Problem] = []
    for one in conntrack_writes(settings, count, known):
        if one.path == _HASHSIZE and any(failed.field == _MAX for failed in problems):
            continue  # buckets for more connections than there can be
        problem = _write(root, one)
        if problem is None:
            written.append(one)
        else:
            problems.append(problem)
    return Tuned(tuple(written), tuple(problems))


def _files(settings: ConntrackSettings) -> tuple[str, ...]:
    return (*_wanted(settings, 1), _HASHSIZE)


def set_oom_score_adj(value: int, root: Path = _ROOT) -> Problem | None:
    """Set how soon the kernel ends this process when memory runs out (-1000 never, 1000 first).

    Returns the warning if that is not allowed: going below what one has takes CAP_SYS_RESOURCE.
    """
    was = _read(root, _OOM_SCORE_ADJ)
    return _write(root, Write(_OOM_SCORE_ADJ, value, was)) if was != value else None


def count_processors(root: Path = _ROOT) -> int:
    """Return how many CPUs the machine has online, whichever of them this process may use; at least 1."""
    try:
        text = (root / _CPUS).read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        text = ""
    ranges = [_RANGE.fullmatch(part) for part in text.split(",")]
    if not all(ranges):
        return os.cpu_count() or 1
    return sum(int(one["last"] or one["first"]) - int(one["first"]) + 1 for one in ranges if one is not None)


def _read(root: Path, path: str) -> int | None:
    try:
        return int((root / path).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _write(root: Path, one: Write) -> Problem | None:
    """Write a number to a file that is there; return the warning if that fails."""
    try:
        descriptor = os.open(root / one.path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(descriptor, str(one.value).encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError as error:
        was = f" (it is {one.was})" if one.was is not None else ""
        return Problem(
            f"cannot be set to {one.value}{was}: {_reason(one.path, error.errno or 0)}",
            one.path,
            severity=Severity.WARNING,
        )
    return None


def _reason(path: str, number: int) -> str:
    if path == _OOM_SCORE_ADJ and number in (errno.EACCES, errno.EPERM):
        return "not allowed: to go lower takes CAP_SYS_RESOURCE"
    return _REASONS.get(number, os.strerror(number))
