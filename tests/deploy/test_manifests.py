"""The manifests: what Kubernetes takes, parts that fit each other, and no more rights than are needed."""

from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from nftsvc import __version__
from nftsvc.cli import make_app
from nftsvc.configuration import Verdict
from nftsvc.sources.configuration import load_configuration
from tests.deploy import schema
from tests.deploy.deployment import (
    DEPLOY,
    ROOT,
    Raw,
    container,
    daemonset,
    document,
    documents,
    help_of,
    pod_spec,
)

app = make_app()

OBJECTS = [(name, one) for name in ("rbac.yaml", "daemonset.yaml") for one in documents(name)]
CONFIGURATION = load_configuration(DEPLOY / "config.conf", strict=True).configuration
assert CONFIGURATION.settings is not None
SETTINGS = CONFIGURATION.settings
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


# The API's schemas ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "one"), OBJECTS, ids=[one["kind"] for _, one in OBJECTS])
def test_an_object_is_what_the_api_takes(name: str, one: Raw) -> None:
    assert schema.problems(one) == [], name


def test_the_patch_of_kube_proxy_is_what_the_api_takes() -> None:
    (patch,) = documents("kube-proxy-patch.yaml")
    assert schema.problems_of_patch(patch, "V1DaemonSet") == []


def change(*path: str | int, to: object = None) -> Raw:
    """The DaemonSet with another value somewhere; None takes the field away."""
    made = daemonset()
    place: Any = made
    for one in path[:-1]:
        place = place[one]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return made


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (change("spec", "updateStrategie", to={}), ".spec.updateStrategie: no such field of V1DaemonSetSpec"),
        (change("spec", "selector"), ".spec.selector: required in V1DaemonSetSpec"),
        (change("spec", "minReadySeconds", to="10"), ".spec.minReadySeconds: '10' is no int"),
        (change("spec", "minReadySeconds", to=True), ".spec.minReadySeconds: True is no int"),
        (change("spec", "template", "spec", "tolerations", to={}), ".spec.template.spec.tolerations: {} is no list"),
        (
            change("spec", "template", "spec", "nodeSelector", "x", to=True),
            ".spec.template.spec.nodeSelector[x]: True is no str",
        ),
        (
            change("spec", "template", "spec", "containers", 0, "env", to=[{"value": "1"}]),
            ".spec.template.spec.containers[0].env[0].name: required in V1EnvVar",
        ),
        (change("kind", to="Daemonset"), "no such kind: apps/v1 Daemonset"),
    ],
)
def test_what_the_api_would_not_take_is_noticed(changed: Raw, said: str) -> None:
    assert schema.problems(changed) == [said]


# Parts that belong together ------------------------------------------------------------------------------------------


def test_everything_is_in_kube_system_and_has_the_same_name() -> None:
    for _, one in OBJECTS:
        assert one["metadata"]["name"] == "nftsvc"
        cluster_wide = one["kind"].startswith("Cluster")
        assert one["metadata"].get("namespace") == (None if cluster_wide else "kube-system")


def test_selector_is_that_of_the_template() -> None:
    spec = daemonset()["spec"]
    wanted = spec["selector"]["matchLabels"]
    assert wanted
    assert wanted.items() <= spec["template"]["metadata"]["labels"].items()


