"""A first load that is made while the kernel takes it: whole or not at all, and nothing live before the end."""

from collections.abc import Callable

import pytest

from nftsvc.changes import AddChain
from nftsvc.errors import KernelRefused
from nftsvc.plan import make_plan
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import EMPTY, make_ruleset
from nftsvc.sync import Follower, PassKind
from nftsvc.sync.loading import SERVICES_AT_ONCE
from nftsvc.values import Family
from tests.support.doors import ModelDoor
from tests.support.following import lists, put, settings_of, web
from tests.support.model import content_of, meaning

RENDERER = Renderer()
MANY = 2 * SERVICES_AT_ONCE + 7


class Late(ModelDoor):
    """Tells what became of a transaction only when it is asked, as the real door does; `refused_at` is refused."""

    def __init__(self, refused_at: int = -1) -> None:
        super().__init__()
        self.refused_at = refused_at
        self.begun = self.ended = 0
        self.most = 0

    def begin(self, script: Script) -> Callable[[], int]:
        number, self.begun = self.begun, self.begun + 1
        self.most = max(self.most, self.begun - self.ended)
        done = super().begin(script) if number != self.refused_at else None

        def wait() -> int:
            self.ended += 1
            if done is None:
                raise KernelRefused("no", "", "Service shop/web-3")
            return done()

        return wait


def hooked(script: Script) -> bool:
    return any(isinstance(one, AddChain) and one.chain.hook is not None for one in script.operations)


def test_many_services_go_in_parts_and_the_base_chains_come_last() -> None:
    door = Late()
    follower = Follower(door, RENDERER, settings_of, limit=50)
    follower.take(lists(*(raw for number in range(MANY) for raw in web(number))))
    done = follower.step()
    assert (done.error, done.kind, done.services) == (None, PassKind.FIRST, MANY)
    assert done.transactions == len(door.scripts) > MANY // 50
    assert [hooked(one) for one in door.scripts] == [False] * (len(door.scripts) - 1) + [True]
    assert 1 < door.most < 6, "some are always under way, but not all"
    assert door.begun == door.ended
    assert follower.settings is not None
    fresh = make_ruleset(make_plan(follower.state, follower.settings))
    assert content_of(door.model.ruleset()) == content_of(fresh)
    assert meaning(follower.ruleset) == meaning(fresh)
    assert done.added == sum(len(one) for table in fresh.tables.values() for one in table.elements.values())


def test_few_services_go_in_one_transaction() -> None:
    door = Late()
    follower = Follower(door, RENDERER, settings_of)
    follower.take(lists(*(raw for number in range(MANY) for raw in web(number))))
    assert follower.step().transactions == 1


@pytest.mark.parametrize("at", [0, 1, 2, 9, 20])
def test_what_is_refused_on_the_way_leaves_nothing_behind_and_is_loaded_without(at: int) -> None:
    door = Late(at)
    door.meddled = True  # what comes after a refused transaction may not fit
    follower = Follower(door, RENDERER, settings_of, limit=50)
    follower.take(lists(*(raw for number in range(MANY) for raw in web(number))))
    assert isinstance(follower.step().error, KernelRefused)
    assert door.model.ruleset() == EMPTY
    assert not any(map(hooked, door.scripts))
    assert len(follower.plans) == MANY, "the plans are those of the state, wherever the load ended"
    assert follower.account.services == MANY
    door.scripts.clear()
    done = follower.step()
    assert (done.error, done.kind) == (None, PassKind.RETRY)
    assert follower.settings is not None
    assert content_of(door.model.ruleset()) == content_of(make_ruleset(make_plan(follower.state, follower.settings)))


def test_what_a_first_load_has_made_is_followed_by_changes() -> None:
    door = Late()
    follower = Follower(door, RENDERER, settings_of, limit=50)
    follower.take(lists(*(raw for number in range(MANY) for raw in web(number))))
    follower.step()
    follower.take(put(web(5, "10.244.9.1", "10.244.9.2")[1]))
    done = follower.step()
    assert (done.kind, done.services, done.transactions) == (PassKind.CHANGE, 1, 1)
    table = door.model.ruleset().tables[Family.IPV4]
    assert {entry.value[0] for key, entry in table.elements["tcp-endpoints"].items() if key[0] == "10.96.0.6"} == {
        "10.244.9.1",
        "10.244.9.2",
    }
