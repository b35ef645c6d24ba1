"""What the command line has, as plain words: its commands by name, its help, its exit codes. Imports nothing heavy."""

from enum import StrEnum
from typing import NamedTuple


class Panel(StrEnum):
    """The headings under which `--help` lists commands, in its order."""

    OFFLINE = "Anywhere (no root, no cluster)"
    CI = "For CI"
    NODE = "On a node (root)"
    MORE = "More"


class Command(NamedTuple):
    """A command, or a group of commands: where it is, under which heading it is listed, what it does in a sentence.

    `summary` is how its own help begins. It stands here as well, for whoever lists commands without importing them.
    """

    module: str
    name: str
    panel: Panel
    summary: str
    is_group: bool = False


COMMANDS = {
    "render": Command(
        "render",
        "render",
        Panel.OFFLINE,
        "Print the full ruleset of a node as nft text. Needs no root, no kernel and no cluster.",
    ),
    "check": Command(
        "check",
        "check",
        Panel.OFFLINE,
        "Report every error in the input, then let a real kernel load the ruleset in a private network namespace.",
    ),
    "explain": Command(
        "explain",
        "explain",
        Panel.OFFLINE,
        "Say what happens to a packet and why: which Service, which endpoints with which share, which not and why not.",
    ),
    "diff": Command(
        "diff",
        "diff",
        Panel.CI,
        "Say what a change does to traffic: by Service, which endpoints come and go with which share, and what else.",
    ),
    "lint": Command(
        "lint",
        "lint",
        Panel.CI,
        "Find what does not do what it seems to: Services that lead nowhere, ports that do not meet, open doors.",
    ),
    "golden": Command(
        "golden",
        "golden_app",
        Panel.CI,
        "Golden rulesets in your repository: what your manifests do to traffic, agreed to in a commit.",
        is_group=True,
    ),
    "run": Command(
        "run",
        "run",
        Panel.NODE,
        "Keep this machine's nftables in step with a cluster, or with a folder of manifests: the node agent.",
    ),
    "apply": Command(
        "apply",
        "apply",
        Panel.NODE,
        "Bring this machine's nftables to what the input says, in one atomic load.",
    ),
    "clean": Command(
        "clean",
        "clean",
        Panel.NODE,
        "Remove nftsvc's own tables (`ip nftsvc`, `ip6 nftsvc`) and nothing else; or kube-proxy's leftovers.",
    ),
    "demo": Command(
        "demo",
        "demo",
        Panel.MORE,
        "Build a small cluster out of network namespaces on this machine and send real traffic through its Services.",
    ),
    "config": Command(
        "config",
        "config_app",
        Panel.MORE,
        "What nftsvc makes of a cluster's configuration of kube-proxy.",
        is_group=True,
    ),
}

HELP = """Kubernetes Services as an nftables ruleset: render it, check it, run it.

Reads Services with their EndpointSlices, Endpoints or Pods from manifests (YAML, JSON, what kubectl prints) or
from a cluster and makes one forwarding table of them, with a constant number of chains and rules.

nftsvc render manifests/             # print the ruleset: no root, no cluster

nftsvc diff main/ branch/            # what a change does to traffic

sudo nftsvc run --manifests DIR      # keep this machine in step with a folder, or with a cluster"""

VERSION_HELP = "Print the version and exit."

EXIT_CODES = """Exit codes: 0 fine - 1 differs - 2 wrong usage - 3 bad input - 4 the kernel refused or cannot be used -
5 the cluster cannot be reached - 70 a bug in nftsvc"""
