"""Events that clients write to the API server double: POST and PATCH, checked as the real server checks them."""

import re
import secrets
from collections.abc import Iterator
from typing import Any

import msgspec

from tests.support.apiserver_store import Store, Stored, dress
from tests.support.apiserver_words import Document, Refused, Resource, bad_request, not_found, status

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_PATCHES = {"application/merge-patch+json", "application/strategic-merge-patch+json"}
_LONGEST = {"action": 128, "reason": 128, "reportingInstance": 128, "note": 1024}


def create(store: Store, resource: Resource, namespace: str, body: bytes) -> Stored:
    """Store a posted Event. Refused: 400 (unreadable, other namespace), 409 (exists), 422 (invalid)."""
    document = _read(body)
    metadata = document.setdefault("metadata", {})
    if document.get("kind", resource.kind) != resource.kind:
        raise bad_request(f"{document['kind']} in version {resource.version!r} cannot be handled as a Event")
    if metadata.setdefault("namespace", namespace) != namespace:
        raise bad_request("the namespace of the object does not match the namespace of the request")
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = metadata["generateName"] + secrets.token_hex(3)[:5]
    name = str(metadata.get("name", ""))
    problems = [*_problems(resource, document, name, namespace)]
    if problems:
        raise Refused(status(422, "Invalid", f'Event "{name}" is invalid: {"; ".join(problems)}'))
    with store.batch():
        if store.read(resource, f"{namespace}/{name}") is not None:
            details = {"name": name, "kind": resource.plural}
            raise Refused(status(409, "AlreadyExists", f'events "{name}" already exists', details=details))
        return store.apply(resource, dress(resource, document, None))


def patch(store: Store, resource: Resource, key: str, body: bytes, content_type: str) -> Stored:
    """Merge a patch (RFC 7386) into an Event. Refused: 404 (no such Event), 415 (another kind of patch), 422."""
    if content_type not in _PATCHES:
        raise Refused(status(415, "UnsupportedMediaType", f"no patches of type {content_type}"))
    change = _read(body)
    namespace, _, name = key.partition("/")
    with store.batch():
        before = store.read(resource, key)
        if before is None:
            raise not_found(resource.plural, name)
        document = _merge(msgspec.json.decode(before.item), change)
        problems = [*_problems(resource, document, name, namespace)]
        if problems:
            raise Refused(status(422, "Invalid", f'Event "{name}" is invalid: {"; ".join(problems)}'))
        return store.apply(resource, document)


def _read(body: bytes) -> Document:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise bad_request(f"the body is not a JSON object: {error}") from error


def _merge(old: Any, new: Any) -> Any:
    if not isinstance(new, dict) or not isinstance(old, dict):
        return new
    merged = {key: value for key, value in old.items() if new.get(key, ...) is not None}
    for key, value in new.items():
        if value is not None:
            merged[key] = _merge(old.get(key), value)
    return merged


def _problems(resource: Resource, event: Document, name: str, namespace: str) -> Iterator[str]:
    """What is wrong with an Event: a subset of the real server's rules, those of events.k8s.io stricter."""
    if len(name) > 253 or not _NAME.fullmatch(name):
        yield f"metadata.name: Invalid value: {name!r}"
    about = event.get("regarding" if resource.group else "involvedObject") or {}
    if about.get("namespace", "") != namespace and not (namespace == "default" and not about.get("namespace")):
        yield "involvedObject.namespace: does not match event.namespace"
    if not resource.group:
        return
    if event.get("type") not in {"Normal", "Warning"}:
        yield f"type: Invalid value: {event.get('type')!r}"
    for key in ("eventTime", "reportingController", "reportingInstance", "action", "reason"):
        if not event.get(key):
            yield f"{key}: Required value"
    for key, longest in _LONGEST.items():
        if len(event.get(key) or "") > longest:
            yield f"{key}: can have at most {longest} characters"
