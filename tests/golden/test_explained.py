"""The packets of the golden cases, judged by what `nftsvc explain` says of them."""

import pytest

from tests.support.cases import Case, all_cases
from tests.support.explained import judge
from tests.support.packets import disagreement, packets_of

CASES = tuple(case for case in all_cases() if (case.folder / "packets.toml").exists())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_explain_says_what_the_packets_expect(case: Case) -> None:
    planned = case.planned()
    judged = [(packet, judge(planned.state, planned.plan, packet)) for packet in packets_of(case.folder)]
    wrong = [complaint for packet, outcome in judged if (complaint := disagreement(packet, outcome))]
    assert not wrong, "\n".join(wrong)
