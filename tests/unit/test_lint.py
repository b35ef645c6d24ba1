"""What lint finds, what it must not find, and how findings are ignored."""

from typing import Any

import pytest

from nftsvc.decode import decode
from nftsvc.errors import Problem
from nftsvc.lint import BY_CODE, Level, lint
from nftsvc.settings import settings_for
from nftsvc.state import State
from tests.support.builders import NODE, Raw, endpoint_slice, service
from tests.support.linted import codes, linted, only

VIP, VIP_6 = "10.96.0.10", "fd00:96::10"
HERE, THERE = "10.244.1.5", "10.244.2.9"
HTTP = ({"name": "http", "port": 80, "targetPort": "http"},)
SLICE_HTTP = ({"name": "http", "port": 8080},)
SELECTOR = {"app": "web"}


def written(name: str = "web", ports: Any = HTTP, namespace: str = "shop", **spec: Any) -> Raw:
    """Return a Service as repositories have them: without a cluster IP."""
    raw = service(name, [VIP], ports, namespace, **{"selector": SELECTOR, **spec})
    del raw["spec"]["clusterIP"], raw["spec"]["clusterIPs"]
    return raw


def web(addresses: tuple[str, ...] = (VIP,), ports: Any = HTTP, **spec: Any) -> Raw:
    return service("web", addresses, ports, **{"selector": SELECTOR, **spec})


def slices(*addresses: str, ports: Any = SLICE_HTTP, **fields: Any) -> Raw:
    return endpoint_slice("web", addresses or (HERE, THERE), ports, **fields)


def pod(name: str = "web-1", namespace: str = "shop", port: Raw | None = None, **status: Any) -> Raw:
    """Return a Pod of a cluster; `status` None makes it a manifest."""
    ports = [{"name": "http", "containerPort": 8080} if port is None else port]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
        "spec": {"nodeName": NODE, "containers": [{"ports": ports}]},
        "status": {
            "phase": "Running",
            "podIP": HERE,
            "conditions": [{"type": "Ready", "status": "True"}],
            **status,
        },
    }


def node(name: str = NODE, address: str = "192.0.2.11", zone: str = "zone-a") -> Raw:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def endpoints(*addresses: str, name: str = "web", **metadata: Any) -> Raw:
    subset = {"addresses": [{"ip": one, "nodeName": NODE} for one in addresses], "ports": list(SLICE_HTTP)}
    return {
        "apiVersion": "v1",
        "kind": "Endpoints",
        "metadata": {"name": name, "namespace": "shop", **metadata},
        "subsets": [subset] if addresses else [],
    }


def ignoring(raw: Raw, text: str) -> Raw:
    return {**raw, "metadata": {**raw["metadata"], "annotations": {"nftsvc/lint-ignore": text}}}


# No false alarms -----------------------------------------------------------------------------------------------------

KUBERNETES = service(
    "kubernetes", ["10.96.0.1"], [{"name": "https", "port": 443, "targetPort": 6443}], "default", sessionAffinity="None"
)
KUBE_DNS = service(
    "kube-dns",
    ["10.96.0.2"],
    [
        {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
        {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
    ],
    "kube-system",
    selector={"k8s-app": "kube-dns"},
)
HEADLESS = service("db", ["None"], HTTP, selector=SELECTOR)
EXTERNAL_NAME: Raw = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "mail", "namespace": "shop"},
    "spec": {"type": "ExternalName", "externalName": "mail.example.com"},
}
INGRESS = written(
    "ingress",
    [
        {"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"},
        {"name": "https", "port": 443, "targetPort": "https", "appProtocol": "https"},
    ],
    type="LoadBalancer",
    externalTrafficPolicy="Local",
    loadBalancerSourceRanges=["198.51.100.0/24"],
)


