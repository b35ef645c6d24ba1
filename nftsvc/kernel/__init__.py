"""The door to the kernel: libnftables, its context, its listings, and private namespaces to try things in."""

from nftsvc.kernel.door import Kernel
from nftsvc.kernel.monitor import Foreign, Monitor
from nftsvc.kernel.sandbox import elements_per_transaction, load_privately

__all__ = ["Foreign", "Kernel", "Monitor", "elements_per_transaction", "load_privately"]
