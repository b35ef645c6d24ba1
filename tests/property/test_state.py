"""Whatever events come in whatever order: the state is that of what there is in the end, and nothing is missed."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nftsvc.errors import ObjectRef
from nftsvc.events import Event, Put, Removed, Replaced
from nftsvc.objects import KINDS, KubernetesObject
from nftsvc.plan import Planner, make_plan
from nftsvc.settings import NodeSettings, settings_for
from nftsvc.state import NOTHING, State
from nftsvc.values import FAMILIES
from tests.support.builders import Raw, decoded, endpoint_slice, service

BOUNDED = settings(
    max_examples=80, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
NAMESPACES = ("shop", "bank")
SERVICES = ("s-0", "s-1", "s-2")
NODES = ("node-a", "node-b")
Objects = dict[ObjectRef, KubernetesObject]

_maybe = st.booleans()
_namespaces = st.sampled_from(NAMESPACES)
_labels = st.dictionaries(st.sampled_from(("app", "tier")), st.sampled_from(("web", "db")), max_size=2)


@st.composite
def services(draw: st.DrawFn) -> Raw:
    """Few addresses and node ports, so that Services get in each other's way."""
    number = draw(st.integers(1, 4))
    addresses = draw(st.sampled_from(([f"10.96.0.{number}"], [f"10.96.0.{number}", f"fd00:96::{number}"])))
    ports = [{"name": "p", "port": 80, "nodePort": draw(st.sampled_from((0, 30080, 30081))), "targetPort": 8080}]
    spec: Raw = {
        "type": draw(st.sampled_from(("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"))),
        "externalTrafficPolicy": draw(st.sampled_from(("Cluster", "Local"))),
        "healthCheckNodePort": 32000,
        "selector": draw(st.none() | _labels),
        "externalIPs": draw(st.sampled_from(((), ("203.0.113.1",), ("10.96.0.2",)))),
        "trafficDistribution": draw(st.sampled_from((None, "PreferSameZone", "PreferSameNode"))),
        "publishNotReadyAddresses": draw(_maybe),
    }
    made = service(draw(st.sampled_from(SERVICES)), addresses, ports, draw(_namespaces), **spec)
    made["metadata"]["creationTimestamp"] = draw(st.sampled_from((None, "2024-01-01T00:00:00Z")))
    made["metadata"]["labels"] = draw(st.sampled_from(({}, {}, {}, {"service.kubernetes.io/service-proxy-name": "x"})))
    return made


@st.composite
def slices(draw: st.DrawFn) -> Raw:
    """A slice that may say of any Service, or of none, that it is its own."""
    address = draw(st.sampled_from(("10.244.1.5", "10.244.2.5", "fd00:244:1::5")))
    node = draw(st.sampled_from((None, *NODES)))
    made = endpoint_slice("s", [address], [{"name": "p", "port": 8080}], draw(_namespaces), node)
    made["metadata"]["name"] = draw(st.sampled_from(("e-0", "e-1", "e-2")))
    owner = draw(st.sampled_from((*SERVICES, "")))
    made["metadata"]["labels"] = {"kubernetes.io/service-name": owner} if owner or draw(_maybe) else {}
    made["endpoints"][0]["conditions"] = {"ready": draw(_maybe), "serving": True, "terminating": draw(_maybe)}
    return made


@st.composite
def endpoints(draw: st.DrawFn) -> Raw:
    subset: Raw = {
        "addresses": [{"ip": draw(st.sampled_from(("10.244.1.9", "10.244.2.9"))), "nodeName": "node-a"}],
        "ports": [{"name": "p", "port": 8080}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": draw(st.sampled_from(SERVICES)), "namespace": draw(_namespaces)},
        "subsets": draw(st.sampled_from(([], [subset]))),
    }


@st.composite
def pods(draw: st.DrawFn) -> Raw:
    number = draw(st.integers(0, 3))
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"p-{number}", "namespace": draw(_namespaces), "labels": draw(_labels)},
        "spec": {"nodeName": draw(st.sampled_from(NODES))},
        "status": {
            "phase": draw(st.sampled_from(("Running", "Running", "Succeeded"))),
            "podIP": f"10.244.3.{number + 1}",
            "conditions": [{"type": "Ready", "status": draw(st.sampled_from(("True", "False")))}],
        },
    }


@st.composite
def nodes(draw: st.DrawFn) -> Raw:
    zone = draw(st.sampled_from(({}, {"topology.kubernetes.io/zone": "zone-a"}, {"topology.kubernetes.io/zone": "b"})))
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": draw(st.sampled_from(NODES)), "labels": zone},
        "spec": {"podCIDR": draw(st.sampled_from((None, "10.244.1.0/24")))},
        "status": {"addresses": [{"type": "InternalIP", "address": draw(st.sampled_from(("192.0.2.1", "192.0.2.2")))}]},
    }


