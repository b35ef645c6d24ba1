"""nft text, as values again: our own, and what the nfts of many years print."""

import re
from collections.abc import Callable
from functools import cache

import pytest

from nftsvc.changes import compare
from nftsvc.errors import InputError
from nftsvc.reading import read_ruleset
from nftsvc.render import Renderer
from nftsvc.ruleset import EMPTY, Chain, Entry, Hook, Key, NamedSet, Rule, Ruleset, Table, make_ruleset
from nftsvc.values import FAMILIES, Family
from tests.support.builders import NODE_ADDRESSES, endpoint_slice, plan_of, service
from tests.support.cases import Case, all_cases

V4 = Family.IPV4
GOOD = [case for case in all_cases() if not case.refused]


def table_of(text: str) -> Table:
    """Return our only table in a text."""
    (table,) = read_ruleset(text, "ruleset.nft").tables.values()
    return table


def with_sets(*statements: str, family: str = "ip") -> Table:
    return table_of("\n".join([f"table {family} nftsvc {{", *statements, "}"]))


def elements(*listed: str, declared: str = "type ipv4_addr . inet_proto . inet_service : verdict") -> dict[Key, Entry]:
    """Return the elements of a map, each given in a line."""
    table = with_sets("map m {", declared, "elements = {", *listed, "}", "}")
    return dict(table.elements["m"])


def rules(*listed: str) -> tuple[Rule, ...]:
    (chain,) = with_sets("chain c {", *listed, "}").chains
    return chain.rules


def problem_of(text: str) -> str:
    with pytest.raises(InputError) as caught:
        read_ruleset(text, "ruleset.nft")
    (problem,) = caught.value.problems
    assert problem.origin is not None
    assert problem.origin.file == "ruleset.nft"
    return str(problem)


