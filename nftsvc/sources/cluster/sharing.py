"""Equal parts of many objects, kept once.

10,000 slices with 10 endpoints each name a few hundred nodes and know a handful of conditions; decoded one by one they
are 100,000 of each. All of these are immutable values, so nobody can tell. Saves a third of the objects' memory.
"""

from typing import TypeVar, cast

from msgspec.structs import force_setattr

from nftsvc.decode import build_scalar
from nftsvc.objects import EndpointSlice, SliceEndpoint
from nftsvc.values import Choice, Label

# Beyond this it forgets and begins anew: values that no object has any more must not stay for ever.
_MOST_VALUES = 50_000

_Value = TypeVar("_Value")
_Shared = TypeVar("_Shared")


class Sharing:
    """Remembers values and gives the same one for equal ones."""

    def __init__(self) -> None:
        self._scalars: dict[tuple[type, str], object] = {}
        self._values: dict[object, object] = {}

    def scalar(self, kind: type, value: object) -> object:
        """Make a value of `nftsvc.values`, as `decode.build_scalar` does; for msgspec's dec_hook.

        Words, namespaces and names of ports are made once; addresses and names of objects hardly repeat.
        """
        if type(value) is not str or not issubclass(kind, (Choice, Label)):
            return build_scalar(kind, value)
        known = self._scalars.get((kind, value))
        if known is None:
            if len(self._scalars) >= _MOST_VALUES:
                self._scalars.clear()
            known = self._scalars[kind, value] = build_scalar(kind, value)
        return known

    def shared(self, value: _Shared) -> _Shared:
        """Return a freshly decoded object, with its repeated parts shared with others. The object must be new."""
        if isinstance(value, EndpointSlice):
            for endpoint in value.endpoints or ():
                self._share_parts(endpoint)
            if value.ports is not None:
                force_setattr(value, "ports", self._once(value.ports))
        return value

    def _share_parts(self, endpoint: SliceEndpoint) -> None:
        if endpoint.node_name is not None:
            force_setattr(endpoint, "node_name", self._once(endpoint.node_name))
        if endpoint.conditions is not None:
            force_setattr(endpoint, "conditions", self._once(endpoint.conditions))
        if endpoint.hints is not None:
            force_setattr(endpoint, "hints", self._once(endpoint.hints))

    def _once(self, value: _Value) -> _Value:
        if len(self._values) >= _MOST_VALUES:
            self._values.clear()
        return cast("_Value", self._values.setdefault(value, value))
