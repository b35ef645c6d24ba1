"""What the kernel tells of changes to nftables (<linux/netfilter/nf_tables.h>), as one value for each transaction.

In: datagrams of the group NFNLGRP_NFTABLES. Out: who did it, and what became of nftsvc's tables. A transaction's
messages come one after the other, and the last, of type NEWGEN, names the process.
"""

import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from nftsvc.errors import printable
from nftsvc.kernel.netlink import Message, attributes, family_number, messages, name, text
from nftsvc.ruleset import NFT_FAMILY, TABLE
from nftsvc.values import FAMILIES, Family

NFTABLES = 10  # the subsystem
NEWGEN = NFTABLES << 8 | 15

# NEWx is even, DELx is NEWx + 2 (GETx in between). Flow tables and the rest have the table's name in the same place.
_KINDS = {0: "table", 3: "chain", 6: "rule", 9: "set", 12: "element", 18: "object", 22: "flowtable"}
_TABLE_NAME, _OF, _OWN_NAME = 1, 2, 3
_NAME_AT = {"table": _TABLE_NAME, "chain": 3, "rule": 2, "set": 2, "element": 2, "object": 2, "flowtable": 2}
_GEN_PID, _GEN_NAME = 2, 3
_ELEMENTS = 3
_HEADER = 4  # struct nfgenmsg
_NUMBER = struct.Struct("!I")
_OURS = name(TABLE)
_FAMILIES = {family_number(family): family for family in FAMILIES}
_WORDS = 5  # that many kinds of change are told, the others counted


class Change(NamedTuple):
    """Something of one of our tables was added (or changed), or removed; `name` is the chain's for a rule of it."""

    family: Family
    added: bool
    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction: the netlink port and thread it came from, and what it did to our tables, how often.

    `pid` is the thread's in the initial pid namespace, 0 where the kernel does not say. `marked` says that it made the
    table that the reader was told to look out for.
    """

    port: int
    pid: int
    process: str
    changes: Counter[Change]
    marked: bool = False

    @property
    def families(self) -> frozenset[Family]:
        """Which of our tables it changed."""
        return frozenset(one.family for one in self.changes)

    @property
    def structural(self) -> bool:
        """Whether it changed more than elements."""
        return any(one.kind != "element" for one in self.changes)

    @property
    def sets(self) -> frozenset[tuple[Family, str]]:
        """The sets and maps whose elements it changed."""
        return frozenset((one.family, one.name) for one in self.changes if one.kind == "element")


class Reader:
    """Puts transactions together. `mark` is the name of a table to look out for, None for none."""

    def __init__(self) -> None:
        self.mark: str | None = None
        self.forget()

    def forget(self) -> None:
        """Drop what is known of a transaction whose end has not come yet."""
        self._port = 0
        self._marked = False
        self._changes: Counter[Change] = Counter()

    def feed(self, datagram: bytes) -> Iterator[Transaction]:
        """Yield the transactions that end in a datagram; Malformed if it cannot be read."""
        for message in messages(datagram):
            if message.kind >> 8 != NFTABLES or message.port == 0:  # packets cause messages, too, from nobody's port
                continue
            if message.port != self._port:  # transactions never overlap
                self.forget()
                self._port = message.port
            if message.kind == NEWGEN:
                yield self._end(message)
                self.forget()
            else:
                self._take(message)

    def _end(self, message: Message) -> Transaction:
        said = dict(attributes(message.body, _HEADER))
        pid = said.get(_GEN_PID, b"")
        return Transaction(
            message.port,
            _NUMBER.unpack(pid)[0] if len(pid) == _NUMBER.size else 0,
            printable(text(said.get(_GEN_NAME, b""))),
            self._changes,
            self._marked,
        )

    def _take(self, message: Message) -> None:
        number = message.kind & 0xFF
        added = number in _KINDS
        kind = _KINDS.get(number if added else number - 2)
        if kind is None or not message.body:
            return
        of = attributes(message.body, _HEADER)
        table = next(of, (0, b""))
        if kind == "table" and added and self.mark is not None and table == (_TABLE_NAME, name(self.mark)):
            self._marked = True
        family = _FAMILIES.get(message.body[0])
        if family is not None and table == (_TABLE_NAME, _OURS):
            said = {_TABLE_NAME: _OURS, **dict(of)}
            count = sum(1 for _ in attributes(said.get(_ELEMENTS, b""))) if kind == "element" else 1
            change = Change(family, added, kind, printable(text(said.get(_NAME_AT[kind], b""))))
            self._changes[change] += max(count, 1)


def in_words(changes: Mapping[Change, int]) -> str:
    """Say what was done: `deleted table ip nftsvc`, `removed 3 elements of service-ips, added 1 of hairpin`.

    What went with its table is not told; the same in both families is told as one.
    """
    gone = {one.family for one in changes if one.kind == "table" and not one.added}
    told: Counter[tuple[str, str, str]] = Counter()
    for one, count in changes.items():
        if one.kind == "table":
            told["added" if one.added else "deleted", one.kind, f"{NFT_FAMILY[one.family]} {one.name}"] += count
        elif one.family not in gone:
            told["added" if one.added else "removed", one.kind, one.name] += count
    words: list[str] = []
    elements = False
    for (verb, kind, which), count in list(told.items())[:_WORDS]:
        if kind == "element":
            noun = "" if elements else " element" if count == 1 else " elements"
            words.append(f"{verb} {count}{noun} of {which}")
            elements = True
        elif kind == "rule":
            words.append(f"{verb} {count} rule{'s' * (count > 1)} of chain {which}")
        else:
            words.append(f"{verb} {kind} {which}")
    if len(told) > _WORDS:
        words.append(f"{len(told) - _WORDS} other changes")
    return ", ".join(words)
