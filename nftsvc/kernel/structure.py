"""Chains and rules from the kernel's own messages (<linux/netfilter/nf_tables.h>), as `nftsvc.ruleset` has them.

Of a rule it is read what rules are compared by: the comment, and which sets it looks into, where it leads, its
verdicts. All numbers are in the network's byte order.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from nftsvc.kernel.elements import HEADER, comment, verdict
from nftsvc.kernel.netlink import Message, attributes, text
from nftsvc.ruleset import VERDICTS, Chain, Hook, Rule

_TABLE_OF, _TABLE_FLAGS = 1, 2
_CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 3, 4, 5, 7
_HOOK_NUMBER, _HOOK_PRIORITY = 1, 2
_RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USER_DATA = 2, 4, 7
_EXPRESSION_NAME, _EXPRESSION_DATA = 1, 2
_IMMEDIATE_DATA = 2
_LOOKUP_SET, _DYNSET_SET, _NAT_TYPE = 1, 1, 1
_DESTINATION = 1  # NFT_NAT_DNAT

_FLAGS = {0x1: "dormant", 0x2: "owner", 0x4: "persist"}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_POLICIES = ("drop", "accept")
_STATEMENTS = {"masq": "masquerade", "reject": "reject"}

_Said = Mapping[int, bytes]


def table_flags(messages: Iterable[Message], table: str) -> tuple[str, ...] | None:
    """Return the flags of a table among those of NFT_MSG_GETTABLE, None if it is not there."""
    for message in messages:
        said = dict(attributes(message.body, HEADER))
        if text(said.get(_TABLE_OF, b"")) == table:
            flags = _number(said, _TABLE_FLAGS)
            rest = flags & ~sum(_FLAGS)
            return (*(word for bit, word in _FLAGS.items() if flags & bit), *((hex(rest),) if rest else ()))
    return None


def chains(found: Iterable[Message], rules: Iterable[Message], table: str, sets: Collection[str]) -> tuple[Chain, ...]:
    """Return a table's chains from the messages of NFT_MSG_GETCHAIN and NFT_MSG_GETRULE, which may be of others, too.

    `sets` are those of its sets that count as looked into, by name.
    """
    of_chain: dict[str, list[Rule]] = {}
    for said in _ours(rules, table):
        words = {word for one in _listed(said.get(_RULE_EXPRESSIONS, b"")) for word in _words(one, sets)}
        rule = Rule("", comment(said.get(_RULE_USER_DATA, b"")), tuple(sorted(words)))
        of_chain.setdefault(text(said.get(_RULE_CHAIN, b"")), []).append(rule)
    named = {text(said.get(_CHAIN_NAME, b"")): _hook(said) for said in _ours(found, table)}
    return tuple(Chain(name, tuple(of_chain.get(name, ())), hook) for name, hook in named.items())


def _ours(messages: Iterable[Message], table: str) -> Iterator[_Said]:
    for message in messages:
        said = dict(attributes(message.body, HEADER))
        if text(said.get(_TABLE_OF, b"")) == table:
            yield said


def _hook(said: _Said) -> Hook | None:
    if _CHAIN_HOOK not in said:
        return None
    where = dict(attributes(said[_CHAIN_HOOK]))
    return Hook(
        text(said.get(_CHAIN_TYPE, b"")),
        _word(_HOOKS, _number(where, _HOOK_NUMBER)),
        int.from_bytes(where.get(_HOOK_PRIORITY, b""), "big", signed=True),
        _word(_POLICIES, _number(said, _CHAIN_POLICY)),
    )


def _words(expression: _Said, sets: Collection[str]) -> Iterator[str]:
    """Yield what one expression of a rule adds to `Rule.words`."""
    kind, data = text(expression.get(_EXPRESSION_NAME, b"")), expression.get(_EXPRESSION_DATA, b"")
    reader = _READERS.get(kind)
    if reader is not None:
        yield from reader(dict(attributes(data)), sets)
    elif kind in _STATEMENTS:
        yield _STATEMENTS[kind]


def _lookup(said: _Said, sets: Collection[str]) -> Iterator[str]:
    name = text(said.get(_LOOKUP_SET, b""))
    if name in sets:
        yield f"@{name}"


def _update(said: _Said, _: Collection[str]) -> Iterator[str]:
    yield f"@{text(said.get(_DYNSET_SET, b''))}"


def _immediate(said: _Said, _: Collection[str]) -> Iterator[str]:
    word, *chain = verdict(said.get(_IMMEDIATE_DATA, b"")) or ("",)
    if word in VERDICTS:
        yield word
    yield from chain


def _nat(said: _Said, _: Collection[str]) -> Iterator[str]:
    if _number(said, _NAT_TYPE) == _DESTINATION:
        yield "dnat"


_READERS: Mapping[str, Callable[[_Said, Collection[str]], Iterator[str]]] = {
    "lookup": _lookup,
    "dynset": _update,
    "immediate": _immediate,
    "nat": _nat,
}


def _listed(data: bytes) -> Iterator[_Said]:
    for _, one in attributes(data):
        yield dict(attributes(one))


def _number(said: _Said, kind: int) -> int:
    return int.from_bytes(said.get(kind, b""), "big")


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if number < len(words) else str(number)
