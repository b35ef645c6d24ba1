"""The vocabulary of the API server double: resources, selectors, Status bodies, JSON as Go writes it.

The shapes are those of the recorded answers in tests/captures (a v1.36 API server).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Document = dict[str, Any]

_OPERATOR = re.compile(r"(?P<key>[^!=\s]+?)\s*(?P<operator>==|!=|=)\s*(?P<value>[^=!]*)")
_SET = re.compile(r"(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_KEY = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Resource:
    """One collection that the server has.

    `empty` is what a BOOKMARK's object carries after its metadata: the fields that Go writes even when they are
    empty. `fields` are the paths that a fieldSelector may use besides metadata.name and metadata.namespace.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    empty: Document = field(default_factory=dict)
    fields: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The plural; of Events in their newer group `events.events.k8s.io`, because there are two of that plural."""
        return f"{self.plural}.{self.group}" if self.group == "events.k8s.io" else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """The path of its group and version: `/api/v1`, `/apis/discovery.k8s.io/v1`."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"

    @property
    def head(self) -> bytes:
        """How an object begins that says what it is: in a watch, and read alone. In a list it does not."""
        return b'{"kind":"%s","apiVersion":"%s",' % (self.kind.encode(), self.api_version.encode())

    def bookmark(self, revision: int) -> bytes:
        body = {"metadata": {"resourceVersion": str(revision)}, **self.empty}
        return self.head + encode(body)[1:]


_NODE_INFO = (
    "machineID",
    "systemUUID",
    "bootID",
    "kernelVersion",
    "osImage",
    "containerRuntimeVersion",
    "kubeletVersion",
    "kubeProxyVersion",
    "operatingSystem",
    "architecture",
)
_NODE_STATUS = {"daemonEndpoints": {"kubeletEndpoint": {"Port": 0}}, "nodeInfo": dict.fromkeys(_NODE_INFO, "")}

RESOURCES = {
    one.name: one
    for one in (
        Resource(
            "",
            "v1",
            "services",
            "Service",
            empty={"spec": {}, "status": {"loadBalancer": {}}},
            fields=("spec.clusterIP", "spec.type"),
        ),
        Resource("", "v1", "endpoints", "Endpoints"),
        Resource(
            "",
            "v1",
            "nodes",
            "Node",
            namespaced=False,
            empty={"spec": {}, "status": _NODE_STATUS},
            fields=("spec.unschedulable",),
        ),
        Resource(
            "",
            "v1",
            "pods",
            "Pod",
            empty={"spec": {"containers": None}, "status": {}},
            fields=("spec.nodeName", "status.phase", "status.podIP"),
        ),
        Resource("", "v1", "namespaces", "Namespace", namespaced=False, empty={"spec": {}, "status": {}}),
        Resource(
            "discovery.k8s.io",
            "v1",
            "endpointslices",
            "EndpointSlice",
            empty={"addressType": "", "endpoints": None, "ports": None},
        ),
        Resource(
            "networking.k8s.io",
            "v1",
            "servicecidrs",
            "ServiceCIDR",
            namespaced=False,
            empty={"spec": {}, "status": {}},
        ),
        Resource("", "v1", "events", "Event", fields=("involvedObject.name", "reason", "type")),
        Resource("events.k8s.io", "v1", "events", "Event", fields=("regarding.name", "reason", "type")),
    )
}
_BY_KIND = {(one.api_version, one.kind): one for one in RESOURCES.values()}
_BY_PATH = {(one.root, one.plural): one for one in RESOURCES.values()}


def resource_of(document: Mapping[str, Any]) -> Resource:
    """Which collection an object (or a typed list of them) belongs to. KeyError if the double has none for it."""
    kind = document["kind"]
    kind = kind.removesuffix("List") if "items" in document else kind
    return _BY_KIND[document["apiVersion"], kind]


def resource_at(root: str, plural: str) -> Resource | None:
    return _BY_PATH.get((root, plural))


def encode(value: object) -> bytes:
    """JSON the way Go writes it: compact, and without the three characters that HTML would interpret."""
    text = msgspec.json.encode(value)
    return text.replace(b"&", b"\\u0026").replace(b"<", b"\\u003c").replace(b">", b"\\u003e")


def decode(text: bytes) -> Document:
    found: Document = msgspec.json.decode(text)
    return found


