"""From one ruleset to another: what is done, in which order, and what is never torn apart."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from nftsvc import changes as module
from nftsvc.changes import (
    AddChain,
    AddElements,
    AddSet,
    AddTable,
    DeleteChains,
    DeleteElements,
    DeleteTable,
    Operation,
    ReplaceRules,
    Transaction,
    compare,
)
from nftsvc.plan import Plan
from nftsvc.ruleset import EMPTY, Chain, Entry, Ruleset, Table, make_ruleset
from nftsvc.values import FAMILIES, Family
from tests.support.builders import Raw, endpoint_slice, many_services, plan_of, service
from tests.support.model import Model, content_of

V4 = Family.IPV4
NODE_PORT: Raw = {"port": 80, "nodePort": 30080}


def web(endpoints: int, *, node_port: bool = False) -> tuple[Raw, ...]:
    addresses = [f"10.244.1.{number}" for number in range(1, endpoints + 1)]
    raw = service("web", ["10.96.0.1"], [NODE_PORT if node_port else {"port": 80}])
    return (raw, endpoint_slice("web", addresses)) if endpoints else (raw,)


def made(*raws: Raw, current: Ruleset = EMPTY, families: tuple[Family, ...] = (V4,)) -> Ruleset:
    return make_ruleset(plan_of(*raws, families=families), current)


def dual_stack(count: int, endpoints: int) -> Plan:
    raws: list[Raw] = []
    for number in range(count):
        addresses = [f"10.96.0.{number + 1}", f"fd00:96::{number + 1:x}"]
        raws.append(service(f"s-{number}", addresses, [{"port": 80, "nodePort": 30000 + number}]))
        raws += [
            endpoint_slice(f"s-{number}", [f"{prefix}{part + 1}" for part in range(endpoints)])
            for prefix in ("10.244.1.", "fd00:244:1::")
        ]
    return plan_of(*raws)


def kinds(transaction: Transaction) -> list[type[Operation]]:
    return [type(operation) for operation in transaction]


def owners(transaction: Transaction) -> set[str]:
    return {one.owner(key) for one in element_operations(transaction) for key, _ in one.entries} - {""}


def element_operations(transaction: Transaction) -> Iterator[AddElements | DeleteElements]:
    return (one for one in transaction if isinstance(one, (AddElements, DeleteElements)))


def assert_leads(old: Ruleset, new: Ruleset, transactions: Sequence[Transaction]) -> None:
    model = Model(old)
    model.run(transactions)
    assert model.content() == content_of(new)


# Nothing to do -------------------------------------------------------------------------------------------------------


def test_equal_rulesets_need_nothing() -> None:
    for ruleset in (EMPTY, made(), made(*web(3, node_port=True))):
        same = compare(ruleset, ruleset)
        assert not same
        assert same.transactions() == ()
        assert (same.added, same.removed, same.services) == (0, 0, ())


# How much ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "added", "removed"),
    [
        (3, 4, 1 + 1 + 1, 1),  # an endpoint, its hairpin, the verdict anew
        (4, 3, 1, 1 + 1 + 1),
        (50, 51, 3, 1),
        (0, 1, 1 + 1 + 1, 1),  # from rejected to forwarded
        (1, 0, 1, 1 + 1 + 1),
        (3, 3, 0, 0),
    ],
)
def test_one_endpoint_is_three_elements_however_many_there_are(
    before: int, after: int, added: int, removed: int
) -> None:
    old = made(*web(before))
    changes = compare(old, made(*web(after), current=old))
    assert (changes.added, changes.removed) == (added, removed)
    assert changes.services == (("shop/web",) if before != after else ())


def test_replaced_endpoint_leaves_the_verdict_alone() -> None:
    old = made(service("web", ["10.96.0.1"]), endpoint_slice("web", ["10.244.1.1", "10.244.1.2"]))
    raws = (service("web", ["10.96.0.1"]), endpoint_slice("web", ["10.244.1.1", "10.244.1.9"]))
    changes = compare(old, made(*raws, current=old))
    assert {place.set.name for place in changes.elements} == {"tcp-endpoints", "hairpin"}
    assert (changes.added, changes.removed) == (2, 2)


def test_new_service_touches_nothing_of_the_others() -> None:
    old = made(*web(2))
    new = made(*web(2), service("api", ["10.96.0.2"]), endpoint_slice("api", ["10.244.1.1"]), current=old)
    changes = compare(old, new)
    assert changes.services == ("shop/api",)
    assert changes.removed == 0
    assert {key[0] for found in changes.elements.values() for key, _ in found.coming} == {"10.96.0.2"}


def test_changed_element_is_taken_out_and_put_in_in_one_transaction() -> None:
    old = made(*web(2))
    new = made(*web(3), current=old)
    transaction = compare(old, new).transactions()[0]
    out = {key for one in element_operations(transaction) if isinstance(one, DeleteElements) for key, _ in one.entries}
    into = {key for one in element_operations(transaction) if isinstance(one, AddElements) for key, _ in one.entries}
    assert ("10.96.0.1", "tcp", 80) in out & into


# Order ---------------------------------------------------------------------------------------------------------------


def test_first_load_makes_structure_then_elements_then_base_chains() -> None:
    new = made(*web(2, node_port=True))
    (transaction,) = compare(EMPTY, new).transactions()
    order = kinds(transaction)
    assert order[0] == AddTable
    base = [isinstance(one, AddChain) and one.chain.hook is not None for one in transaction]
    first_element = order.index(AddElements)
    assert set(order[1:first_element]) == {AddSet, AddChain}
    assert not any(base[: base.index(True)])
    assert all(base[base.index(True) :])
    assert set(order[first_element : base.index(True)]) == {AddElements}
    assert DeleteElements not in order


def test_what_others_refer_to_comes_first_and_goes_last() -> None:
    old = made(*web(3, node_port=True), service("a", ["10.96.0.2"]), endpoint_slice("a", ["10.244.1.3"]))
    new = made(*web(2, node_port=True), service("b", ["10.96.0.3"]), endpoint_slice("b", ["10.244.1.9"]), current=old)
    transaction = compare(old, new).transactions()[0]
    operations = [(type(one), one.set.data == "verdict") for one in element_operations(transaction)]
    assert operations == sorted(operations, key=lambda one: (one[0] is AddElements, one[1] is (one[0] is AddElements)))
    assert {kind for kind, _ in operations} == {AddElements, DeleteElements}


def test_chain_is_there_before_the_verdict_and_gone_only_after_another_transaction() -> None:
    old = made(*web(2))
    new = made(*web(3), current=old)
    first, last = compare(old, new).transactions()
    assert isinstance(first[0], AddChain)
    assert first[0].chain.name == "tcp-lb-3"
    assert "tcp-lb-2" not in str(kinds(first))
    assert list(element_operations(last)) == []
    assert "tcp-lb-2" in repr(last)
    assert_leads(old, new, (first, last))


@pytest.mark.parametrize("limit", [1, 3, 7, 50, 5000])
def test_leftovers_are_last_and_alone(limit: int) -> None:
    old, wanted = make_ruleset(dual_stack(6, 2)), dual_stack(6, 3)
    new = make_ruleset(wanted, old)
    changes = compare(old, new)
    transactions = changes.transactions(limit)
    assert transactions[-1] == changes.leftovers
    assert len(changes.leftovers) > 0
    for operation in changes.leftovers:
        assert not [one for one in transactions[:-1] if operation in one]
    assert_leads(old, new, transactions)


# Cutting -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 5, 20, 100])
@pytest.mark.parametrize("start", ["nothing", "fewer endpoints", "other Services"])
def test_no_transaction_splits_a_service(start: str, limit: int) -> None:
    before = {"nothing": EMPTY, "fewer endpoints": make_ruleset(dual_stack(12, 1)), "other Services": made(*web(1))}
    old, plan = before[start], dual_stack(12, 4)
    new = make_ruleset(plan, old)
    transactions = compare(old, new).transactions(limit)
    for owner in (f"shop/s-{number}" for number in range(12)):
        assert sum(owner in owners(transaction) for transaction in transactions) == 1
    assert len(transactions) > 3
    assert_leads(old, new, transactions)


def test_no_transaction_splits_a_service_whose_names_are_too_long_for_a_comment() -> None:
    label = "x" * 60
    ports = [{"name": f"{number}-{label}", "port": 80 + number} for number in range(6)]
    raws: list[Raw] = []
    for number in range(4):
        raws.append(service(f"{label}{number}", [f"10.96.0.{number + 1}"], ports, label))
        raws.append(endpoint_slice(f"{label}{number}", ["10.244.1.1", "10.244.1.2"], ports, label))
    transactions = compare(EMPTY, made(*raws)).transactions(5)
    for number in range(4):
        address = f"10.96.0.{number + 1}"
        found = [
            transaction
            for transaction in transactions
            if any(key[0] == address for one in element_operations(transaction) for key, _ in one.entries)
        ]
        assert len(found) == 1


def with_comments(ruleset: Ruleset, name: str, comment: str | None = None) -> Ruleset:
    """Return a part of a ruleset: one set of each table, its elements with a comment that is not ours."""
    return Ruleset(
        {
            family: replace(
                table,
                elements={
                    one.name: {
                        key: entry if comment is None else Entry(entry.value, comment)
                        for key, entry in table.elements[one.name].items()
                        if one.name == name
                    }
                    for one in table.sets
                },
            )
            for family, table in ruleset.tables.items()
        }
    )


@pytest.mark.parametrize("limit", [1, 5, 7])
@pytest.mark.parametrize("name", ["hairpin", "tcp-endpoints", "service-ips"])
def test_what_leads_elsewhere_goes_and_comes_in_one_transaction_whosever_it_is(name: str, limit: int) -> None:
    """Of a part of a table, as for a repair, nobody knows whose the slots are."""
    ruleset = make_ruleset(dual_stack(6, 4))
    old, new = with_comments(ruleset, name, "strange"), with_comments(ruleset, name)
    transactions = compare(old, new).transactions(limit)
    assert len(transactions) > 1
    for transaction in transactions:
        gone, come = (
            {key for one in element_operations(transaction) if isinstance(one, kind) for key, _ in one.entries}
            for kind in (DeleteElements, AddElements)
        )
        assert gone == come
    assert_leads(old, new, transactions)


def test_an_element_that_leads_elsewhere_counts_once() -> None:
    ruleset = make_ruleset(dual_stack(6, 4))
    changes = compare(with_comments(ruleset, "tcp-endpoints", "strange"), with_comments(ruleset, "tcp-endpoints"))
    assert changes.added == changes.removed == 2 * 6 * 4
    assert len(changes.transactions(changes.added)) == 1
    assert len(changes.transactions(changes.added - 1)) > 1


def test_transactions_are_about_as_large_as_the_limit() -> None:
    new = make_ruleset(many_services(200))
    sizes = [
        sum(len(one.entries) for one in element_operations(transaction))
        for transaction in compare(EMPTY, new).transactions(50)
    ]
    assert max(sizes) <= 50
    assert sum(size > 0 for size in sizes) < sum(sizes) / 25


def test_first_load_that_is_cut_adds_base_chains_with_the_last_transaction_only() -> None:
    new = make_ruleset(dual_stack(10, 2))
    transactions = compare(EMPTY, new).transactions(20)
    assert len(transactions) > 3
    for transaction in transactions[:-1]:
        assert not [one for one in transaction if isinstance(one, AddChain) and one.chain.hook is not None]
    assert {one.family for one in transactions[-1]} == set(FAMILIES)
    assert all(isinstance(one, AddChain) and one.chain.hook is not None for one in transactions[-1])


def test_one_transaction_serves_both_families() -> None:
    old = make_ruleset(dual_stack(3, 2))
    (transaction, _) = compare(old, make_ruleset(dual_stack(3, 3), old)).transactions()
    assert {one.family for one in transaction} == set(FAMILIES)


# Structure -----------------------------------------------------------------------------------------------------------


def replaced(ruleset: Ruleset, *chains: Chain) -> Ruleset:
    """Return the ruleset with other chains of the same names in its IPv4 table, or further ones."""
    table = ruleset.tables[V4]
    names = {chain.name for chain in chains}
    kept = tuple(chain for chain in table.chains if chain.name not in names)
    return Ruleset({**ruleset.tables, V4: Table(V4, table.sets, kept + chains, table.elements)})


def chain_of(ruleset: Ruleset, name: str) -> Chain:
    (found,) = [chain for chain in ruleset.tables[V4].chains if chain.name == name]
    return found


def test_chain_with_other_rules_gets_ours_and_nothing_else_is_touched() -> None:
    new = made(*web(2))
    flushed = chain_of(new, "services")
    old = replaced(new, Chain(flushed.name, ()))
    (transaction,) = compare(old, new).transactions()
    assert transaction == (ReplaceRules(V4, flushed),)


def test_chain_that_is_not_ours_is_deleted() -> None:
    new = made(*web(2))
    old = replaced(new, Chain("strange", ()))
    (transaction,) = compare(old, new).transactions()
    assert "strange" in repr(transaction)
    assert_leads(old, new, (transaction,))


@pytest.mark.parametrize("limit", [1, 10, 5000])
def test_table_of_another_layout_is_replaced_in_one_transaction(limit: int) -> None:
    new = made(*web(5, node_port=True))
    for old in (
        make_ruleset(plan_of(*web(5), families=(V4,), node_port_addresses={})),
        replaced(new, Chain("layout", ())),
        Ruleset({V4: Table(V4, (), (), {})}),
    ):
        (transaction,) = compare(old, new).transactions(limit)
        assert kinds(transaction)[:2] == [DeleteTable, AddTable]
        assert_leads(old, new, (transaction,))


@pytest.mark.parametrize("limit", [1, 10, 5000])
def test_table_with_other_rules_gets_ours_in_one_transaction_and_keeps_its_elements(limit: int) -> None:
    new = made(*web(5, node_port=True))
    plan = plan_of(*web(4, node_port=True), families=(V4,))
    old = make_ruleset(replace(plan, settings=replace(plan.settings, masquerade_all=True)))
    changes = compare(old, new)
    transaction, *_ = changes.transactions(limit)
    assert {DeleteTable, AddTable}.isdisjoint(kinds(transaction))
    rewritten = [one.chain.name for one in transaction if isinstance(one, ReplaceRules)]
    assert set(rewritten) == {one.name for one in old.tables[V4].chains} & {one.name for one in new.tables[V4].chains}
    assert changes.elements == compare(made(*web(4, node_port=True)), new).elements
    assert_leads(old, new, changes.transactions(limit))


def test_table_whose_base_chain_has_another_hook_is_replaced() -> None:
    new = made(*web(1))
    other = chain_of(new, "nat-output")
    old = replaced(new, Chain(other.name, other.rules, chain_of(new, "nat-postrouting").hook))
    (transaction,) = compare(old, new).transactions(1)
    assert kinds(transaction)[:2] == [DeleteTable, AddTable]


def test_table_that_is_not_wanted_any_more_is_deleted_in_one_operation() -> None:
    old = make_ruleset(dual_stack(3, 2))
    assert compare(old, EMPTY).transactions() == ((DeleteTable(Family.IPV4), DeleteTable(Family.IPV6)),)
    only_six = Ruleset({Family.IPV6: old.tables[Family.IPV6]})
    assert compare(old, only_six).transactions() == ((DeleteTable(Family.IPV4),),)


def test_limit_is_what_loads_fastest_unless_told() -> None:
    new = make_ruleset(many_services(1200))
    changes = compare(EMPTY, new)
    assert changes.transactions() == changes.transactions(module.ELEMENTS_PER_TRANSACTION)
    assert len(changes.transactions()) > 1


def test_slots_go_after_the_verdicts_that_lead_to_them() -> None:
    """A packet may find its verdict just before a transaction and look for its slot just after it."""
    two = plan_of(service("web", ["10.96.0.1"]), endpoint_slice("web", ["10.244.1.1", "10.244.1.2"]))
    one = plan_of(service("web", ["10.96.0.1"]), endpoint_slice("web", ["10.244.1.1"]))
    old = make_ruleset(two)
    first, last = compare(old, make_ruleset(one, old)).transactions()
    assert not [operation for operation in first if _takes_slots(operation)]
    assert [operation for operation in last if _takes_slots(operation)] == [last[0]]
    assert isinstance(last[-1], DeleteChains)


def _takes_slots(operation: Operation) -> bool:
    return isinstance(operation, DeleteElements) and operation.set.name == "tcp-endpoints"
