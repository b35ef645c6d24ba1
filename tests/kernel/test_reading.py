"""What nft lists of a kernel, in every way it can, reads as the ruleset that was loaded."""

import subprocess

import pytest

from nftsvc.changes import compare
from nftsvc.kernel import Kernel
from nftsvc.lab import Namespace
from nftsvc.plan import Plan
from nftsvc.reading import read_ruleset
from nftsvc.render import Renderer
from nftsvc.ruleset import AFFINITY_MAPS, NFT_FAMILY, TABLE, Ruleset
from nftsvc.sync import synchronise
from nftsvc.values import FAMILIES, Family
from tests.support.builders import Raw, endpoint_slice, plan_of, service
from tests.support.cases import Case, all_cases

CASES = [case for case in all_cases() if not case.refused]
# Of each hundred of cases a few; those of policies, affinity and source ranges have the most in them.
SAMPLE = [case for at, case in enumerate(CASES) if at % 8 == 0 or case.name[0] in "58" or case.name[:2] in {"41", "42"}]
OPTIONS = ("-a", "-s", "-n", "-y", "-S", "-p", "-T", "-u", "-nn", "-as", "-anS")


def nft(namespace: Namespace, *arguments: str, text: str = "") -> str:
    command = ["ip", "netns", "exec", namespace.name, "nft", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_same_from_json(text: str, wanted: Ruleset) -> None:
    """Compare all that JSON tells: not how types are declared."""
    read = read_ruleset(text, "live.json")
    assert not compare(read, wanted)
    assert not compare(wanted, read)
    assert read.tables.keys() == wanted.tables.keys()
    for family, table in read.tables.items():
        other = wanted.tables[family]
        assert (table.elements, table.chains, table.flags) == (other.elements, other.chains, other.flags)
        assert [(one.name, one.keyword, one.counter, one.interval, one.dynamic) for one in table.sets] == [
            (one.name, one.keyword, one.counter, one.interval, one.dynamic) for one in other.sets
        ]


@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_whatever_way_it_is_listed_it_reads_as_it_was_loaded(
    case: Case, kernel: Kernel, empty_namespace: Namespace
) -> None:
    made = case.ruleset()
    nft(empty_namespace, "flush", "ruleset")
    nft(empty_namespace, "-f", "-", text=Renderer().ruleset(made))
    plain = nft(empty_namespace, "list", "ruleset")
    assert read_ruleset(plain, "live.nft") == made
    for option in OPTIONS:
        assert read_ruleset(nft(empty_namespace, option, "list", "ruleset"), option) == made, option
    for family in made.tables:
        alone = read_ruleset(nft(empty_namespace, "list", "table", NFT_FAMILY[family], TABLE), "live.nft")
        assert alone.tables == {family: made.tables[family]}
    for options in ("-j", "-ja", "-js", "-jn", "-jS"):
        assert_same_from_json(nft(empty_namespace, options, "list", "ruleset"), made)
    assert not compare(kernel.read(), read_ruleset(plain, "live.nft"))


def test_terse_listing_reads_as_a_table_without_elements(kernel: Kernel, empty_namespace: Namespace) -> None:
    synchronise(kernel, plan(), Renderer())
    full, terse = (
        read_ruleset(nft(empty_namespace, *options, "list", "ruleset"), "x").tables for options in ((), ("-t",))
    )
    for family, table in full.items():
        assert terse[family].sets == table.sets
        assert terse[family].chains == table.chains
        assert not any(terse[family].elements.values())
        assert any(table.elements.values())


def plan(**changes: object) -> Plan:
    """Return a plan with a Service of both families that clients stay with."""
    ports: list[Raw] = [{"name": "http", "port": 80, "nodePort": 30080}]
    stays: Raw = {"type": "NodePort", "sessionAffinity": "ClientIP", **changes}
    slices = [endpoint_slice("web", [one], [{"name": "http", "port": 8080}]) for one in ("10.244.1.1", "fd00:244:1::1")]
    return plan_of(service("web", ["10.96.0.1", "fd00:96::1"], ports, **stays), *slices)


RECORDS = """
add element ip nftsvc affinity {
    10.244.9.9 . 10.96.0.1 . tcp . 80 timeout 3h : 10.244.1.1 . 8080,
    10.244.9.8 . 192.0.2.11 . udp . 30080 timeout 1h : 10.244.1.1 . 8080
}
add element ip6 nftsvc tcp-affinity { 4294967294 . 7 . 2147483648 . 80 timeout 3h : fd00:244:1::1 }
add element ip6 nftsvc tcp-affinity-ports { 4294967294 . 7 . 2147483648 . 80 timeout 3h : 8080 }
"""


def test_what_packets_have_recorded_is_read(kernel: Kernel, empty_namespace: Namespace) -> None:
    synchronise(kernel, plan(), Renderer())
    nft(empty_namespace, "-f", "-", text=RECORDS)
    found = kernel.read()
    for options in ((), ("-a",), ("-s",), ("-n",), ("-S",), ("-T",), ("-j",)):
        read = read_ruleset(nft(empty_namespace, *options, "list", "ruleset"), "live")
        for family in FAMILIES:
            assert read.tables[family].elements == found.tables[family].elements
            names = AFFINITY_MAPS & read.tables[family].elements.keys()
            assert sum(len(read.tables[family].elements[name]) for name in names) == 2
            assert all(one.dynamic == (one.name in AFFINITY_MAPS) for one in read.tables[family].sets)


# What others put there ------------------------------------------------------------------------------------------------

OTHERS = {
    "nothing of ours": "add table inet filter { chain c { type filter hook input priority 0; policy accept; }; }",
    "set of marks": "add set ip nftsvc odd { type mark; elements = { 1, 2 }; }",
    "map of names": 'add map ip nftsvc odd { type ifname : mark; elements = { "eth0" : 7 }; }',
    "map of objects": "add counter ip nftsvc c; add map ip nftsvc odd { type ipv4_addr : counter; };"
    ' add element ip nftsvc odd { 1.2.3.4 : "c" }',
    "map of intervals": "add map ip nftsvc m { type ipv4_addr : mark; flags interval; elements = { 10.0.0.0/8 : 1 }; }",
    "set with much": "add set ip nftsvc odd { type ipv4_addr; counter; timeout 1h; flags interval; auto-merge; };"
    ' add element ip nftsvc odd { 10.0.0.1-10.0.0.9 counter timeout 2h comment "y" }',
    "limits": "add set ip nftsvc odd { type ipv4_addr; limit rate 1/second; };"
    " add element ip nftsvc odd { 10.0.0.1 limit rate 1/second }",
    "connections": "add set ip nftsvc odd { type ipv4_addr; flags dynamic; ct count over 3; }",
    "range of addresses": "add element ip nftsvc service-cidrs { 10.0.0.3-10.0.0.9 }",
    "range of ports": "add element ip nftsvc allowed-sources { 10.0.0.1 . tcp . 80-90 . 10.0.0.0/8 }",
    "element for all": "add element ip nftsvc hairpin { * }",
    "verdict": 'add element ip nftsvc service-ips { 10.0.0.1 . icmp . 80 comment "shop/x:y" : accept }',
    "slot": "add element ip nftsvc tcp-endpoints { 10.0.0.1 . 80 . 4294967295 : 10.0.0.1 . 0 }",
    "comment": 'add element ip nftsvc hairpin { 10.0.0.1 . 10.0.0.1 comment "x, y : { }" }',
    "dormant": "add table ip nftsvc { flags dormant; }",
    "base chain": "add chain ip nftsvc odd { type filter hook input priority mangle + 7; policy drop; }",
    "rule": 'add rule ip nftsvc services counter log prefix "a { b" accept comment "mine"',
    "rule with a map": "add rule ip nftsvc services tcp dport vmap { 80 : drop, 81 : jump reject-connection }",
    "rule with rules": "add rule ip nftsvc services tcp dport 22 jump { ip saddr 10.0.0.1 accept; drop; }",
    "rule that counts": "add quota ip nftsvc q { over 25 mbytes; }\nadd rule ip nftsvc services quota name q drop",
    "flushed": "flush map ip nftsvc service-ips",
    "emptied": "flush table ip nftsvc",
    "replaced": "delete table ip nftsvc\nadd table ip nftsvc\nadd map ip nftsvc service-ips { type mark : verdict; }",
}


@pytest.mark.parametrize(("name", "command"), OTHERS.items(), ids=OTHERS)
def test_whatever_others_put_there_is_read_as_what_it_is(
    name: str, command: str, kernel: Kernel, empty_namespace: Namespace
) -> None:
    nft(empty_namespace, "flush", "ruleset")
    wanted = synchronise(kernel, plan(), Renderer()).wanted
    nft(empty_namespace, "-f", "-", text=f"{command}\n")
    text = read_ruleset(nft(empty_namespace, "list", "ruleset"), "live.nft")
    assert bool(compare(text, wanted)) == bool(compare(kernel.read(), wanted)) == (name != "nothing of ours")
    assert text.tables[Family.IPV6] == wanted.tables[Family.IPV6]
    if name != "dormant":  # nft 1.0.6 has anything for flags of tables in its JSON, or crashes
        listed = read_ruleset(nft(empty_namespace, "-j", "list", "ruleset"), "live.json")
        table, other = (one.tables[Family.IPV4] for one in (text, listed))
        assert (table.elements, table.flags) == (other.elements, other.flags)
        assert table.chains == other.chains
