"""`nftsvc clean`: our own tables go, or what kube-proxy has left."""

from typing import Annotated

import typer

from nftsvc.cli.output import errors_reported


def clean(
    *,
    kube_proxy: Annotated[
        bool,
        typer.Option("--kube-proxy", help="Remove what kube-proxy has left (any of its modes), and nothing of ours."),
    ] = False,
) -> None:
    """Remove nftsvc's own tables (`ip nftsvc`, `ip6 nftsvc`) and nothing else; or kube-proxy's leftovers.

    Connections that are established go on; new ones to Services find nobody. Needs root (CAP_NET_ADMIN).

    sudo nftsvc clean

    sudo nftsvc clean --kube-proxy    # after kube-proxy has been stopped
    """
    from nftsvc.kernel import Kernel
    from nftsvc.kernel.kubeproxy import find_leftovers, remove_leftovers
    from nftsvc.render import Renderer
    from nftsvc.report.summary import family_names
    from nftsvc.sync import remove

    with errors_reported():
        if kube_proxy:
            if not find_leftovers():
                typer.echo("nothing to remove")
            remove_leftovers(typer.echo)
            return
        with Kernel() as kernel:
            removed = remove(kernel, Renderer())
            typer.echo(f"removed: {family_names(removed)}" if removed else "nothing to remove")