@cache
def busy() -> Ruleset:
    """A ruleset with something in most maps and sets."""
    addresses = ["10.96.0.1", "fd00:96::1"]
    ports = [{"name": "http", "port": 80, "nodePort": 30080}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    targets = [{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}]
    ranges = ["198.51.100.0/24", "2001:db8:100::/48"]
    stays = {"type": "LoadBalancer", "sessionAffinity": "ClientIP", "loadBalancerSourceRanges": ranges}
    web = service("web", addresses, ports, **stays)
    web["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"ip": "2001:db8:203::1"}]}}
    slices = [
        endpoint_slice("web", [f"{prefix}{number}" for number in (1, 2, 3)], targets)
        for prefix in ("10.244.1.", "fd00:244:1::")
    ]
    alone = service(
        "alone",
        ["10.96.0.2", "fd00:96::2"],
        [{"name": "a", "port": 53}, {"name": "b", "port": 132, "protocol": "SCTP"}],
    )
    return make_ruleset(plan_of(web, *slices, alone, node_port_addresses=NODE_ADDRESSES))


@cache
def printed() -> str:
    return Renderer().ruleset(busy())


def test_the_busy_ruleset_has_something_of_everything() -> None:
    for table in busy().tables.values():
        full = {name for name, found in table.elements.items() if found}
        assert full >= {"service-ips", "tcp-endpoints", "udp-endpoints", "no-endpoints", "nodeports", "allowed-sources"}
        assert full >= {"affinity-endpoints", "masquerade-ips", "cluster-ips", "hairpin", "nodeport-ips"}


# Our own --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_every_golden_ruleset_reads_as_what_its_manifests_make(case: Case) -> None:
    made = case.ruleset()
    read = read_ruleset((case.folder / "ruleset.nft").read_text(), "ruleset.nft")
    assert read == made
    assert not compare(read, made)
    assert not compare(made, read)


def test_rules_keep_their_text() -> None:
    for family, table in read_ruleset(printed(), "x").tables.items():
        texts = [[rule.text for rule in chain.rules] for chain in table.chains]
        assert texts == [[rule.text for rule in chain.rules] for chain in busy().tables[family].chains]


def test_what_is_read_can_be_written_and_read_again() -> None:
    read = read_ruleset(printed(), "x")
    assert read_ruleset(Renderer().ruleset(read), "x") == read == busy()


# Other spellings ------------------------------------------------------------------------------------------------------


def names_of_priorities(text: str) -> str:
    """As nft 1.0.9 and later say them in every hook."""
    named = {"-110": "dstnat - 10", "-100": "dstnat", "0": "filter", "100": "srcnat"}
    return re.sub(r"priority (-?\d+);", lambda match: f"priority {named[match[1]]};", text)


def handles(text: str) -> str:
    """nft -a: behind each rule, and behind the brace of everything else."""
    text = re.sub(r"^(\s*(?:table|set|map|chain) [^\n]*\{)$", r"\1 # handle 12", text, flags=re.MULTILINE)
    return re.sub(r'( comment "[^"]*")$', r"\1 # handle 7", text, flags=re.MULTILINE)


def several_in_a_line(text: str) -> str:
    """As nft lists sets of addresses, and with the block's braces in the first and the last line."""
    return re.sub(r"elements = \{\s*([^}]*?)\s*\}", lambda m: f"elements = {{ {' '.join(m[1].split())} }}", text)


def aligned(text: str) -> str:
    return re.sub(r"elements = \{\s*([^}]*?)\s*\}", lambda m: f"elements = {{ {AT_COMMA.sub(WRAP, m[1])} }}", text)


COUNTER = "counter packets 3 bytes 180"
AT_COMMA, WRAP = re.compile(r",\s*"), ",\n\t\t\t     "


def everything_in_a_line(text: str) -> str:
    text = re.sub(r"#[^\n]*", "", several_in_a_line(text))
    return re.sub(r"\s*\n\s*", "; ", text).replace("{;", "{")


def wrapped(text: str) -> str:
    """With line continuations inside rules, as people write them, and blanks and tabs at random."""
    text = re.sub(r"^(\s*)ct (state|status) (\w+) ", r"\1ct \2 \\\n\t\3   ", text, flags=re.MULTILINE)
    return text.replace(" vmap ", " \t vmap  ")


RESPELLED: dict[str, Callable[[str], str]] = {
    "names of priorities": names_of_priorities,
    "handles (-a)": handles,
    "counters before comments": lambda text: re.sub(r"( comment [^ ]*)?( : goto tcp-)", rf" {COUNTER}\1\2", text),
    "counters behind comments": lambda text: re.sub(r"( comment [^ ]*)( : )", rf"\1 {COUNTER}\2", text),
    "stateless (-s)": lambda text: re.sub(r'( comment "[^"]*" : )', r" counter\1", text),
    "comments behind everything": lambda text: re.sub(r'( comment "[^"]*")( : [^,\n]*)', r"\2\1", text),
    "last used": lambda text: text.replace(" : goto", " last used 1h2m3s4ms : goto"),
    "numbers of protocols (-p)": lambda text: text.replace(" . tcp . ", " . 6 . ").replace(" . udp . ", " . 17 . "),
    "names of ports (-S)": lambda text: re.sub(r" \. 53\b", ' . "domain"', re.sub(r" \. 80\b", ' . "http"', text)),
    "hexadecimal slots": lambda text: re.sub(r" \. ([012]) :", r" . 0x0000000\1 :", text),
    "several in a line": several_in_a_line,
    "one in a line, aligned": aligned,
    "everything in one line": everything_in_a_line,
    "a comma behind the last": lambda text: re.sub(r"\n(\t\t\}\n)", r",\n\1", text).replace("{,", "{"),
    "wrapped lines": wrapped,
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "a byte order mark": lambda text: "\ufeff" + text,
    "without its own comments": lambda text: re.sub(r"#[^\n]*", "", text),
    "comments everywhere": lambda text: re.sub(r"\n", ' # it\'s a "comment" } of {\n', text),
    "the flags' commas (nft list)": lambda text: text.replace("flags dynamic, timeout", "flags dynamic,timeout"),
    "how many there are (nft 1.1.4)": lambda text: text.replace("size 1048576", "size 1048576\t# count 3"),
    "policies on a line of their own": lambda text: text.replace("; policy accept;", "\n\t\tpolicy accept"),
    "comments of chains and sets": lambda text: re.sub(r"(\t(?:set|map|chain) [^\n]*\{)", r'\1 comment "x; {";', text),
    "quoted names": lambda text: re.sub(r"\t(set|map|chain) ([\w-]+) \{", r'\t\1 "\2" {', text),
    "what nft leaves out of a dnat": lambda text: re.sub(r"meta l4proto \w+ dnat", "dnat", text),
    "reject with its kind": lambda text: text.replace("\treject ", "\treject with icmp port-unreachable "),
    "numbers in rules (-n)": lambda text: text.replace("status dnat", "status 0x20").replace("type local", "type 2"),
    "times in rules": lambda text: text.replace("timeout 10800s", "timeout 3h"),
    "no commands": lambda text: re.sub(r"^(delete )?table ip6? nftsvc$", "", text, flags=re.MULTILINE),
    "other commands": lambda text: f"#!/usr/sbin/nft -f\nflush ruleset; add table nftsvc; flush table nftsvc\n{text}",
    "destroy (nft 1.0.8)": lambda text: text.replace("delete table", "destroy table"),
    "create": lambda text: re.sub(r"^table (ip6?) nftsvc \{", r"create table \1 nftsvc {", text, flags=re.MULTILINE),
    "capitals in addresses": lambda text: text.replace("fd00:", "FD00:"),
    "addresses at full length": lambda text: text.replace("fd00:96::1 .", "fd00:0096:0:0:0:0:0:0001 ."),
    "more about sets": lambda text: text.replace("flags interval", "flags interval; auto-merge; gc-interval 10s"),
    "who made the table (nft 1.0.9)": lambda text: text.replace("nftsvc {\n", "nftsvc { # progname nft\n"),
}  # fmt: skip


@pytest.mark.parametrize("respell", RESPELLED.values(), ids=RESPELLED)
def test_another_spelling_makes_no_difference(respell: Callable[[str], str]) -> None:
    text = respell(printed())
    assert text != printed()
    read = read_ruleset(text, "x")
    assert read == busy()
    assert not compare(read, busy())


def test_all_of_nft_s_spellings_at_once_make_no_difference() -> None:
    text = printed()
    own = ("everything in one line", "comments everywhere", "wrapped lines", "comments behind everything")
    for name, respell in RESPELLED.items():
        if name not in own:
            text = respell(text)
    assert read_ruleset(text, "x") == busy()


# What nft 1.1.3 lists for one Service, with what 1.1.4 adds and with what a packet has recorded.
LISTED = """
table ip nftsvc {
    map service-ips { # handle 24
        type ipv4_addr . inet_proto . inet_service : verdict
        counter
        elements = { 10.96.4.13 . tcp . 80 counter packets 12 bytes 720 comment "default/web" : goto tcp-lb-2-affinity,
                 10.96.4.14 . udp . 53 counter packets 0 bytes 0 comment "default/dns:dns" : goto udp-lb-1 }
    }

    map tcp-endpoints {
        typeof ip daddr . tcp dport . numgen random mod 65536 : ip daddr . tcp dport
        elements = { 10.96.4.13 . 80 . 0 : 10.244.1.31 . 8080,
                 10.96.4.13 . 80 . 1 : 10.244.2.32 . 8080 }
    }

    set service-cidrs {
        type ipv4_addr
        flags interval
        elements = { 10.96.0.0/16, 192.0.2.1,
                 198.51.100.0-198.51.100.6 }
    }

    map affinity {
        type ipv4_addr . ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
        size 1048576    # count 2
        flags dynamic,timeout
        elements = { 10.244.9.9 . 10.96.4.13 . tcp . 80 timeout 3h expires 2h59m58s4ms : 10.244.1.31 . 8080,
                 10.244.9.8 . 10.96.4.13 . tcp . 80 timeout never : 10.244.2.32 . 8080 }
    }

    chain tcp-lb-2-affinity {
        dnat ip to ip saddr . ip daddr . meta l4proto . tcp dport map @affinity comment "the endpoint that it had"
        goto tcp-lb-2 comment "else any"
    }

    chain guard-output {
        type filter hook output priority dstnat - 10; policy accept;
    }
}
"""


def test_listing_of_a_newer_nft_is_read() -> None:
    frontend = "ipv4_addr . inet_proto . inet_service"
    assert table_of(LISTED) == Table(
        V4,
        (
            NamedSet("service-ips", frontend, "verdict", counter=True),
            NamedSet("tcp-endpoints", "ip daddr . tcp dport . numgen random mod 65536", "ip daddr . tcp dport"),
            NamedSet("service-cidrs", "ipv4_addr", interval=True),
            NamedSet("affinity", f"ipv4_addr . {frontend}", "ipv4_addr . inet_service", dynamic=True),
        ),
        (
            Chain(
                "tcp-lb-2-affinity",
                (
                    Rule("", "the endpoint that it had", ("@affinity", "dnat")),
                    Rule("", "else any", ("goto", "tcp-lb-2")),
                ),
            ),
            Chain("guard-output", (), Hook("filter", "output", -110)),
        ),
        {
            "service-ips": {
                ("10.96.4.13", "tcp", 80): Entry(("goto tcp-lb-2-affinity",), "default/web"),
                ("10.96.4.14", "udp", 53): Entry(("goto udp-lb-1",), "default/dns:dns"),
            },
            "tcp-endpoints": {
                ("10.96.4.13", 80, 0): Entry(("10.244.1.31", 8080)),
                ("10.96.4.13", 80, 1): Entry(("10.244.2.32", 8080)),
            },
            "service-cidrs": {
                (one,): Entry() for one in ("10.96.0.0/16", "192.0.2.1", "198.51.100.0-198.51.100.6")
            },
            "affinity": {
                ("10.244.9.9", "10.96.4.13", "tcp", 80): Entry(("10.244.1.31", 8080)),
                ("10.244.9.8", "10.96.4.13", "tcp", 80): Entry(("10.244.2.32", 8080)),
            },
        },
    )  # fmt: skip


# Elements -------------------------------------------------------------------------------------------------------------

KEY: Key = ("10.0.0.1", "tcp", 80)


@pytest.mark.parametrize(
    "options",
    [
        "",
        "counter",
        "counter packets 3 bytes 180",
        "timeout 10s",
        "timeout 1d2h3m4s5ms expires 1d1h59m59s999ms",
        "timeout never",
        "timeout 0s",
        "counter packets 10 bytes 20 timeout 10s",  # nft up to 0.9.8, and from 1.1.0 on
        "timeout 10s expires 9s counter packets 10 bytes 20",
        "last used never",
        "last used 3s400ms",
        "last",
        "limit rate over 1 mbytes/second",
        "limit rate 400/minute burst 5 packets",
        "quota over 25 mbytes used 3 kbytes",
        "quota 500 bytes",
        "ct count over 20",
        "counter packets 1 bytes 2 limit rate 1/second burst 5 packets quota 5 bytes timeout 1h",
    ],
)
def test_what_else_an_element_has_is_passed_over(options: str) -> None:
    wanted = {KEY: Entry(("drop",), "shop/web:a")}
    assert elements(f'10.0.0.1 . tcp . 80 {options} comment "shop/web:a" : drop') == wanted
    assert elements(f'10.0.0.1 . tcp . 80 comment "shop/web:a" {options} : drop') == wanted
    assert elements(f'10.0.0.1 . tcp . 80 : drop comment "shop/web:a" {options}') == wanted
    assert elements(f"10.0.0.1 . tcp . 80 {options} : drop") == {KEY: Entry(("drop",))}


def test_comment_may_have_anything_in_it_but_quotes() -> None:
    comment = "a : b, c } # d { ; \\ 'e' \N{SNOWMAN}"
    assert elements(f'10.0.0.1 . tcp . 80 comment "{comment}" : drop,') == {KEY: Entry(("drop",), comment)}
    assert rules(f'counter comment "{comment}" # handle 4') == (Rule("counter", comment, ()),)


@pytest.mark.parametrize(
    "verdict", ["goto tcp-lb-2", "jump services", "drop", "accept", "return", "continue", "goto a_b.c/d"]
)
def test_verdicts_are_told_apart(verdict: str) -> None:
    assert elements(f"10.0.0.1 . tcp . 80 : {verdict}") == {KEY: Entry((verdict,))}


@pytest.mark.parametrize(
    ("declared", "written", "value"),
    [
        ("ipv4_addr", "10.0.0.1", "10.0.0.1"),
        ("ipv4_addr", "10.0.0.0/8", "10.0.0.0/8"),
        ("ipv4_addr", "10.1.2.3/8", "10.0.0.0/8"),
        ("ipv4_addr", "10.0.0.1/32", "10.0.0.1"),
        ("ipv4_addr", "0.0.0.0/0", "0.0.0.0/0"),
        ("ipv4_addr", "127.0.0.1", "127.0.0.1"),
        ("ipv4_addr", "*", "*"),
        ("ipv6_addr", "::192.0.2.1", "::c000:201"),
        ("ipv6_addr", "aaaa::1.2.3.4", "aaaa::102:304"),
        ("ipv6_addr", "FD00:0:0:0:0:0:0:1", "fd00::1"),
        ("ipv6_addr", "fd00:1:2:3:4:5::7", "fd00:1:2:3:4:5:0:7"),
        ("ipv6_addr", "fd00:1:2:3:4::7:8", "fd00:1:2:3:4:0:7:8"),
        ("ipv6_addr", "fd00::1:0:0:2", "fd00::1:0:0:2"),
        ("ipv6_addr", "fd00:0:0:1::2", "fd00:0:0:1::2"),
        ("ipv6_addr", "::", "::"),
        ("ipv6_addr", "2001:db8::/128", "2001:db8::"),
        ("ipv6_addr", "2001:db8::/32", "2001:db8::/32"),
        ("ipv6_addr", "fd00::1-fd00::0:9", "fd00::1-fd00::9"),
        ("inet_service", "80", 80),
        ("inet_service", "65535", 65535),
        ("inet_service", "http", 80),
        ("inet_service", '"http-alt"', 8080),
        ("inet_service", "80-90", "80-90"),
        ("inet_proto", "tcp", "tcp"),
        ("inet_proto", "17", "udp"),
        ("inet_proto", "132", "sctp"),
        ("inet_proto", "41", "41"),
        ("inet_proto", "icmp", "icmp"),
        ("integer", "4294967295", 4294967295),
        ("integer", "0xffffffff", 4294967295),
        ("mark", "0x00000007", 7),
        ("ifname", '"eth0"', "eth0"),
        ("ether_addr", "00:0b:0c:ca:cc:10", "00:0b:0c:ca:cc:10"),
        ("ct_state", "new", "new"),
    ],
)
def test_values_are_read_by_their_type(declared: str, written: str, value: str | int) -> None:
    table = with_sets(f"set s {{ type {declared}; elements = {{ {written} }}; }}")
    assert table.elements == {"s": {(value,): Entry()}}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("ip saddr", "10.0.0.1"),
        ("ct original ip daddr", "10.0.0.1"),
        ("ip6 daddr", "fd00::1"),
        ("th dport", 80),
        ("ct original proto-dst", 80),
        ("meta l4proto", "tcp"),
        ("numgen inc mod 7 offset 3", 5),
        ("jhash ip saddr mod 4294967295 seed 0x1", 5),
    ],
)
def test_typeof_says_by_an_expression_what_type_it_is(expression: str, value: str | int) -> None:
    table = with_sets(f"map m {{ typeof {expression} : {expression}; elements = {{ {value} : {value} }}; }}")
    assert table.sets == (NamedSet("m", expression, expression),)
    assert table.elements == {"m": {(value,): Entry((value,))}}


