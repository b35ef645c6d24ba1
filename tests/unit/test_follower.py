"""The passes that keep the kernel in step: what each looks at, what it sends, and what it does when something fails."""

from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any

import pytest

from nftsvc.changes import AddElements
from nftsvc.errors import KernelError, KernelUnavailable, NftsvcError, ObjectRef, Severity, UsageError
from nftsvc.flows import UDP, Target, Tracked
from nftsvc.objects import KubernetesObject, Node, Service
from nftsvc.plan import make_plan
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import POOL_OF_MAP, Entry, Ruleset, Table, make_ruleset
from nftsvc.settings import NodeSettings, settings_for
from nftsvc.state import ServiceKey, State
from nftsvc.sync import Follower, PassKind, Progress, Suspicion
from nftsvc.values import FAMILIES, Address, Family
from tests.support.builders import Raw, endpoint_slice, service
from tests.support.doors import ModelDoor
from tests.support.following import gone, lists, put, settings_of, web
from tests.support.model import Model, meaning

RENDERER = Renderer()
SERVICE_IPS = "service-ips"
DNS_PORT: Raw = {"port": 53, "protocol": "UDP"}
DNS_TARGET: Raw = {"port": 5353, "protocol": "UDP"}


def dns(*endpoints: str) -> tuple[Raw, Raw]:
    return service("dns", ["10.96.7.10"], [DNS_PORT]), endpoint_slice("dns", endpoints, [DNS_TARGET])


def node(name: str = "node-a", zone: str = "", **spec: Any) -> Raw:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "spec": spec}


def started(*raws: Raw, door: ModelDoor | None = None) -> tuple[ModelDoor, Follower]:
    """Return a follower after its first pass."""
    door = door or ModelDoor()
    follower = Follower(door, RENDERER, settings_of)
    follower.take(lists(*raws))
    assert follower.step().error is None
    return door, follower


def is_in_step(door: ModelDoor, follower: Follower) -> None:
    """Check that the kernel has what a full load of the follower's state would give it."""
    assert follower.settings is not None
    fresh = meaning(make_ruleset(make_plan(follower.state, follower.settings)))
    assert meaning(door.model.ruleset()) == fresh
    assert meaning(follower.ruleset) == fresh
    assert not follower.waiting


def owners(script: Script) -> set[str]:
    """Return the Services that a script adds elements for."""
    return {
        owner
        for operation in script.operations
        if isinstance(operation, AddElements)
        for key, _ in operation.entries
        if (owner := operation.owner(key))
    }


def refusing(name: str) -> Callable[[Script], str | None]:
    return lambda script: f"Service {name}" if name in owners(script) else None


def failing(count: int) -> Callable[[Script], str | None]:
    """Refuse that many scripts and no more."""
    left = iter(range(count))
    return lambda _: "chain services" if next(left, None) is not None else None


# Kinds of passes ------------------------------------------------------------------------------------------------------


def test_each_pass_looks_at_no_more_than_it_has_to() -> None:
    door, follower = started(*web(1), *web(2))
    reads = door.reads
    assert follower.step() == Progress(PassKind.CHANGE)
    follower.take(put(web(1, "10.244.9.9")[1]))
    change = follower.step()
    assert (change.kind, change.services, change.transactions) == (PassKind.CHANGE, 1, 1)
    assert (change.added, change.removed) == (2, 2)  # where it is and, as it may be here, what tells that it is itself
    assert door.reads == reads
    verify = follower.step(verify=True)
    assert (verify.kind, verify.services, verify.transactions, verify.operations) == (PassKind.VERIFY, 0, 0, 0)
    assert door.reads == reads + 1
    follower.take(put(node(zone="zone-a")))
    full = follower.step()
    assert (full.kind, full.services, full.transactions, full.removed) == (PassKind.FULL, 2, 1, 2)  # no hairpins here
    is_in_step(door, follower)


