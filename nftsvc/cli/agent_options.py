"""The options of `nftsvc run`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from nftsvc.configuration import AgentSettings, Duration
from nftsvc.configuration.agent import HEALTHZ_PORT, METRICS_PORT

VERIFY = Duration.of(3600)


class LogForm(StrEnum):
    """`--log-format`: the formats of `nftsvc.agent.log`."""

    TEXT = "text"
    JSON = "json"


def _span(text: str | Duration) -> Duration:
    """Read a span of time; typer hands over a default as it is."""
    if isinstance(text, Duration):
        return text
    try:
        span = Duration.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if span < 0:
        raise typer.BadParameter(f"{span} is less than nothing")
    return span


def _period(text: str | Duration) -> Duration:
    """Read a span of time that is not zero."""
    span = _span(text)
    if not span:
        raise typer.BadParameter(f"{span} is no time at all")
    return span


ThisNode = Annotated[
    str,
    typer.Option(
        "--node",
        "-n",
        metavar="NAME",
        envvar="NODE_NAME",
        show_default=False,
        help="The Node that this is. Default: hostnameOverride of the configuration, else the host's name; with"
        " --manifests the only Node in there.",
    ),
]
Manifests = Annotated[
    Path | None,
    typer.Option(
        "--manifests",
        metavar="DIR",
        show_default=False,
        help="Watch a folder of manifests; there is no cluster then.",
    ),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        metavar="FILE",
        show_default=False,
        help="How to reach the cluster. Default: clientConnection.kubeconfig of the configuration, else the"
        " ServiceAccount of the Pod that this runs in.",
    ),
]
KubeContext = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="A context of the kubeconfig.", show_default=False)
]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        show_default=False,
        help="The API server, in place of the one that the kubeconfig or the Pod knows (which may be a Service,"
        " that is: this agent's own work).",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        show_default=False,
        help="The cluster's KubeProxyConfiguration, or the ConfigMap that holds it; options come first."
        " `nftsvc config explain` says what is made of it.",
    ),
]
MinSyncPeriod = Annotated[
    Duration | None,
    typer.Option(
        "--min-sync-period",
        metavar="TIME",
        parser=_span,
        show_default=False,
        help="The least time between two transactions under load, as in 10ms or 1s. Default:"
        f" {AgentSettings().min_sync_period}.",
    ),
]
SyncPeriod = Annotated[
    Duration | None,
    typer.Option(
        "--sync-period",
        metavar="TIME",
        parser=_period,
        show_default=False,
        help="Half the time after which a change that is not in the kernel makes the node unhealthy. Default:"
        f" {AgentSettings().sync_period}.",
    ),
]
VerifyPeriod = Annotated[
    Duration,
    typer.Option(
        "--verify-period",
        metavar="TIME",
        parser=_period,
        help="How often everything is compared with what the kernel has; what others change is seen at once"
        " without that.",
    ),
]
HealthzAddress = Annotated[
    str | None,
    typer.Option(
        "--healthz-bind-address",
        metavar="ADDRESS",
        show_default=False,
        help=f"Where /healthz, /livez and /readyz are, '' for nowhere. Default: 0.0.0.0:{HEALTHZ_PORT}.",
    ),
]
MetricsAddress = Annotated[
    str | None,
    typer.Option(
        "--metrics-bind-address",
        metavar="ADDRESS",
        show_default=False,
        help=f"Where /metrics and /statusz are, '' for nowhere. Default: 127.0.0.1:{METRICS_PORT}.",
    ),
]
LogFormOption = Annotated[
    LogForm | None,
    typer.Option(
        "--log-format",
        show_default=False,
        help="How log lines are written. Default: text.",
    ),
]
WithEndpoints = Annotated[
    bool,
    typer.Option("--endpoints", help="Read Endpoints (v1) from the cluster, too: for one without EndpointSlices."),
]
Takeover = Annotated[
    bool,
    typer.Option(
        "--takeover",
        help="Where kube-proxy has left rules: start all the same, and remove them once ours are in place.",
    ),
]
Verbosity = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Log more; twice: what libraries say, too.")
]
