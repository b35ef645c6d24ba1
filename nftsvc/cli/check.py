"""`nftsvc check`: all errors of the input, and what a real kernel says."""

from typing import Annotated

import typer

from nftsvc.cli.options import FamilyChoice, FamilyOption, Node, Paths, Settings, Templates, Verbose
from nftsvc.cli.output import errors_reported
from nftsvc.errors import InputError


def check(
    paths: Paths,
    node: Node = None,
    family: FamilyOption = FamilyChoice.DUAL,
    settings: Settings = None,
    templates: Templates = None,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    verbose: Verbose = False,
) -> None:
    """Report every error in the input, then let a real kernel load the ruleset in a private network namespace.

    Nothing outside that namespace is touched. Works without root where the system allows user namespaces.

    nftsvc check manifests/

    nftsvc check --strict manifests/ && git push
    """
    from nftsvc.cli.planning import planned_from
    from nftsvc.pipeline import check_in_kernel
    from nftsvc.render import Renderer
    from nftsvc.ruleset import make_ruleset

    with errors_reported() as err:
        planned = planned_from(paths, node, family, settings, err, verbose=verbose)
        if strict and planned.warnings:
            raise InputError(())  # said above, as warnings
        with err.waiting("asking the kernel"):
            check_in_kernel(make_ruleset(planned.plan), Renderer(templates))
        typer.echo("ok: the kernel takes this ruleset")
