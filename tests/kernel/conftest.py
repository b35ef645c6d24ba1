"""A cluster of namespaces for the tests in this folder: three pods that answer over HTTP and UDP, a node, a client."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from nftsvc.kernel import Kernel
from nftsvc.lab import Cluster, Namespace, build_cluster, namespaces, serve_http
from nftsvc.render import Renderer
from nftsvc.sync import remove
from tests.support.traffic import serve_udp
from tests.support.world import World, build_world

POD_PORT = 8080
PODS = {f"web-{n}": (f"10.244.1.1{n}", f"fd00:244:1::1{n}") for n in (1, 2, 3)}


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with ExitStack() as stack:
        made = stack.enter_context(build_cluster(PODS))
        for name, pod in made.pods.items():
            for port in (POD_PORT, POD_PORT + 1):
                stack.enter_context(serve_http(pod, name, port))
                stack.enter_context(serve_udp(pod, name, port))
        yield made


@pytest.fixture
def node_kernel(cluster: Cluster) -> Iterator[Kernel]:
    """The kernel of the cluster's node, without tables of ours at the start and at the end."""
    with Kernel(cluster.node.path) as kernel:
        remove(kernel, Renderer())
        yield kernel
        remove(kernel, Renderer())


@pytest.fixture(scope="session")
def world() -> Iterator[World]:
    """Where the packets of golden cases and random clusters travel."""
    with build_world() as built:
        yield built


@pytest.fixture(scope="session")
def empty_namespace() -> Iterator[Namespace]:
    with namespaces("empty") as (made,):
        yield made


@pytest.fixture
def kernel(empty_namespace: Namespace) -> Iterator[Kernel]:
    """The kernel of a namespace in which nothing is."""
    with Kernel(empty_namespace.path) as kernel:
        remove(kernel, Renderer())
        yield kernel
        remove(kernel, Renderer())
