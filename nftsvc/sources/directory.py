"""A folder of manifests that is watched: what is in it is what there is.

Only files that change are read again. A file that cannot be read, or an object in it, stays as it was last known, so
that a slip of the pen takes no Service away; removing the file does. Whoever writes a file in place may be caught in
the middle, so a change counts only once the folder has been quiet for a moment; a file that is written elsewhere and
renamed is never seen half done.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path

import watchfiles

from nftsvc.errors import ObjectRef, Problem
from nftsvc.events import Event, Put, Removed, Replaced
from nftsvc.objects import KINDS, KubernetesObject
from nftsvc.sources.manifests import Loaded, load, manifests_below
from nftsvc.sources.source import Batch, Receiver

QUIET_MILLISECONDS = 50
_AT_MOST_MILLISECONDS = 1000
_RETRY_SECONDS = 1.0

_Objects = Mapping[ObjectRef, KubernetesObject]
_Stamp = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _File:
    """A file as it was read; `objects` include those of earlier readings that cannot be read now."""

    stamp: _Stamp
    objects: _Objects
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Content:
    """What is in the folder."""

    files: Mapping[Path, _File]
    objects: _Objects
    problems: tuple[Problem, ...]


EMPTY = Content({}, {}, ())


class DirectorySource:
    """Watches a folder and its subfolders with inotify (through the package watchfiles)."""

    name = "manifests"
    kinds = KINDS

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def run(self, receiver: Receiver) -> None:
        """Deliver what is in the folder, then what changes, until cancelled.

        While the folder cannot be read or is not there, what was known stays.
        """
        content, told, well = EMPTY, False, True
        while True:
            watch = self._watch()
            changed: asyncio.Task[set[watchfiles.main.FileChange]] | None = None
            try:
                inode = self._folder.stat().st_ino
                while self._folder.stat().st_ino == inode:
                    changed = asyncio.create_task(_next(watch))
                    await asyncio.sleep(0)  # lets it begin to watch before the folder is read
                    new = await asyncio.to_thread(read, self._folder, content)
                    events = difference(content, new) if told else everything(new)
                    if events or new.problems != content.problems or not (told and well):
                        receiver.deliver(_batch(new, events))
                    content, told, well = new, True, True
                    await changed
            except (OSError, StopAsyncIteration) as error:
                reason = error.strerror if isinstance(error, OSError) else "watching it ended"
                receiver.broken(self.name, f"{self._folder}: {reason}")
                well = False
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                if changed is not None:
                    changed.cancel()
                    await asyncio.wait([changed])
                await watch.aclose()

    def _watch(self) -> AsyncGenerator[set[watchfiles.main.FileChange], None]:
        return watchfiles.awatch(
            self._folder,
            watch_filter=None,
            debounce=_AT_MOST_MILLISECONDS,
            step=QUIET_MILLISECONDS,
            rust_timeout=60_000,
            yield_on_timeout=True,
        )


async def _next(watch: AsyncGenerator[set[watchfiles.main.FileChange], None]) -> set[watchfiles.main.FileChange]:
    return await anext(watch)


def _batch(content: Content, events: tuple[Event, ...]) -> Batch:
    return Batch(DirectorySource.name, events, content.problems, asyncio.get_running_loop().time())


def everything(content: Content) -> tuple[Event, ...]:
    """Return the content as events: what there is of each kind."""
    groups: dict[type, list[KubernetesObject]] = {kind: [] for kind in KINDS}
    for one in content.objects.values():
        groups[type(one)].append(one)
    return tuple(Replaced(kind, tuple(groups[kind])) for kind in KINDS)


def difference(old: Content, new: Content) -> tuple[Event, ...]:
    """Return what happened between two readings."""
    gone = (Removed(ref) for ref in old.objects if ref not in new.objects)
    put = (Put(one) for ref, one in new.objects.items() if old.objects.get(ref) is not one)
    return (*gone, *put)


def read(folder: Path, known: Content = EMPTY) -> Content:
    """Read what is new in a folder. OSError if the folder itself cannot be read; other trouble is in `problems`."""
    os.scandir(folder).close()
    problems: list[Problem] = []
    files: dict[Path, _File] = {}
    for path in manifests_below(folder, problems):
        files[path] = _read_file(path, known.files.get(path))
    objects: dict[ObjectRef, KubernetesObject] = {}
    homes: dict[ObjectRef, Path] = {}
    for path, file in files.items():
        problems += file.problems
        for ref, one in file.objects.items():
            if homes.setdefault(ref, path) is path:
                objects[ref] = one
            else:
                problems.append(Problem(f"{path}: given twice, first in {homes[ref]}", "", ref))
    return Content(files, objects, tuple(problems))


def _read_file(path: Path, known: _File | None) -> _File:
    try:
        status = path.stat()
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError:
        stamp = (0, 0, 0, 0)
    if known is not None and known.stamp == stamp and stamp[1]:
        return known
    loaded = load([str(path)])
    earlier = known.objects if known is not None else {}
    return _File(stamp, _merged(loaded, earlier), loaded.problems)


def _merged(loaded: Loaded, earlier: _Objects) -> _Objects:
    """Return what was read, and what was known of whatever could not be: of the whole file or of some objects in it."""
    read_now = {one.ref: earlier[one.ref] if earlier.get(one.ref) == one else one for one in loaded.objects}
    if any(problem.ref is None for problem in loaded.errors):
        return {**earlier, **read_now}
    bad = {problem.ref for problem in loaded.errors}
    return {**{ref: one for ref, one in earlier.items() if ref in bad}, **read_now}
