"""Where a KubeProxyConfiguration is found: a document of its own, or text in a ConfigMap.

Kubeadm keeps it in the ConfigMap `kube-proxy` of namespace kube-system, in `data["config.conf"]`; others use other
names, so any ConfigMap with such a text will do.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nftsvc.configuration.fields import KIND
from nftsvc.errors import ObjectRef
from nftsvc.values import quoted

_LISTS = ("List", "ConfigMapList")


@dataclass(frozen=True, slots=True)
class Document:
    """A KubeProxyConfiguration as a parser gave it, and the object it was in."""

    ref: ObjectRef
    raw: Mapping[object, object]


@dataclass(frozen=True, slots=True)
class Text:
    """An entry of a ConfigMap that names the kind, still to be parsed; `field` is its path."""

    ref: ObjectRef
    field: str
    text: str


def configurations_in(document: object) -> Iterator[Document | Text]:
    """Yield the configurations that a document is or holds; lists are looked through."""
    if not isinstance(document, dict):
        return
    kind = document.get("kind")
    if kind == KIND:
        yield Document(ObjectRef(KIND, "", ""), document)
    elif kind == "ConfigMap":
        yield from _entries(document)
    elif kind in _LISTS and isinstance(document.get("items"), list):
        for item in document["items"]:
            if isinstance(item, dict) and item.get("kind", "ConfigMap") not in _LISTS:
                yield from configurations_in({"kind": "ConfigMap", **item})


def _entries(config_map: Mapping[object, object]) -> Iterator[Text]:
    data, metadata = config_map.get("data"), config_map.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    ref = ObjectRef("ConfigMap", *(_shown(named.get(part)) for part in ("namespace", "name")))
    for key, text in data.items() if isinstance(data, dict) else ():
        if isinstance(text, str) and KIND in text:
            yield Text(ref, f"data[{key if isinstance(key, str) else quoted(key)}]", text)


def _shown(name: object) -> str:
    return name if isinstance(name, str) else ""