def test_an_element_for_all_others_is_one() -> None:
    assert elements("* counter packets 0 bytes 0 : drop") == {("*",): Entry(("drop",))}


def test_an_element_that_is_there_twice_is_there() -> None:
    assert elements("10.0.0.1 . tcp . 80 : drop,", "10.0.0.1 . 6 . 80 : drop") == {KEY: Entry(("drop",))}


def test_keys_may_be_wrapped() -> None:
    assert elements("10.0.0.1 .\n\ttcp\t.  80\n: drop") == {KEY: Entry(("drop",))}


# Tables, sets, chains -------------------------------------------------------------------------------------------------


def test_table_may_be_empty_or_only_be_declared() -> None:
    empty = Ruleset({V4: Table(V4, (), (), {})})
    for text in ("table ip nftsvc {\n}\n", "add table ip nftsvc", "table nftsvc { }", 'table ip "nftsvc" {}'):
        assert read_ruleset(text, "x") == empty


def test_flags_and_comment_of_the_table_are_known() -> None:
    table = with_sets("flags owner,persist", 'comment "ours; { it is"', "chain c { }")
    assert table.flags == ("owner", "persist")
    assert [chain.name for chain in table.chains] == ["c"]


def test_what_a_set_is_declared_as_is_kept() -> None:
    table = with_sets(
        'set a { type ipv4_addr; flags constant, interval; comment "a counter { x = y"; policy memory; size 7; }',
        "map b { type mark : verdict; counter; timeout 1h; gc-interval 10s; flags timeout; }",
        "map c { typeof ip saddr : meta mark; flags dynamic,timeout; size 7; limit rate 1/second; }",
        "map d { type ipv4_addr: interval ipv4_addr; elements = { } ; }",
        "set e { type inet_service; counter quota 500 bytes; auto-merge; }",
    )
    assert table.sets == (
        NamedSet("a", "ipv4_addr", interval=True),
        NamedSet("b", "mark", "verdict", counter=True),
        NamedSet("c", "ip saddr", "meta mark", dynamic=True),
        NamedSet("d", "ipv4_addr", "interval ipv4_addr"),
        NamedSet("e", "inet_service", counter=True),
    )
    assert table.elements == {name: {} for name in "abcde"}


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("-110", -110),
        ("0", 0),
        ("dstnat", -100),
        ("dstnat - 10", -110),
        ("dstnat-10", -110),
        ("filter + 5", 5),
        ("raw", -300),
        ("mangle", -150),
        ("security", 50),
        ("srcnat + 1", 101),
    ],
)
def test_priorities_are_numbers(written: str, number: int) -> None:
    (chain,) = with_sets("chain c {", f"type nat hook prerouting priority {written}; policy drop;", "}").chains
    assert chain.hook == Hook("nat", "prerouting", number, "drop")


