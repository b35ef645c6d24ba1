"""Whatever the cluster: lint never fails, and says of endpoints what `explain` says of packets."""

import random
from collections.abc import Iterator

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nftsvc.explain import Outcome, Packet, explain
from nftsvc.lint import BY_CODE, Finding, Report, lint
from nftsvc.objects import EndpointSlice, KubernetesObject, NodeConfiguration
from nftsvc.plan import Plan, why_skipped
from nftsvc.settings import settings_for
from nftsvc.sources.manifests import load
from nftsvc.state import ServiceKey, State
from nftsvc.values import Address, Family
from tests.support.builders import decoded
from tests.support.cases import EXAMPLES, all_cases
from tests.support.clusters import Cluster, altered, clusters, plan_of

BOUNDED = settings(
    max_examples=100, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)

# What says that connections to a Service reach nobody, from any node.
NOBODY = {"NS101", "NS102", "NS103", "NS104", "NS108", "NS511", "NS512", "NS513", "NS516"}
OUTSIDE = {Family.IPV4: Address("198.51.100.7"), Family.IPV6: Address("2001:db8:100::7")}


def reported(state: State, plan: Plan, objects: list[KubernetesObject]) -> Report:
    return lint(objects, state, plan.settings)


def of_service(report: Report, key: ServiceKey, objects: list[KubernetesObject]) -> Iterator[Finding]:
    """Yield the findings about a Service and its slices."""
    slices = {one.ref for one in objects if isinstance(one, EndpointSlice) and one.service_name == key.name}
    for one in report.findings:
        if one.ref in slices or (one.ref is not None and (one.ref.kind, one.ref.name) == ("Service", key.name)):
            yield one


def outcomes(state: State, plan: Plan, key: ServiceKey, *, external: bool) -> set[Outcome]:
    """Return what becomes of packets from outside to a Service's own ways in, but for what its source ranges stop."""
    found: set[Outcome] = set()
    for port in (one for one in plan.ports if one.service == key):
        for frontend in port.frontends:
            if frontend.address is not None and not frontend.sources and frontend.external == external:
                packet = Packet(OUTSIDE[port.family], frontend.address, frontend.port, port.protocol)
                found.add(explain(state, plan, packet).outcome)
    return found


@given(cluster=clusters().flatmap(lambda cluster: st.one_of(st.just(cluster), altered(cluster))))
@BOUNDED
def test_what_lint_says_of_endpoints_is_what_explain_says_of_packets(cluster: Cluster) -> None:
    objects = [decoded(raw) for raw in cluster]
    state, plan = plan_of(cluster)
    report = reported(state, plan, objects)
    known = any(isinstance(one, EndpointSlice) for one in objects)
    for key, service in state.services.items():
        assert not why_skipped(service)
        inside = outcomes(state, plan, key, external=False)
        codes = {one.code for one in of_service(report, key, objects)}
        if inside == {Outcome.FORWARD} and not codes & {"NS201", "NS206"}:
            assert not codes & NOBODY
            assert not [one for one in report.findings if one.code == "NS301" and one.ref == service.ref]
        if Outcome.REJECT in inside and known:
            assert codes & NOBODY
        if Outcome.DROP in inside:
            assert codes & {"NS301", "NS303"}
        if Outcome.DROP in outcomes(state, plan, key, external=True) and service.spec is not None:
            assert codes & {"NS302", "NS303"} or service.spec.type == "LoadBalancer"


@given(cluster=clusters())
@BOUNDED
def test_services_that_are_taken_from_each_other_are_those_that_the_plan_warns_of(cluster: Cluster) -> None:
    objects = [decoded(raw) for raw in cluster]
    state, plan = plan_of(cluster)
    warned = {one.ref for one in plan.problems if one.ref is not None and "comes first" in one.message}
    found = {one.ref for one in reported(state, plan, objects).findings if one.code in ("NS201", "NS202", "NS206")}
    assert found == warned


def everything() -> list[KubernetesObject]:
    """Return every object of every example, of files that can be read."""
    paths = [str(case.folder) for case in all_cases()]
    paths += [str(path) for path in sorted((EXAMPLES / "lint").rglob("*.yaml"))]
    return [one for path in paths for one in load([path]).objects]


EVERYTHING = everything()


@given(seed=st.integers(0, 10_000), size=st.integers(1, 80), node=st.sampled_from((None, "node-a", "node-x")))
@BOUNDED
def test_any_mixture_of_objects_is_linted(seed: int, size: int, node: str | None) -> None:
    mixed = random.Random(seed).sample(EVERYTHING, size)
    objects = [one for one in mixed if not isinstance(one, NodeConfiguration)]
    state = State.of(objects)
    name = node if not state.nodes or node in state.nodes else None
    report = lint(objects, state, settings_for(state, name))
    assert {one.code for one in report.findings} <= BY_CODE.keys()
    assert all(one.ref is not None and one.message and one.message.isprintable() for one in report.findings)
    again = lint(objects[::-1], State.of(objects[::-1]), settings_for(state, name))
    if len({one.ref for one in objects}) == len(objects):
        assert again.findings == report.findings
