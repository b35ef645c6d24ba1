"""Which iptables chains are kube-proxy's, and what it takes to remove them.

In: a table's chains and the rules that jump to one of them. Out: what is to be deleted. The same for iptables of both
kinds. Source: kube-proxy 1.30 and 1.36, iptables and ipvs modes, with the chains of earlier versions; KEP-3178 (which
chains are the kubelet's).
"""

import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from nftsvc.kernel.foreign import Jump

# Chains that nobody but kube-proxy makes.
_OWN = re.compile(
    r"KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|FORWARD|PROXY-FIREWALL|PROXY-CANARY"
    r"|NODE-PORT|LOAD-BALANCER|SOURCE-RANGES-FIREWALL|IPVS-FILTER|IPVS-OUT-FILTER"
    r"|(SVC|SEP|FW|EXT|SVL|XLB)-.+)"
)
_MASQUERADE, _MARK = "KUBE-POSTROUTING", "KUBE-MARK-MASQ"
# Kubelets before 1.28 make these, too; without any of the others they are no sign of kube-proxy.
_SHARED = frozenset({_MASQUERADE, _MARK})


def is_own(chain: str) -> bool:
    """Tell whether a chain can only be kube-proxy's."""
    return _OWN.fullmatch(chain) is not None


def is_kube_proxys(chain: str) -> bool:
    """Tell whether a chain is kube-proxy's, on a node where it has been."""
    return is_own(chain) or chain in _SHARED


class Removal(NamedTuple):
    """What is to be done to a table: rules to delete, chains to delete, chains that can only be emptied.

    `kept` are chains that other programs' chains lead to, with one that does, and what these need.
    """

    unlink: tuple[Jump, ...]
    delete: tuple[str, ...]
    empty: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]


def removal(chains: Iterable[str], base: Collection[str], jumps: Collection[Jump]) -> Removal:
    """Say how to remove kube-proxy's chains from a table; `base` are the built-in ones, whose jumps there go.

    Other programs lead to the mark for masquerading (CNI's portmap with `externalSetMarkChain`): it stays, and the rule
    that masquerades, too. Any other chain that somebody else's leads to is emptied.
    """
    mine = {one for one in chains if is_kube_proxys(one)}
    outside = [one for one in jumps if one.target in mine and one.chain not in mine]
    held = {one.target: one.chain for one in outside if one.chain not in base}
    kept = _with_all_below({one for one in held if one in _SHARED}, mine, jumps)
    return Removal(
        tuple(one for one in outside if one.chain in base and one.target not in kept),
        tuple(sorted(mine - kept - held.keys())),
        tuple(sorted((mine & held.keys()) - kept)),
        tuple(sorted((one, held[one]) for one in held)),
    )


def _with_all_below(chains: set[str], mine: Collection[str], jumps: Iterable[Jump]) -> set[str]:
    if _MARK in chains and _MASQUERADE in mine:
        chains = chains | {_MASQUERADE}
    while below := {one.target for one in jumps if one.chain in chains and one.target in mine} - chains:
        chains = chains | below
    return chains
