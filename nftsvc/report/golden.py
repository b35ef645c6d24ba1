"""What became of golden cases: for people, and for what reads the results of CI runs.

Everything that a failed case is told with, wherever it shows, is `result_lines`.
"""

import json
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from nftsvc.comparison import Comparison
from nftsvc.errors import printable
from nftsvc.golden import PACKETS, RULESET, AllUpdated, Checked, KernelChoice, NewCase, Result, Status, Updated
from nftsvc.report.comparison import comparison_json, comparison_lines, comparison_markdown
from nftsvc.report.github import Level, annotation
from nftsvc.report.junit import TestCase, junit
from nftsvc.report.markdown import block, code, details, plain, table
from nftsvc.report.problems import print_line, print_problems

_MOST_LINES = 200  # of one text, and of what changes for traffic
_MOST_ANNOTATED = 40  # lines of a case in an annotation
_MOST_MARKDOWN = 500_000  # characters: a job summary at GitHub holds 1 MiB
_MOST_NAMED = 5
_LINES = {"+": "green", "-": "red", "@": "cyan"}
_NOTE = "yellow"
_UNCHECKED = "nothing is expected of the Services"
_SUITE = "nftsvc golden check"


def result_lines(result: Result) -> Iterator[str]:
    """Yield what is wrong with a case: first in a line, then what it means, the texts, the command that agrees to it.

    A new layout alone is told in a line: git shows the text once it is agreed to.
    """
    yield _headline(result)
    yield from (f"  {line}" for line in (*_meaning(result), *_words(result)))
    for lines in _texts(result):
        yield ""
        yield from lines
        yield ""
    if result.differences:
        yield f"  if that is right: {update_command(result.case)}"


def _headline(result: Result) -> str:
    return printable(f"{result.status}: {result.case}: {result.summary}")


def update_command(case: str) -> str:
    """Return the command that agrees to what a case is now, for a shell."""
    return f"nftsvc golden update {shlex.quote(printable(case))}"


def _meaning(result: Result) -> Iterator[str]:
    """Yield what changes for traffic, without the summary, which is in the headline."""
    comparison = _told(result)
    if comparison is not None:
        _, *lines = comparison_lines(comparison)
        yield from _cut(lines[1:], _MOST_LINES)


def _told(result: Result) -> Comparison | None:
    """Return what there is to tell of traffic, besides a line."""
    meaning = result.meaning
    return None if meaning is None or meaning.new_layout else meaning.comparison


def _words(result: Result) -> Iterator[str]:
    """Yield what else is wrong, but for the first problem, which is in the headline."""
    yield from (str(one) for one in result.problems[1:])
    if result.kernel is not None:
        yield from map(printable, result.kernel.refused.split("\n")[1:])
    yield from result.packets


def _texts(result: Result) -> Iterator[tuple[str, ...]]:
    """Yield the unified diff of each file, as far as anybody reads."""
    for one in result.differences:
        if not (one.file == RULESET and result.meaning is not None and result.meaning.new_layout):
            yield tuple(_safe(line) for line in _cut(one.lines(), _MOST_LINES))


def _safe(line: str) -> str:
    return printable(line.replace("\t", "    ").rstrip())


def _cut(lines: Iterable[str], most: int) -> Iterator[str]:
    left = 0
    for number, line in enumerate(lines):
        if number < most:
            yield line
        left = number + 1 - most
    if left > 0:
        yield f"... and {left} more lines"


# A check -------------------------------------------------------------------------------------------------------------


def print_checked(console: Console, checked: Checked) -> None:
    """Print what is not as expected, then notes, then the summary, which is the last line."""
    for result in checked.failed:
        _print_result(console, result)
    for level, note in notes(checked):
        print_line(console, level, note, _NOTE if level == "note" else "bold red")
    style = "bold green" if checked.exit_code == 0 else "bold red"
    console.print(Text(printable(checked.summary), style), soft_wrap=True)


def _print_result(console: Console, result: Result) -> None:
    first, *others = result_lines(result)
    label, _, rest = first.partition(": ")
    print_line(console, label, rest)
    for line in others:
        console.print(Text(line, _LINES.get(line.lstrip()[:1], "")), soft_wrap=True)


def notes(checked: Checked) -> Iterator[tuple[str, str]]:
    """Yield ("note" or "error", what was not looked at, and why): nothing goes unchecked in silence."""
    if checked.unchecked:
        yield "note", _unchecked(checked.unchecked)
    if checked.kernel_unavailable:
        level = "error" if checked.choice is KernelChoice.REQUIRE else "note"
        yield level, f"no kernel was asked: {checked.kernel_unavailable}"


def _unchecked(folders: Sequence[str]) -> str:
    named = ", ".join(map(printable, folders[:_MOST_NAMED]))
    more = len(folders) - _MOST_NAMED
    others = f" and {more} more" if more > 0 else ""
    return f"{_UNCHECKED} in {named}{others}; nftsvc golden update FOLDER makes a folder a case"


def checked_json(checked: Checked) -> str:
    """Return what a check found as JSON, for scripts."""
    statuses = [one.status for one in checked.results]
    return json.dumps(
        {
            "summary": {
                "text": checked.summary,
                "cases": len(statuses),
                "asExpected": statuses.count(Status.AS_EXPECTED),
                "differ": statuses.count(Status.DIFFERS),
                "errors": statuses.count(Status.ERROR),
            },
            "kernel": {"asked": checked.choice, "unavailable": checked.kernel_unavailable or None},
            "unchecked": checked.unchecked,
            "cases": [_result_json(one) for one in checked.results],
        },
        indent=2,
    )


