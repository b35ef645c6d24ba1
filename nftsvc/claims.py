"""Who owns which address and port, and which node port: the oldest Service that claims it.

In: what each Service claims, in any order, and again when that changes. Out: the owner of a claim, and which Services
have to be looked at anew because an owner has changed. The kernel takes one verdict for a key; two would make it refuse
the whole transaction.
"""

from bisect import insort
from collections.abc import Iterable
from typing import NamedTuple

from nftsvc.state import ServiceKey
from nftsvc.values import Address, Family


class Claim(NamedTuple):
    """An address and port, or (address None) a node port; each IP family is on its own."""

    family: Family
    protocol: str
    address: Address | None
    port: int


class Claimant(NamedTuple):
    """A Service; sorts the older one first. One that the API server has not created yet is the youngest."""

    uncreated: bool
    created: str
    service: ServiceKey


class Claims:
    """Which Services claim what."""

    def __init__(self) -> None:
        self._claimants: dict[Claim, list[Claimant]] = {}
        self._filed: dict[ServiceKey, tuple[Claimant, frozenset[Claim]]] = {}

    def owner(self, claim: Claim) -> ServiceKey:
        """Return whose it is. KeyError if nobody claims it."""
        return self._claimants[claim][0].service

    def file(self, claimant: Claimant, claims: Iterable[Claim]) -> set[ServiceKey]:
        """Put a Service's claims in the place of those it had; return the others to whom that makes a difference."""
        before, old = self._filed.pop(claimant.service, (claimant, frozenset()))
        new = frozenset(claims)
        gone, come = (old - new, new - old) if before == claimant else (old, new)
        if new:
            self._filed[claimant.service] = (claimant, new)
        owners = {one: self._claimants[one][0] for one in gone | come if one in self._claimants}
        for one in gone:
            self._claimants[one].remove(before)
        for one in come:
            insort(self._claimants.setdefault(one, []), claimant)
        affected: set[ServiceKey] = set()
        for one in gone | come:
            now = self._claimants[one]
            if not now:
                del self._claimants[one]
            elif owners.get(one) != now[0]:
                affected.update(other.service for other in now)
        return affected - {claimant.service}
