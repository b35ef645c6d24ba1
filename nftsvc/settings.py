"""What one node has to know about itself to make its ruleset.

In: the Node and NodeConfiguration objects of the input and what the user said. Out: NodeSettings. What the user said
comes first, then the node's own NodeConfiguration, then one without a name, then the Node object, then the defaults of
kube-proxy's nftables mode.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from nftsvc.decode import decode
from nftsvc.errors import UsageError
from nftsvc.objects import NODE_IP_TYPES, Node, NodeConfiguration, NodeConfigurationSpec
from nftsvc.state import State
from nftsvc.values import FAMILIES, Address, Family, NodePortAddress, Prefix, is_subdomain, quoted, without_overlaps


class DetectorKind(StrEnum):
    """By what a packet of one of this node's own Pods is told."""

    SOURCE = "source"
    INTERFACE = "interface"
    INTERFACE_PREFIX = "interface prefix"


@dataclass(frozen=True, slots=True)
class Detector:
    """Tells this node's own Pods from everybody else (`detectLocalMode`).

    `value` is a network that their addresses are in, the interface that their packets come in on, or how the names of
    such interfaces begin.
    """

    kind: DetectorKind
    value: str

    def __str__(self) -> str:
        """Write what makes a packet one of a local Pod."""
        match self.kind:
            case DetectorKind.SOURCE:
                return f"source in {self.value}"
            case DetectorKind.INTERFACE:
                return f"comes in on {self.value}"
            case DetectorKind.INTERFACE_PREFIX:
                return f"comes in on {self.value}*"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The node a ruleset is for.

    `name` is the node's name (endpoints with this `nodeName` run here), or None where the ruleset is for no node in
    particular; then every endpoint may run here, but none is known to. `families` are the IP families to make tables
    for. `addresses` are the node's primary ones. Node ports answer, per family, on `node_port_addresses` (the node's
    own, exactly these), else on the local addresses in `node_port_networks`, else on every local address but loopback;
    `node_ports_everywhere` are the families for which somebody asked for that.
    A family without a detector knows no local Pods.
    """

    name: str | None = None
    zone: str = ""
    families: tuple[Family, ...] = FAMILIES
    addresses: Mapping[Family, Address] = field(default_factory=dict)
    node_port_addresses: Mapping[Family, tuple[Address, ...]] = field(default_factory=dict)
    node_port_networks: Mapping[Family, tuple[Prefix, ...]] = field(default_factory=dict)
    node_ports_everywhere: tuple[Family, ...] = ()
    detectors: Mapping[Family, Detector] = field(default_factory=dict)
    masquerade_all: bool = False
    service_cidrs: Mapping[Family, tuple[Prefix, ...]] = field(default_factory=dict)


def settings_for(
    state: State,
    name: str | None,
    families: Iterable[Family] = FAMILIES,
    overrides: Sequence[str] = (),
    configured: NodeConfigurationSpec | None = None,
    remembered: Iterable[Node] = (),
) -> NodeSettings:
    """Derive the settings of a node from the input.

    `name` None means the only Node of the input, if it has exactly one, else the node of its only NodeConfiguration
    with a name. `overrides` are `field=value[,value]`, with the fields of a NodeConfiguration; `configured` holds where
    neither they nor a NodeConfiguration say anything. `remembered` are Nodes that were there and may be gone.

    Raises UsageError for a name that the input's Nodes lack (where the input has no Nodes any name will do), for bad
    overrides, and where Pods shall be told by the node's podCIDRs and it has none.
    """
    families = tuple(families)
    name = _node_name(state, name)
    nodes = {**{one.name: one for one in remembered}, **state.nodes}
    node = nodes.get(name) if name is not None else None
    written = [_spec(state.configurations.get(one)) for one in (name or "", "")]
    below = _merged((*written, configured or NodeConfigurationSpec()))
    spec = _merged((_parsed(overrides, below), below))
    addresses = {family: one for family, one in _addresses(spec, node).items() if family in families}
    exact, networks, everywhere = _node_ports(spec.node_port_addresses or (), addresses)
    cidrs = (*(spec.service_cidrs or ()), *state.service_cidrs)
    return NodeSettings(
        name=name,
        zone=spec.zone if spec.zone is not None else (node.zone if node is not None else ""),
        families=families,
        addresses=addresses,
        node_port_addresses=exact,
        node_port_networks=networks,
        node_ports_everywhere=everywhere,
        detectors=_detectors(spec, node, families),
        masquerade_all=bool(spec.masquerade_all),
        service_cidrs=_by_family(cidrs),
    )


def _node_name(state: State, name: str | None) -> str | None:
    nodes, named = state.nodes, [one for one in state.configurations if one]
    if name is None and len(nodes) == 1:
        (name,) = nodes
    elif name is None and len(named) == 1 and (not nodes or named[0] in nodes):
        (name,) = named
    if name is not None and not is_subdomain(name):
        raise UsageError(f"--node {quoted(name)}: not the name of a Node")
    if name is not None and nodes and name not in nodes:
        raise UsageError(f"--node {quoted(name)}: the input has no such Node; it has {', '.join(sorted(nodes))}")
    return name


def _parsed(overrides: Sequence[str], below: NodeConfigurationSpec) -> NodeConfigurationSpec:
    """Read `field=value` pairs as the fields of a NodeConfiguration; UsageError names every bad one.

    Of a field given twice the last value counts; lists add up.

    `below` is what holds where they say nothing.
    """
    raw: dict[str, object] = {}
    wrong = [f"--set {quoted(pair)}: not FIELD=VALUE" for pair in overrides if "=" not in pair]
    for key, equals, text in (pair.partition("=") for pair in overrides):
        if equals and key in _LISTS:
            listed = raw.setdefault(key, [])
            assert isinstance(listed, list)  # noqa: S101 - all values of such a field are
            listed += [part.strip() for part in text.split(",") if part.strip()]
        elif equals:
            raw[key] = text == "true" if key in _FLAGS and text in ("true", "false") else text
    for key, value in (
        ("bridgeInterface", below.bridge_interface),
        ("interfaceNamePrefix", below.interface_name_prefix),
    ):
        if value is not None:  # a mode may be chosen here whose interface is named there
            raw.setdefault(key, value)
    decoded = decode({"apiVersion": NodeConfiguration.API_VERSION, "kind": NodeConfiguration.KIND, "spec": raw})
    wrong += (
        f"--set {one.field.removeprefix('spec').lstrip('.')}: {one.message.replace('spec.', '')}"
        for one in decoded.problems
    )
    if wrong:
        raise UsageError("\n".join(wrong))
    return _spec(decoded.value if isinstance(decoded.value, NodeConfiguration) else None)


_FIELDS = {one.encode_name: one for one in msgspec.structs.fields(NodeConfigurationSpec)}
_LISTS = tuple(name for name, one in _FIELDS.items() if "tuple" in str(one.type))
_FLAGS = tuple(name for name, one in _FIELDS.items() if "bool" in str(one.type))
SETTING_NAMES = tuple(_FIELDS)


def _spec(configuration: NodeConfiguration | None) -> NodeConfigurationSpec:
    spec = configuration.spec if configuration is not None else None
    return spec if spec is not None else NodeConfigurationSpec()


def _merged(specs: Iterable[NodeConfigurationSpec]) -> NodeConfigurationSpec:
    """Take each field from the first that has it."""
    merged: dict[str, object] = {}
    for spec in specs:
        for name in spec.__struct_fields__:
            value = getattr(spec, name)
            if value is not None:
                merged.setdefault(name, value)
    return NodeConfigurationSpec(**merged)  # type: ignore[arg-type]


def _addresses(spec: NodeConfigurationSpec, node: Node | None) -> dict[Family, Address]:
    given = {address.family: address for address in spec.addresses or ()}
    reported = {family: primary_address(node, family) for family in Family} if node is not None else {}
    return {family: address for family, address in (reported | given).items() if address is not None}


_NodePorts = tuple[dict[Family, tuple[Address, ...]], dict[Family, tuple[Prefix, ...]], tuple[Family, ...]]


def _node_ports(entries: Sequence[NodePortAddress], addresses: Mapping[Family, Address]) -> _NodePorts:
    """Return the exact addresses and the networks that node ports answer on, and the families with all addresses.

    Source: kube-proxy's nodePortAddresses; no entry means `primary`, a family without any of its own is open, and a
    network of length 0 overrides the rest.
    """
    if NodePortAddress.ALL in entries:
        return {}, {}, FAMILIES
    networks = [one.network for one in entries if one.network is not None]
    if not networks:
        return {family: (address,) for family, address in addresses.items()}, {}, ()
    if NodePortAddress.PRIMARY in entries:
        networks += map(Prefix, addresses.values())
    groups = _by_family(networks)
    whole = tuple(family for family, group in groups.items() if not all(one.length for one in group))
    return {}, {family: group for family, group in groups.items() if family not in whole}, whole


def _by_family(prefixes: Iterable[Prefix]) -> dict[Family, tuple[Prefix, ...]]:
    listed = list(prefixes)
    groups = {family: [one for one in listed if one.family == family] for family in Family}
    return {family: without_overlaps(group) for family, group in groups.items() if group}


def _detectors(spec: NodeConfigurationSpec, node: Node | None, families: Iterable[Family]) -> dict[Family, Detector]:
    """Say per family how this node's own Pods are told; source: kube-proxy's detectLocalMode."""
    match spec.detect_local_mode:
        case "BridgeInterface":
            found = Detector(DetectorKind.INTERFACE, spec.bridge_interface or "")
            return dict.fromkeys(families, found)
        case "InterfaceNamePrefix":
            found = Detector(DetectorKind.INTERFACE_PREFIX, spec.interface_name_prefix or "")
            return dict.fromkeys(families, found)
        case "NodeCIDR":
            cidrs = spec.pod_cidrs or _pod_cidrs(node)
            if not cidrs:
                raise UsageError("detectLocalMode NodeCIDR: neither the Node nor the settings have podCIDRs")
        case _:
            cidrs = spec.cluster_cidrs or ()
    return {one.family: Detector(DetectorKind.SOURCE, one) for one in reversed(cidrs) if one.family in families}


def _pod_cidrs(node: Node | None) -> tuple[Prefix, ...]:
    if node is None or node.spec is None:
        return ()
    return node.spec.pod_cidrs or ((node.spec.pod_cidr,) if node.spec.pod_cidr is not None else ())


def primary_address(node: Node, family: Family) -> Address | None:
    """Return the node's primary address in a family: the first InternalIP, else the first ExternalIP.

    That is kube-proxy's rule. Loopback and other addresses that no traffic may be sent to do not count.
    """
    reported = node.status.addresses if node.status is not None else None
    for wanted in NODE_IP_TYPES:
        for one in reported or ():
            address = _address(one.address) if one.type == wanted else None
            if address is not None and address.family == family:
                return address
    return None


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except ValueError:
        return None
