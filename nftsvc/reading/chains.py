"""Chains and rules in nft text.

A rule is its text, its comment, and the words it is compared by (see `nftsvc.ruleset.Rule`): its text is another with
each version of nft and with each way to list it.
"""

import re

from nftsvc.reading.words import NOT_READ, Item, Source
from nftsvc.ruleset import Chain, Hook, Rule
from nftsvc.values import quoted

_HOOK = re.compile(r"type (\w+) hook (\w+) (?:device.* )?priority (.+)")
_COMMENT = re.compile(r' comment (?:"([^"]*)"|([^\s"]+))$')
_PRIORITY = re.compile(r"(-?[0-9]{1,10}|[a-z]+) ?(?:([+-]) ?([0-9]{1,10}))?")

# nft's names for priorities in ip and ip6. Before 1.0.9 `dstnat` is for prerouting and `srcnat` for postrouting only.
_PRIORITIES = {"raw": -300, "mangle": -150, "dstnat": -100, "filter": 0, "security": 50, "srcnat": 100}


def read_chain(source: Source, item: Item, name: str) -> Chain:
    """Return a chain. Unreadable for a hook, a priority or a policy that nft does not have; a rule may be anything."""
    hook: Hook | None = None
    policy = ""
    rules: list[Rule] = []
    for one in source.inside(item):
        text = source.written(one)
        word = text.partition(" ")[0]
        try:
            if word == "type":
                hook = _hook(text)
            elif word == "policy":
                policy = _policy(text)
            elif word in NOT_READ:
                raise source.unknown(one, "")
            elif word not in {"flags", "comment", "device", "devices"}:
                rules.append(_rule(text))
        except ValueError as error:
            raise source.fault(source.place(one), f"chain {name}: {error}") from None
    if hook is not None and policy:
        hook = Hook(hook.type, hook.hook, hook.priority, policy)
    return Chain(name, tuple(rules), hook)


def _hook(text: str) -> Hook:
    match = _HOOK.fullmatch(text)
    if match is None:
        raise ValueError(f"{quoted(text)} is no hook")
    return Hook(match[1], match[2], priority(match[3]))


def priority(text: str) -> int:
    """Return a priority as a number: `-110`, `dstnat`, `dstnat - 10`. ValueError if it is none."""
    match = _PRIORITY.fullmatch(text)
    base = _PRIORITIES.get(match[1], match[1]) if match is not None else ""
    if match is None or (isinstance(base, str) and base.isalpha()):
        raise ValueError(f"{quoted(text)} is no priority")
    return int(base) + int(f"{match[2] or ''}{match[3] or 0}")


def _policy(text: str) -> str:
    policy = text.removeprefix("policy ")
    if policy not in {"accept", "drop"}:
        raise ValueError(f"{quoted(policy)} is no policy")
    return policy


def _rule(text: str) -> Rule:
    match = _COMMENT.search(text)
    if match is None:
        return Rule.of(text, "")
    return Rule.of(text[: match.start()], match[1] or match[2] or "")
