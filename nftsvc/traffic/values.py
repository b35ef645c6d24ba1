"""What a ruleset does to traffic, in words of the domain: nothing here knows of slots, maps or chains that lead on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from nftsvc.explain import Outcome
from nftsvc.plan import Masquerade
from nftsvc.ruleset import Chain
from nftsvc.values import Family, authority

AS_CLUSTER_IP = "as for cluster IPs"


class Where(NamedTuple):
    """Where clients knock: an address, port and protocol (`TCP`), or a node port (the address is "")."""

    family: Family
    address: str
    protocol: str
    port: int

    def __str__(self) -> str:
        """Write `10.96.7.1:80/TCP` or `node port 30080/TCP`; the latter does not say of which family."""
        if not self.address:
            return f"node port {self.port}/{self.protocol}"
        return f"{authority(self.address, self.port)}/{self.protocol}"


class Target(NamedTuple):
    """An endpoint."""

    address: str
    port: int

    def __str__(self) -> str:
        """Write `10.244.1.5:8080`."""
        return authority(self.address, self.port)


class Reached(NamedTuple):
    """How an endpoint is reached.

    `share` of new connections lead to it, for `seconds` its clients come back to it (0: for none), `hairpin` says that
    it sees an address of the node where it reaches itself. `refused` is what meets all packets to it, if anything does.
    """

    share: Fraction
    seconds: int = 0
    hairpin: bool = False
    refused: str | None = None


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of the new connections of some clients: which endpoint they get, by how likely that is.

    `lost` is how likely none is found, `rest` what happens then (an Outcome, if it is known). `unknown` says where they
    are led to where that cannot be understood; nothing else is known of them then.
    """

    endpoints: Mapping[Target, Reached]
    lost: Fraction
    rest: str
    unknown: str = ""

    @property
    def outcome(self) -> str:
        """`forward`, what happens to all, or where they are led to."""
        return self.unknown or (Outcome.FORWARD if self.endpoints else self.rest)


@dataclass(frozen=True, slots=True)
class Frontend:
    """A way in and what it does to whom; `name` is its Service port's, `namespace/name:port` (or `namespace/name`).

    `inside` is for the node itself and its Pods, `outside` for everybody else; they are one and the same object unless
    it depends on the client (`by_client`: traffic policy Local of an external frontend). `masquerade` says whose
    connections take an address of the node: a Masquerade, AS_CLUSTER_IP, or what it leads to that cannot be understood;
    "" where nobody is forwarded. `sources` are the networks that clients must be in, in order; None for no such rule.
    """

    where: Where
    name: str = field(compare=False)
    inside: Fate
    outside: Fate
    masquerade: str
    sources: tuple[str, ...] | None
    by_client: bool = field(default=False, compare=False)

    @property
    def service(self) -> str:
        """The Service's `namespace/name`, as far as the ruleset tells it."""
        return service_of(self.name)

    @property
    def forwards(self) -> bool:
        """Whether anybody is led to an endpoint."""
        return bool(self.inside.endpoints or self.outside.endpoints)


def service_of(name: str) -> str:
    """Return the Service of a Service port's name; what names no Service stands for itself."""
    service = name.partition(":")[0]
    return service if "/" in service else name


@dataclass(frozen=True, slots=True)
class NodeTraffic:
    """What a table does to all Services alike.

    `masquerade` is whose connections to cluster IPs are masqueraded. `pods` says by what the node tells its own Pods
    ("" if it does not), `pod_networks` by which networks. `node_ports` says on which addresses of the node they answer,
    `listed` are those that are named. `closed` are cluster IPs: ports of theirs that no Service has are rejected;
    connections to other addresses of the networks in `unused` are dropped. `rules` are chains, by their names, with
    rules that this layout does not have; `standard` says that the rules are those of this version's layout otherwise.
    `unread` are elements and flags that cannot be understood.
    """

    layout: str = ""
    standard: bool = True
    masquerade: str = Masquerade.NOBODY
    pods: str = ""
    pod_networks: tuple[str, ...] = ()
    node_ports: str = ""
    listed: tuple[str, ...] = ()
    closed: frozenset[str] = frozenset()
    unused: tuple[str, ...] = ()
    rules: Mapping[str, Chain | None] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


class Oddity(NamedTuple):
    """Something in a ruleset that nftsvc would not have made: where, and what."""

    family: Family
    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a ruleset does to traffic: at each frontend, to all alike (by the family of each table), and oddities."""

    frontends: Mapping[Where, Frontend]
    nodes: Mapping[Family, NodeTraffic]
    oddities: tuple[Oddity, ...] = ()
