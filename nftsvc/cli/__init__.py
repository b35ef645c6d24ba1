"""The command line. The only package that imports `typer`.

One module for each command, `commands` that names them, and `program` that puts them together. What a command needs is
imported in its function, so that help, completion and the other commands do without.
"""

from nftsvc.cli.program import main, make_app

__all__ = ["main", "make_app"]
