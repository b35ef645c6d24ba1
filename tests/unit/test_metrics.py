"""The metrics: kube-proxy's names, types, labels and buckets; ours; a text that Prometheus takes."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from nftsvc.agent import metrics as module
from nftsvc.agent.metrics import MOST_PROCESSES, OTHER_PROCESSES, Metrics
from nftsvc.agent.status import Drift, NoLocalEndpoints, PassReport, Programmed, SourceStatus, Status
from nftsvc.errors import Problem
from nftsvc.plan import HealthCheck
from nftsvc.state import ServiceKey
from nftsvc.sync import PassKind
from nftsvc.values import Family
from tests.support.exposition import Exposition, checked

NOW = 1_700_000_100.0
STATUS = Status(version="1.2.3", node="node-a", started=1_700_000_000.0, layout="2.abcdef01")
PASS = PassReport(PassKind.CHANGE, "one Service", started=1_700_000_050.0, seconds=0.003)

BOTH = ("IPv4", "IPv6")
SYNC_BUCKETS = [
    "0.001",
    "0.002",
    "0.004",
    "0.008",
    "0.016",
    "0.032",
    "0.064",
    "0.128",
    "0.256",
    "0.512",
    "1.024",
    "2.048",
    "4.096",
    "8.192",
    "16.384",
    "+Inf",
]
# name: type, labels. Source: kube-proxy 1.36 in nftables mode.
KUBE_PROXY = {
    "sync_proxy_rules_duration_seconds": ("histogram", {"ip_family", "le"}),
    "sync_full_proxy_rules_duration_seconds": ("histogram", {"ip_family", "le"}),
    "sync_partial_proxy_rules_duration_seconds": ("histogram", {"ip_family", "le"}),
    "sync_proxy_rules_last_timestamp_seconds": ("gauge", {"ip_family"}),
    "sync_proxy_rules_last_queued_timestamp_seconds": ("gauge", {"ip_family"}),
    "sync_proxy_rules_endpoint_changes_pending": ("gauge", set()),
    "sync_proxy_rules_endpoint_changes_total": ("counter", set()),
    "sync_proxy_rules_service_changes_pending": ("gauge", set()),
    "sync_proxy_rules_service_changes_total": ("counter", set()),
    "sync_proxy_rules_nftables_sync_failures_total": ("counter", {"ip_family"}),
    "sync_proxy_rules_nftables_cleanup_failures_total": ("counter", {"ip_family"}),
    "sync_proxy_rules_no_local_endpoints_total": ("gauge", {"ip_family", "traffic_policy"}),
    "network_programming_duration_seconds": ("histogram", {"ip_family", "le"}),
    "proxy_healthz_total": ("counter", {"code"}),
    "proxy_livez_total": ("counter", {"code"}),
    "conntrack_reconciler_sync_duration_seconds": ("histogram", {"ip_family", "le"}),
    "conntrack_reconciler_deleted_entries_total": ("counter", {"ip_family"}),
}


def written(do: Callable[[Metrics], object] = lambda _: None, status: Status = STATUS, now: float = NOW) -> Exposition:
    async def scrape() -> bytes:
        metrics = Metrics(lambda: status, lambda: now)
        do(metrics)
        return await metrics.exposition()

    return checked(asyncio.run(scrape()))


def busy(metrics: Metrics) -> None:
    metrics.pass_done(replace(PASS, kind=PassKind.FIRST))
    metrics.pass_done(
        replace(
            PASS,
            transactions=1,
            bytes=300,
            added=2,
            removed=1,
            operations=3,
            latencies=(0.004, 0.02),
            programming=((Family.IPV4, 0.3), (Family.IPV6, 2.5)),
        )
    )
    metrics.queued(1_700_000_049.0)
    for kind in ("Service", "EndpointSlice", "Endpoints", "Node"):
        metrics.change_seen(kind)
    metrics.pending(3, 4)
    metrics.drift(Drift("nft", 42, "flush ruleset", NOW))
    for family in Family:
        metrics.conntrack_done(family, 0.01, 7)
    metrics.source_broken("cluster")
    metrics.healthz_answered(503)
    metrics.livez_answered(200)


# kube-proxy's --------------------------------------------------------------------------------------------------------


def test_kube_proxys_metrics_have_its_names_types_and_labels() -> None:
    said = written(busy)
    for name, (kind, labels) in KUBE_PROXY.items():
        full = f"kubeproxy_{name}"
        assert said.types[full] == kind
        assert said.labels(f"{full}_bucket" if kind == "histogram" else full) == labels, name
    assert {name for name in said.types if name.startswith("kubeproxy_")} == {f"kubeproxy_{one}" for one in KUBE_PROXY}


def test_kube_proxys_buckets() -> None:
    said = written(busy)
    for name in ("sync_proxy_rules", "sync_full_proxy_rules", "sync_partial_proxy_rules", "conntrack_reconciler_sync"):
        assert said.buckets(f"kubeproxy_{name}_duration_seconds") == SYNC_BUCKETS
    expected = ["0", "0.25", "0.5"]
    expected += [str(one) for one in (*range(1, 60), *range(60, 116, 5), *range(120, 301, 30))]
    assert said.buckets("kubeproxy_network_programming_duration_seconds") == [*expected, "+Inf"]


def test_alerts_find_zeros_before_anything_happened() -> None:
    said = written()
    for family in BOTH:
        for what in ("sync", "cleanup"):
            assert said.value(f"kubeproxy_sync_proxy_rules_nftables_{what}_failures_total", ip_family=family) == 0
        assert said.value("kubeproxy_conntrack_reconciler_deleted_entries_total", ip_family=family) == 0
        for policy in ("internal", "external"):
            name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
            assert said.value(name, ip_family=family, traffic_policy=policy) == 0
    for page in ("healthz", "livez"):
        for code in ("200", "503"):
            assert said.value(f"kubeproxy_proxy_{page}_total", code=code) == 0
    for kind in PassKind:
        for result in ("ok", "failed"):
            assert said.value("nftsvc_passes_total", kind=kind, result=result) == 0


@pytest.mark.parametrize("kind", list(PassKind))
def test_a_pass_counts_for_each_family_as_full_or_partial(kind: PassKind) -> None:
    said = written(lambda metrics: metrics.pass_done(replace(PASS, kind=kind)))
    assert said.value("nftsvc_passes_total", kind=kind, result="ok") == 1
    of_its_kind, other = ("partial", "full") if kind is PassKind.CHANGE else ("full", "partial")
    for family in BOTH:
        for name in ("sync_proxy_rules", f"sync_{of_its_kind}_proxy_rules"):
            assert said.value(f"kubeproxy_{name}_duration_seconds_count", ip_family=family) == 1
        assert said.value("kubeproxy_sync_proxy_rules_last_timestamp_seconds", ip_family=family) == PASS.started + 0.003
    assert f"kubeproxy_sync_{other}_proxy_rules_duration_seconds_count" not in said.samples


def test_a_failed_pass_is_timed_and_counted_but_does_not_count_as_synced() -> None:
    def fail(metrics: Metrics) -> None:
        metrics.pass_done(PASS)
        metrics.pass_done(replace(PASS, started=PASS.started + 10, error="no"))

    said = written(fail)
    for family in BOTH:
        assert said.value("kubeproxy_sync_proxy_rules_duration_seconds_count", ip_family=family) == 2
        assert said.value("kubeproxy_sync_proxy_rules_nftables_sync_failures_total", ip_family=family) == 1
        assert said.value("kubeproxy_sync_proxy_rules_last_timestamp_seconds", ip_family=family) == PASS.started + 0.003
    assert said.value("nftsvc_passes_total", kind="change", result="failed") == 1


def test_what_the_agent_reports_is_told() -> None:
    said = written(busy)
    assert said.value("kubeproxy_sync_proxy_rules_service_changes_total") == 1
    assert said.value("kubeproxy_sync_proxy_rules_endpoint_changes_total") == 2
    assert said.value("kubeproxy_sync_proxy_rules_service_changes_pending") == 3
    assert said.value("kubeproxy_sync_proxy_rules_endpoint_changes_pending") == 4
    assert said.value("kubeproxy_proxy_healthz_total", code="503") == 1
    assert said.value("kubeproxy_proxy_livez_total", code="200") == 1
    name = "kubeproxy_network_programming_duration_seconds_bucket"
    assert said.value(name, ip_family="IPv4", le="0.25") == 0
    assert said.value(name, ip_family="IPv4", le="0.5") == 1
    assert said.value(name, ip_family="IPv6", le="3") == 1
    for family in BOTH:
        assert said.value("kubeproxy_conntrack_reconciler_deleted_entries_total", ip_family=family) == 7
        assert said.value("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", ip_family=family) == 1_700_000_049


def test_a_clock_that_is_behind_the_control_planes_counts_in_the_lowest_bucket() -> None:
    early = replace(PASS, programming=((Family.IPV4, -0.2),))
    said = written(lambda metrics: metrics.pass_done(early))
    assert said.value("kubeproxy_network_programming_duration_seconds_bucket", ip_family="IPv4", le="0") == 1


def test_a_node_with_one_family_has_one() -> None:
    said = written(lambda metrics: metrics.pass_done(PASS), replace(STATUS, families=(Family.IPV6,)))
    for name in ("kubeproxy_sync_proxy_rules_duration_seconds_count", "nftsvc_elements"):
        assert set(said.samples[name]) == {frozenset({("ip_family", "IPv6")})}


# Ours ----------------------------------------------------------------------------------------------------------------


def test_transactions_are_measured_and_passes_without_one_are_not() -> None:
    def passes(metrics: Metrics) -> None:
        metrics.pass_done(PASS)
        metrics.pass_done(replace(PASS, transactions=1, bytes=300, added=2, removed=1, operations=3))

    said = written(passes)
    for name, total in (("bytes", 300), ("elements", 3), ("operations", 3)):
        assert said.value(f"nftsvc_transaction_{name}_count") == 1
        assert said.value(f"nftsvc_transaction_{name}_sum") == total


def test_latencies_reach_from_half_a_millisecond_to_ten_seconds() -> None:
    said = written(lambda metrics: metrics.pass_done(replace(PASS, latencies=(0.0004, 0.009, 20.0))))
    buckets = said.buckets("nftsvc_change_to_kernel_seconds")
    assert (buckets[0], buckets[-2:]) == ("0.0005", ["10", "+Inf"])
    assert said.value("nftsvc_change_to_kernel_seconds_bucket", le="0.0005") == 1
    assert said.value("nftsvc_change_to_kernel_seconds_bucket", le="0.01") == 2
    assert said.value("nftsvc_change_to_kernel_seconds_count") == 3


def test_other_processes_are_told_apart_up_to_a_number() -> None:
    def repairs(metrics: Metrics) -> None:
        for number in range(1000):
            metrics.drift(Drift(f"tool-{number}", number, "", NOW))
        metrics.drift(Drift("tool-0", 0, "", NOW))
        metrics.drift(Drift("", 0, "", NOW))

    said = written(repairs).samples["nftsvc_drift_repairs_total"]
    assert len(said) == MOST_PROCESSES + 1
    assert said[frozenset({("process", "tool-0")})] == 2
    assert said[frozenset({("process", OTHER_PROCESSES)})] == 1000 - MOST_PROCESSES + 1


@pytest.mark.parametrize(("process", "label"), [("", "(unknown)"), ('n"f\nt\\', 'n"f\\nt\\'), ("\x1b[2J", "\\x1b[2J")])
def test_other_processes_names_cannot_break_the_text(process: str, label: str) -> None:
    said = written(lambda metrics: metrics.drift(Drift(process, 1, "", NOW)))
    assert said.value("nftsvc_drift_repairs_total", process=label) == 1


def test_status_becomes_gauges() -> None:
    sources = (
        SourceStatus("services", complete=True, objects=3, problems=(Problem("odd"),)),
        SourceStatus("cluster", broken="connection refused", since=NOW - 7),
    )
    status = replace(
        STATUS,
        first_synced=NOW - 50,
        sources=sources,
        programmed=Programmed(
            3, 4, 5, {Family.IPV4: 40, Family.IPV6: 30}, {Family.IPV4: NoLocalEndpoints(internal=1, external=2)}
        ),
        health_checks=(HealthCheck(ServiceKey("shop", "web"), 32000, {Family.IPV4: 1}),),
        problems=(Problem("a"), Problem("b")),
    )
    said = written(status=status)
    assert said.value("nftsvc_build_info", version="1.2.3", layout="2.abcdef01") == 1
    assert said.value("nftsvc_ready") == 0
    assert said.value("nftsvc_applied_state_age_seconds") == 7
    assert [said.value(f"nftsvc_{one}") for one in ("services", "service_ports", "endpoints")] == [3, 4, 5]
    assert said.value("nftsvc_health_check_ports") == 1
    assert said.value("nftsvc_object_problems") == 2
    assert [said.value("nftsvc_elements", ip_family=family) for family in BOTH] == [40, 30]
    name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total"
    found = [said.value(name, ip_family="IPv4", traffic_policy=one) for one in ("internal", "external")]
    assert found == [1, 2]
    for reading, values in {"up": (1, 0), "complete": (1, 0), "objects": (3, 0), "problems": (1, 0)}.items():
        assert tuple(said.value(f"nftsvc_source_{reading}", source=one) for one in ("services", "cluster")) == values


def test_the_applied_state_has_no_age_while_it_is_what_it_should_be() -> None:
    assert written(status=replace(STATUS, first_synced=NOW - 50)).value("nftsvc_applied_state_age_seconds") == 0
    assert written().value("nftsvc_applied_state_age_seconds") == 100
    late = replace(STATUS, first_synced=NOW - 50, pending_since=NOW - 2)
    assert written(status=late).value("nftsvc_applied_state_age_seconds") == 2
    assert written(status=late, now=NOW - 10).value("nftsvc_applied_state_age_seconds") == 0  # a clock set back


def test_the_last_error_is_dated_by_kind_and_over_after_a_good_pass() -> None:
    bad = replace(PASS, kind=PassKind.RETRY, error="Service shop/web: no")
    failing = replace(STATUS, last_good=replace(PASS, started=PASS.started - 10), last_failed=bad)
    said = written(status=failing)
    assert said.value("nftsvc_last_pass_failed") == 1
    assert said.value("nftsvc_last_error_timestamp_seconds", kind="retry") == bad.started + bad.seconds
    assert said.value("nftsvc_last_error_timestamp_seconds", kind="change") == 0
    healed = replace(failing, last_good=replace(PASS, started=PASS.started + 10))
    assert written(status=healed).value("nftsvc_last_pass_failed") == 0


def test_the_process_tells_of_itself() -> None:
    said = written()
    assert said.value("process_resident_memory_bytes") > 1 << 20
    assert {"process_cpu_seconds_total", "process_open_fds", "python_info"} <= set(said.types)
    assert "python_gc_collections_total" in said.types


# The text ------------------------------------------------------------------------------------------------------------


def test_scrapes_shortly_after_one_another_get_the_same_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        metrics = Metrics(lambda: STATUS, lambda: NOW)
        first, second = await asyncio.gather(metrics.exposition(), metrics.exposition())
        assert first is second
        monkeypatch.setattr(module, "FRESH_SECONDS", 0.0)
        metrics.healthz_answered(200)
        third = checked(await metrics.exposition())
        assert third.value("kubeproxy_proxy_healthz_total", code="200") == 1

    asyncio.run(scenario())


def test_two_agents_in_one_process_do_not_share_counts() -> None:
    written(busy)
    assert written().value("kubeproxy_sync_proxy_rules_service_changes_total") == 0


def test_help_does_not_load_what_only_the_agent_needs() -> None:
    program = (
        "import sys; from nftsvc.cli import main\n"
        "sys.argv = ['nftsvc', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([one for one in ('aiohttp', 'prometheus_client') if one in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"}
    )
    assert done.stderr.strip().splitlines()[-1] == "[]"
