"""How traffic differs, as values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from nftsvc.traffic import Oddity, Reached, Target, Where
from nftsvc.values import Family


class Kind(StrEnum):
    """What becomes of a Service, or of a frontend."""

    CHANGED = "changed"
    ADDED = "added"
    REMOVED = "removed"


class Clients(StrEnum):
    """Whom a change concerns."""

    EVERYBODY = "everybody"
    INSIDE = "inside"
    OUTSIDE = "outside"


class Fact(StrEnum):
    """What can change besides endpoints: of a frontend, then of a node."""

    OUTCOME = "outcome"
    POLICY = "trafficPolicy"
    AFFINITY = "sessionAffinity"
    MASQUERADE = "masquerade"
    SOURCES = "sources"
    LOST = "lost"
    NAME = "name"

    TABLE = "table"
    CLUSTER_IP_MASQUERADE = "clusterIPMasquerade"
    PODS = "localPods"
    NODE_PORTS = "nodePortAddresses"
    OTHER_PORTS = "otherPorts"
    SERVICE_CIDRS = "serviceCIDRs"
    RULES = "rules"
    UNREAD = "notUnderstood"


class FactChange(NamedTuple):
    """A fact before and after; nothing in `old` or `new` where there was, or is, no such thing to tell."""

    fact: Fact
    old: tuple[str, ...]
    new: tuple[str, ...]
    clients: Clients = Clients.EVERYBODY


class EndpointChange(NamedTuple):
    """An endpoint before and after; None where it was, or is, none."""

    endpoint: Target
    old: Reached | None
    new: Reached | None
    clients: Clients = Clients.EVERYBODY


Change = FactChange | EndpointChange


class NodeChange(NamedTuple):
    """A fact about all Services of some families; `subject` is the address or chain that it is about, if it is."""

    families: tuple[Family, ...]
    fact: Fact
    subject: str
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PortChange:
    """What changes at those frontends of a Service port at which the same changes.

    `other` is the Service port that a frontend was taken from, or went to; `then` what happens to connections to one
    that was removed.
    """

    name: str
    kind: Kind
    frontends: tuple[Where, ...]
    changes: tuple[Change, ...]
    other: str = ""
    then: str = ""


@dataclass(frozen=True, slots=True)
class ServiceChange:
    """What changes for a Service (`namespace/name`)."""

    service: str
    kind: Kind
    ports: tuple[PortChange, ...]


class LayoutChange(NamedTuple):
    """A table whose rules are those of another layout."""

    family: Family
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """How traffic differs: for all Services alike, then by Service in the order of their names.

    `unchanged` are Services that both have. `renamed` are names of Service ports (old, new) whose frontends do the same
    as before. `families` are those that there are Services in. `oddities` are those of the old ruleset, then those of
    the new one.
    """

    node: tuple[NodeChange, ...]
    services: tuple[ServiceChange, ...]
    unchanged: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    layouts: tuple[LayoutChange, ...]
    families: tuple[Family, ...]
    oddities: tuple[tuple[Oddity, ...], tuple[Oddity, ...]]

    @property
    def same(self) -> bool:
        """Whether no packet is treated differently."""
        return not self.node and not self.services

    @property
    def layout_differs(self) -> bool:
        """Whether a table has the rules of another layout, which says nothing about packets."""
        return bool(self.layouts)

    def count(self, kind: Kind) -> int:
        """Return how many Services were changed, added or removed."""
        return sum(one.kind is kind for one in self.services)

    @property
    def summary(self) -> str:
        """Say in one line how much changes: `3 Services changed, 1 added, 0 removed; 412 unchanged`."""
        changed = self.count(Kind.CHANGED)
        added, removed = self.count(Kind.ADDED), self.count(Kind.REMOVED)
        noun = "Service" if changed == 1 else "Services"
        parts = [f"{changed} {noun} changed, {added} added, {removed} removed", f"{len(self.unchanged)} unchanged"]
        if self.renamed:
            parts.append(f"{len(self.renamed)} renamed")
        if self.node:
            parts.append(f"{len(self.node)} node-wide change{'s' * (len(self.node) != 1)}")
        return "; ".join(parts)
