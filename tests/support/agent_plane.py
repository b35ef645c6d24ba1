"""Where an agent's objects come from, for tests that do not care: a folder, a double, a real API server."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

from nftsvc.lab import Namespace
from tests.support.agent import written_configuration
from tests.support.apiserver import ApiServer

Raw = dict[str, Any]

KINDS = ("Node", "Service", "EndpointSlice")


class Plane(Protocol):
    """A control plane. `arguments` are those of `nftsvc run`; `namespace` is where its objects are to be."""

    arguments: tuple[str, ...]
    namespace: str

    def put(self, *documents: Raw) -> None:
        """Create or replace objects, one after the other."""
        ...

    def delete(self, *documents: Raw) -> None:
        """Delete objects."""
        ...

    def objects(self) -> list[Raw]:
        """Return all Nodes, Services and EndpointSlices that there are."""
        ...


class Folder:
    """A file for each object in a folder; files are renamed into it when they are whole."""

    namespace = "shop"

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "manifests"
        self._elsewhere = folder / "elsewhere"
        for one in (self.folder, self._elsewhere):
            one.mkdir()
        self.arguments: tuple[str, ...] = ("--manifests", str(self.folder))

    def put(self, *documents: Raw) -> None:
        for one in documents:
            path = self._elsewhere / self.path(one).name
            path.write_text(json.dumps(one), encoding="utf-8")
            path.rename(self.path(one))

    def delete(self, *documents: Raw) -> None:
        for one in documents:
            self.path(one).unlink()

    def objects(self) -> list[Raw]:
        return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(self.folder.iterdir())]

    def path(self, document: Raw) -> Path:
        metadata = document["metadata"]
        return self.folder / f"{document['kind']}-{metadata.get('namespace', '')}-{metadata['name']}.json"


class Double:
    """The API server double, inside the node."""

    namespace = "shop"

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server = server
        config = server.kubeconfig(folder / "kubeconfig")
        told = written_configuration(folder / "kube-proxy.json")
        self.arguments: tuple[str, ...] = ("--kubeconfig", str(config), "--config", str(told))

    def put(self, *documents: Raw) -> None:
        self.server.put_many(documents)

    def delete(self, *documents: Raw) -> None:
        for one in documents:
            self.server.delete(one["kind"], one["metadata"].get("namespace", ""), one["metadata"]["name"])

    def objects(self) -> list[Raw]:
        return [one for kind in KINDS for one in self.server.objects(kind)]


@contextmanager
def plane_of(kind: str, node: Namespace, folder: Path) -> Iterator[Plane]:
    """Make a control plane for a node: `folder`, `double`, or `real` (the server that $KUBECONFIG leads to)."""
    with ExitStack() as stack:
        if kind == "folder":
            yield Folder(folder)
        elif kind == "double":
            server = stack.enter_context(ApiServer(call=node.call, token="a-token"))  # noqa: S106 - of a test
            yield Double(server, folder)
        else:
            from tests.support.agent_cluster import real_cluster  # noqa: PLC0415 - only where there is one

            yield stack.enter_context(real_cluster(node, folder))
