"""On which lines of their files fields are, for whoever points at them in a review.

In: places, each the origin of an object and a field in it. Out: lines. Files are read a second time for it, so nobody
who needs no lines pays for them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from nftsvc.errors import Origin
from nftsvc.sources import documents

Place = tuple[Origin, str]
_STEP = re.compile(r"\[(\d+)\]|\['([^']*)'\]|\.?([^.\[\]]+)")


def field_lines(places: Iterable[Place], contents: Mapping[str, bytes] | None = None) -> dict[Place, int]:
    """Return the line, from 1, of each place; of a field that is not there, that of what would hold it.

    `contents` holds files that are not to be read again, as standard input. A file that cannot be read is left out.
    """
    wanted: defaultdict[str, defaultdict[int, dict[documents.Path, list[Place]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for origin, field in places:
        wanted[origin.file][origin.document][_path(origin, field)].append((origin, field))
    found: dict[Place, int] = {}
    for file, by_document in wanted.items():
        data = (contents or {}).get(file) or _read(file)
        for (number, path), line in documents.lines(data, by_document).items():
            found.update(dict.fromkeys(by_document[number][path], line))
    return found


def _path(origin: Origin, field: str) -> documents.Path:
    """Return the steps from a document's root to a field, as in `spec.ports[0].nodePort`."""
    steps = (int(index) if index else key or name for index, key, name in _STEP.findall(field))
    return (*(() if origin.item is None else ("items", origin.item)), *steps)


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError:
        return b""
