"""What `golden new` writes: all that makes a ruleset, nothing that is secret, in YAML that every reader reads alike."""

import json
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nftsvc.decode import decode
from nftsvc.golden.slimming import manifests
from nftsvc.golden.yaml_text import Plain, yaml_text
from nftsvc.objects import KINDS, KubernetesObject
from nftsvc.plan import make_plan
from nftsvc.render import Renderer
from nftsvc.ruleset import make_ruleset
from nftsvc.sources.documents import documents
from nftsvc.state import State
from tests.support.builders import Raw, decoded, endpoint_slice, service
from tests.support.cases import Case, all_cases

GOOD = tuple(case for case in all_cases() if not case.refused)
RENDERER = Renderer()
SECRET = "hunter2"  # noqa: S105 - what must not get through


def read_back(text: str) -> list[KubernetesObject]:
    return [decoded(raw) for raw in documents(text.encode())]


@pytest.mark.parametrize("case", GOOD, ids=lambda case: case.name)
def test_slimmed_objects_make_the_same_ruleset_and_are_slim(case: Case) -> None:
    planned = case.planned()
    text = manifests(planned.loaded.objects)
    again = read_back(text)
    assert {one.ref for one in again} == {one.ref for one in planned.loaded.objects}
    plan = make_plan(State.of(again), planned.plan.settings)
    assert RENDERER.ruleset(make_ruleset(plan)) == RENDERER.ruleset(make_ruleset(planned.plan))
    assert plan.problems == planned.plan.problems
    assert manifests(reversed(again)) == text


def everywhere(value: object, key: str = "") -> object:
    """Return a document with an entry more in every mapping but those in which all entries count."""
    if isinstance(value, dict):
        more = {} if key in ("labels", "selector") else {"password": SECRET}
        return {name: everywhere(one, name) for name, one in value.items()} | more
    return [everywhere(one) for one in value] if isinstance(value, list) else value


POD: Raw = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {
        "name": "web-1",
        "namespace": "shop",
        "labels": {"app": "web"},
        "annotations": {"vault": SECRET},
        "managedFields": [{"manager": SECRET}],
    },
    "spec": {
        "nodeName": "node-a",
        "serviceAccountName": SECRET,
        "imagePullSecrets": [{"name": SECRET}],
        "volumes": [{"name": SECRET, "secret": {"secretName": SECRET}}],
        "initContainers": [
            {"name": "init", "ports": [{"name": SECRET, "containerPort": 1}], "env": [{"name": "P", "value": SECRET}]},
            {"name": SECRET, "restartPolicy": "Always", "ports": [{"name": "side", "containerPort": 2}]},
        ],
        "containers": [
            {
                "name": SECRET,
                "image": SECRET,
                "command": [SECRET],
                "args": [f"--password={SECRET}"],
                "env": [{"name": "PASSWORD", "value": SECRET}],
                "envFrom": [{"secretRef": {"name": SECRET}}],
                "livenessProbe": {"httpGet": {"httpHeaders": [{"name": "Authorization", "value": SECRET}]}},
                "ports": [{"name": "http", "containerPort": 8080, "hostIP": SECRET}],
                "restartPolicy": SECRET,
            },
            {"name": "no-ports", "env": [{"name": "P", "value": SECRET}]},
        ],
    },
    "status": {
        "phase": "Running",
        "message": SECRET,
        "conditions": [
            {"type": "Ready", "status": "True", "message": SECRET},
            {"type": SECRET, "status": "True"},
        ],
        "containerStatuses": [{"name": SECRET}],
        "podIP": "10.244.1.1",
        "podIPs": [{"ip": "10.244.1.1"}],
    },
}
NODE: Raw = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {
        "name": "node-a",
        "labels": {"topology.kubernetes.io/zone": "z", "owner": SECRET},
        "annotations": {"csi": SECRET},
    },
    "spec": {"podCIDR": "10.244.1.0/24", "providerID": SECRET, "taints": [{"key": SECRET, "effect": "NoExecute"}]},
    "status": {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.11"}, {"type": "Hostname", "address": SECRET}],
        "nodeInfo": {"bootID": SECRET},
    },
}
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