def test_what_a_pass_says_is_what_the_door_saw() -> None:
    door, follower = started(*web(1), *web(2))
    known = len(door.scripts)
    follower.take([*put(*web(3)), gone("web-2")])
    done = follower.step()
    scripts = door.scripts[known:]
    assert done.transactions == len(scripts)
    assert done.bytes == sum(len(one.text.encode()) for one in scripts)
    assert done.operations == sum(len(one.operations) for one in scripts)
    is_in_step(door, follower)


def test_a_change_undone_before_the_pass_sends_nothing() -> None:
    door, follower = started(*web(1))
    known = len(door.scripts)
    follower.take([*put(web(1, "10.244.9.9")[1]), *put(web(1)[1])])
    assert follower.step().transactions == 0
    assert len(door.scripts) == known


def test_nothing_is_sent_for_what_means_nothing_here() -> None:
    door, follower = started(*web(1), *dns("10.244.1.5"))
    known = len(door.scripts)
    slice_ = web(1)[1]
    slice_["metadata"]["annotations"] = {"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-01T00:00:00Z"}
    follower.take(put(slice_, service("other", ["None"])))
    done = follower.step()
    assert (done.kind, done.transactions, done.stale) == (PassKind.CHANGE, 0, {})
    assert len(door.scripts) == known


def test_a_change_costs_the_same_whatever_else_there_is() -> None:
    told = []
    for count in (20, 2000):
        door, follower = started(node(), *(raw for number in range(count) for raw in web(number)))
        door.read = unexpected  # type: ignore[method-assign]
        door.read_sets = unexpected  # type: ignore[assignment]
        follower.take(put(web(7, "10.244.0.8", "10.245.0.99")[1]))
        more = follower.step()
        follower.take(put(web(7, "10.245.0.99")[1]))
        fewer = follower.step()
        told.append((more, fewer))
        assert (more.error, fewer.error) == (None, None)
        assert (more.services, fewer.services) == (1, 1)
    assert told[0] == told[1]


def unexpected(*_: object) -> Ruleset:
    raise AssertionError("the kernel was read")


# Refusals -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["first", "change", "full"])
def test_a_service_that_the_kernel_refuses_is_left_out_and_the_others_go_on(start: str) -> None:
    door = ModelDoor()
    follower = Follower(door, RENDERER, settings_of)
    door.refuse = refusing("shop/web-2")
    follower.take(lists(*web(1), *(web(2) if start == "first" else ())))
    if start != "first":
        assert follower.step().error is None
        follower.take(put(*web(2), *((node(zone="zone-a"),) if start == "full" else ())))
    follower.take(put(*web(3)))
    kinds = [follower.step() for _ in range(3)]
    assert [one.error is None for one in kinds] == [False, False, True]
    assert [one.kind for one in kinds[1:]] == [PassKind.RETRY, PassKind.RETRY]
    addresses = {key[0] for key in door.model.ruleset().tables[Family.IPV4].elements[SERVICE_IPS]}
    assert addresses == {"10.96.0.2", "10.96.0.4"}
    (problem,) = [one for one in follower.problems if one.severity is Severity.ERROR]
    assert (problem.ref, problem.message) == (ObjectRef("Service", "shop", "web-2"), "left out: no")
    assert not follower.waiting
    assert follower.account.services == 2


def left_out() -> tuple[ModelDoor, Follower]:
    """Return a follower that has left out web-2."""
    door, follower = started(*web(1))
    door.refuse = refusing("shop/web-2")
    follower.take(put(*web(2)))
    for _ in range(4):
        follower.step()
    assert not follower.waiting
    assert ServiceKey("shop", "web-2") not in follower.plans
    return door, follower


def test_a_service_that_was_left_out_stays_so_whatever_happens_to_others() -> None:
    door, follower = left_out()
    follower.take(put(*web(3)))
    assert (done := follower.step()).error is None
    assert done.kind is PassKind.CHANGE
    follower.take(put(node(zone="zone-b")))
    assert follower.step().error is None
    assert ServiceKey("shop", "web-2") not in follower.plans
    assert len(door.model.ruleset().tables[Family.IPV4].elements[SERVICE_IPS]) == 2


