"""What happens to one packet under a plan, and why.

In: the plan, the State it was made from, and the first packet of a connection. Out: an Explanation: forward, reject,
drop or pass (no Service's business), with every endpoint that it may reach, every one that was left out, and the
reasons. It knows nothing of nft: it says what the plan wants, and tests hold the ruleset to it.
"""

import ipaddress
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from nftsvc.endpoints import Endpoint, Judged, Place, judge
from nftsvc.frontends import Frontend, FrontendKind
from nftsvc.plan import Masquerade, Plan, PortPlan, Refusal, why_skipped
from nftsvc.selectors import slices_of
from nftsvc.settings import Detector, DetectorKind
from nftsvc.state import State
from nftsvc.values import Address, Port, Protocol, authority


class Outcome(StrEnum):
    """What becomes of a packet; `pass` goes on to its own destination."""

    FORWARD = "forward"
    REJECT = "reject"
    DROP = "drop"
    PASS = "pass"  # noqa: S105 - not a password


@dataclass(frozen=True, slots=True)
class Packet:
    """The first packet of a connection. `interface` is where it comes in on the node, None if that is not known."""

    source: Address
    destination: Address
    port: Port
    protocol: Protocol
    interface: str | None = None


@dataclass(frozen=True, slots=True)
class Reached:
    """An endpoint that a new connection gets with a probability; whether it sees an address of this node as source."""

    endpoint: Endpoint
    share: Fraction
    masqueraded: bool
    why: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An endpoint that this connection cannot get, and why."""

    endpoint: Endpoint
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """What happens to the packet. `steps` are (what was looked at, what was found), in order."""

    packet: Packet
    outcome: Outcome
    steps: tuple[tuple[str, str], ...]
    service: str = ""
    frontend: Frontend | None = None
    reached: tuple[Reached, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    affinity: int = 0


class _Client(NamedTuple):
    """Where the packet comes from, as far as it matters: a Pod is what the node's detectLocalMode takes for one."""

    is_node: bool
    is_pod: bool


def explain(state: State, plan: Plan, packet: Packet, own: Collection[str] = ()) -> Explanation:
    """Say what happens to a packet on the plan's node.

    `own` are addresses of the node that the input does not name. Source and destination must be of one family.
    """
    return _Explainer(state, plan, packet, own).explain()


