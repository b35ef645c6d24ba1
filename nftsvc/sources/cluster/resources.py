"""What is asked of the API server: which resources, and which of their objects.

The selectors are kube-proxy's own (v1.36, `cmd/kube-proxy/app/server.go`): what cannot matter is not even sent.
"""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from nftsvc.objects import (
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    Endpoints,
    EndpointSlice,
    KubernetesObject,
    Node,
    Service,
    ServiceCIDR,
)

PAGE = 500


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of the API and the objects of it that are wanted.

    `name` is the plural in URLs and RBAC rules. An `optional` one may be missing from the server or forbidden to us.
    """

    kind: type[KubernetesObject]
    name: str
    labels: str = ""
    fields: str = ""
    optional: bool = False

    @property
    def qualified(self) -> str:
        """The name as `kubectl` and RBAC messages spell it: `endpointslices.discovery.k8s.io`."""
        return ".".join(part for part in (self.name, self.kind.API_VERSION.rpartition("/")[0]) if part)

    @property
    def path(self) -> str:
        """The path of its collection, in all namespaces."""
        version = self.kind.API_VERSION
        return f"/{'apis' if '/' in version else 'api'}/{version}/{self.name}"

    def page(self, token: str = "", limit: int = PAGE) -> str:
        """Return path and query of one page of the list; the first has no token. Limit 0: all in one.

        Without a resourceVersion the list is the newest, as one consistent snapshot over all of its pages.
        """
        return self._query({"limit": str(limit) if limit else "", "continue": token})

    def watch(self, version: str, seconds: int) -> str:
        """Return path and query of a watch from after a resourceVersion; the server ends it after some seconds."""
        return self._query(
            {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version, "timeoutSeconds": str(seconds)}
        )

    def _query(self, asked: dict[str, str]) -> str:
        selectors = {"labelSelector": self.labels, "fieldSelector": self.fields}
        given = {key: value for key, value in {**selectors, **asked}.items() if value}
        return f"{self.path}?{urlencode(given, quote_via=quote)}" if given else self.path


def wanted_resources(node: str, *, with_endpoints: bool) -> tuple[Resource, ...]:
    """Return what a node must know: Services, EndpointSlices, its own Node, ServiceCIDRs, perhaps Endpoints.

    ServiceCIDRs are served since Kubernetes 1.33 (networking.k8s.io/v1, KEP-1880); nothing needs them.
    """
    not_headless = f"!{LABEL_HEADLESS}"
    endpoints = (Resource(Endpoints, "endpoints", labels=not_headless),) if with_endpoints else ()
    return (
        Resource(Service, "services", labels=f"!{LABEL_PROXY_NAME}", fields="spec.clusterIP!=None"),
        Resource(EndpointSlice, "endpointslices", labels=not_headless),
        Resource(Node, "nodes", fields=f"metadata.name={node}"),
        Resource(ServiceCIDR, "servicecidrs", optional=True),
        *endpoints,
    )
