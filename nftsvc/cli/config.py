"""The commands about the cluster's existing configuration of kube-proxy."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from nftsvc.cli.options import Output, OutputFormat, existing
from nftsvc.cli.output import EXIT_CODES, errors_reported
from nftsvc.configuration import KIND, FieldReport, Verdict
from nftsvc.errors import printable
from nftsvc.report.problems import print_line
from nftsvc.sources.configuration import LoadedConfiguration, load_configuration

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
            help=f"Manifest with a {KIND} or with a ConfigMap that holds one; `-` for standard input.",
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
    with errors_reported():
        loaded = load_configuration(file, sys.stdin.buffer if sys.stdin is not None else None, strict=strict)
    if output is OutputFormat.JSON:
        typer.echo(_as_json(loaded))
    else:
        _print(Console(highlight=False), loaded)


# Printing ------------------------------------------------------------------------------------------------------------

_STYLES = {
    Verdict.UNKNOWN: "bold red",
    Verdict.DIFFERENT: "bold yellow",
    Verdict.IGNORED: "dim",
    Verdict.HONOURED: "green",
}
_MOST_CHARACTERS = 60


def _print(console: Console, loaded: LoadedConfiguration) -> None:
    """Print what matters most first: a table on a terminal, else one line for each field."""
    reports = sorted(loaded.configuration.reports, key=lambda one: tuple(_STYLES).index(one.verdict))
    if console.is_terminal:
        console.print(_table(reports))
    else:
        for one in reports:
            print_line(console, one.verdict, f"{one.path}{_value(one)}: {one.text}")
    print_line(console, _title(loaded), loaded.configuration.summary, "bold")


def _title(loaded: LoadedConfiguration) -> str:
    return printable(f"{loaded.origin} {loaded.ref}")


def _table(reports: Sequence[FieldReport]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("VERDICT", "FIELD", "WHAT NFTSVC DOES"):
        table.add_column(column, overflow="fold")
    for one in reports:
        cells = (one.verdict, f"{one.path}{_value(one)}", one.text)
        table.add_row(Styled(cells[0], _STYLES[one.verdict]), *(Styled(printable(cell)) for cell in cells[1:]))
    return table


def _value(report: FieldReport) -> str:
    if not report.given:
        return " (left out)"
    written = json.dumps(report.value)
    return f" = {written if len(written) <= _MOST_CHARACTERS else written[: _MOST_CHARACTERS - 3] + '...'}"


def _as_json(loaded: LoadedConfiguration) -> str:
    configuration = loaded.configuration
    verdicts = [one.verdict for one in configuration.reports if one.given]
    return json.dumps(
        {
            "file": loaded.origin.file,
            "document": loaded.origin.document,
            "object": str(loaded.ref),
            "mode": configuration.settings.mode if configuration.settings is not None else None,
            "summary": {verdict: verdicts.count(verdict) for verdict in Verdict},
            "fields": [
                {
                    "path": one.path,
                    "given": one.given,
                    "value": one.value,
                    "verdict": one.verdict,
                    "text": one.text,
                }
                for one in configuration.reports
            ],
        },
        indent=2,
    )
