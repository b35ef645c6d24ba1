"""What becomes of each field here, in a sentence for whoever comes from kube-proxy."""

from collections.abc import Mapping

from nftsvc.configuration import fields
from nftsvc.configuration.agent import HEALTHZ_PORT, METRICS_PORT
from nftsvc.configuration.durations import Duration
from nftsvc.configuration.fields import Field, Values
from nftsvc.configuration.other_modes import OTHER_MODES
from nftsvc.configuration.readers import Listen, is_unspecified, node_address
from nftsvc.configuration.verdict import NO_MARK, NOT_ON_LOOPBACK, Judge, Judgement, Verdict

_OR_WARNS = "Where that is not allowed nftsvc warns and goes on; kube-proxy exits."
_LEFT = "Left as it is."
_WINDOWS = (Verdict.IGNORED, "For Windows only.")
_NO_LIMIT = "Requests are so few (a list and a watch of each kind, with growing pauses after failures) that none waits."
_LEAVES_RULES = "kube-proxy's own rules stay until kube-proxy --cleanup removes them."


def judge(field: Field[object], values: Values) -> Judgement:
    """Say what becomes of a field with the meaning that it has in a configuration, given or not."""
    judgement = _FIXED.get(field.path)
    return judgement if judgement is not None else _JUDGES[field.path](values)


def judge_gate(name: str, *, enabled: bool) -> Judgement:
    """Say what becomes of a feature gate."""
    known = _GATES.get(name)
    if known is None:
        return Verdict.IGNORED, "nftsvc has no feature gates."
    served, text = known
    return Verdict.HONOURED if enabled is served else Verdict.DIFFERENT, text


# Whether nftsvc does what the gate turns on, and what it does.
_GATES: Mapping[str, tuple[bool, str]] = {
    "AllowServiceExternalIPs": (True, "External IPs are always served."),
    "KubeProxyDrainingTerminatingNodes": (True, "A node that is to be removed is always reported as not eligible."),
    "KubeProxyNFTablesLocalhostNodePorts": (False, f"{NOT_ON_LOOPBACK}."),
    "LoadBalancerIPMode": (True, "Addresses with ipMode Proxy are never captured."),
    "MultiCIDRServiceAllocator": (True, "ServiceCIDRs are used wherever the server has them."),
    "NFTablesProxyMode": (True, "There is no other mode here."),
    "PreferSameTrafficDistribution": (True, "Hints for nodes and zones are always obeyed."),
    "ServiceTrafficDistribution": (True, "Hints are always obeyed, whatever the Service's annotations."),
    "TopologyAwareHints": (True, "Hints are always obeyed."),
}


# The node and its packets --------------------------------------------------------------------------------------------


def _mode(values: Values) -> Judgement:
    if values.mode == "nftables":
        return Verdict.HONOURED, f"What nftsvc stands in for. {_LEAVES_RULES}"
    empty = "" if values[fields.MODE] else " Empty means iptables."
    text = f"nftsvc works as mode nftables does.{empty} {_LEAVES_RULES}"
    if values.mode == "ipvs":
        return Verdict.DIFFERENT, (
            f"{text} Cluster IPs and external addresses are no longer bound to the node (kube-ipvs0): they answer on"
            " their Services' ports only, to no ping and for no process of the node. The table of ipvsadm is empty;"
            " nft list map ip nftsvc service-ips counts connections instead."
        )
    return Verdict.DIFFERENT, (
        f"{text} Nothing is accepted on behalf of a firewall that drops it, so open node ports there. Packets in state"
        " invalid are not dropped; on kernels before 6.1 conntrack.tcpBeLiberal: true keeps connections from being"
        " reset by them."
    )


def _bind_address(values: Values) -> Judgement:
    address = values[fields.BIND_ADDRESS]
    if not address or is_unspecified(address):
        return Verdict.HONOURED, "Says nothing about the node: its addresses are those of the Node object."
    if node_address(address) is None:
        return Verdict.DIFFERENT, f"{address} is nothing a node can be reached at; the Node object's addresses count."
    return Verdict.HONOURED, f"{address} is the node's primary address of its family. Nothing is bound to it."


def _detect_local_mode(values: Values) -> Judgement:
    means = {
        "ClusterCIDR": "A packet from clusterCIDR comes from a Pod.",
        "NodeCIDR": "A packet from the Node's podCIDRs comes from a Pod.",
        "BridgeInterface": "A packet that comes in on detectLocal.bridgeInterface comes from a Pod.",
        "InterfaceNamePrefix": "A packet that comes in on an interface of detectLocal.interfaceNamePrefix comes from a"
        " Pod.",
    }
    return Verdict.HONOURED, means[values.detect_local_mode]


