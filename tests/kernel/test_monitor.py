"""Who else changes our tables: seen by name and process, and nobody else is; our own changes never are."""

import asyncio
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from nftsvc.changes import compare
from nftsvc.errors import KernelError, KernelRefused, KernelUnavailable
from nftsvc.kernel import Kernel
from nftsvc.kernel.context import Context
from nftsvc.kernel.monitor import LOST, UNSEEN, Foreign, Monitor
from nftsvc.kernel.netlink import ACK, NETFILTER, Request, Socket, attribute, inside, name, netfilter_header, receive
from nftsvc.kernel.notifications import Reader, Transaction
from nftsvc.lab import Namespace
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import EMPTY, make_ruleset
from nftsvc.values import FAMILIES, Family
from tests.support.builders import many_services

ROOT = Path(__file__).parents[2]
DEADLINE = 60
INITIAL_PID_NAMESPACE = "pid:[4026531836]"

TABLES = "".join(
    f"""
table {family} nftsvc {{
  map service-ips {{
    type {kind} . inet_proto . inet_service : verdict
    elements = {{ {one} . tcp . 80 : drop, {one} . udp . 53 : drop, {one} . tcp . 443 : drop }}
  }}
  set hairpin {{
    type {kind}
    elements = {{ {one} }}
  }}
  chain services {{
    {family} daddr . meta l4proto . th dport vmap @service-ips
    {family} saddr @hairpin accept
  }}
}}
"""
    for family, kind, one in (("ip", "ipv4_addr", "192.0.2.1"), ("ip6", "ipv6_addr", "2001:db8::1"))
)
OTHERS = """
table ip nftsvc-other {
  set hairpin {
    type ipv4_addr
  }
}
table inet nftsvc {
  set hairpin {
    type ipv4_addr
  }
}
"""


