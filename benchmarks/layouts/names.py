"""What the compared layouts are called."""

from enum import StrEnum


class Layout(StrEnum):
    """A way to make the kernel forward Services; two that forward nothing are what others are measured against."""

    ROUTING = "routing"
    TRACKING = "tracking"
    CHAINS = "a"
    MAPS = "b"
    IPTABLES = "c"
    OURS = "nftsvc"

    @property
    def heading(self) -> str:
        """What the results call it."""
        return _HEADINGS[self]


_HEADINGS = {
    Layout.ROUTING: "plain routing",
    Layout.TRACKING: "routing with connection tracking",
    Layout.CHAINS: "(a) chain per Service and endpoint",
    Layout.MAPS: "(b) chain per Service with a map",
    Layout.IPTABLES: "(c) iptables-nft",
    Layout.OURS: "(d) nftsvc",
}
