"""From events to transactions: one pass over everything, and the passes that follow a cluster's changes."""

from nftsvc.sync.account import Account
from nftsvc.sync.follower import Follower
from nftsvc.sync.once import Door, Pass, compare_with_kernel, remove, synchronise
from nftsvc.sync.passes import PassKind, Progress, Suspicion

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
