"""From what the user said to a running agent: kernel, sources, settings, signals."""

import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from nftsvc.agent import collector
from nftsvc.agent.agent import Agent, Announcer, Conduct, Surroundings
from nftsvc.agent.listener import BindAddress
from nftsvc.agent.log import event
from nftsvc.agent.options import ClusterAccess, Options
from nftsvc.agent.requests import ApiRequests
from nftsvc.configuration import AgentSettings, Listen
from nftsvc.errors import Occupied, Problem, UsageError
from nftsvc.kernel import Kernel
from nftsvc.kernel.kubeproxy import find_leftovers, remove_leftovers
from nftsvc.kernel.sysctls import set_oom_score_adj, tune_conntrack
from nftsvc.objects import Node
from nftsvc.render import Renderer
from nftsvc.settings import NodeSettings, settings_for
from nftsvc.sources.cluster import open_cluster
from nftsvc.sources.directory import DirectorySource
from nftsvc.sources.source import Source
from nftsvc.state import State
from nftsvc.sync import Follower
from nftsvc.values import Family

_log = logging.getLogger(__name__)

_IPV6 = Path("/proc/net/if_inet6")
_NODE_SECONDS = 30.0


async def run_agent(options: Options, now: Callable[[], float]) -> None:
    """Run the agent until SIGTERM or SIGINT. `now` gives the time in seconds since 1970.

    Raises NftsvcError for what cannot work at all: no permission, a kubeconfig that leads nowhere, a page that cannot
    be served where that is to be fatal. Everything else is logged and tried again.
    """
    collector.prepare()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    options = replace(options, families=_possible(options.families))
    if not options.node and options.manifests is None:
        options = replace(options, node=socket.gethostname().strip().lower())
    with Kernel() as kernel:
        await asyncio.to_thread(kernel.preflight, options.families)
        if not options.takeover:
            await asyncio.to_thread(_require_nobody_else)
        requests = ApiRequests()
        async with _opened(options, requests) as (sources, announcer):
            if options.tune:
                await asyncio.to_thread(_tune, options.settings)
            follower = Follower(kernel, Renderer(options.templates), _settings_of(options, now))
            surroundings = Surroundings(
                now=now,
                announcer=announcer,
                first_synced=_take_over if options.takeover else lambda: None,
                requests=requests,
            )
            await Agent(follower, kernel, sources, _conduct(options), surroundings).run(stop)


@asynccontextmanager
async def _opened(options: Options, requests: ApiRequests) -> AsyncIterator[tuple[Sequence[Source], Announcer | None]]:
    """Yield the sources, and whoever writes Events."""
    if options.manifests is not None:
        yield (DirectorySource(options.manifests),), None
        return
    access = options.cluster or ClusterAccess()
    async with open_cluster(access.kubeconfig, access.context, access.server, observer=requests.seen) as cluster:
        for warning in cluster.warnings:
            event(_log, logging.WARNING, "unsafe", what=warning)
        yield cluster.sources(options.node, with_endpoints=options.with_endpoints), cluster


def _settings_of(options: Options, now: Callable[[], float]) -> Callable[[State], NodeSettings]:
    """Return what derives the node's settings from the state.

    In a cluster a Node that is not there yet is waited for, as kube-proxy does, and one that has been there counts as
    it was last seen.
    """
    started = now()
    last: list[Node] = []

    def derive(state: State) -> NodeSettings:
        node = state.nodes.get(options.node)
        last[:] = [node] if node is not None else last
        if options.manifests is None and not last and now() - started < _NODE_SECONDS:
            raise UsageError(f"waiting for the Node {options.node}: the cluster has none of that name yet")
        return settings_for(
            state, options.node or None, options.families, options.overrides, options.settings.node, last
        )

    return derive


def _conduct(options: Options) -> Conduct:
    return Conduct(
        node=options.node,
        families=options.families,
        needs_node=options.manifests is None,
        pace=options.pace,
        sync_period=options.sync_period,
        healthz=_bind(options.healthz),
        metrics=_bind(options.metrics),
        hard_fail=options.settings.hard_fail,
        shown=shown_settings(options),
    )


def _bind(address: Listen | None) -> BindAddress | None:
    return BindAddress(str(address.host), int(address.port)) if address is not None else None


def shown_settings(options: Options) -> Mapping[str, object]:
    """Return the settings in effect for /configz; where credentials are is not among them."""
    return {
        "node": options.node,
        "families": list(options.families),
        "source": "manifests" if options.manifests is not None else "cluster",
        "set": list(options.overrides),
        "minSyncPeriodSeconds": options.pace.minimum,
        "syncPeriodSeconds": options.sync_period,
        "verifyPeriodSeconds": options.pace.verify,
        "healthzBindAddress": str(options.healthz or ""),
        "metricsBindAddress": str(options.metrics or ""),
        "bindAddressHardFail": options.settings.hard_fail,
        "endpoints": options.with_endpoints,
    }


def _possible(families: tuple[Family, ...]) -> tuple[Family, ...]:
    """Return the families that this machine has, of several wanted; one that is wanted alone is tried in any case."""
    if len(families) > 1 and not _IPV6.exists():
        event(_log, logging.WARNING, "this machine has no IPv6: only IPv4 is served")
        return tuple(one for one in families if one is not Family.IPV6)
    return families


def _require_nobody_else() -> None:
    """Raise Occupied if kube-proxy's rules are on this machine."""
    found = find_leftovers()
    if found:
        listed = "".join(f"\n  {one}" for one in found.words)
        raise Occupied(
            f"kube-proxy's rules are on this machine:{listed}\nstop kube-proxy, then start with --takeover (its"
            " rules go once ours are in place) or run: nftsvc clean --kube-proxy"
        )


def _take_over() -> None:
    """Remove kube-proxy's rules; KernelError if some stay."""
    remove_leftovers(lambda what: event(_log, logging.INFO, "taking over from kube-proxy", what=what))


def _tune(settings: AgentSettings) -> None:
    tuned = tune_conntrack(settings.conntrack)
    for one in tuned.written:
        event(_log, logging.INFO, "set", what=one)
    problems: list[Problem] = list(tuned.problems)
    score = set_oom_score_adj(settings.oom_score_adj)
    for problem in (*problems, *((score,) if score is not None else ())):
        event(_log, logging.WARNING, "not set", what=problem)
