"""Tables read through netlink: the same as nft lists, whatever is in them, however busy others are."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nftsvc.agent.connections import COUNTED
from nftsvc.changes import compare
from nftsvc.kernel import Kernel
from nftsvc.lab import NODE, Cluster, Namespace
from nftsvc.plan import Plan
from nftsvc.reading import parse_table
from nftsvc.render import Renderer
from nftsvc.ruleset import AFFINITY_MAPS, NFT_FAMILY, TABLE, VERDICT, Key, Ruleset, Table
from nftsvc.sync import compare_with_kernel, synchronise
from nftsvc.values import FAMILIES, Family
from tests.kernel.conftest import POD_PORT, PODS
from tests.support.builders import Raw, endpoint_slice, many_services, plan_of, service
from tests.support.cases import Case, all_cases
from tests.support.traffic import ask

VIP = ("10.96.0.80", "fd00:96::80")
NODE_PORT = 30080


def nft(namespace: Namespace, *arguments: str, text: str = "") -> str:
    command = ["ip", "netns", "exec", namespace.name, "nft", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def listed(namespace: Namespace, family: Family) -> Table:
    """Return a table as nft lists it."""
    return parse_table(nft(namespace, "-j", "-p", "list", "table", NFT_FAMILY[family], TABLE), family)


def assert_reads_as_listed(kernel: Kernel, namespace: Namespace) -> Ruleset:
    """Compare what is read with what nft lists, and return it."""
    found = kernel.read()
    for family, table in found.tables.items():
        wanted = listed(namespace, family)
        assert wanted.sets  # else nft's listing was not understood
        assert table.elements == wanted.elements
        assert table.chains == wanted.chains
        assert table.flags == wanted.flags
        assert {(one.name, bool(one.data), one.data == VERDICT) for one in table.sets} == {
            (one.name, bool(one.data), one.data == VERDICT) for one in wanted.sets
        }
    return found


def plan(**changes: object) -> Plan:
    """Return a plan with a Service of both families that clients stay with."""
    ports: list[Raw] = [{"name": "http", "port": 80, "nodePort": NODE_PORT}]
    ports.append({"name": "dns", "port": 53, "protocol": "UDP", "nodePort": NODE_PORT})
    targets: list[Raw] = [{"name": "http", "port": POD_PORT}, {"name": "dns", "port": POD_PORT, "protocol": "UDP"}]
    stays: Raw = {"type": "NodePort", "sessionAffinity": "ClientIP", **changes}
    slices = [endpoint_slice("web", [PODS["web-1"][six], PODS["web-2"][six]], targets) for six in (0, 1)]
    return plan_of(service("web", VIP, ports, **stays), *slices)


# The same as nft says -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [one for one in all_cases() if not one.refused], ids=lambda case: case.name)
def test_every_case_reads_as_nft_lists_it_and_as_it_was_made(
    case: Case, kernel: Kernel, empty_namespace: Namespace
) -> None:
    made = synchronise(kernel, case.planned().plan, Renderer()).wanted
    found = assert_reads_as_listed(kernel, empty_namespace)
    assert {family: one.elements for family, one in found.tables.items()} == {
        family: one.elements for family, one in made.tables.items()
    }
    assert kernel.present() == tuple(family for family in FAMILIES if family in case.families)


def test_records_of_clients_read_as_nft_lists_them(cluster: Cluster, node_kernel: Kernel) -> None:
    synchronise(node_kernel, plan(), Renderer())
    for six in (0, 1):
        ask(cluster.client, NODE[six], NODE_PORT, 2)
        ask(cluster.client, NODE[six], NODE_PORT, 2, "UDP")
    found = assert_reads_as_listed(node_kernel, cluster.node)
    for family, count in ((Family.IPV4, 2), (Family.IPV6, 4)):  # address and port are in a map each
        elements = found.tables[family].elements
        assert sum(len(elements[one]) for one in AFFINITY_MAPS if one in elements) == count


def test_counters_are_those_that_nft_lists(cluster: Cluster, node_kernel: Kernel) -> None:
    synchronise(node_kernel, plan(sessionAffinity="None"), Renderer())
    for six in (0, 1):
        ask(cluster.pods["web-3"], VIP[six], 80, 5)
        ask(cluster.client, NODE[six], NODE_PORT, 3, "UDP")
    found = node_kernel.counters(dict.fromkeys(FAMILIES, COUNTED))
    for family in FAMILIES:
        vip = VIP[family == Family.IPV6]
        counted: dict[str, dict[Key, int]] = {
            "service-ips": {(vip, "tcp", 80): 5, (vip, "udp", 53): 0},
            "nodeports": {("tcp", NODE_PORT): 0, ("udp", NODE_PORT): 3},
            "no-endpoints": {},
            "no-endpoint-nodeports": {},
        }
        assert found[family] == counted
        for one in counted:
            items = json.loads(nft(cluster.node, "-j", "list", "map", NFT_FAMILY[family], TABLE, one))["nftables"]
            elements = next(item["map"] for item in items if "map" in item).get("elem", [])
            packets = sorted(element["elem"]["counter"]["packets"] for element, _ in elements)
            assert packets == sorted(found[family][one].values())


@pytest.mark.parametrize(
    ("family", "networks"),
    [
        (Family.IPV4, ["10.0.0.0/24", "10.0.1.0/24", "192.0.2.1", "198.51.100.4/30"]),
        (Family.IPV4, ["0.0.0.0/8", "255.255.255.0/24"]),
        (Family.IPV4, ["0.0.0.0/1", "128.0.0.0/1"]),
        (Family.IPV4, ["0.0.0.0/0"]),
        (Family.IPV4, ["255.255.255.255"]),
        (Family.IPV4, ["0.0.0.1"]),
        (Family.IPV4, []),
        (Family.IPV6, ["::/8", "fd00:96::/112", "2001:db8::1", "ff00::/8"]),
        (Family.IPV6, ["::/0"]),
        (Family.IPV6, ["::c000:201", "::ffff:0:0/96"]),
    ],
)
def test_networks_are_read_as_they_were_written(
    kernel: Kernel, empty_namespace: Namespace, family: Family, networks: list[str]
) -> None:
    vip, address = VIP[family == Family.IPV6], "ipv6_addr" if family == Family.IPV6 else "ipv4_addr"
    sources = [f"{vip} . tcp . 80 . {one}" for one in networks]

    def having(elements: list[str]) -> str:
        return f"elements = {{ {', '.join(elements)} }}" if elements else ""

    text = f"""
        table {NFT_FAMILY[family]} {TABLE} {{
          set service-cidrs {{
            type {address}
            flags interval
            {having(networks)}
          }}
          set allowed-sources {{
            type {address} . inet_proto . inet_service . {address}
            flags interval
            {having(sources)}
          }}
        }}
    """
    nft(empty_namespace, "-f", "-", text=text)
    found = kernel.read().tables[family].elements
    assert set(found["service-cidrs"]) == {(one,) for one in networks}
    assert set(found["allowed-sources"]) == {(vip, "tcp", 80, one) for one in networks}


# Whatever others put there --------------------------------------------------------------------------------------------

ODD = {
    "set of marks": "add set ip nftsvc odd { type mark; elements = { 1, 2 }; }",
    "map of names": 'add map ip nftsvc odd { type ifname : mark; elements = { "eth0" : 7 }; }',
    "map of counters": "add counter ip nftsvc c\nadd map ip nftsvc odd { type ipv4_addr : counter; }",
    "map of intervals": "add map ip nftsvc m { type ipv4_addr : mark; flags interval; elements = { 10.0.0.0/8 : 1 }; }",
    "set like ours": "add set ip nftsvc odd { type ipv4_addr . inet_service; elements = { 10.0.0.1 . 80 }; }",
    "set with counters": "add set ip nftsvc odd { type ipv4_addr; counter; elements = { 10.0.0.1 counter }; }",
    "range of addresses": "add element ip nftsvc service-cidrs { 10.0.0.3-10.0.0.9 }",
    "range of ports": "add element ip nftsvc allowed-sources { 10.0.0.1 . tcp . 80-90 . 10.0.0.0/8 }",
    "range of sources": "add element ip nftsvc allowed-sources { 10.0.0.1 . tcp . 80 . 10.0.0.3-10.0.0.9 }",
    "element for all": "add element ip nftsvc hairpin { * }",
    "verdict": 'add element ip nftsvc service-ips { 10.0.0.1 . icmp . 80 comment "shop/x:y" : accept }',
    "slot": "add element ip nftsvc tcp-endpoints { 10.0.0.1 . 80 . 4294967295 : 10.0.0.1 . 0 }",
    "comment": 'add element ip nftsvc hairpin { 10.0.0.1 . 10.0.0.1 comment "x y" }',
    "dormant": "add table ip nftsvc { flags dormant; }",
    "chain": "add chain ip nftsvc odd",
    "base chain": "add chain ip nftsvc odd { type filter hook input priority -7; policy drop; }",
    "rule": "add rule ip nftsvc services counter accept",
    "rule with a map": "add rule ip nftsvc services tcp dport vmap { 80 : drop, 81 : jump reject-connection }",
    "rule with a set": "add rule ip nftsvc services tcp dport { 80, 81 } drop",
    "flushed": "flush map ip nftsvc service-ips",
    "emptied": "flush table ip nftsvc",
    "replaced": "delete table ip nftsvc\nadd table ip nftsvc\nadd map ip nftsvc service-ips { type mark : verdict; }",
}


@pytest.mark.parametrize("command", ODD.values(), ids=ODD)
def test_what_others_put_there_is_read_and_found_to_be_unwanted(
    kernel: Kernel, empty_namespace: Namespace, command: str
) -> None:
    synchronise(kernel, plan(), Renderer())
    before = kernel.read()
    assert not compare_with_kernel(kernel, plan()).transactions
    nft(empty_namespace, "-f", "-", text=f"{command}\n")
    found = kernel.read()
    assert found.tables[Family.IPV4] != before.tables[Family.IPV4]
    assert found.tables[Family.IPV6] == before.tables[Family.IPV6]
    kernel.read_sets({Family.IPV4: [one.name for one in found.tables[Family.IPV4].sets]})
    kernel.counters({Family.IPV4: [one.name for one in found.tables[Family.IPV4].sets]})
    assert synchronise(kernel, plan(), Renderer()).transactions
    assert not compare(kernel.read(), before)


@pytest.mark.parametrize("command", [one for key, one in ODD.items() if key in {"set of marks", "range of addresses"}])
def test_a_set_that_cannot_be_read_leaves_the_others_readable(
    kernel: Kernel, empty_namespace: Namespace, command: str
) -> None:
    synchronise(kernel, plan(), Renderer())
    before = kernel.read().tables[Family.IPV4]
    nft(empty_namespace, "-f", "-", text=command)
    found = kernel.read().tables[Family.IPV4]
    assert {key: value for key, value in found.elements.items() if key in before.elements} == before.elements
    (flag,) = found.flags
    odd = flag.split()[-1]
    assert not found.elements[odd]
    assert kernel.read_sets({Family.IPV4: (odd, "hairpin")}).tables[Family.IPV4].elements.keys() == {"hairpin"}


def test_other_families_tables_of_our_name_are_not_ours(kernel: Kernel, empty_namespace: Namespace) -> None:
    nft(empty_namespace, "add table inet nftsvc { set hairpin { type ipv4_addr; }; }")
    try:
        assert kernel.present() == ()
        assert kernel.read() == Ruleset({})
    finally:
        nft(empty_namespace, "delete table inet nftsvc")


def test_without_privileges_the_kernel_says_why() -> None:
    program = (
        "import os\nfrom nftsvc.kernel import tables\nfrom nftsvc.values import Family\n"
        "from nftsvc.errors import KernelRefused\nos.setuid(65534)\n"
        "try:\n    tables.read((Family.IPV4,))\nexcept KernelRefused as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "cannot read table ip nftsvc: Operation not permitted" in done.stdout, done.stderr


# However busy others are ----------------------------------------------------------------------------------------------


# Adds an element to a set of another table and removes it, as fast as it goes, until standard input is at its end.
STORM = """
import select, sys
from nftsvc.kernel.netlink import ACK, CREATE, NETFILTER, Request, Socket, attribute, name, nested, netfilter_header
from nftsvc.values import Family

