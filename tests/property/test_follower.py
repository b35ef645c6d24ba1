"""Whatever happens in whatever order, with refusals and meddling in between: the kernel gets what is wanted."""

import itertools
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nftsvc.events import Event, Put, Removed, Replaced
from nftsvc.objects import KINDS, KubernetesObject
from nftsvc.plan import make_plan
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import make_ruleset
from nftsvc.settings import NodeSettings, settings_for
from nftsvc.state import State
from nftsvc.sync import Follower, PassKind, Suspicion
from nftsvc.values import FAMILIES
from tests.support.builders import decoded
from tests.support.clusters import Cluster, altered, clusters
from tests.support.doors import ModelDoor
from tests.support.model import meaning

RENDERER = Renderer()
BOUNDED = settings(
    max_examples=60, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)
Objects = dict[Any, KubernetesObject]


def settings_of(state: State) -> NodeSettings:
    return settings_for(state, None, FAMILIES)


def objects(cluster: Cluster) -> Objects:
    return {one.ref: one for one in map(decoded, cluster)}


def difference(old: Objects, new: Objects, random: Random) -> list[Event]:
    """Return events that lead from one cluster to the other, in any order."""
    events: list[Event] = [Removed(ref) for ref in old.keys() - new.keys()]
    events += [Put(one) for ref, one in new.items() if old.get(ref) != one]
    events.sort(key=repr)
    random.shuffle(events)
    return events


def lists(cluster: Objects) -> list[Event]:
    return [Replaced(kind, tuple(one for one in cluster.values() if type(one) is kind)) for kind in KINDS]


def wanted(cluster: Objects) -> dict[Any, object]:
    """Return what a full load would make of a cluster."""
    state = State.of(cluster.values())
    return meaning(make_ruleset(make_plan(state, settings_of(state))))


@st.composite
def histories(draw: st.DrawFn) -> list[Objects]:
    first = draw(clusters())
    history = [first]
    for _ in range(draw(st.integers(1, 4))):
        history.append(draw(altered(history[-1])))
    return [objects(one) for one in history]


@BOUNDED
@given(histories(), st.randoms(use_true_random=False))
def test_events_lead_where_a_full_load_leads(history: list[Objects], random: Random) -> None:
    door = ModelDoor()
    follower = Follower(door, RENDERER, settings_of)
    follower.take(lists(history[0]))
    assert follower.step().kind is PassKind.FIRST
    for old, new in zip([history[0], *history], history, strict=False):
        follower.take(difference(old, new, random))
        reads = door.reads
        done = follower.step()
        assert done.error is None
        assert (done.kind is PassKind.CHANGE) == (door.reads == reads)
        assert meaning(door.model.ruleset()) == wanted(new)
        assert meaning(follower.ruleset) == wanted(new)
    quiet = len(door.scripts)
    follower.take(lists(history[-1]))
    assert not follower.waiting
    assert not follower.step(verify=True).transactions
    assert len(door.scripts) == quiet


def once(at: int) -> Callable[[Script], str | None]:
    """Refuse one script: the one with that number from now on."""
    seen = iter(range(at + 1))
    return lambda _: "chain services" if next(seen, None) == at else None


@BOUNDED
@given(histories(), st.randoms(use_true_random=False))
def test_a_refusal_is_got_over(history: list[Objects], random: Random) -> None:
    door = ModelDoor()
    follower = Follower(door, RENDERER, settings_of, limit=random.choice((5, 5000)))
    follower.take(lists(history[0]))
    follower.step()
    for old, new in itertools.pairwise(history):
        follower.take(difference(old, new, random))
        door.refuse = once(random.randrange(3))
        first = follower.step()
        if first.error is not None:
            assert follower.waiting
            door.refuse = lambda _: None
            assert follower.step().kind is PassKind.RETRY
        assert meaning(door.model.ruleset()) == wanted(new)


@BOUNDED
@given(histories(), st.randoms(use_true_random=False))
def test_what_others_do_is_put_right(history: list[Objects], random: Random) -> None:
    door = ModelDoor()
    door.meddled = True
    follower = Follower(door, RENDERER, settings_of)
    follower.take(lists(history[0]))
    follower.step()
    for old, new in itertools.pairwise(history):
        follower.take(difference(old, new, random))
        follower.suspect(meddle(door, random))
        for _ in range(2):
            if follower.waiting:
                follower.step()
        assert meaning(door.model.ruleset()) == wanted(new)


def meddle(door: ModelDoor, random: Random) -> Suspicion:
    """Do what another process may do, and return what a monitor would tell of it."""
    tables = door.model.ruleset().tables
    family = random.choice(list(tables))
    table = tables[family]
    filled = [name for name, found in table.elements.items() if found]
    if random.random() < 0.3 or not filled:
        door.model = type(door.model)(type(door.model.ruleset())({one: tables[one] for one in tables if one != family}))
        return Suspicion()
    name = random.choice(filled)
    elements = dict(table.elements)
    elements[name] = dict(random.sample(list(elements[name].items()), len(elements[name]) // 2))
    kept = {one: found for one, found in tables.items() if one != family}
    changed = type(table)(family, table.sets, table.chains, elements)
    door.model = type(door.model)(type(door.model.ruleset())({**kept, family: changed}))
    return Suspicion({family: frozenset((name,))})
