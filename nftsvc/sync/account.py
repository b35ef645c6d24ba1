"""Running totals over the plans of all Services, so that nobody has to go through them to say how many they are."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from nftsvc.errors import Problem
from nftsvc.plan import HealthCheck, PortPlan, ServicePlan
from nftsvc.state import ServiceKey
from nftsvc.values import Family


class Unserved(NamedTuple):
    """Service ports of a family that have endpoints, but by a Local policy none for the clients in question.

    `external`: clients outside the cluster (externalTrafficPolicy), else those of the cluster IP
    (internalTrafficPolicy).
    """

    family: Family
    external: bool


class Account:
    """How many Services are served, with how many ports (per family) and endpoints; what is wrong with them.

    `unserved` counts ports by whom a Local policy leaves without an endpoint.
    """

    def __init__(self) -> None:
        self.services = self.ports = self.endpoints = 0
        self.unserved: Counter[Unserved] = Counter()
        self._problems: dict[ServiceKey, tuple[Problem, ...]] = {}
        self._checks: dict[ServiceKey, HealthCheck] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What there is to say about Services, in no order."""
        return tuple(one for group in self._problems.values() for one in group)

    @property
    def health_checks(self) -> tuple[HealthCheck, ...]:
        """The healthCheckNodePorts, sorted by Service."""
        return tuple(self._checks[key] for key in sorted(self._checks))

    def change(self, old: Iterable[ServicePlan], new: Iterable[ServicePlan]) -> None:
        """Count some Services as they are now and no longer as they were."""
        for plan in old:
            self._count(plan, -1)
            self._problems.pop(plan.service, None)
            self._checks.pop(plan.service, None)
        for plan in new:
            self._count(plan, 1)
            if plan.problems:
                self._problems[plan.service] = plan.problems
            if plan.health_check is not None:
                self._checks[plan.service] = plan.health_check

    def _count(self, plan: ServicePlan, sign: int) -> None:
        self.services += sign * bool(plan.ports)
        for port in plan.ports:
            self.ports += sign
            self.endpoints += sign * len(port.cluster)
            for external in _unserved(port):
                self.unserved[Unserved(port.family, external)] += sign


def _unserved(port: PortPlan) -> set[bool]:
    if port.local or not port.cluster:
        return set()
    return {one.external for one in port.frontends if one.local_policy}
