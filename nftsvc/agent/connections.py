"""New connections per Service: the kernel's counters of elements, under the names of what they count."""

from collections.abc import Iterable, Mapping, Sequence

from nftsvc.agent.counters import ServiceCount, ServiceLabels
from nftsvc.plan import ServicePlan
from nftsvc.ruleset import WAYS, Key
from nftsvc.values import Family

COUNTED = tuple(name for way in WAYS for name in (way.verdicts, way.rejected))

Counters = Mapping[Family, Mapping[str, Mapping[Key, int]]]


def service_counts(plans: Iterable[ServicePlan], counters: Counters) -> Sequence[ServiceCount]:
    """Return the counters of the frontends of these plans; those of other elements are left out."""
    counts: list[ServiceCount] = []
    for plan in plans:
        for port in plan.ports:
            tables = counters.get(port.family, {})
            protocol = port.protocol.lower()
            for one in port.frontends:
                way = WAYS[one.address is None]
                key: Key = (protocol, int(one.port)) if one.address is None else (one.address, protocol, int(one.port))
                labels = ServiceLabels(
                    plan.service.namespace,
                    plan.service.name,
                    port.port,
                    port.protocol,
                    port.family,
                    one.kind,
                    one.address or "",
                )
                for name, refused in ((way.verdicts, False), (way.rejected, True)):
                    packets = tables.get(name, {}).get(key)
                    if packets is not None:
                        counts.append(ServiceCount(labels, packets, refused))
    return counts
