"""The reader of rulesets: nothing that it does not know gets by, and nothing that a kernel would refuse."""

import random
import re

import pytest

from tests.support.cases import EXAMPLES
from tests.support.consistency import Refused
from tests.support.dialect import BadRuleset, UnknownSyntax
from tests.support.interpreter import parse
from tests.support.samples import RECORD, TO_SERVICES, bare, text_of

DNAT = "meta l4proto tcp dnat ip to ip daddr ."
GUARD = "ct state new ip daddr . tcp dport . ip saddr != @clients drop"
WHOLE = text_of(
    **TO_SERVICES,
    guard=[GUARD],
    remember=[f'{RECORD} comment "for 60 s"'],
    postrouting=["jump remember", 'iifname != "veth*" masquerade fully-random', "fib saddr type local return"],
    input=["ip daddr != 127.0.0.0/8 reject"],
)


def without_each_word(text: str, instead: str = "") -> list[tuple[str, str]]:
    """Return the text with each of its words missing or replaced, and which one."""
    found = re.finditer(r'"[^"]*"|[^\s,;"]+', text)
    return [(text[: word.start()] + instead + text[word.end() :], word.group()) for word in found]


def is_refused(text: str) -> bool:
    try:
        parse(text)
    except BadRuleset:
        return True
    return False


def test_sample_is_fine() -> None:
    assert parse(WHOLE).tables.keys() == {"ip"}


@pytest.mark.parametrize("word", ["%", '"', "{", "}", "4294967296"])
def test_no_word_can_be_another(word: str) -> None:
    for text, replaced in without_each_word(WHOLE, word):
        if replaced == word:
            continue
        with pytest.raises(BadRuleset, match=r"^line \d+: "):
            parse(text)


def test_few_words_can_be_missing() -> None:
    missing = [word for text, word in without_each_word(WHOLE) if not is_refused(text)]
    assert missing == ["counter", "!=", "drop", "!=", "return", "reject"]


@pytest.mark.parametrize(
    "name", ["406-affinity-with-external-policy-local", "450-masquerade-bridge", "420-source-ranges"]
)
def test_no_word_of_a_printed_ruleset_can_be_another(name: str) -> None:
    text = (EXAMPLES / name / "ruleset.nft").read_text()
    lines = text.splitlines()
    numbered = [(number, line) for number, line in enumerate(lines) if line and not line.strip().startswith("#")]
    shapes = {re.sub(r"\d+", "", line): number for number, line in numbered}
    chance = random.Random(name)
    for number in chance.sample(sorted(shapes.values()), 60):
        changed, _ = chance.choice(without_each_word(lines[number], "%"))
        with pytest.raises(BadRuleset):
            parse("\n".join([*lines[:number], changed, *lines[number + 1 :]]))


@pytest.mark.parametrize(
    "odd", ["table ip other", "flush ruleset", "log", "elements = {", "counter packets 0", "x : y,"]
)
def test_no_line_can_have_another_before_it(odd: str) -> None:
    lines = WHOLE.splitlines()
    for number in range(len(lines) + 1):
        with pytest.raises(UnknownSyntax):
            parse("\n".join([*lines[:number], odd, *lines[number:]]))


