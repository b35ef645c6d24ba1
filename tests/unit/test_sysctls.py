"""Connection tracking and the process's score: what is written, where, and what is said where that is not allowed."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from nftsvc.configuration import ConntrackSettings, Duration
from nftsvc.errors import Severity
from nftsvc.kernel import Kernel
from nftsvc.kernel.sysctls import (
    MOST_CONNECTIONS,
    Write,
    conntrack_writes,
    count_processors,
    set_oom_score_adj,
    tune_conntrack,
)
from nftsvc.lab import Namespace, namespaces

NETFILTER = "proc/sys/net/netfilter"
MAX = f"{NETFILTER}/nf_conntrack_max"
HASHSIZE = "sys/module/nf_conntrack/parameters/hashsize"
ESTABLISHED = f"{NETFILTER}/nf_conntrack_tcp_timeout_established"
CLOSE_WAIT = f"{NETFILTER}/nf_conntrack_tcp_timeout_close_wait"
LIBERAL = f"{NETFILTER}/nf_conntrack_tcp_be_liberal"
UDP = f"{NETFILTER}/nf_conntrack_udp_timeout"
UDP_STREAM = f"{NETFILTER}/nf_conntrack_udp_timeout_stream"
OOM = "proc/self/oom_score_adj"

UNTOUCHED = ConntrackSettings(max_per_core=0, tcp_established_timeout=Duration(0), tcp_close_wait_timeout=Duration(0))
KERNELS = {MAX: 65536, HASHSIZE: 16384, ESTABLISHED: 432000, CLOSE_WAIT: 60, LIBERAL: 0, UDP: 30, UDP_STREAM: 120}


def sized(**fields: int) -> ConntrackSettings:
    return ConntrackSettings(
        **{"tcp_established_timeout": Duration(0), "tcp_close_wait_timeout": Duration(0), **fields}  # type: ignore[arg-type]
    )


def written(settings: ConntrackSettings, processors: int = 2, current: dict[str, int] = KERNELS) -> dict[str, int]:
    return {one.path: one.value for one in conntrack_writes(settings, processors, current)}


# What is to be written -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_core", "minimum", "processors", "value"),
    [
        (32768, 131072, 1, 131072),
        (32768, 131072, 4, 131072),
        (32768, 131072, 5, 163840),
        (32768, 131072, 32, 1048576),
        (32768, 131072, 33, MOST_CONNECTIONS),
        (32768, 2000000, 33, MOST_CONNECTIONS),
        (32768, 2000000, 32, 2000000),
        (1, 0, 1, 1),
    ],
)
def test_size_is_so_much_a_processor_but_has_bounds(per_core: int, minimum: int, processors: int, value: int) -> None:
    """The upper bound counts for the product only, and then it is the value, whatever the minimum."""
    assert written(sized(max_per_core=per_core, minimum=minimum), processors)[MAX] == value


def test_size_may_shrink_but_the_buckets_only_grow() -> None:
    current = {**KERNELS, MAX: 262144, HASHSIZE: 262144}
    assert written(sized(), 4, current) == {MAX: 131072}
    assert written(sized(), 4, {**current, HASHSIZE: 32767}) == {MAX: 131072, HASHSIZE: 32768}
    assert written(sized(), 4, {**current, HASHSIZE: 32768}) == {MAX: 131072}


def test_buckets_grow_also_where_the_size_is_right_already() -> None:
    assert written(sized(), 4, {MAX: 131072, HASHSIZE: 16384}) == {HASHSIZE: 32768}


def test_nothing_is_written_where_nothing_is_wanted() -> None:
    assert written(UNTOUCHED) == {}


def test_each_timeout_goes_to_its_file_in_seconds() -> None:
    settings = ConntrackSettings(
        max_per_core=0,
        tcp_established_timeout=Duration.of(1),
        tcp_close_wait_timeout=Duration.parse("2500ms"),
        tcp_be_liberal=True,
        udp_timeout=Duration.parse("1ns"),
        udp_stream_timeout=Duration.of(4),
    )
    assert written(settings) == {ESTABLISHED: 1, CLOSE_WAIT: 2, LIBERAL: 1, UDP: 1, UDP_STREAM: 4}


def test_what_is_so_already_is_left_alone() -> None:
    done = {**KERNELS, **written(ConntrackSettings())}
    assert written(ConntrackSettings(), 2, done) == {}


def test_what_cannot_be_read_is_tried() -> None:
    assert written(ConntrackSettings(), 2, {}) == {MAX: 131072, HASHSIZE: 32768, ESTABLISHED: 86400, CLOSE_WAIT: 3600}


def test_buckets_come_right_after_the_size() -> None:
    paths = [one.path for one in conntrack_writes(ConntrackSettings(), 2, KERNELS)]
    assert paths[:2] == [MAX, HASHSIZE]


@run_with(max_examples=200, derandomize=True, deadline=None)
@given(
    st.builds(
        ConntrackSettings,
        max_per_core=st.integers(0, 2**31 - 1),
        minimum=st.integers(0, 2**31 - 1),
        tcp_established_timeout=st.integers(0, 2**63 - 1).map(Duration),
        udp_timeout=st.integers(0, 2**63 - 1).map(Duration),
        tcp_be_liberal=st.booleans(),
    ),
    st.integers(1, 1024),
    st.dictionaries(st.sampled_from(list(KERNELS)), st.integers(0, 2**31)),
)
def test_writes_bring_about_what_asks_for_no_more_writes(
    settings: ConntrackSettings, processors: int, current: dict[str, int]
) -> None:
    writes = conntrack_writes(settings, processors, current)
    assert all(one.value != one.was == current.get(one.path) for one in writes)
    assert all(one.value > 0 or (one.path in (MAX, HASHSIZE) and settings.minimum < 4) for one in writes)
    assert conntrack_writes(settings, processors, {**current, **{one.path: one.value for one in writes}}) == ()


@pytest.mark.parametrize(
    ("write", "text"),
    [(Write(MAX, 131072, 65536), "nf_conntrack_max 65536 -> 131072"), (Write(HASHSIZE, 5), "hashsize ? -> 5")],
)
def test_write_is_told_in_a_line(write: Write, text: str) -> None:
    assert str(write) == text


# Files under a root --------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path, value in {**KERNELS, OOM: 0}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(f"{value}\n")
    return tmp_path


def numbers(root: Path) -> dict[str, int]:
    return {path: int((root / path).read_text()) for path in KERNELS}


def test_files_hold_what_was_wanted_and_a_second_time_nothing_is_written(root: Path) -> None:
    done = tune_conntrack(ConntrackSettings(), 8, root)
    assert done.problems == ()
    assert [str(one) for one in done.written] == [
        "nf_conntrack_max 65536 -> 262144",
        "hashsize 16384 -> 65536",
        "nf_conntrack_tcp_timeout_established 432000 -> 86400",
        "nf_conntrack_tcp_timeout_close_wait 60 -> 3600",
    ]
    assert numbers(root) == {**KERNELS, MAX: 262144, HASHSIZE: 65536, ESTABLISHED: 86400, CLOSE_WAIT: 3600}
    assert tune_conntrack(ConntrackSettings(), 8, root).written == ()


def test_shorter_numbers_replace_longer_ones(root: Path) -> None:
    (root / MAX).write_text("1048576\n")
    tune_conntrack(sized(max_per_core=1, minimum=7), 1, root)
    assert (root / MAX).read_text() == "7"


def test_kernel_without_connection_tracking_is_told_and_no_file_made(tmp_path: Path) -> None:
    done = tune_conntrack(sized(), 2, tmp_path)
    assert done.written == ()
    assert [(one.field, one.severity) for one in done.problems] == [(MAX, Severity.WARNING)]
    assert "cannot be set to 131072: this kernel does not track connections here" in done.problems[0].message
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_written_where_one_is_missing(root: Path) -> None:
    (root / MAX).unlink()
    done = tune_conntrack(ConntrackSettings(), 2, root)
    assert [one.path for one in done.written] == [ESTABLISHED, CLOSE_WAIT]
    assert [one.field for one in done.problems] == [MAX]
    assert numbers_of(root, HASHSIZE) == KERNELS[HASHSIZE]


def numbers_of(root: Path, path: str) -> int:
    return int((root / path).read_text())


@pytest.mark.parametrize("text", ["", "many\n", "\xff"])
def test_file_that_holds_no_number_is_written(text: str, root: Path) -> None:
    (root / UDP).write_bytes(text.encode("latin-1"))
    assert [str(one) for one in tune_conntrack(udp(5), 2, root).written] == ["nf_conntrack_udp_timeout ? -> 5"]


def udp(seconds: int) -> ConntrackSettings:
    return ConntrackSettings(
        max_per_core=0,
        tcp_established_timeout=Duration(0),
        tcp_close_wait_timeout=Duration(0),
        udp_timeout=Duration.of(seconds),
    )


@pytest.mark.parametrize(
    ("online", "count"),
    [("0", 1), ("0-1", 2), ("0-3,5,8-11\n", 9), ("0-1023", 1024)],
)
def test_processors_are_the_machines(online: str, count: int, tmp_path: Path) -> None:
    file = tmp_path / "sys/devices/system/cpu/online"
    file.parent.mkdir(parents=True)
    file.write_text(online)
    assert count_processors(tmp_path) == count


@pytest.mark.parametrize("online", ["", "x", "0-", "0-1,", "-1"])
def test_processors_are_counted_otherwise_where_the_file_says_nothing(online: str, tmp_path: Path) -> None:
    file = tmp_path / "sys/devices/system/cpu/online"
    file.parent.mkdir(parents=True)
    file.write_text(online)
    assert count_processors(tmp_path) == os.cpu_count() == count_processors(tmp_path / "nowhere")


def test_this_machine_has_processors() -> None:
    assert count_processors() >= 1


def test_score_is_written_where_it_differs(root: Path) -> None:
    assert set_oom_score_adj(-999, root) is None
    assert (root / OOM).read_text() == "-999"
    (root / OOM).chmod(0o400)
    (root / OOM).write_text("-999\n")
    assert set_oom_score_adj(-999, root) is None
    assert (root / OOM).read_text() == "-999\n"


# The real kernel -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tracking() -> None:
    """See to it that the kernel has loaded connection tracking, as the agent's first ruleset does."""
    with namespaces("tracking") as (made,), Kernel(made.path) as kernel:
        kernel.preflight()


