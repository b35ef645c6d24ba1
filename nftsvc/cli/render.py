"""`nftsvc render`: the ruleset as text."""

from pathlib import Path
from typing import Annotated

import typer

from nftsvc.cli.options import FamilyChoice, FamilyOption, Node, Paths, Settings, Templates, Verbose
from nftsvc.cli.output import errors_reported, write


def render(
    paths: Paths,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to FILE, whole or not at all.", show_default=False),
    ] = None,
    settings: Settings = None,
    templates: Templates = None,
    *,
    verbose: Verbose = False,
) -> None:
    """Print the full ruleset of a node as nft text. Needs no root, no kernel and no cluster.

    The same input gives the same bytes, in whatever order its files are. The text loads with `nft -f`.

    nftsvc render manifests/

    kubectl get svc,endpointslices,nodes -A -o yaml | nftsvc render --node node-a -

    nftsvc render web.yaml --family ipv4 -o web.nft
    """
    from nftsvc.cli.planning import planned_from
    from nftsvc.render import Renderer
    from nftsvc.ruleset import make_ruleset

    with errors_reported() as err:
        planned = planned_from(paths, node, family, settings, err, verbose=verbose)
        write(output, Renderer(templates).ruleset(make_ruleset(planned.plan)))
