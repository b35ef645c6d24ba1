"""Whether this kernel and this nft have what rulesets need: tried by doing, not by version numbers.

Each feature is tried in a transaction that creates a table, uses the feature and deletes the table again, so nothing is
ever there for anybody to see. All are tried at once; only when that fails, one by one to find the culprit.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from nftsvc.errors import FeatureMissing, KernelRefused
from nftsvc.kernel.context import Context

_TABLE = f"nftsvc-preflight-{os.getpid()}"


@dataclass(frozen=True, slots=True)
class Feature:
    """Something that a ruleset uses. `commands` try it; in them `{t}` stands for the family and the table's name.

    `remedy` says what has it: a kernel option, an nft version.
    """

    name: str
    remedy: str
    commands: str


FEATURES = (
    Feature("nftables tables", "kernel option CONFIG_NF_TABLES_{v}", "add chain {t} c"),
    Feature(
        "nat chains",
        "kernel option CONFIG_NFT_NAT and CONFIG_NF_NAT",
        "add chain {t} c {{ type nat hook prerouting priority -100; }}",
    ),
    Feature(
        "maps from address, protocol and port to a verdict, with counters and comments",
        "nft 1.0.1 and kernel 5.13 or later",
        "add chain {t} c\n"
        "add map {t} m {{ type {a} . inet_proto . inet_service : verdict; counter; }}\n"
        'add element {t} m {{ {one} . tcp . 80 comment "n/s:p" : goto c }}',
    ),
    Feature(
        "random numbers as part of a map's key (numgen in a concatenation)",
        "kernel option CONFIG_NFT_NUMGEN and nft 1.0.1 or later",
        "add map {t} m {{ typeof {f} daddr . tcp dport . numgen random mod 65536 : {f} daddr . tcp dport; }}\n"
        "add element {t} m {{ {one} . 80 . 0 : {one} . 8080 }}",
    ),
    Feature(
        "destination NAT to the address and port that a map gives",
        "kernel option CONFIG_NFT_NAT and nft 1.0.1 or later",
        "add map {t} m {{ typeof {f} daddr . tcp dport . numgen random mod 65536 : {f} daddr . tcp dport; }}\n"
        "add chain {t} c\n"
        "add rule {t} c meta l4proto tcp dnat {f} to {f} daddr . tcp dport . numgen random mod 2 map @m\n"
        "add map {t} s {{ typeof sctp dport . numgen random mod 65536 : {f} daddr . sctp dport; }}\n"
        "add rule {t} c meta l4proto sctp dnat {f} to sctp dport . numgen random mod 2 map @s",
    ),
    Feature(
        "the original destination of a connection (ct original)",
        "kernel option CONFIG_NFT_CT and nft 1.0.1 or later",
        "add set {t} s {{ type inet_proto . inet_service; }}\n"
        "add set {t} a {{ type {a}; }}\n"
        "add chain {t} c\n"
        "add rule {t} c ct status dnat ct original {f} daddr @a meta l4proto {{ tcp, udp, sctp }}"
        " meta l4proto . ct original proto-dst @s",
    ),
    Feature(
        "masquerading with random ports",
        "kernel option CONFIG_NFT_MASQ",
        "add chain {t} c {{ type nat hook postrouting priority 100; }}\nadd rule {t} c masquerade fully-random",
    ),
    Feature(
        "rejecting with port unreachable",
        "kernel option CONFIG_NFT_REJECT and CONFIG_NFT_REJECT_{v}",
        "add chain {t} c {{ type filter hook input priority 0; }}\nadd rule {t} c reject",
    ),
    Feature(
        "matching this node's own addresses (fib)",
        "kernel option CONFIG_NFT_FIB and CONFIG_NFT_FIB_{v}",
        "add chain {t} c {{ type filter hook input priority 0; }}\nadd rule {t} c fib daddr type local accept\n"
        "add chain {t} d {{ type nat hook postrouting priority 100; }}\nadd rule {t} d fib saddr type local accept",
    ),
    Feature(
        "networks as part of a set's key (intervals in a concatenation)",
        "kernel 5.6 or later and nft 0.9.4 or later",
        "add set {t} s {{ type {a} . inet_proto . inet_service . {a}; flags interval; }}\n"
        "add element {t} s {{ {one} . tcp . 80 . {one}/24 }}\n"
        "add chain {t} c\n"
        "add rule {t} c {f} daddr . meta l4proto . th dport . {f} saddr != @s drop",
    ),
    Feature(
        "maps that packets fill and that forget in time",
        "nft 1.0.1 or later",
        "add map {t} m {{ type {a} : {a}; size 10; flags dynamic, timeout; }}\n"
        "add chain {t} c\n"
        "add rule {t} c update @m {{ {f} saddr timeout 10s : {f} daddr }}",
    ),
    Feature(
        "hashes as part of a map's key (jhash in a concatenation)",
        "kernel option CONFIG_NFT_HASH and nft 1.0.1 or later",
        "add map {t} m {{ typeof numgen random mod 65536 . tcp dport : {f} daddr; size 10; flags dynamic, timeout; }}\n"
        "add chain {t} c\n"
        "add rule {t} c meta l4proto tcp dnat {f} to jhash {f} saddr mod 4294967295 seed 1 . tcp dport map @m",
    ),
    Feature(
        "names of network interfaces",
        "kernel option CONFIG_NF_TABLES",
        'add chain {t} c\nadd rule {t} c iifname "veth*" accept',
    ),
)


def missing_feature(
    context: Context, features: Sequence[Feature] = FEATURES, families: Sequence[str] = ("ip", "ip6")
) -> None:
    """Raise FeatureMissing, naming the first feature that does not work and what has it. Needs CAP_NET_ADMIN.

    `families` are nft's words for the families that rulesets are wanted in.
    """
    trials = [(feature, family) for feature in features for family in families]
    try:
        context.run("".join(_trial(feature, family) for feature, family in trials))
    except KernelRefused:
        for feature, family in trials:
            _try(context, feature, family)


def _try(context: Context, feature: Feature, family: str) -> None:
    try:
        context.run(_trial(feature, family))
    except KernelRefused as refusal:
        remedy = feature.remedy.format(v=_kernel_name(family))
        raise FeatureMissing(
            f"this machine cannot do: {feature.name} ({family}); it takes {remedy}\n  nft says: {refusal.reason}"
        ) from refusal


def _trial(feature: Feature, family: str) -> str:
    words = {
        "t": f"{family} {_TABLE}",
        "f": family,
        "a": "ipv4_addr" if family == "ip" else "ipv6_addr",
        "one": "192.0.2.1" if family == "ip" else "2001:db8::1",
    }
    table = f"table {words['t']}\n"
    return f"create {table}{feature.commands.format(**words)}\ndelete {table}"


def _kernel_name(family: str) -> str:
    return "IPV4" if family == "ip" else "IPV6"
