"""The cluster's KubeProxyConfiguration: what is read from it, what is refused, and what is told about every field."""

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as run_with
from hypothesis import strategies as st

from nftsvc.configuration import (
    API_VERSION,
    FIELDS,
    KIND,
    AgentSettings,
    ClientSettings,
    Configuration,
    ConntrackSettings,
    Document,
    Duration,
    Listen,
    LogSettings,
    Text,
    Verdict,
    configurations_in,
    read_configuration,
)
from nftsvc.errors import ObjectRef, Severity
from nftsvc.objects import NodeConfiguration, NodeConfigurationSpec
from nftsvc.settings import SETTING_NAMES, Detector, DetectorKind, NodeSettings, settings_for
from nftsvc.state import State
from nftsvc.validation import problems_of
from nftsvc.values import FAMILIES, Family

HEAD = {"apiVersion": API_VERSION, "kind": KIND}
DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
NANOSECONDS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1000, "µs": 1000, "ns": 1}
EXAMPLES = run_with(max_examples=300, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
ANY_IPV4 = "0.0.0.0"  # noqa: S104 - nothing is bound
KUBEADM = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection: {acceptContentTypes: "", burst: 0, contentType: "", kubeconfig: /var/lib/kube-proxy/kubeconfig.conf,
  qps: 0}
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack: {maxPerCore: null, min: null, tcpBeLiberal: false, tcpCloseWaitTimeout: null, tcpEstablishedTimeout: null,
  udpStreamTimeout: 0s, udpTimeout: 0s}
detectLocal: {bridgeInterface: "", interfaceNamePrefix: ""}
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables: {localhostNodePorts: null, masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
ipvs: {excludeCIDRs: null, minSyncPeriod: 0s, scheduler: "", strictARP: false, syncPeriod: 0s, tcpFinTimeout: 0s,
  tcpTimeout: 0s, udpTimeout: 0s}
kind: KubeProxyConfiguration
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
metricsBindAddress: ""
mode: ""
nftables: {masqueradeAll: false, masqueradeBit: null, minSyncPeriod: 0s, syncPeriod: 0s}
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel: {enableDSR: false, forwardHealthCheckVip: false, networkName: "", rootHnsEndpointName: "", sourceVip: ""}
"""
IPVS = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: ipvs
clusterCIDR: 10.244.0.0/16
ipvs: {scheduler: lc, strictARP: true, excludeCIDRs: [192.0.2.0/24], tcpTimeout: 15m, syncPeriod: 30s}
iptables: {masqueradeAll: true}
"""


def written(**fields: Any) -> dict[str, Any]:
    """Return a document with these fields; `__` stands for the dot of a path."""
    raw: dict[str, Any] = dict(HEAD)
    for name, value in fields.items():
        put(raw, name.replace("__", "."), value)
    return raw


def put(raw: dict[str, Any], path: str, value: Any) -> None:
    *sections, last = path.split(".")
    for section in sections:
        raw = raw.setdefault(section, {})
    raw[last] = value


def settings(**fields: Any) -> AgentSettings:
    read = read_configuration(written(**fields))
    assert read.problems == ()
    assert read.settings is not None
    return read.settings


def node(**fields: Any) -> NodeConfigurationSpec:
    return settings(**fields).node


def problems(raw: dict[str, Any]) -> list[tuple[str, str]]:
    read = read_configuration(raw)
    assert read.settings is None
    assert read.reports == ()
    return [(one.field, one.message) for one in read.errors]


def verdicts(read: Configuration) -> dict[str, Verdict]:
    return {one.path: one.verdict for one in read.reports}


# Durations -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("-0", 0),
        ("1s", 10**9),
        ("+1s", 10**9),
        ("-1s", -(10**9)),
        ("1m30s", 90 * 10**9),
        ("2h45m30.5s", 9930 * 10**9 + 5 * 10**8),
        ("250ms", 250 * 10**6),
        ("1.5h", 5400 * 10**9),
        (".5s", 5 * 10**8),
        ("5.s", 5 * 10**9),
        ("1us1\u00b5s1\u03bcs", 3000),
        ("1ns", 1),
        ("0.9ns", 0),
        ("1m1m", 120 * 10**9),
        ("9223372036854775807ns", 2**63 - 1),
        ("-9223372036854775808ns", -(2**63)),
    ],
)
def test_duration_is_read_as_go_reads_it(text: str, nanoseconds: int) -> None:
    assert Duration.parse(text) == nanoseconds


@pytest.mark.parametrize(
    "bad",
    [
        *("", "s", ".s", ".", "1", "1.5", "-", "+", "--1s", "1 s", " 1s", "1s ", "1d", "1S", "1hs", "1..5s", "1.2.3s"),
        *("1e3s", "infinity", "\u0661s", "9223372036854775808ns", "-9223372036854775809ns", "9" * 99 + "h"),
        *("1" * 5000 + "s", None, 30, 1.5, True, ["1s"]),
    ],
)
def test_what_is_no_duration_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match=r"is not a duration"):
        Duration.parse(bad)


