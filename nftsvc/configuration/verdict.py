"""What can become of a field, as a word and a sentence."""

from collections.abc import Callable
from enum import StrEnum

from nftsvc.configuration.fields import Values


class Verdict(StrEnum):
    """How far a field does here what it does in kube-proxy's nftables mode, or in the mode that it belongs to."""

    HONOURED = "honoured"
    DIFFERENT = "different"
    IGNORED = "ignored"
    UNKNOWN = "unknown"


Judgement = tuple[Verdict, str]
Judge = Callable[[Values], Judgement]

NOT_ON_LOOPBACK = "Node ports do not answer on loopback addresses"
NO_MARK = (
    "No packet mark is used: who is masqueraded is decided where a connection leaves, from its original destination."
    " What looks for the mark elsewhere finds none."
)
