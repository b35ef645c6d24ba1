"""What docs/agent.md lists is what there is: options, sources, passes, pages, status keys, metrics, log, Events."""

import ast
import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from nftsvc.agent import pages, service_health
from nftsvc.agent.counters import ServiceCount, ServiceLabels
from nftsvc.agent.metrics import Metrics
from nftsvc.agent.pages import Pages
from nftsvc.agent.requests import ApiRequests
from nftsvc.agent.status import Drift, NoLocalEndpoints, PassReport, Programmed, SourceStatus, Status
from nftsvc.agent.statusz import status_json
from nftsvc.cli import make_app
from nftsvc.errors import ObjectRef, Problem
from nftsvc.frontends import FrontendKind
from nftsvc.plan import HealthCheck
from nftsvc.sources.cluster.resources import wanted_resources
from nftsvc.state import ServiceKey
from nftsvc.sync import PassKind
from nftsvc.values import FAMILIES, Family, Protocol
from tests.support.exposition import Exposition, checked

app = make_app()

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "agent.md").read_text()
NOW = 1_700_000_100.0

Cells = tuple[str, ...]


def rows(*columns: str) -> list[Cells]:
    """Return the rows of all tables with these columns, at least one of them."""
    cells = [tuple(cell.strip() for cell in line.strip().strip("|").split("|")) for line in TEXT.splitlines()]
    found: list[Cells] = []
    for start in [number for number, one in enumerate(cells) if one == columns]:
        for one in cells[start + 2 :]:
            if len(one) != len(columns):
                assert one == ("",), f"a row of {columns} has {len(one)} cells: {one}"
                break
            found.append(one)
    assert found, columns
    return found


def spans(cell: str) -> list[str]:
    """Return what stands between backquotes."""
    return re.findall(r"`([^`]+)`", cell)


def names(*columns: str) -> list[str]:
    """Return what stands between backquotes in the first column, in order."""
    return [name for row in rows(*columns) for name in spans(row[0])]


# Options, sources, passes ---------------------------------------------------------------------------------------------


def test_every_option_is_listed_and_nothing_else() -> None:
    command: Any = typer.main.get_command(app)
    there = [name for one in command.commands["run"].params for name in one.opts]
    assert sorted(names("option", "default", "what it says")) == sorted(there)


def test_defaults_that_are_listed_are_taken() -> None:
    command: Any = typer.main.get_command(app)
    given = [(spans(option)[0], default.strip("`")) for option, default, _ in rows("option", "default", "what it says")]
    for option, default in given:
        if re.fullmatch(r"\S*\w\S*", default) and default != "no":
            command.commands["run"].make_context("run", [option, default])


def test_options_named_elsewhere_exist() -> None:
    known = set(names("option", "default", "what it says")) | {"--kube-proxy"}
    assert set(re.findall(r"--[a-z][a-z-]+", TEXT)) <= known


def test_sources_are_asked_for_what_is_said() -> None:
    listed = [
        (*spans(one[0]), one[1].strip("`"), one[2].strip("`"))
        for one in rows("source", "labels", "fields", "what it is for")
    ]
    wanted = wanted_resources("NODE", with_endpoints=True)
    assert listed == [(one.name, one.labels, one.fields) for one in wanted]


def test_every_kind_of_pass_is_listed() -> None:
    assert sorted(names("kind", "when", "what is compared")) == sorted(PassKind)


# Pages ----------------------------------------------------------------------------------------------------------------