@EXAMPLES
@given(st.integers(-(2**63), 2**63 - 1))
def test_written_duration_is_read_back(nanoseconds: int) -> None:
    assert Duration.parse(str(Duration(nanoseconds))) == nanoseconds


@EXAMPLES
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1000), st.none() | st.text("0123456789", max_size=12), st.sampled_from(list(NANOSECONDS))
        ),
        min_size=1,
        max_size=5,
    ),
    st.sampled_from(["", "+", "-"]),
)
def test_duration_is_the_sum_of_its_parts(parts: list[tuple[int, str | None, str]], sign: str) -> None:
    text = sign + "".join(f"{whole}{'' if digits is None else '.' + digits}{unit}" for whole, digits, unit in parts)
    exact = [
        (whole + (Fraction(int(digits), 10 ** len(digits)) if digits else 0)) * NANOSECONDS[unit]
        for whole, digits, unit in parts
    ]
    assert Duration.parse(text) == (-1 if sign == "-" else 1) * sum(int(part) for part in exact)


@EXAMPLES
@given(st.text("0123456789.+-hmsnu\u00b5 ", max_size=12))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    try:
        found = Duration.parse(text)
    except ValueError:
        return
    assert Duration.parse(str(found)) == found


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [
        (0, "0s"),
        (1, "1ns"),
        (1500, "1.5us"),
        (250 * 10**6, "250ms"),
        (10**9, "1s"),
        (1_500_000_000, "1.5s"),
        (90 * 10**9, "1m30s"),
        (3600 * 10**9, "1h0m0s"),
        (-(10**9), "-1s"),
    ],
)
def test_duration_is_written_as_go_writes_it(nanoseconds: int, text: str) -> None:
    assert f"{Duration(nanoseconds)}" == text


def test_duration_in_seconds() -> None:
    assert Duration.parse("1500ms").seconds == 1.5
    assert Duration.of(90) == Duration.parse("1m30s")


# Defaults ------------------------------------------------------------------------------------------------------------


def test_nothing_said_means_kube_proxys_defaults() -> None:
    assert settings() == AgentSettings(
        node=NodeConfigurationSpec(),
        node_name="",
        mode="iptables",
        min_sync_period=Duration.parse("10ms"),  # not kube-proxy's
        sync_period=Duration.of(30),
        config_sync_period=Duration.of(15 * 60),
        healthz=Listen(ANY_IPV4, 10256),
        metrics=Listen("127.0.0.1", 10249),
        hard_fail=False,
        enable_profiling=False,
        client=ClientSettings(kubeconfig="", qps=5, burst=10),
        conntrack=ConntrackSettings(
            max_per_core=32768,
            minimum=131072,
            tcp_established_timeout=Duration.of(24 * 3600),
            tcp_close_wait_timeout=Duration.of(3600),
            tcp_be_liberal=False,
            udp_timeout=Duration(0),
            udp_stream_timeout=Duration(0),
        ),
        oom_score_adj=-999,
        log=LogSettings(format="text", verbosity=0),
        feature_gates={},
    )


def test_settings_without_a_file_differ_from_an_empty_one_in_the_mode_only() -> None:
    assert settings(mode="nftables") == AgentSettings()


def test_every_field_may_be_null() -> None:
    raw = dict(HEAD)
    for field in FIELDS:
        put(raw, field.path, None)
    assert read_configuration(raw).settings == settings()


@pytest.mark.parametrize(
    "section", ["conntrack", "detectLocal", "nftables", "logging", "clientConnection", "winkernel"]
)
@pytest.mark.parametrize("empty", [None, {}])
def test_section_may_be_empty(section: str, empty: object) -> None:
    assert settings(**{section: empty}) == settings()


def test_kubeadms_configuration_says_nothing_but_the_network_and_the_kubeconfig() -> None:
    read = read_configuration(yaml.safe_load(KUBEADM))
    assert read.problems == ()
    expected = settings(clusterCIDR="10.244.0.0/16", clientConnection__kubeconfig="/var/lib/kube-proxy/kubeconfig.conf")
    assert read.settings == expected
    assert [one.path for one in read.reports if one.verdict is Verdict.UNKNOWN or not one.given] == []


