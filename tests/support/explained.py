"""The first judge of packets: what `nftsvc explain` says of one, as an Outcome."""

from nftsvc.explain import Packet as Asked
from nftsvc.explain import explain
from nftsvc.plan import Plan
from nftsvc.state import State
from nftsvc.values import Address, Port, Protocol
from tests.support.packets import BRIDGE, BRIDGE_PODS, NODE_ADDRESSES, Outcome, Packet, pod_number


def interface_of(packet: Packet) -> str:
    """Return where the world's node gets a packet: from a Pod's own interface, the bridge, or its neighbours."""
    number = pod_number(packet.source)
    if packet.interface or number is None:
        return packet.interface or ("" if packet.source in NODE_ADDRESSES else "eth0")
    return BRIDGE if number in BRIDGE_PODS else f"veth{number}"


def judge(state: State, plan: Plan, packet: Packet) -> Outcome:
    """Return the outcome of a packet as the plan has it."""
    asked = Asked(
        Address(packet.source),
        Address(packet.address),
        Port(packet.port),
        Protocol(packet.protocol),
        interface_of(packet),
    )
    found = explain(state, plan, asked, NODE_ADDRESSES)
    return Outcome(
        found.outcome,
        frozenset((one.endpoint.address, int(one.endpoint.port)) for one in found.reached),
        frozenset((one.endpoint.address, int(one.endpoint.port)) for one in found.reached if one.masqueraded),
        packet.affinity and bool(found.affinity),
    )