def test_a_repository_of_services_alone_is_accused_of_nothing() -> None:
    report = linted(written(), written("api", type="NodePort"), INGRESS, HEADLESS, EXTERNAL_NAME, KUBERNETES, KUBE_DNS)
    assert report.findings == ()
    assert (report.services, report.unjudged) == (5, 5)


def test_a_service_without_a_cluster_ip_is_nothing_to_tell() -> None:
    assert linted(written(), slices()).findings == ()
    assert linted(written(), pod()).findings == ()


def test_manifests_of_pods_are_no_pods_of_a_cluster() -> None:
    bare = pod()
    del bare["status"]
    for raws in ((written(), bare), (written(selector={"app": "other"}), bare), (written(), {**bare, "status": {}})):
        assert linted(*raws).findings == ()


def test_pods_of_another_namespace_say_nothing() -> None:
    assert linted(written(selector={"app": "other"}), pod(namespace="bank")).findings == ()


def test_slices_of_another_namespace_say_nothing() -> None:
    other = endpoint_slice("web", [HERE], SLICE_HTTP, namespace="bank")
    assert linted(written(), written(namespace="bank"), other).findings == ()


def test_hand_written_slices_of_one_service_say_nothing_of_those_that_a_controller_makes() -> None:
    database = service("database", ["10.96.0.11"], [{"port": 5432}])
    given = endpoint_slice("database", ["192.0.2.50"], [{"port": 5432}])
    report = linted(written(), database, given)
    assert (codes(report), report.unjudged) == ([], 1)


def test_a_cluster_with_everything_the_controllers_make_has_no_findings() -> None:
    dns = endpoint_slice(
        "kube-dns",
        ["10.244.0.2", "10.244.0.3"],
        [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            {"name": "metrics", "port": 9153, "protocol": "TCP"},
        ],
        "kube-system",
    )
    api = endpoint_slice("kubernetes", ["192.0.2.11"], [{"name": "https", "port": 6443}], "default", node=None)
    headless = endpoint_slice("db", [HERE], SLICE_HTTP)
    headless["metadata"]["labels"]["service.kubernetes.io/headless"] = ""
    made = endpoints(HERE, THERE, creationTimestamp="2025-01-01T00:00:00Z")
    report = linted(
        *(KUBERNETES, api, KUBE_DNS, dns, HEADLESS, headless, EXTERNAL_NAME, web(), slices(), made, pod()),
        *(node(), node("node-b", "192.0.2.12")),
    )
    assert (codes(report), report.unjudged) == ([], 0)


def test_slices_of_the_multi_cluster_api_are_nobodys_business() -> None:
    imported = slices()
    imported["metadata"]["labels"] = {"multicluster.kubernetes.io/service-name": "web"}
    assert linted(written(), imported).findings == ()


def test_another_proxys_services_are_left_alone() -> None:
    theirs = web(externalIPs=["203.0.113.1"])
    theirs["metadata"]["labels"] = {"service.kubernetes.io/service-proxy-name": "other"}
    assert linted(theirs, slices(ports=[{"name": "x", "port": 1}])).findings == ()


def test_the_same_endpoint_in_two_slices_is_normal() -> None:
    assert linted(web(), slices(HERE), slices(HERE, suffix="2")).findings == ()


def test_pods_with_different_numbers_for_one_port_are_normal() -> None:
    other = pod("web-2", port={"name": "http", "containerPort": 9090}, podIP=THERE)
    assert linted(web(), pod(), other).findings == ()


def test_ports_in_slices_of_their_own_are_normal() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]
    split = slices(HERE), slices(THERE, ports=[{"name": "admin", "port": 81}], suffix="2")
    assert linted(web(ports=ports), *split).findings == ()


def test_a_slice_with_a_port_too_many_is_no_mismatch() -> None:
    ports = [*SLICE_HTTP, {"name": "metrics", "port": 9090}]
    assert linted(web(), slices(ports=ports)).findings == ()


# What could not be read ----------------------------------------------------------------------------------------------

