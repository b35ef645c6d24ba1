"""Network namespaces for one thread, through libc: Python 3.11 has no os.setns and os.unshare yet.

A namespace belongs to a thread, so whoever enters one gives it a thread of its own.
"""

import ctypes
import os
from pathlib import Path

from nftsvc.errors import KernelUnavailable

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000


def enter(namespace: Path) -> None:
    """Move the calling thread into a network namespace, given as a file such as /run/netns/NAME."""
    try:
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelUnavailable(f"network namespace {namespace}: {error.strerror}") from error
    try:
        _call("setns", descriptor, _CLONE_NEWNET)
    finally:
        os.close(descriptor)


def unshare_network() -> None:
    """Move the calling thread into a network namespace of its own, which goes when the thread ends.

    Without the right to do that it takes a user namespace, too; then the process must have one thread only.
    """
    if os.geteuid() == 0:
        try:
            _call("unshare", _CLONE_NEWNET)
        except KernelUnavailable:
            _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)
    else:
        _call("unshare", _CLONE_NEWUSER | _CLONE_NEWNET)


def _call(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise KernelUnavailable(f"cannot {function} a network namespace: {reason}")
