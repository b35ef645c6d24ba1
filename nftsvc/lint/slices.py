"""Rules NS107, NS109, NS110 and NS511 to NS518: EndpointSlices and Endpoints, and whether they fit their Service."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from nftsvc.lint.cluster import Cluster, Evidence, Subject, counts
from nftsvc.lint.endpoints import lacks_named_target
from nftsvc.lint.findings import Finding, Level, Rule, counted, enumerated
from nftsvc.objects import LABEL_SERVICE_NAME, TCP, EndpointPort, Endpoints, EndpointSlice, ServicePort
from nftsvc.values import Family, quoted

GIVEN_TWICE = Rule(
    "NS107",
    "endpoint-given-twice",
    Level.WARNING,
    "Endpoint that is given twice in one slice",
    "The same address is ready twice in one EndpointSlice. It counts once, so it gets no more connections for that."
    " The same endpoint in two slices is normal while a controller moves it, and so is one that ends beside one that"
    " takes its place on the host's network.",
    "Remove one of the two, or correct its address.",
)
AT_A_SERVICE = Rule(
    "NS109",
    "endpoint-at-a-service-address",
    Level.ERROR,
    "Endpoint at the address of a Service",
    "An endpoint must not be a cluster IP, nor an address of the network that cluster IPs come from: a connection is"
    " translated once only, so nothing arrives there.",
    "Name the endpoints behind that Service. For a name in DNS that leads to another Service use type ExternalName.",
)
MORE_ADDRESSES = Rule(
    "NS110",
    "more-than-one-address",
    Level.WARNING,
    "Endpoint with several addresses",
    "Of endpoints[].addresses only the first is used, by nftsvc as by kube-proxy; the others get no connections.",
    "Make an entry in endpoints of each address.",
)
PORT_NAME = Rule(
    "NS511",
    "port-name-mismatch",
    Level.ERROR,
    "Port names of Service and EndpointSlice that differ",
    "A Service port finds its endpoints by its name in the slices, not by its number: the empty name in the Service"
    " is the empty name in the slice. Endpoints of a slice without that name do not serve the port.",
    "Write the same name in spec.ports[].name of the Service and in ports[].name of the slice.",
)
PORT_PROTOCOL = Rule(
    "NS512",
    "port-protocol-mismatch",
    Level.ERROR,
    "Port protocols of Service and EndpointSlice that differ",
    "The slice has a port of this name, but for another protocol; left out it means TCP in both.",
    "Write the same protocol in the Service and in the slice.",
)
PORT_NUMBER = Rule(
    "NS513",
    "slice-port-without-number",
    Level.WARNING,
    "Port of an EndpointSlice without a number",
    "A slice port without a number means all ports to some readers; proxies ignore it.",
    "Write the number that the endpoints listen on.",
)
NOBODYS = Rule(
    "NS514",
    "slice-of-no-service",
    Level.WARNING,
    "EndpointSlice for a Service that is not there",
    "The label kubernetes.io/service-name names a Service that the slice's namespace does not have. It is said only"
    " where the input has other Services of that namespace.",
    "Correct the label or the namespace: a slice belongs to the Service of its own namespace.",
)
UNLABELLED = Rule(
    "NS515",
    "slice-without-service-label",
    Level.WARNING,
    "EndpointSlice that says of no Service that it is its own",
    "Without the label kubernetes.io/service-name a slice belongs to nobody, whatever it is called. Slices of the"
    " multi-cluster API (multicluster.kubernetes.io/service-name) are no business of this proxy and are let pass.",
    "Add the label kubernetes.io/service-name with the Service's name.",
)
HEADLESS = Rule(
    "NS516",
    "slice-labelled-headless",
    Level.WARNING,
    "EndpointSlice with the label of headless Services",
    "Slices with the label service.kubernetes.io/headless are ignored by proxies, but this Service has addresses.",
    "Remove the label from the slice.",
)
IGNORED_ENDPOINTS = Rule(
    "NS517",
    "endpoints-beside-slices",
    Level.WARNING,
    "Endpoints object that says more than the slices",
    "Where a Service has EndpointSlices, its Endpoints object is ignored. This one has addresses that no slice has.",
    "Write these addresses into an EndpointSlice, or remove the Endpoints object.",
)
OLD_ENDPOINTS = Rule(
    "NS518",
    "endpoints-object",
    Level.INFO,
    "Endpoints object written by hand",
    "The API is deprecated since Kubernetes 1.33 (KEP-4974). nftsvc reads it from manifests; kube-proxy never does,"
    " and sees only what a controller makes of it, for Services without a selector.",
    "Write an EndpointSlice with the label kubernetes.io/service-name instead.",
)

RULES = (
    *(GIVEN_TWICE, AT_A_SERVICE, MORE_ADDRESSES, PORT_NAME, PORT_PROTOCOL, PORT_NUMBER, NOBODYS, UNLABELLED),
    *(HEADLESS, IGNORED_ENDPOINTS, OLD_ENDPOINTS),
)

_LABEL_MULTICLUSTER = "multicluster.kubernetes.io/service-name"


# Endpoints -----------------------------------------------------------------------------------------------------------


def addresses(cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield what is odd about single endpoints in the slices that a Service has of its own."""
    if subject.evidence is Evidence.SLICES:
        for part in subject.slices:
            yield from _repeated(part)
            yield from _more_addresses(part)
            yield from _at_services(cluster, part)