def test_a_service_that_was_left_out_is_tried_again_when_everything_is_verified() -> None:
    door, follower = left_out()
    assert follower.step(verify=True).left_out == "shop/web-2"
    assert follower.step().error is None
    door.refuse = lambda _: None
    assert follower.step(verify=True).error is None
    assert not follower.problems
    is_in_step(door, follower)


@pytest.mark.parametrize("reason", ["Cannot allocate memory", "File exists", "No such file or directory"])
def test_a_refusal_that_is_nobodys_fault_leaves_nobody_out(reason: str) -> None:
    door = ModelDoor()
    follower = Follower(door, RENDERER, settings_of)
    follower.take(put(*web(1)))
    follower.step()
    follower.take(put(*web(2)))
    door.refuse, door.reason = (lambda _: "Service shop/web-2"), f"Could not process rule: {reason}"
    for _ in range(4):
        assert not follower.step().left_out
    door.refuse = lambda _: None
    assert follower.step().error is None
    is_in_step(door, follower)


def test_services_that_are_refused_do_not_keep_others_from_being_served() -> None:
    door, follower = left_out()
    follower.take(put(*web(3), web(2, "10.244.0.77")[1]))
    done = follower.step()
    assert done.left_out == "shop/web-2"
    assert ServiceKey("shop", "web-3") in follower.plans
    assert len(door.model.ruleset().tables[Family.IPV4].elements[SERVICE_IPS]) == 2


def test_a_service_that_was_left_out_is_tried_again_when_it_changes() -> None:
    door, follower = left_out()
    door.refuse = lambda _: None
    follower.take(put(web(2, "10.244.0.77")[1]))
    done = follower.step()
    assert (done.kind, done.error, done.services) == (PassKind.CHANGE, None, 1)
    assert not follower.problems
    is_in_step(door, follower)


def test_a_service_that_was_left_out_may_go() -> None:
    door, follower = left_out()
    follower.take([gone("web-2"), gone("web-2-ipv4-1", "EndpointSlice")])
    assert follower.step().error is None
    assert not follower.problems
    is_in_step(door, follower)


def test_what_a_service_that_was_left_out_claimed_is_somebody_elses() -> None:
    _, follower = left_out()
    follower.take(put(service("zzz", ["10.96.0.3"]), endpoint_slice("zzz", ["10.244.0.9"])))
    assert follower.step().error is None
    assert follower.plans[ServiceKey("shop", "zzz")].ports


def test_a_refusal_that_names_no_service_is_tried_again_until_it_works() -> None:
    door, follower = started(*web(1))
    door.refuse = failing(5)
    follower.take(put(*web(2)))
    failures = 0
    for _ in range(5):
        failures += follower.step().error is not None
        assert follower.waiting
    assert failures == 5
    assert follower.step().error is None
    is_in_step(door, follower)


@pytest.mark.parametrize("at", range(12))
def test_a_refusal_of_any_transaction_is_got_over(at: int) -> None:
    door = ModelDoor()
    follower = Follower(door, RENDERER, settings_of, limit=4)
    follower.take(lists(*(raw for number in range(6) for raw in web(number))))
    numbers = iter(range(1000))
    door.refuse = lambda _: "chain services" if next(numbers) == at else None
    failures = 0
    while follower.waiting:
        failures += follower.step().error is not None
        assert failures < 3
    is_in_step(door, follower)
    follower.take([*put(web(0, "10.244.9.1", "10.244.9.2")[1], *web(8)), gone("web-3")])
    while follower.waiting:
        failures += follower.step().error is not None
        assert failures < 3
    is_in_step(door, follower)


class BrokenSets(ModelDoor):
    """Cannot list single sets."""

    broken = False

    def read_sets(self, names: Any) -> Ruleset:
        if self.broken:
            raise KernelUnavailable("no")
        return super().read_sets(names)


def test_changes_that_wait_beside_a_suspicion_survive_its_failure() -> None:
    door = BrokenSets()
    _, follower = started(*web(1), *web(2), door=door)
    door.broken = True
    follower.take([*put(*web(3), web(1, "10.244.9.9")[1]), gone("web-2")])
    follower.suspect(Suspicion({Family.IPV4: frozenset((SERVICE_IPS,))}))
    failed = follower.step()
    assert isinstance(failed.error, KernelError)
    assert follower.step().kind is PassKind.RETRY
    is_in_step(door, follower)


