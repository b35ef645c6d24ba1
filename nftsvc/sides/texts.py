"""The full texts of two sides, made comparable.

What was read from a kernel has no text of rules and no types of keys, what was read from a listing has them as some
version of nft spells them. Where they come to the same as what nftsvc would write they are written as nftsvc does, in
its order; all else is shown as it was read.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from difflib import unified_diff as differences
from typing import TypeVar

from nftsvc.errors import UsageError
from nftsvc.render import Renderer
from nftsvc.ruleset import VERDICT, Chain, Elements, Key, NamedSet, Rule, Ruleset, Table
from nftsvc.ruleset.elements import verdicts_of
from nftsvc.ruleset.layout import chains_of, sets_of
from nftsvc.settings import NodeSettings
from nftsvc.sides.sources import Side
from nftsvc.traffic import alike, recognised
from nftsvc.values import address_order

_Named = TypeVar("_Named", NamedSet, Chain)


def full_texts(old: Side, new: Side, renderer: Renderer) -> tuple[str, str]:
    """Return both rulesets as text; they must have been asked for.

    UsageError if a kernel has what nftsvc cannot write, or templates are wrong.
    """
    known = [side.plan.settings for side in (new, old) if side.plan is not None]
    return _text(old, known, renderer), _text(new, known, renderer)


def unified_diff(texts: tuple[str, str], names: tuple[str, str]) -> Iterator[str]:
    """Yield the lines of a unified diff of two texts, without line ends; nothing if they are the same."""
    old, new = (text.splitlines() for text in texts)
    return differences(old, new, *names, lineterm="")


def _text(side: Side, known: Iterable[NodeSettings], renderer: Renderer) -> str:
    """Return a side's ruleset as text; a file with what nftsvc would never write, as it is."""
    if side.plan is not None:
        return renderer.ruleset(side.ruleset)
    tables = {family: _dressed(table, known) for family, table in side.ruleset.tables.items()}
    try:
        return renderer.ruleset(Ruleset(tables))
    except ValueError as error:
        if side.text:
            return side.text
        raise UsageError(f"{side.source} has no text: {error}") from error


def _dressed(table: Table, known: Iterable[NodeSettings]) -> Table:
    """Return a table that was read with the declarations and rules of ours, as far as it comes to the same."""
    settings = next((one for one in known if _layout(one, table) == table.layout), recognised(table)[1])
    chains = {one.name: one for one in chains_of(settings, table.family, frozenset(verdicts_of(table.elements)))}
    sets = {one.name: one for one in sets_of(settings, table.family)}
    return replace(
        table,
        sets=tuple(_set(one, sets.get(one.name)) for one in _ordered(table.sets, sets)),
        chains=tuple(_chain(one, chains.get(one.name)) for one in _ordered(table.chains, chains)),
        elements={name: _sorted(elements) for name, elements in table.elements.items()},
    )


def _layout(settings: NodeSettings, table: Table) -> str:
    return chains_of(settings, table.family, ())[0].rules[0].comment if table.family in settings.families else ""


def _ordered(found: Iterable[_Named], models: Iterable[str]) -> list[_Named]:
    """Return what was read in the order of ours; what is not ours comes last."""
    order = {name: number for number, name in enumerate(models)}
    return sorted(found, key=lambda one: order.get(one.name, len(order)))


def _set(read: NamedSet, model: NamedSet | None) -> NamedSet:
    """Return our declaration of a set; what it was declared with a kernel does not know, nor (`integer`) nft's JSON."""
    if model is None:
        return read
    kinds = [(bool(one.data), one.data == VERDICT) for one in (read, model)]
    same = read.key in {"", model.key} or "integer" in read.key
    return model if same and kinds[0] == kinds[1] else replace(read, purpose=model.purpose)


def _chain(read: Chain, model: Chain | None) -> Chain:
    if model is None:
        return read
    return replace(read, rules=tuple(_rule(one, model.rules) for one in read.rules), purpose=model.purpose)


def _rule(read: Rule, models: Iterable[Rule]) -> Rule:
    """Return the rule of ours that does the same, unless it names an interface that is not known."""
    same = (one for one in models if alike(Chain("", (read,)), Chain("", (one,))))
    shown = replace(read, text=read.text or " ".join(read.words))
    return next((one for one in same if 'iifname ""' not in one.text), shown)


def _sorted(elements: Elements) -> Elements:
    return dict(sorted(elements.items(), key=lambda item: _order(item[0])))


def _order(key: Key) -> tuple[tuple[int, bytes], ...]:
    """Sort elements as `make_ruleset` does: addresses and numbers by their value, words by their letters."""
    return tuple(_rank(part) for part in key)


def _rank(part: str | int) -> tuple[int, bytes]:
    if isinstance(part, int):
        return 0, part.to_bytes(8, "big")
    try:
        return 1, address_order(part)
    except ValueError:
        return 2, part.encode()