def _result_json(result: Result) -> dict[str, object]:
    comparison = result.meaning.comparison if result.meaning is not None else None
    return {
        "case": result.case,
        "status": result.status,
        "summary": result.summary,
        "problems": [str(one) for one in result.problems],
        "differences": [{"file": one.file, "diff": list(one.lines())} for one in result.differences],
        "newLayout": result.meaning is not None and result.meaning.new_layout,
        "traffic": json.loads(comparison_json(comparison)) if comparison is not None else None,
        "packets": result.packets,
        "kernelRefuses": result.kernel.refused or None if result.kernel is not None else None,
    }


def checked_markdown(checked: Checked) -> str:
    """Return what a check found as Markdown, for a job summary or a comment."""
    parts = [f"**{plain(checked.summary)}**\n"]
    if checked.failed:
        rows = ((code(one.case), plain(f"{one.status}: {one.summary}")) for one in checked.failed)
        parts.append(table(("case", "result"), rows))
    size = 0
    for number, result in enumerate(checked.failed):
        text = _result_markdown(result)
        size += len(text)
        if size > _MOST_MARKDOWN:
            parts.append(f"{len(checked.failed) - number} more without their texts\n")
            break
        parts += [text] * bool(text)
    parts += [f"{level}: {plain(note)}\n" for level, note in notes(checked)]
    return "\n".join(parts)


def _result_markdown(result: Result) -> str:
    comparison = _told(result)
    parts = [comparison_markdown(comparison)] if comparison is not None else []
    words = "".join(f"- {plain(one)}\n" for one in _words(result))
    parts += [words] * bool(words)
    parts += [block("\n".join(lines), "diff") for lines in _texts(result)]
    if result.differences:
        parts.append(f"If that is right: {code(update_command(result.case))}\n")
    return details(result.case, "\n".join(parts)) if parts else ""


def checked_github(checked: Checked) -> str:
    """Return what a check found as workflow commands, an annotation for each failed case, and the summary."""
    lines = [_annotation(one) for one in checked.failed]
    for level, note in notes(checked):
        lines.append(annotation(Level.ERROR if level == "error" else Level.NOTICE, note, title=_SUITE))
    return "".join(f"{line}\n" for line in (*lines, printable(checked.summary)))


def _annotation(result: Result) -> str:
    files = [one.origin.file if one.origin is not None else one.field.partition(":")[0] for one in result.problems]
    files += [one.file for one in result.differences] + [PACKETS] * bool(result.packets)
    at = next((one for one in (Path(result.case, file) for file in files if file) if one.is_file()), None)
    text = "\n".join(_cut(result_lines(result), _MOST_ANNOTATED))
    return annotation(Level.ERROR, text, title=f"{_SUITE}: {result.case}", file=str(at or ""))


def checked_junit(checked: Checked) -> str:
    """Return what a check found as JUnit XML; what was not looked at is skipped there."""
    cases = [_test_case(one) for one in checked.results]
    cases += [
        TestCase(one, _SUITE, skipped="holds Services, but nothing is expected of them") for one in checked.unchecked
    ]
    reason = checked.kernel_unavailable
    if reason:
        required = checked.choice is KernelChoice.REQUIRE
        cases.append(TestCase("kernel", _SUITE, error=reason if required else "", skipped="" if required else reason))
    return junit(_SUITE, cases)


def _test_case(result: Result) -> TestCase:
    fine = result.status is Status.AS_EXPECTED
    return TestCase(
        result.case,
        _SUITE,
        failure=result.summary if result.status is Status.DIFFERS else "",
        error=result.summary if result.status is Status.ERROR else "",
        details="" if fine else "\n".join(result_lines(result)),
        seconds=result.seconds,
    )


# An update, a new case -----------------------------------------------------------------------------------------------


def print_updated(console: Console, updated: AllUpdated) -> None:
    """Print what was written, what was not and why, what is wrong still, then the summary."""
    for one in updated.cases:
        _print_update(console, one)
    if updated.unchecked:
        print_line(console, "note", _unchecked(updated.unchecked), _NOTE)
    if updated.kernel_unavailable:
        note = f"no kernel was asked whether it takes what was written: {updated.kernel_unavailable}"
        print_line(console, "note", note, _NOTE)
    console.print(Text(updated.summary, "bold"), soft_wrap=True)


def _print_update(console: Console, one: Updated) -> None:
    if one.left:
        print_line(console, "error", f"{one.case}: not written: {one.left}")
    if one.written:
        print_line(console, "wrote", f"{one.case}: {', '.join(one.written)}", "bold green")
    if one.removed:
        print_line(console, "removed", f"{one.case}: {', '.join(one.removed)}", "bold yellow")
    for problem in one.refused:
        print_line(console, "refused", f"{one.case}: {problem}", "bold yellow")
    if one.after is not None and one.after.status is not Status.AS_EXPECTED:
        _print_result(console, one.after)


def print_new_case(console: Console, new: NewCase) -> None:
    """Print what was made, what was left out, and what to do next."""
    print_problems(console, new.planned.warnings)
    if new.left_out:
        left_out = ", ".join(f"{count} {kind}" for kind, count in new.left_out.items())
        print_line(console, "left out", f"{left_out}: no kind that nftsvc reads", _NOTE)
    if new.kernel.unavailable:
        print_line(
            console, "note", f"no kernel was asked whether it takes the ruleset: {new.kernel.unavailable}", _NOTE
        )
    print_line(console, "made", f"{new.folder}: {', '.join(new.files)}", "bold green")
    folder = shlex.quote(printable(str(new.folder)))
    console.print(f"next: read {folder}/{RULESET}, git add {folder}", markup=False, soft_wrap=True)
    console.print(f"in CI: nftsvc golden check {folder}", markup=False, soft_wrap=True)