def test_no_refusal_is_raised_even_of_the_first_look() -> None:
    class Shut(ModelDoor):
        def read(self, families: tuple[Family, ...] = FAMILIES) -> Ruleset:
            del families
            raise KernelUnavailable("no permission")

    follower = Follower(Shut(), RENDERER, settings_of)
    follower.take(lists(*web(1)))
    for kind in (PassKind.FIRST, PassKind.RETRY):
        done = follower.step()
        assert (done.kind, str(done.error)) == (kind, "no permission")
        assert follower.waiting


# Settings -------------------------------------------------------------------------------------------------------------


def picky(state: State) -> NodeSettings:
    """Want a zone of the node."""
    known = settings_for(state, None, FAMILIES)
    if known.zone == "bad":
        raise UsageError("the zone is bad")
    return known


def test_settings_that_cannot_be_derived_leave_the_old_ones_in_force() -> None:
    door = ModelDoor()
    follower = Follower(door, RENDERER, picky)
    follower.take(lists(node(zone="good"), *web(1)))
    assert follower.step().error is None
    follower.take(put(node(zone="bad"), *web(2)))
    assert follower.step().error is None
    assert follower.settings is not None
    assert follower.settings.zone == "good"
    assert [one.message for one in follower.problems] == ["the zone is bad"]
    assert len(door.model.ruleset().tables[Family.IPV4].elements[SERVICE_IPS]) == 2
    follower.take(put(*web(3)))
    assert follower.step().kind is PassKind.CHANGE
    assert [one.message for one in follower.problems] == ["the zone is bad"]
    follower.take(put(node(zone="better")))
    assert follower.step().error is None
    assert follower.settings.zone == "better"
    assert not follower.problems
    is_in_step(door, follower)


def test_a_first_pass_without_settings_writes_nothing_and_loses_nothing() -> None:
    door = ModelDoor()
    follower = Follower(door, RENDERER, picky)
    follower.take(lists(node(zone="bad"), *web(1)))
    for _ in range(2):
        done = follower.step()
        assert (done.kind, isinstance(done.error, UsageError)) == (PassKind.FIRST, True)
        assert follower.waiting
    assert not door.scripts
    assert not door.reads
    follower.take(put(node(zone="good")))
    assert follower.step().kind is PassKind.FIRST
    is_in_step(door, follower)


def test_after_a_bug_the_settings_in_force_stay_in_force() -> None:
    door = ModelDoor()
    follower = Follower(door, RENDERER, picky)
    follower.take(lists(node(zone="good"), *web(1)))
    follower.step()
    follower.take(put(node(zone="bad")))
    follower.step()
    follower.start_afresh(RuntimeError("oh"))
    follower.take(put(*web(2)))
    assert follower.step().error is None
    assert follower.settings is not None
    assert follower.settings.zone == "good"
    assert [one.message for one in follower.problems] == ["the zone is bad"]
    assert len(door.model.ruleset().tables[Family.IPV4].elements[SERVICE_IPS]) == 2


# What others do -------------------------------------------------------------------------------------------------------


def without(ruleset: Ruleset, name: str) -> Ruleset:
    """Return an IPv4 table whose set of that name is empty."""
    table = ruleset.tables[Family.IPV4]
    elements = {**table.elements, name: {}}
    return Ruleset({**ruleset.tables, Family.IPV4: Table(Family.IPV4, table.sets, table.chains, elements, table.flags)})


def test_some_sets_are_put_right_without_a_look_at_the_rest() -> None:
    door, follower = started(*web(1), *web(2))
    reads = door.reads
    door.model = Model(without(door.model.ruleset(), SERVICE_IPS))
    follower.suspect(Suspicion({Family.IPV4: frozenset((SERVICE_IPS, "no-such-set")), Family.IPV6: frozenset()}))
    done = follower.step()
    assert (done.kind, done.added, done.removed, done.transactions) == (PassKind.REPAIR, 2, 0, 1)
    assert door.reads == reads
    is_in_step(door, follower)


