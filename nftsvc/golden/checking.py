"""Whether cases are as they say: each as a Result, all of them as a Checked."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from difflib import unified_diff
from enum import StrEnum
from functools import partial
from time import perf_counter

from nftsvc.errors import ExitCode, InputError, Problem
from nftsvc.golden.case import ERRORS, EXPECTATIONS, PACKETS, RULESET, WARNINGS, Case, Made, renderer
from nftsvc.golden.finding import Found
from nftsvc.golden.judging import disagreements
from nftsvc.golden.kernel import TAKEN, KernelChoice, Verdict, verdict_on
from nftsvc.golden.meaning import Meaning, meaning_of
from nftsvc.golden.packets import read_packets
from nftsvc.golden.workers import in_order, worth
from nftsvc.ruleset import EMPTY

CASES_EACH = 24  # for fewer a second process takes longer than it saves


class Status(StrEnum):
    """What became of a case."""

    AS_EXPECTED = "as expected"
    DIFFERS = "differs"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Difference:
    """An expectation file as it is and as it would be written now; None where there is none."""

    file: str
    expected: str | None
    actual: str | None

    def lines(self) -> Iterator[str]:
        """Yield the unified diff."""
        before, after = (self.expected or "").splitlines(), (self.actual or "").splitlines()
        names = (
            f"{self.file} (expected)" if self.expected is not None else "(no such file)",
            f"{self.file} (now)" if self.actual is not None else "(none)",
        )
        return unified_diff(before, after, *names, lineterm="")


@dataclass(frozen=True, slots=True)
class Result:
    """What a check of a case found.

    `case` is the folder as it was named. `problems` keep it from being checked as a whole; `differences` are in the
    order of EXPECTATIONS, `meaning` is that of a changed ruleset, `packets` says which packets fare otherwise and how.
    `kernel` is None if no kernel was asked. `seconds` is what it took.
    """

    case: str
    problems: tuple[Problem, ...] = ()
    differences: tuple[Difference, ...] = ()
    meaning: Meaning | None = None
    packets: tuple[str, ...] = ()
    kernel: Verdict | None = None
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """What became of the case; an error outweighs a difference."""
        if self.problems or (self.kernel is not None and self.kernel.refused):
            return Status.ERROR
        return Status.DIFFERS if self.differences or self.packets else Status.AS_EXPECTED

    @property
    def exit_code(self) -> ExitCode:
        """What the case alone would make the process say."""
        if self.problems:
            return ExitCode.BAD_INPUT
        if self.kernel is not None and self.kernel.refused:
            return ExitCode.KERNEL_REFUSED
        return ExitCode.DIFFERS if self.status is Status.DIFFERS else ExitCode.FINE

    @property
    def summary(self) -> str:
        """Say in a line what is wrong, "" if nothing is."""
        return "; ".join(self._wrong())

    def _wrong(self) -> Iterator[str]:
        if self.problems:
            others = len(self.problems) - 1
            yield f"{self.problems[0]}" + (f" (and {_count(others, 'more error')})" if others else "")
        if self.kernel is not None and self.kernel.refused:
            yield self.kernel.refused.partition("\n")[0]
        files = {one.file: one for one in self.differences}
        if files and all(one.expected is None for one in self.differences):
            yield f"nothing is expected of it yet: no {RULESET} and no {ERRORS}"
        elif ERRORS in files and files[ERRORS].expected is None:
            yield "must be accepted, but is refused"
        elif ERRORS in files and files[ERRORS].actual is None:
            yield "must be refused, but is accepted"
        else:
            yield from (self._words(name) for name in files)
        if self.packets:
            yield f"{_count(len(self.packets), 'packet')} of {PACKETS} {_fare(len(self.packets))} otherwise"

    def _words(self, name: str) -> str:
        if name == RULESET and self.meaning is not None:
            return self.meaning.words
        return {WARNINGS: "other warnings", ERRORS: "refused for other reasons"}.get(name, f"{name} differs")


def _fare(count: int) -> str:
    return "fares" if count == 1 else "fare"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of all cases found; `unchecked` are folders beside them that hold Services but no expectation."""

    results: tuple[Result, ...]
    unchecked: tuple[str, ...] = ()
    choice: KernelChoice = KernelChoice.NO

    @property
    def exit_code(self) -> ExitCode:
        """0 if all is as expected, 1 if something differs, else the code of an error."""
        codes = [one.exit_code for one in self.results]
        if self.choice is KernelChoice.REQUIRE and self.kernel_unavailable:
            codes.append(ExitCode.KERNEL_REFUSED)
        return max(codes, default=ExitCode.FINE)

    @property
    def failed(self) -> tuple[Result, ...]:
        """Those that are not as expected."""
        return tuple(one for one in self.results if one.status is not Status.AS_EXPECTED)

    @property
    def kernel_unavailable(self) -> str:
        """Why the kernel could not be asked about some case, "" if it could or was not to be."""
        return next((one.kernel.unavailable for one in self.results if one.kernel and one.kernel.unavailable), "")

    @property
    def summary(self) -> str:
        """Say in one line how many are as expected, and what the kernel says where it was to be asked."""
        counts = Counter(one.status for one in self.results)
        words = [f"{counts[Status.AS_EXPECTED]} {Status.AS_EXPECTED}"]
        if counts[Status.DIFFERS]:
            words.append(f"{counts[Status.DIFFERS]} {'differs' if counts[Status.DIFFERS] == 1 else 'differ'}")
        if counts[Status.ERROR]:
            words.append(_count(counts[Status.ERROR], "error"))
        return f"{_count(len(self.results), 'case')}: {', '.join(words)}{self._kernel_words()}"

    def _kernel_words(self) -> str:
        if self.choice is KernelChoice.NO:
            return ""
        if self.kernel_unavailable:
            count = sum(bool(one.kernel and one.kernel.unavailable) for one in self.results)
            return f"; the kernel was not asked about {count}: {self.kernel_unavailable.partition(chr(10))[0]}"
        return f"; the kernel takes {sum(one.kernel == TAKEN for one in self.results)}"


