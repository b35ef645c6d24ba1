"""What kube-proxy has left is found and removed in every mode; what others have made stays byte for byte."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copy

import pytest

from nftsvc.errors import KernelError
from nftsvc.kernel import ipvs
from nftsvc.kernel.ipvs import VirtualServer, address_sets, kube_proxys, remove_servers
from nftsvc.kernel.kubeproxy import Leftovers, find_leftovers, remove_leftovers
from nftsvc.kernel.netlink import (
    ACK,
    CREATE,
    EXCL,
    NETFILTER,
    Request,
    Socket,
    attribute,
    name,
    nested,
    netfilter_header,
)
from nftsvc.lab import Namespace, namespaces
from nftsvc.values import Address, Family

ROOT = Path(__file__).parents[2]
PROGRAMS = {Family.IPV4: "iptables", Family.IPV6: "ip6tables"}
NFT = {Family.IPV4: "ip", Family.IPV6: "ip6"}
every_kind = pytest.mark.parametrize(
    ("kind", "family"), [(kind, family) for kind in ("nft", "legacy") for family in PROGRAMS]
)

# Docker's, the kubelet's (1.28 and later) and CNI's; and rules of nobody in particular.
OTHERS = """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:DOCKER - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -m comment --comment "not -j KUBE-SERVICES" -j CNI-HOSTPORT-DNAT
-A POSTROUTING -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
:FORWARD DROP [0:0]
:OUTPUT ACCEPT [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A INPUT -j KUBE-FIREWALL
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL -m comment --comment "block incoming localnet connections" -m mark --mark 0x1 -j DROP
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-IPTABLES-HINT - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
COMMIT
"""

# 7 chains in nat, 4 in filter, 1 in mangle; SERVICE and ENDPOINT are addresses.
KUBE_PROXY = """\
*nat
:KUBE-MARK-MASQ - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-POSTROUTING - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-TCOU7JCQXEZGVUNU - [0:0]
:KUBE-SEP-6E7XQMQ4RAYOWTTM - [0:0]
:KUBE-PROXY-CANARY - [0:0]
-I PREROUTING 1 -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING 1 -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -m comment --comment "it's \\"quoted\\"" -j MASQUERADE --random-fully
-A KUBE-SERVICES -d SERVICE -p udp -m comment --comment "kube-system/kube-dns:dns cluster IP" -m udp --dport 53 -j KUBE-SVC-TCOU7JCQXEZGVUNU
-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
-A KUBE-SVC-TCOU7JCQXEZGVUNU -m statistic --mode random --probability 0.5 -j KUBE-SEP-6E7XQMQ4RAYOWTTM
-A KUBE-SEP-6E7XQMQ4RAYOWTTM -s ENDPOINT -j KUBE-MARK-MASQ
COMMIT
*filter
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
:KUBE-SERVICES - [0:0]
-I INPUT 1 -m conntrack --ctstate NEW -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A OUTPUT -m conntrack --ctstate NEW -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
COMMIT
*mangle
:KUBE-PROXY-CANARY - [0:0]
COMMIT
"""  # noqa: E501 - as iptables-save prints it
WORDS = ["7 chains KUBE-* in {} nat{}", "4 chains KUBE-* in {} filter{}", "1 chain KUBE-* in {} mangle{}"]

# What a kubelet before 1.28 makes: two of these names are kube-proxy's as well.
OLD_KUBELET = """\
*nat
:KUBE-MARK-DROP - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
COMMIT
"""

NFTABLES_MODE = """
table ip kube-proxy {
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.10 . udp . 53 : goto service-DNS }
  }
  chain service-DNS {
    drop
  }
  chain nat-prerouting {
    type nat hook prerouting priority -100; policy accept;
    ip daddr . meta l4proto . th dport vmap @service-ips
  }
}
table ip6 kube-proxy {
  chain services {
    drop
  }
}
table inet kube-proxy {
  chain mine {
    accept
  }
}
table ip kube-proxy-2 {
  chain KUBE-SERVICES {
    accept
  }
}
"""


@pytest.fixture
def node() -> Iterator[Namespace]:
    with namespaces("kubeproxy") as (made,):
        yield made


def run_in(namespace: Namespace, *command: str, text: str = "") -> str:
    entered = ["ip", "netns", "exec", namespace.name, *command]
    done = subprocess.run(entered, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def restore(namespace: Namespace, kind: str, family: Family, text: str) -> None:
    addresses = ("10.96.0.10", "10.244.1.5") if family is Family.IPV4 else ("fd00:96::a", "fd00:244:1::5")
    for word, address in zip(("SERVICE", "ENDPOINT"), addresses, strict=True):
        text = text.replace(f" {word} ", f" {address} ")
    run_in(namespace, f"{PROGRAMS[family]}-{kind}-restore", "--noflush", text=text)


def everything(namespace: Namespace) -> str:
    """Return all rules of all kinds, without the dates that the programs print."""
    printed = [
        run_in(namespace, f"{program}-{kind}-save") for program in PROGRAMS.values() for kind in ("nft", "legacy")
    ]
    lines = [line for text in printed for line in text.splitlines() if not line.startswith("#")]
    return "\n".join([*lines, run_in(namespace, "nft", "list", "ruleset")])


def removed(namespace: Namespace) -> list[str]:
    told: list[str] = []
    remove_leftovers(told.append, namespace.path)
    return told


def place(kind: str, family: Family) -> tuple[str, str]:
    return NFT[family], f" ({PROGRAMS[family]}-legacy)" if kind == "legacy" else ""


# Modes ---------------------------------------------------------------------------------------------------------------


def test_nothing_is_found_and_done_where_nothing_is(node: Namespace) -> None:
    assert find_leftovers(node.path) == Leftovers()
    assert removed(node) == []
    in_use = run_in(node, "sh", "-c", "cat /proc/net/ip_tables_names /proc/net/ip6_tables_names 2> /dev/null || true")
    assert in_use == "", "looking brings no table into being"


@every_kind
def test_chains_of_iptables_mode_go_and_all_others_stay(node: Namespace, kind: str, family: Family) -> None:
    for each in PROGRAMS:
        restore(node, "nft", each, OTHERS)
        restore(node, "legacy", each, OTHERS)
    assert find_leftovers(node.path) == Leftovers()
    before = everything(node)
    restore(node, kind, family, KUBE_PROXY)
    assert everything(node) != before
    found = find_leftovers(node.path)
    assert sorted(found.words) == sorted(f"iptables mode: {one.format(*place(kind, family))}" for one in WORDS)
    assert sorted(removed(node)) == sorted(
        f"removed {one.replace(' in ', ' from ').format(*place(kind, family))}" for one in WORDS
    )
    assert everything(node) == before
    assert find_leftovers(node.path) == Leftovers()


def test_tables_of_nftables_mode_go_and_all_others_stay(node: Namespace) -> None:
    run_in(node, "nft", "-f", "-", text=NFTABLES_MODE)
    run_in(node, "nft", "delete table ip kube-proxy; delete table ip6 kube-proxy")
    before = everything(node)
    run_in(node, "nft", "flush ruleset")
    run_in(node, "nft", "-f", "-", text=NFTABLES_MODE)
    assert find_leftovers(node.path).words == (
        "nftables mode: table ip kube-proxy",
        "nftables mode: table ip6 kube-proxy",
    )
    assert removed(node) == ["removed table ip kube-proxy", "removed table ip6 kube-proxy"]
    assert everything(node) == before


def test_all_modes_at_once(node: Namespace) -> None:
    for family in PROGRAMS:
        for kind in ("nft", "legacy"):
            restore(node, kind, family, OTHERS)
    before = everything(node)
    for family in PROGRAMS:
        for kind in ("nft", "legacy"):
            restore(node, kind, family, KUBE_PROXY)
        run_in(node, "nft", "add", "table", NFT[family], "kube-proxy")
    node.configure("link add kube-ipvs0 type bridge")
    assert len(find_leftovers(node.path).words) == 2 + 4 * 3 + 1
    assert len(removed(node)) == 2 + 4 * 3 + 1
    assert everything(node) == before
    assert not find_leftovers(node.path)
    assert removed(node) == []


@every_kind
def test_chains_of_the_kubelet_alone_are_no_sign_of_kube_proxy(node: Namespace, kind: str, family: Family) -> None:
    restore(node, kind, family, OLD_KUBELET)
    before = everything(node)
    assert not find_leftovers(node.path)
    assert removed(node) == []
    assert everything(node) == before


def test_very_many_chains_go_at_once(node: Namespace) -> None:
    chains = [f"KUBE-SEP-{number:016}" for number in range(5_000)]
    rules = "".join(f"-A KUBE-SERVICES -j {one}\n" for one in chains)
    names = "".join(f":{one} - [0:0]\n" for one in ("KUBE-SERVICES", *chains))
    for kind in ("nft", "legacy"):
        restore(node, kind, Family.IPV4, f"*nat\n{names}{rules}-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n")
    assert removed(node) == [
        "removed 5001 chains KUBE-* from ip nat",
        "removed 5001 chains KUBE-* from ip nat (iptables-legacy)",
    ]
    assert "KUBE" not in everything(node)


# Chains that others lead to ------------------------------------------------------------------------------------------

PORTMAP = """\
*nat
:CNI-HOSTPORT-SETMARK - [0:0]
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j KUBE-MARK-MASQ
COMMIT
"""


@every_kind
def test_mark_that_a_network_plugin_uses_goes_on_working(node: Namespace, kind: str, family: Family) -> None:
    restore(node, kind, family, OTHERS)
    restore(node, kind, family, OLD_KUBELET.replace(":KUBE-MARK-DROP - [0:0]\n", "").replace("-A KUBE-MARK-DROP", "#"))
    restore(node, kind, family, PORTMAP)
    before = everything(node)
    services = (
        "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n-A KUBE-SERVICES -j KUBE-MARK-MASQ\nCOMMIT\n"
    )
    restore(node, kind, family, services)
    where = "{} nat{}".format(*place(kind, family))
    assert removed(node) == [
        f"removed 1 chain KUBE-* from {where}",
        f"left KUBE-MARK-MASQ in {where}: the chain CNI-HOSTPORT-SETMARK leads to it",
    ]
    assert everything(node) == before
    assert not find_leftovers(node.path)


@every_kind
def test_chain_that_somebody_leads_to_is_emptied_and_named(node: Namespace, kind: str, family: Family) -> None:
    restore(node, kind, family, KUBE_PROXY)
    restore(node, kind, family, "*nat\n:MINE - [0:0]\n-A MINE -j KUBE-SERVICES\nCOMMIT\n")
    run_in(node, "nft", "add", "table", NFT[family], "kube-proxy")
    told: list[str] = []
    with pytest.raises(KernelError, match=r"KUBE-SERVICES in .* nat.*: emptied, but the chain MINE leads to it"):
        remove_leftovers(told.append, node.path)
    where = place(kind, family)
    assert told == [
        f"removed table {NFT[family]} kube-proxy",
        "removed 4 chains KUBE-* from {} filter{}".format(*where),
        "removed 1 chain KUBE-* from {} mangle{}".format(*where),
        "removed 6 chains KUBE-* from {} nat{}".format(*where),
    ]
    assert [line for line in everything(node).splitlines() if line.startswith("-A")] == ["-A MINE -j KUBE-SERVICES"]


def test_rule_of_another_kind_keeps_a_chain_and_the_other_steps_are_taken(node: Namespace) -> None:
    """nft rules can lead to chains of iptables in ways that only nft knows; then the kernel refuses."""
    restore(node, "nft", Family.IPV4, KUBE_PROXY)
    restore(node, "legacy", Family.IPV4, KUBE_PROXY)
    run_in(
        node,
        "nft",
        "-f",
        "-",
        text="add chain ip nat mine\nadd rule ip nat mine tcp dport vmap { 80 : jump KUBE-SERVICES }",
    )
    told: list[str] = []
    with pytest.raises(
        KernelError, match=r"left what could not be removed:\n  chains in ip tables: Device or resource busy"
    ):
        remove_leftovers(told.append, node.path)
    assert len(told) == 3
    assert all("iptables-legacy" in one for one in told)
    assert {one.legacy for one in find_leftovers(node.path).chains} == {False}


# ipvs ----------------------------------------------------------------------------------------------------------------


def create_set(of: str) -> None:
    data = (
        netfilter_header(Family.IPV4)
        + attribute(1, bytes((6,)))
        + attribute(2, name(of))
        + attribute(3, name("hash:ip"))
        + attribute(4, bytes((0,)))
        + attribute(5, bytes((2,)))
        + nested(7)
    )
    with Socket(NETFILTER) as asked:
        asked.request(Request(6 << 8 | 2, data, ACK | CREATE | EXCL))


def test_sets_of_ipvs_mode_go_after_the_rules_that_use_them(node: Namespace) -> None:
    for one in ("KUBE-CLUSTER-IP", "KUBE-6-NODE-PORT-LOCAL-TCP", "KUBE-ROUTER-PODS", "mine"):
        node.call(lambda one=one: create_set(one))
    rules = "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\n"
    match = "-A KUBE-SERVICES -m set --match-set KUBE-CLUSTER-IP dst -j ACCEPT\nCOMMIT\n"
    restore(node, "legacy", Family.IPV4, rules + match)
    node.configure("link add kube-ipvs0 type bridge", "link add kube-ipvs1 type bridge")
    assert set(find_leftovers(node.path).words) == {
        "ipvs mode: 1 chain KUBE-* in ip nat (iptables-legacy)",
        "ipvs mode: interface kube-ipvs0",
        "ipvs mode: 2 ipsets KUBE-*",
    }
    assert removed(node) == [
        "removed 1 chain KUBE-* from ip nat (iptables-legacy)",
        "removed interface kube-ipvs0",
        "removed 2 ipsets KUBE-*",
    ]
    assert not find_leftovers(node.path)
    assert node.call(ipvs.interface) is None
    node.configure("link show kube-ipvs1")
    with pytest.raises(OSError, match="File exists"):
        node.call(lambda: create_set("KUBE-ROUTER-PODS"))
    node.call(lambda: create_set("KUBE-CLUSTER-IP"))
    assert node.call(address_sets) == ("KUBE-CLUSTER-IP",)


SERVERS = tuple(
    VirtualServer(protocol, Address(address), port)
    for protocol, address, port in (
        ("TCP", "10.96.0.1", 443),
        ("UDP", "fd00:96::a", 53),
        ("TCP", "192.0.2.11", 30080),
        ("TCP", "192.0.2.11", 6443),
        ("TCP", "198.51.100.1", 30080),
    )
)


def test_virtual_servers_are_told_by_the_interface(node: Namespace) -> None:
    """keepalived's for an API server, and those for other machines, are not kube-proxy's."""
    node.configure(
        "link add kube-ipvs0 type bridge",
        "address add 10.96.0.1/32 dev kube-ipvs0",
        "address add fd00:96::a/128 dev kube-ipvs0 nodad",
        "address add 192.0.2.11/24 dev lo",
    )
    number = node.call(ipvs.interface)
    assert number is not None
    assert node.call(lambda: kube_proxys(SERVERS, number)) == SERVERS[:3]


def test_virtual_servers_are_removed_by_ipvsadm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This kernel may have no ipvs, so a stand-in for the program notes what it is asked for."""
    program = tmp_path / "ipvsadm"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    remove_servers(SERVERS[:2])
    assert (tmp_path / "asked").read_text().splitlines() == [
        "--delete-service --tcp-service 10.96.0.1:443",
        "--delete-service --udp-service [fd00:96::a]:53",
    ]
    program.write_text("#!/bin/sh\necho 'no ipvs here' >&2\nexit 1\n")
    with pytest.raises(KernelError, match="ipvsadm: no ipvs here"):
        remove_servers(SERVERS[:2])