@pytest.fixture
def namespace(tracking: None) -> Iterator[Namespace]:  # noqa: ARG001
    with namespaces("sysctls") as (made,):
        yield made


def real(*paths: str) -> dict[str, int]:
    return {path: int(Path("/", path).read_text()) for path in paths}


TIMEOUTS = (ESTABLISHED, CLOSE_WAIT, UDP, UDP_STREAM, LIBERAL)


def test_timeouts_of_a_namespace_are_its_own(namespace: Namespace) -> None:
    wanted = ConntrackSettings(
        max_per_core=0,
        tcp_established_timeout=Duration.of(1001),
        tcp_close_wait_timeout=Duration.of(1002),
        tcp_be_liberal=True,
        udp_timeout=Duration.of(1003),
        udp_stream_timeout=Duration.of(1004),
    )
    outside = real(*TIMEOUTS)
    done = namespace.call(lambda: tune_conntrack(wanted))
    assert done.problems == ()
    inside = namespace.call(lambda: real(*TIMEOUTS))
    assert inside == {ESTABLISHED: 1001, CLOSE_WAIT: 1002, UDP: 1003, UDP_STREAM: 1004, LIBERAL: 1}
    assert namespace.call(lambda: tune_conntrack(wanted)).written == ()
    assert real(*TIMEOUTS) == outside