@pytest.mark.parametrize(
    "rule",
    [
        *("accept", "continue", "log", "notrack", "counter", "counter drop", "queue to 0", "meta mark set 0x4000"),
        *("ct mark 1 drop", "ct state established drop", "ct state { new } drop", "ct state != new drop"),
        *("ct status snat drop", "ct original saddr . ip daddr @hairpin drop", "ct direction original drop"),
        *("meta l4proto icmp drop", "meta l4proto != tcp drop", "meta l4proto 6 drop", "meta l4proto { tcp udp } drop"),
        *("meta l4proto { } drop", "meta l4proto { tcp, } drop", "meta nfproto ipv4 drop", "tcp dport 80 drop"),
        *("tcp sport . ip daddr @x drop", "ip daddr 10.0.0.1 drop", "ip daddr != { 10.0.0.1 } drop", "ip ttl 1 drop"),
        *(
            "ip daddr != 10.0.0.1/8 drop",
            "ip daddr != 10.0.0.01 drop",
            "ip daddr != ::1 drop",
            "ip daddr vmap { } drop",
        ),
        *(
            'iif "eth0" drop',
            'oifname "eth0" drop',
            "iifname eth0 drop",
            'iifname { "eth0" } drop',
            'iifname "e t" drop',
        ),
        *("fib daddr type broadcast drop", "fib daddr . iif type local drop", "fib saddr type != local drop"),
        *("reject with tcp reset", "masquerade", "masquerade random", "masquerade fully-random, persistent"),
        *("dnat to ip daddr . tcp dport map @affinity", "dnat ip to 10.0.0.1:80", "snat ip to 10.0.0.1", "redirect"),
        *("goto", "jump services goto services", "drop drop", "drop log", "return 1", 'drop comment "a" comment "b"'),
        *('comment "a" drop', 'comment "a"', "drop comment a", f'drop comment "{"a" * 129}"', "drop;", "drop,"),
        *(
            "limit rate 1/second drop",
            "numgen inc mod 2 vmap @m",
            "numgen random mod 0 vmap @m",
            "add @affinity { ip saddr }",
        ),
        *(
            "jhash ip saddr vmap @m",
            "jhash ip saddr mod 2 vmap @m",
            "symhash mod 2 vmap @m",
            "ip daddr & 1 @cluster-ips drop",
        ),
        *(RECORD.replace("60s", "60"), RECORD.replace("60s", "1m"), RECORD.replace(" timeout 60s", "")),
        *(RECORD.replace("update", "add"), RECORD.removesuffix(" }"), "drop # no more"),
    ],
)
def test_unknown_rules(rule: str) -> None:
    with pytest.raises(UnknownSyntax, match=r"^line \d+: "):
        parse(text_of(**TO_SERVICES, guard=[rule]))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        *(("table ip nftsvc\nd", f"table {new} nftsvc\nd") for new in ("inet", "ip6", "arp")),
        ("delete table ip nftsvc\n", ""),
        ("delete table ip nftsvc", "delete table ip6 nftsvc"),
        ("table ip nftsvc {", "table ip nftsvc {\nflags owner"),
        ("table ip nftsvc {", 'table ip nftsvc {\ncomment "mine"'),
        ("map service-ips {", "counter service-ips {"),
        ("map service-ips {", "map Service-IPs {"),
        ("map service-ips {", "set service-ips {"),
        ("set cluster-ips {", "map cluster-ips {"),
        ("counter\n", "counter packets 1 bytes 2\n"),
        ("counter\n", "counter\ncounter\n"),
        *(("counter\n", f"{odd}\n") for odd in ("timeout 1h", "auto-merge", "gc-interval 1s", "policy memory")),
        *(("counter\n", f"{odd}\n") for odd in ("flags constant", "flags interval", "flags dynamic, timeout")),
        ("flags interval", "flags interval, timeout"),
        ("flags interval", "flags dynamic, timeout"),
        ("flags dynamic, timeout", "flags dynamic"),
        ("flags dynamic, timeout", "flags timeout"),
        ("size 1048576", "size many"),
        ("size 1048576", "size 1048576\nelements = {\n10.0.0.1 . 10.0.0.2 . tcp . 80 : 10.0.0.3 . 80\n}"),
        ("type ipv4_addr\n", "type ipv6_addr\n"),
        ("type ipv4_addr\n", "type ether_addr\n"),
        ("type ipv4_addr\n", "type ipv4_addr timeout 1h\n"),
        ("type ipv4_addr\n", "typeof ip length\n"),
        ("type ipv4_addr\n", ""),
        ("drop\n        }", "drop,\n        }"),
        ("goto sticky,", "goto sticky"),
        *(("goto sticky,", f"{odd},") for odd in ("jump sticky", "accept", "return", "goto", "continue", "queue")),
        ("10.96.0.10 . udp . 53", "10.96.0.10 . udp . 65536"),
        ("10.96.0.10 . udp . 53", "10.96.0.10 . udp . 053"),
        ("10.96.0.10 . udp . 53", "10.96.0.10 . udp . domain"),
        ("10.96.0.10 . udp . 53", "10.96.0.10 . icmp . 53"),
        ("10.96.0.10 . udp . 53", "10.96.0.10 . udp"),
        ("10.96.0.10 . udp . 53", "10.96.0.10 . udp . 53 . 1"),
        ("10.96.0.10 . udp . 53", "10.96.0.10 . udp . 50-53"),
        ("10.96.0.10 . udp . 53", "10.96.0.0/24 . udp . 53"),
        ("10.96.0.10 . udp . 53", "fd00:96::10 . udp . 53"),
        ("10.96.0.10 . udp . 53", "10.96.0.10 . udp . 53 timeout 1h"),
        ("10.96.0.10 . udp . 53 :", "10.96.0.10 . udp . 53 counter packets 0 :"),
        ("198.51.100.0/24", "198.51.100.1/24"),
        ("198.51.100.0/24", "198.51.100.0-198.51.100.9"),
        ("0 : 10.244.1.5 . 8080", "0 : 10.244.1.5"),
        ("0 : 10.244.1.5 . 8080", "0 10.244.1.5 . 8080"),
        ("policy accept", "policy drop"),
        ("; policy accept;", ";"),
        ("priority -110", "priority -109"),
        ("priority -110", "priority raw"),
        ("hook prerouting priority -110", "hook ingress priority -110"),
        ("hook prerouting priority -110", 'hook prerouting device "eth0" priority -110'),
        ("type filter hook input", "type route hook input"),
        ("type filter hook input", "type nat hook input"),
        ("policy accept;", "policy accept;\ntype filter hook input priority 0; policy accept;"),
    ],
)
def test_unknown_words(old: str, new: str) -> None:
    assert old in WHOLE
    with pytest.raises(UnknownSyntax, match=r"^line \d+: "):
        parse(WHOLE.replace(old, new, 1))


