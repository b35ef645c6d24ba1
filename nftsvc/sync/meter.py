"""A door to the kernel with an eye on what goes through it."""

from collections.abc import Callable, Collection, Mapping

from nftsvc.changes import Changes, compare
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import Part, Ruleset
from nftsvc.sync.once import Door, Pass, send
from nftsvc.values import FAMILIES, Family


class MeteredDoor:
    """A door, with an eye on what goes through it; `first` is what the first look found, while it `remembers`."""

    first: Ruleset | None

    def __init__(self, door: Door) -> None:
        self.door = door
        self.remembers, self.first = True, None
        self.reset()

    def reset(self) -> None:
        """Count from nothing."""
        self.bytes = self.transactions = self.operations = self.added = self.removed = 0

    def count(self, changes: Changes) -> None:
        """Count the elements of changes."""
        self.added += changes.added
        self.removed += changes.removed

    def send(self, renderer: Renderer, part: Part, limit: int, changes: Changes | None = None) -> None:
        """Send what leads from one side of a part to the other: its `changes`, where they are known already."""
        changes = compare(*part) if changes is None else changes
        if changes:
            self.count(changes)
            send(self, renderer, Pass(*part, changes, changes.transactions(limit)), tuple(part.after.tables), limit)

    def begin(self, script: Script) -> Callable[[], int]:
        """See Door."""
        self.transactions += 1
        self.operations += len(script.operations)
        wait = self.door.begin(script)

        def ended() -> int:
            size = wait()
            self.bytes += size
            return size

        return ended

    def present(self) -> tuple[Family, ...]:
        """See Door."""
        return self.door.present()

    def read(self, families: tuple[Family, ...] = FAMILIES) -> Ruleset:
        """See Door."""
        found = self.door.read(families)
        if self.remembers and self.first is None:
            self.first = found
        return found

    def read_sets(self, names: Mapping[Family, Collection[str]]) -> Ruleset:
        """See Door."""
        return self.door.read_sets(names)

    def preflight(self, families: tuple[Family, ...] = FAMILIES) -> None:
        """See Door."""
        self.door.preflight(families)