def run_in(namespace: Namespace, *command: str, text: str = "") -> int:
    """Run a command in a namespace; return the process's number."""
    entered = ["ip", "netns", "exec", namespace.name, *command]  # ip becomes the command, so the number is the same
    child = subprocess.Popen(entered, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _, complaint = child.communicate(text)
    assert child.returncode == 0, complaint
    return child.pid


def nft(namespace: Namespace, command: str) -> int:
    return run_in(namespace, "nft", "-f", "-", text=command)


def seen(monitor: Monitor) -> list[Foreign]:
    """Return all that is there: what a transaction caused is there when it has ended."""
    found = list(monitor.read())
    while select.select([monitor], [], [], 0)[0]:
        found += monitor.read()
    return found


def same_process(reported: int, pid: int) -> bool:
    """The kernel tells numbers of the initial pid namespace, which tests in a container do not know."""
    return reported == pid if str(Path("/proc/self/ns/pid").readlink()) == INITIAL_PID_NAMESPACE else reported > 0


@pytest.fixture
def watched(kernel: Kernel, empty_namespace: Namespace) -> Iterator[Monitor]:
    """A monitor that knows the kernel, with tables of ours in place."""
    kernel.run(Script.of_text(TABLES))
    with Monitor(empty_namespace.path) as monitor:
        kernel.identify(monitor)
        yield monitor
        subprocess.run(["ip", "netns", "exec", empty_namespace.name, "nft", "flush", "ruleset"], check=True)


def elements(first: int, count: int) -> Script:
    """A transaction that adds to the set `many`, which it makes if need be."""
    numbers = range(first, first + count)
    listed = ",\n".join(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in numbers)
    return Script.of_text(
        f"add set ip nftsvc many {{ type ipv4_addr; }}\nadd element ip nftsvc many {{\n{listed}\n}}\n",
        (),
    )


# Our own --------------------------------------------------------------------------------------------------------------


def test_own_load_of_a_hundred_thousand_elements_yields_nothing(watched: Monitor, kernel: Kernel) -> None:
    for first in range(0, 100_000, 5_000):
        kernel.run(elements(first, 5_000))
    assert seen(watched) == []


def test_own_messages_stay_in_the_kernel(kernel: Kernel, empty_namespace: Namespace) -> None:
    """A buffer that takes a hundredth of a load is enough for it, because only its last message arrives."""
    kernel.run(Script.of_text(TABLES))
    with Monitor(empty_namespace.path, buffer=16384) as monitor:
        kernel.identify(monitor)
        kernel.run(elements(0, 20_000))
        assert seen(monitor) == []


def test_own_messages_stay_in_the_kernel_by_whichever_way_they_go(kernel: Kernel, empty_namespace: Namespace) -> None:
    """Elements alone go by another socket than what libnftables sends; neither takes room in the buffer."""
    renderer = Renderer()
    one, two, many = (make_ruleset(many_services(count)) for count in (1, 2, 4000))
    kernel.run(renderer.script(compare(EMPTY, one).transactions()[0]))
    few = compare(one, two).transactions()
    operations = [each for part in (*few, *compare(two, many).transactions(10**6)) for each in part]
    with Monitor(empty_namespace.path, buffer=16384) as monitor:
        kernel.identify(monitor)
        for number, operation in enumerate(operations):
            kernel.run(renderer.script((operation,)))
            kernel.run(Script.of_text(f"add chain ip nftsvc spare-{number}\n"))
            if number == 0:  # the agent reads all the time, so it soon knows of both
                assert seen(monitor) == []
        assert seen(monitor) == []


def test_whoever_was_not_introduced_is_somebody_else(kernel: Kernel, empty_namespace: Namespace) -> None:
    with Monitor(empty_namespace.path) as monitor:
        assert not monitor.introduced
        kernel.run(Script.of_text(TABLES))
        assert [one.families for one in seen(monitor)] == [frozenset(FAMILIES)]


def test_introduction_leaves_nothing_behind_and_keeps_what_others_did(
    kernel: Kernel, empty_namespace: Namespace
) -> None:
    with Monitor(empty_namespace.path) as monitor:
        nft(empty_namespace, "add table ip nftsvc")
        kernel.identify(monitor)
        assert monitor.introduced
        assert [one.what for one in seen(monitor)] == ["added table ip nftsvc"]
        assert listing(empty_namespace).split() == ["table", "ip", "nftsvc", "{", "}"]


def listing(namespace: Namespace) -> str:
    command = ["ip", "netns", "exec", namespace.name, "nft", "list", "ruleset"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_own_transactions_are_known_after_libnftables_has_opened_its_socket_again(
    watched: Monitor, kernel: Kernel
) -> None:
    with pytest.raises(KernelRefused):
        kernel.run(Script.of_text("add element ip nftsvc nowhere { 192.0.2.9 }\n"))
    kernel.run(Script.of_text("add element ip nftsvc hairpin { 192.0.2.9 }\n"))
    kernel.run(elements(0, 5_000))
    assert seen(watched) == []


def test_the_kernel_that_was_introduced_last_is_ours(
    watched: Monitor, kernel: Kernel, empty_namespace: Namespace
) -> None:
    with Kernel(empty_namespace.path) as second:
        second.identify(watched)
        second.run(Script.of_text("add element ip nftsvc hairpin { 192.0.2.9 }\n"))
        assert seen(watched) == []
        kernel.run(Script.of_text("delete element ip nftsvc hairpin { 192.0.2.9 }\n"))
        assert [one.what for one in seen(watched)] == ["removed 1 element of hairpin"]
        kernel.identify(watched)
        kernel.run(Script.of_text("delete element ip nftsvc hairpin { 192.0.2.1 }\n"))
        assert seen(watched) == []


IN_A_CONTAINER = """
import os, select, sys
from pathlib import Path
from nftsvc.kernel import Kernel
from nftsvc.kernel.monitor import Monitor
from nftsvc.render import Script

assert os.getpid() == 1
namespace = Path(sys.argv[1])
with Kernel(namespace) as kernel, Monitor(namespace) as monitor:
    kernel.identify(monitor)
    kernel.run(Script.of_text(sys.stdin.read()))
    assert not monitor.read()
    assert not select.select([monitor], [], [], 0)[0]
    with Kernel(namespace) as other:
        other.run(Script.of_text("delete table ip nftsvc\\n"))
    (found,) = monitor.read()
    assert found.what == "deleted table ip nftsvc", found
    assert found.pid > 1, found
print("done")
"""


def test_own_transactions_are_known_in_a_pid_namespace_of_ones_own(kernel: Kernel, empty_namespace: Namespace) -> None:
    assert kernel.present() == ()
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", IN_A_CONTAINER]
    done = subprocess.run(
        [*command, str(empty_namespace.path)],
        input=TABLES,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=DEADLINE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


# Others ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "what", "sets", "structural"),
    [
        (
            "delete element ip nftsvc service-ips { 192.0.2.1 . tcp . 80 }",
            "removed 1 element of service-ips",
            {(Family.IPV4, "service-ips")},
            False,
        ),
        (
            (
                "flush map ip nftsvc service-ips\nadd element ip nftsvc hairpin { 192.0.2.7 }\n"
                "delete element ip6 nftsvc hairpin { 2001:db8::1 }"
            ),
            "removed 3 elements of service-ips, added 1 of hairpin, removed 1 of hairpin",
            {(Family.IPV4, "service-ips"), (Family.IPV4, "hairpin"), (Family.IPV6, "hairpin")},
            False,
        ),
        ("delete table ip6 nftsvc", "deleted table ip6 nftsvc", set(), True),
        ("flush ruleset", "deleted table ip nftsvc, deleted table ip6 nftsvc", set(), True),
        ("flush chain ip nftsvc services", "removed 2 rules of chain services", set(), True),
        ("add chain ip nftsvc c", "added chain c", set(), True),
        (
            "add rule ip nftsvc services drop\nadd element ip nftsvc hairpin { 192.0.2.8 }",
            "added 1 rule of chain services, added 1 element of hairpin",
            {(Family.IPV4, "hairpin")},
            True,
        ),
        ("flush table ip nftsvc\ndelete chain ip nftsvc services\ndelete set ip nftsvc hairpin",
         "removed 2 rules of chain services, removed chain services, removed set hairpin", set(), True),
        ("add counter ip nftsvc n", "added object n", set(), True),
    ],
)  # fmt: skip
def test_what_others_do_is_told_with_their_name_and_number(
    watched: Monitor,
    empty_namespace: Namespace,
    command: str,
    what: str,
    sets: set[tuple[Family, str]],
    structural: bool,
) -> None:
    pid = nft(empty_namespace, command)
    (found,) = seen(watched)
    assert found.process == "nft"
    assert same_process(found.pid, pid)
    assert (found.what, found.sets, found.structural) == (what, sets, structural)
    words = command.replace("ruleset", "ip ip6").split()
    assert found.families == {family for family, word in zip(FAMILIES, ("ip", "ip6"), strict=True) if word in words}


@pytest.mark.parametrize(
    "command",
    [
        "add element ip nftsvc-other hairpin { 192.0.2.1 }",
        "add element inet nftsvc hairpin { 192.0.2.1 }",
        "delete table inet nftsvc",
        "add table bridge nftsvc",
        "table ip nftsvc-third {\n chain c {\n }\n}",
        # What is there already is no change.
        "add table ip nftsvc\nadd element ip nftsvc hairpin { 192.0.2.1 }",
    ],
)
def test_changes_of_other_tables_yield_nothing(watched: Monitor, empty_namespace: Namespace, command: str) -> None:
    nft(empty_namespace, OTHERS)
    assert seen(watched) == []
    nft(empty_namespace, command)
    assert seen(watched) == []


def test_another_nftsvc_is_somebody_else(watched: Monitor, empty_namespace: Namespace) -> None:
    pid = run_in(empty_namespace, sys.executable, "-m", "nftsvc", "clean")
    found = seen(watched)
    assert {one.what for one in found} <= {
        "deleted table ip nftsvc, deleted table ip6 nftsvc",
        "deleted table ip nftsvc",
        "deleted table ip6 nftsvc",
    }
    assert found
    assert all(one.pid != pid and one.pid > 0 for one in found), "the number is that of a thread"


def test_flush_is_seen_among_the_ruins_of_a_large_ruleset(watched: Monitor, empty_namespace: Namespace) -> None:
    rules = "\n".join(f"ip saddr 10.0.{n >> 8}.{n & 255} tcp dport 80 counter accept" for n in range(30_000))
    nft(empty_namespace, f"table ip big {{\nchain c {{\n{rules}\n}}\n}}")
    assert seen(watched) == []
    pid = nft(empty_namespace, "flush ruleset")
    (found,) = seen(watched)
    assert found.what == "deleted table ip nftsvc, deleted table ip6 nftsvc"
    assert same_process(found.pid, pid)


def test_what_packets_write_and_time_takes_away_is_no_change(
    watched: Monitor, kernel: Kernel, empty_namespace: Namespace
) -> None:
    kernel.run(
        Script.of_text(
            "add set ip nftsvc affinity { type inet_service; size 100; flags dynamic, timeout; timeout 1s; }\n"
            "add chain ip nftsvc out { type filter hook output priority 0; }\n"
            "add rule ip nftsvc out update @affinity { udp dport } counter\n",
            (),
        )
    )
    with empty_namespace.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
        for port in range(4001, 4006):
            sender.sendto(b"x", ("127.0.0.1", port))
    assert "4005" in listing(empty_namespace)
    while "expires" in listing(empty_namespace):
        assert seen(watched) == []
    assert seen(watched) == []


# Trouble --------------------------------------------------------------------------------------------------------------


def test_lost_notifications_are_told_and_survived(kernel: Kernel, empty_namespace: Namespace) -> None:
    kernel.run(Script.of_text(TABLES))
    with Monitor(empty_namespace.path, buffer=4096) as monitor:
        kernel.identify(monitor)
        nft(empty_namespace, elements(0, 5_000).text)
        found = seen(monitor)
        assert Foreign("", 0, LOST, frozenset(FAMILIES), frozenset(), structural=True) in found
        nft(empty_namespace, "delete element ip nftsvc hairpin { 192.0.2.1 }")
        assert [one.what for one in seen(monitor)] == ["removed 1 element of hairpin"]
        kernel.run(elements(5_000, 10))
        assert seen(monitor) == []


def delete_table(port: int, table: str) -> None:
    """Delete a table from a netlink port of one's choice, as who came later and got it."""
    made = Socket(NETFILTER, port)
    with made:
        ends = [Request(kind, netfilter_header(None, 10), 0) for kind in (16, 17)]
        deleted = Request(10 << 8 | 2, netfilter_header(Family.IPV4) + attribute(1, name(table)), ACK)
        assert made.ask(ends[0], deleted, ends[1]) == (0, 0, 0)


def test_whoever_gets_the_port_of_our_closed_socket_does_not_pass_for_us(
    kernel: Kernel, empty_namespace: Namespace
) -> None:
    kernel.run(Script.of_text(TABLES))
    with Monitor(empty_namespace.path) as monitor, AllNotifications(empty_namespace) as everything:

        def introduced() -> int:
            context = Context()
            monitor.introduce(context.run)
            return everything.read()[-1].port

        port = inside(empty_namespace.path, introduced)  # the context, and with it its socket, is gone by now
        assert seen(monitor) == []
        inside(empty_namespace.path, lambda: delete_table(port, "nftsvc"))
        (found,) = seen(monitor)
        assert found.what == UNSEEN
        assert (found.families, found.structural) == (frozenset(FAMILIES), True)
        assert found.pid == everything.read()[-1].pid
        nft(empty_namespace, "add table ip nftsvc")
        assert [one.what for one in seen(monitor)] == ["added table ip nftsvc"]


class AllNotifications:
    """A second listener, without any filter."""

    def __init__(self, namespace: Namespace) -> None:
        self._socket = inside(namespace.path, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER))
        self._reader = Reader()

    def __enter__(self) -> Self:
        self._socket.bind((0, 0))
        self._socket.setsockopt(270, 1, 7)
        self._socket.settimeout(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def read(self) -> list[Transaction]:
        found: list[Transaction] = []
        while select.select([self._socket], [], [], 0)[0]:
            found += self._reader.feed(receive(self._socket))
        return found


def test_introduction_by_somebody_who_changes_nothing_fails(empty_namespace: Namespace) -> None:
    with Monitor(empty_namespace.path) as monitor, pytest.raises(KernelError, match="cannot tell our own"):
        monitor.introduce(lambda _: None)


def test_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(KernelUnavailable, match="no-such-namespace"):
        Monitor(Path("/run/netns/no-such-namespace"))


def test_without_privileges_it_is_said_what_it_takes() -> None:
    program = (
        "import os\nfrom nftsvc.kernel.monitor import Monitor\nfrom nftsvc.errors import KernelUnavailable\n"
        "os.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
        "try:\n    Monitor()\nexcept KernelUnavailable as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "CAP_NET_ADMIN" in done.stdout


def test_an_event_loop_is_woken(watched: Monitor, empty_namespace: Namespace) -> None:
    async def wait() -> list[Foreign]:
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[Foreign]] = loop.create_future()

        def ready() -> None:
            told = list(watched.read())
            if told and not found.done():
                found.set_result(told)

        loop.add_reader(watched, ready)
        try:
            await asyncio.to_thread(nft, empty_namespace, "delete table ip nftsvc")
            return await asyncio.wait_for(found, DEADLINE)
        finally:
            loop.remove_reader(watched)

    (told,) = asyncio.run(wait())
    assert told.what == "deleted table ip nftsvc"