# Values that count ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "name", "value"),
    [
        ({"hostnameOverride": " Node-A "}, "node_name", "node-a"),
        ({"mode": "ipvs"}, "mode", "ipvs"),
        ({"nftables__minSyncPeriod": "10s"}, "min_sync_period", Duration.of(10)),
        ({"nftables__minSyncPeriod": "30s"}, "min_sync_period", Duration.of(30)),
        ({"nftables__syncPeriod": "1h"}, "sync_period", Duration.of(3600)),
        ({"configSyncPeriod": "1m"}, "config_sync_period", Duration.of(60)),
        ({"bindAddressHardFail": True}, "hard_fail", True),
        ({"enableProfiling": True}, "enable_profiling", True),
        ({"clientConnection__kubeconfig": "/k"}, "client", ClientSettings(kubeconfig="/k")),
        ({"clientConnection__qps": 2.5}, "client", ClientSettings(qps=2.5)),
        ({"clientConnection__qps": -1}, "client", ClientSettings(qps=-1)),
        ({"clientConnection__burst": 100}, "client", ClientSettings(burst=100)),
        ({"oomScoreAdj": 0}, "oom_score_adj", 0),
        ({"oomScoreAdj": -1000}, "oom_score_adj", -1000),
        ({"oomScoreAdj": 1000}, "oom_score_adj", 1000),
        ({"logging__format": "json"}, "log", LogSettings(format="json")),
        ({"logging__verbosity": 4}, "log", LogSettings(verbosity=4)),
        ({"featureGates": {"A": True, "B": False}}, "feature_gates", {"A": True, "B": False}),
        ({"conntrack__maxPerCore": 0}, "conntrack", ConntrackSettings(max_per_core=0)),
        ({"conntrack__min": 0}, "conntrack", ConntrackSettings(minimum=0)),
        (
            {"conntrack__tcpEstablishedTimeout": "0s"},
            "conntrack",
            ConntrackSettings(tcp_established_timeout=Duration(0)),
        ),
        ({"conntrack__tcpCloseWaitTimeout": "0"}, "conntrack", ConntrackSettings(tcp_close_wait_timeout=Duration(0))),
        ({"conntrack__tcpBeLiberal": True}, "conntrack", ConntrackSettings(tcp_be_liberal=True)),
        ({"conntrack__udpTimeout": "30s"}, "conntrack", ConntrackSettings(udp_timeout=Duration.of(30))),
        ({"conntrack__udpStreamTimeout": "2m"}, "conntrack", ConntrackSettings(udp_stream_timeout=Duration.of(120))),
    ],
)
def test_value_counts(fields: dict[str, Any], name: str, value: object) -> None:
    assert getattr(settings(**fields), name) == value


@pytest.mark.parametrize(
    ("given", "healthz", "metrics"),
    [
        ("", "0.0.0.0:10256", "127.0.0.1:10249"),
        ("192.0.2.1", "192.0.2.1:10256", "192.0.2.1:10249"),
        ("192.0.2.1:80", "192.0.2.1:80", "192.0.2.1:80"),
        (ANY_IPV4, "0.0.0.0:10256", "0.0.0.0:10249"),
        ("::", "[::]:10256", "[::]:10249"),
        ("::1", "[::1]:10256", "[::1]:10249"),
        ("[::1]:80", "[::1]:80", "[::1]:80"),
        ("[2001:DB8:0::1]:65535", "[2001:db8::1]:65535", "[2001:db8::1]:65535"),
        ("127.000.000.001:1", "127.0.0.1:1", "127.0.0.1:1"),
    ],
)
def test_servers_get_their_port_where_none_is_given(given: str, healthz: str, metrics: str) -> None:
    found = settings(healthzBindAddress=given, metricsBindAddress=given)
    assert (str(found.healthz), str(found.metrics)) == (healthz, metrics)


def test_servers_listen_in_the_family_of_the_bind_address() -> None:
    found = settings(bindAddress="2001:db8::11")
    assert (str(found.healthz), str(found.metrics)) == ("[::]:10256", "[::1]:10249")
    unspecified = settings(bindAddress="::")
    assert (str(unspecified.healthz), str(unspecified.metrics)) == ("[::]:10256", "[::1]:10249")


# What decides about packets ------------------------------------------------------------------------------------------


def for_node(spec: NodeConfigurationSpec) -> NodeSettings:
    """Return what a node makes of it, as a NodeConfiguration among the manifests."""
    return settings_for(State.of((NodeConfiguration(spec=spec),)), "node-a")


@pytest.mark.parametrize("address", [ANY_IPV4, "::", "", "127.0.0.1", "::1", "224.0.0.1", "169.254.0.1"])
def test_bind_address_that_no_node_is_reached_at_says_nothing(address: str) -> None:
    assert node(bindAddress=address) == NodeConfigurationSpec()


def test_bind_address_is_the_nodes() -> None:
    assert node(bindAddress="192.0.2.11").addresses == ("192.0.2.11",)
    assert for_node(node(bindAddress="2001:db8:0:0::11")).node_port_addresses == {Family.IPV6: ("2001:db8::11",)}


def test_cluster_cidr_may_be_a_pair() -> None:
    detectors = for_node(node(clusterCIDR="10.244.0.0/16,2001:db8:244::/56")).detectors
    assert detectors == {
        Family.IPV4: Detector(DetectorKind.SOURCE, "10.244.0.0/16"),
        Family.IPV6: Detector(DetectorKind.SOURCE, "2001:db8:244::/56"),
    }


