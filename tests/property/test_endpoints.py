"""What may be used is the same whether or not somebody asks why."""

from hypothesis import given, settings
from hypothesis import strategies as st

from nftsvc.endpoints import Place, Usable, judge, usable
from nftsvc.objects import (
    LABEL_HEADLESS,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    Hint,
    ServicePort,
    SliceEndpoint,
    SliceMeta,
)
from nftsvc.values import Address, Family, Label, Port, Protocol, Subdomain

PORT = ServicePort(name=Label("http"), port=Port(80))
NODES = (None, "node-a", "node-b")

said = st.sampled_from([None, True, False])
conditions = st.builds(EndpointConditions, ready=said, serving=said, terminating=said)
mostly_ready = st.one_of(st.none(), st.just(EndpointConditions(ready=True)), conditions)
hint = st.builds(Hint, name=st.sampled_from(["node-a", "zone-a", "zone-b"]))
hints = st.builds(
    EndpointHints,
    for_zones=st.one_of(st.none(), st.tuples(hint)),
    for_nodes=st.one_of(st.none(), st.tuples(hint)),
)


def endpoints(
    condition: st.SearchStrategy[EndpointConditions | None], hinted: bool
) -> st.SearchStrategy[SliceEndpoint]:
    return st.builds(
        SliceEndpoint,
        addresses=st.one_of(
            st.none(), st.integers(1, 30).map(lambda number: (Address(f"10.0.{number % 3}.{number}"),))
        ),
        conditions=condition,
        node_name=st.sampled_from(NODES),
        hints=st.one_of(st.none(), hints) if hinted else st.none(),
    )


ports = st.builds(
    EndpointPort,
    name=st.sampled_from([Label("http"), Label("http"), Label("other")]),
    protocol=st.sampled_from([None, Protocol("TCP"), Protocol("UDP")]),
    port=st.sampled_from([Port(8080), Port(80), None]),
)


@st.composite
def slices(draw: st.DrawFn) -> list[EndpointSlice]:
    plain = draw(st.booleans())
    one = endpoints(st.one_of(st.none(), st.just(EndpointConditions(ready=True))) if plain else mostly_ready, not plain)
    return [
        EndpointSlice(
            metadata=SliceMeta(
                name=Subdomain(f"web-{number}"), labels=draw(st.sampled_from([None, None, {LABEL_HEADLESS: ""}]))
            ),
            address_type=draw(st.sampled_from([Family.IPV4, Family.IPV4, Family.IPV6])),
            endpoints=draw(st.one_of(st.none(), st.lists(one, max_size=8).map(tuple))),
            ports=draw(st.one_of(st.none(), st.lists(ports, max_size=2).map(tuple))),
        )
        for number in range(draw(st.integers(0, 3)))
    ]


@settings(max_examples=400, deadline=None)
@given(slices(), st.sampled_from(NODES), st.sampled_from(["", "zone-a"]))
def test_what_is_usable_is_what_is_judged_so(parts: list[EndpointSlice], node: str | None, zone: str) -> None:
    place = Place(node, zone)
    judged = judge(parts, PORT, Family.IPV4, place)
    assert usable(parts, PORT, Family.IPV4, place) == Usable(
        tuple(one.endpoint for one in judged if not one.not_in_cluster),
        tuple(one.endpoint for one in judged if not one.not_local),
        tuple(one.endpoint for one in judged if one.serving),
        tuple(one.endpoint for one in judged if one.ready_here),
    )
