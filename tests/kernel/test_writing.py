"""Elements sent as the kernel's own messages: the same as nft makes of the same commands, and as well refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nftsvc.changes import AddElements, DeleteElements, compare
from nftsvc.errors import KernelRefused
from nftsvc.kernel import Kernel, door
from nftsvc.kernel.writing import element_requests
from nftsvc.lab import Namespace
from nftsvc.render import Renderer, Script
from nftsvc.ruleset import EMPTY, Entry, Key, Owners, Ruleset, make_ruleset
from nftsvc.sync import synchronise
from nftsvc.values import Family
from tests.kernel.test_elements import nft
from tests.support.builders import endpoint_slice, many_services, plan_of, service
from tests.support.cases import Case, all_cases

RENDERER = Renderer()
ELEMENTS = AddElements | DeleteElements


def by_itself(script: Script) -> tuple[Script, ...]:
    """Return the elements of a script as transactions of their own, after whatever else there is."""
    elements = tuple(one for one in script.operations if isinstance(one, ELEMENTS))
    others = tuple(one for one in script.operations if not isinstance(one, ELEMENTS))
    return tuple(RENDERER.script((one,)) for one in (*others, *elements))


def as_text(script: Script) -> Script:
    return Script.of_text(script.text, script.parts)


def listing(namespace: Namespace) -> str:
    """Return all that nft can tell, in an order that does not depend on where the kernel keeps an element."""
    lines = nft(namespace, "list", "ruleset").replace("{", "\n").split("\n")
    return "\n".join(sorted(line.strip().rstrip(",") for line in lines))


def has_been_sent_as_messages(script: Script) -> bool:
    """Tell whether nobody has asked for the text, which is what there is where messages are refused."""
    return "_written" not in vars(script)


@pytest.mark.parametrize(
    "case", [one for one in all_cases() if "ruleset.nft" in one.outcome()], ids=lambda case: case.name
)
def test_what_messages_make_is_what_nft_makes(case: Case, kernel: Kernel, empty_namespace: Namespace) -> None:
    ruleset = case.ruleset()
    for script in RENDERER.scripts(compare(EMPTY, ruleset).transactions()):
        kernel.run(as_text(script))
    by_nft, found = listing(empty_namespace), kernel.read()
    kernel.run(RENDERER.script(compare(ruleset, EMPTY).transactions()[0]))
    assert kernel.read() == EMPTY
    for script in RENDERER.scripts(compare(EMPTY, ruleset).transactions()):
        for part in by_itself(script):
            kernel.run(part)
            (operation,) = part.operations
            plain = isinstance(operation, ELEMENTS) and not (operation.set.interval or operation.set.dynamic)
            assert has_been_sent_as_messages(part) == plain
    assert listing(empty_namespace) == by_nft
    assert kernel.read() == found


def loaded(kernel: Kernel, count: int) -> Ruleset:
    ruleset = make_ruleset(many_services(count))
    synchronise(kernel, many_services(count), RENDERER)
    return ruleset


def test_elements_go_as_they_came(kernel: Kernel) -> None:
    loaded(kernel, 30)
    (change, *cleanup) = compare(kernel.read(), make_ruleset(many_services(10))).transactions()
    for transaction in (change, *cleanup):
        script = RENDERER.script(tuple(one for one in transaction if isinstance(one, ELEMENTS)))
        kernel.run(script)
        assert has_been_sent_as_messages(script)
    left = kernel.read()
    assert not compare(left, make_ruleset(many_services(10), left)).elements


def test_what_does_not_fit_into_one_message_goes_in_several_of_one_transaction(kernel: Kernel) -> None:
    wanted, before = make_ruleset(many_services(3000)), loaded(kernel, 1)
    changes = compare(before, wanted)
    (transaction,) = (tuple(one for one in part if isinstance(one, ELEMENTS)) for part in changes.transactions(10**6))
    script = RENDERER.script(transaction)
    requests = element_requests(transaction)
    assert requests is not None
    assert len(requests) > len(transaction), "else there is nothing to see here"
    kernel.run(script)
    assert has_been_sent_as_messages(script)
    assert not compare(kernel.read(), wanted)


def test_a_refusal_names_the_service_and_nothing_of_it_is_done(kernel: Kernel) -> None:
    synchronise(kernel, plan_of(service("s-7", ["10.96.0.8"]), endpoint_slice("s-7", ["10.1.1.1"])), RENDERER)
    before = kernel.read()
    changes = compare(before, make_ruleset(many_services(300), before))
    added = tuple(one for one in changes.transactions(10**6)[0] if isinstance(one, AddElements))
    assert added
    with pytest.raises(KernelRefused, match=r"^Service shop/s-7: .*File exists"):
        kernel.run(RENDERER.script(added))
    assert kernel.read() == before
    synchronise(kernel, many_services(300), RENDERER)  # the door works as before


def test_messages_that_are_refused_without_need_are_told_of_once(
    kernel: Kernel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, wanted = make_ruleset(many_services(2)), make_ruleset(many_services(20))
    synchronise(kernel, many_services(2), RENDERER)

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(door, "run_transaction", refuse)
    with caplog.at_level("INFO"):
        for there, becomes in ((first, wanted), (wanted, first), (first, wanted)):
            for transaction in compare(there, becomes).transactions():
                kernel.run(RENDERER.script(transaction))
    assert not compare(kernel.read(), wanted), "done all the same"
    (said,) = caplog.messages
    assert said.endswith("Operation not permitted")


IN_A_USER_NAMESPACE = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
from nftsvc.kernel import Kernel
from nftsvc.kernel.writing import element_requests, size_of
from nftsvc.changes import compare
from nftsvc.render import Renderer
from nftsvc.ruleset import EMPTY, make_ruleset
from tests.support.builders import many_services
wanted = make_ruleset(many_services(700))
transactions = compare(EMPTY, wanted).transactions(2000)
sizes = [size_of(element_requests(one) or ()) for one in transactions]
assert 65536 < max(sizes) < 400_000, sizes
with Kernel() as kernel:
    for one in transactions:
        kernel.run(Renderer().script(one))
    assert not compare(kernel.read(), wanted)
"""


