"""Golden cases as tests: `pytest --nftsvc-golden DIR` has one for each case, which fails with the words of a check.

An entry point of pytest's (`pytest11`), so it is imported wherever pytest and nftsvc are installed together: without
the option it does nothing and imports nothing.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

_OPTION = "nftsvc_golden"


class GoldenFailure(Exception):
    """A case is not as expected; the text says what `nftsvc golden check` does."""


@dataclass(frozen=True, slots=True)
class _Check:
    """A case and how to check it: the words for what is wrong, "" if nothing is."""

    folder: Path
    name: str
    run: Callable[[], str]


class GoldenFolders(pytest.Collector):
    """The cases in the folders that were named."""

    def __init__(self, *, checks: Sequence[_Check], name: str, parent: pytest.Session) -> None:
        super().__init__(name=name, parent=parent, nodeid=name)
        self._checks = checks

    def collect(self) -> Iterator[pytest.Item]:
        """Yield a test for each case, in path order."""
        for check in self._checks:
            yield GoldenCase.from_parent(self, name=check.name, check=check)


class GoldenCase(pytest.Item):
    """One case."""

    def __init__(self, *, check: _Check, name: str, parent: GoldenFolders) -> None:
        super().__init__(name=name, parent=parent)
        self._check = check

    def runtest(self) -> None:
        """Check the case; GoldenFailure says what is wrong."""
        wrong = self._check.run()
        if wrong:
            raise GoldenFailure(wrong)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *_: object, **__: object) -> str:
        """Return what is wrong without a traceback, which would be of nftsvc itself."""
        return str(excinfo.value if isinstance(excinfo.value, GoldenFailure) else super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Say where the case is and what it is called in a report."""
        return self._check.folder, None, f"golden {self.name}"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("nftsvc", "golden rulesets of nftsvc").addoption(
        "--nftsvc-golden",
        action="append",
        default=[],
        dest=_OPTION,
        metavar="DIR",
        help="also test the golden cases that DIR is or holds, as `nftsvc golden check` does; may be given again",
    )


@pytest.hookimpl(tryfirst=True)  # before -k, -m and the like choose among the tests
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the cases to the tests that were found."""
    named: list[str] = config.getoption(_OPTION)
    if named:
        checks = tuple(_checks([_folder(config, one) for one in named], config.invocation_params.dir))
        items += GoldenFolders.from_parent(session, name="nftsvc-golden", checks=checks).collect()


def _folder(config: pytest.Config, named: str) -> Path:
    """Return a folder that is named as from here, or, in a configuration file, as from where that is."""
    for base in (config.invocation_params.dir, config.rootpath):
        if (base / named).is_dir():
            return base / named
    raise pytest.UsageError(f"--nftsvc-golden {named}: no such folder")


def _checks(folders: Sequence[Path], here: Path) -> Iterator[_Check]:
    # Slow to import, and only now known to be needed.
    from nftsvc.errors import UsageError  # noqa: PLC0415
    from nftsvc.golden import Case, Status, check_case, find_cases  # noqa: PLC0415
    from nftsvc.report.golden import result_lines  # noqa: PLC0415

    def wrong_with(case: Case) -> str:
        result = check_case(case)
        return "" if result.status is Status.AS_EXPECTED else "\n".join(result_lines(result))

    try:
        found = find_cases(folders)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    for case in found.cases:
        name = os.path.relpath(case.folder, here)
        yield _Check(case.folder, name, partial(wrong_with, Case(case.folder, name)))
