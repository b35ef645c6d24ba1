"""A process that makes one measurement: `python -m benchmarks.worker TASK JSON`; the outcome is JSON, too."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.tasks import changes, loading, traffic, writing
from nftsvc.agent import collector

TASKS: Mapping[str, Callable[..., Mapping[str, Any]]] = {
    "load": loading.load,
    "adopt": loading.adopt,
    "change": changes.change,
    "roll": changes.roll,
    "flood": traffic.flood,
    "write": writing.write,
}


def main(arguments: list[str]) -> None:
    """Do a task and write what came of it to standard output."""
    task, given = arguments
    collector.prepare()  # as the agent does
    json.dump(TASKS[task](**json.loads(given)), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
