"""Writing what is expected of cases: what nftsvc makes of them now."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from nftsvc.errors import ExitCode, InputError, Problem, UsageError
from nftsvc.golden.case import ERRORS, EXPECTATIONS, Case, Made, renderer
from nftsvc.golden.checking import CASES_EACH, Result, judge_case
from nftsvc.golden.files import replace_text
from nftsvc.golden.finding import Found
from nftsvc.golden.kernel import Verdict, verdict_on
from nftsvc.golden.workers import in_order, worth
from nftsvc.ruleset import EMPTY


class Outcome(StrEnum):
    """What an update did to a case."""

    WRITTEN = "written"
    AS_BEFORE = "as before"
    LEFT = "not written"


@dataclass(frozen=True, slots=True)
class Updated:
    """What an update of a case did: files written and removed, as from within the case.

    `left` says why nothing was touched, `refused` what is in errors.txt if that was written; `kernel` is None if the
    kernel was not asked, as there is no ruleset to write.
    `after` is a check of the case with what was written: what an update cannot put right is still wrong there.
    """

    case: str
    written: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    refused: tuple[Problem, ...] = ()
    left: str = ""
    left_code: ExitCode = ExitCode.FINE
    kernel: Verdict | None = None
    after: Result | None = None

    @property
    def outcome(self) -> Outcome:
        """What was done, in a word."""
        if self.left:
            return Outcome.LEFT
        return Outcome.WRITTEN if self.written or self.removed else Outcome.AS_BEFORE

    @property
    def exit_code(self) -> ExitCode:
        """What the case alone would make the process say: 1 where a check still finds something else than expected."""
        return self.left_code if self.after is None else self.after.exit_code


@dataclass(frozen=True, slots=True)
class AllUpdated:
    """What an update of all cases did; `unchecked` are folders beside them that hold Services but are no case."""

    cases: tuple[Updated, ...]
    unchecked: tuple[str, ...] = ()

    @property
    def exit_code(self) -> ExitCode:
        """0 if all cases are as expected now."""
        return max((one.exit_code for one in self.cases), default=ExitCode.FINE)

    @property
    def kernel_unavailable(self) -> str:
        """Why the kernel could not be asked about some ruleset that was written, "" if it was about all."""
        return next((one.kernel.unavailable for one in self.cases if one.kernel and one.kernel.unavailable), "")

    @property
    def summary(self) -> str:
        """Say in one line how many were written."""
        counts = Counter(one.outcome for one in self.cases)
        words = ", ".join(f"{counts[one]} {one}" for one in Outcome if counts[one])
        return f"{len(self.cases)} {'case' if len(self.cases) == 1 else 'cases'}: {words}"


def refuse_in_ci(environment: Mapping[str, str] = os.environ) -> None:
    """Raise UsageError where the environment says that this is a CI system: what is expected is decided by people."""
    value = environment.get("CI", "")
    if value.strip().lower() not in ("", "false"):
        raise UsageError(
            f"CI={value}: golden update does not run in CI, which would agree to every change; run it where you work,"
            " look at what it wrote, commit that"
        )


def update_cases(found: Found, jobs: int = 0) -> AllUpdated:
    """Write what is expected of every case; with so many processes, 0: as many as pay."""
    renderer().ruleset(EMPTY)  # compiles the templates before the processes part
    jobs = jobs or worth(len(found.cases), CASES_EACH)
    return AllUpdated(tuple(in_order(update_case, found.cases, jobs)), found.unchecked)


def update_case(case: Case) -> Updated:
    """Write what is expected of one case, file by file, each whole or not at all; never raises for a bad case.

    A ruleset that the kernel refuses is not written; where no kernel can be asked it is.
    """
    try:
        made, expected = case.made(), case.expected()
        after = judge_case(case, made, made.files)
    except InputError as error:
        return Updated(case.name, left=str(error), left_code=error.exit_code)
    if made.files == expected:
        return Updated(case.name, after=after)
    verdict = verdict_on(made.ruleset) if made.planned is not None else None
    if verdict is not None and verdict.refused:
        return Updated(case.name, left=verdict.refused, left_code=ExitCode.KERNEL_REFUSED, kernel=verdict)
    return replace(write_expectations(case, made, expected), kernel=verdict, after=after)


def write_expectations(case: Case, made: Made, expected: Mapping[str, str]) -> Updated:
    """Write the files that differ and remove those that no longer apply. UsageError where that cannot be done."""
    changed = [name for name in EXPECTATIONS if name in made.files and made.files[name] != expected.get(name)]
    gone = [name for name in EXPECTATIONS if name in expected and name not in made.files]
    for name in changed:
        replace_text(case.folder / name, made.files[name])
    for name in gone:
        (case.folder / name).unlink(missing_ok=True)
    return Updated(case.name, tuple(changed), tuple(gone), made.problems if ERRORS in changed else ())