def test_root_of_a_user_namespace_sends_messages_too() -> None:
    """There the size of a socket's buffer cannot be forced."""
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", IN_A_USER_NAMESPACE]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


NASTY = 'x" drop comment "y'


@pytest.mark.parametrize(
    ("key", "entry"),
    [
        (("10.96.0.1; flush ruleset", "tcp", 80), Entry(("goto x",), "a/b")),
        (("fd00::1", "tcp", 80), Entry(("goto x",), "a/b")),
        (("10.96.0.1", "tcp", 65536), Entry(("goto x",), "a/b")),
        (("10.96.0.1", "tcp", "http"), Entry(("goto x",), "a/b")),
        (("10.96.0.1", "tcpx", 80), Entry(("goto x",), "a/b")),
        (("10.96.0.1", "tcp"), Entry(("goto x",), "a/b")),
        (("10.96.0.1", "tcp", 80), Entry(("fly x",), "a/b")),
        (("10.96.0.1", "tcp", 80), Entry((f"goto {NASTY}",), "a/b")),
        (("10.96.0.1", "tcp", 80), Entry(("goto x",), NASTY)),
    ],
)
def test_what_is_no_element_of_ours_is_left_to_nft_and_the_gate_of_its_text(key: Key, entry: Entry) -> None:
    table = make_ruleset(many_services(1)).tables[Family.IPV4]
    named = next(one for one in table.sets if one.name == "service-ips")
    good = (("10.96.0.1", "tcp", 80), Entry(("goto x",), "a/b"))
    assert element_requests((AddElements(Family.IPV4, named, (good,), Owners()),)) is not None
    assert element_requests((AddElements(Family.IPV4, named, (good, (key, entry)), Owners()),)) is None


def test_nothing_is_no_transaction() -> None:
    assert element_requests(()) is None


def test_a_users_templates_are_run_as_they_are(tmp_path: Path) -> None:
    transaction = compare(EMPTY, make_ruleset(many_services(1))).transactions()[0]
    assert not RENDERER.script(transaction).verbatim
    assert Renderer(tmp_path).script(transaction).verbatim
