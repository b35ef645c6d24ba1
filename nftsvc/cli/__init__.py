"""The command line. The only package that imports `typer`."""

from nftsvc.cli.commands import app, main

__all__ = ["app", "main"]
