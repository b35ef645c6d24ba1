"""Golden rulesets: cases in folders of a repository, each with what nftsvc makes of it, checked and updated.

In: folders. Out: values that say what is as expected and what is not (`Checked`), what was written (`AllUpdated`,
`NewCase`). `case` says what a folder holds, `finding` where cases are; nftsvc's own examples/ are such cases.
"""

from nftsvc.golden.case import ERRORS, EXPECTATIONS, PACKETS, RULESET, WARNINGS, Case, CaseSettings, Made
from nftsvc.golden.checking import Checked, Difference, Result, Status, check_case, check_cases
from nftsvc.golden.finding import Found, find_cases
from nftsvc.golden.judging import judge, outcome_of
from nftsvc.golden.kernel import KernelChoice, Verdict
from nftsvc.golden.making import NewCase, new_case
from nftsvc.golden.meaning import Meaning
from nftsvc.golden.packets import Endpoint, Masquerade, Outcome, Packet, disagreement, expected_outcome, read_packets
from nftsvc.golden.updating import AllUpdated, Updated, refuse_in_ci, update_case, update_cases

__all__ = [
    "ERRORS",
    "EXPECTATIONS",
    "PACKETS",
    "RULESET",
    "WARNINGS",
    "AllUpdated",
    "Case",
    "CaseSettings",
    "Checked",
    "Difference",
    "Endpoint",
    "Found",
    "KernelChoice",
    "Made",
    "Masquerade",
    "Meaning",
    "NewCase",
    "Outcome",
    "Packet",
    "Result",
    "Status",
    "Updated",
    "Verdict",
    "check_case",
    "check_cases",
    "disagreement",
    "expected_outcome",
    "find_cases",
    "judge",
    "new_case",
    "outcome_of",
    "read_packets",
    "refuse_in_ci",
    "update_case",
    "update_cases",
]
