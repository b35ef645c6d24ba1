"""The packets of the golden cases, judged by what the rulesets' text says."""

from fractions import Fraction

import pytest

from tests.support.cases import Case, all_cases
from tests.support.interpreter import judge, parse, shares
from tests.support.packets import disagreement, packets_of

GOOD = tuple(case for case in all_cases() if not case.refused)
WITH_PACKETS = tuple(case for case in GOOD if (case.folder / "packets.toml").exists())


def ruleset_of(case: Case) -> str:
    """Return the text of a case's ruleset, as it is expected to be."""
    return case.expected().get("ruleset.nft") or case.outcome()["ruleset.nft"]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_ruleset_is_in_the_dialect(case: Case) -> None:
    assert parse(ruleset_of(case)).tables


@pytest.mark.parametrize("case", WITH_PACKETS, ids=lambda case: case.name)
def test_text_of_the_ruleset_does_what_the_packets_expect(case: Case) -> None:
    ruleset = parse(ruleset_of(case))
    judged = [(packet, judge(ruleset, packet)) for packet in packets_of(case.folder)]
    wrong = [complaint for packet, outcome in judged if (complaint := disagreement(packet, outcome))]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("case", WITH_PACKETS, ids=lambda case: case.name)
def test_endpoints_share_new_connections_evenly(case: Case) -> None:
    ruleset = parse(ruleset_of(case))
    for packet in packets_of(case.folder):
        even = {endpoint: Fraction(1, len(packet.endpoints)) for endpoint in packet.endpoints}
        assert shares(ruleset, packet) == even, packet