class _Explainer:
    def __init__(self, state: State, plan: Plan, packet: Packet, own: Collection[str]) -> None:
        self._state, self._plan, self._packet = state, plan, packet
        self._family = packet.destination.family
        self._own = {*own, *plan.settings.addresses.values(), *_reported(state, plan.settings.name)}
        self._steps: list[tuple[str, str]] = []

    def explain(self) -> Explanation:
        client = self._client()
        if self._family not in self._plan.settings.families:
            return self._end(Outcome.PASS, "family", f"this node has no table for {self._family}")
        found = self._frontend()
        if found is None:
            return self._nobodys(client)
        port, frontend = found
        if frontend.sources and not any(one.covers(self._packet.source) for one in frontend.sources):
            listed = ", ".join(frontend.sources)
            return self._end(Outcome.DROP, "source ranges", f"the source is in none of {listed}", port, frontend)
        return self._balanced(port, frontend, client)

    # Where it comes from ----------------------------------------------------------------------------------------------

    def _client(self) -> _Client:
        detected, why = self._detected()
        if self._is_own(self._packet.source):
            also = f", but {why}: a Pod's as far as cluster IPs go" if detected else ""
            client = _Client(is_node=True, is_pod=detected)
            self._steps.append(("source", f"this node ({self._packet.source} is an address of its own{also})"))
            return client
        who = "a Pod of this node" if detected else "not this node and none of its Pods"
        self._steps.append(("source", f"{who} ({why})"))
        return _Client(is_node=False, is_pod=detected)

    def _detected(self) -> tuple[bool, str]:
        """Say whether the node takes the packet for one of its own Pods', and by what."""
        source, detector = self._packet.source, self._plan.settings.detectors.get(self._family)
        if detector is None:
            return False, "no detectLocalMode tells Pods of this node from others"
        if detector.kind is DetectorKind.SOURCE:
            local = ipaddress.ip_address(source) in ipaddress.ip_network(detector.value)
            return local, f"{'' if local else 'not: '}{detector}"
        if self._is_own(source):
            return False, "it comes in on no interface"
        if self._packet.interface is not None:
            local = _is_interface(detector, self._packet.interface)
            return local, f"{'' if local else 'not: '}{detector}"
        if self._runs_here(source):
            return True, f"it runs here, so it is taken for one that {detector}"
        return False, f"it runs elsewhere, so it is taken for one that does not: {detector}"

    def _runs_here(self, source: str) -> bool:
        """Tell whether the input has a Pod or an endpoint with this address on this node."""
        name = self._plan.settings.name
        if name is None:
            return False
        slices = (slices_of(self._state, key, service) for key, service in self._state.services.items())
        endpoints = (one for group in slices for part in group for one in part.endpoints or ())
        pods = (pod for group in self._state.pods.values() for pod in group)
        return any(one.node_name == name and source in (one.addresses or ()) for one in endpoints) or any(
            pod.spec is not None
            and pod.spec.node_name == name
            and pod.status is not None
            and source in (pod.status.pod_ip, *(one.ip for one in pod.status.pod_ips or ()))
            for pod in pods
        )

    def _is_own(self, address: str) -> bool:
        return address in self._own or ipaddress.ip_address(address).is_loopback

    # Where it knocks --------------------------------------------------------------------------------------------------

    def _frontend(self) -> tuple[PortPlan, Frontend] | None:
        """Find the frontend: by its address, else by node port."""
        packet = self._packet
        node_port: tuple[PortPlan, Frontend] | None = None
        for port in self._plan.ports:
            if port.family != self._family or port.protocol != packet.protocol:
                continue
            for frontend in port.frontends:
                if frontend.port == packet.port:
                    if frontend.address == packet.destination:
                        return port, frontend
                    if frontend.kind is FrontendKind.NODE_PORT and self._answers_node_ports(packet.destination):
                        node_port = port, frontend
        return node_port

    def _answers_node_ports(self, destination: Address) -> bool:
        """Tell whether node ports answer on an address."""
        settings = self._plan.settings
        exact = settings.node_port_addresses.get(self._family)
        if exact:
            return destination in exact
        networks = settings.node_port_networks.get(self._family)
        listed = networks is None or any(one.covers(destination) for one in networks)
        return listed and self._is_own(destination) and not ipaddress.ip_address(destination).is_loopback

    def _nobodys(self, client: _Client) -> Explanation:
        """Explain what happens at an address and port that no Service has."""
        closed = self._closed(self._packet.destination, client)
        if closed is not None:
            return self._end(closed[0], "frontend", closed[1])
        return self._end(Outcome.PASS, "frontend", self._why_not_ours())

    def _closed(self, address: Address, client: _Client) -> tuple[Outcome, str] | None:
        """Say how packets to an address end that belongs to Services, or may.

        Those that only arrive on this node at an address of its own are not looked at; what it sends itself is.
        """
        if self._is_own(address) and not client.is_node:
            return None
        if address in self._plan.cluster_ips:
            return Outcome.REJECT, f"{address} is a cluster IP, but no Service has this port"
        for network in self._plan.settings.service_cidrs.get(self._family, ()):
            if network.covers(address):
                return Outcome.DROP, f"{address} is in the service network {network}, but no Service here has it"
        return None

    def _refused_on_the_way(self, endpoint: Endpoint, client: _Client) -> tuple[Outcome, str] | None:
        """Say why packets do not arrive at an endpoint that was chosen: they meet what any packet to it meets."""
        own = self._is_own(endpoint.address)
        for port in self._plan.ports:
            if (port.family, port.protocol) != (self._family, self._packet.protocol):
                continue
            for frontend in port.frontends:
                here = frontend.address == endpoint.address or (
                    frontend.address is None and own and self._answers_node_ports(endpoint.address)
                )
                if here and frontend.port == endpoint.port and not port.endpoints(frontend, inside=False):
                    return Outcome(port.refusal), f"{_written(frontend)} of Service {port.name} leads to no endpoint"
        return self._closed(endpoint.address, client)

    def _why_not_ours(self) -> str:
        destination = self._packet.destination
        for key, service in sorted(self._state.services.items()):
            if destination in service.addresses:
                return f"{destination} is of Service {key}, which is left out: {why_skipped(service) or 'see warnings'}"
        if any(
            frontend.kind is FrontendKind.NODE_PORT and frontend.port == self._packet.port
            for port in self._plan.ports
            for frontend in port.frontends
            if port.protocol == self._packet.protocol and port.family == self._family
        ):
            return f"{self._packet.port} is a node port, but node ports do not answer on {destination}"
        return "no Service has this address and port"

    # Where it goes ----------------------------------------------------------------------------------------------------

    def _balanced(self, port: PortPlan, frontend: Frontend, client: _Client) -> Explanation:
        inside = client.is_node or client.is_pod
        self._steps.append(("frontend", f"{_written(frontend)} of Service {port.name}"))
        local = frontend.local_policy and not (inside and frontend.external)
        self._steps.append(("policy", _policy(frontend, inside=inside)))
        endpoints = port.endpoints(frontend, inside=inside)
        left_out = tuple(self._left_out(port, local=local))
        if not endpoints:
            why = "no endpoint may be used" if port.refusal is Refusal.REJECT else "no endpoint is on this node"
            outcome = Outcome.REJECT if port.refusal is Refusal.REJECT else Outcome.DROP
            return self._end(outcome, "endpoints", why, port, frontend, left_out)
        met = {one: self._refused_on_the_way(one, client) for one in endpoints}
        stopped = {one: fate for one, fate in met.items() if fate is not None}
        if len(stopped) == len(endpoints):
            outcome, reason = stopped[endpoints[0]]
            return self._end(outcome, "endpoints", f"none is reached: {reason}", port, frontend, left_out)
        left_out += tuple(LeftOut(one, f"chosen as often, but {how}: {why}") for one, (how, why) in stopped.items())
        share = Fraction(1, len(endpoints))
        arriving = [one for one in endpoints if one not in stopped]
        reached = tuple(Reached(one, share, *self._masqueraded(frontend, one, client)) for one in arriving)
        self._steps.append(("endpoints", f"{len(arriving)} of {len(arriving) + len(left_out)}, equally likely"))
        if port.affinity:
            self._steps.append(
                ("affinity", f"a client that was here in the last {port.affinity} s gets the same again")
            )
        return Explanation(
            self._packet, Outcome.FORWARD, tuple(self._steps), port.name, frontend, reached, left_out, port.affinity
        )

    def _left_out(self, port: PortPlan, *, local: bool) -> Iterator[LeftOut]:
        for one in self._judged(port):
            reason = one.not_local if local else one.not_in_cluster
            if reason:
                yield LeftOut(one.endpoint, reason)

    def _judged(self, port: PortPlan) -> tuple[Judged, ...]:
        service = self._state.services[port.service]
        ports = (service.spec.ports if service.spec is not None else None) or ()
        of_service = next(one for one in ports if (one.name, one.protocol) == (port.port, port.protocol))
        settings = self._plan.settings
        slices = slices_of(self._state, port.service, service)
        return judge(slices, of_service, port.family, Place(settings.name, settings.zone))

    def _masqueraded(self, frontend: Frontend, endpoint: Endpoint, client: _Client) -> tuple[bool, str]:
        """Say whether the endpoint sees an address of this node as the packet's source, and by which rule."""
        if not client.is_node and self._is_own(endpoint.address):
            return False, "the endpoint is this node itself: nothing leaves it"
        if endpoint.address == self._packet.source and endpoint.on_node:
            return True, "hairpin: the client reaches itself"
        rule = self._plan.masquerade(frontend, self._family)
        applies = {
            Masquerade.EVERYBODY: True,
            Masquerade.OTHERS_THAN_LOCAL_PODS: not client.is_pod,
            Masquerade.THIS_NODE: client.is_node,
            Masquerade.NOBODY: False,
        }[rule]
        return applies, f"{frontend.kind} masquerades {rule}"

    def _end(
        self,
        outcome: Outcome,
        topic: str,
        text: str,
        port: PortPlan | None = None,
        frontend: Frontend | None = None,
        left_out: tuple[LeftOut, ...] = (),
    ) -> Explanation:
        if port is not None and frontend is not None and topic == "source ranges":
            self._steps.append(("frontend", f"{_written(frontend)} of Service {port.name}"))
        self._steps.append((topic, text))
        name = port.name if port is not None else ""
        return Explanation(self._packet, outcome, tuple(self._steps), name, frontend, left_out=left_out)


def _reported(state: State, name: str | None) -> Iterator[str]:
    """Yield all addresses that the Node object has for its node."""
    node = state.nodes.get(name) if name is not None else None
    status = node.status if node is not None else None
    yield from (one.address for one in (status.addresses if status is not None else None) or ())


def _is_interface(detector: Detector, interface: str) -> bool:
    exact = detector.kind is DetectorKind.INTERFACE
    return interface == detector.value if exact else interface.startswith(detector.value)


def _written(frontend: Frontend) -> str:
    if frontend.address is None:
        return f"{frontend.kind} {frontend.port}"
    return f"{frontend.kind} {authority(frontend.address, frontend.port)}"


def _policy(frontend: Frontend, *, inside: bool) -> str:
    kind = "external" if frontend.external else "internal"
    if not frontend.local_policy:
        return f"{kind}TrafficPolicy Cluster: the endpoints of the whole cluster"
    if inside and frontend.external:
        return "externalTrafficPolicy Local, but the client is inside: the endpoints of the whole cluster"
    return f"{kind}TrafficPolicy Local: this node's endpoints only"
