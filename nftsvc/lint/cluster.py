"""What rules look at: every Service with what the input says of its endpoints, and whether it says enough.

In: objects, the state and the node's settings made of them, and what could not be read. Out: a Subject for each
Service that this proxy serves. A Service counts as known to have no endpoints only where the input would show them, for
a repository of Service manifests is no cluster whose Pods have all gone.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

import msgspec

from nftsvc.claims import Claimant
from nftsvc.endpoints import Judged, Place, judge
from nftsvc.errors import ObjectRef, Problem
from nftsvc.objects import LABEL_HEADLESS, EndpointSlice, KubernetesObject, Pod, Service, ServicePort, ServiceSpec
from nftsvc.plan import why_skipped
from nftsvc.plan.service import claimant
from nftsvc.selectors import families_of, slices_of
from nftsvc.settings import NodeSettings
from nftsvc.state import ServiceKey, State
from nftsvc.values import FAMILIES, Address, Family

_FINISHED = ("Succeeded", "Failed")


class Evidence(StrEnum):
    """By what the endpoints of a Service are known."""

    SLICES = "its EndpointSlices"
    ENDPOINTS = "its Endpoints object"
    PODS = "the Pods of its namespace"
    OTHERS = "the EndpointSlices or Endpoints of its namespace, none of which is its own"
    NOTHING = "nothing: they are not part of the input"


class Way(NamedTuple):
    """One port of a Service in one family, and the verdicts on every endpoint that it has there."""

    position: int
    port: ServicePort
    family: Family
    judged: tuple[Judged, ...]

    @property
    def usable(self) -> bool:
        """Whether new connections lead to an endpoint, from a node that may use all of them."""
        return any(not one.not_in_cluster for one in self.judged)

    @property
    def usable_here(self) -> bool:
        """Whether they do for traffic policy Local."""
        return any(not one.not_local for one in self.judged)


@dataclass(frozen=True, slots=True)
class Subject:
    """A Service that this proxy serves, or will once it has an address.

    `families` are the IP families that it is in, as far as known; `declared` whether the Service itself says so.
    `pods` are those that its selector chooses, but for finished ones, where Pods of the namespace are known to be
    those of a cluster.
    """

    key: ServiceKey
    service: Service
    spec: ServiceSpec
    families: tuple[Family, ...]
    declared: bool
    evidence: Evidence
    slices: tuple[EndpointSlice, ...]
    pods: tuple[Pod, ...] | None
    ways: tuple[Way, ...]

    @property
    def ref(self) -> ObjectRef:
        """The Service."""
        return self.service.ref

    @property
    def ports(self) -> tuple[ServicePort, ...]:
        """The Service's ports."""
        return self.spec.ports or ()

    @property
    def judged(self) -> bool:
        """Whether the input tells which endpoints the Service has."""
        return self.evidence is not Evidence.NOTHING

    def has_endpoints(self, family: Family, *, counted: bool = True) -> bool:
        """Tell whether slices have any endpoint in a family, whatever its ports and condition.

        `counted` are slices for proxies, the others those with the label of headless Services.
        """
        return any(part.endpoints for part in self.slices if part.address_type == family and counts(part) == counted)

    @property
    def balancers(self) -> tuple[tuple[int, Address], ...]:
        """The load-balancer IPs that the proxy answers at, each with its place in the status."""
        balancer = self.service.status.load_balancer if self.service.status is not None else None
        listed = enumerate((balancer.ingress if balancer is not None else None) or ())
        return tuple((at, Address(one.ip)) for at, one in listed if one.ip and one.ip_mode != "Proxy")

    @property
    def external_ips(self) -> tuple[tuple[int, Address], ...]:
        """The external IPs, each with its place in the list."""
        return tuple((at, Address(one)) for at, one in enumerate(self.spec.external_ips or ()) if one)


def counts(part: EndpointSlice) -> bool:
    """Tell whether a slice is one for proxies."""
    return LABEL_HEADLESS not in part.labels