def _cluster_cidr(values: Values) -> Judgement:
    if values.detect_local_mode != "ClusterCIDR":
        return _not_in_this_detect_mode(values)
    if not values[fields.CLUSTER_CIDR]:
        return (
            Verdict.HONOURED,
            "Without it no Pod is told from others: only masqueradeAll masquerades at cluster IPs.",
        )
    return Verdict.HONOURED, "Pods are known by these networks; everybody else is masqueraded at cluster IPs."


def _interface(mode: str) -> Judge:
    def judged(values: Values) -> Judgement:
        if values.detect_local_mode != mode:
            return _not_in_this_detect_mode(values)
        return Verdict.HONOURED, "Pods are known by it; everybody else is masqueraded at cluster IPs."

    return judged


def _not_in_this_detect_mode(values: Values) -> Judgement:
    return Verdict.IGNORED, f"Not used with detectLocalMode {values.detect_local_mode}, as in kube-proxy."


def _node_port_addresses(values: Values) -> Judgement:
    networks = values[fields.NODE_PORT_ADDRESSES]
    if not networks.served and values.mode != "nftables":
        return Verdict.DIFFERENT, (
            f"Without it node ports answer on the node's primary addresses only; in mode {values.mode} they answered"
            " on every local address. Write 0.0.0.0/0 and ::/0 to keep that."
        )
    if not networks.served:
        return Verdict.HONOURED, "Without it node ports answer on the node's primary addresses."
    families = " and ".join(networks.open_families)
    text = "Node ports answer on the node's addresses in these networks"
    text += f", in {families} on all but loopback." if families else "."
    if not networks.left_out:
        return Verdict.HONOURED, text
    nowhere = f", so nowhere in {' and '.join(networks.nowhere)}" if networks.nowhere else ""
    text += f" Not on {', '.join(networks.left_out)} (no packet to loopback can leave the node){nowhere}."
    return Verdict.DIFFERENT, text


# Servers -------------------------------------------------------------------------------------------------------------


def healthz_of(values: Values) -> Listen:
    """Return where health is told: by default on every address of the family of bindAddress."""
    default = Listen("::" if ":" in values[fields.BIND_ADDRESS] else "0.0.0.0", HEALTHZ_PORT)  # noqa: S104
    return values[fields.HEALTHZ_BIND_ADDRESS] or default


def metrics_of(values: Values) -> Listen:
    """Return where metrics are told: by default on the loopback address of the family of bindAddress."""
    default = Listen("::1" if ":" in values[fields.BIND_ADDRESS] else "127.0.0.1", METRICS_PORT)
    return values[fields.METRICS_BIND_ADDRESS] or default


def _healthz(values: Values) -> Judgement:
    return Verdict.HONOURED, f"The node's health is told at {healthz_of(values)}."


def _metrics(values: Values) -> Judgement:
    return Verdict.HONOURED, f"Metrics are told at {metrics_of(values)}."


# The kernel and the process ------------------------------------------------------------------------------------------


def _max_per_core(values: Values) -> Judgement:
    if not values[fields.MAX_PER_CORE]:
        return Verdict.HONOURED, "nf_conntrack_max is left as it is."
    return Verdict.DIFFERENT, (
        f"nf_conntrack_max becomes this for each CPU, but not less than conntrack.min and at most 1048576. {_OR_WARNS}"
    )


def _min_conntrack(values: Values) -> Judgement:
    if not values[fields.MAX_PER_CORE]:
        return Verdict.IGNORED, "conntrack.maxPerCore: 0 leaves the size as it is, as in kube-proxy."
    return Verdict.DIFFERENT, f"nf_conntrack_max becomes at least this. {_OR_WARNS}"


def _sysctl(field: Field[Duration], name: str) -> Judge:
    def judged(values: Values) -> Judgement:
        if not values[field]:
            return Verdict.HONOURED, _LEFT
        return Verdict.DIFFERENT, f"{name} becomes this, in seconds. {_OR_WARNS}"

    return judged


def _be_liberal(values: Values) -> Judgement:
    if not values[fields.TCP_BE_LIBERAL]:
        return Verdict.HONOURED, _LEFT
    return Verdict.DIFFERENT, f"nf_conntrack_tcp_be_liberal becomes 1. {_OR_WARNS}"


