"""The options and arguments that commands share."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from nftsvc.values import Family

# Those of a NodeConfiguration; a test holds them to `nftsvc.settings`, which takes longer to import than help may.
SETTING_NAMES = (
    "addresses",
    "zone",
    "podCIDRs",
    "clusterCIDRs",
    "detectLocalMode",
    "bridgeInterface",
    "interfaceNamePrefix",
    "masqueradeAll",
    "nodePortAddresses",
    "serviceCIDRs",
)


class FamilyChoice(StrEnum):
    """`--family`."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    DUAL = "dual"

    @property
    def families(self) -> tuple["Family", ...]:
        """The IP families that are meant."""
        from nftsvc.values import FAMILIES

        return tuple(family for family in FAMILIES if self in (FamilyChoice.DUAL, family.lower()))


class OutputFormat(StrEnum):
    """`--output`."""

    TEXT = "text"
    JSON = "json"


def existing(paths: list[Path]) -> list[Path]:
    """Refuse a path that leads nowhere; `-` is standard input, for which typer 0.29's own check looks for a file."""
    for path in paths:
        if str(path) != "-" and not (path.exists() or path.is_symlink()):
            raise typer.BadParameter(f"{str(path)!r} does not exist")
    return paths


Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH...",
        help="Manifests: files, folders (read whole, in path order), `-` for standard input.",
        readable=False,
        show_default=False,
        callback=existing,
    ),
]
Node = Annotated[
    str | None,
    typer.Option(
        "--node",
        "-n",
        metavar="NAME",
        help="The node the ruleset is for. Default: the only Node of the input; else no node in particular.",
        show_default=False,
    ),
]
FamilyOption = Annotated[FamilyChoice, typer.Option("--family", "-f", help="IP families to make tables for.")]
Templates = Annotated[
    Path | None,
    typer.Option(
        "--templates",
        metavar="DIR",
        help="Folder with templates that replace nftsvc's own of the same name.",
        exists=True,
        file_okay=False,
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="A setting of the node, before those of a NodeConfiguration in the input; lists with commas. Lists"
        " given several times add up; of anything else the last counts."
        f" Fields: {', '.join(SETTING_NAMES)}.",
        show_default=False,
        autocompletion=lambda: [f"{name}=" for name in SETTING_NAMES],
    ),
]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Name what was skipped, and why.")]


class ColorChoice(StrEnum):
    """`--color`."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"

    def console(self, *, stderr: bool = False) -> "Console":
        """Return standard output or standard error in the colours asked for; `auto` heeds terminals and NO_COLOR."""
        from rich.console import Console

        match self:
            case ColorChoice.ALWAYS:
                return Console(stderr=stderr, highlight=False, force_terminal=True, no_color=False)
            case ColorChoice.NEVER:
                return Console(stderr=stderr, highlight=False, force_terminal=False, no_color=True)
            case ColorChoice.AUTO:
                return Console(stderr=stderr, highlight=False)


Color = Annotated[
    ColorChoice, typer.Option("--color", help="Colour: on a terminal without NO_COLOR, always, or never.")
]
Output = Annotated[OutputFormat, typer.Option("--output", "-o", help="For people or for scripts.")]
