"""What a table's rules do, told by comparing them with those that this version makes.

Rules are the same whatever Services there are, and follow from a few settings. So the settings are read off the rules,
and the rules that these make are compared with those that are there: what is left is told as it is. How rules are
listed differs between versions of nft and the kernel tells no text at all, hence they are compared as everywhere else,
by comment and words; of their text, where it is known, by the numbers and names in it.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product

from nftsvc.plan import Masquerade
from nftsvc.ruleset import LAYOUT_CHAIN, Chain, Rule, Table
from nftsvc.ruleset.elements import verdicts_of
from nftsvc.ruleset.layout import chains_of
from nftsvc.ruleset.names import (
    BY_ADDRESS,
    CLUSTER_IPS,
    MASQUERADE_CLUSTER_IP,
    NODEPORT_IPS,
    POD_CIDRS,
    POOLS,
    REMEMBER,
    SERVICE_CIDRS,
    Pool,
)
from nftsvc.settings import Detector, DetectorKind, NodeSettings
from nftsvc.traffic.values import NodeTraffic
from nftsvc.values import Address, Family, Prefix, without_overlaps

UNNAMED_INTERFACE = "comes in on an interface that is not named here"
EVERY_ADDRESS = "every address of the node"
LISTED = "these addresses"
IN_NETWORKS = "addresses of the node in these networks"

_PODS = "Pods of this node"
_WHOEVER, _NO_POD = "whoever it is", "no Pod of this node"
_POOL_CHAINS = {pool.chain(0).removesuffix("0"): pool for pool in POOLS}
_COUNT = re.compile(r"(\D.*-lb-)([1-9]\d{0,4}|0)")
_INTERFACE = re.compile(r'iifname (?:!= )?"([^"]*)"')
_CONSTANT = re.compile(r'iifname (?:!= )?"[^"]*"|\bmod \d+|\btimeout \w+|!= |\bfib \w+|\b[sd]addr\b|\bct \w+')
MODULUS = re.compile(r"numgen random mod (\d+)")
_TIME = re.compile(r"(\d+)([dhms])")
_BITS = {Family.IPV4: 32, Family.IPV6: 128}
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def chooses(chain: str) -> tuple[Pool, int, bool] | None:
    """Return what a chain chooses from: the pool, of how many slots, if by session affinity first; None if nothing."""
    name = chain.removesuffix("-affinity")
    match = _COUNT.fullmatch(name)
    pool = _POOL_CHAINS.get(match[1]) if match is not None else None
    return None if pool is None or match is None else (pool, int(match[2]), name != chain)


def remembers(verdict: str) -> int | None:
    """Return for how many seconds the chain of a verdict remembers; None if it is no such chain."""
    match = re.fullmatch(rf"goto {REMEMBER}-(\d+)", verdict)
    return int(match[1]) if match is not None else None


def alike(one: Chain | None, other: Chain | None, *, sizes: bool = True) -> bool:
    """Tell whether two chains do the same, as far as can be told from what is known of them.

    `sizes` says that it counts, too, how many slots they choose from.
    """
    if one is None or other is None:
        return one is other
    texts = ((a.text, b.text) for a, b in zip(one.rules, other.rules, strict=False) if a.text and b.text)
    return one == other and all(_constants(a, sizes=sizes) == _constants(b, sizes=sizes) for a, b in texts)


def _constants(text: str, *, sizes: bool) -> list[str]:
    """Return what a rule's text says besides its words: numbers, names, what of a packet is looked at."""
    found = _CONSTANT.findall(text if sizes else MODULUS.sub("", text))
    return sorted(_in_seconds(one) if one.startswith("timeout") else one for one in found)


def _in_seconds(timeout: str) -> str:
    return f"timeout {sum(int(number) * _SECONDS[unit] for number, unit in _TIME.findall(timeout))}"


