"""The commands about the cluster's existing configuration of kube-proxy."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from nftsvc.cli.commands import EXIT_CODES
from nftsvc.cli.options import Output, OutputFormat, existing
from nftsvc.cli.output import errors_reported

config_app = typer.Typer(
    name="config",
    help="""What nftsvc makes of a cluster's configuration of kube-proxy.

    nftsvc config explain kube-proxy.yaml""",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@config_app.callback()
def _root() -> None:
    pass


def _existing(path: Path) -> Path:
    return existing([path])[0]


@config_app.command(epilog=EXIT_CODES)
def explain(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="Manifest with a KubeProxyConfiguration or with a ConfigMap that holds one; `-` for standard input.",
            readable=False,
            show_default=False,
            callback=_existing,
        ),
    ],
    output: Output = OutputFormat.TEXT,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Treat fields that nobody knows as errors.")] = False,
) -> None:
    """Say field by field what nftsvc makes of a KubeProxyConfiguration, and what will differ from kube-proxy.

    Reads a file or the ConfigMap as it is in the cluster. Changes nothing; needs no root and no cluster.

    nftsvc config explain /var/lib/kube-proxy/config.conf

    kubectl -n kube-system get configmap kube-proxy -o yaml | nftsvc config explain -

    nftsvc config explain kube-proxy.yaml --strict -o json
    """
    from rich.console import Console

    from nftsvc.cli.explained_config import as_json, print_reports
    from nftsvc.sources.configuration import load_configuration

    with errors_reported():
        loaded = load_configuration(file, sys.stdin.buffer if sys.stdin is not None else None, strict=strict)
    if output is OutputFormat.JSON:
        typer.echo(as_json(loaded))
    else:
        print_reports(Console(highlight=False), loaded)
