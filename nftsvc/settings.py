"""What one node has to know about itself to make its ruleset.

In: the Node objects of the input and what the user said. Out: NodeSettings.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from nftsvc.errors import UsageError
from nftsvc.objects import NODE_IP_TYPES, Node
from nftsvc.values import FAMILIES, Address, Family, is_subdomain, quoted


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """The node a ruleset is for.

    `name` is the node's name (endpoints with this `nodeName` run here), or None where the ruleset is for no node in
    particular; then every endpoint may run here. `families` are the IP families to make tables for.
    `node_port_addresses` are, per family, the addresses on which node ports answer; a family that is not in it answers
    on every local address but loopback (Kubernetes' default is the node's primary address).
    """

    name: str | None = None
    families: tuple[Family, ...] = FAMILIES
    node_port_addresses: Mapping[Family, tuple[Address, ...]] = field(default_factory=dict)


def settings_for(nodes: Mapping[str, Node], name: str | None, families: Iterable[Family] = FAMILIES) -> NodeSettings:
    """Derive the settings of a node from the input.

    `name` None means the only Node of the input, if it has exactly one. A name that the input's Nodes lack is a
    UsageError; where the input has no Nodes at all any name will do, and its addresses stay unknown.
    """
    if name is None and len(nodes) == 1:
        (name,) = nodes
    if name is not None and not is_subdomain(name):
        raise UsageError(f"--node {quoted(name)}: not the name of a Node")
    if name is not None and nodes and name not in nodes:
        raise UsageError(f"--node {quoted(name)}: the input has no such Node; it has {', '.join(nodes)}")
    node = nodes.get(name) if name is not None else None
    addresses: dict[Family, tuple[Address, ...]] = {}
    if node is not None:
        primary = ((family, primary_address(node, family)) for family in families)
        addresses = {family: (address,) for family, address in primary if address is not None}
    return NodeSettings(name=name, families=tuple(families), node_port_addresses=addresses)


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
