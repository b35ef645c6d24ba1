"""Every folder in examples/ is a test case, several times over."""

import functools
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from nftsvc.changes import compare
from nftsvc.golden import Status, check_case
from nftsvc.kernel import Kernel
from nftsvc.lab import Namespace, namespaces
from nftsvc.plan import Plan, make_plan
from nftsvc.render import Renderer, Script
from nftsvc.report.golden import result_lines
from nftsvc.ruleset import EMPTY, Ruleset, make_ruleset
from nftsvc.state import State
from nftsvc.sync import remove, synchronise
from nftsvc.values import Family
from tests.support.cases import EXAMPLES, Case, all_cases
from tests.support.model import Model, content_of, meaning

CASES = all_cases()
GOOD = tuple(case for case in CASES if not case.refused)
RENDERER = Renderer()

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
every_good_case = pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)


@every_case
def test_case_is_as_golden_check_expects(case: Case) -> None:
    """That is: the expected text, packets as `explain` has them, no file that nobody reads."""
    result = check_case(case)
    assert result.status is Status.AS_EXPECTED, "\n".join(result_lines(result))


@every_case
def test_case_has_one_kind_of_expectation_and_a_title(case: Case) -> None:
    assert (case.folder / "ruleset.nft").exists() != case.refused
    assert case.title


def test_cases_are_all_folders_with_a_number() -> None:
    numbered = [one.name for one in EXAMPLES.iterdir() if one.is_dir() and one.name[:3].isdecimal()]
    assert [case.name for case in CASES] == sorted(numbered)


def test_readme_lists_every_case_and_no_other() -> None:
    readme = (EXAMPLES / "README.md").read_text()
    rows = [f"| [{case.name}]({case.name}/notes.md) | {case.title} |" for case in CASES]
    assert [line for line in readme.splitlines() if line.startswith("| [")] == rows


def test_there_are_enough_cases() -> None:
    assert len(GOOD) >= 20
    assert len(CASES) > len(GOOD)


@every_good_case
def test_order_of_the_input_does_not_show(case: Case) -> None:
    planned = case.planned()
    objects = list(planned.loaded.objects)
    text = RENDERER.ruleset(make_ruleset(planned.plan))
    for seed in range(5):
        random.Random(seed).shuffle(objects)
        shuffled = make_plan(State.of(objects), planned.plan.settings)
        assert RENDERER.ruleset(make_ruleset(shuffled)) == text
        assert shuffled.problems == planned.plan.problems


def test_hash_seed_does_not_show() -> None:
    program = "from tests.support.cases import all_cases\nfor case in all_cases(): print(case.outcome())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=EXAMPLES.parent,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "4242")
    }
    assert len(outputs) == 1


@every_good_case
def test_changes_from_nothing_make_the_full_ruleset(case: Case) -> None:
    ruleset = case.ruleset()
    for limit in (5000, 7):
        model = Model(EMPTY)
        model.run(compare(EMPTY, ruleset).transactions(limit))
        assert model.content() == content_of(ruleset)


@every_good_case
def test_nothing_changes_against_itself(case: Case) -> None:
    assert not compare(case.ruleset(), case.ruleset())
    assert compare(case.ruleset(), case.ruleset()).transactions() == ()


@functools.cache
def planned(name: str) -> tuple[Plan, dict[Family, object]]:
    (case,) = (one for one in GOOD if one.name == name)
    plan = case.planned().plan
    return plan, meaning(make_ruleset(plan))


@every_good_case
def test_changes_lead_from_every_case_to_many_others(case: Case) -> None:
    """Each is the start and the end of a fifth of all transitions."""
    first, old = GOOD.index(case), case.ruleset()
    for number, end in enumerate(GOOD[(first // 5) % 5 :: 5]):
        plan, fresh = planned(end.name)
        wanted = make_ruleset(plan, old) if end != case else old
        assert meaning(wanted) == fresh
        model = Model(old)
        model.run(compare(old, wanted).transactions(5000 if number % 2 else 10))
        assert model.content() == content_of(wanted), end.name


# In a real kernel ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with namespaces("golden") as (made,):
        yield made


@pytest.fixture
def kernel(namespace: Namespace) -> Iterator[Kernel]:
    with Kernel(namespace.path) as kernel:
        remove(kernel, RENDERER)
        yield kernel


def nft(namespace: Namespace, *arguments: str, text: str = "") -> str:
    command = ["ip", "netns", "exec", namespace.name, "nft", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_kernel_has(kernel: Kernel, wanted: Ruleset) -> None:
    found = kernel.read()
    assert not compare(found, wanted)
    assert {family: table.elements for family, table in found.tables.items()} == {
        family: table.elements for family, table in wanted.tables.items()
    }


@every_good_case
def test_kernel_takes_the_golden_text_and_has_it(case: Case, kernel: Kernel, namespace: Namespace) -> None:
    nft(namespace, "-f", str(case.folder / "ruleset.nft"))
    assert_kernel_has(kernel, case.ruleset())
    nft(namespace, "-f", str(case.folder / "ruleset.nft"))
    assert_kernel_has(kernel, case.ruleset())


@every_good_case
def test_what_the_kernel_lists_loads_again(case: Case, kernel: Kernel, namespace: Namespace) -> None:
    kernel.run(Script.of_text(RENDERER.ruleset(case.ruleset())))
    listing = nft(namespace, "list", "ruleset")
    remove(kernel, RENDERER)
    nft(namespace, "-f", "-", text=listing)
    assert_kernel_has(kernel, case.ruleset())
    assert nft(namespace, "list", "ruleset") == listing


@every_good_case
def test_staged_load_ends_at_the_full_ruleset(case: Case, kernel: Kernel) -> None:
    ruleset = case.ruleset()
    for script in RENDERER.scripts(compare(EMPTY, ruleset).transactions(9)):
        kernel.run(script)
    assert_kernel_has(kernel, ruleset)


def tours(size: int, most: int) -> Iterator[tuple[int, ...]]:
    """Yield round trips through all cases, each with another step: no two go from one case to the same other."""
    steps = [step for step in range(1, size) if math.gcd(step, size) == 1]
    for step in steps[:: max(1, len(steps) // most)][:most]:
        yield tuple(start * step % size for start in range(size))


def test_kernel_goes_from_every_case_to_many_others(kernel: Kernel) -> None:
    """Each is the start and the end of 3 transitions, as many as the time allows."""
    plans = [case.planned().plan for case in GOOD]
    before: Ruleset | None = None
    for tour in tours(len(GOOD), 3):
        for case in tour:
            done = synchronise(kernel, plans[case], RENDERER)
            families = done.wanted.tables.keys()
            if before is not None and families == before.tables.keys():
                assert not compare(done.found, before), f"before {GOOD[case].name}"
            before = done.wanted
        assert before is not None
        assert not compare(kernel.read(tuple(before.tables)), before)