@st.composite
def configurations(draw: st.DrawFn) -> Raw:
    named: Raw = {"name": "node-a"} if draw(_maybe) else {}
    return {
        "apiVersion": "nftsvc/v1",
        "kind": "NodeConfiguration",
        "metadata": named,
        "spec": {"zone": draw(st.sampled_from((None, "zone-a"))), "masqueradeAll": draw(_maybe)},
    }


@st.composite
def service_cidrs(draw: st.DrawFn) -> Raw:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": draw(st.sampled_from(("first", "second")))},
        "spec": {"cidrs": [draw(st.sampled_from(("10.96.0.0/16", "10.97.0.0/16")))]},
    }


_everyday = (services(), slices(), pods(), endpoints())
objects = st.one_of(*_everyday, *_everyday, nodes(), configurations(), service_cidrs()).map(decoded)


@st.composite
def replacements(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(KINDS))
    return Replaced(kind, tuple(one for one in draw(st.lists(objects, max_size=8)) if type(one) is kind))


unknown = st.builds(
    ObjectRef, st.sampled_from([one.KIND for one in KINDS] + ["Ingress"]), _namespaces, st.just("nobody")
).map(Removed)
events = st.one_of(
    objects.map(Put),
    objects.map(Put),
    objects.map(Put),
    objects.map(lambda one: Removed(one.ref)),
    replacements(),
    unknown,
)


def follow(objects: Objects, event: Event) -> Objects:
    """Return what there is after an event."""
    match event:
        case Put():
            return {**objects, event.object.ref: event.object}
        case Removed():
            return {ref: one for ref, one in objects.items() if ref != event.ref}
        case Replaced():
            rest = {ref: one for ref, one in objects.items() if type(one) is not event.kind}
            return {**rest, **{one.ref: one for one in event.objects}}


def indexes(state: State) -> dict[str, Any]:
    """Return everything that a state holds; objects are values, so groups of them are all that has to be copied."""
    held = {**vars(state), **vars(state._pods)}  # noqa: SLF001
    del held["_pods"]
    return {
        "_pods": state.pods,
        **{
            name: {key: dict(one) if isinstance(one, dict) else one for key, one in index.items()}
            for name, index in held.items()
        },
    }


def settings_of(state: State) -> NodeSettings:
    return settings_for(state, "node-a" if "node-a" in state.nodes or not state.nodes else None, FAMILIES)


@BOUNDED
@given(st.lists(events, max_size=20))
def test_the_state_is_that_of_what_there_is_in_the_end(history: list[Event]) -> None:
    state, there = State(), Objects()
    for one in history:
        state.apply(one)
        there = follow(there, one)
    fresh = State.of(there.values())
    assert indexes(state) == indexes(fresh)
    assert state.pods == fresh.pods
    assert state.zones == fresh.zones
    assert sorted(state.service_cidrs) == sorted(fresh.service_cidrs)
    for ref in list(there):
        state.apply(Removed(ref))
    assert indexes(state) == indexes(State()), "something stays for ever"


@BOUNDED
@given(st.lists(events, max_size=20))
def test_an_event_that_changes_nothing_touches_nothing(history: list[Event]) -> None:
    state, there = State(), Objects()
    for one in history:
        before, there = indexes(state), follow(there, one)
        touched = state.apply(one)
        repeated = isinstance(one, Replaced) and len({each.ref for each in one.objects}) < len(one.objects)
        assert repeated or not touched or indexes(state) != before
    for each in there.values():
        assert state.apply(Put(each)) == NOTHING
    for kind in KINDS:
        assert state.apply(Replaced(kind, tuple(one for one in there.values() if type(one) is kind))) == NOTHING


@BOUNDED
@given(st.lists(st.lists(events, min_size=1, max_size=3), max_size=15))
def test_whatever_changes_in_the_plan_is_touched(batches: list[list[Event]]) -> None:
    state = State()
    planner = Planner(settings_of(state))
    for batch in batches:
        touched = NOTHING
        for one in batch:
            touched |= state.apply(one)
        known = settings_of(state)
        assert touched.node or known == planner.settings
        if touched.everything or known != planner.settings:
            planner = Planner(known)
            planner.update(state, state.services)
        else:
            replanned = planner.update(state, touched.services)
            assert {one.service for one in replanned.new} <= state.services.keys()
        assert planner.plan() == make_plan(state, known)
        assert planner.plans.keys() == state.services.keys()
