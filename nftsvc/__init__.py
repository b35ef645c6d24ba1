"""Kubernetes Services as an nftables forwarding table.

Start reading at `nftsvc.pipeline`, then `nftsvc.plan` (what must be forwarded) and `nftsvc.ruleset` (how nftables does
it); docs/architecture.md shows the whole way from a manifest to the kernel on one page.
"""

__version__ = "0.1.0"
