"""nftables in memory: what the operations of a transaction do to tables, as strict as the kernel.

Whatever the kernel would refuse is an AssertionError here: adding a key that exists, deleting one that does not, going
to a chain that is not there, deleting a chain that is gone to.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from nftsvc.changes import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DeleteChains,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    Operation,
    ReplaceRules,
    Transaction,
)
from nftsvc.ruleset import Chain, Entry, Key, NamedSet, Ruleset, Table
from nftsvc.values import Family


@dataclass
class _Table:
    sets: dict[str, NamedSet] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    elements: dict[str, dict[Key, Entry]] = field(default_factory=dict)

    def targets(self) -> set[str]:
        """Return every chain that an element or a rule goes to."""
        verdicts = [str(part) for one in self.elements.values() for entry in one.values() for part in entry.value]
        rules = [rule.text for chain in self.chains.values() for rule in chain.rules]
        words = [text.split() for text in verdicts + rules]
        return {line[at + 1] for line in words for at, word in enumerate(line[:-1]) if word in ("goto", "jump")}


class Model:
    """Tables in memory, starting from a ruleset."""

    def __init__(self, start: Ruleset) -> None:
        self._tables = {
            family: _Table(
                {one.name: one for one in table.sets},
                {one.name: one for one in table.chains},
                {name: dict(elements) for name, elements in table.elements.items()},
            )
            for family, table in start.tables.items()
        }

    def run(self, transactions: Iterable[Transaction]) -> None:
        for transaction in transactions:
            for operation in transaction:
                self._do(operation)
            for table in self._tables.values():
                missing = table.targets() - table.chains.keys()
                assert not missing, f"verdicts lead to chains that are not there: {missing}"

    def _do(self, operation: Operation) -> None:  # noqa: C901 - one case for each class
        if isinstance(operation, AddTable):
            assert operation.family not in self._tables
            self._tables[operation.family] = _Table()
            return
        if isinstance(operation, DeleteTable):
            del self._tables[operation.family]
            return
        table = self._tables[operation.family]
        match operation:
            case AddSet(set=one):
                assert one.name not in table.sets
                table.sets[one.name], table.elements[one.name] = one, {}
            case AddChain(chain=chain):
                assert chain.name not in table.chains
                table.chains[chain.name] = chain
            case ReplaceRules(chain=chain):
                assert chain.name in table.chains
                table.chains[chain.name] = chain
            case DeleteChains(chains=chains):
                for chain in chains:
                    del table.chains[chain.name]
            case DeleteSet(set=one):
                del table.sets[one.name], table.elements[one.name]
            case DeleteElements(set=one, entries=entries):
                for key, _ in entries:
                    del table.elements[one.name][key]
            case AddElements(set=one, entries=entries):
                for key, entry in entries:
                    assert key not in table.elements[one.name], f"{one.name} has {key} already"
                    table.elements[one.name][key] = entry

    def ruleset(self) -> Ruleset:
        """Return what is in the tables; a copy."""
        return Ruleset(
            {
                family: Table(
                    family,
                    tuple(one.sets.values()),
                    tuple(one.chains.values()),
                    {name: dict(elements) for name, elements in one.elements.items()},
                )
                for family, one in self._tables.items()
            }
        )

    def content(self) -> dict[Family, object]:
        """Return everything in the tables, comparable with `content_of`."""
        return {
            family: (set(table.sets.values()), set(table.chains.values()), table.elements)
            for family, table in self._tables.items()
        }


def content_of(ruleset: Ruleset) -> dict[Family, object]:
    """Return a ruleset's content without the order of its objects."""
    return {family: (set(one.sets), set(one.chains), dict(one.elements)) for family, one in ruleset.tables.items()}


def meaning(ruleset: Ruleset) -> dict[Family, object]:
    """Return a ruleset's content without the order of endpoints in their slots."""
    return {family: (set(one.sets), set(one.chains), _without_slots(one)) for family, one in ruleset.tables.items()}


def _without_slots(table: Table) -> dict[str, object]:
    slotted = {one.name for one in table.sets if "numgen" in one.key}
    return {
        name: sorted((key[:-1], entry.value) for key, entry in elements.items()) if name in slotted else dict(elements)
        for name, elements in table.elements.items()
    }