BROKEN_SLICE = {**slices(), "addressType": "ipv4"}


def test_what_could_not_be_read_may_be_what_is_missing() -> None:
    other = service("other", ["10.96.0.11"], selector=SELECTOR), endpoint_slice("other", [HERE])
    assert codes(linted(web(), *other)) == ["NS101"]
    assert codes(linted(web(), *other, BROKEN_SLICE)) == ["NS502"]


def test_a_document_that_is_lost_may_be_anything() -> None:
    raws = [web(selector={"app": "other"}), pod(), endpoint_slice("gone", [HERE])]
    objects = [one for one in (decode(raw).value for raw in raws) if one is not None]
    state = State.of(objects)
    settings = settings_for(state, None)
    assert [one.code for one in lint(objects, state, settings).findings] == ["NS514", "NS102"]
    lost = lint(objects, state, settings, [Problem("not YAML: line 1, column 1: no")])
    assert [one.code for one in lost.findings] == ["NS501"]


def test_a_slice_of_a_service_with_an_error_is_not_nobodys() -> None:
    bad = web(type="Nodeport")
    assert codes(linted(bad, written("other"), slices())) == ["NS502"]


def test_errors_of_decoding_keep_their_place_and_severity() -> None:
    bad = web(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 0}}, type="Nodeport")
    report = linted(bad)
    assert [(one.code, one.field) for one in report.findings] == [
        ("NS402", "spec.sessionAffinityConfig.clientIP.timeoutSeconds"),
        ("NS502", "spec.type"),
    ]
    assert {one.severity for one in report.findings} == {Level.ERROR}
    assert all(one.remedy for one in report.findings)


def test_a_removed_version_of_an_api_has_a_code_of_its_own() -> None:
    assert codes(linted({**slices(), "apiVersion": "discovery.k8s.io/v1beta1"})) == ["NS504"]


# Endpoints -----------------------------------------------------------------------------------------------------------


def test_slices_without_endpoints_and_none_at_all() -> None:
    empty = {**slices(), "endpoints": [], "ports": []}
    assert only(linted(web(), empty), "NS101").message == "its EndpointSlice has no endpoint"
    other = service("other", ["10.96.0.11"], selector=SELECTOR), endpoint_slice("other", [HERE])
    assert "namespace shop has no EndpointSlice" in only(linted(web(), *other), "NS101").message
    selectorless = service("web", [VIP])
    assert "no selector" in only(linted(selectorless, *other), "NS101").message
    assert only(linted(web(), endpoints()), "NS101").message == "its Endpoints object has no endpoint"


def test_pods_without_an_address_yet() -> None:
    waiting = pod(phase="Pending", podIP="", conditions=[])
    assert only(linted(web(), waiting), "NS101").message == "its only Pod has no address"


def test_the_label_that_no_pod_has_is_named() -> None:
    found = only(linted(web(selector={"app": "web", "tier": "front"}), pod()), "NS102")
    assert found.message == "no Pod of namespace shop has 'tier=front'"
    other = pod("db-1")
    other["metadata"]["labels"] = {"tier": "front"}
    found = only(linted(web(selector={"app": "web", "tier": "front"}), pod(), other), "NS102")
    assert found.message == "no Pod of namespace shop has 'app=web' and 'tier=front' together"


def test_a_selector_that_matches_only_finished_pods_matches_none() -> None:
    assert codes(linted(web(), pod(phase="Succeeded"))) == ["NS102"]


def test_a_named_target_port_for_another_protocol_is_said() -> None:
    report = linted(web(), pod(port={"name": "http", "containerPort": 53, "protocol": "UDP"}))
    found = only(report, "NS103")
    assert found.field == "spec.ports[0].targetPort"
    assert "there is one for another protocol" in found.message
    assert codes(report) == ["NS103"]


def test_pods_do_not_speak_against_slices() -> None:
    assert linted(web(), slices(), pod(port={"name": "other", "containerPort": 1})).findings == ()


