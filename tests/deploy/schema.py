"""Kubernetes documents against the API's own schemas: the typed models of the package `kubernetes` (OpenAPI of v1.37).

Stricter than those models are: a field that they do not know is a problem, not passed over, and so is a number where a
string belongs.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kubernetes import client

Raw = dict[str, Any]

_SCALARS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "datetime": (str,),
    "object": (str, int, float, dict, list),  # an IntOrString, mostly
}
_LIST = re.compile(r"List\[(.*)\]")
_MAP = re.compile(r"Dict\[str, (.*)\]")


def problems(document: Raw) -> list[str]:
    """Say what the API server would not take of a whole object, or would take and forget."""
    version = str(document.get("apiVersion")).rpartition("/")[2]
    model = f"{version[:1].upper()}{version[1:]}{document.get('kind')}"
    if not hasattr(client, model):
        return [f"no such kind: {document.get('apiVersion')} {document.get('kind')}"]
    return list(_walk(document, model, "", partial=False))


def problems_of_patch(patch: Raw, model: str) -> list[str]:
    """Say the same of a part of an object, where fields may be missing."""
    return list(_walk(patch, model, "", partial=True))


def _walk(value: object, name: str, path: str, *, partial: bool) -> Iterator[str]:
    if name in _SCALARS:
        if not isinstance(value, _SCALARS[name]) or (isinstance(value, bool) and name != "bool"):
            yield f"{path}: {value!r} is no {name}"
    elif one := _LIST.fullmatch(name):
        if not isinstance(value, list):
            yield f"{path}: {value!r} is no list"
            return
        for index, item in enumerate(value):
            yield from _walk(item, one[1], f"{path}[{index}]", partial=partial)
    elif one := _MAP.fullmatch(name):
        if not isinstance(value, dict):
            yield f"{path}: {value!r} is no map"
            return
        for key, item in value.items():
            yield from _walk(key, "str", f"{path}, a key", partial=partial)
            yield from _walk(item, one[1], f"{path}[{key}]", partial=partial)
    else:
        yield from _walk_object(value, name, path, partial=partial)


def _walk_object(value: object, name: str, path: str, *, partial: bool) -> Iterator[str]:
    model = getattr(client, name)
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no {name}"
        return
    attributes = {key: attribute for attribute, key in model.attribute_map.items()}
    for key, item in value.items():
        if key in attributes:
            yield from _walk(item, model.openapi_types[attributes[key]], f"{path}.{key}", partial=partial)
        else:
            yield f"{path}.{key}: no such field of {name}"
    if not partial:
        for field_name, field in model.model_fields.items():
            key = field.serialization_alias or field_name
            if field.is_required() and key not in value:
                yield f"{path}.{key}: required in {name}"
