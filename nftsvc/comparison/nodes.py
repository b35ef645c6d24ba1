"""What changes for all Services alike."""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator
from ipaddress import ip_address, ip_network

from nftsvc.comparison.values import Fact, LayoutChange, NodeChange
from nftsvc.explain import Outcome
from nftsvc.plan import Masquerade
from nftsvc.traffic import AS_CLUSTER_IP, UNNAMED_INTERFACE, NodeTraffic, Traffic, alike, described
from nftsvc.values import Family


def node_changes(old: Traffic, new: Traffic, told: Container[tuple[Family, str]]) -> Iterator[NodeChange]:
    """Yield what changes for all Services alike, once where it is the same in both families.

    `told` are addresses with frontends that come or go: that their other ports are rejected, too, goes without saying.
    """
    found: dict[tuple[Fact, str, tuple[str, ...], tuple[str, ...]], list[Family]] = defaultdict(list)
    for family in Family:
        for fact, subject, was, becomes in _Nodes(family, old, new, told).changes():
            found[fact, subject, was, becomes].append(family)
    for (fact, subject, was, becomes), families in found.items():
        yield NodeChange(tuple(families), fact, subject, was, becomes)


_Told = tuple[Fact, str, tuple[str, ...], tuple[str, ...]]


class _Nodes:
    """Compares what two tables of one family do to all Services alike; what concerns none of them does not count."""

    def __init__(self, family: Family, old: Traffic, new: Traffic, told: Container[tuple[Family, str]]) -> None:
        self._family, self._told, self._traffic = family, told, (old, new)
        self._sides = old.nodes.get(family), new.nodes.get(family)
        self._frontends = [
            one for side in (old, new) for where, one in side.frontends.items() if where.family == family
        ]

    def changes(self) -> Iterator[_Told]:
        """Yield what changes."""
        was, becomes = self._sides
        if was is not None and becomes is not None:
            yield from self._settings(was, becomes)
            yield from _rules(was, becomes)
        elif self._frontends:
            yield Fact.TABLE, "", (_there(was),), (_there(becomes),)
        was, becomes = was or NodeTraffic(), becomes or NodeTraffic()
        if was.unused != becomes.unused:
            yield Fact.SERVICE_CIDRS, "", was.unused, becomes.unused
        yield from self._other_ports(was, becomes)
        if sorted(was.unread) != sorted(becomes.unread):
            yield Fact.UNREAD, "", was.unread, becomes.unread

    def _settings(self, was: NodeTraffic, becomes: NodeTraffic) -> Iterator[_Told]:
        frontends = self._frontends
        by_rule = any(one.masquerade == AS_CLUSTER_IP for one in frontends)
        if by_rule and was.masquerade != becomes.masquerade:
            yield Fact.CLUSTER_IP_MASQUERADE, "", (was.masquerade,), (becomes.masquerade,)
        others = Masquerade.OTHERS_THAN_LOCAL_PODS in (was.masquerade, becomes.masquerade)
        unnamed = UNNAMED_INTERFACE in (was.pods, becomes.pods) and was.layout == becomes.layout
        matter = (by_rule and others) or any(one.by_client for one in frontends)
        if was.pods != becomes.pods and not unnamed and matter:
            yield Fact.PODS, "", (was.pods,) if was.pods else (), (becomes.pods,) if becomes.pods else ()
        answers = [(one.node_ports, *one.listed) for one in (was, becomes)]
        if answers[0] != answers[1] and any(not one.where.address for one in frontends):
            yield Fact.NODE_PORTS, "", answers[0], answers[1]

    def _other_ports(self, was: NodeTraffic, becomes: NodeTraffic) -> Iterator[_Told]:
        """Yield the cluster IPs whose other ports are rejected from now on, or no longer."""
        served = [{where.address for where in side.frontends if where.family == self._family} for side in self._traffic]
        for address in sorted(was.closed ^ becomes.closed):
            closed = [address in one.closed for one in (was, becomes)]
            if closed != [address in one for one in served] or (self._family, address) not in self._told:
                fates = no_frontend(address, was), no_frontend(address, becomes)
                yield Fact.OTHER_PORTS, address, (fates[0],), (fates[1],)


def no_frontend(address: str, node: NodeTraffic) -> Outcome:
    """Say what happens to connections to ports of an address that no Service has."""
    if address in node.closed:
        return Outcome.REJECT
    return Outcome.DROP if covered(address, node.unused) else Outcome.PASS


def covered(address: str, networks: Iterable[str]) -> bool:
    """Tell whether an address is in one of the networks; what is no network covers nothing."""
    return any(ip_address(address) in ip_network(one) for one in networks if not set(one) & set("- "))


def _there(node: NodeTraffic | None) -> str:
    return "absent" if node is None else "present"


def _rules(was: NodeTraffic, becomes: NodeTraffic) -> Iterator[_Told]:
    """Yield the chains that differ; not between two layouts, of which one is not known."""
    if was.layout != becomes.layout and not (was.standard and becomes.standard):
        return
    for name in sorted(was.rules.keys() | becomes.rules.keys()):
        chains = [one.rules.get(name) for one in (was, becomes)]
        if not ((name in was.rules) == (name in becomes.rules) and alike(*chains)):
            old, new = (() if one is None else (described(one),) for one in chains)
            yield Fact.RULES, name, old, new


def layout_changes(old: Traffic, new: Traffic) -> Iterator[LayoutChange]:
    """Yield the tables whose rules are of another layout, and not of this version's on both sides."""
    for family, was in old.nodes.items():
        becomes = new.nodes.get(family)
        if becomes is not None and was.layout != becomes.layout and not (was.standard and becomes.standard):
            yield LayoutChange(family, was.layout, becomes.layout)