def test_service_account_is_there_and_bound() -> None:
    account = document("rbac.yaml", "ServiceAccount")["metadata"]
    binding = document("rbac.yaml", "ClusterRoleBinding")
    assert pod_spec()["serviceAccountName"] == account["name"]
    assert pod_spec()["automountServiceAccountToken"] is True
    (subject,) = binding["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
    assert binding["roleRef"]["name"] == document("rbac.yaml", "ClusterRole")["metadata"]["name"]


def test_kustomization_names_what_there_is() -> None:
    (found,) = documents("kustomization.yaml")
    assert found.keys() == {"apiVersion", "kind", "namespace", "resources", "configMapGenerator", "images"}
    assert found["namespace"] == daemonset()["metadata"]["namespace"]
    assert set(found["resources"]) == {name for name, _ in OBJECTS}
    (made,) = found["configMapGenerator"]
    (volume,) = pod_spec()["volumes"]
    assert volume["configMap"] == {"name": made["name"]}
    assert all((DEPLOY / name).is_file() for name in made["files"])
    (mount,) = container()["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert mount["readOnly"] is True
    files = {f"{mount['mountPath']}/{name}" for name in made["files"]}
    assert files == {argument.partition("=")[2] for argument in container()["args"] if "=" in argument}


def test_image_has_the_version_of_this_checkout() -> None:
    (image,) = documents("kustomization.yaml")[0]["images"]
    assert container()["image"] == f"{image['name']}:{__version__}"
    assert image["newTag"] == __version__


def test_kube_proxy_stays_away_from_exactly_the_nodes_that_are_chosen() -> None:
    (patch,) = documents("kube-proxy-patch.yaml")
    affinity = patch["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    (expression,) = term["matchExpressions"]
    (value,) = expression["values"]
    assert expression["operator"] == "NotIn"
    assert pod_spec()["nodeSelector"] == {"kubernetes.io/os": "linux", expression["key"]: value}


# What the agent is told ----------------------------------------------------------------------------------------------


def test_arguments_are_those_of_the_command() -> None:
    command: Any = typer.main.get_command(app)
    run, *options = container()["args"]
    assert run == "run"
    known = {name for one in command.commands["run"].params for name in one.opts}
    assert {one.partition("=")[0] for one in options} <= known
    text = help_of("run")
    assert all(one.partition("=")[0] in text for one in options)


def test_node_name_is_the_pods_node() -> None:
    command: Any = typer.main.get_command(app)
    (variable,) = container()["env"]
    (node,) = [one for one in command.commands["run"].params if "--node" in one.opts]
    assert variable["name"] == node.envvar
    assert variable["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}


def test_configuration_has_no_field_that_nobody_knows() -> None:
    assert CONFIGURATION.problems == ()
    given = [one for one in CONFIGURATION.reports if one.given]
    assert len(given) > 5
    assert not [one for one in given if one.verdict is not Verdict.HONOURED]


def test_probes_ask_where_the_agent_answers() -> None:
    health = SETTINGS.healthz
    (port,) = container()["ports"]
    assert health is not None
    assert port["containerPort"] == port["hostPort"] == health.port
    assert health.host == "0.0.0.0"  # noqa: S104 - the kubelet asks at the node's address
    for name in PROBES:
        assert container()[name]["httpGet"]["port"] == port["name"]


def test_an_api_server_that_is_away_restarts_nobody() -> None:
    assert container()["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container()["startupProbe"]["httpGet"]["path"] == "/livez"
    assert container()["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_the_agent_is_reached_from_outside_for_its_health_only() -> None:
    metrics = SETTINGS.metrics
    assert metrics is not None
    assert metrics.host == "127.0.0.1"


def test_the_api_server_is_to_be_told_and_is_no_service() -> None:
    found = yaml.safe_load((DEPLOY / "kubeconfig.conf").read_text())
    (cluster,) = found["clusters"]
    (user,) = found["users"]
    assert cluster["cluster"]["server"] == ""
    mounted = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    assert cluster["cluster"]["certificate-authority"] == str(mounted / "ca.crt")
    assert user["user"] == {"tokenFile": str(mounted / "token")}
    assert SETTINGS.client.kubeconfig == "/var/lib/kube-proxy/kubeconfig.conf"
    for place in ("env", "envFrom"):
        assert "KUBERNETES_SERVICE_HOST" not in str(container().get(place))


# Rights and duties ---------------------------------------------------------------------------------------------------


def test_the_container_may_do_one_thing() -> None:
    assert container()["securityContext"] == {
        "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
        "runAsUser": 0,
        "runAsGroup": 0,
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
    }
    assert pod_spec()["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert not {"hostPID", "hostIPC", "initContainers"} & pod_spec().keys()
    assert not any("hostPath" in volume for volume in pod_spec()["volumes"])


def test_the_pod_is_where_the_tables_are_and_needs_no_service() -> None:
    assert pod_spec()["hostNetwork"] is True
    assert pod_spec()["dnsPolicy"] == "Default"
    assert pod_spec()["enableServiceLinks"] is False


def test_the_pod_is_among_the_first_and_the_last_on_a_node() -> None:
    assert pod_spec()["priorityClassName"] == "system-node-critical"
    assert pod_spec()["tolerations"] == [{"operator": "Exists"}]
    assert container()["resources"].keys() == {"requests"}


def test_updates_never_have_two_agents_on_a_node() -> None:
    strategy = daemonset()["spec"]["updateStrategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}


def test_no_file_is_forgotten() -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    for file in DEPLOY.iterdir():
        assert f"| [`{file.name}`](../examples/deploy/{file.name}) |" in text
