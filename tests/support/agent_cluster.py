"""A real API server as a control plane: the one of the flattened file that $KUBECONFIG names.

Objects are written over REST into a scratch namespace that goes in the end. The agent's namespace has no way to the
server, so a relay inside takes its connections and passes them on from here.
"""

import asyncio
import base64
import json
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from nftsvc.lab import Namespace
from tests.support.agent import written_configuration

Raw = dict[str, Any]

_COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "Node": "/api/v1/nodes",
    "Service": "/api/v1/{}services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/{}endpointslices",
}


class RealCluster:
    """Objects on a real API server. See `tests.support.agent_plane.Plane`."""

    def __init__(self, config: Raw, folder: Path) -> None:
        self.namespace = f"nftsvc-test-{os.getpid()}"
        self.arguments: tuple[str, ...] = ()
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.address = urlsplit(cluster["server"])
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._context = ssl.create_default_context(cadata=authority)
        if "client-certificate-data" in user:
            pair = [folder / "client.crt", folder / "client.key"]
            for path, name in zip(pair, ("client-certificate-data", "client-key-data"), strict=True):
                path.write_bytes(base64.b64decode(user[name]))
            self._context.load_cert_chain(*pair)
        self._headers = {"Content-Type": "application/json"}
        if "token" in user:
            self._headers["Authorization"] = f"Bearer {user['token']}"

    def put(self, *documents: Raw) -> None:
        for one in documents:
            path = self._path(one)
            code, present = self._ask("GET", path)
            if code == 404:
                self._must("POST", path.rsplit("/", 1)[0], one)
            else:
                version = present["metadata"]["resourceVersion"]
                self._must("PUT", path, {**one, "metadata": {**one["metadata"], "resourceVersion": version}})
            if "status" in one:
                self._must("PATCH", f"{path}/status", {"status": one["status"]})

    def delete(self, *documents: Raw) -> None:
        for one in documents:
            self._must("DELETE", self._path(one))

    def objects(self) -> list[Raw]:
        found = []
        for kind in ("Node", "Service", "EndpointSlice"):
            said = self._must("GET", _COLLECTIONS[kind].format(""))
            found += [{"apiVersion": said["apiVersion"], "kind": kind, **one} for one in said["items"]]
        return found

    def _path(self, document: Raw) -> str:
        metadata = document["metadata"]
        place = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
        return f"{_COLLECTIONS[document['kind']].format(place)}/{metadata['name']}"

    def _must(self, method: str, path: str, body: Raw | None = None) -> Raw:
        code, said = self._ask(method, path, body)
        assert code < 300, said
        return said

    def _ask(self, method: str, path: str, body: Raw | None = None) -> tuple[int, Raw]:
        connection = HTTPSConnection(self.address.hostname or "", self.address.port, context=self._context, timeout=30)
        patch = {"Content-Type": "application/merge-patch+json"} if method == "PATCH" else {}
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, self._headers | patch)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@contextmanager
def real_cluster(node: Namespace, folder: Path) -> Iterator[RealCluster]:
    """Make the scratch namespace, and what the agent needs to reach the server; remove both in the end."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    made = RealCluster(config, folder)
    scratch = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": made.namespace}}
    with _relay(node, (made.address.hostname or "", made.address.port or 443)) as port:
        entry = config["clusters"][0]["cluster"]
        entry |= {"server": f"https://127.0.0.1:{port}", "tls-server-name": made.address.hostname}
        path = folder / "kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        told = written_configuration(folder / "kube-proxy.json")
        made.arguments = ("--kubeconfig", str(path), "--config", str(told))
        made.put(scratch)
        try:
            yield made
        finally:
            made.delete(scratch, *(one for one in made.objects() if one["metadata"]["name"] == "node-a"))


@contextmanager
def _relay(node: Namespace, server: tuple[str, int]) -> Iterator[int]:
    """Pass connections to a port inside the namespace on to a server out here."""
    listener = node.call(lambda: socket.create_server(("127.0.0.1", 0)))
    loop = asyncio.new_event_loop()

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while part := await source.read(1 << 16):
                target.write(part)
                await target.drain()
        target.close()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(*server)
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer))

    async def start() -> None:
        await asyncio.start_server(relay, sock=listener)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result()
    try:
        yield listener.getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        listener.close()