def test_a_named_target_port_explains_a_port_that_the_slices_lack() -> None:
    ports = [*HTTP, {"name": "admin", "port": 81, "targetPort": "admin"}]
    assert codes(linted(web(ports=ports), slices(), pod())) == ["NS103"]
    found = only(linted(web(ports=ports), slices()), "NS511")
    assert (found.field, found.ref is not None and found.ref.kind) == ("spec.ports[1].name", "Service")
    assert "perhaps no Pod has a container port 'admin'" in found.message


def test_each_reason_is_said_once_for_all_ports_and_families() -> None:
    ports = [{"name": name, "port": number} for name, number in (("a", 1), ("b", 2), ("c", 3))]
    unready = slices(HERE, ports=ports)
    unready["endpoints"][0]["conditions"] = {"ready": False}
    six = slices("fd00:244:1::5", ports=ports)
    six["endpoints"][0]["conditions"] = {"ready": False}
    report = linted(web((VIP, VIP_6), ports), unready, six)
    assert codes(report) == ["NS104"]
    assert only(report, "NS104").message == "none of its 2 endpoints is ready"


def test_ports_without_endpoints_are_named_where_others_have_some() -> None:
    ports = [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    ready, unready = slices(HERE, ports=[{"name": "a", "port": 1}]), slices(THERE, ports=[{"name": "b", "port": 2}])
    unready["endpoints"][0]["conditions"] = {"ready": False}
    unready["metadata"]["name"] = "web-2"
    assert only(linted(web(ports=ports), ready, unready), "NS104").message == "its only endpoint is not ready (port b)"


def test_an_unnamed_port_and_a_named_one_do_not_meet() -> None:
    report = linted(web(ports=[{"port": 80}]), slices())
    assert codes(report) == ["NS511"]
    assert only(report, "NS511").message == "'http', but the Service asks for no name"


def test_a_mismatch_of_many_slices_is_said_once() -> None:
    parts = [slices(f"10.244.1.{number}", ports=[{"name": "web", "port": 1}], suffix=str(number)) for number in (1, 2)]
    assert codes(linted(web(), *parts)) == ["NS511"]


def test_endpoints_in_the_service_network_are_unreachable() -> None:
    report = linted(web(), slices("10.96.3.4"), overrides=["serviceCIDRs=10.96.0.0/16"])
    assert only(report, "NS109").message == "10.96.3.4 is in 10.96.0.0/16, where cluster IPs come from"


def test_endpoints_beside_slices_that_say_the_same_are_normal() -> None:
    assert linted(web(), slices(), endpoints(HERE)).findings == ()
    assert codes(linted(web(), slices(), endpoints(HERE, "10.244.9.9"))) == ["NS517"]


def test_a_slice_in_the_wrong_namespace_is_told_where_the_service_is() -> None:
    misplaced = slices(namespace="bank")
    report = linted(web(), slices(), written("other", namespace="bank"), misplaced)
    assert only(report, "NS514").message == "namespace bank has no Service 'web'; there is one in shop"


# Claims --------------------------------------------------------------------------------------------------------------


def claim(name: str, created: str | None = None, namespace: str = "shop", **spec: Any) -> Raw:
    number = sum(map(ord, name)) % 200
    raw = service(name, [f"10.96.1.{number}"], [{"port": 80, **spec.pop("port", {})}], namespace, **spec)
    raw["metadata"]["creationTimestamp"] = created
    return raw


def test_the_older_service_has_what_two_claim() -> None:
    young = claim("aa", "2025-01-01T00:00:00Z", type="NodePort", port={"nodePort": 30080})
    old = claim("zz", "2024-01-01T00:00:00Z", type="NodePort", port={"nodePort": 30080})
    found = only(linted(young, old), "NS202")
    assert (str(found.ref), found.field) == ("Service shop/aa", "spec.ports[0].nodePort")
    assert found.message == "30080/TCP belongs to Service shop/zz, which comes first"


def test_node_ports_of_different_families_share_a_number_only() -> None:
    four = claim("a", type="NodePort", port={"nodePort": 30080})
    six = service("b", ["fd00:96::1"], [{"port": 80, "nodePort": 30080}], type="NodePort")
    assert codes(linted(four, six)) == ["NS207"]
    unknown = written("c", [{"port": 80, "nodePort": 30080}], type="NodePort")
    assert codes(linted(four, unknown)) == ["NS202"]


def test_one_service_may_have_a_number_for_two_protocols() -> None:
    ports = [
        {"name": "t", "port": 53, "nodePort": 30053},
        {"name": "u", "port": 53, "protocol": "UDP", "nodePort": 30053},
    ]
    assert linted(written(ports=ports, type="NodePort")).findings == ()


def test_many_ports_of_one_address_are_one_finding() -> None:
    ports = [{"name": f"p{number}", "port": number} for number in range(80, 90)]
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    one, other = (
        {**service(name, [f"10.96.0.{at}"], ports, type="LoadBalancer"), "status": status}
        for at, name in enumerate(("a", "b"), 1)
    )
    found = only(linted(one, other), "NS201")
    places = "203.0.113.1:80/TCP, 203.0.113.1:81/TCP, 203.0.113.1:82/TCP and 7 more"
    assert found.message == f"{places} belong to Service shop/a, which comes first"


def test_a_shared_cluster_ip_is_one_finding_whatever_the_ports() -> None:
    first, second = service("a", [VIP], [{"port": 80}]), service("b", [VIP], [{"port": 80}])
    assert codes(linted(first, second)) == ["NS206"]
    assert codes(linted(first, service("b", [VIP], [{"port": 81}]))) == ["NS206"]


def test_an_address_that_the_balancer_keeps_is_claimed_by_nobody() -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1", "ipMode": "Proxy"}]}}
    raws = [{**claim(name, type="LoadBalancer"), "status": status} for name in ("a", "b")]
    assert linted(*raws).findings == ()


def test_two_health_check_ports_collide() -> None:
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local", "healthCheckNodePort": 32000}
    report = linted(claim("a", **spec), claim("b", **spec))
    assert only(report, "NS212").message == "32000 is the healthCheckNodePort of Service shop/a, which comes first"
    assert codes(linted(claim("a", **spec), claim("b", **{**spec, "healthCheckNodePort": 32001}))) == []


# Policies and topology -----------------------------------------------------------------------------------------------

LOCAL = {"internalTrafficPolicy": "Local", "externalTrafficPolicy": "Local", "type": "NodePort"}


def test_what_is_local_needs_a_node() -> None:
    away = slices(THERE, node="node-b")
    assert linted(web(**LOCAL), away).findings == ()
    assert linted(web(**LOCAL), away, node(), node("node-b", "192.0.2.12")).findings == ()
    assert codes(linted(web(**LOCAL), away, node="node-b")) == []
    report = linted(web(**LOCAL), away, node="node-a")
    assert codes(report) == ["NS301", "NS302"]
    assert only(report, "NS301").message == "Local, but no endpoint on node node-a"


def test_a_load_balancer_that_asks_for_health_goes_elsewhere() -> None:
    away = slices(THERE, node="node-b")
    spec = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    assert linted(web(**spec), away, node="node-a").findings == ()


def test_endpoints_that_run_nowhere_are_local_nowhere() -> None:
    nowhere = slices(HERE, node=None)
    assert codes(linted(web(**LOCAL), nowhere)) == ["NS303", "NS303"]
    assert codes(linted(web(), nowhere)) == []


def test_nobody_at_all_is_no_question_of_policies() -> None:
    empty = {**slices(), "endpoints": []}
    assert codes(linted(web(**LOCAL), empty, node="node-a")) == ["NS101"]


def hinted(*zones: str | None, kind: str = "forZones") -> Raw:
    raw = slices(*(f"10.244.1.{number}" for number in range(1, len(zones) + 1)))
    for one, zone in zip(raw["endpoints"], zones, strict=True):
        one["hints"] = {kind: [{"name": zone}]} if zone else None
    return raw


def test_why_hints_are_ignored() -> None:
    found = only(linted(web(), hinted("zone-a", None, None)), "NS305")
    assert found.message == "hints for zones are ignored: 10.244.1.2 and 10.244.1.3 have none"
    assert linted(web(), hinted("zone-a", "zone-b")).findings == ()
    assert linted(web(), hinted("zone-a", "zone-b"), node()).findings == ()
    found = only(linted(web(), hinted("zone-b", "zone-b"), node()), "NS306")
    assert found.message == "no endpoint is for zone 'zone-a': those of all zones are used"
    found = only(linted(web(), hinted("zone-b", "zone-b"), node(zone="")), "NS306")
    assert found.message == "node node-a has no zone: endpoints of all zones are used"
    found = only(linted(web(), hinted("node-b", kind="forNodes"), node()), "NS306")
    assert found.message == "no endpoint is for node node-a: all are used"


def test_endpoints_that_are_not_ready_need_no_hint() -> None:
    raw = hinted("zone-a", None)
    raw["endpoints"][1]["conditions"] = {"ready": False}
    assert linted(web(), raw, node()).findings == ()


def test_hints_made_from_pods_need_their_nodes() -> None:
    elsewhere = pod("web-2", podIP=THERE)
    elsewhere["spec"]["nodeName"] = "node-b"
    spec = {"trafficDistribution": "PreferSameZone"}
    assert linted(web(**spec), pod(), elsewhere, node()).findings == ()
    assert linted(web(**spec), pod(), elsewhere, node(), node("node-b", "192.0.2.12")).findings == ()
    unzoned = node("node-b", "192.0.2.12", zone="")
    assert codes(linted(web(**spec), pod(), elsewhere, node(), unzoned)) == ["NS305"]


# Source ranges -------------------------------------------------------------------------------------------------------

RANGES = {"type": "LoadBalancer", "loadBalancerSourceRanges": ["198.51.100.0/24"]}


def balanced(*ingress: str, **spec: Any) -> Raw:
    raw = web((VIP, VIP_6), ipFamilies=["IPv4", "IPv6"], **{**RANGES, **spec})
    return {**raw, "status": {"loadBalancer": {"ingress": [{"ip": one} for one in ingress]}}}


def test_a_family_without_a_range_is_open_where_it_has_an_address() -> None:
    assert linted(balanced()).findings == ()
    assert linted(balanced("203.0.113.1")).findings == ()
    found = only(linted(balanced("203.0.113.1", "2001:db8::1")), "NS412")
    assert found.message == "2001:db8::1 is open to everybody: all ranges are of IPv4"
    everybody = ["198.51.100.0/24", "::/0"]
    assert codes(linted(balanced("203.0.113.1", "2001:db8::1", loadBalancerSourceRanges=everybody))) == ["NS414"]


def test_node_ports_and_external_ips_go_around_source_ranges() -> None:
    ports = [{"name": "http", "port": 80, "nodePort": 30080}]
    found = only(linted(balanced("203.0.113.1", ports=ports, externalIPs=["203.0.113.2"])), "NS415")
    assert found.message == "they do not guard node port 30080/TCP and external IP 203.0.113.2"
    guarded = linted(balanced("203.0.113.1", externalIPs=["203.0.113.1"]))
    assert codes(guarded) == ["NS204"]
    open_to_all = linted(balanced(ports=ports, loadBalancerSourceRanges=["0.0.0.0/0"]))
    assert codes(open_to_all) == ["NS414"]


# Ignoring ------------------------------------------------------------------------------------------------------------


def test_a_finding_is_ignored_with_a_reason_and_shown_with_it() -> None:
    report = linted(ignoring(written(externalIPs=["203.0.113.1"]), "NS204 the router sends them here"))
    assert report.findings == ()
    ((finding, reason),) = report.suppressed
    assert (finding.code, reason) == ("NS204", "the router sends them here")


@pytest.mark.parametrize("text", ["NS204 a; NS203 b", "NS204 a\nNS203 b\n", " NS204: a ;\n\n NS203  b ;"])
def test_several_findings_are_ignored_by_one_annotation(text: str) -> None:
    raw = written(ports=[{"port": 80, "nodePort": 80}], type="NodePort", externalIPs=["203.0.113.1"])
    report = linted(ignoring(raw, text))
    assert codes(report) == []
    assert [(one.finding.code, one.reason) for one in report.suppressed] == [("NS203", "b"), ("NS204", "a")]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("NS204", "NS901", "NS204 without a reason"),
        ("NS204;", "NS901", "NS204 without a reason"),
        ("the router sends them here", "NS902", "'the' is no code that can be ignored"),
        ("NS999 a reason", "NS902", "'NS999' is no code that can be ignored"),
        ("NS502 a reason", "NS902", "'NS502' is no code that can be ignored"),
        ("NS901 a reason", "NS902", "'NS901' is no code that can be ignored"),
    ],
)
def test_an_annotation_that_says_too_little_ignores_nothing(text: str, code: str, said: str) -> None:
    report = linted(ignoring(written(externalIPs=["203.0.113.1"]), text))
    assert codes(report) == ["NS204", code]
    assert only(report, code).message == said
    assert only(report, code).field == "metadata.annotations['nftsvc/lint-ignore']"