def described(chain: Chain) -> str:
    """Return a chain's rules in one line: their text, or what is known of it."""
    rules = [
        one.text or " ".join((*one.words, *((f'comment "{one.comment}"',) * bool(one.comment)))) for one in chain.rules
    ]
    return "; ".join(rules) or "no rule"


class Rules:
    """The rules of one table. `node` is what they do to all Services alike."""

    def __init__(self, table: Table) -> None:
        self._chains = {one.name: one for one in table.chains}
        self._faults: dict[str, str] = {}
        self._standard, settings = recognised(table)
        verdicts = frozenset(verdicts_of(table.elements))
        self._expected = {one.name: one for one in chains_of(settings, table.family, verdicts)}
        self.node = self._node(table, settings)

    def fault(self, name: str) -> str:
        """Say what is wrong with a chain that has a name of ours; "" if it does what its name says.

        From how many slots it chooses, its text says.
        """
        if name not in self._faults:
            chain = self._chains.get(name)
            if chain is None:
                self._faults[name] = f"chain {name}, which is not there"
            elif self._standard and not alike(chain, self._expected.get(name), sizes=False):
                self._faults[name] = f"chain {name} ({described(chain)})"
            else:
                self._faults[name] = ""
        return self._faults[name]

    def has(self, name: str) -> bool:
        """Tell whether there is a chain of that name."""
        return name in self._chains

    def text(self, name: str) -> str:
        """Return the text of a chain's rules, as far as it is known."""
        return "; ".join(rule.text for rule in self._chains[name].rules) if name in self._chains else ""

    def written(self, verdict: str) -> str:
        """Write a verdict that nothing is known of, with what the chain does that it leads to."""
        word, _, name = verdict.partition(" ")
        chain = self._chains.get(name)
        if not name:
            return word
        return f"{verdict}, a chain that is not there" if chain is None else f"{verdict} ({described(chain)})"

    def _node(self, table: Table, settings: NodeSettings) -> NodeTraffic:
        family, elements = table.family, table.elements
        detector = settings.detectors.get(family)
        by_source = detector is not None and detector.kind is DetectorKind.SOURCE
        listed = _networks(table, NODEPORT_IPS)
        return NodeTraffic(
            layout=table.layout,
            standard=self._standard,
            masquerade=self._cluster_ip_masquerade(),
            pods=_pods(detector),
            pod_networks=_networks(table, POD_CIDRS) if by_source else (),
            node_ports=_node_ports(settings, family),
            listed=listed if _node_ports(settings, family) != EVERY_ADDRESS else (),
            closed=frozenset(str(key[0]) for key in elements.get(CLUSTER_IPS, {})),
            unused=_networks(table, SERVICE_CIDRS),
            rules=dict(self._deviations()),
        )

    def _cluster_ip_masquerade(self) -> str:
        chain = self._chains.get(MASQUERADE_CLUSTER_IP)
        match [rule.comment for rule in chain.rules if "masquerade" in rule.words] if chain is not None else []:
            case []:
                return Masquerade.NOBODY
            case [comment] if comment == _WHOEVER:
                return Masquerade.EVERYBODY
            case [comment] if comment == _NO_POD:
                return Masquerade.OTHERS_THAN_LOCAL_PODS
            case _:
                return "unknown"

    def _deviations(self) -> Iterator[tuple[str, Chain | None]]:
        """Yield the chains that are not as expected; all of them where no layout is known to compare them with.

        Those that choose endpoints are looked at where an element leads to them. Of others than ours only base chains
        matter: nothing leads to the rest.
        """
        for name in sorted({*self._expected, *self._chains} - {LAYOUT_CHAIN}):
            chain, expected = self._chains.get(name), self._expected.get(name)
            if chooses(name) is not None:
                continue
            if not self._standard:
                if chain is not None:
                    yield name, chain
            elif (expected is not None or (chain is not None and chain.hook)) and not alike(chain, expected):
                yield name, chain


