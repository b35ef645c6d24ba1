"""The declaration of a set or map in nft text."""

from nftsvc.reading.columns import types_of
from nftsvc.reading.words import Item, Source
from nftsvc.ruleset import NamedSet

_STATEFUL = ("counter", "quota", "limit", "last", "ct")
# What makes no difference to which packets find an element, or belongs to the maps that packets fill. Whatever else a
# set may have in some nft after 1.1.6 could make one: it is refused.
_HARMLESS = ("size", "timeout", "gc-interval", "policy", "auto-merge", "comment")


def read_set(source: Source, item: Item, keyword: str, name: str) -> tuple[NamedSet, tuple[int, int] | None]:
    """Return a set or map, and where its elements are; None if it has none.

    Unreadable for what is not known in a set, or if it does not say of what type it is.
    """
    key = data = ""
    stateful: list[str] = []
    flags: list[str] = []
    elements: tuple[int, int] | None = None
    for one in source.inside(item):
        match source.words(one):
            case ["type" | "typeof", *words] if one.body is None and not key:
                key, _, data = " ".join(words).replace(":", " : ").replace("  ", " ").partition(" : ")
            case ["flags", *words] if one.body is None:
                flags += " ".join(words).replace(",", " ").split()
            case ["elements", "="] if one.body is not None and elements is None and not source.rest(one):
                elements = one.body
            case [word, *words] if word in _STATEFUL and one.body is None:
                stateful += [word, *words]
            case [word, *_] if word in _HARMLESS and one.body is None:
                pass
            case _:
                raise source.unknown(one, f"is nothing that is known in a {keyword} ({name})")
    if not types_of(key) or (keyword == "map") != bool(data):
        what = "where its elements lead" if key and not data else "of what type it is"
        raise source.fault(source.place(item), f"{keyword} {name} does not say {what}")
    named = NamedSet(name, key, data, "counter" in stateful, interval="interval" in flags, dynamic="dynamic" in flags)
    return named, elements
