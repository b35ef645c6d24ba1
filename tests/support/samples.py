"""Small rulesets in the dialect of the printed ones, put together from chains."""

from collections.abc import Mapping

SETS = """
    map service-ips {
        type ipv4_addr . inet_proto . inet_service : verdict
        counter
        elements = {
            10.96.0.10 . tcp . 80 comment "shop/web:http" : goto tcp-lb-2,
            10.96.0.10 . udp . 53 : goto sticky,
            10.96.0.11 . tcp . 80 : drop
        }
    }
    map tcp-endpoints {
        typeof ip daddr . tcp dport . numgen random mod 65536 : ip daddr . tcp dport
        elements = {
            10.96.0.10 . 80 . 0 : 10.244.1.5 . 8080,
            10.96.0.10 . 80 . 1 : 10.244.2.9 . 8080
        }
    }
    map udp-endpoints {
        typeof ip daddr . udp dport . numgen random mod 65536 : ip daddr . udp dport
        elements = {
            10.96.0.10 . 53 . 0 : 10.244.1.5 . 5353,
            10.96.0.10 . 53 . 1 : 10.244.2.9 . 5353,
            10.96.0.10 . 53 . 2 : 192.0.2.11 . 5353
        }
    }
    set cluster-ips {
        type ipv4_addr
        elements = {
            10.96.0.10
        }
    }
    set clients {
        type ipv4_addr . inet_service . ipv4_addr
        flags interval
        elements = {
            10.96.0.10 . 80 . 198.51.100.0/24,
            10.96.0.10 . 80 . 10.244.1.5
        }
    }
    set hairpin {
        type ipv4_addr . ipv4_addr
        elements = {
            10.244.1.5 . 10.244.1.5
        }
    }
    map affinity {
        type ipv4_addr . ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service
        size 1048576
        flags dynamic, timeout
    }
"""

LOOKUP = "meta l4proto udp dnat ip to ip saddr . ip daddr . meta l4proto . udp dport map @affinity"
RECORD = (
    "meta l4proto { tcp, udp, sctp }"
    " update @affinity { ip saddr . ct original ip daddr . meta l4proto . ct original proto-dst"
    " timeout 60s : ip daddr . th dport }"
)
HOOKS = {
    "guard": "type filter hook prerouting priority -110; policy accept;",
    "guard-output": "type filter hook output priority -110; policy accept;",
    "nat": "type nat hook prerouting priority -100; policy accept;",
    "nat-output": "type nat hook output priority -100; policy accept;",
    "input": "type filter hook input priority 0; policy accept;",
    "forward": "type filter hook forward priority 0; policy accept;",
    "output": "type filter hook output priority 0; policy accept;",
    "postrouting": "type nat hook postrouting priority 100; policy accept;",
    "nat-input": "type nat hook input priority 100; policy accept;",
}
SERVICES = {
    "tcp-lb-2": ["meta l4proto tcp dnat ip to ip daddr . tcp dport . numgen random mod 2 map @tcp-endpoints"],
    "udp-lb-3": ["meta l4proto udp dnat ip to ip daddr . udp dport . numgen random mod 3 map @udp-endpoints"],
    "sticky": [f'{LOOKUP} comment "as before"', "goto udp-lb-3"],
    "services": ["ip daddr . meta l4proto . th dport vmap @service-ips"],
}
TO_SERVICES = {"nat": ["jump services"], "nat-output": ["jump services"]}


def text_of(**chains: list[str]) -> str:
    """Return a ruleset with these chains and those of `SERVICES`; _ stands for - in names."""
    return bare(SETS, {**SERVICES, **{name.replace("_", "-"): rules for name, rules in chains.items()}})


def bare(sets: str, chains: Mapping[str, list[str]], family: str = "ip") -> str:
    """Return a ruleset of one table; chains that have the name of a hook are base chains."""
    blocks = (
        "\n".join([f"    chain {name} {{", *([HOOKS[name]] if name in HOOKS else []), *rules, "    }"])
        for name, rules in chains.items()
    )
    return "\n".join(
        [f"table {family} nftsvc", f"delete table {family} nftsvc", f"table {family} nftsvc {{", sets, *blocks, "}"]
    )