def secretive() -> Iterator[Raw]:
    yield POD
    yield NODE
    of_web = service("web", ["10.96.0.1"], selector={"app": "web"})
    of_web["metadata"] |= {
        "annotations": {LAST_APPLIED: SECRET, "service.kubernetes.io/topology-mode": SECRET},
        "labels": {"owner": SECRET},
    }
    yield of_web
    of_slice = endpoint_slice("web", ["10.244.1.1"])
    of_slice["metadata"] |= {"annotations": {"endpoints.kubernetes.io/last-change-trigger-time": SECRET, "a": SECRET}}
    of_slice["metadata"]["labels"] |= {"owner": SECRET}
    of_slice["endpoints"][0]["targetRef"] = {"kind": "Pod", "name": SECRET, "uid": SECRET}
    yield of_slice
    yield {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": "web", "namespace": "shop", "annotations": {"a": SECRET}, "labels": {"b": SECRET}},
        "subsets": [
            {
                "addresses": [{"ip": "10.244.1.1", "hostname": SECRET, "targetRef": {"name": SECRET}}],
                "ports": [{"port": 80}],
            }
        ],
    }
    yield {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "main", "labels": {"a": SECRET}, "annotations": {"b": SECRET}},
        "spec": {"cidrs": ["10.96.0.0/12"]},
        "status": {"conditions": [{"message": SECRET}]},
    }
    yield {
        "apiVersion": "nftsvc/v1",
        "kind": "NodeConfiguration",
        "metadata": {"name": "node-a", "labels": {"a": SECRET}, "annotations": {"b": SECRET}},
        "spec": {"masqueradeAll": True},
    }


@pytest.mark.parametrize("raw", tuple(secretive()), ids=lambda raw: raw["kind"])
def test_no_secret_gets_through(raw: Raw) -> None:
    assert SECRET in json.dumps(raw)
    strict = next(kind.STRICT for kind in KINDS if raw["kind"] == kind.KIND)
    found = decode(raw if strict else everywhere(raw)).value
    assert found is not None
    assert SECRET not in manifests([found])


def test_every_kind_was_tried_for_secrets() -> None:
    assert {raw["kind"] for raw in secretive()} == {kind.KIND for kind in KINDS}


def test_what_is_read_gets_through() -> None:
    (pod,) = documents(manifests([decoded(POD)]).encode())
    assert pod == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "containers": [{"ports": [{"name": "http", "containerPort": 8080}]}],
            "initContainers": [{"ports": [{"name": "side", "containerPort": 2}], "restartPolicy": "Always"}],
            "nodeName": "node-a",
        },
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True"}],
            "podIP": "10.244.1.1",
            "podIPs": [{"ip": "10.244.1.1"}],
        },
    }


def test_objects_come_by_kind_namespace_and_name() -> None:
    raws = [
        endpoint_slice("b", ["10.0.0.1"]),
        service("b", ["10.96.0.2"]),
        service("a", ["10.96.0.3"], namespace="z"),
        service("a", ["10.96.0.1"]),
    ]
    found = [(one.KIND, one.namespace, one.name) for one in read_back(manifests(map(decoded, raws)))]
    assert found == [
        ("Service", "shop", "a"),
        ("Service", "shop", "b"),
        ("Service", "z", "a"),
        ("EndpointSlice", "shop", "b-ipv4-1"),
    ]


def test_times_that_decide_are_kept_as_kubernetes_writes_them() -> None:
    raw = service("web", ["10.96.0.1"])
    raw["metadata"]["creationTimestamp"] = "2024-03-01T10:00:00+01:00"
    text = manifests([decoded(raw)])
    assert 'creationTimestamp: "2024-03-01T09:00:00Z"\n' in text
    assert manifests(read_back(text)) == text


# YAML ----------------------------------------------------------------------------------------------------------------

TRICKY = ("null", "No", "ON", "y", "~", "1e3", "0x10", "1:30", "=", "<<", "2024-01-01", "a: b", "- a", "", " a", "a #b")
TEXTS = st.sampled_from(TRICKY) | st.text(max_size=8) | st.from_regex(r"[a-zA-Z0-9._/:-]{1,8}", fullmatch=True)
SCALARS = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | TEXTS
VALUES: st.SearchStrategy[Plain] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)


@given(value=st.dictionaries(TEXTS, VALUES, max_size=4))
def test_yaml_is_read_back_as_it_was(value: dict[str, Plain]) -> None:
    text = yaml_text(value)
    assert list(documents(text.encode())) == [value]
    assert yaml.safe_load(text) == value


def test_yaml_is_as_people_write_it() -> None:
    value: Plain = {
        "a": {"b": ["10.0.0.1", "fd00::1", {"c": 1, "d": [{"e": True}]}], "f": {}, "g": []},
        "h/i.j": "yes",
        "k": None,
    }
    assert yaml_text(value).splitlines() == [
        "a:",
        "  b:",
        "  - 10.0.0.1",
        '  - "fd00::1"',
        "  - c: 1",
        "    d:",
        "    - e: true",
        "  f: {}",
        "  g: []",
        'h/i.j: "yes"',
        "k: null",
    ]
