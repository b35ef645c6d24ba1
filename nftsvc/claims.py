"""Who owns which address and port, and which node port: the oldest Service that claims it.

In: what each Service claims, in any order, and again when that changes. Out: the owner of a claim, and which Services
have to be looked at anew because an owner has changed. The kernel takes one verdict for a key; two would make it refuse
the whole transaction.
"""

from collections.abc import Iterable, Sequence

import msgspec

from nftsvc.state import ServiceKey
from nftsvc.values import Address, Family


class Claim(msgspec.Struct, frozen=True, gc=False):
    """An address and port, or (address None) a node port; each IP family is on its own."""

    family: Family
    protocol: str
    address: Address | None
    port: int


class Claimant(msgspec.Struct, frozen=True, order=True, gc=False):
    """A Service; sorts the older one first. One that the API server has not created yet is the youngest."""

    uncreated: bool
    created: str
    service: ServiceKey


class Claims:
    """Which Services claim what."""

    def __init__(self) -> None:
        self._claimants: dict[Claim, tuple[Claimant, ...]] = {}
        self._filed: dict[ServiceKey, tuple[Claimant, tuple[Claim, ...]]] = {}
        self._contested: set[Claim] = set()

    @property
    def contested(self) -> bool:
        """Whether anything is claimed by more than one Service."""
        return bool(self._contested)

    def owner(self, claim: Claim) -> ServiceKey:
        """Return whose it is. KeyError if nobody claims it."""
        return self._claimants[claim][0].service

    def file(self, claimant: Claimant, claims: Sequence[Claim]) -> set[ServiceKey]:
        """Put a Service's claims in the place of those it had; return the others to whom that makes a difference."""
        before, old = self._filed.pop(claimant.service, (claimant, ()))
        if claims:
            self._filed[claimant.service] = (claimant, tuple(claims))
        stays = set(old).intersection(claims) if old and before == claimant else ()
        affected: set[ServiceKey] = set()
        for one in dict.fromkeys(old) if old else ():
            if one not in stays:
                affected.update(self._withdraw(one, before))
        for one in claims if len(claims) == 1 else dict.fromkeys(claims):
            if one not in stays:
                affected.update(self._add(one, claimant))
        affected.discard(claimant.service)
        return affected

    def _withdraw(self, claim: Claim, claimant: Claimant) -> Iterable[ServiceKey]:
        """Take a claimant from a claim; return those whose the claim now may be, where the owner is another."""
        held = self._claimants.pop(claim)
        others = tuple(one for one in held if one != claimant)
        if others:
            self._claimants[claim] = others
        if len(others) == 1:
            self._contested.discard(claim)
        return (one.service for one in others) if held[0] == claimant else ()

    def _add(self, claim: Claim, claimant: Claimant) -> Iterable[ServiceKey]:
        """Add a claimant to a claim; return all whose the claim may be, where that makes it the owner of others'."""
        alone = (claimant,)
        held = self._claimants.setdefault(claim, alone)
        if held is alone:
            return ()
        self._contested.add(claim)
        now = self._claimants[claim] = tuple(sorted((*held, claimant)))
        return (one.service for one in now) if now[0] == claimant else ()
