"""Memory of a process that holds a cluster: the garbage collector hardly looks, and what lists took is given back."""

import ctypes
import gc
from contextlib import suppress

# A cluster is hundreds of thousands of new objects, none of them garbage: after 700 each time (Python's choice) looking
# through them takes a quarter of the time of reading them.
_WHILE_LISTS_ARE_READ = (10_000, 10, 10)

# Later on what changes takes the place of what was there, and hardly any of it is in cycles either. A look at all that
# has come since, every ten million objects, takes a tenth of a second.
_WHILE_THINGS_CHANGE = (5000, 1, 1000)


def prepare() -> None:
    """Before anything is read: leave what has been imported alone, and look seldom."""
    gc.freeze()
    gc.set_threshold(*_WHILE_LISTS_ARE_READ)


def settle() -> None:
    """Once everything is there: it stays, and looking through it again and again would make passes late.

    What the C library has kept since lists were read goes back to the system; others than glibc do so by themselves.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_WHILE_THINGS_CHANGE)
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def tidy() -> None:
    """After a pass: look at what is new while it is little.

    Python looks when there are many more new objects than have gone. Here one goes for each that comes, so for minutes
    it would not look at all, and then at everything that has come meanwhile: a quarter of a second.
    """
    gc.collect(1)
