"""`nftsvc golden`: golden rulesets in a repository."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperCommand

from nftsvc.cli.commands import EXIT_CODES
from nftsvc.cli.options import Color, ColorChoice, FamilyChoice, FamilyOption, Node, Paths
from nftsvc.cli.output import errors_reported, write
from nftsvc.errors import printable

if TYPE_CHECKING:
    from nftsvc.golden import Checked

golden_app = typer.Typer(
    name="golden",
    help="""Golden rulesets in your repository: what your manifests do to traffic, agreed to in a commit.

    A case is a folder with manifests and the ruleset they make, ruleset.nft. `check` fails where that changes and says
    what it means for traffic; `update` agrees to the change; git shows who did.

    kubectl get services,endpointslices,nodes -n shop -o yaml | nftsvc golden new golden/shop -

    nftsvc golden check golden/     # in CI, before a commit: no root, no kernel, no cluster

    nftsvc golden update golden/    # if that is right""",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@golden_app.callback()
def _root() -> None:
    pass


class GoldenFormat(StrEnum):
    """`--output` of `golden check`."""

    TEXT = "text"
    JSON = "json"
    MARKDOWN = "markdown"
    GITHUB = "github"
    JUNIT = "junit"


class AskKernel(StrEnum):
    """`--kernel`: the choices of `nftsvc.golden.KernelChoice`."""

    NO = "no"
    TRY = "try"
    REQUIRE = "require"


class _KernelAlone(TyperCommand):
    """A command with a `--kernel` that may stand alone; typer has no options with a value that may be left out."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Read `--kernel` as `--kernel=try`."""
        end = args.index("--") if "--" in args else len(args)
        return super().parse_args(ctx, [_TRY if one == "--kernel" else one for one in args[:end]] + args[end:])


_TRY = f"--kernel={AskKernel.TRY}"

Folders = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="DIR",
        help="Folders that are cases or hold some, at any depth. Default: this one.",
        exists=True,
        file_okay=False,
        show_default=False,
    ),
]
Jobs = Annotated[
    int,
    typer.Option("--jobs", "-j", metavar="N", min=0, help="Processes to use; 0: as many as pay.", show_default=False),
]


@golden_app.command(epilog=EXIT_CODES, cls=_KernelAlone)
def check(
    folders: Folders = None,
    kernel: Annotated[
        AskKernel,
        typer.Option(
            "--kernel",
            help="Also have a real kernel load each ruleset in a private network namespace: `try` says so where none is"
            " to be had, `require` fails. --kernel alone: try. A value goes behind a `=`.",
        ),
    ] = AskKernel.NO,
    jobs: Jobs = 0,
    output: Annotated[
        GoldenFormat,
        typer.Option(
            "--output", "-o", help="For people, scripts, a pull request, GitHub's annotations, a test report."
        ),
    ] = GoldenFormat.TEXT,
    color: Color = ColorChoice.AUTO,
) -> None:
    """Say which cases are no longer as agreed, and what that means for traffic. Needs no root and no kernel.

    For each of them: what changes for whom, the text of what changes, and the command that agrees to it. Then a
    summary in one line. If nothing but nftsvc's layout is new, it says so: same traffic.

    nftsvc golden check

    nftsvc golden check golden/ --kernel=require

    nftsvc golden check golden/ -o junit > golden.xml
    """
    from nftsvc.golden import KernelChoice, check_cases, find_cases

    with errors_reported():
        checked = check_cases(find_cases(folders or [Path()]), KernelChoice(kernel), jobs)
        _print(checked, output, color)
    raise typer.Exit(checked.exit_code)


def _print(checked: "Checked", output: GoldenFormat, color: ColorChoice) -> None:
    """Print what was checked; beside what programs read, a word on standard error for people."""
    from nftsvc.report.golden import checked_github, checked_json, checked_junit, checked_markdown, print_checked

    match output:
        case GoldenFormat.TEXT:
            print_checked(color.console(), checked)
        case GoldenFormat.JSON:
            write(None, f"{checked_json(checked)}\n")
        case GoldenFormat.MARKDOWN:
            write(None, checked_markdown(checked))
        case GoldenFormat.GITHUB:
            write(None, checked_github(checked))
        case GoldenFormat.JUNIT:
            write(None, checked_junit(checked))
    if output not in (GoldenFormat.TEXT, GoldenFormat.GITHUB):
        color.console(stderr=True).print(printable(checked.summary), markup=False, soft_wrap=True)


@golden_app.command(epilog=EXIT_CODES)
def update(folders: Folders = None, jobs: Jobs = 0, color: Color = ColorChoice.AUTO) -> None:
    """Write what nftsvc makes of each case now as what is expected of it.

    What a kernel refuses is not written, as far as one can be asked. A folder that is named and has no case in it
    becomes one. Does nothing where the environment says CI: what is expected is decided by people, who look at it in
    `git diff` and commit it.

    nftsvc golden update golden/shop

    nftsvc golden update golden/ && git diff golden/
    """
    from nftsvc.golden import find_cases, refuse_in_ci, update_cases
    from nftsvc.report.golden import print_updated

    with errors_reported():
        refuse_in_ci()
        updated = update_cases(find_cases(folders or [Path()], new=bool(folders)), jobs)
        print_updated(color.console(), updated)
    raise typer.Exit(updated.exit_code)


@golden_app.command(epilog=EXIT_CODES)
def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to make; new or empty.", show_default=False)],
    sources: Paths,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
) -> None:
    """Make a case out of manifests or of what kubectl prints, with the ruleset they make today.

    Only what nftsvc reads is written: of Pods their labels, addresses, ports and whether they are ready, and nothing of
    what may be secret in them.

    nftsvc golden new golden/shop manifests/

    kubectl get services,endpointslices,nodes -A -o json | nftsvc golden new golden/cluster - --node node-a
    """
    from rich.console import Console

    from nftsvc.golden import new_case
    from nftsvc.report.golden import print_new_case

    with errors_reported():
        names = [str(source) for source in sources]
        stdin = sys.stdin.buffer if "-" in names and sys.stdin is not None else None
        made = new_case(name, names, stdin, node, family.families)
        print_new_case(Console(highlight=False), made)
