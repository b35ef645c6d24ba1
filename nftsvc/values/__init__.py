"""The small values everything else is made of, valid by construction: addresses, ports, names, choices.

Each class is built by its `parse`, which takes what a manifest said (any type) and raises ValueError with a message fit
for a user. A value that exists is safe to print into nft text.
"""

from nftsvc.values.addresses import (
    FAMILIES,
    Address,
    ClusterIP,
    Family,
    NodePortAddress,
    OptionalAddress,
    Prefix,
    address_order,
    any_address,
    authority,
    is_ip_address,
    without_overlaps,
)
from nftsvc.values.choices import DetectLocalMode, IPMode, Protocol, ServiceType, SessionAffinity, TrafficPolicy
from nftsvc.values.names import (
    MAX_INTERFACE,
    InterfaceName,
    Label,
    ServiceKey,
    Subdomain,
    TargetPort,
    is_label,
    is_subdomain,
)
from nftsvc.values.numbers import NodePort, Port, Seconds, Timestamp
from nftsvc.values.text import Choice, Scalar, quoted

__all__ = [
    "FAMILIES",
    "MAX_INTERFACE",
    "Address",
    "Choice",
    "ClusterIP",
    "DetectLocalMode",
    "Family",
    "IPMode",
    "InterfaceName",
    "Label",
    "NodePort",
    "NodePortAddress",
    "OptionalAddress",
    "Port",
    "Prefix",
    "Protocol",
    "Scalar",
    "Seconds",
    "ServiceKey",
    "ServiceType",
    "SessionAffinity",
    "Subdomain",
    "TargetPort",
    "Timestamp",
    "TrafficPolicy",
    "address_order",
    "any_address",
    "authority",
    "is_ip_address",
    "is_label",
    "is_subdomain",
    "quoted",
    "without_overlaps",
]
