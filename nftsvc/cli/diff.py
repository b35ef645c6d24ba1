"""`nftsvc diff`: what a change does to traffic."""

import gc
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from nftsvc.cli.options import (
    Color,
    ColorChoice,
    FamilyChoice,
    FamilyOption,
    Node,
    Settings,
    Templates,
    existing,
)
from nftsvc.cli.output import errors_reported, write
from nftsvc.comparison import Comparison, compare_traffic
from nftsvc.errors import ExitCode, UsageError, printable
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
from nftsvc.report.problems import print_line, print_problems
from nftsvc.sides import (
    Asked,
    Side,
    Source,
    find_sources,
    full_texts,
    new_warnings,
    read_sides,
    transactions,
    unified_diff,
)

EXTERNAL = "NFTSVC_EXTERNAL_DIFF"


class DiffFormat(StrEnum):
    """`--output` of `diff`."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    GITHUB = "github"
    JUNIT = "junit"


_NAMES = ("old.nft", "new.nft")
_WITH_TEXTS = (DiffFormat.TEXT, DiffFormat.MARKDOWN)

Sides = Annotated[
    list[Path],
    typer.Argument(
        metavar="OLD NEW | PATH...",
        help="Two sides, each a manifest, a folder of them, a ruleset (*.nft) or `-` for standard input; with --against"
        " or --live the paths of the new side.",
        readable=False,
        show_default=False,
        callback=existing,
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against",
        metavar="FILE",
        help="The old side is this ruleset: what nftsvc renders or nft lists, as text or JSON; `-` for standard input.",
        show_default=False,
        callback=lambda path: path if path is None else existing([path])[0],
    ),
]
Live = Annotated[bool, typer.Option("--live", help="The old side is this machine's kernel; needs root.")]
Output = Annotated[DiffFormat, typer.Option("--output", "-o", help="For people, for scripts, or for a CI system.")]
WithRuleset = Annotated[bool, typer.Option("--ruleset", help="After that the rulesets' texts as a unified diff.")]
WithScript = Annotated[bool, typer.Option("--script", help="After that the nft commands that `apply` would run.")]


def diff(
    paths: Sides,
    against: Against = None,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
    settings: Settings = None,
    templates: Templates = None,
    output: Output = DiffFormat.TEXT,
    color: Color = ColorChoice.AUTO,
    *,
    live: Live = False,
    ruleset: WithRuleset = False,
    script: WithScript = False,
) -> None:
    """Say what a change does to traffic: by Service, which endpoints come and go with which share, and what else.

    The order of endpoints, slots and elements never shows. Exit code 0: no packet is treated differently; 1: some are.
    Colour on terminals only. With NFTSVC_EXTERNAL_DIFF set, that command gets both rulesets as files instead.

    nftsvc diff main/manifests/ branch/manifests/

    nftsvc diff manifests/ --against golden/ruleset.nft --ruleset

    sudo nftsvc diff manifests/ --node $(hostname) --live --script

    kustomize build . | nftsvc diff before.yaml - -o markdown
    """
    with errors_reported() as err, _without_collector():
        if output not in _WITH_TEXTS and (ruleset or script):
            raise UsageError(f"--ruleset and --script go with -o text and -o markdown, not with {output}")
        external = os.environ.get(EXTERNAL, "").strip() if output is DiffFormat.TEXT else ""
        texts = bool(ruleset or script or external)
        asked = Asked(node, family.families, tuple(settings or ()), texts)
        old, new = _read(paths, against, err, asked, live=live)
        with err.status("comparing"):
            comparison = compare_traffic(old.traffic, new.traffic)
        renderer = Renderer(templates)
        if external:
            _show_externally(external, full_texts(old, new, renderer))
        else:
            _print(comparison, {**old.files, **new.files}, output, color)
        if ruleset:
            _print_ruleset(unified_diff(full_texts(old, new, renderer), _NAMES), output, color)
        if script:
            _print_script("".join(one.text for one in renderer.scripts(transactions(old, new))), output)
        if not comparison.same:
            raise typer.Exit(ExitCode.DIFFERS)


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


def _read(paths: list[Path], against: Path | None, err: Console, asked: Asked, *, live: bool) -> tuple[Side, Side]:
    sources = find_sources([str(one) for one in paths], None if against is None else str(against), live=live)
    stdin = sys.stdin.buffer if sys.stdin is not None else None
    with ExitStack() as stack:
        old, new = read_sides(sources, asked, stdin, partial(_tell, err, stack))
    print_problems(err, new_warnings(old, new))
    for side in (old, new):
        if not side.traffic.nodes:
            print_line(err, "warning", f"{side.source} has no table of nftsvc", "yellow")
    return old, new


def _tell(err: Console, stack: ExitStack, source: Source) -> None:
    """Say on a terminal what is being read."""
    stack.close()
    stack.enter_context(err.status(Text(f"reading {printable(str(source))}")))


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
