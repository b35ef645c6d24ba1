"""Events about Services on the way to a follower."""

from typing import Any

from nftsvc.errors import ObjectRef
from nftsvc.events import Event, Put, Removed, Replaced
from nftsvc.objects import KINDS
from nftsvc.settings import NodeSettings, settings_for
from nftsvc.state import State
from nftsvc.values import FAMILIES
from tests.support.builders import Raw, decoded, endpoint_slice, service


def settings_of(state: State) -> NodeSettings:
    return settings_for(state, None, FAMILIES)


def lists(*raws: Raw) -> list[Event]:
    found = list(map(decoded, raws))
    return [Replaced(kind, tuple(one for one in found if type(one) is kind)) for kind in KINDS]


def put(*raws: Raw) -> list[Event]:
    return [Put(decoded(raw)) for raw in raws]


def gone(name: str, kind: str = "Service", namespace: str = "shop") -> Removed:
    return Removed(ObjectRef(kind, namespace, name))


def web(number: int, *endpoints: str, **spec: Any) -> tuple[Raw, Raw]:
    """A Service and its slice."""
    name = f"web-{number}"
    return (
        service(name, [f"10.96.{number // 250}.{number % 250 + 1}"], **spec),
        endpoint_slice(name, endpoints or (f"10.244.{number // 250}.{number % 250 + 1}",), node="node-b"),
    )
