"""A cluster as manifests in files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from benchmarks.cluster import Cluster


def write(cluster: Mapping[str, Any], folder: str) -> Mapping[str, Any]:
    """Write a cluster as one List in JSON and as YAML documents; return the paths of both."""
    documents = list(Cluster(**cluster).documents())
    as_json, as_yaml = Path(folder, "cluster.json"), Path(folder, "cluster.yaml")
    as_json.write_bytes(msgspec.json.encode({"apiVersion": "v1", "kind": "List", "items": documents}))
    with as_yaml.open("w", encoding="utf-8") as file:
        yaml.dump_all(documents, file, Dumper=yaml.CSafeDumper, sort_keys=False, explicit_start=True)
    return {"json": str(as_json), "yaml": str(as_yaml)}