def check_cases(found: Found, choice: KernelChoice = KernelChoice.NO, jobs: int = 0) -> Checked:
    """Check every case; with so many processes, 0: as many as pay."""
    jobs = jobs or worth(len(found.cases), CASES_EACH if choice is KernelChoice.NO else 1)
    renderer().ruleset(EMPTY)  # compiles the templates before the processes part
    function = partial(check_case, ask_kernel=choice is not KernelChoice.NO)
    return Checked(tuple(in_order(function, found.cases, jobs)), found.unchecked, choice)


def check_case(case: Case, *, ask_kernel: bool = False) -> Result:
    """Check one case; never raises for what is wrong with it."""
    start = perf_counter()
    try:
        made = case.made()
        result = judge_case(case, made, case.expected())
        if ask_kernel and made.planned is not None:
            result = replace(result, kernel=verdict_on(made.ruleset))
    except InputError as error:
        result = Result(case.name, error.problems)
    return replace(result, seconds=perf_counter() - start)


def judge_case(case: Case, made: Made, expected: Mapping[str, str]) -> Result:
    """Compare what nftsvc makes of a case with what is expected of it; InputError where that cannot be read."""
    packets = read_packets(case.folder)
    unread = [
        Problem(f'nothing reads it; in case.toml ignored = ["{name}"] says that it may be here', name)
        for name in case.unknown_files()
    ]
    differences = tuple(differences_between(expected, made.files))
    if made.planned is None:
        if ERRORS not in expected:
            return Result(case.name, (*made.problems, *unread))
        if packets:
            unread.append(Problem("no packet can be judged where the input must be refused", PACKETS))
        return Result(case.name, tuple(unread), differences)
    meaning = None
    if RULESET in expected and expected[RULESET] != made.files[RULESET]:
        meaning = meaning_of(expected[RULESET], made.ruleset, made.files[RULESET])
    wrong = disagreements(made.planned.state, made.planned.plan, packets, case.settings.local)
    return Result(case.name, tuple(unread), differences, meaning, tuple(wrong))


def differences_between(expected: Mapping[str, str], actual: Mapping[str, str]) -> Iterator[Difference]:
    """Yield the expectation files that are not as they should be."""
    for name in EXPECTATIONS:
        if expected.get(name) != actual.get(name):
            yield Difference(name, expected.get(name), actual.get(name))
