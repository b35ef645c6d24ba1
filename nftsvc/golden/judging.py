"""What `nftsvc explain` says of the packets of a case."""

from collections.abc import Collection, Iterator

from nftsvc.explain import Explanation, explain
from nftsvc.explain import Packet as Asked
from nftsvc.golden.packets import Endpoint, Outcome, Packet, disagreement
from nftsvc.plan import Plan
from nftsvc.state import State
from nftsvc.values import Address, Port, Protocol


def judge(state: State, plan: Plan, packet: Packet, local: Collection[str] = ()) -> Outcome:
    """Return the outcome of a packet as the plan has it; `local` are addresses of the node that no object names."""
    asked = Asked(
        Address(packet.source),
        Address(packet.address),
        Port(packet.port),
        Protocol(packet.protocol),
        packet.interface or None,
    )
    return outcome_of(explain(state, plan, asked, local), affinity=packet.affinity)


def outcome_of(found: Explanation, *, affinity: bool) -> Outcome:
    """Return an explanation as an Outcome; with `affinity` it says whether clients stay with their endpoint."""
    endpoints: list[tuple[Endpoint, bool]] = [
        ((str(one.endpoint.address), int(one.endpoint.port)), one.masqueraded) for one in found.reached
    ]
    return Outcome(
        str(found.outcome),
        frozenset(one for one, _ in endpoints),
        frozenset(one for one, masqueraded in endpoints if masqueraded),
        affinity and bool(found.affinity),
    )


def disagreements(state: State, plan: Plan, packets: Collection[Packet], local: Collection[str] = ()) -> Iterator[str]:
    """Yield in words what becomes of packets other than they expect."""
    for packet in packets:
        complaint = disagreement(packet, judge(state, plan, packet, local))
        if complaint:
            yield complaint