@pytest.mark.parametrize("device", ['device "eth0"', 'devices = { "eth0", "lo" }', "devices = { eth0, eth1 }"])
def test_hook_may_have_devices(device: str) -> None:
    chain = f"chain c {{ type filter hook ingress {device} priority 0; flags offload; policy accept; }}"
    assert with_sets(chain).chains == (Chain("c", (), Hook("filter", "ingress", 0)),)


def test_policy_is_accept_if_nothing_is_said() -> None:
    assert with_sets("chain c { type filter hook input priority 0; }").chains[0].hook == Hook("filter", "input", 0)


@pytest.mark.parametrize(
    ("ours", "listed"),
    [
        ("reject", "reject with icmp port-unreachable"),
        ("reject", "reject with icmp type port-unreachable"),
        ("reject", "reject with icmpv6 port-unreachable"),
        ("masquerade fully-random", "masquerade fully-random random"),
        ("jump services", "counter packets 1 bytes 2 jump services"),
        ("ct status dnat jump remember", "ct status 0x20 jump remember"),
        ("ip daddr . meta l4proto . th dport vmap @service-ips", "ip daddr . ip protocol . th dport vmap @service-ips"),
        (
            "meta l4proto tcp dnat ip to ip daddr . tcp dport . numgen random mod 2 map @tcp-endpoints",
            "dnat to ip daddr . tcp dport . numgen random mod 2 offset 0 map @tcp-endpoints",
        ),
        (
            "update @affinity { ip saddr timeout 10800s : ip daddr }",
            "update @affinity { ip saddr timeout 3h : ip daddr }",
        ),
        (
            "ct state new ip daddr @cluster-ips goto reject-connection",
            "ct state 0x8 ip daddr @cluster-ips goto reject-connection",
        ),
    ],
)
def test_rule_has_the_words_of_ours_however_it_is_listed(ours: str, listed: str) -> None:
    (rule,) = rules(f'{listed} comment "x"')
    assert rule == Rule.of(ours, "x")