def test_a_suspicion_while_changes_wait_is_one_pass() -> None:
    door, follower = started(*web(1), *web(2))
    door.model = Model(without(door.model.ruleset(), SERVICE_IPS))
    follower.take([*put(*web(3)), gone("web-2")])
    follower.suspect(Suspicion({Family.IPV4: frozenset((SERVICE_IPS,))}))
    done = follower.step()
    assert (done.kind, done.error) == (PassKind.REPAIR, None)
    is_in_step(door, follower)


@pytest.mark.parametrize("first", [True, False])
def test_suspicions_add_up(first: bool) -> None:
    narrow = Suspicion({Family.IPV4: frozenset(("a",))})
    other = Suspicion({Family.IPV4: frozenset(("b",)), Family.IPV6: frozenset(("c",))})
    assert narrow | other == Suspicion({Family.IPV4: frozenset("ab"), Family.IPV6: frozenset("c")})
    assert (Suspicion() | narrow if first else narrow | Suspicion()) == Suspicion()


def test_a_table_that_is_gone_comes_back() -> None:
    door, follower = started(*web(1))
    door.model = Model(Ruleset({}))
    follower.suspect(Suspicion())
    done = follower.step()
    assert (done.kind, done.error) == (PassKind.REPAIR, None)
    is_in_step(door, follower)


def test_a_suspicion_without_cause_sends_nothing() -> None:
    door, follower = started(*web(1), *dns("10.244.1.5"))
    known = len(door.scripts)
    for suspicion in (Suspicion(), Suspicion({Family.IPV4: frozenset((SERVICE_IPS, "affinity"))}), Suspicion({})):
        follower.suspect(suspicion)
        done = follower.step()
        assert (done.kind, done.transactions, done.error, done.stale) == (PassKind.REPAIR, 0, None, {})
    assert len(door.scripts) == known


def test_a_look_at_everything_that_is_due_is_not_lost_to_a_suspicion_of_something() -> None:
    door, follower = started(*web(1), *web(2))
    door.model = Model(without(door.model.ruleset(), SERVICE_IPS))
    follower.suspect(Suspicion({Family.IPV4: frozenset(("hairpin",))}))
    follower.step(verify=True)
    if meaning(door.model.ruleset()) != meaning(follower.ruleset):
        assert follower.step(verify=True).kind is PassKind.VERIFY
    is_in_step(door, follower)


# An earlier process's tables ------------------------------------------------------------------------------------------


def test_tables_of_an_earlier_process_are_adopted_with_their_slots() -> None:
    endpoints = ("10.244.1.9", "10.244.1.5", "10.244.1.7")
    raws = (*web(1, *endpoints), *web(2), *dns("10.244.1.5"))
    door, _ = started(*raws)
    ruleset = door.model.ruleset()
    table = ruleset.tables[Family.IPV4]
    pool = table.elements["tcp-endpoints"]
    turned = {key: entry for key, entry in pool.items() if key[0] != "10.96.0.2"}
    turned |= {("10.96.0.2", 80, slot): Entry((one, 8080)) for slot, one in enumerate(endpoints)}
    assert turned.keys() == pool.keys()
    assert turned != pool
    elements = {**table.elements, "tcp-endpoints": turned}
    shuffled = Table(Family.IPV4, table.sets, table.chains, elements)
    later = ModelDoor(Ruleset({**ruleset.tables, Family.IPV4: shuffled}))
    follower = Follower(later, RENDERER, settings_of)
    follower.take(lists(*raws))
    done = follower.step()
    assert (done.kind, done.transactions, done.stale) == (PassKind.FIRST, 0, {})
    assert follower.ruleset.tables[Family.IPV4].elements["tcp-endpoints"] == turned
    follower.take(put(web(1, "10.244.1.9", "10.244.1.5", "10.244.1.7", "10.244.1.1")[1]))
    follower.step()
    pool = later.model.ruleset().tables[Family.IPV4].elements["tcp-endpoints"]
    assert [pool["10.96.0.2", 80, slot].value[0] for slot in range(4)] == [*endpoints, "10.244.1.1"]


