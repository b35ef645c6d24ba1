"""The alerts speak of metrics and labels that the agent has, and are rules as Prometheus takes them."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import yaml

from nftsvc.agent.counters import ServiceCount, ServiceLabels
from nftsvc.agent.metrics import Metrics
from nftsvc.agent.status import Drift, PassReport, SourceStatus, Status
from nftsvc.frontends import FrontendKind
from nftsvc.sync import PassKind
from nftsvc.values import Family, Protocol
from tests.deploy.deployment import DEPLOY
from tests.deploy.promql import parse, tokens
from tests.support.exposition import checked

Raw = dict[str, Any]

# What Prometheus itself puts on every series, and the one metric of its own that is used.
TARGET = {"job", "instance"}
OF_PROMETHEUS = {"up": TARGET}

RULES: list[Raw] = [
    rule for group in yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
NAMES = [rule["alert"] for rule in RULES]
each = pytest.mark.parametrize("rule", RULES, ids=NAMES)


@pytest.fixture(scope="module")
def exported() -> Mapping[str, set[str]]:
    """The labels of every series that an agent exports to which everything has happened, by name."""
    labels = ServiceLabels("shop", "web", "http", Protocol("TCP"), Family.IPV4, FrontendKind.CLUSTER_IP, "10.96.0.1")
    status = Status("1.2.3", "node-a", 0.0, sources=(SourceStatus("services"),))

    async def read() -> Sequence[ServiceCount]:
        return ServiceCount(labels, 1), ServiceCount(labels, 1, refused=True)

    async def scrape() -> bytes:
        metrics = Metrics(lambda: status, lambda: 100.0, read)
        for kind in PassKind:
            metrics.pass_done(
                PassReport(
                    kind, "", 1, 1, transactions=1, latencies=(1.0,), programming=tuple((one, 1.0) for one in Family)
                )
            )
        metrics.drift(Drift("nft", 42, "flush ruleset", 0.0))
        metrics.source_broken("services")
        for family in Family:
            metrics.conntrack_done(family, 0.01, 7)
        text = await metrics.exposition()
        await metrics.close()
        return text

    samples = checked(asyncio.run(scrape())).samples
    return {name: {key for one in found for key, _ in one} for name, found in samples.items()}


@each
def test_metrics_and_labels_of_an_alert_are_the_agents(rule: Raw, exported: Mapping[str, set[str]]) -> None:
    said = parse(rule["expr"])
    assert said.metrics
    known = {**exported, **OF_PROMETHEUS}
    for name, selected in said.metrics.items():
        assert name in known, name
        assert selected <= known[name], name
    there = set().union(TARGET, *(known[name] for name in said.metrics))
    for _, labels in said.grouped:
        assert labels
        assert set(labels) <= there


@each
def test_a_quantile_keeps_the_buckets_apart(rule: Raw) -> None:
    said = parse(rule["expr"])
    of_buckets = any(name.endswith("_bucket") for name in said.metrics)
    assert of_buckets == ("histogram_quantile" in tokens(rule["expr"]))
    if of_buckets:
        assert all("le" in labels for word, labels in said.grouped if word == "by")


@each
def test_counters_are_looked_at_as_rates(rule: Raw) -> None:
    found = tokens(rule["expr"])
    for name in parse(rule["expr"]).metrics:
        if name.endswith(("_total", "_bucket", "_count", "_sum")):
            assert found[found.index(name) - 2] in {"rate", "increase"}


@each
def test_an_alerts_texts_use_labels_that_it_has(rule: Raw, exported: Mapping[str, set[str]]) -> None:
    said = parse(rule["expr"])
    sums = [set(labels) for word, labels in said.grouped if word == "by"]
    known = {**exported, **OF_PROMETHEUS}
    kept = set().union(*sums) if sums else set().union(TARGET, *(known[name] for name in said.metrics))
    texts = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= kept - {"le"}
    assert not re.sub(r"\{\{ \$(labels\.\w+|value( \| \w+( \"[^\"]*\")?)?) \}\}", "", texts).count("{{")


@each
def test_an_alert_has_what_people_need(rule: Raw) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch(r"Nftsvc[A-Za-z]+", rule["alert"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"].keys() == {"summary", "description"}
    assert all(text.endswith(".") for text in rule["annotations"].values())
    assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))


def test_alerts_have_names_of_their_own() -> None:
    assert len(set(NAMES)) == len(NAMES) > 10


def test_what_goes_wrong_has_an_alert() -> None:
    spoken_of = set().union(*(parse(rule["expr"]).metrics for rule in RULES))
    assert spoken_of >= {
        "nftsvc_ready",
        "nftsvc_last_pass_failed",
        "nftsvc_passes_total",
        "nftsvc_source_up",
        "nftsvc_drift_repairs_total",
        "nftsvc_applied_state_age_seconds",
        "kubeproxy_conntrack_reconciler_sync_duration_seconds_bucket",
    }


@pytest.mark.parametrize(
    "text",
    [
        "sum(rate(nftsvc_passes_total[5m])",  # a bracket too few
        "sum(rate(nftsvc_passes_total[5m)])",
        "average(nftsvc_ready)",
        'nftsvc_ready{job~"a"}',
        "nftsvc_ready == $",
        "sum by job (nftsvc_ready)",
    ],
)
def test_what_is_no_expression_is_noticed(text: str) -> None:
    with pytest.raises(AssertionError):
        parse(text)