def _paths_in_code() -> set[str]:
    tree = ast.parse(Path(pages.__file__).read_text())
    patterns = (one.value for one in ast.walk(tree) if isinstance(one, ast.MatchValue))
    return {one.value for one in patterns if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def test_every_page_is_listed_with_the_addresses_that_have_it() -> None:
    listed = {spans(path)[0]: (bool(health), bool(metrics)) for path, health, metrics, _ in _page_rows()}
    assert listed.keys() == _paths_in_code()

    async def served() -> dict[str, tuple[bool, bool]]:
        made = Pages(lambda: FULL, lambda: NOW, 60.0, Metrics(lambda: FULL, lambda: NOW))
        return {
            path: (await made.health(path) is not None, await made.observed(path) is not None)
            for path in [*listed, "/", "/debug"]
        }

    assert asyncio.run(served()) == {**listed, "/": (False, False), "/debug": (False, False)}


def _page_rows() -> list[Cells]:
    return rows("path", "health address", "metrics address", "what it says")


# /statusz -------------------------------------------------------------------------------------------------------------

WEB = ObjectRef("Service", "shop", "web")
PROBLEMS = (Problem("not a number", "spec.ports", WEB),)
PASS = PassReport(PassKind.CHANGE, "1 change", 1_700_000_050.0, 0.003, transactions=1, latencies=(0.004,))
FULL = Status(
    version="1.2.3",
    node="node-a",
    started=1_700_000_000.0,
    sources=(SourceStatus("services", problems=PROBLEMS),),
    programmed=Programmed(1, 1, 1, dict.fromkeys(FAMILIES, 1), dict.fromkeys(FAMILIES, NoLocalEndpoints())),
    health_checks=(HealthCheck(ServiceKey("shop", "web"), 32000, dict.fromkeys(FAMILIES, 1)),),
    last_good=PASS,
    last_failed=replace(PASS, error="no"),
    last_drift=Drift("nft", 42, "deleted table ip nftsvc", 1_700_000_070.0),
    problems=PROBLEMS,
)


def _keys(said: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Yield the paths of all keys; a list is named `[]`, and what differs by family is not gone into."""
    for key, value in said.items():
        path = f"{above}{key}"
        if isinstance(value, dict) and value.keys() == {"total", "first", "more"}:
            path = f"{path}[]"
            value = value["first"][0]  # noqa: PLW2901
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            path = f"{path}[]"
            value = value[0]  # noqa: PLW2901
        yield path
        if isinstance(value, dict) and value.keys() - set(FAMILIES):
            yield from _keys(value, f"{path}.")


def _listed_keys() -> Iterator[str]:
    """Yield the paths in the table: those that begin with a dot are below the last that do not."""
    above: Sequence[str] = ()
    for cell, _ in rows("key", "what it says"):
        found = spans(cell)
        if found[0].startswith("."):
            yield from (f"{one}{name}" for one in above for name in found)
        else:
            above = found
            yield from found


def test_every_key_of_the_status_is_listed() -> None:
    listed = [one.replace("sources[].problems[].", "sources[].problems.") for one in _listed_keys()]
    there = [one.replace("sources[].problems[]", "sources[].problems") for one in _keys(status_json(FULL, NOW, 60.0))]
    assert sorted(listed) == sorted(there)


# Metrics --------------------------------------------------------------------------------------------------------------


def _everything_counted() -> Exposition:
    """Return the metrics of an agent to which everything has happened."""
    labels = ServiceLabels("shop", "web", "", Protocol("TCP"), Family.IPV4, FrontendKind.CLUSTER_IP, "10.96.0.1")

    async def read() -> Sequence[ServiceCount]:
        return [ServiceCount(labels, 1), ServiceCount(labels, 1, refused=True)]

    async def scrape() -> bytes:
        requests = ApiRequests()
        requests.seen("GET", "192.0.2.1:6443", "200", 0.01)
        metrics = Metrics(lambda: FULL, lambda: NOW, read, requests)
        metrics.pass_done(PASS)
        metrics.pass_done(replace(PASS, kind=PassKind.FULL, programming=((Family.IPV4, 1.0),)))
        metrics.queued(NOW)
        metrics.drift(Drift("nft", 42, "", NOW))
        metrics.source_broken("services")
        metrics.conntrack_done(Family.IPV4, 0.1, 1)
        await metrics.exposition()
        text = await metrics.exposition()
        await metrics.close()
        return text

    return checked(asyncio.run(scrape()))


def test_every_metric_is_listed_with_its_type_and_labels() -> None:
    found = _everything_counted()
    there = {}
    for name, kind in found.types.items():
        sample = f"{name}_count" if kind == "histogram" else name
        there[name] = (kind, found.labels(sample))
    listed = {}
    for cell, kind, labels, _ in rows("metric", "type", "labels", "what it says"):
        for name in spans(cell):
            assert name not in listed, name
            listed[name] = (kind, set(labels.replace(",", " ").split()))
    assert listed == there


# Log and Events -------------------------------------------------------------------------------------------------------


def _calls() -> Iterator[ast.Call]:
    for path in sorted((ROOT / "nftsvc" / "agent").glob("*.py")):
        yield from (one for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.Call))


def _name(call: ast.Call) -> str:
    """Return what is called, without the object that it belongs to."""
    match call.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _levels(written: ast.expr) -> set[str]:
    return {one.attr for one in ast.walk(written) if isinstance(one, ast.Attribute) and one.attr.isupper()}


def _logged() -> Iterator[tuple[str, str]]:
    """Yield each message and level that the agent may log."""
    for call in _calls():
        match _name(call), call.args:
            case "event", [_, level, ast.Constant(value=str(message)), *_]:
                yield from ((message, one) for one in _levels(level))
            case "exception", [ast.Constant(value=str(message)), *_]:
                yield message.replace("%s", "PATH"), "ERROR"


def test_every_line_of_the_log_is_listed_with_its_level() -> None:
    listed = set()
    for messages, levels, _ in rows("message", "level", "when"):
        said, of = spans(messages), levels.split(", ")
        listed |= set(zip(said, of, strict=True)) if len(said) > 1 else {(said[0], one) for one in of}
    assert listed == set(_logged())


def test_every_reason_of_an_event_is_listed() -> None:
    there = {pages.HEALTH_FAILED, pages.METRICS_FAILED, service_health.FAILED}
    for call in _calls():
        if _name(call) in {"_announce", "post_event"}:
            values = (one.value for one in call.args if isinstance(one, ast.Constant))
            there |= {one for one in values if isinstance(one, str)}
    assert set(names("reason", "about", "when")) == there
