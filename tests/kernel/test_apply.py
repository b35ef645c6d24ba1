"""Loading into a real kernel: only differences, all or nothing, nobody else's tables, repairs, and who is to blame."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from nftsvc.changes import compare
from nftsvc.errors import FeatureMissing, KernelError, KernelRefused, KernelUnavailable
from nftsvc.kernel import Kernel, load_privately
from nftsvc.kernel.context import Context
from nftsvc.kernel.preflight import FEATURES, Feature, missing_feature
from nftsvc.lab import Namespace
from nftsvc.pipeline import check_in_kernel
from nftsvc.plan import Plan
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import EMPTY, make_ruleset
from nftsvc.sync import compare_with_kernel, remove, synchronise
from nftsvc.values import Family
from tests.support.builders import endpoint_slice, many_services, plan_of, service
from tests.support.cases import all_cases

RENDERER = Renderer()
FOREIGN = """
table ip filter {
  chain input {
    type filter hook input priority 0; policy accept;
    counter
  }
}
table ip nftsvc-other {
  set s {
    type ipv4_addr
    elements = { 10.0.0.1 }
  }
}
table inet nftsvc {
  map m {
    type inet_service : verdict
    elements = { 80 : accept }
  }
}
"""


def nft(namespace: Namespace, *arguments: str, text: str = "") -> str:
    command = ["ip", "netns", "exec", namespace.name, "nft", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def plan(endpoints: int = 3, **changes: str) -> Plan:
    addresses = [f"10.244.1.{n}" for n in range(1, endpoints + 1)]
    return plan_of(
        service("web", [changes.get("address", "10.96.0.1")], [{"port": 80, "nodePort": 30080}]),
        service("empty", ["10.96.0.2"]),
        *([endpoint_slice("web", addresses)] if endpoints else []),
    )


def test_second_load_of_the_same_plan_sends_nothing(kernel: Kernel) -> None:
    assert synchronise(kernel, plan(), RENDERER).transactions
    assert synchronise(kernel, plan(), RENDERER).transactions == ()


def test_load_with_a_new_kernel_object_adopts_what_is_there(kernel: Kernel, empty_namespace: Namespace) -> None:
    synchronise(kernel, plan(), RENDERER)
    with Kernel(empty_namespace.path) as restarted:
        assert synchronise(restarted, plan(), RENDERER).transactions == ()


@pytest.mark.parametrize(
    ("before", "after", "added", "removed"),
    [
        # 2 frontends (cluster IP and node port), each: 1 endpoint element; 1 verdict replaced; 1 hairpin element
        (3, 4, 2 + 2 + 1, 2),
        (4, 3, 2, 2 + 2 + 1),
        (3, 3, 0, 0),
    ],
)
def test_one_endpoint_costs_a_few_elements_however_many_there_are(
    kernel: Kernel, before: int, after: int, added: int, removed: int
) -> None:
    for offset in (0, 100):
        remove(kernel, RENDERER)
        synchronise(kernel, plan(before + offset), RENDERER)
        changes = synchronise(kernel, plan(after + offset), RENDERER).changes
        assert (changes.added, changes.removed) == (added, removed)


def test_replacing_an_endpoint_leaves_the_verdict_and_its_counter_alone(kernel: Kernel) -> None:
    def slices(last: str) -> Plan:
        web = service("web", ["10.96.0.1"])
        return plan_of(web, endpoint_slice("web", ["10.244.1.1", "10.244.1.2", last]), families=(Family.IPV4,))

    synchronise(kernel, slices("10.244.1.3"), RENDERER)
    changes = synchronise(kernel, slices("10.244.1.9"), RENDERER).changes
    assert {place.set.name for place in changes.elements} == {"tcp-endpoints", "hairpin"}
    assert (changes.added, changes.removed) == (2, 2)


def test_counters_of_other_services_survive_a_change(kernel: Kernel, empty_namespace: Namespace) -> None:
    synchronise(kernel, plan(), RENDERER)
    counted = "delete element ip nftsvc no-endpoints { 10.96.0.2 . tcp . 80 }\nadd element ip nftsvc no-endpoints "
    counted += '{ 10.96.0.2 . tcp . 80 counter packets 7 bytes 420 comment "shop/empty" : goto reject-connection }\n'
    nft(empty_namespace, "-f", "-", text=counted)
    assert synchronise(kernel, plan(5), RENDERER).changes.services == ("shop/web",)
    assert "counter packets 7 bytes 420" in nft(empty_namespace, "list", "table", "ip", "nftsvc")


def test_other_tables_are_neither_changed_nor_listed(kernel: Kernel, empty_namespace: Namespace) -> None:
    nft(empty_namespace, "-f", "-", text=FOREIGN)
    before = nft(empty_namespace, "list", "ruleset")
    synchronise(kernel, plan(), RENDERER)
    assert kernel.read().tables.keys() == {Family.IPV4, Family.IPV6}
    assert remove(kernel, RENDERER) == (Family.IPV4, Family.IPV6)
    assert nft(empty_namespace, "list", "ruleset") == before
    assert remove(kernel, RENDERER) == ()
    for table in ("ip filter", "ip nftsvc-other", "inet nftsvc"):
        nft(empty_namespace, "delete", "table", *table.split())


def test_family_that_is_not_asked_for_is_left_alone(kernel: Kernel) -> None:
    synchronise(kernel, plan(), RENDERER)
    only = plan_of(families=(Family.IPV6,))
    synchronise(kernel, only, RENDERER)
    assert kernel.read().tables[Family.IPV4].elements["tcp-endpoints"]


@pytest.mark.parametrize(
    "damage",
    [
        "delete element ip nftsvc tcp-endpoints { 10.96.0.1 . 80 . 1 }",
        "delete element ip nftsvc service-ips { 10.96.0.1 . tcp . 80 }",
        "add element ip nftsvc service-ips { 10.96.0.9 . tcp . 80 : drop }",
        'add element ip nftsvc service-ips { 10.96.0.9 . 41 . 80 comment "x/y:z" : goto reject-connection }',
        "add element ip nftsvc tcp-endpoints { 10.96.0.1 . 80 . 65000 : 10.244.9.9 . 1 }",
        "flush map ip nftsvc tcp-endpoints",
        "flush chain ip nftsvc services",
        "flush chain ip nftsvc filter-forward",
        "insert rule ip nftsvc services drop",
        'add rule ip nftsvc tcp-lb-3 drop comment "one of 3"',
        "add chain ip nftsvc strange\nadd rule ip nftsvc strange drop",
        "add set ip nftsvc strange { type ipv4_addr; }",
        "flush chain ip nftsvc layout",
        "delete chain ip nftsvc nat-prerouting",
        "delete chain ip nftsvc nat-output\nadd chain ip nftsvc nat-output { type nat hook output priority 50; }",
        "add table ip nftsvc { flags dormant; }",
        'flush chain ip nftsvc nat-prerouting\nadd rule ip nftsvc nat-prerouting accept comment "to Services"',
        "add chain ip nftsvc filter-input { policy drop; }",
        "add chain ip nftsvc aa\nadd chain ip nftsvc bb\nadd rule ip nftsvc bb jump aa\nadd rule ip nftsvc aa accept",
        "add set ip nftsvc bad { type ipv4_addr; flags interval; }\nadd element ip nftsvc bad { 10.0.0.0/8 }",
        "delete table ip nftsvc",
        "flush ruleset",
        "delete table ip nftsvc\nadd table ip nftsvc",
    ],
)
def test_what_others_did_to_our_tables_is_repaired(kernel: Kernel, empty_namespace: Namespace, damage: str) -> None:
    wanted = synchronise(kernel, plan(), RENDERER).wanted
    before = nft(empty_namespace, "list", "ruleset")
    nft(empty_namespace, "-f", "-", text=damage)
    assert synchronise(kernel, plan(), RENDERER).transactions
    assert not compare(kernel.read(), wanted)
    assert _objects(nft(empty_namespace, "list", "ruleset")) == _objects(before)


def test_a_load_that_comes_too_late_is_refused_and_undoes_nothing(
    kernel: Kernel, empty_namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes load at once: the second finds a table where it saw none, and leaves it alone."""
    with Kernel(empty_namespace.path) as late:
        seen = late.read()
        wanted = synchronise(kernel, plan(), RENDERER).wanted
        monkeypatch.setattr(late, "read", lambda _families: seen)
        with pytest.raises(KernelRefused, match="File exists"):
            synchronise(late, plan(5), RENDERER)
    assert not compare(kernel.read(), wanted)


