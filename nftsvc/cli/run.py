"""The command `nftsvc run`: the node agent."""

import asyncio
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from nftsvc.cli.options import FamilyChoice, FamilyOption, Settings, Templates
from nftsvc.cli.output import errors_reported
from nftsvc.configuration import AgentSettings, Duration, Listen
from nftsvc.configuration.agent import HEALTHZ_PORT, METRICS_PORT
from nftsvc.configuration.readers import listen
from nftsvc.errors import UsageError
from nftsvc.report import print_problems
from nftsvc.sources.configuration import LoadedConfiguration, load_configuration


def _span(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _log_format(text: str) -> str:
    if text not in ("text", "json"):
        raise typer.BadParameter(f"{text!r} is not text or json")
    return text


_SYNC, _VERIFY = "30s", "1h"


def run(
    node: Annotated[
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
    ] = "",
    manifests: Annotated[
        Path | None,
        typer.Option(
            "--manifests",
            metavar="DIR",
            show_default=False,
            help="Watch a folder of manifests; there is no cluster then.",
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            metavar="FILE",
            show_default=False,
            help="How to reach the cluster. Default: clientConnection.kubeconfig of the configuration, else the"
            " ServiceAccount of the Pod that this runs in.",
        ),
    ] = None,
    context: Annotated[
        str | None, typer.Option("--context", metavar="NAME", help="A context of the kubeconfig.", show_default=False)
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="URL",
            show_default=False,
            help="The API server, in place of the one that the kubeconfig or the Pod knows (which may be a Service,"
            " that is: this agent's own work).",
        ),
    ] = None,
    family: FamilyOption = FamilyChoice.DUAL,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            metavar="FILE",
            show_default=False,
            help="The cluster's KubeProxyConfiguration, or the ConfigMap that holds it; options come first."
            " `nftsvc config explain` says what is made of it.",
        ),
    ] = None,
    settings: Settings = None,
    min_sync_period: Annotated[
        str | None,
        typer.Option(
            "--min-sync-period",
            metavar="TIME",
            show_default=False,
            help="The least time between two transactions under load, as in 20ms or 1s. Default:"
            f" {AgentSettings().min_sync_period}.",
        ),
    ] = None,
    sync_period: Annotated[
        str | None,
        typer.Option(
            "--sync-period",
            metavar="TIME",
            show_default=False,
            help="Half the time after which a change that is not in the kernel makes the node unhealthy. Default:"
            f" {_SYNC}.",
        ),
    ] = None,
    verify_period: Annotated[
        str,
        typer.Option(
            "--verify-period",
            metavar="TIME",
            help="How often everything is compared with what the kernel has; what others change is seen at once"
            " without that.",
        ),
    ] = _VERIFY,
    healthz_bind_address: Annotated[
        str | None,
        typer.Option(
            "--healthz-bind-address",
            metavar="ADDRESS",
            show_default=False,
            help=f"Where /healthz, /livez and /readyz are, '' for nowhere. Default: 0.0.0.0:{HEALTHZ_PORT}.",
        ),
    ] = None,
    metrics_bind_address: Annotated[
        str | None,
        typer.Option(
            "--metrics-bind-address",
            metavar="ADDRESS",
            show_default=False,
            help=f"Where /metrics and /statusz are, '' for nowhere. Default: 127.0.0.1:{METRICS_PORT}.",
        ),
    ] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            "--log-format",
            metavar="text|json",
            show_default=False,
            help="How log lines are written. Default: text.",
        ),
    ] = None,
    templates: Templates = None,
    *,
    endpoints: Annotated[
        bool,
        typer.Option("--endpoints", help="Read Endpoints (v1) from the cluster, too: for one without EndpointSlices."),
    ] = False,
    takeover: Annotated[
        bool,
        typer.Option(
            "--takeover",
            help="Where kube-proxy has left rules: start all the same, and remove them once ours are in place.",
        ),
    ] = False,
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log more; twice: what libraries say, too.")
    ] = 0,
) -> None:
    """Keep this machine's nftables in step with a cluster, or with a folder of manifests: the node agent.

    Loads everything once all of it is known, or adopts what an earlier process left, then sends only what changes.
    When it ends, rules and traffic stay. What others do to its tables is put right at once. Needs root (CAP_NET_ADMIN).

    sudo nftsvc run --manifests /etc/nftsvc/manifests

    sudo nftsvc run --kubeconfig /etc/kubernetes/admin.conf --node node-a

    sudo nftsvc run --node node-a --config /var/lib/kube-proxy/config.conf
    """
    from nftsvc.agent.log import LogFormat, configure  # noqa: PLC0415 - the agent's libraries take long to import
    from nftsvc.agent.loop import Pace  # noqa: PLC0415
    from nftsvc.agent.start import Options, run_agent  # noqa: PLC0415

    with errors_reported() as err:
        if manifests is not None and (kubeconfig is not None or server is not None or context is not None):
            raise UsageError(
                "--manifests is instead of a cluster: --kubeconfig, --context and --server do not go with it"
            )
        loaded = _load(config)
        if loaded is not None:
            print_problems(err, loaded.configuration.problems)
        known = loaded.configuration.settings if loaded is not None else None
        told = known if known is not None else AgentSettings()
        configure(LogFormat(_log_format(log_format or told.log.format)), max(verbose, told.log.verbosity))
        kubeconfig_path = kubeconfig or (Path(told.client.kubeconfig) if told.client.kubeconfig else None)
        options = Options(
            node=node or told.node_name or ("" if manifests is not None else socket.gethostname().lower()),
            families=family.families,
            overrides=tuple(settings or ()),
            templates=templates,
            manifests=manifests,
            kubeconfig=kubeconfig_path if manifests is None else None,
            context=context,
            server=server,
            with_endpoints=endpoints,
            settings=told,
            pace=Pace(
                _span(min_sync_period).seconds if min_sync_period else told.min_sync_period.seconds,
                _span(verify_period).seconds,
            ),
            sync_period=_span(sync_period).seconds if sync_period else told.sync_period.seconds,
            healthz=_address(healthz_bind_address, HEALTHZ_PORT, told.healthz),
            metrics=_address(metrics_bind_address, METRICS_PORT, told.metrics),
            tune=loaded is not None or manifests is None,
            takeover=takeover,
        )
        asyncio.run(run_agent(options, lambda: datetime.now(UTC).timestamp()))


def _load(config: Path | None) -> LoadedConfiguration | None:
    if config is None:
        return None
    return load_configuration(config, sys.stdin.buffer if sys.stdin is not None else None)


def _address(text: str | None, port: int, otherwise: Listen | None) -> Listen | None:
    """Read `address:port` or an address alone; None where it is to be nowhere."""
    if text is None:
        return otherwise
    try:
        return listen(port)(text)
    except ValueError as error:
        raise UsageError(str(error)) from error