@pytest.mark.parametrize(
    ("mode", "field", "kind"),
    [
        ("BridgeInterface", "bridgeInterface", DetectorKind.INTERFACE),
        ("InterfaceNamePrefix", "interfaceNamePrefix", DetectorKind.INTERFACE_PREFIX),
    ],
)
def test_pods_are_told_by_their_interface(mode: str, field: str, kind: DetectorKind) -> None:
    spec = node(detectLocalMode=mode, **{f"detectLocal__{field}": "cni0"})
    assert for_node(spec).detectors == dict.fromkeys(FAMILIES, Detector(kind, "cni0"))


def test_masquerade_all_is_that_of_nftables() -> None:
    assert for_node(node(nftables__masqueradeAll=True)).masquerade_all
    assert not for_node(node(iptables__masqueradeAll=True)).masquerade_all
    assert node(nftables__masqueradeAll=False).masquerade_all is None


@pytest.mark.parametrize(
    ("given", "served", "networks"),
    [
        (None, None, {}),
        ([], None, {}),
        (["primary"], ("primary",), {}),
        (["all"], ("all",), {}),
        (["192.0.2.0/24"], ("192.0.2.0/24",), {Family.IPV4: ("192.0.2.0/24",)}),
        (["192.0.2.7/24"], ("192.0.2.0/24",), {Family.IPV4: ("192.0.2.0/24",)}),
        (["0.0.0.0/0", "::/0"], ("0.0.0.0/0", "::/0"), {}),
        (["primary", "localhost"], ("primary",), {}),
        (["192.0.2.0/24", "127.0.0.0/8"], ("192.0.2.0/24",), {Family.IPV4: ("192.0.2.0/24",)}),
        (["127.0.0.0/8"], (ANY_IPV4,), {Family.IPV4: (ANY_IPV4,)}),
        (["127.1.0.0/16", "::/0"], ("::/0", ANY_IPV4), {Family.IPV4: (ANY_IPV4,)}),
        (["localhost"], (ANY_IPV4, "::"), {Family.IPV4: (ANY_IPV4,), Family.IPV6: ("::",)}),
        (["192.0.2.0/24", "::1/128"], ("192.0.2.0/24", "::"), {Family.IPV4: ("192.0.2.0/24",), Family.IPV6: ("::",)}),
    ],
)
def test_node_ports_never_answer_on_more_than_was_asked_for(
    given: list[str] | None, served: tuple[str, ...] | None, networks: dict[Family, tuple[str, ...]]
) -> None:
    """A family with loopback networks only is closed, not open."""
    spec = node(nodePortAddresses=given)
    assert spec.node_port_addresses == served
    assert for_node(spec).node_port_networks == networks


# What is refused -----------------------------------------------------------------------------------------------------


