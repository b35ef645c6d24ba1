"""Running totals are what a count over all plans would give."""

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nftsvc.events import Put, Removed
from nftsvc.plan import Planner, ServicePlan
from nftsvc.settings import NodeSettings
from nftsvc.state import State
from nftsvc.sync.account import Account, Unserved
from nftsvc.values import FAMILIES, Family
from tests.support.builders import NODE, Raw, decoded, endpoint_slice, service
from tests.support.clusters import Cluster, clusters

SETTINGS = NodeSettings(name=NODE, families=FAMILIES)
BOUNDED = settings(
    max_examples=50, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


def plans(*raws: Raw) -> tuple[ServicePlan, ...]:
    state = State.of(map(decoded, raws))
    planner = Planner(SETTINGS)
    planner.update(state, state.services)
    return tuple(planner.plans.values())


def figures(account: Account) -> tuple[object, ...]:
    return (
        account.services,
        account.ports,
        account.endpoints,
        +account.unserved,
        sorted(account.problems, key=str),
        account.health_checks,
    )


def counted(*raws: Raw) -> Account:
    account = Account()
    account.change((), plans(*raws))
    return account


@BOUNDED
@given(st.lists(clusters(), min_size=1, max_size=4))
def test_totals_follow_whatever_changes(history: list[Cluster]) -> None:
    state, planner, account = State(), Planner(SETTINGS), Account()
    for cluster in history:
        there = {one.ref: one for one in map(decoded, cluster)}
        known = {
            one.ref for one in (*state.services.values(), *(x for key in state.services for x in state.slices(key)))
        }
        touched = frozenset().union(
            *(state.apply(Removed(ref)).services for ref in known - there.keys()),
            *(state.apply(Put(one)).services for one in there.values()),
        )
        account.change(*planner.update(state, touched))
        assert figures(account) == figures(counted(*cluster))
    account.change(planner.plans.values(), ())
    assert figures(account) == figures(Account())


def test_services_with_ports_count_and_each_port_in_each_family() -> None:
    two: list[Raw] = [{"name": "a", "port": 80}, {"name": "b", "port": 81}]
    targets: list[Raw] = [{"name": "a", "port": 8080}, {"name": "b", "port": 8081}]
    account = counted(
        service("web", ["10.96.0.1", "fd00:96::1"], two),
        endpoint_slice("web", ["10.244.1.5", "10.244.1.6"], targets),
        service("headless", ["None"]),
        service("empty", ["10.96.0.2"]),
    )
    assert (account.services, account.ports, account.endpoints) == (2, 5, 4)


def test_ports_count_that_a_policy_leaves_without_an_endpoint_here() -> None:
    both: Raw = {"type": "NodePort", "internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local"}
    ports: list[Raw] = [{"port": 80, "nodePort": 30080}]
    away = endpoint_slice("web", ["10.244.2.5"], node="node-b")
    assert counted(service("web", ["10.96.0.1"], ports, **both), away).unserved == Counter(
        {Unserved(Family.IPV4, external=True): 1, Unserved(Family.IPV4, external=False): 1}
    )
    here = endpoint_slice("web", ["10.244.1.5"], suffix="2")
    assert not +counted(service("web", ["10.96.0.1"], ports, **both), away, here).unserved
    nobody = counted(service("web", ["10.96.0.1"], ports, **both))
    assert not +nobody.unserved, "no endpoint anywhere is no matter of policy"
    internal = counted(service("web", ["10.96.0.1"], [{"port": 80}], internalTrafficPolicy="Local"), away)
    assert +internal.unserved == Counter({Unserved(Family.IPV4, external=False): 1})


def test_health_checks_come_and_go_sorted_by_service() -> None:
    def balanced(name: str, number: int) -> Raw:
        spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000 + number}
        return service(name, [f"10.96.0.{number}"], **spec)

    account = Account()
    first, second = plans(balanced("b", 1)), plans(balanced("a", 2))
    account.change((), first)
    account.change((), second)
    assert [one.port for one in account.health_checks] == [32002, 32001]
    account.change(first, ())
    assert [one.port for one in account.health_checks] == [32002]


def test_problems_go_with_their_service() -> None:
    account = Account()
    before = plans(service("web", [""]))
    account.change((), before)
    assert [one.field for one in account.problems] == ["spec.clusterIP"]
    account.change(before, plans(service("web", ["10.96.0.1"])))
    assert account.problems == ()
