"""Single changes: from the bytes of a watch's line to committed."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cluster import SLICE, Cluster, Document, decoded
from benchmarks.ours import follower_in, passed
from nftsvc.agent import collector
from nftsvc.events import Put
from nftsvc.objects import EndpointSlice, Service
from nftsvc.sources.cluster.wire import Decoder
from nftsvc.sync import Follower, Progress

Outcome = Mapping[str, Any]

_STRIDE = 37  # between the Services that change, so that no two in a row are neighbours
_WARM = 20
_FIRST = 30


class _Watch:
    """The lines of a watch of EndpointSlices, one after the other into a Follower."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._decoder = Decoder(EndpointSlice)
        self.seconds: list[float] = []
        self.done: list[Progress] = []

    def modified(self, document: Document) -> None:
        """Take the line that says that a slice has changed; RuntimeError where that sends nothing."""
        line = b'{"type":"MODIFIED","object":%s}' % msgspec.json.encode(document)
        begun = time.perf_counter()
        item = self._decoder.event(line).item
        if item is None or item.value is None:
            raise RuntimeError(f"a slice that is not read: {item}")
        self._follower.take((Put(item.value),))
        progress = passed(self._follower)
        self.seconds.append(time.perf_counter() - begun)
        collector.tidy()  # as the agent does after each pass
        if not progress.transactions:
            raise RuntimeError(f"a change that sends nothing: {progress}")
        self.done.append(progress)

    def forget(self) -> None:
        """Begin to count."""
        self.seconds, self.done = [], []


def change(cluster: Mapping[str, Any], namespace: str, count: int) -> Outcome:
    """Replace one endpoint, then add one, then take that away again, of so many Services; the seconds of each.

    One Service has that many endpoints all the time, as in a cluster some nearly always have. `first` are additions for
    which there is none, so that the chain for the number has to be made, too.
    """
    wanted = Cluster(**cluster)
    free = wanted.total + 1
    with follower_in(Path(namespace)) as follower:
        follower.take(wanted.events())
        passed(follower)
        collector.settle()
        watch = _Watch(follower)
        found: dict[str, list[float]] = {"replaced": [], "more": [], "less": [], "first": []}
        watch.modified(wanted.slice(0, [*wanted.pods(0), wanted.total]))
        for turn in range(count + _WARM):
            if turn == _WARM:
                for seconds in found.values():
                    seconds.clear()
            number = 1 + turn * _STRIDE % (wanted.services - 1)
            pods = list(wanted.pods(number))
            steps = {"replaced": [free + 2 * turn, *pods[1:]]}
            steps["more"] = [*steps["replaced"], free + 2 * turn + 1]
            steps["less"] = steps["replaced"]
            for name, now in steps.items():
                watch.modified(wanted.slice(number, now))
                found[name].append(watch.seconds.pop())
        for _ in range(_FIRST):
            watch.modified(wanted.slice(0, wanted.pods(0)))
            watch.modified(wanted.slice(0, [*wanted.pods(0), wanted.total]))
            found["first"].append(watch.seconds.pop())
    return found


def roll(cluster: Mapping[str, Any], namespace: str, endpoints: int, at_once: int) -> Outcome:
    """Replace all endpoints of one more Service with very many, some at a time.

    `seconds` of each step, `operations` and `bytes` of all together.
    """
    wanted = Cluster(**cluster)
    big = Cluster(wanted.services + 1, endpoints, wanted.protocol)
    number = wanted.services
    with follower_in(Path(namespace)) as follower:
        follower.take(wanted.events())
        passed(follower)
        watch = _Watch(follower)
        follower.take(map(Put, decoded(Service, [big.service(number)])))
        follower.take(map(Put, decoded(EndpointSlice, big.slices(number))))
        passed(follower)
        collector.settle()
        for document in _steps(big, number, at_once):
            watch.modified(document)
    return {
        "seconds": watch.seconds,
        "operations": sum(one.operations for one in watch.done),
        "bytes": sum(one.bytes for one in watch.done),
    }


def _steps(cluster: Cluster, number: int, at_once: int) -> Iterator[Document]:
    """Yield the slices of a Service as they change, some endpoints at a time."""
    fresh = cluster.total
    pods = cluster.pods(number)
    for part, start in enumerate(range(0, len(pods), SLICE)):
        now = list(pods[start : start + SLICE])
        for place in range(0, len(now), at_once):
            now[place : place + at_once] = range(fresh, fresh + at_once)
            fresh += at_once
            yield cluster.slice(number, now, part)