def test_clean_removes_tables_whatever_is_in_them(kernel: Kernel, empty_namespace: Namespace) -> None:
    strange = "table ip nftsvc {\n set bad {\n type ipv4_addr\n flags interval\n elements = { 10.0.0.0/8 }\n }\n}\n"
    nft(empty_namespace, "-f", "-", text=strange)
    assert remove(kernel, RENDERER) == (Family.IPV4,)
    assert nft(empty_namespace, "list", "ruleset") == ""


def test_preflight_leaves_a_table_of_its_name_alone(kernel: Kernel, empty_namespace: Namespace) -> None:
    nft(empty_namespace, "-f", "-", text="table ip nftsvc-preflight {\n chain c {\n }\n}\n")
    kernel.preflight()
    assert "table ip nftsvc-preflight" in nft(empty_namespace, "list", "ruleset")
    nft(empty_namespace, "delete", "table", "ip", "nftsvc-preflight")


def _objects(listing: str) -> list[str]:
    return sorted(line.strip(" \t,") for line in listing.splitlines())


def test_interrupted_first_load_is_completed(kernel: Kernel) -> None:
    """A process that dies in the middle of a staged load leaves a table that nothing leads to; the next one goes on."""
    wanted = make_ruleset(many_services(50))
    scripts = list(RENDERER.scripts(compare(EMPTY, wanted).transactions(20)))
    for script in scripts[: len(scripts) // 2]:
        kernel.run(script)
    assert not any(chain.hook for chain in kernel.read().tables[Family.IPV4].chains)
    done = synchronise(kernel, many_services(50), RENDERER)
    assert done.changes.added < sum(map(len, wanted.tables[Family.IPV4].elements.values()))
    assert not compare(kernel.read(), wanted)


def test_first_load_goes_live_with_its_last_transaction_only(kernel: Kernel) -> None:
    scripts = list(RENDERER.scripts(compare(EMPTY, make_ruleset(many_services(50))).transactions(20)))
    assert len(scripts) > 5
    for script in scripts[:-1]:
        kernel.run(script)
        assert not any(chain.hook for table in kernel.read().tables.values() for chain in table.chains)
    kernel.run(scripts[-1])
    assert all(any(chain.hook for chain in table.chains) for table in kernel.read().tables.values())


def broken_templates(folder: Path, name: str, old: str, new: str) -> Renderer:
    """Return a renderer with one of the templates changed."""
    text = (Path(__file__).parents[2] / "templates" / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new))
    return Renderer(folder)


