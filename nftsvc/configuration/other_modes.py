"""What becomes of the fields of kube-proxy's modes iptables and ipvs: what their users will see change."""

from collections.abc import Callable, Mapping

from nftsvc.configuration import fields
from nftsvc.configuration.durations import Duration
from nftsvc.configuration.fields import Field, Values
from nftsvc.configuration.verdict import NO_MARK, NOT_ON_LOOPBACK, Judge, Judgement, Verdict


def _only_for(*modes: str) -> Callable[[Judge], Judge]:
    """Judge a field of other modes: where the configuration is for none of them kube-proxy does not use it either."""

    def limited(judged: Judge) -> Judge:
        def judged_in_mode(values: Values) -> Judgement:
            if values.mode not in modes:
                return Verdict.IGNORED, f"For mode {' and '.join(modes)} only, as in kube-proxy."
            return judged(values)

        return judged_in_mode

    return limited


def _always(verdict: Verdict, text: str) -> Judge:
    return lambda _values: (verdict, text)


def _read_instead(field: Field[Duration], other: Field[Duration]) -> Judge:
    """Judge a period of another mode, instead of which `field` counts."""

    def judged(values: Values) -> Judgement:
        if values[field] == values[other]:
            return Verdict.IGNORED, f"{field.path} counts instead, and says the same."
        return Verdict.DIFFERENT, f"{field.path} counts instead, which is {values[field]}."

    return judged


def _other_masquerade_all(values: Values) -> Judgement:
    if values[fields.IPTABLES_MASQUERADE_ALL] == values[fields.MASQUERADE_ALL]:
        return Verdict.IGNORED, "nftables.masqueradeAll counts instead, and says the same."
    return Verdict.DIFFERENT, (
        "nftables.masqueradeAll counts instead, as in kube-proxy's mode nftables. Set it to the same value to keep what"
        " you have."
    )


def _localhost_node_ports(values: Values) -> Judgement:
    networks = values[fields.NODE_PORT_ADDRESSES]
    served = not networks.served or networks.left_out or "IPv4" in networks.open_families
    if not values[fields.LOCALHOST_NODE_PORTS] or not served:
        return Verdict.HONOURED, f"{NOT_ON_LOOPBACK}."
    return Verdict.DIFFERENT, (
        f"{NOT_ON_LOOPBACK}: clients on the node must use one of its other addresses. kube-proxy's metric"
        " iptables_localhost_nodeports_accepted_packets_total tells whether there are any."
    )


def _snat_node_internal_ip(values: Values) -> Judgement:
    if not values[fields.SNAT_NODE_INTERNAL_IP]:
        return Verdict.HONOURED, "Masquerading takes the address of the interface that a packet leaves by."
    return Verdict.DIFFERENT, (
        "Masquerading takes the address of the interface that a packet leaves by, not the node's InternalIP; policies"
        " that know nodes by that may no longer match."
    )


_RANDOM = "Each new connection goes to an endpoint chosen at random"
_STICKY = "Services whose clients must come back to the same endpoint take sessionAffinity: ClientIP."
_SCHEDULERS: Mapping[str, str] = {
    "rr": f"{_RANDOM}, not to each in turn. Over many connections the shares are the same.",
    "wrr": f"{_RANDOM}, not to each in turn. kube-proxy gives all endpoints one weight, so the shares are the same.",
    "lc": f"{_RANDOM}, not to the one with the fewest: long connections of unlike load may even out less.",
    "wlc": f"{_RANDOM}, not to the one with the fewest: long connections of unlike load may even out less.",
    "sed": f"{_RANDOM}, not to the one with the shortest expected delay.",
    "nq": f"{_RANDOM}, whether or not another is idle.",
    "sh": f"{_RANDOM}, not by the client's address. {_STICKY}",
    "dh": f"{_RANDOM}, not by the Service's address.",
    "mh": f"{_RANDOM}, not by a consistent hash of the client's address. {_STICKY}",
    "lblc": f"{_RANDOM}, not by destination and load.",
    "lblcr": f"{_RANDOM}, not by destination and load.",
}


def _scheduler(values: Values) -> Judgement:
    name = values[fields.SCHEDULER]
    return Verdict.DIFFERENT, _SCHEDULERS.get(name, f"{_RANDOM}; ipvs schedulers are not used.")


def _strict_arp(values: Values) -> Judgement:
    return Verdict.IGNORED, (
        "No Service address is bound to the node, so it answers no ARP query for one. arp_ignore and arp_announce are"
        f" not touched{'; what kube-proxy wrote there stays until the next boot' if values[fields.STRICT_ARP] else ''}."
    )


def _ipvs_timeout(field: Field[Duration], instead: str) -> Judge:
    def judged(values: Values) -> Judgement:
        where = "Connections are in the kernel's connection tracking, not in ipvs"
        if not values[field]:
            return Verdict.IGNORED, f"{where}."
        return Verdict.DIFFERENT, f"{where}: set {instead} instead."

    return judged


_IPTABLES = _only_for("iptables")
_IPVS = _only_for("ipvs")
_IPTABLES_AND_IPVS = _only_for("iptables", "ipvs")

OTHER_MODES: Mapping[str, Judge] = {
    "iptables.masqueradeAll": _IPTABLES_AND_IPVS(_other_masquerade_all),
    "iptables.masqueradeBit": _IPTABLES_AND_IPVS(_always(Verdict.DIFFERENT, NO_MARK)),
    "iptables.localhostNodePorts": _IPTABLES(_localhost_node_ports),
    "iptables.snatNodeInternalIP": _IPTABLES(_snat_node_internal_ip),
    "iptables.minSyncPeriod": _IPTABLES(_read_instead(fields.MIN_SYNC_PERIOD, fields.IPTABLES_MIN_SYNC_PERIOD)),
    "iptables.syncPeriod": _IPTABLES(_read_instead(fields.SYNC_PERIOD, fields.IPTABLES_SYNC_PERIOD)),
    "ipvs.scheduler": _IPVS(_scheduler),
    "ipvs.strictARP": _IPVS(_strict_arp),
    "ipvs.excludeCIDRs": _IPVS(_always(Verdict.IGNORED, "nftsvc removes nothing that is not in its own tables.")),
    "ipvs.tcpTimeout": _IPVS(_ipvs_timeout(fields.IPVS_TCP_TIMEOUT, "conntrack.tcpEstablishedTimeout")),
    "ipvs.tcpFinTimeout": _IPVS(
        _ipvs_timeout(fields.IPVS_TCP_FIN_TIMEOUT, "the sysctl nf_conntrack_tcp_timeout_fin_wait")
    ),
    "ipvs.udpTimeout": _IPVS(
        _ipvs_timeout(fields.IPVS_UDP_TIMEOUT, "conntrack.udpTimeout and conntrack.udpStreamTimeout")
    ),
    "ipvs.minSyncPeriod": _IPVS(_read_instead(fields.MIN_SYNC_PERIOD, fields.IPVS_MIN_SYNC_PERIOD)),
    "ipvs.syncPeriod": _IPVS(_read_instead(fields.SYNC_PERIOD, fields.IPVS_SYNC_PERIOD)),
}