element = nested(1, nested(1, attribute(1, (80).to_bytes(2, "big"))))
body = netfilter_header(Family.IPV4) + attribute(1, name("storm")) + attribute(2, name("s")) + nested(3, element)
first, last = (Request(kind, netfilter_header(None, 10), 0) for kind in (16, 17))
with Socket(NETFILTER) as others:
    for number in range(10_000_000):
        for kind, flags in ((12, CREATE), (14, 0)):
            others.request(first, Request(10 << 8 | kind, body, flags | ACK), last)
        if number == 0:
            print("begun", flush=True)
        if number % 100 == 0 and select.select([sys.stdin], [], [], 0)[0]:
            break
"""


@contextmanager
def storm(namespace: Namespace) -> Iterator[None]:
    """Have another process change another table over and over."""
    nft(namespace, "add table ip storm { set s { type inet_service; }; }")
    command = ["ip", "netns", "exec", namespace.name, sys.executable, "-c", STORM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as others:
        try:
            assert others.stdout is not None
            assert others.stdout.readline() == "begun\n"
            yield
            assert others.poll() is None
        finally:
            others.communicate()
    nft(namespace, "delete table ip storm")


def test_others_transactions_neither_stop_nor_distort_what_is_read(kernel: Kernel, empty_namespace: Namespace) -> None:
    synchronise(kernel, many_services(800), Renderer())
    before = kernel.read()
    names = dict.fromkeys(before.tables, ("service-ips", "tcp-endpoints"))
    some = kernel.read_sets(names)
    counted = kernel.counters(names)
    with storm(empty_namespace):
        for _ in range(3):
            assert kernel.read() == before
            assert kernel.read_sets(names) == some
            assert kernel.counters(names) == counted
            assert kernel.present() == FAMILIES


def test_a_table_that_comes_and_goes_is_read_as_there_or_not(kernel: Kernel, empty_namespace: Namespace) -> None:
    stop = threading.Event()

    def come_and_go() -> None:
        for _ in range(2000):
            if stop.is_set():
                return
            nft(empty_namespace, "-f", "-", text=f"table ip {TABLE} {{ set hairpin {{ type ipv4_addr; }}\n}}")
            nft(empty_namespace, f"delete table ip {TABLE}")

    thread = threading.Thread(target=come_and_go)
    thread.start()
    seen = Counter[bool]()
    try:
        while thread.is_alive() and min(seen[True], seen[False]) < 200:
            tables = kernel.read().tables
            assert tables.keys() <= {Family.IPV4}
            assert not any(elements for one in tables.values() for elements in one.elements.values())
            kernel.read_sets({Family.IPV4: ("hairpin",)})
            kernel.present()
            seen[bool(tables)] += 1
    finally:
        stop.set()
        thread.join()
    assert seen.keys() == {True, False}
