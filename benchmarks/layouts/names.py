"""What the compared layouts are called."""

from enum import StrEnum


class Layout(StrEnum):
    """A way to make the kernel forward Services; the first three have none and are what others are measured against."""

    ROUTING = "routing"
    TRACKING = "tracking"
    TRANSLATION = "translation"
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
    Layout.TRANSLATION: "one rule that translates all cluster IPs",
    Layout.CHAINS: "(a) chain per Service and endpoint",
    Layout.MAPS: "(b) chain per Service with a map",
    Layout.IPTABLES: "(c) iptables-nft",
    Layout.OURS: "(d) nftsvc",
}
