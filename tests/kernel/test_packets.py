"""The third judge of packets: a real kernel, with real sockets in a world of namespaces.

The first two, `nftsvc explain` and an interpreter of the ruleset's text, are in tests/golden/test_packets.py.
"""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings

from nftsvc.render import Renderer
from nftsvc.ruleset import make_ruleset
from nftsvc.selectors import slices_of
from nftsvc.state import State
from tests.support import explained
from tests.support.cases import Case, all_cases
from tests.support.clusters import Cluster, plan_of, trials, with_affinity
from tests.support.packets import Outcome, Packet, disagreement, packets_of
from tests.support.world import World

CASES = [case for case in all_cases() if packets_of(case.folder)]


def endpoints_of(state: State) -> set[tuple[str, int, str]]:
    """Return everything that slices or Pods make an endpoint, fit to be used or not."""
    return {
        (endpoint.addresses[0], int(port.port), port.protocol or "TCP")
        for key, service in state.services.items()
        for one in slices_of(state, key, service)
        for endpoint in one.endpoints or ()
        for port in one.ports or ()
        if endpoint.addresses and port.port is not None
    }


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_kernel_does_to_packets_what_the_case_says(case: Case, world: World) -> None:
    packets = packets_of(case.folder)
    world.clear()
    world.load((case.folder / "ruleset.nft").read_text())
    found = world.judge(packets, endpoints_of(case.planned().state))
    wrong = map(disagreement, packets, found)
    assert [words for words in wrong if words] == []


@given(trial=trials())
@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
def test_kernel_does_to_packets_what_explain_says(world: World, trial: tuple[Cluster, list[Packet]]) -> None:
    state, plan = plan_of(trial[0])
    said = [explained.judge(state, plan, with_affinity(packet, affinity=True)) for packet in trial[1]]
    packets = [expecting(packet, outcome) for packet, outcome in zip(trial[1], said, strict=True)]
    world.clear()
    world.load(Renderer().ruleset(make_ruleset(plan)))
    for packet, outcome, found in zip(packets, said, world.judge(packets, endpoints_of(state)), strict=True):
        if packet.affinity:
            assert found.endpoints <= outcome.endpoints, packet
            assert found.masqueraded == outcome.masqueraded & found.endpoints, packet
            assert (found.verdict, found.sticky) == (outcome.verdict, True), packet
        else:
            assert found == outcome, packet


def expecting(packet: Packet, outcome: Outcome) -> Packet:
    """Return the packet with what it should meet, so that the world knows how long to wait for what."""
    return replace(packet, expect=str(outcome.verdict), endpoints=outcome.endpoints, affinity=outcome.sticky)