def test_rule_may_be_anything() -> None:
    found = rules(
        "tcp dport vmap { 80 : drop, 81 : jump reject-connection,",
        "   82 : accept }",
        'log prefix "a  b;  }" counter; meta mark set 0x1',
        "tcp dport 22 jump {",
        "   ip saddr 10.0.0.1 accept; drop",
        "}",
        "@th,0,16 0x50 comment short",
    )
    assert [(rule.text, rule.comment, rule.words) for rule in found] == [
        (
            "tcp dport vmap { 80 : drop, 81 : jump reject-connection, 82 : accept }",
            "",
            ("accept", "drop", "jump", "reject-connection"),
        ),
        ('log prefix "a  b;  }" counter', "", ()),
        ("meta mark set 0x1", "", ()),
        ("tcp dport 22 jump { ip saddr 10.0.0.1 accept; drop }", "", ("accept", "drop", "jump")),
        ("@th,0,16 0x50", "short", ("@th",)),
    ]


def test_objects_that_are_neither_are_passed_over() -> None:
    table = with_sets(
        "counter c { packets 1 bytes 2",
        "}",
        "quota q { over 25 mbytes; }",
        'ct helper h { type "ftp" protocol tcp; }',
        "flowtable f { hook ingress priority filter; devices = { eth0, eth1 }; }",
        "limit l { rate 400/minute burst 5 packets; }",
        "chain c { }",
    )  # fmt: skip
    assert [chain.name for chain in table.chains] == ["c"]
    assert not table.sets


