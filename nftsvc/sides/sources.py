"""The two sides of a diff: manifests, a file with a ruleset, or this machine's kernel, and what they do to traffic.

In: paths and where to look else. Out: a Side each, or an error that says which of them it is about.
"""

import os
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO

from nftsvc.changes import Transaction, compare
from nftsvc.errors import InputError, Origin, Problem, UsageError
from nftsvc.objects import Service
from nftsvc.pipeline import plan_from_manifests
from nftsvc.plan import Plan
from nftsvc.reading import read_ruleset
from nftsvc.ruleset import EMPTY, Ruleset, make_ruleset
from nftsvc.sources.manifests import STDIN, manifests_below
from nftsvc.traffic import Traffic, traffic_of
from nftsvc.values import FAMILIES, Family

SUFFIX = ".nft"
OLD, NEW = "old", "new"
LARGE = 1_000_000  # bytes of manifests that it takes half a second to read


@dataclass(frozen=True, slots=True)
class Source:
    """Where a side comes from: paths of manifests or of one ruleset, or (`live`) the kernel.

    `name` is what messages call it. `-` among the paths is standard input: manifests, or the ruleset (`is_ruleset`).
    """

    name: str
    paths: tuple[str, ...] = ()
    live: bool = False
    is_ruleset: bool = False

    def __str__(self) -> str:
        """Write `the old side (manifests/)`."""
        return f"the {self.name} side ({'this kernel' if self.live else ' '.join(self.paths)})"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of manifests: for which node, which families, and with which settings (`FIELD=VALUE`).

    `texts` says that rulesets are asked for besides traffic.
    """

    node: str | None = None
    families: tuple[Family, ...] = FAMILIES
    overrides: tuple[str, ...] = ()
    texts: bool = False


@dataclass(frozen=True, slots=True)
class Side:
    """One side. `files` are where Services were read, by `namespace/name`.

    `ruleset` and `plan` (what manifests come to, None for a ruleset that was read) are there where texts are asked for;
    then the new side's endpoints have the slots of the old side's, so that the order of endpoints shows in no text.
    `text` is that of the file that a ruleset was read from.
    """

    source: Source
    traffic: Traffic
    ruleset: Ruleset
    plan: Plan | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[Problem, ...] = ()
    text: str = ""


def find_sources(paths: Sequence[str], against: str | None, *, live: bool) -> tuple[Source, Source]:
    """Say what is compared with what, old first; UsageError if the arguments do not fit together."""
    if [*paths, against].count("-") > 1:
        raise UsageError("`-` can be one side only: standard input comes once")
    if live and against is not None:
        raise UsageError("--live and --against are one side each: give one of them")
    if live or against is not None:
        old = Source(OLD, live=True) if live else Source(OLD, (str(against),), is_ruleset=True)
        return old, _source(NEW, paths)
    if len(paths) != 2:  # noqa: PLR2004 - OLD and NEW
        raise UsageError(f"give OLD and NEW, not {len(paths)} paths; or --against or --live for the old side")
    return _source(OLD, paths[:1]), _source(NEW, paths[1:])


def _source(name: str, paths: Sequence[str]) -> Source:
    rulesets = [one for one in paths if one.endswith(SUFFIX) and not Path(one).is_dir()]
    if rulesets and len(paths) > 1:
        raise UsageError(f"{rulesets[0]} is a ruleset: it makes up a side alone")
    return Source(name, tuple(paths), is_ruleset=bool(rulesets))


def read_sides(
    sources: tuple[Source, Source], asked: Asked, stdin: BinaryIO | None, begins: Callable[[Source], object]
) -> tuple[Side, Side]:
    """Read both sides, old first; `begins` is told of each before it is read.

    InputError and UsageError name the side, and have the problems of both; KernelError is as `Kernel.read` raises it.
    Where both are many manifests the new side is read by a process of its own meanwhile, forked before anything else is
    done: to be called before the process has threads.
    """
    problems: list[Problem] = []
    sides: list[Side] = []
    with ExitStack() as stack:
        ahead = _begun(sources, asked, stack)
        for source in sources:
            begins(source)
            try:
                sides.append(ahead() if ahead is not None and source.name == NEW else _read(source, asked, stdin))
            except InputError as error:
                problems += [*error.problems, Problem(f"{source} cannot be read: nothing is compared")]
            except UsageError as error:
                raise UsageError(f"{source}: {error}") from error
    if problems:
        raise InputError(tuple(problems))
    old, new = sides
    if asked.texts and new.plan is not None:
        new = replace(new, ruleset=make_ruleset(new.plan, old.ruleset))
    return old, new


def _read(source: Source, asked: Asked, stdin: BinaryIO | None = None) -> Side:
    if source.live:
        from nftsvc.kernel import Kernel  # noqa: PLC0415 - most comparisons ask no kernel

        with Kernel() as kernel:
            found = kernel.read(asked.families)
        return Side(source, traffic_of(found), found)
    if source.is_ruleset:
        text = _text(source.paths[0], stdin)
        found = _only(read_ruleset(text, _shown(source.paths[0])), asked.families)
        return Side(source, traffic_of(found), found, text=text)
    planned = plan_from_manifests(source.paths, stdin, asked.node, asked.families, asked.overrides)
    files = {
        f"{ref.namespace}/{ref.name}": origin.file
        for ref, origin in planned.loaded.origins.items()
        if ref.kind == Service.KIND
    }
    made = make_ruleset(planned.plan)
    return Side(source, traffic_of(made), made, planned.plan, files, planned.warnings)


def _begun(sources: tuple[Source, Source], asked: Asked, stack: ExitStack) -> Callable[[], Side] | None:
    """Begin to read the new side in another process; return what waits for it, or None if one process is enough.

    It raises what reading the side raises.
    """
    if len(os.sched_getaffinity(0)) == 1 or min(map(_size, sources)) < LARGE:
        return None
    context = get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sending, sources[1], asked))
    process.start()
    sending.close()
    stack.callback(process.join)
    stack.callback(process.terminate)

    def wait() -> Side:
        match receiving.recv():
            case str(reason):
                raise UsageError(reason)
            case Side() as side:
                return side
            case problems:
                raise InputError(problems)

    return wait


def _send(sending: Connection, source: Source, asked: Asked) -> None:
    """Read a side and send it with no more than is asked for; an error as a value, or what it holds would get lost.

    Whether to go on after Ctrl-C is for the first process to say.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        side = _read(source, asked)
    except InputError as error:
        sending.send(error.problems)
    except UsageError as error:
        sending.send(str(error))
    else:
        sending.send(side if asked.texts else replace(side, ruleset=EMPTY, plan=None))