def test_a_restart_after_changes_sends_the_difference() -> None:
    door, _ = started(*web(1), *web(2))
    known = len(door.scripts)
    follower = Follower(door, RENDERER, settings_of)
    follower.take(lists(*web(1, "10.244.7.7"), *web(2)))
    done = follower.step()
    assert (done.added, done.removed, done.transactions) == (2, 2, 1)
    assert owners(door.scripts[known]) == {"shop/web-1"}
    is_in_step(door, follower)


# UDP flows ------------------------------------------------------------------------------------------------------------


def frontend(*endpoints: str) -> Tracked:
    listed = frozenset((Address(one), 5353) for one in endpoints)
    return {Target(Family.IPV4, UDP, Address("10.96.7.10"), 53): listed}


def test_flows_are_looked_at_once_the_kernel_has_what_is_wanted() -> None:
    door, follower = started(*dns("10.244.1.5", "10.244.1.6"))
    door.refuse = failing(2)
    follower.take(put(dns("10.244.1.5")[1]))
    assert [follower.step().stale for _ in range(2)] == [{}, {}]
    done = follower.step()
    assert (done.error, done.stale) == (None, frontend("10.244.1.5"))
    assert follower.step().stale == {}


def test_flows_to_an_endpoint_that_came_since_are_not_stale() -> None:
    door, follower = started(*dns("10.244.1.5", "10.244.1.6"))
    door.refuse = failing(1)
    follower.take(put(dns("10.244.1.5")[1]))
    assert follower.step().error is not None
    follower.take(put(dns("10.244.1.5", "10.244.1.7")[1]))
    assert follower.step().stale == frontend("10.244.1.5", "10.244.1.7")


def test_all_udp_frontends_of_what_changed_are_told_with_the_endpoints_of_now() -> None:
    door, follower = started(*dns("10.244.1.5"), *web(1))
    door.refuse = failing(1)
    follower.take(put(dns("10.244.1.5", "10.244.1.6")[1], *web(1, "10.244.9.9")))
    assert follower.step().served == {}
    done = follower.step()
    assert (done.error, done.served) == (None, frontend("10.244.1.5", "10.244.1.6"))
    assert follower.step().served == {}


def test_flows_of_a_service_that_went_meanwhile_are_all_stale() -> None:
    door, follower = started(*dns("10.244.1.5", "10.244.1.6"))
    door.refuse = failing(1)
    follower.take(put(dns("10.244.1.5")[1]))
    assert follower.step().error is not None
    follower.take([gone("dns")])
    assert follower.step().stale == frontend()


def test_flows_owed_are_not_lost_to_a_bug() -> None:
    door, follower = started(*dns("10.244.1.5", "10.244.1.6"), *web(1))
    door.refuse = failing(1)
    follower.take(put(dns("10.244.1.5")[1]))
    assert follower.step().error is not None
    assert isinstance(follower.start_afresh(RuntimeError("oh")).error, NftsvcError)
    assert follower.step().stale == frontend("10.244.1.5")


def test_a_bug_makes_nobody_elses_flows_stale() -> None:
    _, follower = started(*dns("10.244.1.5", "10.244.1.6"))
    follower.start_afresh(RuntimeError("oh"))
    done = follower.step()
    assert (done.error, done.transactions, done.stale) == (None, 0, {})


def test_what_went_while_a_bug_was_got_over_is_stale() -> None:
    _, follower = started(*dns("10.244.1.5", "10.244.1.6"))
    follower.take([gone("dns")])
    follower.start_afresh(RuntimeError("oh"))
    assert follower.step().stale == frontend()


def test_adoption_looks_at_what_has_changed_while_nobody_was_there() -> None:
    door, _ = started(*dns("10.244.1.5", "10.244.1.6"))
    follower = Follower(door, RENDERER, settings_of)
    follower.take(lists(*dns("10.244.1.6")))
    assert follower.step().stale == frontend("10.244.1.6")