# Other people's -------------------------------------------------------------------------------------------------------

OTHERS = r"""
# Warning: table ip filter is managed by iptables-nft, do not touch!
table ip filter {
    chain KUBE-SERVICES {
        meta l4proto tcp ip daddr 10.0.0.1 xt match "comment" counter packets 0 bytes 0 jump KUBE-SVC-X
         xt target "MARK" ; log prefix "table ip nftsvc { map service-ips {"
    }
    set odd { typeof jhash ip saddr mod 7 . @ih,0,8; elements = { 0x1 . 0x2, $x . << } ; nonsense { { } } }
}
table inet nftsvc { chain c { type filter hook input priority odd; policy what; } }
table netdev nftsvc { chain in { type filter hook ingress devices = { "vlan*", "veth0" } priority -500; }; }
table bridge x { flags dormant; include "nothing"; define y = { 1, 2 } }
add rule inet filter input tcp dport { 22, 80 } accept
rule ip filter input drop; chain ip6 filter "c" { }
add element ip filter blocked { 10.0.0.1 timeout 1h,
   10.0.0.2 }
delete table ip6 filter; destroy table arp nftsvc
ct helper ip filter ftp { type "ftp" protocol tcp; }
"""


def test_whatever_others_have_makes_no_difference() -> None:
    first, second = re.split(r"(?=^table ip6 nftsvc \{)", printed(), flags=re.MULTILINE)
    assert read_ruleset(OTHERS + first + OTHERS + second + OTHERS, "x") == busy()


def test_other_s_tables_may_be_nested_as_deeply_as_they_like() -> None:
    deep = "{" * 200_000 + "}" * 200_000
    assert read_ruleset(f"table inet x {deep}\n{printed()}", "x") == busy()


def test_commands_are_done_in_their_order() -> None:
    assert read_ruleset(printed() + "delete table ip6 nftsvc\n", "x").tables.keys() == {V4}
    assert read_ruleset(printed() + "flush ruleset ip\n", "x").tables.keys() == {Family.IPV6}
    assert read_ruleset(printed() + "flush ruleset; " + printed(), "x") == busy()
    assert "no table ip nftsvc or ip6 nftsvc in it" in problem_of(printed() + "flush ruleset\n")


# What cannot be read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", OTHERS, "table ip nftsvc\ndelete table ip nftsvc\n"])
def test_text_without_a_table_of_ours_is_refused(text: str) -> None:
    assert problem_of(text) == "ruleset.nft #1: no table ip nftsvc or ip6 nftsvc in it"


