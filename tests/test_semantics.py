"""What docs/semantics.md says is decided and proved: its files, cases and tests exist, no field is left out."""

import copy
import re
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import pytest

from nftsvc.decode import decode
from nftsvc.events import Put, Replaced
from nftsvc.explain import Outcome, Packet, explain
from nftsvc.flows import Tracked, stale_frontends
from nftsvc.objects import KINDS, EndpointSlice, KubernetesObject, Node, Service
from nftsvc.plan import HealthCheck, Planner, ServicePlan, make_plan
from nftsvc.render import Renderer
from nftsvc.ruleset import Ruleset, make_ruleset
from nftsvc.settings import NodeSettings, settings_for
from nftsvc.state import ServiceKey, State
from nftsvc.sync import Follower, PassKind
from nftsvc.values import Address, Family, Port, Protocol
from tests.support.builders import Raw, decoded, endpoint_slice, plan_of, service
from tests.support.cases import all_cases
from tests.support.doors import ModelDoor
from tests.support.packets import packets_of

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "semantics.md").read_text()
COLUMNS = ("field", "what it does", "decided in", "golden", "packets/test")

_MODULE = re.compile(r"\[`([\w.]+)`\]\(\.\./(nftsvc/[\w/]+\.py)\)")
_CASE = re.compile(r"\[(\d{3})\]\(\.\./examples/([\w-]+)/([\w.]+)\)")
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


# the checker ----------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One row of the table; its fields are COLUMNS."""

    name: str
    effect: str
    modules: str
    golden: str
    proof: str


def rows_of(text: str) -> list[Row]:
    """Return the rows of all tables with COLUMNS. AssertionError says what is wrong with their form."""
    lines = text.splitlines()
    cells = [tuple(cell.strip() for cell in line.strip().strip("|").split("|")) for line in lines]
    starts = [number for number, found in enumerate(cells) if found == COLUMNS]
    assert starts, f"no table has the columns {COLUMNS}"
    rows = []
    for start in starts:
        for number, line in enumerate(lines[start + 2 :], start=start + 2):
            if not line.startswith("|"):
                break
            assert len(cells[number]) == len(COLUMNS), f"line {number + 1} has {len(cells[number])} cells"
            rows.append(Row(*cells[number]))
    return rows


def complaints(text: str, root: Path) -> list[str]:
    """Say everything that is wrong with the table; `root` is the repository."""
    rows = rows_of(text)
    found = [f"{row.name}: {wrong}" for row in rows for wrong in _wrong(row, root)]
    names = [row.name for row in rows if not row.name.startswith("...")]
    return found + [f"{name}: more than one row" for name in sorted(set(names)) if names.count(name) > 1]


def _wrong(row: Row, root: Path) -> Iterator[str]:
    if not row.name or not row.effect:
        yield "says nothing"
    if row.modules == "-":
        yield "nobody decides it"
    if row.golden == row.proof == "-":
        yield "nothing proves it"
    yield from _wrong_modules(row.modules, root)
    yield from _wrong_cases(row.golden, "notes.md", root)
    yield from _wrong_cases(_TEST.sub("", row.proof), "packets.toml", root)
    for file, test in _TEST.findall(row.proof):
        path = root / file
        if not path.is_file():
            yield f"{file} is not there"
        elif not re.search(rf"^def {test}\(", path.read_text(), re.MULTILINE):
            yield f"{file} has no {test}"


def _wrong_modules(cell: str, root: Path) -> Iterator[str]:
    yield from _left_over(_MODULE.sub("", cell))
    for name, file in _MODULE.findall(cell):
        plain = file.removeprefix("nftsvc/").removesuffix(".py").removesuffix("/__init__")
        if plain.replace("/", ".") != name:
            yield f"{name} leads to {file}"
        if not (root / file).is_file():
            yield f"{file} is not there"


def _wrong_cases(cell: str, file: str, root: Path) -> Iterator[str]:
    yield from _left_over(_CASE.sub("", cell))
    for number, name, linked in _CASE.findall(cell):
        folder = root / "examples" / name
        golden = any((folder / one).is_file() for one in ("ruleset.nft", "errors.txt"))
        if not name.startswith(f"{number}-"):
            yield f"{number} leads to {name}"
        if linked != file:
            yield f"{name} is linked by {linked} instead of {file}"
        if not golden:
            yield f"{name} is no golden case"
        elif not (folder / file).is_file():
            yield f"{name} has no {file}"


def _left_over(cell: str) -> Iterator[str]:
    """Complain of what is neither a link nor a test, such as a misspelt one."""
    rest = cell.replace(",", " ").strip()
    if rest not in ("", "-"):
        yield f"{rest!r} is not understood"