@pytest.mark.parametrize("text", [WHOLE[:-2], WHOLE + "\n}", WHOLE + "\n" + WHOLE, "{", "table ip nftsvc"])
def test_begin_and_end(text: str) -> None:
    with pytest.raises(UnknownSyntax):
        parse(text)


# What would not load --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("jump services", "jump nowhere", "no chain nowhere"),
        ("goto sticky,", "goto nowhere,", "no chain nowhere"),
        ("goto sticky,", "goto nat,", "nat is a base chain"),
        ("jump remember", "goto postrouting", "postrouting is a base chain"),
        ("vmap @service-ips", "vmap @nothing", "no set nothing"),
        ("!= @clients", "!= @nothing", "no set nothing"),
        ("map @affinity", "map @nothing", "no set nothing"),
        ("update @affinity", "update @nothing", "no set nothing"),
        ("vmap @service-ips", "vmap @affinity", "affinity has"),
        ("vmap @service-ips", "vmap @clients", "clients has"),
        ("!= @clients", "!= @cluster-ips", "cluster-ips has"),
        ("update @affinity", "update @udp-endpoints", "udp-endpoints has"),
        ("th dport vmap", "th dport . th dport vmap", "service-ips has"),
        ("ip daddr . meta l4proto . th dport vmap", "meta l4proto . ip daddr . th dport vmap", "service-ips has"),
        ("ip saddr . ip daddr . meta l4proto . udp", "ip saddr . meta l4proto . ip daddr . udp", "affinity has"),
        (": ip daddr . th dport }", ": ip daddr }", "affinity has"),
        ("flags dynamic, timeout", "counter", "not for packets to fill"),
        ("size 1048576\n", "", "needs a size"),
        ("counter\n", "size 2\n", "more elements"),
        ("10.96.0.11 . tcp . 80", "10.96.0.10 . tcp . 80", "an element twice"),
        ("10.96.0.10 . 80 . 10.244.1.5", "10.96.0.10 . 80 . 198.51.100.7", "overlaps"),
        ("10.96.0.10 . 80 . 10.244.1.5", "10.96.0.10 . 80 . 0.0.0.0/0", "overlaps"),
        ("set cluster-ips", "map tcp-endpoints", "a name twice"),
        ("chain sticky", "chain services", "a name twice"),
        ("meta l4proto tcp dnat", "meta l4proto udp dnat", "conflicting protocols"),
        (f"{DNAT} tcp dport", f"{DNAT.removeprefix('meta l4proto tcp ')} th dport", "translates a port of no protocol"),
        ("{ tcp, udp, sctp }", "{ tcp, tcp }", "an element twice"),
        ("meta l4proto { tcp, udp, sctp } update", "update", "a port of no protocol"),
        ("ip daddr != 127.0.0.0/8", "ip6 daddr != ::1", "the other family"),
        ("jump remember", "jump services", "not in nat postrouting"),
        ("fib saddr type local return", "reject", "not in nat postrouting"),
        ("ip daddr != 127.0.0.0/8 reject", "masquerade fully-random", "not in filter input"),
        ("jump services", "masquerade fully-random", "not in nat prerouting"),
        ("fib saddr type local return", "goto sticky", "not in nat postrouting"),
        ("goto udp-lb-3", "goto services", "a loop"),
        ("chain remember {", "chain remember {\njump remember", "a loop"),
        ("hook input priority 0", "hook prerouting priority -110", "another chain"),
    ],
)
def test_refused(old: str, new: str, why: str) -> None:
    assert old in WHOLE
    with pytest.raises(BadRuleset, match=rf"^line \d+: .*{why}"):
        parse(WHOLE.replace(old, new, 1))


@pytest.mark.parametrize(("addresses", "fits"), [(4, True), (5, False)])
def test_registers_hold_four_ipv6_addresses(addresses: int, fits: bool) -> None:
    sets = "set many {\n type " + " . ".join(["ipv6_addr"] * addresses) + "\n }"
    rule = " . ".join(["ip6 saddr"] * addresses) + " @many drop"
    assert is_refused(bare(sets, {"forward": [rule]}, "ip6")) != fits


@pytest.mark.parametrize(("levels", "fits"), [(16, True), (17, False)])
def test_levels(levels: int, fits: bool) -> None:
    chains = {f"c{number}": [f"jump c{number + 1}"] for number in range(2, levels)} | {f"c{levels}": ["drop"]}
    assert not is_refused(bare("", chains))
    assert is_refused(bare("", {"forward": ["jump c2"], **chains})) != fits


def test_chains_that_are_in_no_hook_may_say_anything() -> None:
    parse(text_of(**TO_SERVICES, nobody=["masquerade fully-random"], either=["reject"]))
    with pytest.raises(Refused):
        parse(text_of(**TO_SERVICES, nobody=["masquerade fully-random"], forward=["goto nobody"]))