BAD = {
    "include": ('include "x.nft"', 1, "include is not read; give the ruleset as `nft list ruleset` prints it"),
    "define": ("table inet x { }\ndefine x = 7", 2, "define is not read"),
    "include in a table": ('table ip nftsvc {\n\tinclude "x.nft"\n}', 2, "include is not read"),
    "define in a chain": ("table ip nftsvc {\nchain c {\ndefine x = { 1 }\n}\n}", 3, "define is not read"),
    "undefine in a set": ("table ip nftsvc {\nset s {\ntype ipv4_addr\nundefine x\n}\n}", 4, "undefine is not read"),
    "no nft": ("Hello,\nworld", 1, "'Hello,' is no nft command"),
    "YAML": ("# a\n\napiVersion: v1\nkind: Service\n", 3, "'apiVersion: v1' is no nft command"),
    "no string": ('table ip nftsvc {\nchain c {\ndrop comment "x\n}\n}\n', 3, "a string that has no end"),
    "no end": ("table inet x {\n}\ntable ip nftsvc {\nchain c {\ndrop\n}\n", 3, "a { without its }"),
    "no end of others": ("table ip nftsvc {\n}\ntable inet x {\n", 3, "a { without its }"),
    "no start": ("table ip nftsvc {\n}\n}\n", 3, "a } without its {"),
    "conflict": ("table ip nftsvc {\n<<<<<<< ours\n=======\n>>>>>>> theirs\n}\n", 2, "git left a merge conflict here"),
    "conflict's end": ("table ip nftsvc {\n}\n>>>>>>> theirs", 3, "git left a merge conflict here"),
    "behind a table": ("table ip nftsvc {\n} add\n", 2, "'add' behind the end of a block"),
    "behind a set": ("table ip nftsvc {\nset s { type ipv4_addr; } x\n}", 2, "'x' behind the end of a block"),
    "twice": ("table ip nftsvc { chain c { }; }\ntable ip nftsvc { }", 2, "is about table ip nftsvc once more"),
    "flushed": ("table ip nftsvc { chain c { }; }\nflush table ip nftsvc", 2, "once more"),
    "element": ("table ip nftsvc { }\n\nadd element ip nftsvc s { 1 }", 3, "is not read; give whole tables"),
    "rule": ("add rule nftsvc c drop", 1, "'add rule nftsvc c drop' is not read; give whole tables"),
    "chain": ("chain ip6 nftsvc c { }", 1, "is not read; give whole tables"),
    "in a table": ("table ip nftsvc {\n\tfoo bar\n}", 2, "'foo bar' is nothing that is known in a table"),
    "chain without block": ("table ip nftsvc {\nchain c\n}", 2, "'chain c' is nothing that is known in a table"),
    "set without block": ("table ip nftsvc {\nset s\n}", 2, "'set s' is nothing that is known in a table"),
    "name": ('table ip nftsvc {\nchain "a b" { }\n}', 2, """'chain "a b" { }' is nothing that is known in a table"""),
    "odd name": ("table ip nftsvc {\nchain a\x1b[31m { }\n}", 2, r"'a\x1b[31m' is no name"),
    "number": ("table ip nftsvc {\nset 7 { type mark; }\n}", 2, "'7' is no name"),
    "two sets": ("table ip nftsvc {\nset s { type mark; }\nmap s { type mark : mark; }\n}", 3, "a second map 's'"),
    "two chains": ('table ip nftsvc {\nchain c { }\nchain "c" { }\n}', 3, "a second chain 'c'"),
    "in a set": ("table ip nftsvc {\nset s {\ntype mark\nfoo 7\n}\n}", 4, "'foo 7' is nothing that is known in a set"),
    "types": ("table ip nftsvc {\nset s {\ntype mark\ntype mark\n}\n}", 4, "is nothing that is known in a set (s)"),
    "no type": ("table ip nftsvc {\nset s {\n}\n}", 2, "set s does not say of what type it is"),
    "data of a set": ("table ip nftsvc {\nset s { type mark : mark; }\n}", 2, "set s does not say of what type it is"),
    "no data": ("table ip nftsvc {\nmap m { type mark; }\n}", 2, "map m does not say where its elements lead"),
    "variable": ("table ip nftsvc {\nset s {\ntype mark\nelements = $x\n}\n}", 4, "'elements = $x' is nothing that"),
    "hook": ("table ip nftsvc {\nchain c {\ntype nat hook x\n}\n}", 3, "chain c: 'type nat hook x' is no hook"),
    "priority": ("table ip nftsvc {\nchain c { type nat hook x priority dst; }\n}", 2, "chain c: 'dst' is no priority"),
    "sum": ("table ip nftsvc {\nchain c { type nat hook x priority 0 + x; }\n}", 2, "chain c: '0 + x' is no priority"),
    "policy": ("table ip nftsvc {\nchain c { policy odd; }\n}", 2, "chain c: 'odd' is no policy"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "words"), BAD.values(), ids=BAD)
def test_what_cannot_be_read_is_named_with_its_line(text: str, line: int, words: str) -> None:
    for ends in ("\n", "\r\n"):
        problem = problem_of(text.replace("\n", ends))
        assert problem.startswith(f"ruleset.nft #1: line {line}: ")
        assert words in problem


