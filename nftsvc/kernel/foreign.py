"""Other programs' nftables tables, by name only (<linux/netfilter/nf_tables.h>).

nft never gets to see them: versions before 1.1 crash when they list what later ones made (kubernetes/kubernetes issue
136786). Netlink tells the names of tables and chains, and which rules jump where, without a look at the rest. All
functions are about the calling thread's network namespace, and raise OSError where the kernel refuses.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from nftsvc.kernel.netlink import (
    NETFILTER,
    Message,
    Request,
    Socket,
    attribute,
    attributes,
    name,
    netfilter_header,
    text,
)
from nftsvc.kernel.notifications import NFTABLES
from nftsvc.kernel.writing import run_transaction
from nftsvc.values import Family

_GET_TABLE, _DELETE_TABLE = NFTABLES << 8 | 1, NFTABLES << 8 | 2
_GET_CHAIN, _DELETE_CHAIN = NFTABLES << 8 | 4, NFTABLES << 8 | 5
_GET_RULE, _DELETE_RULE = NFTABLES << 8 | 7, NFTABLES << 8 | 8
_HEADER = 4  # struct nfgenmsg

_TABLE = 1  # in every message
_CHAIN_NAME, _CHAIN_HOOK = 3, 4
_RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS = 2, 3, 4
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_IMMEDIATE_DATA, _VERDICT, _VERDICT_CHAIN = 2, 2, 2


class Chain(NamedTuple):
    """A chain of a table; `base` if packets enter there."""

    table: str
    name: str
    base: bool


class Jump(NamedTuple):
    """A rule of a chain that leads to another: what it takes to delete it."""

    chain: str
    target: str
    rule: str


def tables(family: Family) -> tuple[str, ...]:
    """Return the names of a family's tables."""
    return tuple(text(said.get(_TABLE, b"")) for said in _dump(_GET_TABLE, family))


def chains(family: Family) -> tuple[Chain, ...]:
    """Return the chains of all of a family's tables."""
    return tuple(
        Chain(text(said.get(_TABLE, b"")), text(said.get(_CHAIN_NAME, b"")), _CHAIN_HOOK in said)
        for said in _dump(_GET_CHAIN, family)
    )


def jumps(family: Family, table: str) -> tuple[Jump, ...]:
    """Return the rules of a table that jump or go to a chain; `rule` is the rule's handle."""
    return tuple(
        Jump(text(said.get(_RULE_CHAIN, b"")), target, str(int.from_bytes(said.get(_RULE_HANDLE, b""), "big")))
        for said in _dump(_GET_RULE, family, attribute(_TABLE, name(table)))
        if text(said.get(_TABLE, b"")) == table
        for target in _targets(said.get(_RULE_EXPRESSIONS, b""))
    )


def _dump(kind: int, family: Family, wanted: bytes = b"") -> Iterator[dict[int, bytes]]:
    with Socket(NETFILTER) as asked:
        found: list[Message] = asked.everything(kind, netfilter_header(family) + wanted)
    for message in found:
        yield dict(attributes(message.body, _HEADER))


def _targets(expressions: bytes) -> Iterator[str]:
    """Yield the chains that a rule's immediate verdicts name."""
    for _, expression in attributes(expressions):
        parts = dict(attributes(expression))
        if text(parts.get(_EXPRESSION_NAME, b"")) == "immediate":
            data = dict(attributes(parts.get(_EXPRESSION_DATA, b"")))
            value = dict(attributes(data.get(_IMMEDIATE_DATA, b"")))
            target = dict(attributes(value.get(_VERDICT, b""))).get(_VERDICT_CHAIN)
            if target is not None:
                yield text(target)


def delete_table(family: Family, table: str) -> Request:
    """Return what deletes a table with all that is in it."""
    return Request(_DELETE_TABLE, netfilter_header(family) + attribute(_TABLE, name(table)), 0)


def delete_rule(family: Family, table: str, jump: Jump) -> Request:
    """Return what deletes one rule."""
    where = attribute(_TABLE, name(table)) + attribute(_RULE_CHAIN, name(jump.chain))
    handle = attribute(_RULE_HANDLE, int(jump.rule).to_bytes(8, "big"))
    return Request(_DELETE_RULE, netfilter_header(family) + where + handle, 0)


def empty_chain(family: Family, table: str, chain: str) -> Request:
    """Return what deletes all rules of a chain."""
    where = attribute(_TABLE, name(table)) + attribute(_RULE_CHAIN, name(chain))
    return Request(_DELETE_RULE, netfilter_header(family) + where, 0)


def delete_chain(family: Family, table: str, chain: str) -> Request:
    """Return what deletes a chain without rules that nothing leads to."""
    where = attribute(_TABLE, name(table)) + attribute(_CHAIN_NAME, name(chain))
    return Request(_DELETE_CHAIN, netfilter_header(family) + where, 0)


def commit(requests: Sequence[Request]) -> None:
    """Run requests as one transaction: all of them or, with OSError, none."""
    if not requests:
        return
    with Socket(NETFILTER) as asked:
        run_transaction(asked, requests)
