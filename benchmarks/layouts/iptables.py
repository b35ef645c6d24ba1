"""The rules of a proxy in iptables mode, for iptables-nft-restore: statistic mode, a chain per Service and endpoint."""

import base64
import hashlib
from collections.abc import Iterator

from benchmarks.cluster import AFFINITY_SECONDS, POD_NETWORK, SERVICE_PORT, TARGET_PORT, Cluster

_MARK = "0x4000"
_FIXED = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ")
_NEW = "-m conntrack --ctstate NEW"
_FILTER = f"""*filter
:KUBE-FORWARD - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT {_NEW} -j KUBE-EXTERNAL-SERVICES
-A FORWARD {_NEW} -j KUBE-EXTERNAL-SERVICES
-A FORWARD -j KUBE-FORWARD
-A FORWARD {_NEW} -j KUBE-SERVICES
-A OUTPUT {_NEW} -j KUBE-SERVICES
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark {_MARK}/{_MARK} -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""


def iptables_text(cluster: Cluster) -> str:
    """Return the input of iptables-restore for both tables."""
    services = [(number, _name("KUBE-SVC", number)) for number in range(cluster.services)]
    pods = [_name("KUBE-SEP", pod) for pod in range(cluster.total)]
    chains = (*_FIXED, *(chain for _, chain in services), *pods)
    lines = [f":{chain} - [0:0]" for chain in chains]
    lines += _fixed()
    for number, chain in services:
        lines += _service(cluster, number, chain, pods)
    lines.append("-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")
    return "\n".join((_FILTER + "*nat", *lines, "COMMIT", ""))


def _name(prefix: str, number: int) -> str:
    digest = base64.b32encode(hashlib.sha256(f"{prefix}{number}".encode()).digest())[:16].decode()
    return f"{prefix}-{digest}"


def _fixed() -> Iterator[str]:
    yield '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    yield '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    yield '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'
    yield f"-A KUBE-MARK-MASQ -j MARK --or-mark {_MARK}"
    yield f"-A KUBE-POSTROUTING -m mark ! --mark {_MARK}/{_MARK} -j RETURN"
    yield f"-A KUBE-POSTROUTING -j MARK --xor-mark {_MARK}"
    yield "-A KUBE-POSTROUTING -j MASQUERADE --random-fully"


def _service(cluster: Cluster, number: int, chain: str, names: list[str]) -> Iterator[str]:
    protocol = cluster.protocol.lower()
    port = "{}/{}:http".format(*cluster.name(number))
    to = f"-d {cluster.service_address(number)}/32 -p {protocol} -m {protocol} --dport {SERVICE_PORT}"
    yield f'-A KUBE-SERVICES {to} -m comment --comment "{port} cluster IP" -j {chain}'
    yield f"-A {chain} ! -s {POD_NETWORK} {to} -j KUBE-MARK-MASQ"
    pods = cluster.pods(number)
    if cluster.affinity:
        for pod in pods:
            recent = f"-m recent --name {names[pod]} --rcheck --seconds {AFFINITY_SECONDS} --reap --rsource"
            yield f"-A {chain} {recent} -j {names[pod]}"
    for left, pod in zip(range(len(pods), 0, -1), pods, strict=True):
        chance = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        words = f"{port} -> {cluster.pod_address(pod)}:{TARGET_PORT}"
        yield f'-A {chain} -m comment --comment "{words}" {chance}-j {names[pod]}'
    for pod in pods:
        address = cluster.pod_address(pod)
        yield f"-A {names[pod]} -s {address}/32 -j KUBE-MARK-MASQ"
        recent = f"-m recent --name {names[pod]} --set --rsource " if cluster.affinity else ""
        yield f"-A {names[pod]} {recent}-p {protocol} -m {protocol} -j DNAT --to-destination {address}:{TARGET_PORT}"
