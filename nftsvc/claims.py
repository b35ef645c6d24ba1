"""Who owns which address and port, and which node port.

In: claims, in order of seniority. Out: whether each is granted, and a warning for every one that came too late. The
kernel takes one verdict for a key; two would make it refuse the whole transaction.
"""

from nftsvc.errors import Problem, Severity
from nftsvc.frontends import Frontend, FrontendKind
from nftsvc.objects import Service
from nftsvc.values import Address, Family, authority

_FIELDS = {
    FrontendKind.CLUSTER_IP: "spec.clusterIPs",
    FrontendKind.EXTERNAL_IP: "spec.externalIPs",
    FrontendKind.LOAD_BALANCER: "status.loadBalancer.ingress",
}


class Claims:
    """First come, first served; so ask in order of seniority. Each IP family is on its own."""

    def __init__(self) -> None:
        self._owners: dict[tuple[Family, str, Address | None, int], Service] = {}
        self._refused: dict[Problem, None] = {}

    @property
    def refused(self) -> tuple[Problem, ...]:
        """A warning for every claim that came too late."""
        return tuple(self._refused)

    def grant(self, service: Service, index: int, family: Family, protocol: str, frontend: Frontend) -> bool:
        """Give the frontend to the Service unless another Service owns it; remember the refusal.

        `index` is the position of the Service port, for the message.
        """
        claim = (family, protocol, frontend.address, frontend.port)
        owner = self._owners.setdefault(claim, service)
        if owner is service:
            return True
        if frontend.address is None:
            field, what = f"spec.ports[{index}].nodePort", f"{frontend.port}/{protocol}"
        else:
            field, what = _field(service, frontend), f"{authority(frontend.address, frontend.port)}/{protocol}"
        message = f"{what} belongs to {owner.ref}, which comes first; ignored here"
        self._refused[Problem(message, field, service.ref, severity=Severity.WARNING)] = None
        return False


def _field(service: Service, frontend: Frontend) -> str:
    single = service.spec is None or not service.spec.cluster_ips
    return "spec.clusterIP" if frontend.kind is FrontendKind.CLUSTER_IP and single else _FIELDS[frontend.kind]
