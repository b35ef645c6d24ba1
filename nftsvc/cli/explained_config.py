"""What nftsvc makes of a KubeProxyConfiguration, field by field, for people and for scripts."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from nftsvc.configuration import FieldReport, Verdict
from nftsvc.errors import printable
from nftsvc.report.problems import print_line
from nftsvc.sources.configuration import LoadedConfiguration

_STYLES = {
    Verdict.UNKNOWN: "bold red",
    Verdict.DIFFERENT: "bold yellow",
    Verdict.IGNORED: "dim",
    Verdict.HONOURED: "green",
}
_MOST_CHARACTERS = 60


def print_reports(console: Console, loaded: LoadedConfiguration) -> None:
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


def as_json(loaded: LoadedConfiguration) -> str:
    """Return the same for scripts."""
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
