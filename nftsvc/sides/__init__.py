"""The two sides of a diff: where they come from (`sources`), and their texts (`texts`)."""

from nftsvc.sides.sources import Asked, Side, Source, find_sources, new_warnings, read_sides, transactions
from nftsvc.sides.texts import full_texts, unified_diff

__all__ = [
    "Asked",
    "Side",
    "Source",
    "find_sources",
    "full_texts",
    "new_warnings",
    "read_sides",
    "transactions",
    "unified_diff",
]
