"""kube-proxy's nftables objects, as text for `nft -f`, for ClusterIP Services: releases 1.30 and 1.36.

Written from a description of what kube-proxy leaves in the kernel: the same chains, rules, sets, maps and elements, one
transaction, additions only. Detection of local Pods by cluster CIDR is on, node ports answer on the node's own address.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.cluster import (
    AFFINITY_SECONDS,
    NODE_ADDRESS,
    POD_NETWORK,
    PORT_NAME,
    SERVICE_PORT,
    TARGET_PORT,
    Cluster,
)

TABLE = "ip kube-proxy"
_MARK = "0x4000"
_NOT_A_POD = f"ip saddr != {POD_NETWORK}"
_DESTINATION = "ip daddr . meta l4proto . th dport"


@dataclass(frozen=True, slots=True)
class Release:
    """What differs between the releases: `chain_per_endpoint` is 1.30, else endpoints are in an anonymous map."""

    name: str
    chain_per_endpoint: bool


KUBE_PROXY_130 = Release("1.30", chain_per_endpoint=True)
KUBE_PROXY_136 = Release("1.36", chain_per_endpoint=False)


@dataclass(frozen=True, slots=True)
class Counts:
    """How many objects a table has."""

    chains: int
    rules: int
    sets: int
    maps: int
    elements: int


def kube_proxy_counts(release: Release, cluster: Cluster) -> Counts:
    """Return what the table is to have; `elements` are those of named sets and maps."""
    services, endpoints, affinity = cluster.services, cluster.endpoints, int(cluster.affinity)
    local = sum(map(cluster.is_local, range(cluster.total)))
    if release.chain_per_endpoint:
        per_service = (1 + endpoints, 2 + endpoints * affinity + endpoints * (2 + affinity))
        fixed = Counts(chains=16, rules=22, sets=2, maps=5, elements=1)
    else:
        per_service = (1 + endpoints * affinity, 1 + 3 * endpoints * affinity)
        fixed = Counts(chains=15, rules=21, sets=3, maps=5, elements=1 + local)
    return Counts(
        chains=fixed.chains + services * per_service[0],
        rules=fixed.rules + services * per_service[1],
        sets=fixed.sets + services * endpoints * affinity,
        maps=fixed.maps,
        elements=fixed.elements + 2 * services,
    )


def kube_proxy_text(release: Release, cluster: Cluster) -> str:
    """Return the commands that load the whole table."""
    lines = [f"add table {TABLE}"]
    lines += (f"add {line}" for line in _sets())
    lines += _fixed_130() if release.chain_per_endpoint else _fixed_136()
    lines.append(f"add element {TABLE} nodeport-ips {{ {NODE_ADDRESS} }}")
    for number in range(cluster.services):
        lines += _service(release, cluster, number)
    if not release.chain_per_endpoint:
        lines += _hairpins(cluster)
    return "\n".join(lines) + "\n"


# What is the same for any cluster -------------------------------------------------------------------------------------


def _sets() -> Iterator[str]:
    yield f"set {TABLE} cluster-ips {{ type ipv4_addr ; }}"
    yield f"set {TABLE} nodeport-ips {{ type ipv4_addr ; }}"
    for name in ("service-ips", "firewall-ips", "no-endpoint-services"):
        yield f"map {TABLE} {name} {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}"
    for name in ("service-nodeports", "no-endpoint-nodeports"):
        yield f"map {TABLE} {name} {{ type inet_proto . inet_service : verdict ; }}"


def _chain(name: str, hook: str, *rules: str) -> Iterator[str]:
    """Yield a chain, a base chain where there is a hook."""
    yield f"add chain {TABLE} {name} {f'{{ type {hook} ; }}' if hook else ''}".rstrip()
    for rule in rules:
        yield f"add rule {TABLE} {name} {rule}"


def _shared() -> Iterator[str]:
    """Yield the chains that both releases have alike."""
    yield from _chain("firewall-check", "", f"{_DESTINATION} vmap @firewall-ips")
    yield from _chain("service-endpoints-check", "", f"{_DESTINATION} vmap @no-endpoint-services")
    node_port = "ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"
    yield from _chain("nodeport-endpoints-check", "", node_port)
    yield from _chain("reject-chain", "", "reject")
    yield from _chain("cluster-ips-check", "", "ip daddr @cluster-ips reject")


def _services(*first: str) -> Iterator[str]:
    node_ports = "ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports"
    yield from _chain("services", "", *first, f"{_DESTINATION} vmap @service-ips", node_ports)


def _jumps(*chains: str) -> tuple[str, ...]:
    return tuple(f"ct state new jump {one}" for one in chains)


def _nat() -> Iterator[str]:
    yield from _chain("nat-prerouting", "nat hook prerouting priority -100", "jump services")
    yield from _chain("nat-output", "nat hook output priority -100", "jump services")
    yield from _chain("nat-postrouting", "nat hook postrouting priority 100", "jump masquerading")


def _fixed_130() -> Iterator[str]:
    yield from _chain("mark-for-masquerade", "", f"meta mark set mark or {_MARK}")
    yield from _chain(
        "masquerading",
        "",
        f"meta mark & {_MARK} == 0 return",
        f"meta mark set meta mark ^ {_MARK}",
        "masquerade fully-random",
    )
    yield from _shared()
    yield from _services()
    yield from _chain("filter-prerouting", "filter hook prerouting priority -110", *_jumps("firewall-check"))
    checks = _jumps("nodeport-endpoints-check", "service-endpoints-check")
    yield from _chain("filter-input", "filter hook input priority -110", *checks)
    checks = _jumps("service-endpoints-check", "cluster-ips-check")
    yield from _chain("filter-forward", "filter hook forward priority -110", *checks)
    checks = _jumps("service-endpoints-check", "firewall-check")
    yield from _chain("filter-output", "filter hook output priority -110", *checks)
    yield from _chain("filter-output-post-dnat", "filter hook output priority -90", *_jumps("cluster-ips-check"))
    yield from _nat()


def _fixed_136() -> Iterator[str]:
    pair = "ip saddr . ip daddr . meta l4proto . th dport"
    kind = "ipv4_addr . ipv4_addr . inet_proto . inet_service"
    yield f"add set {TABLE} hairpin-connections {{ type {kind} ; }}"
    yield from _chain(
        "masquerading",
        "",
        f"meta mark & {_MARK} != 0 meta mark set meta mark ^ {_MARK} masquerade fully-random",
        f"ct status dnat {pair} @hairpin-connections masquerade fully-random",
    )
    yield from _shared()
    yield from _services(f"ip daddr @cluster-ips {_NOT_A_POD} meta mark set mark or {_MARK}")
    for hook in ("prerouting", "output"):
        base = f"filter hook {hook} priority -110"
        yield from _chain(f"filter-{hook}-pre-dnat", base, *_jumps("firewall-check"))
    checks = _jumps("nodeport-endpoints-check", "service-endpoints-check")
    yield from _chain("filter-input", "filter hook input priority 0", *checks)
    checks = _jumps("service-endpoints-check", "cluster-ips-check")
    for hook in ("forward", "output"):
        yield from _chain(f"filter-{hook}", f"filter hook {hook} priority 0", *checks)
    yield from _nat()


# What is for each Service ---------------------------------------------------------------------------------------------


def _name(prefix: str, rest: str) -> str:
    digest = base64.b32encode(hashlib.sha256(rest.encode()).digest())[:8].decode()
    return f"{prefix}-{digest}-{rest}"


def _service(release: Release, cluster: Cluster, number: int) -> Iterator[str]:
    namespace, name = cluster.name(number)
    protocol = cluster.protocol.lower()
    rest = f"{namespace}/{name}/{protocol}/{PORT_NAME}"
    chain = _name("service", rest)
    address = cluster.service_address(number)
    pods = [cluster.pod_address(pod) for pod in cluster.pods(number)]
    rests = [f"{rest}__{pod}/{TARGET_PORT}" for pod in pods]
    rules: list[str] = []
    if release.chain_per_endpoint:
        rules.append(f"ip daddr {address} {protocol} dport {SERVICE_PORT} {_NOT_A_POD} jump mark-for-masquerade")
    if cluster.affinity:
        rules += (f"ip saddr @{_name('affinity', one)} goto {_name('endpoint', one)}" for one in rests)
    if release.chain_per_endpoint or cluster.affinity:
        for pod, one in zip(pods, rests, strict=True):
            yield from _endpoint(release, cluster, pod, one)
        entries = (f"{slot} : goto {_name('endpoint', one)}" for slot, one in enumerate(rests))
        rules.append(f"numgen random mod {len(pods)} vmap {{ {', '.join(entries)} }}")
    else:
        entries = (f"{slot} : {pod} . {TARGET_PORT}" for slot, pod in enumerate(pods))
        choice = f"numgen random mod {len(pods)} map {{ {', '.join(entries)} }}"
        rules.append(f"meta l4proto {protocol} dnat ip to {choice}")
    yield from _chain(chain, "", *rules)
    yield f"add element {TABLE} cluster-ips {{ {address} }}"
    yield f"add element {TABLE} service-ips {{ {address} . {protocol} . {SERVICE_PORT} : goto {chain} }}"


def _endpoint(release: Release, cluster: Cluster, pod: str, rest: str) -> Iterator[str]:
    """Yield an endpoint's chain, with affinity its set, too."""
    rules = [f"ip saddr {pod} jump mark-for-masquerade"] if release.chain_per_endpoint else []
    if cluster.affinity:
        affinity = _name("affinity", rest)
        flags = f"flags dynamic,timeout ; timeout {AFFINITY_SECONDS}s"
        yield f"add set {TABLE} {affinity} {{ type ipv4_addr ; {flags} ; }}"
        rules.append(f"update @{affinity} {{ ip saddr }}")
    rules.append(f"meta l4proto {cluster.protocol.lower()} dnat to {pod}:{TARGET_PORT}")
    yield from _chain(_name("endpoint", rest), "", *rules)


def _hairpins(cluster: Cluster) -> Iterator[str]:
    for pod in filter(cluster.is_local, range(cluster.total)):
        address = cluster.pod_address(pod)
        key = f"{address} . {address} . {cluster.protocol.lower()} . {TARGET_PORT}"
        yield f"add element {TABLE} hairpin-connections {{ {key} }}"
