"""Every process that runs tests has a network namespace of its own: no mistake reaches the machine's own rules."""

import os
import subprocess

from nftsvc.kernel.namespaces import unshare_network


def pytest_configure() -> None:
    """Leave the machine's namespace before anything is imported that could start a thread."""
    if os.geteuid() == 0:
        unshare_network()
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