def recognised(table: Table) -> tuple[bool, NodeSettings]:
    """Return the settings that a table's rules were made from, and whether it names the layout that these make.

    Where they do not, or that cannot be told for want of an interface's name, they are the likeliest. Of the settings
    only what rules depend on is true: which kind of detector there is, but not whose networks.
    """
    chains = {one.name: one for one in table.chains}
    candidates = {chains_of(one, table.family, ())[0].rules[0].comment: one for one in _candidates(table, chains)}
    if table.layout in candidates:
        return True, candidates[table.layout]
    layout, likely = next(iter(candidates.items()))
    pods = _first(chains, BY_ADDRESS.by_source, _PODS)
    unnamed = pods is not None and f"@{POD_CIDRS}" not in pods.words and not _interface(pods)
    return unnamed and table.sets_layout == layout.rpartition(".")[0], likely


def _candidates(table: Table, chains: Mapping[str, Chain]) -> Iterator[NodeSettings]:
    """Yield the settings that the rules may have been made from; the likeliest first."""
    family = table.family
    pods = _first(chains, BY_ADDRESS.by_source, _PODS)
    detector = None if pods is None else _detector(table, pods)
    everybody = _first(chains, MASQUERADE_CLUSTER_IP, _WHOEVER) is not None
    restricted = any(one.name == NODEPORT_IPS for one in table.sets)
    node_ports = _first(chains, "services", "node ports")
    local = node_ports is not None and "fib daddr type local" in node_ports.text
    networks = local or any("/" in str(key[0]) for key in table.elements.get(NODEPORT_IPS, {}))
    for by_network, masquerade_all in product((networks, not networks), (everybody, not everybody)):
        yield NodeSettings(
            families=(family,),
            detectors={} if detector is None else {family: detector},
            masquerade_all=masquerade_all,
            node_port_addresses={family: (Address(""),)} if restricted and not by_network else {},
            node_port_networks={family: (Prefix(""),)} if restricted and by_network else {},
        )


def _first(chains: Mapping[str, Chain], name: str, comment: str) -> Rule | None:
    """Return a chain's first rule with a comment."""
    rules = chains[name].rules if name in chains else ()
    return next((one for one in rules if one.comment == comment), None)


def _detector(table: Table, rule: Rule) -> Detector:
    if f"@{POD_CIDRS}" in rule.words:
        return Detector(DetectorKind.SOURCE, ", ".join(_networks(table, POD_CIDRS)) or "no network")
    return Detector(DetectorKind.INTERFACE, _interface(rule))


def _interface(rule: Rule | None) -> str:
    """Return the interface that a rule names, as nft writes it (`veth*`); "" where its text is not known."""
    match = _INTERFACE.search(rule.text) if rule is not None else None
    return match[1] if match is not None else ""


def _pods(detector: Detector | None) -> str:
    if detector is None:
        return ""
    return str(detector) if detector.value else UNNAMED_INTERFACE


def _node_ports(settings: NodeSettings, family: Family) -> str:
    if family in settings.node_port_addresses:
        return LISTED
    return IN_NETWORKS if family in settings.node_port_networks else EVERY_ADDRESS


def _networks(table: Table, name: str) -> tuple[str, ...]:
    """Return the addresses and networks in a set, as few and in order; ranges that are no networks come last."""
    return networks(str(key[0]) for key in table.elements.get(name, {}))


def networks(listed: Iterable[str]) -> tuple[str, ...]:
    """Return the same addresses as few networks in order, then what is no network of its family."""
    good: dict[Family, list[Prefix]] = {family: [] for family in Family}
    others: list[str] = []
    for one in listed:
        try:
            prefix = Prefix.parse(one if "/" in one else f"{one}/{_BITS[Prefix(one).family]}")
            good[prefix.family].append(prefix)
        except ValueError:
            others.append(one)
    return (*(str(one) for group in good.values() for one in without_overlaps(group)), *sorted(others))
