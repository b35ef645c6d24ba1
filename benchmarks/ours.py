"""nftsvc as the agent has it: objects into a Follower, its passes into a kernel."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cluster import NODE, POD_NETWORK
from nftsvc.kernel import Kernel
from nftsvc.render import Renderer
from nftsvc.settings import settings_for
from nftsvc.sync import Follower, Progress

SETTINGS = (f"clusterCIDRs={POD_NETWORK}",)


@contextmanager
def follower_in(namespace: Path) -> Iterator[Follower]:
    """Yield a Follower that knows nothing yet, with its kernel's threads already running."""
    with Kernel(namespace) as kernel:
        kernel.present()
        yield Follower(kernel, Renderer(), lambda state: settings_for(state, NODE, overrides=SETTINGS))


def passed(follower: Follower) -> Progress:
    """Do a pass and return what it did; RuntimeError where it did not get to its end."""
    progress = follower.step()
    if progress.error is not None:
        raise RuntimeError(str(progress.error))
    return progress