# the table ------------------------------------------------------------------------------------------------------------


def test_everything_that_the_table_names_is_there() -> None:
    assert complaints(TEXT, ROOT) == []


def test_every_field_that_is_decoded_has_its_place_in_the_table() -> None:
    texts = [f"{row.name} {row.effect}" for row in rows_of(TEXT)]
    said = {word for text in texts for form in (r"\w+", r"`([^`]+)`") for word in re.findall(form, text)}
    fields = {field for kind in KINDS for field in _fields(kind)}
    assert len(fields) > 50
    assert fields - said == set()


def _fields(kind: Any) -> Iterator[str]:
    """Yield what a struct's fields, and those of the structs in them, are called in manifests."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        for field in msgspec.structs.fields(kind):
            yield field.encode_name
            yield from _fields(field.type)
    elif isinstance(kind, types.UnionType) or get_args(kind):
        for part in get_args(kind):
            yield from _fields(part)


def test_there_are_packets_enough() -> None:
    packets = [packets_of(case.folder) for case in all_cases()]
    assert sum(map(bool, packets)) >= 60
    assert sum(map(len, packets)) >= 200
    for six in (False, True):
        seen = {packet.expect for listed in packets for packet in listed if packet.six is six}
        assert seen == {"forward", "reject", "drop", "pass"}


# the checker fails ----------------------------------------------------------------------------------------------------

GOOD = {
    "field": "`spec.a`",
    "what it does": "Something.",
    "decided in": "[`plan`](../nftsvc/plan.py), [`ruleset`](../nftsvc/ruleset/__init__.py)",
    "golden": "[100](../examples/100-a/notes.md)",
    "packets/test": "[100](../examples/100-a/packets.toml), `tests/unit/test_a.py::test_x`",
}


def table(*rows: dict[str, str]) -> str:
    lines = [COLUMNS, ("---",) * len(COLUMNS), *(tuple((GOOD | row).values()) for row in rows)]
    return "\n".join(["# Title", "", *("| " + " | ".join(line) + " |" for line in lines), "", "More.", ""])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for file, text in (
        ("nftsvc/plan.py", ""),
        ("nftsvc/ruleset/__init__.py", ""),
        ("examples/100-a/notes.md", ""),
        ("examples/100-a/ruleset.nft", ""),
        ("examples/100-a/packets.toml", ""),
        ("examples/101-b/notes.md", ""),
        ("examples/101-b/errors.txt", ""),
        ("examples/102-c/notes.md", ""),
        ("examples/102-c/packets.toml", ""),
        ("tests/unit/test_a.py", "def test_x() -> None:\n    def test_inner() -> None: ...\n"),
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"golden": "-"},
        {"packets/test": "-"},
        {"golden": "[101](../examples/101-b/notes.md), [100](../examples/100-a/notes.md)"},
        {"packets/test": "`tests/unit/test_a.py::test_x`"},
    ],
)
def test_good_rows_are_taken(row: dict[str, str], root: Path) -> None:
    assert complaints(table(row), root) == []


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"what it does": ""}, "says nothing"),
        ({"decided in": "-"}, "nobody decides it"),
        ({"decided in": "[`gone`](../nftsvc/gone.py)"}, "nftsvc/gone.py is not there"),
        ({"decided in": "[`plan`](../nftsvc/ruleset/__init__.py)"}, "plan leads to nftsvc/ruleset/__init__.py"),
        ({"decided in": "`plan`"}, "'`plan`' is not understood"),
        ({"golden": "-", "packets/test": "-"}, "nothing proves it"),
        ({"golden": "[109](../examples/109-z/notes.md)"}, "109-z is no golden case"),
        ({"golden": "[102](../examples/102-c/notes.md)"}, "102-c is no golden case"),
        ({"golden": "[101](../examples/100-a/notes.md)"}, "101 leads to 100-a"),
        (
            {"golden": "[100](../examples/100-a/packets.toml)"},
            "100-a is linked by packets.toml instead of notes.md",
        ),
        ({"golden": "100"}, "'100' is not understood"),
        ({"packets/test": "[101](../examples/101-b/packets.toml)"}, "101-b has no packets.toml"),
        ({"packets/test": "[100](../examples/100-a/notes.md)"}, "100-a is linked by notes.md instead of packets.toml"),
        ({"packets/test": "`tests/unit/test_b.py::test_x`"}, "tests/unit/test_b.py is not there"),
        ({"packets/test": "`tests/unit/test_a.py::test_y`"}, "tests/unit/test_a.py has no test_y"),
        ({"packets/test": "`tests/unit/test_a.py::test_inner`"}, "tests/unit/test_a.py has no test_inner"),
        ({"packets/test": "test_x"}, "'test_x' is not understood"),
    ],
)
def test_bad_rows_are_told(row: dict[str, str], complaint: str, root: Path) -> None:
    assert complaints(table({"field": "`spec.b`"}, row), root) == [f"`spec.a`: {complaint}"]


def test_row_that_is_there_twice_is_told(root: Path) -> None:
    assert complaints(table({}, {}), root) == ["`spec.a`: more than one row"]


def test_row_with_a_cell_too_many_is_told(root: Path) -> None:
    with pytest.raises(AssertionError, match="line 5 has 6 cells"):
        complaints(table({"golden": "- | -"}), root)


def test_table_that_is_missing_or_has_other_columns_is_told(root: Path) -> None:
    for text in ("", table({}).replace("golden |", "case |", 1)):
        with pytest.raises(AssertionError, match="no table has the columns"):
            complaints(text, root)


def test_every_table_with_these_columns_is_looked_at(root: Path) -> None:
    text = table({}) + table({"field": "`spec.b`", "golden": "100"})
    assert complaints(text, root) == ["`spec.b`: '100' is not understood"]


# what has no case of its own ------------------------------------------------------------------------------------------

WEB = service(
    "web",
    ["10.96.0.1", "fd00:96::1"],
    [{"port": 80, "nodePort": 30080}],
    type="LoadBalancer",
    externalTrafficPolicy="Local",
)
WEB["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
SLICE = endpoint_slice("web", ["10.244.1.5", "10.244.1.6"])
ENDPOINTS: Raw = {
    "apiVersion": "v1",
    "kind": "Endpoints",
    "metadata": {"name": "web", "namespace": "shop"},
    "subsets": [{"addresses": [{"ip": "10.244.1.5"}], "ports": [{"port": 8080}]}],
}
NODE: Raw = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "node-a"},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.11"}]},
}
LEAVING = [{"key": "ToBeDeletedByClusterAutoscaler", "value": "1", "effect": "NoSchedule"}]
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_TRIGGER = "endpoints.kubernetes.io/last-change-trigger-time"
_LEADER = "control-plane.alpha.kubernetes.io/leader"


def changed(document: Raw, path: Sequence[str | int], value: object) -> Raw:
    """Return a copy of a document with one more field; mappings on the way are made where they are missing."""
    copied = copy.deepcopy(document)
    place: Any = copied
    for step in path[:-1]:
        place = place[step] if isinstance(step, int) else place.setdefault(step, {})
    place[path[-1]] = value
    return copied


def made_of(document: Raw) -> Ruleset:
    """Return the ruleset of a Service, slice, Endpoints or Node, with the others that it takes."""
    others = {"Service": [SLICE, NODE], "EndpointSlice": [WEB, NODE], "Endpoints": [WEB, NODE], "Node": [WEB, SLICE]}
    state = State.of(map(decoded, (document, *others[document["kind"]])))
    return make_ruleset(make_plan(state, settings_for(state, None)))


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (WEB, ["metadata", "annotations", _RANGES], "198.51.100.0/24"),
        (WEB, ["spec", "ipFamilyPolicy"], "SingleStack"),
        (WEB, ["spec", "ports", 0, "appProtocol"], "http"),
        (WEB, ["spec", "loadBalancerIP"], "203.0.113.9"),
        (WEB, ["spec", "loadBalancerClass"], "example.com/internal"),
        (WEB, ["spec", "allocateLoadBalancerNodePorts"], False),
        (WEB, ["status", "loadBalancer", "ingress", 0, "hostname"], "web.example.com"),
        (WEB, ["status", "loadBalancer", "ingress", 0, "ports"], [{"port": 81, "protocol": "TCP"}]),
        (SLICE, ["endpoints", 0, "hostname"], "web-1"),
        (SLICE, ["endpoints", 0, "zone"], "zone-b"),
        (SLICE, ["endpoints", 0, "targetRef"], {"kind": "Pod", "name": "web-1"}),
        (SLICE, ["endpoints", 0, "deprecatedTopology"], {"topology.kubernetes.io/zone": "zone-b"}),
        (SLICE, ["ports", 0, "appProtocol"], "http"),
        (ENDPOINTS, ["metadata", "labels", "endpointslice.kubernetes.io/skip-mirror"], "true"),
        (ENDPOINTS, ["metadata", "annotations", _LEADER], "{}"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else None,
)
def test_what_is_not_read_changes_nothing(document: Raw, path: list[str | int], value: object) -> None:
    assert made_of(changed(document, path, value)) == made_of(document)


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (WEB, ["spec", "healthCheckNodePort"], 31999),
        (SLICE, ["metadata", "annotations", _TRIGGER], "2026-01-01T00:00:00Z"),
        (NODE, ["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z"),
        (NODE, ["spec", "taints"], LEAVING),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else None,
)
def test_what_is_read_for_something_else_changes_no_rule(document: Raw, path: list[str | int], value: object) -> None:
    other = changed(document, path, value)
    assert decoded(other) != decoded(document)
    assert made_of(other) == made_of(document)


@pytest.mark.parametrize(
    ("document", "path", "value"),
    [
        (WEB, ["spec", "externalTrafficPolicy"], "Cluster"),
        (WEB, ["status", "loadBalancer", "ingress", 0, "ip"], "203.0.113.9"),
        (SLICE, ["endpoints", 0, "conditions", "ready"], False),
        (ENDPOINTS, ["subsets", 0, "ports", 0, "port"], 8081),
        (NODE, ["status", "addresses", 0, "address"], "192.0.2.12"),
    ],
    ids=lambda value: str(value[-1]) if isinstance(value, list) else None,
)
def test_what_is_read_changes_something(document: Raw, path: list[str | int], value: object) -> None:
    assert made_of(changed(document, path, value)) != made_of(document)


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        ({}, (HealthCheck(ServiceKey("shop", "web"), 31999, {Family.IPV4: 2, Family.IPV6: 0}),)),
        ({"type": "NodePort"}, ()),
        ({"externalTrafficPolicy": "Cluster"}, ()),
        ({"healthCheckNodePort": 0}, ()),
    ],
    ids=str,
)
def test_health_checks_are_for_load_balancers_with_policy_local(change: Raw, checks: tuple[HealthCheck, ...]) -> None:
    document = {**WEB, "spec": {**WEB["spec"], "healthCheckNodePort": 31999, **change}}
    elsewhere = endpoint_slice("web", ["10.244.2.5"], node="node-b", suffix="2")
    assert plan_of(document, SLICE, elsewhere).health_checks == checks


@pytest.mark.parametrize(
    ("path", "value", "leaving"),
    [
        (["metadata", "deletionTimestamp"], "2026-01-01T00:00:00Z", True),
        (["spec", "taints"], LEAVING, True),
        (["spec", "taints"], [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}], False),
        (["spec", "unschedulable"], True, False),
    ],
)
def test_nodes_that_leave_are_told_by_deletion_and_taint(path: list[str], value: object, leaving: bool) -> None:
    node = decoded(changed(NODE, path, value))
    assert isinstance(node, Node)
    assert node.leaving is leaving


def test_slice_port_of_zero_is_refused() -> None:
    problems = decode(changed(SLICE, ["ports", 0, "port"], 0)).problems
    assert [(one.field, one.message) for one in problems] == [("ports[0].port", "0 is not a port number (1-65535)")]


def test_cluster_ip_that_the_node_itself_has_keeps_its_other_ports() -> None:
    state = State.of(map(decoded, (WEB, SLICE)))
    plan = make_plan(state, NodeSettings(name="node-a"))
    client, cluster_ip = Address("198.51.100.7"), Address("10.96.0.1")
    for port, own, outcome in (
        (80, (), Outcome.FORWARD),
        (80, (cluster_ip,), Outcome.FORWARD),
        (81, (), Outcome.REJECT),
        (81, (cluster_ip,), Outcome.PASS),
    ):
        packet = Packet(client, cluster_ip, Port(port), Protocol("TCP"))
        assert explain(state, plan, packet, own).outcome is outcome
    chains = make_ruleset(plan).tables[Family.IPV4].chains
    (closing,) = (one.name for one in chains for rule in one.rules if "@cluster-ips goto reject" in rule.text)
    leading = {one.hook and one.hook.hook for one in chains for rule in one.rules if f"jump {closing}" in rule.text}
    assert leading == {"forward", "output"}


def test_no_rule_accepts_anything_or_looks_for_invalid_packets() -> None:
    for case in all_cases():
        words = re.sub(r'"[^"]*"|policy accept;', "", case.expected().get("ruleset.nft", ""))
        assert not re.search(r"\b(accept|invalid)\b", words), case.name


# what the agent does --------------------------------------------------------------------------------------------------

DNS = service("dns", ["10.96.0.10"], [{"port": 53, "protocol": "UDP", "nodePort": 30053}], type="NodePort")
DNS_SLICE = endpoint_slice("dns", ["10.244.1.5", "10.244.1.6"], [{"port": 5353, "protocol": "UDP"}])
_FIRST, _SECOND = (Address("10.244.1.5"), 5353), (Address("10.244.1.6"), 5353)
_CLUSTER_IP, _NODE_PORT, _EXTERNAL = ("10.96.0.10", 53), (None, 30053), ("192.0.2.53", 53)
_UNFIT = {"ready": False, "serving": False}


def plans_of(documents: Iterable[Raw]) -> tuple[ServicePlan, ...]:
    state = State.of(map(decoded, documents))
    return Planner(settings_for(state, "node-a")).update(state, state.services).new


def with_endpoint(number: int, **said: object) -> Raw:
    return changed(DNS_SLICE, ["endpoints", number], {**DNS_SLICE["endpoints"][number], **said})


def of_family(frontends: Tracked) -> dict[tuple[str | None, int], set[tuple[Address, int]]]:
    """Return the endpoints of each frontend; all are of one family."""
    return {(one.address, one.port): set(ends) for one, ends in frontends.items() if one.family is Family.IPV4}


@pytest.mark.parametrize(
    ("before", "after", "stale"),
    [
        ([DNS, DNS_SLICE], [DNS, DNS_SLICE], {}),
        ([DNS, DNS_SLICE], [DNS, with_endpoint(1, conditions=_UNFIT)], {_CLUSTER_IP: {_FIRST}, _NODE_PORT: {_FIRST}}),
        ([DNS, DNS_SLICE], [DNS, with_endpoint(1, conditions={"ready": False})], {}),
        ([DNS, DNS_SLICE], [DNS], {_CLUSTER_IP: set(), _NODE_PORT: set()}),
        ([DNS], [DNS, DNS_SLICE], {_CLUSTER_IP: {_FIRST, _SECOND}, _NODE_PORT: {_FIRST, _SECOND}}),
        ([DNS, with_endpoint(1, conditions=_UNFIT)], [DNS, DNS_SLICE], {}),
        ([DNS, DNS_SLICE], [], {_CLUSTER_IP: set(), _NODE_PORT: set()}),
        ([DNS, DNS_SLICE], [changed(DNS, ["spec", "ports", 0, "nodePort"], 0), DNS_SLICE], {_NODE_PORT: set()}),
        ([changed(DNS, ["spec", "externalIPs"], ["192.0.2.53"]), DNS_SLICE], [DNS, DNS_SLICE], {_EXTERNAL: set()}),
        ([DNS, DNS_SLICE], [changed(DNS, ["spec", "internalTrafficPolicy"], "Local"), DNS_SLICE], {}),
        ([WEB, SLICE], [WEB], {}),
    ],
    ids=(
        "nothing",
        "an endpoint stops serving",
        "an endpoint is not ready",
        "the last endpoint goes",
        "the first endpoint comes",
        "another endpoint comes",
        "the Service goes",
        "the node port goes",
        "an address goes",
        "the policy changes",
        "TCP",
    ),
)
def test_which_udp_flows_are_stale(before: list[Raw], after: list[Raw], stale: Mapping[object, object]) -> None:
    assert of_family(stale_frontends(plans_of(before), plans_of(after))) == stale


def test_restart_makes_only_those_flows_stale_that_lead_to_what_has_gone() -> None:
    found = make_ruleset(plan_of(DNS, DNS_SLICE))
    assert stale_frontends((), plans_of([DNS, DNS_SLICE]), found) == {}
    one_less = plans_of([DNS, with_endpoint(1, conditions=_UNFIT)])
    assert of_family(stale_frontends((), one_less, found)) == {_CLUSTER_IP: {_FIRST}, _NODE_PORT: {_FIRST}}


def all_there_is(kind: type[KubernetesObject], *documents: Raw) -> Replaced:
    return Replaced(kind, tuple(map(decoded, documents)))


def test_addresses_of_the_node_are_followed() -> None:
    door = ModelDoor()
    follower = Follower(door, Renderer(), lambda state: settings_for(state, None))
    follower.take([all_there_is(Service, WEB), all_there_is(EndpointSlice, SLICE), all_there_is(Node, NODE)])
    assert follower.step().kind is PassKind.FIRST
    follower.take([Put(decoded(changed(NODE, ["status", "addresses", 0, "address"], "192.0.2.12")))])
    assert follower.step().kind is PassKind.FULL
    assert door.read().tables[Family.IPV4].elements["nodeport-ips"].keys() == {("192.0.2.12",)}
