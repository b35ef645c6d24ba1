"""The program's own options, those before a command."""

from typing import Annotated

import typer

from nftsvc import __version__
from nftsvc.cli.commands import VERSION_HELP


def _version(value: bool) -> None:  # noqa: FBT001 - typer's callback
    if value:
        typer.echo(f"nftsvc {__version__}")
        raise typer.Exit


def root(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help=VERSION_HELP)] = False,
) -> None:
    """Take what stands before a command."""