def test_refusal_names_the_service_and_changes_nothing(kernel: Kernel, tmp_path: Path) -> None:
    synchronise(kernel, plan(2), RENDERER)
    before = kernel.read()
    broken = broken_templates(
        tmp_path, "operations.nft.j2", "op.set.data) }}", "op.set.data) | replace(': 10.244.1.3', ': 10.244.1.999') }}"
    )
    with pytest.raises(KernelRefused, match=r"^Service shop/web: .*\n.*10\.244\.1\.999"):
        synchronise(kernel, plan(3), broken)
    assert kernel.read() == before


def test_refused_first_load_leaves_nothing_behind(kernel: Kernel, tmp_path: Path) -> None:
    broken = broken_templates(
        tmp_path, "operations.nft.j2", "add element {{", "add element {{ 'x' if op.set.name == 'nodeports' }}{{"
    )
    with pytest.raises(KernelRefused):
        synchronise(kernel, many_services(50), broken, limit=20)
    assert kernel.read() == EMPTY


def test_refused_rule_is_blamed_on_its_chain(kernel: Kernel) -> None:
    (script,) = RENDERER.scripts(compare(EMPTY, make_ruleset(plan())).transactions())
    with pytest.raises(KernelRefused, match=r"chain tcp-lb-3: .*syntax error"):
        kernel.run(Script.of_text(script.text.replace("mod 3", "mod mod"), script.parts))


def test_refused_existing_key_is_blamed_on_its_service(kernel: Kernel) -> None:
    wanted = make_ruleset(many_services(300))
    synchronise(kernel, plan_of(service("s-7", ["10.96.0.8"]), endpoint_slice("s-7", ["10.1.1.1"])), RENDERER)
    scripts = RENDERER.scripts(compare(EMPTY, wanted).transactions(10**6))
    text = "".join(script.text for script in scripts)
    first = text.index("add element")
    elements_only = compare(kernel.read(), wanted)
    operations = elements_only.transactions(10**6)[0]
    script = RENDERER.script(operations)
    assert first > 0
    doubled = script.text.replace("delete element ip nftsvc service-ips {\n\t10.96.0.8 . tcp . 80\n}\n", "\n\n\n")
    assert doubled != script.text
    with pytest.raises(KernelRefused, match=r"^Service shop/s-7: .*File exists"):
        kernel.run(Script.of_text(doubled, script.parts))


def test_dry_run_writes_nothing(kernel: Kernel) -> None:
    assert compare_with_kernel(kernel, plan()).transactions
    assert kernel.read() == EMPTY


# Preflight and the private namespace ---------------------------------------------------------------------------------


def test_preflight_passes_here_and_leaves_nothing(kernel: Kernel, empty_namespace: Namespace) -> None:
    kernel.preflight()
    assert nft(empty_namespace, "list", "ruleset") == ""