@pytest.mark.parametrize("refused", range(8))
def test_adoption_that_fails_half_way_forgets_no_flows(refused: int) -> None:
    before = [*dns("10.244.1.5", "10.244.1.6"), *(raw for number in range(5) for raw in web(number))]
    door, _ = started(*before)
    follower = Follower(door, RENDERER, settings_of, limit=2)
    after = [*dns("10.244.1.6"), *(raw for number in range(5) for raw in web(number, "10.244.9.9", "10.244.9.8"))]
    follower.take(lists(*after))
    numbers = iter(range(1000))
    door.refuse = lambda _: "chain services" if next(numbers) == refused else None
    assert follower.step().error is not None
    done = follower.step()
    assert (done.error, done.stale) == (None, frontend("10.244.1.6"))


# Bugs and growth ------------------------------------------------------------------------------------------------------


def test_after_a_bug_everything_is_made_anew_from_what_is_known() -> None:
    door, follower = started(*web(1), *web(2))
    follower.take([*put(*web(3)), gone("web-1")])
    failed = follower.start_afresh(RuntimeError("oh"))
    assert (failed.kind, str(failed.error)) == (PassKind.RETRY, "a bug: RuntimeError: oh")
    assert follower.waiting
    assert follower.step().error is None
    is_in_step(door, follower)
    assert follower.account.services == 2


def sizes(thing: object, depth: int = 6) -> Iterator[tuple[str, int]]:
    """Yield how large every collection inside is, by where it is."""
    held: Iterable[tuple[object, object]] = ()
    if isinstance(thing, dict):
        yield "", len(thing)
        held = thing.items()
    elif isinstance(thing, (set, frozenset, list)):
        yield "", len(thing)
    elif type(thing).__module__.startswith("nftsvc") and not isinstance(thing, KubernetesObject):
        names = getattr(thing, "__dict__", None) or {
            name: getattr(thing, name) for name in getattr(type(thing), "__slots__", ())
        }
        held = names.items()
    for name, one in held if depth else ():
        for path, size in sizes(one, depth - 1):
            yield f"{name}.{path}", size


def test_nothing_grows_over_changes_that_lead_back_to_the_start() -> None:
    random = Random(4)
    start = [*(raw for number in range(8) for raw in web(number)), *dns("10.244.1.5"), node()]
    door, follower = started(*start)
    before = sorted(sizes(follower))
    for step in range(2000):
        number = random.randrange(12)
        pod: Raw = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": f"p-{step}", "namespace": f"n-{step}", "labels": {"hash": f"{step}"}},
            "spec": {},
        }
        endpoints = [f"10.244.8.{one}" for one in range(1, random.randrange(2, 9))]
        spec = random.choice(({}, {"sessionAffinity": "ClientIP", "externalIPs": ["203.0.113.7"]}))
        follower.take(
            random.choice(
                (
                    put(*web(number, *endpoints, **spec)),
                    [gone(f"web-{number}")],
                    [*put(pod), gone(f"p-{step}", "Pod", f"n-{step}")],
                    put(service(f"x-{step}", [f"10.97.{step // 250}.{step % 250}"])),
                    put(dns(*endpoints)[1]),
                )
            )
        )
        if step % 5 == 0:
            assert follower.step().error is None
    follower.take(lists(*start))
    assert follower.step().error is None
    is_in_step(door, follower)
    assert sorted(sizes(follower)) == before


def test_what_is_read_of_it_is_of_the_state() -> None:
    _, follower = started(*web(1), *dns("10.244.1.5", "10.244.1.6"), node())
    assert set(follower.state.services) == set(follower.plans)
    assert {type(one) for one in (follower.state.nodes["node-a"],)} == {Node}
    assert all(isinstance(one, Service) for one in follower.state.services.values())
    assert follower.elements == {
        family: sum(map(len, table.elements.values())) for family, table in follower.ruleset.tables.items()
    }
    assert sum(name in POOL_OF_MAP for name in follower.ruleset.tables[Family.IPV4].elements) == len(POOL_OF_MAP)