def test_size_is_the_machines_so_a_namespace_is_told_why_it_stays(namespace: Namespace) -> None:
    """It goes on with the timeouts, and does not ask for buckets that nobody can fill."""
    size = real(MAX)[MAX]
    wanted = ConntrackSettings(max_per_core=1, minimum=size + 4096)
    done = namespace.call(lambda: tune_conntrack(wanted, 1))
    assert [one.field for one in done.problems] == [MAX]
    assert f"cannot be set to {size + 4096} (it is {size}): not allowed" in done.problems[0].message
    assert {one.path for one in done.written} <= {ESTABLISHED, CLOSE_WAIT}
    assert real(MAX)[MAX] == size


def test_value_that_the_kernel_does_not_take_is_told(namespace: Namespace) -> None:
    done = namespace.call(lambda: tune_conntrack(udp(9_000_000_000)))
    assert [one.message for one in done.problems] == [
        "cannot be set to 9000000000 (it is 30): the kernel does not take this value"
    ]


def python(code: str, *prefix: str) -> Any:
    """Run code in a process of its own, in a network namespace of its own; returns what it prints as JSON."""
    head = (
        "import json, os\nfrom nftsvc.configuration import *\nfrom nftsvc.kernel.sysctls import *\n"
        "wanted = ConntrackSettings(max_per_core=0, udp_timeout=Duration.of(77))\n"
    )
    done = subprocess.run(
        ["unshare", "-n", *prefix, sys.executable, "-c", head + code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


MESSAGES = "print(json.dumps([one.message for one in tune_conntrack(wanted).problems]))"


@pytest.mark.usefixtures("tracking")
def test_read_only_sysctls_as_in_a_container_are_a_warning_each() -> None:
    mount = 'mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys /proc/sys && exec "$@"'
    messages = python(MESSAGES, "-m", "sh", "-c", mount, "sh")
    assert len(messages) == 3
    assert all("mounted read-only, as in a container without privilege" in one for one in messages)


DROP = "os.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"


@pytest.mark.usefixtures("tracking")
def test_without_root_nothing_can_be_set_and_that_is_told() -> None:
    """First as root, for without it Python may not be able to load what it has not loaded yet."""
    first = "tune_conntrack(ConntrackSettings(max_per_core=0))\n"
    (message,) = python(first + DROP + MESSAGES)
    assert message == (
        "cannot be set to 77 (it is 30): not allowed: it takes root on the node,"
        " in the node's own network namespace (hostNetwork)"
    )


def test_process_sets_its_own_score_and_is_told_where_it_may_not() -> None:
    before = "first = set_oom_score_adj(700)\nscore = open('/proc/self/oom_score_adj').read().strip()\n"
    after = "print(json.dumps([score, first, set_oom_score_adj(-999).message]))"
    score, first, second = python(before + DROP + after)
    assert (score, first) == ("700", None)
    assert "cannot be set to -999 (it is 700): not allowed: to go lower takes CAP_SYS_RESOURCE" in second
