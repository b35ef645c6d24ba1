"""All Services: planned at once, or only those that something touched."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from nftsvc.claims import Claims
from nftsvc.errors import Problem, Severity
from nftsvc.plan.service import Wishes, claimant, plan_service, wishes_of
from nftsvc.plan.values import Plan, ServicePlan
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey, State
from nftsvc.values import Address, Family, address_order


def make_plan(state: State, settings: NodeSettings) -> Plan:
    """Say what the node must do for every Service of the state."""
    planner = Planner(settings)
    planner.update(state, state.services)
    return planner.plan()


class Replanned(NamedTuple):
    """The plans of some Services as they were and as they are now."""

    old: tuple[ServicePlan, ...]
    new: tuple[ServicePlan, ...]


class Planner:
    """The plans of all Services under one node's settings, kept up to date."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self.plans: dict[ServiceKey, ServicePlan] = {}
        self._claims = Claims()

    def update(self, state: State, keys: Iterable[ServiceKey], left_out: Collection[ServiceKey] = ()) -> Replanned:
        """Plan these Services anew, and those to whom it makes a difference.

        A Service that is not in the state any more, or is `left_out`, has no plan.
        """
        parts = tuple(self.updates(state, keys, left_out))
        return parts[0] if len(parts) == 1 else Replanned((), ())

    def updates(
        self, state: State, keys: Iterable[ServiceKey], left_out: Collection[ServiceKey] = (), size: int | None = None
    ) -> Iterator[Replanned]:
        """Do the same in parts of so many Services, each when it is asked for; all have to be."""
        wishes = iter(self._file(state, keys, left_out).items())
        while part := tuple(islice(wishes, size)):
            old = tuple(self.plans.pop(key) for key, _ in part if key in self.plans)
            new = tuple(
                plan_service(state, key, mine, self._claims, self.settings)
                for key, mine in part
                if key in state.services and key not in left_out
            )
            self.plans.update((one.service, one) for one in new)
            yield Replanned(old, new)

    def _file(
        self, state: State, keys: Iterable[ServiceKey], left_out: Collection[ServiceKey]
    ) -> dict[ServiceKey, Wishes]:
        """File what the Services claim; return what they wish, and what those do to whom that makes a difference."""
        wishes: dict[ServiceKey, Wishes] = {}
        others: set[ServiceKey] = set()
        for key in keys:
            service = state.services.get(key) if key not in left_out else None
            mine = wishes[key] = wishes_of(service, self.settings) if service is not None else Wishes()
            others |= self._claims.file(claimant(key, service), mine.claims())
        for key in others - wishes.keys():
            wishes[key] = wishes_of(state.services[key], self.settings)
        return wishes

    def plan(self) -> Plan:
        """Return the whole plan, with the warnings that concern it as a whole."""
        plan = Plan.of(self.settings, self.plans.values())
        return replace(plan, problems=tuple(sorted((*plan.problems, *self.warnings()), key=str)))

    def warnings(self) -> tuple[Problem, ...]:
        """Return the warnings that concern all Services together."""
        return (*_node_ports_everywhere(self.plans.values(), self.settings), *self._networks_too_wide())

    def _networks_too_wide(self) -> Iterator[Problem]:
        """Yield a warning for each service network that holds an endpoint or the node: packets to these are dropped."""
        for family, networks in self.settings.service_cidrs.items():
            node = self.settings.addresses.get(family)
            endpoints = self._endpoints(family)
            for network in networks:
                if node is not None and network.covers(node):
                    held = f"this node's address {node}"
                else:
                    endpoint = min(filter(network.covers, endpoints), key=address_order, default=None)
                    held = f"the endpoint {endpoint}" if endpoint is not None else ""
                if held:
                    message = f"the service network {network} holds {held}: packets to it are dropped"
                    yield Problem(message, severity=Severity.WARNING)

    def _endpoints(self, family: Family) -> set[Address]:
        ports = (port for plan in self.plans.values() for port in plan.ports if port.family == family)
        return {one.address for port in ports for one in (*port.cluster, *port.local)}


def _node_ports_everywhere(plans: Iterable[ServicePlan], settings: NodeSettings) -> Iterator[Problem]:
    """Yield a warning where node ports answer on every address and nobody asked for that."""
    families = {port.family for plan in plans for port in plan.ports for one in port.frontends if one.address is None}
    asked_for = {*settings.node_port_addresses, *settings.node_port_networks, *settings.node_ports_everywhere}
    unknown = [family for family in settings.families if family in families - asked_for]
    if unknown:
        if settings.node_port_networks or settings.node_ports_everywhere:
            why = "nodePortAddresses has no network of that family"
        elif settings.addresses:
            why = "the node has no address of that family"
        else:
            why = "no Node says which is its own"
        message = f"node ports answer on every {' and '.join(unknown)} address of the machine: {why}"
        yield Problem(message, severity=Severity.WARNING)