# What is missing -----------------------------------------------------------------------------------------------------

WITHOUT_PROGRAMS = """
import sys
from pathlib import Path
from nftsvc.errors import KernelError
from nftsvc.kernel.kubeproxy import find_leftovers, remove_leftovers

namespace = Path(sys.argv[1])
print(*find_leftovers(namespace).words, sep="\\n")
try:
    remove_leftovers(print, namespace)
except KernelError as error:
    print(error)
"""


def removed_with(programs: Path, node: Namespace) -> list[str]:
    """Find and remove leftovers where only some folder has programs of iptables."""
    rules = "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n"
    for kind in ("nft", "legacy"):
        restore(node, kind, Family.IPV4, rules)
    script = f'mount -t tmpfs none /usr/sbin && PATH="$PATH:{programs}" exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-c", WITHOUT_PROGRAMS, str(node.path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found, told = done.stdout.splitlines()[:2], done.stdout.splitlines()[2:]
    assert found == [
        "iptables mode: 1 chain KUBE-* in ip nat",
        "iptables mode: 1 chain KUBE-* in ip nat (iptables-legacy)",
    ]
    return told


def stand_in(folder: Path, multi: str) -> None:
    """Have programs of one kind only, by their plain names."""
    for action in ("save", "restore"):
        copy(f"/usr/sbin/{multi}", folder / f"iptables-{action}")