def _repeated(part: EndpointSlice) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, one in enumerate(part.endpoints or ()):
        terminating = one.conditions is not None and one.conditions.terminating
        if one.addresses and one.ready and not terminating:
            first = seen.setdefault(one.addresses[0], index)
            if first != index:
                message = f"{one.addresses[0]} is already endpoints[{first}]"
                yield GIVEN_TWICE.at(part.ref, f"endpoints[{index}].addresses[0]", message)


def _more_addresses(part: EndpointSlice) -> Iterator[Finding]:
    for index, one in enumerate(part.endpoints or ()):
        if len(one.addresses or ()) > 1:
            used, *others = one.addresses or ()
            message = f"{enumerated(others)} {'is' if len(others) == 1 else 'are'} not used, only {used} is"
            yield MORE_ADDRESSES.at(part.ref, f"endpoints[{index}].addresses", message)


def _at_services(cluster: Cluster, part: EndpointSlice) -> Iterator[Finding]:
    networks = cluster.settings.service_cidrs
    for index, one in enumerate(part.endpoints or ()):
        address = one.addresses[0] if one.addresses else None
        if address is None:
            continue
        owner = cluster.cluster_ips.get(address)
        field = f"endpoints[{index}].addresses[0]"
        if owner is not None:
            yield AT_A_SERVICE.at(part.ref, field, f"{address} is the cluster IP of Service {owner}")
            continue
        network = next((one for one in networks.get(address.family, ()) if one.covers(address)), None)
        if network is not None:
            yield AT_A_SERVICE.at(part.ref, field, f"{address} is in {network}, where cluster IPs come from")


# Ports ---------------------------------------------------------------------------------------------------------------


class _Key(NamedTuple):
    """What a port is found by."""

    name: str
    protocol: str

    @property
    def shown(self) -> str:
        """The name in quotes, or that there is none."""
        return quoted(self.name) if self.name else "no name"


def _of_service(port: ServicePort) -> _Key:
    return _Key(port.name, port.protocol)


def _of_slice(port: EndpointPort) -> _Key:
    return _Key(port.name or "", port.protocol or TCP)