BAD = [
    ("mode", "kernelspace", "'kernelspace' is not one of iptables, ipvs, nftables"),
    ("mode", "userspace", "'userspace' is not one of iptables, ipvs, nftables"),
    ("mode", 1, "1 is not one of iptables, ipvs, nftables"),
    ("hostnameOverride", "node a", "'node a' is not the name of a Node (a-z, 0-9, '-', '.')"),
    ("hostnameOverride", "  ", "'  ' is not the name of a Node (a-z, 0-9, '-', '.')"),
    ("hostnameOverride", 5, "5 is not text"),
    ("bindAddress", "node-a", "'node-a' is not an IP address"),
    ("bindAddress", "fe80::1%eth0", "'fe80::1%eth0' is not an IP address"),
    ("bindAddress", 0, "0 is not text"),
    ("detectLocalMode", "clusterCIDR", "'clusterCIDR' is not one of ClusterCIDR, NodeCIDR"),
    ("detectLocal.bridgeInterface", "a b", "'a b' is not the name of a network interface"),
    ("detectLocal.interfaceNamePrefix", "x" * 16, "is not the name of a network interface"),
    ("clusterCIDR", "10.244.0.0", "'10.244.0.0' is not a network"),
    ("clusterCIDR", "10.244.0.0/33", "'10.244.0.0/33' is not a network: the address has 32 bits"),
    ("clusterCIDR", "10.0.0.0/8,10.1.0.0/16", "is not one network or one of each IP family"),
    ("clusterCIDR", "10.0.0.0/8,2001:db8::/32,10.1.0.0/16", "is not one network or one of each IP family"),
    ("clusterCIDR", "10.0.0.0/8,", "'' is not a network"),
    ("clusterCIDR", ["10.0.0.0/8"], "a list is not text"),
    ("nodePortAddresses", "primary", "'primary' is not a list"),
    ("nodePortAddresses", {"a": 1}, "a mapping is not a list"),
    ("healthzBindAddress", ":10256", "':10256' is not an IP address with a port (IPv6: [::1]:10256)"),
    ("healthzBindAddress", "localhost:10256", "is not an IP address with a port"),
    ("healthzBindAddress", "[::1]", "is not an IP address with a port"),
    ("healthzBindAddress", "192.0.2.1:0", "0 is not a port number (1-65535)"),
    ("healthzBindAddress", "192.0.2.1:65536", "65536 is not a port number (1-65535)"),
    ("metricsBindAddress", "192.0.2.1:http", "is not an IP address with a port (IPv6: [::1]:10249)"),
    ("metricsBindAddress", 10249, "10249 is not text"),
    ("bindAddressHardFail", "true", "'true' is not true or false"),
    ("enableProfiling", 0, "0 is not true or false"),
    ("showHiddenMetricsForVersion", 1.36, "1.36 is not text"),
    ("nftables.masqueradeAll", "yes", "'yes' is not true or false"),
    ("nftables.masqueradeBit", 32, "32 is not a whole number from 0 to 31"),
    ("nftables.masqueradeBit", -1, "-1 is not a whole number from 0 to 31"),
    ("nftables.minSyncPeriod", "-1s", "'-1s' is negative"),
    ("nftables.minSyncPeriod", 1, "1 is not a duration (such as 30s, 1m30s or 1.5h)"),
    ("nftables.syncPeriod", "30", "'30' is not a duration"),
    ("nftables.syncPeriod", "-30s", "'-30s' is negative"),
    ("configSyncPeriod", "-15m", "'-15m' is negative"),
    ("conntrack.maxPerCore", -1, "-1 is not a whole number from 0 to 2147483647"),
    ("conntrack.maxPerCore", 2**31, "2147483648 is not a whole number from 0 to 2147483647"),
    ("conntrack.maxPerCore", True, "true is not a whole number"),
    ("conntrack.maxPerCore", 1.0, "1.0 is not a whole number"),
    ("conntrack.min", "131072", "'131072' is not a whole number"),
    ("conntrack.tcpEstablishedTimeout", "-1ns", "'-1ns' is negative"),
    ("conntrack.tcpCloseWaitTimeout", 3600, "3600 is not a duration"),
    ("conntrack.tcpBeLiberal", 1, "1 is not true or false"),
    ("conntrack.udpTimeout", "soon", "'soon' is not a duration"),
    ("conntrack.udpStreamTimeout", "-2m", "'-2m' is negative"),
    ("clientConnection.kubeconfig", ["a"], "a list is not text"),
    ("clientConnection.acceptContentTypes", 1, "1 is not text"),
    ("clientConnection.contentType", True, "true is not text"),
    ("clientConnection.qps", "5", "'5' is not a number"),
    ("clientConnection.qps", True, "true is not a number"),
    ("clientConnection.qps", float("nan"), "nan is not a number"),
    ("clientConnection.qps", float("inf"), "inf is not a number"),
    ("clientConnection.qps", 10**400, "a number of more than 40 digits is not a number"),
    ("clientConnection.burst", -1, "-1 is not a whole number"),
    ("oomScoreAdj", -1001, "-1001 is not a whole number from -1000 to 1000"),
    ("oomScoreAdj", 1001, "1001 is not a whole number from -1000 to 1000"),
    ("logging.format", "yaml", "'yaml' is not one of text, json"),
    ("logging.verbosity", -1, "-1 is not a whole number"),
    ("logging.flushFrequency", -1, "-1 is not a duration"),
    ("logging.options.text.splitStream", "no", "'no' is not true or false"),
    ("logging.options.json.splitStream", 1, "1 is not true or false"),
    ("featureGates", "A=true", "'A=true' is not a mapping"),
    ("iptables.masqueradeAll", 1, "1 is not true or false"),
    ("iptables.masqueradeBit", 32, "32 is not a whole number from 0 to 31"),
    ("iptables.localhostNodePorts", "false", "'false' is not true or false"),
    ("iptables.snatNodeInternalIP", "x", "'x' is not true or false"),
    ("iptables.minSyncPeriod", "x", "'x' is not a duration"),
    ("iptables.syncPeriod", "-1s", "'-1s' is negative"),
    ("ipvs.scheduler", 1, "1 is not text"),
    ("ipvs.strictARP", "true", "'true' is not true or false"),
    ("ipvs.excludeCIDRs", "192.0.2.0/24", "'192.0.2.0/24' is not a list"),
    ("ipvs.tcpTimeout", "-1s", "'-1s' is negative"),
    ("ipvs.tcpFinTimeout", "1", "'1' is not a duration"),
    ("ipvs.udpTimeout", 1, "1 is not a duration"),
    ("ipvs.minSyncPeriod", "x", "'x' is not a duration"),
    ("ipvs.syncPeriod", "x", "'x' is not a duration"),
    ("winkernel.networkName", 1, "1 is not text"),
    ("winkernel.sourceVip", 1, "1 is not text"),
    ("winkernel.enableDSR", "x", "'x' is not true or false"),
    ("winkernel.rootHnsEndpointName", 1, "1 is not text"),
    ("winkernel.forwardHealthCheckVip", "x", "'x' is not true or false"),
    ("windowsRunAsService", "x", "'x' is not true or false"),
    ("portRange", 30000, "30000 is not text"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD)
def test_bad_value_is_refused_with_its_path(path: str, value: object, message: str) -> None:
    raw = dict(HEAD)
    put(raw, path, value)
    ((field, found),) = problems(raw)
    assert field == path
    assert message in found


def test_every_field_with_a_type_has_a_bad_value_among_the_tests() -> None:
    free = {"logging.vmodule", "logging.options.text.infoBufferSize", "logging.options.json.infoBufferSize"}
    assert {field.path for field in FIELDS} - free == {path for path, _, _ in BAD}


@pytest.mark.parametrize("section", ["nftables", "conntrack", "logging.options.text", "detectLocal"])
@pytest.mark.parametrize(("value", "shown"), [([], "a list"), ("x", "'x'"), (False, "false")])
def test_section_that_is_none_is_refused(section: str, value: object, shown: str) -> None:
    raw = dict(HEAD)
    put(raw, section, value)
    assert problems(raw) == [(section, f"{shown} is not a mapping")]


def test_bad_entries_are_named_one_by_one() -> None:
    raw = written(
        nodePortAddresses=["192.0.2.0/24", "eth0", 5],
        ipvs__excludeCIDRs=["x", "192.0.2.0/24"],
        featureGates={"A": "true", "B": True, 5: True},
    )
    assert [field for field, _ in problems(raw)] == [
        "nodePortAddresses[1]",
        "nodePortAddresses[2]",
        "featureGates.A",
        "featureGates[5]",
        "ipvs.excludeCIDRs[0]",
    ]


def test_everything_that_is_wrong_is_said_at_once() -> None:
    raw = written(mode="x", conntrack__min=-1, clusterCIDR="y", nftables=None, winkernel=1)
    assert {field for field, _ in problems(raw)} == {"mode", "conntrack.min", "clusterCIDR", "winkernel"}


def test_sync_period_must_not_be_shorter_than_the_least() -> None:
    assert problems(written(nftables__minSyncPeriod="1m")) == [
        ("nftables.syncPeriod", "30s is less than nftables.minSyncPeriod, which is 1m0s")
    ]
    assert problems(written(nftables__syncPeriod="5ms")) == [
        ("nftables.syncPeriod", "5ms is less than nftables.minSyncPeriod, which is 10ms")
    ]
    assert settings(nftables__minSyncPeriod="1m", nftables__syncPeriod="1m").sync_period == Duration.of(60)


@pytest.mark.parametrize(
    ("mode", "field"),
    [("BridgeInterface", "detectLocal.bridgeInterface"), ("InterfaceNamePrefix", "detectLocal.interfaceNamePrefix")],
)
def test_mode_that_needs_a_name_is_refused_without_it(mode: str, field: str) -> None:
    expected = [(field, f"missing, but required with detectLocalMode {mode}")]
    assert problems(written(detectLocalMode=mode)) == expected
    raw = written(detectLocalMode=mode)
    put(raw, field, "")
    assert problems(raw) == expected
    put(raw, field, "a b")
    assert [path for path, _ in problems(raw)] == [field]


@pytest.mark.parametrize(
    "head",
    [
        {"apiVersion": "kubeproxy.config.k8s.io/v1beta1", "kind": KIND},
        {"apiVersion": "componentconfig/v1alpha1", "kind": KIND},
        {"kind": KIND},
        {"apiVersion": ["a"], "kind": KIND},
    ],
)
def test_other_versions_are_refused(head: dict[str, Any]) -> None:
    ((field, message),) = problems(head)
    assert field == "apiVersion"
    assert f"use {API_VERSION}" in message


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("ab1.:/-\x1b", max_size=8)
    | st.sampled_from(["1s", "::/0", "all"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab1.:/-\x1b", max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)
PATHS = st.sampled_from([field.path for field in FIELDS]) | st.sampled_from(
    ["ipvs", "logging.options", "x", "nftables.y"]
)


@EXAMPLES
@given(st.dictionaries(PATHS, VALUES, max_size=6))
def test_any_document_is_read_or_refused_with_reasons(values: dict[str, Any]) -> None:
    raw = dict(HEAD)
    for path, value in sorted(values.items(), key=lambda item: item[0].count(".")):
        section: Any = raw
        *above, last = path.split(".")
        for name in above:
            section = section.setdefault(name, {}) if isinstance(section, dict) else None
        if isinstance(section, dict):
            section[last] = value
    read = read_configuration(raw)
    assert (read.settings is None) is bool(read.errors)
    assert all(one.message and one.field for one in read.problems)
    json.dumps([one.value for one in read.reports], allow_nan=False)
    if read.settings is not None:
        assert list(problems_of(NodeConfiguration(spec=read.settings.node))) == []


# Unknown fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("conntrack.maxpercore", "no such field in KubeProxyConfiguration (is conntrack.maxPerCore meant?)"),
        ("nftables.minSynchPeriod", "no such field in KubeProxyConfiguration (is nftables.minSyncPeriod meant?)"),
        ("clusterCidr", "no such field in KubeProxyConfiguration (is clusterCIDR meant?)"),
        ("metadata", "no such field in KubeProxyConfiguration"),
        ("ipvs.masqueradeAll", "no such field in KubeProxyConfiguration (is iptables.masqueradeAll meant?)"),
        ("logging.options.xml", "no such field in KubeProxyConfiguration"),
        ("udpIdleTimeout", "no field of KubeProxyConfiguration any more, Kubernetes has removed it"),
        ("conntrack.max", "no field of KubeProxyConfiguration any more, Kubernetes has removed it"),
        ("resourceContainer", "no field of KubeProxyConfiguration any more, Kubernetes has removed it"),
    ],
)
def test_unknown_field_is_a_warning_and_reported(path: str, message: str) -> None:
    raw = dict(HEAD)
    put(raw, path, {"a": [1, None]})
    read = read_configuration(raw)
    assert read.settings == settings()
    assert [(one.field, one.message, one.severity) for one in read.problems] == [(path, message, Severity.WARNING)]
    (report,) = [one for one in read.reports if one.given]
    assert (report.path, report.verdict, report.value) == (path, Verdict.UNKNOWN, {"a": [1, None]})


def test_odd_keys_are_unknown_fields_that_print_safely() -> None:
    raw = {**HEAD, True: 1, "a.b": 16**5000, "x\x1b[31m": float("nan"), "nftables": {None: 3, "masqueradeAll\n": True}}
    read = read_configuration(raw)
    fields = [one.field for one in read.problems]
    assert fields == sorted(["[true]", "['a.b']", "['x\\x1b[31m']", "nftables[null]", "nftables['masqueradeAll\\n']"])
    json.dumps([one.value for one in read.reports], allow_nan=False)


def test_many_unknown_fields_are_all_named() -> None:
    read = read_configuration({**HEAD, **{f"nodePortAddresse{number}": number for number in range(2000)}})
    assert len(read.problems) == 2000


def test_known_field_is_not_known_elsewhere() -> None:
    read = read_configuration(written(conntrack__mode="ipvs", nftables__clusterCIDR="10.0.0.0/8", apiVersions="x"))
    assert {one.field for one in read.problems} == {"conntrack.mode", "nftables.clusterCIDR", "apiVersions"}
    inner = read_configuration(written(nftables__kind="x"))
    assert [one.field for one in inner.problems] == ["nftables.kind"]


# Reports -------------------------------------------------------------------------------------------------------------


def rows() -> list[tuple[str, str, str]]:
    """Return every example of the documentation: the fields in it, the verdict, the text."""
    table = DOCS.read_text().partition("## Every field")[2].partition("## The kernel's sysctls")[0]
    return re.findall(r"^\| `(.*?)` \| (\w+) \| (.*) \|$", table, re.MULTILINE)


@pytest.mark.parametrize(("example", "verdict", "text"), rows(), ids=lambda value: value[:60])
def test_documentation_says_what_is_reported(example: str, verdict: str, text: str) -> None:
    fields = yaml.safe_load("{" + example + "}")
    raw = dict(HEAD)
    for path, value in {"mode": "nftables", **fields}.items():
        put(raw, path, value)
    (report,) = [one for one in read_configuration(raw).reports if one.path == list(fields)[-1]]
    assert f"| `{example}` | {report.verdict} | {report.text} |" == f"| `{example}` | {verdict} | {text} |"
    assert report.value == list(fields.values())[-1]


def test_documentation_has_every_field() -> None:
    named = {list(yaml.safe_load("{" + example + "}"))[-1] for example, _, _ in rows()}
    gates = {path for path in named if path.startswith("featureGates.")}
    unknown = {"nftables.masqueradeALL", "udpIdleTimeout"}
    assert named - gates - unknown == {field.path for field in FIELDS} - {"featureGates"}
    assert len(gates) >= 2


def test_documentation_names_every_setting_of_a_node() -> None:
    table = DOCS.read_text().partition("## Who comes first")[2].partition("## Coming from")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == set(SETTING_NAMES)


def test_every_field_of_the_file_is_reported_once_in_one_order() -> None:
    raw = dict(HEAD)
    for field in reversed(FIELDS):
        put(raw, field.path, {"B": True, "A": False} if field.path == "featureGates" else None)
    paths = [one.path for one in read_configuration(raw).reports]
    expected = [field.path for field in FIELDS]
    place = expected.index("featureGates")
    expected[place : place + 1] = ["featureGates.A", "featureGates.B"]
    assert paths == expected


def test_ipvs_user_learns_what_changes() -> None:
    read = read_configuration(yaml.safe_load(IPVS))
    found = verdicts(read)
    assert found["mode"] is Verdict.DIFFERENT
    assert found["ipvs.scheduler"] is Verdict.DIFFERENT
    assert found["ipvs.tcpTimeout"] is Verdict.DIFFERENT
    assert found["iptables.masqueradeAll"] is Verdict.DIFFERENT
    assert found["ipvs.excludeCIDRs"] is found["ipvs.syncPeriod"] is Verdict.IGNORED
    texts = {one.path: one.text for one in read.reports}
    assert "at random" in texts["ipvs.scheduler"]
    assert "kube-ipvs0" in texts["mode"]
    assert "primary addresses only" in texts["nodePortAddresses"]
    assert [one.path for one in read.reports if not one.given] == ["nodePortAddresses"]


@pytest.mark.parametrize(
    ("mode", "missing"),
    [
        ("nftables", []),
        ("iptables", ["nodePortAddresses", "iptables.localhostNodePorts"]),
        ("ipvs", ["nodePortAddresses", "ipvs.scheduler"]),
        (None, ["mode", "nodePortAddresses", "iptables.localhostNodePorts"]),
    ],
)
def test_defaults_of_another_mode_that_change_are_told(mode: str | None, missing: list[str]) -> None:
    read = read_configuration(dict(HEAD) if mode is None else written(mode=mode))
    assert [(one.path, one.verdict) for one in read.reports if not one.given] == [
        (path, Verdict.DIFFERENT) for path in missing
    ]


@pytest.mark.parametrize(
    ("addresses", "localhost"),
    [
        (["192.0.2.0/24"], Verdict.HONOURED),
        (["primary"], Verdict.HONOURED),
        (["2001:db8::/64"], Verdict.DIFFERENT),
        (["0.0.0.0/0"], Verdict.DIFFERENT),
        (["127.0.0.0/8"], Verdict.DIFFERENT),
        ([], Verdict.DIFFERENT),
    ],
)
def test_localhost_node_ports_change_only_where_there_were_any(addresses: list[str], localhost: Verdict) -> None:
    raw = written(mode="iptables", nodePortAddresses=addresses, iptables__localhostNodePorts=None)
    assert verdicts(read_configuration(raw))["iptables.localhostNodePorts"] is localhost


def test_default_that_counts_is_told() -> None:
    read = read_configuration(written(mode="iptables", conntrack__min=None, iptables__localhostNodePorts=None))
    texts = {one.path: one.text for one in read.reports}
    assert texts["conntrack.min"].endswith(" Empty here: the default, 131072, counts.")
    assert texts["iptables.localhostNodePorts"].endswith(" Empty here: the default, true, counts.")


def test_zero_that_counts_is_no_default() -> None:
    read = read_configuration(written(conntrack__tcpEstablishedTimeout="0s", oomScoreAdj=0))
    assert not [one for one in read.reports if "Empty here" in one.text]


def test_summary_counts_each_verdict() -> None:
    read = read_configuration(written(mode="nftables", nftables__masqueradeBit=14, portRange="", x=1))
    assert read.summary == "4 fields: 1 honoured, 1 different, 1 ignored, 1 unknown"
    assert read_configuration(written(mode="ipvs")).summary == (
        "1 field: 0 honoured, 1 different, 0 ignored, 0 unknown; left out and different: 2"
    )


# Where it is found ---------------------------------------------------------------------------------------------------


def config_map(text: object = KUBEADM, key: object = "config.conf", **metadata: str) -> dict[str, Any]:
    named = {"name": "kube-proxy", "namespace": "kube-system", **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": {key: text, "kubeconfig.conf": "x"}}


def test_document_is_found_as_it_is() -> None:
    raw = written(mode="ipvs")
    assert list(configurations_in(raw)) == [Document(ObjectRef(KIND, "", ""), raw)]


@pytest.mark.parametrize(
    "document",
    [
        config_map(),
        {"apiVersion": "v1", "kind": "List", "items": [{"kind": "Service"}, config_map(), 5]},
        {
            "apiVersion": "v1",
            "kind": "ConfigMapList",
            "items": [{"data": config_map()["data"], "metadata": {"name": "kube-proxy", "namespace": "kube-system"}}],
        },
    ],
)
def test_text_is_found_in_a_config_map(document: dict[str, Any]) -> None:
    ref = ObjectRef("ConfigMap", "kube-system", "kube-proxy")
    assert list(configurations_in(document)) == [Text(ref, "data[config.conf]", KUBEADM)]


def test_config_map_may_have_other_names() -> None:
    (found,) = configurations_in(config_map(key="config", name="kube-proxy-config"))
    assert isinstance(found, Text)
    assert (found.ref.name, found.field) == ("kube-proxy-config", "data[config]")


@pytest.mark.parametrize(
    "document",
    [
        None,
        5,
        [],
        {},
        {"kind": ["ConfigMap"]},
        {"kind": "ConfigMap"},
        {"kind": "ConfigMap", "data": ["KubeProxyConfiguration"]},
        {"kind": "ConfigMap", "data": {"a": {"kind": KIND}}},
        {"kind": "List", "items": {"kind": KIND}},
        {"kind": "List", "items": [{"kind": "List", "items": [HEAD]}]},
        {"kind": "Service", "data": {"a": KIND}},
    ],
)
def test_nothing_is_found_elsewhere(document: object) -> None:
    assert list(configurations_in(document)) == []