def _size(source: Source) -> int:
    """Return of how many bytes a side's manifests are; 0 if they are none, or come through standard input."""
    if source.live or source.is_ruleset or "-" in source.paths:
        return 0
    files = (
        file for path in map(Path, source.paths) for file in (manifests_below(path, []) if path.is_dir() else [path])
    )
    return sum(file.stat().st_size for file in files if file.is_file())


def _shown(path: str) -> str:
    return STDIN if path == "-" else path


def _only(ruleset: Ruleset, families: Iterable[Family]) -> Ruleset:
    return Ruleset({family: ruleset.tables[family] for family in families if family in ruleset.tables})


def _text(path: str, stdin: BinaryIO | None) -> str:
    """Return the text of a file with a ruleset; InputError says why it cannot be read."""
    try:
        data = Path(path).read_bytes() if path != "-" else stdin.read() if stdin is not None else b""
        return data.decode("utf-8")
    except OSError as error:
        raise InputError((Problem(f"{path}: cannot be read: {error.strerror}"),)) from error
    except UnicodeDecodeError as error:
        origin = Origin(_shown(path), 1)
        raise InputError((Problem(f"not UTF-8 text (byte {error.start})", origin=origin),)) from error


def new_warnings(old: Side, new: Side) -> tuple[Problem, ...]:
    """Return the warnings of the new side, and of the old one those that the new one has not, wherever they are."""
    known = {replace(one, origin=None) for one in new.warnings}
    return (*(one for one in old.warnings if replace(one, origin=None) not in known), *new.warnings)


def transactions(old: Side, new: Side) -> tuple[Transaction, ...]:
    """Return what `apply` would send for the new side's manifests if the kernel had the old side; texts were asked for.

    UsageError if the new side is no manifests.
    """
    if new.plan is None:
        raise UsageError(f"{new.source} is a ruleset; what would be sent can be told of manifests only")
    return compare(old.ruleset, new.ruleset).transactions()