def ports(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield how the ports of a Service and of its slices fail to find each other: each way to fail once."""
    if not subject.judged:
        return
    explained: set[_Key] = set()
    said: set[_Key] = set()
    for part in subject.slices if subject.evidence is Evidence.SLICES else ():
        for misfit in _misfits(part, subject) if counts(part) else ():
            explained.update(misfit.wanted)
            if misfit.key not in said:
                said.add(misfit.key)
                yield misfit.finding
    yield from _ports_without_slice(subject, explained)


class _Misfit(NamedTuple):
    """A slice port that serves nobody, and the ports of the Service that may have been meant."""

    key: _Key
    wanted: tuple[_Key, ...]
    finding: Finding


def _misfits(part: EndpointSlice, subject: Subject) -> Iterator[_Misfit]:
    """Yield the ports of a slice that no port of its Service wants, where one of these goes without.

    A Service port goes without where no slice of the family has it, or where nothing in this slice serves the Service.
    """
    keys = [_of_slice(one) for one in part.ports or ()]
    wanted = [_of_service(one) for one in subject.ports]
    served = {_of_service(way.port) for way in subject.ways if way.judged and way.family == part.address_type}
    missing = [one for one in wanted if one not in keys and (one not in served or not set(keys) & set(wanted))]
    for index, (key, one) in enumerate(zip(keys, part.ports or (), strict=True)):
        field = f"ports[{index}]"
        if key in wanted:
            if one.port is None:
                finding = PORT_NUMBER.at(part.ref, f"{field}.port", "without a number the port is ignored")
                yield _Misfit(key, (key,), finding)
        elif same := [other for other in missing if other.name == key.name]:
            message = f"{key.protocol}, but in the Service the port with {_named(key)} is {same[0].protocol}"
            yield _Misfit(key, (same[0],), PORT_PROTOCOL.at(part.ref, f"{field}.protocol", message))
        elif missing:
            lacking = enumerated([other.shown for other in missing])
            message = f"{key.shown}, but the Service asks for {lacking}"
            yield _Misfit(key, tuple(missing), PORT_NAME.at(part.ref, f"{field}.name", message))


def _named(key: _Key) -> str:
    return f"the name {quoted(key.name)}" if key.name else "no name"


def _ports_without_slice(subject: Subject, explained: set[_Key]) -> Iterator[Finding]:
    """Yield the ports of a Service that none of its slices has, though these have endpoints."""
    if subject.evidence is Evidence.PODS:
        return  # NS103 says it
    lost: defaultdict[int, list[Family]] = defaultdict(list)
    for way in subject.ways:
        if not way.judged and subject.has_endpoints(way.family):
            lost[way.position].append(way.family)
    for position, families in lost.items():
        port = subject.ports[position]
        key = _of_service(port)
        if key in explained or lacks_named_target(subject, position):
            continue
        parts = [one for one in subject.slices if counts(one) and one.address_type in families]
        listed = {_of_slice(one) for part in parts for one in part.ports or ()}
        where = "" if len(families) == len(subject.families) else f" over {enumerated(families)}"
        have = enumerated(sorted(f"{one.shown} for {one.protocol}" for one in listed)) or "no port at all"
        target = port.target_port or ""
        named = subject.spec.selector and target and not target.isdigit()
        hint = f" (perhaps no Pod has a container port {quoted(str(target))})" if named else ""
        message = f"no endpoint has a port with {_named(key)} for {key.protocol}{where}; there is {have}{hint}"
        yield PORT_NAME.at(subject.ref, f"spec.ports[{position}].name", message)


# Whose they are ------------------------------------------------------------------------------------------------------


def labels(_cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield the slices of a Service that carry the label of headless ones."""
    if subject.evidence is Evidence.SLICES:
        for part in subject.slices:
            if not counts(part):
                yield HEADLESS.at(part.ref, "metadata.labels", "the slice is ignored, but its Service is not headless")


def owners(cluster: Cluster) -> Iterator[Finding]:
    """Yield the slices that belong to no Service."""
    there = {(one.namespace, one.name) for one in cluster.state.services.values()}
    there |= {(one.namespace, one.name) for one in cluster.unread if one.kind == "Service"}
    populated = {namespace for namespace, _ in there}
    elsewhere: defaultdict[str, list[str]] = defaultdict(list)
    for namespace, name in sorted(there):
        elsewhere[name].append(namespace)
    for part in cluster.slices:
        name = part.service_name
        if not name:
            if _LABEL_MULTICLUSTER not in part.labels:
                message = f"no label {LABEL_SERVICE_NAME}: the slice is nobody's"
                yield UNLABELLED.at(part.ref, "metadata.labels", message)
        elif (part.namespace, name) not in there and part.namespace in populated and cluster.complete:
            hint = f"; there is one in {enumerated(elsewhere[name])}" if name in elsewhere else ""
            message = f"namespace {part.namespace} has no Service {quoted(name)}{hint}"
            yield NOBODYS.at(part.ref, "metadata.labels", message)


def endpoints_objects(cluster: Cluster, subject: Subject) -> Iterator[Finding]:
    """Yield an Endpoints object that is ignored, or that nobody should write any more."""
    found = cluster.state.endpoints.get(subject.key)
    if found is None:
        return
    if subject.evidence is Evidence.SLICES:
        known = {one for part in subject.slices for end in part.endpoints or () for one in end.addresses or ()}
        more = sorted(set(_addresses(found)) - known)
        if more:
            slices = counted(len(subject.slices), "EndpointSlice")
            message = f"{enumerated(more)} {'is' if len(more) == 1 else 'are'} ignored: the Service has {slices}"
            yield IGNORED_ENDPOINTS.at(found.ref, "subsets", message)
    elif found.metadata.creation_timestamp is None:
        yield OLD_ENDPOINTS.at(found.ref, "", "the API is deprecated since Kubernetes 1.33")


def _addresses(found: Endpoints) -> Iterator[str]:
    for subset in found.subsets or ():
        for group in (subset.addresses, subset.not_ready_addresses):
            yield from (one.ip for one in group or () if one.ip)
