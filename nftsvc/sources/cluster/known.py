"""What is known of one resource: the objects, and what cannot be read of them.

In: items in the order in which they were said. Out: events. An object that cannot be read stays as it was last known.
"""

from collections.abc import Iterable

from nftsvc.errors import ObjectRef, Problem
from nftsvc.events import Event, Put, Removed, Replaced
from nftsvc.objects import KubernetesObject
from nftsvc.sources.cluster.wire import Item, Name


class Known:
    """The last good version of each object of a kind, and the standing problems."""

    def __init__(self, kind: type[KubernetesObject]) -> None:
        self._kind = kind
        self._objects: dict[Name, KubernetesObject] = {}
        self._problems: dict[Name, tuple[Problem, ...]] = {}

    def __len__(self) -> int:
        """Return how many objects there are."""
        return len(self._objects)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """All that cannot be read at present, object by object."""
        return tuple(problem for found in self._problems.values() for problem in found)

    def kept(self, item: Item) -> Item:
        """Return the item with the object as it is known already if it is the same: one copy of it is enough."""
        old = self._objects.get(item.name)
        return Item(item.name, old) if old is not None and old == item.value else item

    def replace(self, items: Iterable[Item]) -> Replaced:
        """Take these for all there is."""
        old = self._objects
        self._objects, self._problems = {}, {}
        for item in items:
            value = item.value if item.value is not None or not item.problems else old.get(item.name)
            if value is not None:
                self._objects[item.name] = value
            if item.problems:
                self._problems[item.name] = item.problems
        return Replaced(self._kind, tuple(self._objects.values()))

    def put(self, item: Item) -> Event | None:
        """Take in an object that is new or has changed; None where that changes nothing."""
        if item.problems:
            self._problems[item.name] = item.problems
            return None
        if item.value is None:
            return self.remove(item.name)
        self._problems.pop(item.name, None)
        self._objects[item.name] = item.value
        return Put(item.value)

    def remove(self, name: Name) -> Event | None:
        """Forget an object; None if nobody was told of it."""
        self._problems.pop(name, None)
        gone = self._objects.pop(name, None)
        if gone is None:
            return None
        return Removed(ObjectRef(self._kind.KIND, gone.namespace, gone.name))


def latest(events: Iterable[tuple[Name, Event]]) -> tuple[Event, ...]:
    """Return the last event about each object, in the order of these."""
    last: dict[Name, Event] = {}
    for name, event in events:
        last.pop(name, None)
        last[name] = event
    return tuple(last.values())
