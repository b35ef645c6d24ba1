"""All Services: planned at once, or only those that something touched."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from nftsvc.claims import Claims
from nftsvc.errors import Problem, Severity
from nftsvc.plan.service import Wish, claimant, plan_service, wishes_of
from nftsvc.plan.values import Plan, PortPlan, ServicePlan
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey, State


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
        wishes: dict[ServiceKey, tuple[Wish, ...]] = {}
        others: set[ServiceKey] = set()
        for key in keys:
            service = state.services.get(key) if key not in left_out else None
            wishes[key] = wishes_of(service, self.settings) if service is not None else ()
            claims = (one.claim(frontend) for one in wishes[key] for frontend in one.frontends)
            others |= self._claims.file(claimant(key, service), claims)
        for key in others - wishes.keys():
            wishes[key] = wishes_of(state.services[key], self.settings)
        old = tuple(self.plans.pop(key) for key in wishes if key in self.plans)
        new = tuple(
            plan_service(state, key, mine, self._claims, self.settings)
            for key, mine in wishes.items()
            if key in state.services and key not in left_out
        )
        self.plans.update((one.service, one) for one in new)
        return Replanned(old, new)

    def plan(self) -> Plan:
        """Return the whole plan, with the warnings that concern it as a whole."""
        plan = Plan.of(self.settings, self.plans.values())
        warnings = chain(_node_ports_everywhere(plan.ports, self.settings), _networks_too_wide(plan))
        return replace(plan, problems=tuple(sorted((*plan.problems, *warnings), key=str)))


def _node_ports_everywhere(ports: Sequence[PortPlan], settings: NodeSettings) -> Iterator[Problem]:
    """Yield a warning where node ports answer on every address and nobody asked for that."""
    families = {port.family for port in ports if any(one.address is None for one in port.frontends)}
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


def _networks_too_wide(plan: Plan) -> Iterator[Problem]:
    """Yield a warning for each service network that holds an endpoint or the node: packets to these are dropped."""
    for family, networks in plan.settings.service_cidrs.items():
        ports = [port for port in plan.ports if port.family == family]
        endpoints = (one.address for port in ports for one in (*port.cluster, *port.local))
        node = plan.settings.addresses.get(family)
        everybody = [*([node] if node is not None else ()), *endpoints]
        for network in networks:
            held = next((one for one in everybody if network.covers(one)), None)
            if held is not None:
                what = "this node's address" if held == node else "the endpoint"
                message = f"the service network {network} holds {what} {held}: packets to it are dropped"
                yield Problem(message, severity=Severity.WARNING)