class Cluster:
    """All of the input, as rules look at it.

    `unread` are objects that could not be decoded; `complete` says that no document was lost as a whole.
    """

    def __init__(
        self,
        objects: Iterable[KubernetesObject],
        state: State,
        settings: NodeSettings,
        problems: Collection[Problem] = (),
    ) -> None:
        self.objects = tuple(objects)
        self.state = state
        self.settings = settings
        self.unread = frozenset(one.ref for one in problems if one.ref is not None)
        self.complete = all(one.ref is not None for one in problems)
        self._place = Place(settings.name, settings.zone)
        self._doubtful = {one.namespace for one in self.unread if one.kind in ("EndpointSlice", "Endpoints", "Pod")}

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """The Services that are looked at, in order."""
        return tuple(
            self._subject(key, service)
            for key, service in sorted(self.state.services.items())
            if not why_skipped(service)
        )

    @cached_property
    def cluster_ips(self) -> Mapping[Address, ServiceKey]:
        """Whose each cluster IP is: of two Services the older one's."""
        first: dict[Address, Claimant] = {}
        for one in self.subjects:
            mine = claimant(one.key, one.service)
            for address in one.service.addresses:
                first[address] = min(first.get(address, mine), mine)
        return {address: one.service for address, one in first.items()}

    @cached_property
    def live(self) -> frozenset[str]:
        """The namespaces with Pods that run or wait to run: those of a cluster, for a manifest has no status."""
        return frozenset(name for name, group in self.state.pods.items() if any(map(_has_status, group)))

    @cached_property
    def labelled(self) -> Mapping[tuple[str, str, str], int]:
        """How many Pods of a namespace have a label: (namespace, key, value)."""
        groups = self.state.pods.items()
        return Counter((name, *one) for name, group in groups for pod in group for one in pod.labels.items())

    @cached_property
    def slices(self) -> tuple[EndpointSlice, ...]:
        """All EndpointSlices, those that belong to nobody included."""
        return tuple(one for one in self.objects if isinstance(one, EndpointSlice))

    @cached_property
    def _told(self) -> Mapping[str, bool]:
        """The namespaces with slices or Endpoints of Services; True where such a Service has a selector.

        Only a controller makes those of a Service with a selector, so where there is one they are a cluster's.
        """
        owners = {ServiceKey(one.namespace, one.service_name) for one in self.slices if one.service_name}
        told: dict[str, bool] = {}
        for key in owners | self.state.endpoints.keys():
            service = self.state.services.get(key)
            if service is not None and not why_skipped(service):
                told[key.namespace] = told.get(key.namespace, False) or bool(_selector(service))
        return told

    def _subject(self, key: ServiceKey, service: Service) -> Subject:
        spec = service.spec or ServiceSpec()
        known = families_of(service)
        addresses = {one.family for one in service.addresses}
        families = tuple(one for one in known if one in addresses) if addresses else known
        slices = slices_of(self.state, key, service if known else _in_all_families(service, spec))
        seen = tuple(one for one in FAMILIES if any(part.address_type == one and part.endpoints for part in slices))
        families = families or seen or FAMILIES[:1]
        ways = tuple(
            Way(position, port, family, judge(slices, port, family, self._place))
            for position, port in enumerate(spec.ports or ())
            for family in families
        )
        return Subject(
            key, service, spec, families, bool(known), self._evidence(key, spec), slices, self._pods(key, spec), ways
        )

    def _evidence(self, key: ServiceKey, spec: ServiceSpec) -> Evidence:
        if not self.complete or key.namespace in self._doubtful:
            return Evidence.NOTHING
        if self.state.slices(key):
            return Evidence.SLICES
        if key in self.state.endpoints:
            return Evidence.ENDPOINTS
        if spec.selector and key.namespace in self.live:
            return Evidence.PODS
        others = self._told.get(key.namespace)
        told = others is not None if not spec.selector else bool(others)
        return Evidence.OTHERS if told else Evidence.NOTHING

    def _pods(self, key: ServiceKey, spec: ServiceSpec) -> tuple[Pod, ...] | None:
        if not spec.selector or key.namespace not in self.live:
            return None
        wanted = spec.selector.items()
        found = self.state.candidates(key.namespace, spec.selector)
        return tuple(pod for pod in found if wanted <= pod.labels.items() and not _finished(pod))


def _in_all_families(service: Service, spec: ServiceSpec) -> Service:
    """Return a Service that has no address yet as one that may get one in each family."""
    return msgspec.structs.replace(service, spec=msgspec.structs.replace(spec, ip_families=FAMILIES))


def _selector(service: Service) -> Mapping[str, str]:
    return (service.spec.selector if service.spec is not None else None) or {}


def _has_status(pod: Pod) -> bool:
    status = pod.status
    return status is not None and bool(status.phase or status.pod_ip or status.pod_ips or status.conditions)


def _finished(pod: Pod) -> bool:
    return pod.status is not None and pod.status.phase in _FINISHED
