"""A cluster in miniature: network namespaces of one machine as node, pods and outside world.

The demo shows traffic in it and the tests measure in it. Everything it makes is in namespaces of its own.
"""

from nftsvc.lab.agent import RunningAgent, run_agent_on
from nftsvc.lab.cluster import CLIENT, GATEWAY, NODE, Cluster, build_cluster
from nftsvc.lab.namespace import Namespace, namespaces, require_tools, uninterrupted
from nftsvc.lab.servers import Answer, Server, ask, fetch, serve_http

__all__ = [
    "CLIENT",
    "GATEWAY",
    "NODE",
    "Answer",
    "Cluster",
    "Namespace",
    "RunningAgent",
    "Server",
    "ask",
    "build_cluster",
    "fetch",
    "namespaces",
    "require_tools",
    "run_agent_on",
    "serve_http",
    "uninterrupted",
]
