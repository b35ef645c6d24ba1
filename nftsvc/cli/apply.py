"""`nftsvc apply`: one load into this machine's kernel."""

from typing import Annotated

import typer

from nftsvc.cli.options import FamilyChoice, FamilyOption, Node, Paths, Settings, Templates, Verbose
from nftsvc.cli.output import errors_reported, write


def apply(
    paths: Paths,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
    settings: Settings = None,
    templates: Templates = None,
    *,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print the nft commands that would be run; read the kernel, write nothing."),
    ] = False,
    verbose: Verbose = False,
) -> None:
    """Bring this machine's nftables to what the input says, in one atomic load.

    Only differences are sent: the same input a second time sends nothing, a changed one leaves all other connections,
    counters and Services alone. Other tables are never read or touched, and with `--family` the other family's table
    stays as it is. Needs root (CAP_NET_ADMIN).

    sudo nftsvc apply manifests/ --node $(hostname)

    sudo nftsvc apply manifests/ --dry-run
    """
    from nftsvc.cli.planning import planned_from
    from nftsvc.kernel import Kernel
    from nftsvc.render import Renderer
    from nftsvc.report.summary import change_summary
    from nftsvc.sync import compare_with_kernel, synchronise

    with errors_reported() as err, Kernel() as kernel:
        planned = planned_from(paths, node, family, settings, err, verbose=verbose)
        renderer = Renderer(templates)
        if dry_run:
            found = compare_with_kernel(kernel, planned.plan)
            write(None, "".join(script.text for script in renderer.scripts(found.transactions)))
            err.line("dry run", change_summary(found.changes, len(found.transactions)), "bold")
            return
        with err.waiting("loading"):
            done = synchronise(kernel, planned.plan, renderer)
        typer.echo(f"applied: {change_summary(done.changes, len(done.transactions))}")