@pytest.mark.parametrize("multi", ["", "xtables-nft-multi"])
def test_without_iptables_of_the_old_kind_its_chains_are_found_and_it_is_asked_for(
    node: Namespace, tmp_path: Path, multi: str
) -> None:
    if multi:
        stand_in(tmp_path, multi)
    remedy = "Debian and Ubuntu: apt-get install iptables; Fedora: iptables-legacy"
    assert removed_with(tmp_path, node) == [
        "removed 1 chain KUBE-* from ip nat",
        "kube-proxy has left what could not be removed:",
        f"  chains of iptables-legacy: iptables-legacy-save is not installed ({remedy})",
    ]


def test_iptables_of_the_old_kind_may_go_by_its_plain_name(node: Namespace, tmp_path: Path) -> None:
    stand_in(tmp_path, "xtables-legacy-multi")
    assert removed_with(tmp_path, node) == [
        "removed 1 chain KUBE-* from ip nat",
        "removed 1 chain KUBE-* from ip nat (iptables-legacy)",
    ]


def test_without_privileges_it_says_that_it_may_not() -> None:
    program = (
        "import os\n"
        "from nftsvc.errors import KernelError\n"
        "from nftsvc.kernel.kubeproxy import find_leftovers\n"
        "os.setgroups([])\nos.setgid(65534)\nos.setuid(65534)\n"
        "try:\n    find_leftovers()\nexcept KernelError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "cannot look for what kube-proxy has left: Operation not permitted\n"
