"""The command `nftsvc run`: the node agent."""

import sys
from dataclasses import replace
from pathlib import Path

from nftsvc.agent.options import ClusterAccess, Options, Pace
from nftsvc.cli.agent_options import (
    VERIFY,
    Config,
    HealthzAddress,
    Kubeconfig,
    KubeContext,
    LogForm,
    LogFormOption,
    Manifests,
    MetricsAddress,
    MinSyncPeriod,
    Server,
    SyncPeriod,
    Takeover,
    ThisNode,
    Verbosity,
    VerifyPeriod,
    WithEndpoints,
)
from nftsvc.cli.options import FamilyChoice, FamilyOption, Settings, Templates
from nftsvc.cli.output import Messages, errors_reported
from nftsvc.configuration import AgentSettings, Duration, Listen
from nftsvc.configuration.agent import HEALTHZ_PORT, METRICS_PORT
from nftsvc.configuration.readers import listen
from nftsvc.errors import UsageError


def run(
    node: ThisNode = "",
    manifests: Manifests = None,
    kubeconfig: Kubeconfig = None,
    context: KubeContext = None,
    server: Server = None,
    family: FamilyOption = FamilyChoice.DUAL,
    config: Config = None,
    settings: Settings = None,
    min_sync_period: MinSyncPeriod = None,
    sync_period: SyncPeriod = None,
    verify_period: VerifyPeriod = VERIFY,
    healthz_bind_address: HealthzAddress = None,
    metrics_bind_address: MetricsAddress = None,
    log_format: LogFormOption = None,
    templates: Templates = None,
    *,
    endpoints: WithEndpoints = False,
    takeover: Takeover = False,
    verbose: Verbosity = 0,
) -> None:
    """Keep this machine's nftables in step with a cluster, or with a folder of manifests: the node agent.

    Loads everything once it is all known, or adopts what an earlier process left; then sends only what changes. What
    others do to its tables is put right at once. When it ends, rules and traffic stay. Needs root (CAP_NET_ADMIN).

    sudo nftsvc run --manifests /etc/nftsvc/manifests

    sudo nftsvc run --node node-a --config /var/lib/kube-proxy/config.conf
    """
    with errors_reported() as err:
        told = _told(config, err, log_format, verbose)
        _run(
            Options(
                node=node or told.node_name,
                families=family.families,
                overrides=tuple(settings or ()),
                templates=templates,
                settings=told,
                pace=Pace(_said(min_sync_period, told.min_sync_period).seconds, verify_period.seconds),
                sync_period=_said(sync_period, told.sync_period).seconds,
                healthz=_address("--healthz-bind-address", healthz_bind_address, HEALTHZ_PORT, told.healthz),
                metrics=_address("--metrics-bind-address", metrics_bind_address, METRICS_PORT, told.metrics),
                tune=config is not None or manifests is None,
                takeover=takeover,
                cluster=_cluster(manifests, ClusterAccess(kubeconfig, context, server), told),
                manifests=manifests,
                with_endpoints=endpoints,
            )
        )


def _run(options: Options) -> None:
    import asyncio
    from datetime import UTC, datetime

    from nftsvc.agent.start import run_agent

    asyncio.run(run_agent(options, lambda: datetime.now(UTC).timestamp()))


def _told(config: Path | None, err: Messages, log_format: LogForm | None, verbose: int) -> AgentSettings:
    """Return what the configuration says, and log as it says; fields that nobody knows are named on standard error."""
    from nftsvc.agent.log import LogFormat, configure
    from nftsvc.sources.configuration import load_configuration

    told = AgentSettings()
    if config is not None:
        loaded = load_configuration(config, sys.stdin.buffer if sys.stdin is not None else None)
        err.problems(loaded.configuration.problems)
        told = loaded.configuration.settings or told
    configure(LogFormat(log_format or told.log.format), max(verbose, told.log.verbosity))
    return told


def _cluster(manifests: Path | None, access: ClusterAccess, told: AgentSettings) -> ClusterAccess | None:
    """Return the way to the cluster; None where there is a folder instead. UsageError if both are given."""
    if manifests is None:
        known = Path(told.client.kubeconfig) if told.client.kubeconfig else None
        return replace(access, kubeconfig=access.kubeconfig or known)
    if access != ClusterAccess():
        raise UsageError("--manifests is instead of a cluster: without --kubeconfig, --context and --server")
    return None


def _said(option: Duration | None, otherwise: Duration) -> Duration:
    return otherwise if option is None else option


def _address(option: str, text: str | None, port: int, otherwise: Listen | None) -> Listen | None:
    """Read an option's `address:port` or address alone; None where it is to be nowhere."""
    if text is None:
        return otherwise
    try:
        return listen(port)(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error
