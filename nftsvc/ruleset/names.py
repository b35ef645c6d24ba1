"""Every name in a table, and which names belong together."""

from typing import NamedTuple

from nftsvc.ruleset.objects import Key

TABLE = "nftsvc"

SERVICE_IPS = "service-ips"
NODEPORTS = "nodeports"
INSIDE_IPS, INSIDE_NODEPORTS = "inside-ips", "inside-nodeports"
OUTSIDE_IPS, OUTSIDE_NODEPORTS = "outside-ips", "outside-nodeports"
NO_ENDPOINTS, NO_ENDPOINT_NODEPORTS = "no-endpoints", "no-endpoint-nodeports"
MASQUERADE_IPS, MASQUERADE_NODEPORTS = "masquerade-ips", "masquerade-nodeports"
AFFINITY_ENDPOINTS, AFFINITY_NODEPORT_ENDPOINTS = "affinity-endpoints", "affinity-nodeport-endpoints"
CLUSTER_IPS = "cluster-ips"
NODEPORT_IPS = "nodeport-ips"
GUARDED_IPS = "guarded-ips"
ALLOWED_SOURCES = "allowed-sources"
SERVICE_CIDRS = "service-cidrs"
POD_CIDRS = "pod-cidrs"
HAIRPIN = "hairpin"

REJECT = "reject-connection"
MASQUERADE_ALWAYS = "masquerade-always"
MASQUERADE_OWN = "masquerade-own"
MASQUERADE_CLUSTER_IP = "masquerade-cluster-ip"
MASQUERADING = "masquerading"
REMEMBER = "remember"
UNSERVED = "unserved"

# One endpoint map for each protocol, because nft 1.0.6 cannot add a rule that uses a map it finds in the kernel if that
# map was declared with `th dport`: "conflicting protocols specified: tcp vs. th".
PROTOCOLS = ("tcp", "udp", "sctp")


class Way(NamedTuple):
    """The maps and chains of a way into Services: by address, or by node port (then keys have no address).

    `verdicts` leads to endpoints, or to the chain `by_source` where it depends on the client whose endpoints they are:
    `inside` has the verdicts for this node and its Pods, `outside` those for everybody else.
    """

    verdicts: str
    inside: str
    outside: str
    rejected: str
    masquerade: str
    affinity: str
    by_source: str
    infix: str


BY_ADDRESS = Way(
    SERVICE_IPS, INSIDE_IPS, OUTSIDE_IPS, NO_ENDPOINTS, MASQUERADE_IPS, AFFINITY_ENDPOINTS, "local-ips", ""
)
BY_PORT = Way(
    NODEPORTS,
    INSIDE_NODEPORTS,
    OUTSIDE_NODEPORTS,
    NO_ENDPOINT_NODEPORTS,
    MASQUERADE_NODEPORTS,
    AFFINITY_NODEPORT_ENDPOINTS,
    "local-nodeports",
    "nodeport-",
)
WAYS = (BY_ADDRESS, BY_PORT)


class Pool(NamedTuple):
    """Endpoints behind frontends: of one way in, one protocol, and the whole cluster or this node only."""

    way: Way
    protocol: str
    local: bool

    @property
    def endpoints(self) -> str:
        """The map from frontend and slot to endpoint."""
        return f"{self.protocol}-{'local-' * self.local}{self.way.infix}endpoints"

    def chain(self, count: int, *, affinity: bool = False) -> str:
        """Return the chain that chooses one of so many endpoints."""
        return f"{self.protocol}-{'local-' * self.local}{self.way.infix}lb-{count}{'-affinity' * affinity}"


POOLS = tuple(Pool(way, protocol, local) for way in WAYS for local in (False, True) for protocol in PROTOCOLS)
POOL_OF_MAP = {pool.endpoints: pool for pool in POOLS}


def remember(seconds: int) -> str:
    """Return the chain that remembers for so many seconds which endpoint a client has."""
    return f"{REMEMBER}-{seconds}"


def affinity_maps(protocol: str) -> tuple[str, str]:
    """Return the IPv6 maps of a protocol that lead a client back to its endpoint's address, and to its port."""
    return f"{protocol}-affinity", f"{protocol}-affinity-ports"


AFFINITY = "affinity"
AFFINITY_MAPS = (AFFINITY, *(name for protocol in PROTOCOLS for name in affinity_maps(protocol)))

_SHARED = (CLUSTER_IPS, NODEPORT_IPS, SERVICE_CIDRS, POD_CIDRS, HAIRPIN, *AFFINITY_MAPS[1:])
_FRONTEND_PARTS = {ALLOWED_SOURCES: 3, AFFINITY_ENDPOINTS: 3, AFFINITY_NODEPORT_ENDPOINTS: 2}


def frontend_key(name: str, key: Key) -> Key | None:
    """Return the frontend (its key in a verdict map) of an element of the named set; None if it may serve several."""
    if name in POOL_OF_MAP:
        return (*key[:-2], POOL_OF_MAP[name].protocol, *key[-2:-1])
    if name in _SHARED:
        return None
    if name == AFFINITY:
        return key[1:]
    return key[: _FRONTEND_PARTS.get(name, len(key))]
