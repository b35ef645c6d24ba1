"""What the agent is told by a configuration: values, with kube-proxy's defaults where nothing is said.

Spans of time are Durations (nanoseconds; `.seconds`). Source of the defaults: kube-proxy's defaults.go, v1.36, for mode
nftables.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from nftsvc.configuration.durations import Duration
from nftsvc.configuration.readers import Listen
from nftsvc.objects import NodeConfigurationSpec

HEALTHZ_PORT = 10256
METRICS_PORT = 10249

# kube-proxy's default is a second; what that saves it is hardly anything here.
MINIMUM = Duration.of_milliseconds(10)

_NOTHING_SAID = NodeConfigurationSpec()
_UNTOUCHED, _HALF_MINUTE = map(Duration.of, (0, 30))
_QUARTER, _HOUR, _DAY = map(Duration.of, (900, 3600, 86400))
_HEALTHZ = Listen("0.0.0.0", HEALTHZ_PORT)  # noqa: S104 - kube-proxy's default: load balancers ask
_METRICS = Listen("127.0.0.1", METRICS_PORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConntrackSettings:
    """The kernel's connection tracking (`conntrack`).

    `max_per_core` and `minimum` are numbers of connections: the table shall hold the first for each CPU, but at least
    the second; with 0 for the first its size is left as it is. A timeout of 0 is left as it is. `tcp_be_liberal` True
    lets packets outside the window pass; False leaves that as it is.
    """

    max_per_core: int = 32768
    minimum: int = 131072
    tcp_established_timeout: Duration = _DAY
    tcp_close_wait_timeout: Duration = _HOUR
    tcp_be_liberal: bool = False
    udp_timeout: Duration = _UNTOUCHED
    udp_stream_timeout: Duration = _UNTOUCHED


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """How the API server is reached (`clientConnection`).

    `kubeconfig` is the path of a file, "" for what a Pod is given. `qps` (requests a second) and `burst` (requests) are
    kube-proxy's limits; nftsvc has so few requests that nothing keeps to them.
    """

    kubeconfig: str = ""
    qps: float = 5.0
    burst: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """What is logged (`logging`): `format` is `text` or `json`, `verbosity` that of kube-proxy's -v."""

    format: str = "text"
    verbosity: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """Everything that a KubeProxyConfiguration tells the agent; without arguments, what holds where there is none.

    `node` is the part that decides about packets; it holds where neither `--set` nor a NodeConfiguration says
    otherwise, and comes before the Node object. `node_name` is "" for the host's own name. `mode` is the mode of
    kube-proxy that the file was written for: `iptables`, `ipvs` or `nftables`.
    `min_sync_period` is the least time between two transactions under load; `sync_period` is half the time after which
    a change that is not in the kernel makes the node unhealthy. `hard_fail` ends the agent where it cannot listen on
    `healthz` or `metrics`. `config_sync_period`, `enable_profiling` and `feature_gates` are kube-proxy's; nothing here
    depends on them.
    """

    node: NodeConfigurationSpec = _NOTHING_SAID
    node_name: str = ""
    mode: str = "nftables"
    min_sync_period: Duration = MINIMUM
    sync_period: Duration = _HALF_MINUTE
    config_sync_period: Duration = _QUARTER
    healthz: Listen = _HEALTHZ
    metrics: Listen = _METRICS
    hard_fail: bool = False
    enable_profiling: bool = False
    client: ClientSettings = ClientSettings()
    conntrack: ConntrackSettings = ConntrackSettings()
    oom_score_adj: int = -999
    log: LogSettings = LogSettings()
    feature_gates: Mapping[str, bool] = field(default_factory=dict)
