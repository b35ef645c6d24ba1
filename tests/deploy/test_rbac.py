"""The ClusterRole allows exactly what the agent's cluster source sends to the API server."""

import asyncio
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from nftsvc.errors import ObjectRef
from nftsvc.sources.cluster import Cluster, open_cluster
from nftsvc.sources.source import Batch
from tests.deploy.deployment import DEPLOY, document
from tests.support.apiserver import ApiServer
from tests.support.apiserver_load import cluster

PATIENCE = 60.0
NODE = "node-a"
ABOUT = (
    ObjectRef("Service", "load", "service-0"),
    ObjectRef("EndpointSlice", "load", "service-0-ipv4"),
    ObjectRef("Node", "", NODE),
)
MORE = ObjectRef("Endpoints", "load", "service-0")

Right = tuple[str, str, str]  # group, resource, verb


class Silent:
    """A receiver that looks at nothing."""

    def deliver(self, batch: Batch) -> None:
        pass

    def broken(self, source: str, reason: str) -> None:
        pass


def rights(rules: Sequence[dict[str, Any]]) -> set[Right]:
    assert all(rule.keys() == {"apiGroups", "resources", "verbs"} for rule in rules)
    found = [
        (group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert len(found) == len(set(found))
    return set(found)


def commented_rule() -> dict[str, Any]:
    """The rule for `--endpoints`, which is there as a comment."""
    text = (DEPLOY / "rbac.yaml").read_text()
    (block,) = re.findall(r"`nftsvc run --endpoints`.*\n((?:  # .*\n)+)", text)
    (rule,) = yaml.safe_load(re.sub(r"(?m)^  # ", "", block))
    assert isinstance(rule, dict)
    return rule


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ApiServer]:
    with ApiServer(token="t0") as made:  # noqa: S106 - of a test
        made.load(cluster(3, 2))
        made.kubeconfig(tmp_path / "kubeconfig")
        yield made


def used(server: ApiServer, kubeconfig: Path, *, with_endpoints: bool) -> set[Right]:
    """Run all sources through lists, watches and a second list, write Events, and return what was asked for."""
    about = (*ABOUT, MORE) if with_endpoints else ABOUT

    async def work(opened: Cluster) -> None:
        sources = opened.sources(NODE, with_endpoints=with_endpoints)
        tasks = [asyncio.create_task(one.run(Silent())) for one in sources]
        try:
            await asyncio.to_thread(server.wait, lambda: server.watching() == len(tasks))
            for one in about:
                opened.post_event(one, "NotServed", "a word", node=NODE, warning=True)
            await asyncio.to_thread(server.wait, lambda: len(server.events) == len(about))
            server.compact()
            lists = server.count("list", "services")
            server.end_watches(then="reset")
            server.load(cluster(4, 2))
            server.compact()
            await asyncio.to_thread(
                server.wait, lambda: server.watching() == len(tasks) and server.count("list", "services") > lists
            )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def run() -> None:
        async with asyncio.timeout(PATIENCE), open_cluster(kubeconfig) as opened:
            await work(opened)

    asyncio.run(run())
    return {(_group(one.path), one.call.resource, one.call.verb) for one in server.requests}


def _group(path: str) -> str:
    """The API group of a request's path, "" for the core's."""
    parts = path.strip("/").split("/")
    return parts[1] if parts[0] == "apis" else ""


def test_the_role_allows_what_the_agent_does_and_nothing_else(server: ApiServer, tmp_path: Path) -> None:
    found = used(server, tmp_path / "kubeconfig", with_endpoints=False)
    assert found == rights(document("rbac.yaml", "ClusterRole")["rules"])


def test_with_endpoints_the_rule_in_the_comment_is_what_is_missing(server: ApiServer, tmp_path: Path) -> None:
    found = used(server, tmp_path / "kubeconfig", with_endpoints=True)
    rules = document("rbac.yaml", "ClusterRole")["rules"]
    assert found == rights([*rules, commented_rule()])


def test_nobody_is_allowed_everything() -> None:
    for group, resource, verb in rights(document("rbac.yaml", "ClusterRole")["rules"]):
        assert "*" not in {group, resource, verb}
        assert verb in {"list", "watch", "create"}
        assert resource != "secrets"