def test_preflight_names_what_is_missing(empty_namespace: Namespace) -> None:
    wanted = Feature("time travel", "kernel option CONFIG_TIME_TRAVEL_{v}", "add chain {t} c\nadd rule {t} c travel")
    with pytest.raises(FeatureMissing, match=r"time travel \(ip\); it takes kernel option CONFIG_TIME_TRAVEL_IPV4"):
        empty_namespace.call(lambda: missing_feature(Context(), (*FEATURES, wanted)))
    assert nft(empty_namespace, "list", "ruleset") == ""


def test_preflight_covers_every_word_of_our_rules() -> None:
    """A rule with a new kind of expression needs a feature that tries it."""
    rules = " ".join(
        rule.text
        for restricted in ({Family.IPV4: ()}, None)
        for table in make_ruleset(plan() if restricted is None else replace_settings(plan())).tables.values()
        for chain in table.chains
        for rule in chain.rules
    )
    tried = " ".join(feature.commands for feature in FEATURES)
    for word in ("numgen random", "dnat", "masquerade fully-random", "fib daddr type local", "ct original", "reject"):
        assert word in rules
        assert word in tried


def replace_settings(made: Plan) -> Plan:
    return replace(made, settings=replace(made.settings, node_port_addresses={}))


@pytest.mark.parametrize("case", [case for case in all_cases() if not case.refused], ids=lambda case: case.name)
def test_check_accepts_every_case(case) -> None:  # noqa: ANN001 - a Case
    check_in_kernel(case.ruleset(), RENDERER)


def test_check_touches_nothing_outside(kernel: Kernel, empty_namespace: Namespace) -> None:
    empty_namespace.call(lambda: check_in_kernel(make_ruleset(plan()), RENDERER))
    assert kernel.read() == EMPTY


def test_private_kernel_can_say_no() -> None:
    (script,) = RENDERER.scripts(compare(EMPTY, make_ruleset(plan())).transactions())
    bad = Script.of_text(script.text.replace("goto tcp-lb-3", "goto nowhere"), script.parts)
    with pytest.raises(KernelRefused, match=r"^Service shop/web: .*No such file or directory"):
        load_privately([bad], (Family.IPV4,))


def test_check_notices_a_ruleset_that_reads_back_differently(tmp_path: Path) -> None:
    lying = broken_templates(
        tmp_path, "operations.nft.j2", "op.set.data) }}", "op.set.data) | replace(': 10.244.1.3', ': 10.244.1.4') }}"
    )
    with pytest.raises(KernelError, match="reads it back differently: shop/web"):
        check_in_kernel(make_ruleset(plan()), lying)


def test_namespace_that_is_not_there_is_named() -> None:
    with Kernel(Path("/run/netns/no-such-namespace")) as kernel, pytest.raises(KernelUnavailable, match="no-such-name"):
        kernel.read()


# Size ----------------------------------------------------------------------------------------------------------------


def shape(namespace: Namespace) -> dict[str, int]:
    """Return how many objects of each kind the kernel has, elements aside."""
    listed = json.loads(nft(namespace, "-j", "-t", "list", "ruleset"))["nftables"]
    kinds = [next(iter(item)) for item in listed]
    return {kind: kinds.count(kind) for kind in ("table", "chain", "rule", "set", "map")}


def test_ten_thousand_services_take_as_many_objects_as_ten(kernel: Kernel, empty_namespace: Namespace) -> None:
    shapes = []
    for count in (10, 10_000):
        remove(kernel, RENDERER)
        wanted = synchronise(kernel, many_services(count), RENDERER).wanted
        found = kernel.read()
        assert not compare(found, wanted)
        assert len(found.tables[Family.IPV4].elements["service-ips"]) == count
        assert len(found.tables[Family.IPV4].elements["tcp-endpoints"]) == 2 * count
        shapes.append(shape(empty_namespace))
    assert shapes[0] == shapes[1]
    assert shapes[0]["chain"] > 0


def test_set_that_somebody_adds_goes_and_nothing_else_does(kernel: Kernel) -> None:
    synchronise(kernel, plan(2), RENDERER)
    made = kernel.read()
    kernel.run(
        Script.of_text(
            "add set ip nftsvc junk { type ipv4_addr; }\n"
            "add element ip nftsvc junk { 192.0.2.9 }\n"
            "add map ip nftsvc junk-map { type ipv4_addr : verdict; }\n",
            (),
        )
    )
    done = synchronise(kernel, plan(2), RENDERER)
    assert (done.changes.added, done.changes.removed, len(done.transactions)) == (0, 0, 1)
    assert kernel.read() == made