BAD_ELEMENTS = {
    "10.0.0.1 . tcp . 80 : drop 10.0.0.2 . tcp . 80 : drop": "is not a verdict",
    "10.0.0.1 . tcp . 80 :": "is not an element",
    "10.0.0.1 . tcp . 80": "'10.0.0.1 . tcp . 80' leads to nothing",
    "10.0.0.1 . tcp : drop": "'10.0.0.1 . tcp' has 2 parts, not 3",
    "10.0.0.1 . tcp . 80 . 7 : drop": "has 4 parts, not 3",
    "10.0.0.256 . tcp . 80 : drop": "'10.0.0.256' is not an IPv4 address",
    "fd00::1 . tcp . 80 : drop": "'fd00::1' is not an IPv4 address",
    "10.0.0.1/33 . tcp . 80 : drop": "'10.0.0.1/33' is not an IPv4 address",
    "localhost . tcp . 80 : drop": "not an IPv4 address (names are not looked up; list without -N)",
    "$vip . tcp . 80 : drop": "'$vip' is not an IPv4 address",
    "10.0.0.1 . tcp . 65536 : drop": "'65536' is not a port number",
    "10.0.0.1 . tcp . -1 : drop": "'-1' is not a port number",
    '10.0.0.1 . tcp . "nobodys" : drop': "is not a port number (few names of ports are known here; list without -S)",
    "10.0.0.1 . tcp . 80 : nowhere": "'nowhere' is not a verdict",
    "10.0.0.1 . tcp . 80 : goto a b": "'goto a b' is not a verdict",
    "10.0.0.1 . 256 . 80 : drop": "'256' is not the number of a protocol",
    "10.0.0.1 . tcp . 80 foo 7 : drop": "'foo 7' is nothing that an element can have",
    "10.0.0.1 . tcp . 80 counter packets x bytes 0 : drop": "is nothing that an element can have",
    "10.0.0.1 . tcp . 80 : jump { drop }": "is not an element",
    "10.0.0.1 . tcp . 80 : drop,,": "is not an element",
    "10.0.0.1 . tcp . 80; : drop": "is not an element",
    "10.0.0.9 . tcp . 80 : drop": "'10.0.0.9 . tcp . 80' is in it twice, and leads to different things",
    "\N{ARABIC-INDIC DIGIT ONE} . tcp . 80 : drop": "is not an IPv4 address",
    "10.0.0.1 . tcp . \N{ARABIC-INDIC DIGIT ONE} : drop": "is not a port number",
}


@pytest.mark.parametrize(("element", "words"), BAD_ELEMENTS.items(), ids=BAD_ELEMENTS)
def test_what_is_no_element_is_named_with_its_line(element: str, words: str) -> None:
    declared = "type ipv4_addr . inet_proto . inet_service : verdict"
    lines = [
        "table ip nftsvc {",
        "map m {",
        declared,
        "elements = {",
        "10.0.0.9 . tcp . 80 : accept,",
        element,
        "}\n}\n}",
    ]
    problem = problem_of("\n".join(lines))
    assert problem.startswith("ruleset.nft #1: line 6: map m: ")
    assert words in problem


def test_element_of_a_set_leads_nowhere() -> None:
    problem = problem_of("table ip nftsvc { set s { type mark; elements = { 1 : 2 }; }; }")
    assert problem == "ruleset.nft #1: line 1: set s: '1' leads somewhere, in a set"


def test_what_cannot_be_read_shows_as_text() -> None:
    assert problem_of("\x1b[31mred") == r"ruleset.nft #1: line 1: '\x1b[31mred' is no nft command"


@pytest.mark.parametrize(
    "text",
    [
        "table ip nftsvc { set s { type mark; elements = { " + "a " * 300_000 + "; } } }",
        "table ip nftsvc { set s { type mark; elements = { " + "a . " * 300_000 + " } } }",
        "table ip nftsvc { set s { type mark; elements = { " + "a : " * 300_000 + " } } }",
        "table ip nftsvc { set s { type mark; elements = { " + '"" ' * 300_000 + "; } } }",
        "table ip nftsvc { chain c { " + ' comment "x"' * 100_000 + "; type " + "device " * 100_000 + " } }",
        "table ip nftsvc { " + "{" * 300_000,
        '"' + "#" * 300_000,
        "table ip nftsvc { chain c { " + "drop ;" * 200_000 + " } } }",
        "\\\n" * 300_000,
        "<" * 300_000,
        " \n;" * 300_000 + "x",
        "table ip nftsvc { set s { type " + "mark . " * 100_000 + "mark; elements = { 1 } } }",
        "table ip nftsvc { set s { type ipv6_addr; elements = { " + "1:" * 300_000 + " } } }",
        "table ip nftsvc { set s { type ipv4_addr; elements = { " + "1" * 300_000 + " } } }",
        "table ip nftsvc { set s { type inet_service; elements = { " + "1" * 300_000 + " } } }",
        "table ip nftsvc { chain c { type nat hook x priority " + "1" * 300_000 + "; } }",
    ],
    ids=range(16),
)  # fmt: skip
def test_absurd_text_comes_to_an_end(text: str) -> None:
    """By the time limit that every test has."""
    assert "ruleset.nft #1" in problem_of(text)


def test_nothing_of_ours_is_lost() -> None:
    """All that compare looks at is there: the way from nothing is the same for what was read."""
    read = read_ruleset(printed(), "x")
    assert compare(EMPTY, read) == compare(EMPTY, busy())
    assert set(read.tables) == set(FAMILIES)
