"""From events to transactions: one pass over everything, and the passes that follow a cluster's changes."""

from nftsvc.sync.account import Account
from nftsvc.sync.follower import Follower, PassKind, Progress, Suspicion
from nftsvc.sync.once import Door, Pass, compare_with_kernel, remove, synchronise

__all__ = [
    "Account",
    "Door",
    "Follower",
    "Pass",
    "PassKind",
    "Progress",
    "Suspicion",
    "compare_with_kernel",
    "remove",
    "synchronise",
]
