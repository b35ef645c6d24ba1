"""`nftsvc demo`: the demonstration."""

from typing import Annotated

import typer

from nftsvc.cli.output import errors_reported


def demo(
    requests: Annotated[int, typer.Option("--requests", min=1, max=100_000, help="HTTP requests of each round.")] = 300,
) -> None:
    """Build a small cluster out of network namespaces on this machine and send real traffic through its Services.

    A node, pods with HTTP servers and a client outside, each in a namespace of its own; nothing outside them is touched
    and everything is removed in the end, on Ctrl-C too. Needs root and the commands ip and nft's library.

    sudo nftsvc demo
    """
    from rich.console import Console

    from nftsvc.demo import run_demo

    with errors_reported():
        run_demo(Console(highlight=False), requests)