def test_an_annotation_counts_for_its_object_and_a_services_for_its_slices() -> None:
    many = slices()
    many["endpoints"][0]["addresses"] = [HERE, "10.244.1.6"]
    assert codes(linted(web(), many)) == ["NS110"]
    for raws in ((ignoring(web(), "NS110 known"), many), (web(), ignoring(many, "NS110 known"))):
        assert (codes(linted(*raws)), len(linted(*raws).suppressed)) == ([], 1)
    other = ignoring(written("other", namespace="bank"), "NS110 known")
    assert codes(linted(web(), many, other)) == ["NS110"]


def test_settings_are_annotated_like_everything_else() -> None:
    settings: Raw = {"apiVersion": "nftsvc/v1", "kind": "NodeConfiguration", "metadata": {"name": "gone"}, "spec": {}}
    assert codes(linted(node(), settings)) == ["NS601"]
    assert codes(linted(node(), ignoring(settings, "NS601 it comes next week"))) == []


def test_codes_may_be_left_out_of_a_run() -> None:
    made = [decode(written(externalIPs=["203.0.113.1"])).value]
    objects = [one for one in made if one is not None]
    state = State.of(objects)
    report = lint(objects, state, settings_for(state, None), ignored=["NS204"])
    assert (report.findings, report.suppressed) == ((), ())


# Reports -------------------------------------------------------------------------------------------------------------


def test_severities_are_ordered() -> None:
    assert [one for one in Level if one.at_least(Level.WARNING)] == [Level.ERROR, Level.WARNING]
    report = linted(written(externalIPs=["203.0.113.1"]))
    assert report.any_at_least(Level.INFO)
    assert report.any_at_least(Level.WARNING)
    assert not report.any_at_least(Level.ERROR)
    assert report.counts == {Level.ERROR: 0, Level.WARNING: 1, Level.INFO: 0}


def test_findings_do_not_depend_on_the_order_of_the_input() -> None:
    raws = [claim(name, type="NodePort", port={"nodePort": 30080}) for name in "abc"] + [web(), slices(THERE), node()]
    assert linted(*raws).findings == linted(*reversed(raws)).findings
    assert {one.code for one in linted(*raws).findings} <= BY_CODE.keys()
