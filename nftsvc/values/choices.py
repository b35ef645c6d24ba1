"""Fields that hold one of a few words."""

from nftsvc.values.text import Choice


class Protocol(Choice):
    """`ports[].protocol`."""

    __slots__ = ()
    choices = ("TCP", "UDP", "SCTP")


class ServiceType(Choice):
    """`spec.type` of a Service."""

    __slots__ = ()
    choices = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")


class TrafficPolicy(Choice):
    """`spec.internalTrafficPolicy` and `spec.externalTrafficPolicy`."""

    __slots__ = ()
    choices = ("Cluster", "Local")


class SessionAffinity(Choice):
    """`spec.sessionAffinity`."""

    __slots__ = ()
    choices = ("None", "ClientIP")


class IPMode(Choice):
    """`status.loadBalancer.ingress[].ipMode`: whether packets arrive with the balancer's address as destination."""

    __slots__ = ()
    choices = ("VIP", "Proxy")


class DetectLocalMode(Choice):
    """How a node tells its own Pods from everybody else (`detectLocalMode` of kube-proxy)."""

    __slots__ = ()
    choices = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")
