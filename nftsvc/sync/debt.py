"""The flows that are to be looked at once the kernel has what is wanted."""

from collections.abc import Iterable

from nftsvc.flows import NONE_TRACKED, Tracked, remade_frontends, served_frontends, stale_frontends
from nftsvc.plan import ServicePlan
from nftsvc.ruleset import Part, Ruleset


class Debt:
    """Frontends that flows may be stale at, gathered until a pass comes to a good end."""

    def __init__(self) -> None:
        self._stale = self._served = NONE_TRACKED

    def changed(self, old: Iterable[ServicePlan], new: Iterable[ServicePlan], found: Ruleset | None = None) -> None:
        """Take note of Services that change; `found` is what the kernel had where nobody knows the old plans."""
        self._stale = stale_frontends(old, new, found, self._stale)
        self._served = served_frontends(old, new, self._served)

    def remade(self, part: Part, plans: Iterable[ServicePlan]) -> None:
        """Take note of what the kernel did not have: flows begun meanwhile lead to nobody."""
        self._stale = remade_frontends(*part, plans, self._stale)

    def taken(self) -> tuple[Tracked, Tracked]:
        """Return the frontends to be looked at, and all UDP frontends of Services that changed, for the last time."""
        taken = self._stale, self._served
        self._stale = self._served = NONE_TRACKED
        return taken
