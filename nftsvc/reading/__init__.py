"""Rulesets read back into values: the way back from `nftsvc.render`, and from whatever nft lists.

In: what nftsvc writes for `nft -f`, or what `nft list ruleset` prints, from 1.0.1 on, with any of its options, as text
or as JSON. Out: the values that `nftsvc.ruleset` would have made: elements, what packets have recorded among them;
chains; rules with their text as it stands there (none from JSON), comment and words; sets as they are declared there,
which in JSON up to 1.1.1 is less than they were declared with. Nothing here looks anything up, neither files nor names.

`nft -t list ruleset` leaves out all elements, and nothing in the text says so: it reads as a table without Services.
"""

from nftsvc.errors import InputError, Origin, Problem
from nftsvc.reading.faults import Unreadable
from nftsvc.reading.listing import parse_table, read_listing
from nftsvc.reading.tables import read_tables
from nftsvc.ruleset import NFT_FAMILY, TABLE, Ruleset


def read_ruleset(text: str, file: str) -> Ruleset:
    """Return our tables in nft text, or in the JSON of `nft -j list ruleset`; `file` is for messages.

    Tables of others are passed over, whatever is in them. InputError names file and line (in JSON the object) if our
    tables cannot be read, and says so if there are none.
    """
    origin = Origin(file, 1)
    try:
        tables = read_listing(text) if text.lstrip("\ufeff \t\r\n").startswith("{") else read_tables(text)
    except Unreadable as error:
        raise InputError((Problem(error.message, field=error.where, origin=origin),)) from None
    if not tables:
        names = " or ".join(f"{word} {TABLE}" for word in NFT_FAMILY.values())
        raise InputError((Problem(f"no table {names} in it", origin=origin),))
    return Ruleset(tables)


__all__ = ["parse_table", "read_ruleset"]
