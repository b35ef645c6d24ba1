"""Whether a real kernel takes the rulesets of cases, where one can be asked."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

from nftsvc.errors import FeatureMissing, KernelError, KernelUnavailable
from nftsvc.golden.case import renderer
from nftsvc.pipeline import check_in_kernel
from nftsvc.ruleset import Ruleset


class KernelChoice(StrEnum):
    """Whether a kernel is asked: not at all, where that can be had, or else it is an error."""

    NO = "no"
    TRY = "try"
    REQUIRE = "require"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the kernel said: `refused` is why it does not take a ruleset, `unavailable` why it could not be asked."""

    refused: str = ""
    unavailable: str = ""


TAKEN = Verdict()


@cache
def why_unavailable() -> str:
    """Return why no kernel can be asked on this machine, "" if one can; tried once in a process."""
    from nftsvc.kernel import load_privately  # noqa: PLC0415 - most checks ask no kernel

    try:
        load_privately((), ())
    except KernelError as error:
        return str(error)
    return ""


def verdict_on(ruleset: Ruleset) -> Verdict:
    """Load a ruleset into a private namespace and say what the kernel makes of it."""
    if why_unavailable():
        return Verdict(unavailable=why_unavailable())
    try:
        check_in_kernel(ruleset, renderer())
    except (KernelUnavailable, FeatureMissing) as error:
        return Verdict(unavailable=str(error))
    except KernelError as error:
        return Verdict(refused=str(error))
    return TAKEN
