"""What `nftsvc diff` does with its arguments: reads both sides, and prints what is asked for."""

import gc
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from nftsvc.cli.diff import DiffFormat
from nftsvc.cli.options import ColorChoice
from nftsvc.cli.output import Messages, write
from nftsvc.comparison import Comparison, compare_traffic
from nftsvc.errors import ExitCode, UsageError
from nftsvc.render import Renderer
from nftsvc.report.comparison import (
    comparison_github,
    comparison_json,
    comparison_junit,
    comparison_markdown,
    print_comparison,
    print_unified,
)
from nftsvc.report.markdown import block, details
from nftsvc.sides import Asked, Side, Source, full_texts, new_warnings, read_sides, transactions, unified_diff

EXTERNAL = "NFTSVC_EXTERNAL_DIFF"
_NAMES = ("old.nft", "new.nft")


class Shown(NamedTuple):
    """What is asked for of a difference: how it is written, and what besides traffic."""

    output: DiffFormat
    color: ColorChoice
    templates: Path | None
    ruleset: bool
    script: bool


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep Python from looking for garbage in cycles: there is little, and among so many objects that takes long.

    Of two folders with 10,000 Services each it takes two fifths of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@_without_collector()
def show_difference(sources: tuple[Source, Source], asked: Asked, shown: Shown, err: Messages) -> bool:
    """Read both sides and print how they differ; return whether traffic is the same.

    Warnings go to `err`. Raises as `read_sides` does, and UsageError for templates and for an external command.
    """
    external = os.environ.get(EXTERNAL, "").strip() if shown.output is DiffFormat.TEXT else ""
    old, new = _read(sources, replace(asked, texts=bool(shown.ruleset or shown.script or external)), err)
    with err.waiting("comparing"):
        comparison = compare_traffic(old.traffic, new.traffic)
    renderer = Renderer(shown.templates)
    if external:
        _show_externally(external, full_texts(old, new, renderer))
    else:
        _print(comparison, {**old.files, **new.files}, shown.output, shown.color)
    if shown.ruleset:
        _print_ruleset(unified_diff(full_texts(old, new, renderer), _NAMES), shown.output, shown.color)
    if shown.script:
        _print_script("".join(one.text for one in renderer.scripts(transactions(old, new))), shown.output)
    return comparison.same


def _read(sources: tuple[Source, Source], asked: Asked, err: Messages) -> tuple[Side, Side]:
    stdin = sys.stdin.buffer if sys.stdin is not None else None
    with ExitStack() as stack:
        old, new = read_sides(sources, asked, stdin, partial(_tell, err, stack))
    err.problems(new_warnings(old, new))
    for side in (old, new):
        if not side.traffic.nodes:
            err.line("warning", f"{side.source} has no table of nftsvc", "yellow")
    return old, new


def _tell(err: Messages, stack: ExitStack, source: Source) -> None:
    """Say on a terminal what is being read."""
    stack.close()
    stack.enter_context(err.waiting(f"reading {source}"))


def _print(comparison: Comparison, files: dict[str, str], output: DiffFormat, color: ColorChoice) -> None:
    match output:
        case DiffFormat.TEXT:
            print_comparison(color.console(), comparison)
        case DiffFormat.JSON:
            write(None, comparison_json(comparison, files) + "\n")
        case DiffFormat.MARKDOWN:
            write(None, comparison_markdown(comparison))
        case DiffFormat.GITHUB:
            write(None, "".join(f"{line}\n" for line in comparison_github(comparison, files)))
        case DiffFormat.JUNIT:
            write(None, comparison_junit(comparison, files))


def _print_ruleset(lines: Iterator[str], output: DiffFormat, color: ColorChoice) -> None:
    if output is DiffFormat.TEXT:
        print_unified(color.console(), lines)
        return
    text = "\n".join(lines)
    write(None, "\n" + (details("rulesets", block(text, "diff")) if text else "The rulesets' texts are the same.\n"))


def _print_script(text: str, output: DiffFormat) -> None:
    if output is DiffFormat.TEXT:
        write(None, f"\n{text}" if text else "\nnothing to send\n")
    else:
        write(None, "\n" + (details("nft commands", block(text)) if text else "Nothing to send.\n"))


def _show_externally(command: str, texts: tuple[str, str]) -> None:
    """Run somebody's own command with both rulesets as files; UsageError if it cannot be run or fails."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"{EXTERNAL}: {error}") from error
    with tempfile.TemporaryDirectory(prefix="nftsvc-diff-") as folder:
        files = [Path(folder, name) for name in _NAMES]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8")
        try:
            code = subprocess.run([*words, *map(str, files)], check=False).returncode
        except OSError as error:
            raise UsageError(f"{EXTERNAL}: cannot run {words[0]!r}: {error.strerror}") from error
    if code not in (ExitCode.FINE, ExitCode.DIFFERS):
        raise UsageError(f"{EXTERNAL}: {words[0]!r} failed with exit code {code}")
