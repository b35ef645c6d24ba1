"""The command line. The only package that imports `typer`.

One module for each command, and `program` that puts them together.
"""

from nftsvc.cli.program import main, make_app

__all__ = ["main", "make_app"]
