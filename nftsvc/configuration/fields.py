"""Every field of a KubeProxyConfiguration: how it is read, and what holds where it says nothing.

Source: the Go types of `kubeproxy.config.k8s.io/v1alpha1` (Kubernetes 1.37), `clientConnection` and `logging` included,
and kube-proxy's defaults.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from nftsvc.configuration.agent import HEALTHZ_PORT, METRICS_PORT, MINIMUM
from nftsvc.configuration.durations import Duration
from nftsvc.configuration.readers import (
    Listen,
    NodePortNetworks,
    anything,
    boolean,
    cluster_cidrs,
    duration,
    duration_or_nanoseconds,
    feature_gates,
    interface,
    ip_address,
    listen,
    node_name,
    node_port_addresses,
    number,
    one_of,
    prefixes,
    text,
    whole_number,
)
from nftsvc.values import InterfaceName, Prefix

API_VERSION = "kubeproxy.config.k8s.io/v1alpha1"
KIND = "KubeProxyConfiguration"

Value = TypeVar("Value")
Value_co = TypeVar("Value_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Field(Generic[Value_co]):
    """One field: its path, its reader and its default.

    An explicit null means the default, and so does the zero value (0, "", 0s), which kubeadm writes for whatever
    nobody chose; unless `zero_counts`, where Kubernetes' type is a pointer.
    """

    path: str
    read: Callable[[object], Value_co]
    default: Value_co
    zero_counts: bool = False

    def says_nothing(self, given: object) -> bool:
        """Tell whether this means the default; ValueError says what is wrong with it."""
        return given is None or not (self.read(given) or self.zero_counts)

    def value_of(self, given: object) -> Value_co:
        """Return what a field means that says this; ValueError says what is wrong with it."""
        return self.default if self.says_nothing(given) else self.read(given)


class Values:
    """The meaning of every field of one configuration."""

    def __init__(self, read: Mapping[str, object]) -> None:
        self._read = read

    def __getitem__(self, field: Field[Value]) -> Value:
        """Return what a field means, given or not."""
        return cast("Value", self._read.get(field.path, field.default))

    @property
    def mode(self) -> str:
        """The mode of kube-proxy; `iptables` where the field is empty."""
        return self[MODE] or "iptables"

    @property
    def detect_local_mode(self) -> str:
        """How Pods are told from others; `ClusterCIDR` where the field is empty."""
        return self[DETECT_LOCAL_MODE] or "ClusterCIDR"


def _duration(path: str, default: Duration, *, zero_counts: bool = False) -> Field[Duration]:
    return Field(path, duration, default, zero_counts)


def _flag(path: str, *, default: bool = False, zero_counts: bool = False) -> Field[bool]:
    return Field(path, boolean, default, zero_counts)


_SECOND = Duration.of(1)

_HALF_MINUTE = Duration.of(30)
_ZERO = Duration(0)

MODE = Field("mode", one_of("iptables", "ipvs", "nftables"), "")
HOSTNAME_OVERRIDE = Field("hostnameOverride", node_name, "")
BIND_ADDRESS = Field("bindAddress", ip_address, "")
HEALTHZ_BIND_ADDRESS: Field[Listen | None] = Field("healthzBindAddress", listen(HEALTHZ_PORT), None)
METRICS_BIND_ADDRESS: Field[Listen | None] = Field("metricsBindAddress", listen(METRICS_PORT), None)
BIND_ADDRESS_HARD_FAIL = _flag("bindAddressHardFail")
ENABLE_PROFILING = _flag("enableProfiling")
CLUSTER_CIDR: Field[tuple[Prefix, ...]] = Field("clusterCIDR", cluster_cidrs, ())
DETECT_LOCAL_MODE = Field(
    "detectLocalMode", one_of("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"), ""
)
BRIDGE_INTERFACE: Field[InterfaceName | None] = Field("detectLocal.bridgeInterface", interface, None)
INTERFACE_NAME_PREFIX: Field[InterfaceName | None] = Field("detectLocal.interfaceNamePrefix", interface, None)
NODE_PORT_ADDRESSES = Field("nodePortAddresses", node_port_addresses, NodePortNetworks(), zero_counts=True)
MASQUERADE_ALL = _flag("nftables.masqueradeAll")
MIN_SYNC_PERIOD = _duration("nftables.minSyncPeriod", MINIMUM)
SYNC_PERIOD = _duration("nftables.syncPeriod", _HALF_MINUTE)
CONFIG_SYNC_PERIOD = _duration("configSyncPeriod", Duration.of(900))
MAX_PER_CORE = Field("conntrack.maxPerCore", whole_number(0), 32768, zero_counts=True)
MIN_CONNTRACK = Field("conntrack.min", whole_number(0), 131072, zero_counts=True)
TCP_ESTABLISHED = _duration("conntrack.tcpEstablishedTimeout", Duration.of(86400), zero_counts=True)
TCP_CLOSE_WAIT = _duration("conntrack.tcpCloseWaitTimeout", Duration.of(3600), zero_counts=True)
TCP_BE_LIBERAL = _flag("conntrack.tcpBeLiberal")
UDP_TIMEOUT = _duration("conntrack.udpTimeout", _ZERO)
UDP_STREAM_TIMEOUT = _duration("conntrack.udpStreamTimeout", _ZERO)
KUBECONFIG = Field("clientConnection.kubeconfig", text, "")
QPS = Field("clientConnection.qps", number, 5.0)
BURST = Field("clientConnection.burst", whole_number(0), 10)
OOM_SCORE_ADJ = Field("oomScoreAdj", whole_number(-1000, 1000), -999, zero_counts=True)
LOG_FORMAT = Field("logging.format", one_of("text", "json"), "text")
LOG_VERBOSITY = Field("logging.verbosity", whole_number(0), 0)
FEATURE_GATES: Field[dict[str, bool]] = Field("featureGates", feature_gates, {})
IPTABLES_MASQUERADE_ALL = _flag("iptables.masqueradeAll")
LOCALHOST_NODE_PORTS = _flag("iptables.localhostNodePorts", default=True, zero_counts=True)
IPTABLES_MIN_SYNC_PERIOD = _duration("iptables.minSyncPeriod", _SECOND)
IPTABLES_SYNC_PERIOD = _duration("iptables.syncPeriod", _HALF_MINUTE)
SNAT_NODE_INTERNAL_IP = _flag("iptables.snatNodeInternalIP")
SCHEDULER = Field("ipvs.scheduler", text, "rr")
EXCLUDE_CIDRS: Field[tuple[Prefix, ...]] = Field("ipvs.excludeCIDRs", prefixes, ())
STRICT_ARP = _flag("ipvs.strictARP")
IPVS_TCP_TIMEOUT = _duration("ipvs.tcpTimeout", _ZERO)
IPVS_TCP_FIN_TIMEOUT = _duration("ipvs.tcpFinTimeout", _ZERO)
IPVS_UDP_TIMEOUT = _duration("ipvs.udpTimeout", _ZERO)
IPVS_MIN_SYNC_PERIOD = _duration("ipvs.minSyncPeriod", _SECOND)
IPVS_SYNC_PERIOD = _duration("ipvs.syncPeriod", _HALF_MINUTE)

_BIT = whole_number(0, 31)

FIELDS: tuple[Field[object], ...] = (
    MODE,
    HOSTNAME_OVERRIDE,
    BIND_ADDRESS,
    DETECT_LOCAL_MODE,
    CLUSTER_CIDR,
    BRIDGE_INTERFACE,
    INTERFACE_NAME_PREFIX,
    NODE_PORT_ADDRESSES,
    MASQUERADE_ALL,
    Field("nftables.masqueradeBit", _BIT, 14, zero_counts=True),
    MIN_SYNC_PERIOD,
    SYNC_PERIOD,
    HEALTHZ_BIND_ADDRESS,
    METRICS_BIND_ADDRESS,
    BIND_ADDRESS_HARD_FAIL,
    ENABLE_PROFILING,
    Field("showHiddenMetricsForVersion", text, ""),
    KUBECONFIG,
    Field("clientConnection.acceptContentTypes", text, ""),
    Field("clientConnection.contentType", text, "application/vnd.kubernetes.protobuf"),
    QPS,
    BURST,
    CONFIG_SYNC_PERIOD,
    MAX_PER_CORE,
    MIN_CONNTRACK,
    TCP_ESTABLISHED,
    TCP_CLOSE_WAIT,
    TCP_BE_LIBERAL,
    UDP_TIMEOUT,
    UDP_STREAM_TIMEOUT,
    OOM_SCORE_ADJ,
    LOG_FORMAT,
    LOG_VERBOSITY,
    Field("logging.flushFrequency", duration_or_nanoseconds, Duration.of(5)),
    Field("logging.vmodule", anything, None),
    Field("logging.options.text.splitStream", boolean, default=False),
    Field("logging.options.text.infoBufferSize", anything, None),
    Field("logging.options.json.splitStream", boolean, default=False),
    Field("logging.options.json.infoBufferSize", anything, None),
    FEATURE_GATES,
    IPTABLES_MASQUERADE_ALL,
    Field("iptables.masqueradeBit", _BIT, 14, zero_counts=True),
    LOCALHOST_NODE_PORTS,
    SNAT_NODE_INTERNAL_IP,
    IPTABLES_MIN_SYNC_PERIOD,
    IPTABLES_SYNC_PERIOD,
    SCHEDULER,
    STRICT_ARP,
    EXCLUDE_CIDRS,
    IPVS_TCP_TIMEOUT,
    IPVS_TCP_FIN_TIMEOUT,
    IPVS_UDP_TIMEOUT,
    IPVS_MIN_SYNC_PERIOD,
    IPVS_SYNC_PERIOD,
    Field("winkernel.networkName", text, ""),
    Field("winkernel.sourceVip", text, ""),
    Field("winkernel.enableDSR", boolean, default=False),
    Field("winkernel.rootHnsEndpointName", text, ""),
    Field("winkernel.forwardHealthCheckVip", boolean, default=False),
    Field("windowsRunAsService", boolean, default=False),
    Field("portRange", text, ""),
)
SECTIONS = frozenset(
    field.path.rsplit(".", depth)[0] for field in FIELDS for depth in range(1, field.path.count(".") + 1)
)
FORMER = frozenset({"conntrack.max", "resourceContainer", "udpIdleTimeout"})
