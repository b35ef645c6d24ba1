"""The API server double as a process: `python -m benchmarks.double JSON`, then orders and answers as lines of JSON.

An order is a storm: so many slice updates a second for so long, each with an endpoint that has not been there before.
"""

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.cluster import Cluster
from nftsvc.kernel.netlink import inside
from tests.support.apiserver import ApiServer

FRESH_POD = 4_000_000  # the first Pod that no cluster here begins with
_AT_ONCE = 5
_SWITCH_SECONDS = 0.0005
_STRIDE = 37


def main(given: str) -> None:
    """Serve until standard input ends."""
    settings = json.loads(given)
    cluster, namespace = Cluster(**settings["cluster"]), Path(settings["namespace"])
    with ApiServer(call=lambda function: inside(namespace, function)) as server:
        server.put_many(cluster.documents())
        server.kubeconfig(Path(settings["kubeconfig"]))
        gc.disable()  # the server is not what is measured: it should not be what is waited for
        sys.setswitchinterval(_SWITCH_SECONDS)
        _say("ready")
        for line in sys.stdin:
            _say(storm(server, cluster, **json.loads(line)))


def storm(server: ApiServer, cluster: Cluster, rate: int, seconds: int) -> dict[str, list[float]]:
    """Change slices at an even pace, a few at a time; return when each fresh Pod was told of (`time.monotonic`).

    A slice changes again only when all others have, so that no change is overtaken by the next.
    """
    prepared = [_changed(cluster, number) for number in range(rate * seconds)]
    told: list[float] = []
    begun = time.monotonic()
    for first in range(0, len(prepared), _AT_ONCE):
        time.sleep(max(0.0, begun + first / rate - time.monotonic()))
        for document in prepared[first : first + _AT_ONCE]:
            told.append(time.monotonic())
            server.put(document, raw=True)
    return {"told": told}


def _changed(cluster: Cluster, number: int) -> dict[str, Any]:
    service = number * _STRIDE % cluster.services
    return cluster.slice(service, [FRESH_POD + number, *cluster.pods(service)[1:]])


def _say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1])