def status(code: int, reason: str, message: str, **more: object) -> Document:
    """A Status that tells of a failure, its keys in the recorded order."""
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
    return {**head, "reason": reason, **more, "code": code}


class Refused(Exception):
    """The server answers with a Status instead of what was asked for."""

    def __init__(self, body: Document, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(body["message"])
        self.body = body
        self.code: int = body["code"]
        self.headers = dict(headers or {})


def bad_request(message: str) -> Refused:
    return Refused(status(400, "BadRequest", message))


def not_found(plural: str, name: str) -> Refused:
    details = {"name": name, "kind": plural}
    return Refused(status(404, "NotFound", f'{plural} "{name}" not found', details=details))


UNAUTHORIZED = status(401, "Unauthorized", "Unauthorized")
LIST_EXPIRED = status(410, "Expired", "The resourceVersion for the provided list is too old.")
NO_STREAMING_LIST = status(
    500,
    "InternalError",
    "a watch stream was requested by the client but the required storage feature RequestWatchProgress is disabled",
)


def watch_expired(asked: int, oldest: int) -> Document:
    return status(410, "Expired", f"too old resource version: {asked} ({oldest})")


def token_expired(token: str) -> Document:
    """What an outdated `continue` gets: 410 with another token in it, which goes on from there in newer data.

    A client that wants a consistent list must start again without any token.
    """
    body = status(410, "Expired", "the continue token is too old for a consistent list")
    return {**body, "metadata": {"continue": token}}


def not_there_yet(asked: int, current: int) -> Document:
    """What a list gets that asks for a resourceVersion the server has not reached; 504, as the real one answers."""
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return status(504, "Timeout", message, details={"causes": [cause], "retryAfterSeconds": 1})


Test = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class Selector:
    """Requirements on a map of labels or fields; all must hold."""

    tests: tuple[Test, ...] = ()

    def matches(self, values: Mapping[str, str]) -> bool:
        return all(test(values) for test in self.tests)


ALL = Selector()


def parse_labels(text: str) -> Selector:
    """Read a labelSelector: `key`, `!key`, `key=v`, `key==v`, `key!=v`, `key in (a,b)`, `key notin (a,b)`.

    A key that is absent satisfies `!=` and `notin`. Refused (400) for anything else.
    """
    parts = [part.strip() for part in re.split(r",(?![^()]*\))", text) if part.strip()]
    return Selector(tuple(_label_test(part) for part in parts))


def _label_test(part: str) -> Test:
    if matched := _SET.fullmatch(part):
        key, values = matched["key"], {value.strip() for value in matched["values"].split(",")}
        wanted = matched["operator"] == "in"
        return lambda labels: (key in labels and labels[key] in values) is wanted
    if matched := _OPERATOR.fullmatch(part):
        return _comparison(matched["key"], matched["operator"], matched["value"].strip())
    if part.startswith("!") and _KEY.fullmatch(part[1:].strip()):
        absent = part[1:].strip()
        return lambda labels: absent not in labels
    if _KEY.fullmatch(part):
        return lambda labels: part in labels
    raise bad_request(f"unable to parse requirement: {part}")


def _comparison(key: str, operator: str, value: str) -> Test:
    if operator == "!=":
        return lambda values: values.get(key) != value
    return lambda values: values.get(key) == value


def parse_fields(text: str, resource: Resource) -> Selector:
    """Read a fieldSelector: `path=v`, `path==v`, `path!=v`, on paths that the resource has indexed, else 400."""
    allowed = {"metadata.name", *(("metadata.namespace",) if resource.namespaced else ()), *resource.fields}
    tests = []
    for part in filter(None, (one.strip() for one in text.split(","))):
        matched = _OPERATOR.fullmatch(part)
        if matched is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        if matched["key"] not in allowed:
            raise bad_request(f"field label not supported: {matched['key']}")
        tests.append(_comparison(matched["key"], matched["operator"], matched["value"].strip()))
    return Selector(tuple(tests))


def fields_of(resource: Resource, document: Mapping[str, Any]) -> dict[str, str]:
    """Look up what field selectors may ask for; what is not there counts as empty."""
    metadata = document["metadata"]
    found = {"metadata.name": metadata["name"], "metadata.namespace": metadata.get("namespace", "")}
    for path in resource.fields:
        value: object = document
        for step in path.split("."):
            value = value.get(step) if isinstance(value, Mapping) else None
        found[path] = str(value if value is not None else "")
    return found
