"""What a change of a golden ruleset means for traffic."""

import re
from dataclasses import dataclass

from nftsvc.comparison import Comparison, compare_traffic
from nftsvc.errors import InputError
from nftsvc.reading import read_ruleset
from nftsvc.ruleset import Ruleset
from nftsvc.traffic import traffic_of

_HEADER = re.compile(r"^# table ip6? nftsvc: nftsvc layout (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Meaning:
    """What is different for traffic; `words` say it in a line. Without `comparison` the golden cannot be read back.

    `new_layout` says that the text differs by another layout alone, of the same version of nftsvc or another.
    """

    words: str
    comparison: Comparison | None = None
    new_layout: bool = False


def meaning_of(golden: str, now: Ruleset, text: str) -> Meaning:
    """Compare a golden text with the ruleset now, whose text is given, too."""
    try:
        before = read_ruleset(golden, "ruleset.nft")
    except InputError as error:
        return Meaning(f"ruleset.nft is not what nftsvc writes: {error.problems[0]}")
    comparison = compare_traffic(traffic_of(before), traffic_of(now))
    if not comparison.same:
        return Meaning(comparison.summary, comparison)
    old, new = _HEADER.findall(golden), _HEADER.findall(text)
    others = [f"{len(comparison.renamed)} renamed"] * bool(comparison.renamed)
    if old != new:
        words = ", ".join(("same traffic", "new layout", *others))
        return Meaning(f"{words} ({_named(old)} -> {_named(new)})", comparison, new_layout=not others)
    return Meaning(f"same traffic, {', '.join(others) or 'other text'}", comparison)


def _named(layouts: list[str]) -> str:
    return ", ".join(dict.fromkeys(layouts)) or "none"
