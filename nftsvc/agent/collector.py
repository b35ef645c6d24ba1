"""Memory of a process that holds a cluster: the garbage collector hardly looks, and what lists took is given back."""

import ctypes
import gc
from contextlib import suppress

# A cluster is hundreds of thousands of new objects, none of them garbage: after 700 each time (Python's choice) looking
# through them takes a quarter of the time of reading them.
_COLLECTED_AFTER = (10_000, 10, 10)


def prepare() -> None:
    """Before anything is read: leave what has been imported alone, and look seldom."""
    gc.freeze()
    gc.set_threshold(*_COLLECTED_AFTER)


def settle() -> None:
    """Once everything is there: it stays, and looking through it again and again would make passes late.

    What the C library has kept since lists were read goes back to the system; others than glibc do so by themselves.
    """
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
