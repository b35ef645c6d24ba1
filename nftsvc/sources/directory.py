"""A folder of manifests that is watched: what is in it is what there is.

Only files that change are read again. A file that cannot be read, or an object in it, stays as it was last known, so
that a slip of the pen takes no Service away; removing the file does. Whoever writes a file in place may be caught in
the middle, so a change counts only once the folder has been quiet for a moment; a file that is written elsewhere and
renamed is never seen half done.
"""

import asyncio
import os
import stat
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from pathlib import Path

import watchfiles

from nftsvc.errors import ObjectRef, Problem, Severity
from nftsvc.events import Event, Put, Removed, Replaced
from nftsvc.objects import KINDS, KubernetesObject
from nftsvc.sources.manifests import Loaded, load, manifests_below
from nftsvc.sources.source import Batch, Receiver
from nftsvc.values import is_subdomain

QUIET_MILLISECONDS = 50
_AT_MOST_MILLISECONDS = 1000
_RETRY_SECONDS = 1.0
_POLL_MILLISECONDS = 1000

_NAMING = ("metadata", "metadata.name", "metadata.namespace")

_Objects = Mapping[ObjectRef, KubernetesObject]
_Stamp = tuple[int, ...]
_Changes = set[tuple[watchfiles.Change, str]]


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


class _NoWatch(Exception):
    """The system has no watch to give."""


class DirectorySource:
    """Watches a folder and its subfolders with inotify (through the package watchfiles).

    Where the system has none left to give (`fs.inotify.max_user_instances`, `max_user_watches`) it looks every second.
    """

    name = "manifests"
    kinds = KINDS

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._polling: tuple[Problem, ...] = ()

    async def run(self, receiver: Receiver) -> None:
        """Deliver what is in the folder, then what changes, until cancelled.

        While the folder cannot be read or is not there, what was known stays.
        """
        content, told, well = EMPTY, False, True
        while True:
            watch = self._watch()
            changed: asyncio.Task[_Changes] | None = None
            try:
                inode = self._folder.stat().st_ino
                while self._folder.stat().st_ino == inode:
                    changed = asyncio.create_task(self._next(watch))
                    await asyncio.sleep(0)  # lets it begin to watch before the folder is read
                    new = await asyncio.to_thread(read, self._folder, content)
                    events = difference(content, new) if told else everything(new)
                    if events or new.problems != content.problems or not (told and well):
                        receiver.deliver(self._batch(new, events))
                    content, told, well = new, True, True
                    if (watchfiles.Change.deleted, str(self._folder.absolute())) in await changed:
                        break  # what is there now may be another folder, even if it has got the same number
            except _NoWatch as error:
                told = False  # for the problem to be told
                self._polling = (Problem(f"{self._folder}: {error}", severity=Severity.WARNING),)
            except (OSError, RuntimeError, StopAsyncIteration) as error:
                receiver.broken(self.name, f"{self._folder}: {_reason(error)}")
                well = False
                await asyncio.sleep(_RETRY_SECONDS)
            finally:
                if changed is not None:
                    changed.cancel()
                    await asyncio.wait([changed])
                await watch.aclose()

    def _watch(self) -> AsyncGenerator[_Changes, None]:
        return watchfiles.awatch(
            self._folder.absolute(),
            watch_filter=None,
            debounce=_AT_MOST_MILLISECONDS,
            step=QUIET_MILLISECONDS,
            rust_timeout=60_000,
            yield_on_timeout=True,
            force_polling=bool(self._polling),
            poll_delay_ms=_POLL_MILLISECONDS,
        )

    async def _next(self, watch: AsyncGenerator[_Changes, None]) -> _Changes:
        """Wait for changes; _NoWatch if the system has no watch to give."""
        try:
            return await anext(watch)
        except FileNotFoundError:
            raise
        except (OSError, RuntimeError) as error:
            if self._polling:
                raise
            raise _NoWatch(f"no inotify, so it is looked at every second: {_reason(error)}") from error

    def _batch(self, content: Content, events: tuple[Event, ...]) -> Batch:
        read_at = asyncio.get_running_loop().time()
        problems = (*self._polling, *content.problems)
        return Batch(DirectorySource.name, events, problems, read_at, len(content.objects))


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or "watching it ended"


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
    listed = set(manifests_below(folder, problems))
    hidden = {path for path in known.files.keys() - listed if _may_be_there(path)}  # in a folder that cannot be listed
    files = {
        path: _read_file(path, known.files.get(path)) if path in listed else known.files[path]
        for path in sorted(listed | hidden, key=lambda one: one.parts)
    }
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
        stamp: _Stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError:
        stamp = ()
    if known is not None and known.stamp == stamp and stamp:
        return known
    loaded = load([str(path)])
    earlier = known.objects if known is not None else {}
    return _File(stamp, _merged(loaded, earlier), loaded.problems)


def _may_be_there(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _is_about_whoever(problem: Problem) -> bool:
    """Tell whether a problem keeps one from knowing which object it is about."""
    return problem.ref is None or not is_subdomain(problem.ref.name) or problem.field in _NAMING


def _merged(loaded: Loaded, earlier: _Objects) -> _Objects:
    """Return what was read, and what was known of whatever could not be: of the whole file or of some objects in it."""
    read_now = {one.ref: earlier[one.ref] if earlier.get(one.ref) == one else one for one in loaded.objects}
    if any(map(_is_about_whoever, loaded.errors)):  # it may have been any of those known
        return {**earlier, **read_now}
    bad = {problem.ref for problem in loaded.errors}
    return {**{ref: one for ref, one in earlier.items() if ref in bad}, **read_now}
