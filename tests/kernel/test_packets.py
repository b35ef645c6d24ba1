"""The third judge of packets: a real kernel, with real sockets in a world of namespaces.

The first two, `nftsvc explain` and an interpreter of the ruleset's text, are in tests/golden/test_packets.py.
"""

from collections.abc import Iterator

import pytest

from nftsvc.selectors import slices_of
from tests.support.cases import Case, all_cases
from tests.support.packets import disagreement, packets_of
from tests.support.world import World, build_world

CASES = [case for case in all_cases() if packets_of(case.folder)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with build_world() as built:
        yield built


def endpoints_of(case: Case) -> set[tuple[str, int, str]]:
    """Return everything that the case's slices or Pods make an endpoint, fit to be used or not."""
    state = case.planned().state
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
    found = world.judge(packets, endpoints_of(case))
    wrong = map(disagreement, packets, found)
    assert [words for words in wrong if words] == []