_FIXED: Mapping[str, Judgement] = {
    "hostnameOverride": (
        Verdict.HONOURED,
        "The node's name, trimmed and in lower case; --node comes before it, without both it is the host's name.",
    ),
    "nftables.masqueradeAll": (Verdict.HONOURED, "Whether everybody is masqueraded at cluster IPs."),
    "nftables.masqueradeBit": (Verdict.DIFFERENT, NO_MARK),
    "nftables.minSyncPeriod": (
        Verdict.HONOURED,
        "A change is written at once after a pause; under load writes are this far apart. The default is 10ms, not 1s.",
    ),
    "nftables.syncPeriod": (
        Verdict.DIFFERENT,
        (
            "Only a limit: a node with a change older than twice this that is not in the kernel is unhealthy. Failed"
            " writes are tried again after growing pauses, foreign changes repaired at once."
        ),
    ),
    "bindAddressHardFail": (
        Verdict.HONOURED,
        "Whether nftsvc exits where it cannot listen for health and metrics; without it it tries again.",
    ),
    "enableProfiling": (Verdict.IGNORED, "There are no Go profiles to serve."),
    "showHiddenMetricsForVersion": (Verdict.IGNORED, "No metrics are hidden."),
    "clientConnection.kubeconfig": (
        Verdict.HONOURED,
        "How the cluster is reached, unless --kubeconfig says; without both, as a Pod. nftsvc needs the file, too.",
    ),
    "clientConnection.acceptContentTypes": (Verdict.IGNORED, "nftsvc asks for JSON."),
    "clientConnection.contentType": (Verdict.IGNORED, "nftsvc asks for JSON."),
    "clientConnection.qps": (Verdict.IGNORED, _NO_LIMIT),
    "clientConnection.burst": (Verdict.IGNORED, _NO_LIMIT),
    "configSyncPeriod": (
        Verdict.IGNORED,
        "Nothing is fetched anew at intervals: watches go on where they ended, and lists are read where they cannot.",
    ),
    "oomScoreAdj": (Verdict.HONOURED, "Written once at the start; a failure is only logged."),
    "logging.format": (Verdict.HONOURED, "Lines of text or of JSON, on standard error."),
    "logging.verbosity": (
        Verdict.DIFFERENT,
        "From 1 on nftsvc tells what only helps developers, too, from 2 on what its libraries do; no more above.",
    ),
    "logging.flushFrequency": (Verdict.IGNORED, "Each line is written at once."),
    "logging.vmodule": (Verdict.IGNORED, "It names source files of kube-proxy."),
    "logging.options.text.splitStream": (Verdict.IGNORED, "Every line goes to standard error."),
    "logging.options.text.infoBufferSize": (Verdict.IGNORED, "Each line is written at once."),
    "logging.options.json.splitStream": (Verdict.IGNORED, "Every line goes to standard error."),
    "logging.options.json.infoBufferSize": (Verdict.IGNORED, "Each line is written at once."),
    "winkernel.networkName": _WINDOWS,
    "winkernel.sourceVip": _WINDOWS,
    "winkernel.enableDSR": _WINDOWS,
    "winkernel.rootHnsEndpointName": _WINDOWS,
    "winkernel.forwardHealthCheckVip": _WINDOWS,
    "windowsRunAsService": _WINDOWS,
    "portRange": (Verdict.IGNORED, "kube-proxy does not use it either."),
}

_JUDGES: Mapping[str, Judge] = {
    "mode": _mode,
    "bindAddress": _bind_address,
    "detectLocalMode": _detect_local_mode,
    "clusterCIDR": _cluster_cidr,
    "detectLocal.bridgeInterface": _interface("BridgeInterface"),
    "detectLocal.interfaceNamePrefix": _interface("InterfaceNamePrefix"),
    "nodePortAddresses": _node_port_addresses,
    "healthzBindAddress": _healthz,
    "metricsBindAddress": _metrics,
    "conntrack.maxPerCore": _max_per_core,
    "conntrack.min": _min_conntrack,
    "conntrack.tcpEstablishedTimeout": _sysctl(fields.TCP_ESTABLISHED, "nf_conntrack_tcp_timeout_established"),
    "conntrack.tcpCloseWaitTimeout": _sysctl(fields.TCP_CLOSE_WAIT, "nf_conntrack_tcp_timeout_close_wait"),
    "conntrack.tcpBeLiberal": _be_liberal,
    "conntrack.udpTimeout": _sysctl(fields.UDP_TIMEOUT, "nf_conntrack_udp_timeout"),
    "conntrack.udpStreamTimeout": _sysctl(fields.UDP_STREAM_TIMEOUT, "nf_conntrack_udp_timeout_stream"),
    **OTHER_MODES,
}
