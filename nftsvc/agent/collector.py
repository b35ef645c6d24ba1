"""How Python's cyclic garbage collector is set for a process that holds a cluster: it hardly has anything to do."""

import gc

# A cluster is hundreds of thousands of new objects, none of them garbage: after 700 each time (Python's choice) looking
# through them takes a quarter of the time of reading them.
_COLLECTED_AFTER = (10_000, 10, 10)


def prepare() -> None:
    """Before anything is read: leave what has been imported alone, and look seldom."""
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)


def settle() -> None:
    """Once everything is there: it stays, and looking through it again and again would make passes late."""
    gc.freeze()
