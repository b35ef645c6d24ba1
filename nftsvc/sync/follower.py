"""Keeps the kernel in step with events, pass by pass; each recomputes what was touched and sends what differs.

In: events, suspicions, the time for a whole look. Out: what each pass did. The first pass, one after a refusal and one
under new settings read the kernel and compare everything (`nftsvc.sync.once`); the others know what the kernel has.
Everything here belongs to one thread.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from nftsvc.changes import ELEMENTS_PER_TRANSACTION, Changes, compare
from nftsvc.errors import KernelRefused, NftsvcError, ObjectRef, Problem, Severity, UsageError
from nftsvc.events import Event
from nftsvc.flows import NONE_TRACKED
from nftsvc.objects import Service
from nftsvc.plan import Planner, Replanned, ServicePlan
from nftsvc.render import Renderer
from nftsvc.ruleset import AFFINITY_MAPS, EMPTY, Elements, Part, Ruleset, Table, Wanted
from nftsvc.settings import NodeSettings
from nftsvc.state import NOTHING, ServiceKey, State, Touched
from nftsvc.sync.account import Account
from nftsvc.sync.debt import Debt
from nftsvc.sync.loading import SERVICES_AT_ONCE, load
from nftsvc.sync.meter import MeteredDoor
from nftsvc.sync.once import Door
from nftsvc.sync.passes import PassKind, Progress, Suspicion
from nftsvc.values import Family

_INNOCENT = tuple(
    map(
        os.strerror,
        (
            errno.ENOMEM,
            errno.ENOBUFS,
            errno.EBUSY,
            errno.EEXIST,
            errno.ENOENT,
            errno.EINTR,
            errno.EAGAIN,
            errno.EMSGSIZE,
        ),
    )
)


class Follower:
    """The state, the plan and the ruleset wanted; and the kernel behind a door.

    `settings_of` derives the node's settings from the state; UsageError if it cannot.
    """

    def __init__(
        self,
        door: Door,
        renderer: Renderer,
        settings_of: Callable[[State], NodeSettings],
        limit: int = ELEMENTS_PER_TRANSACTION,
    ) -> None:
        self.state = State()
        self._door = MeteredDoor(door)
        self._renderer = renderer
        self._settings_of = settings_of
        self._limit = limit
        self._settings: NodeSettings | None = None
        self._planner: Planner | None = None
        self._wanted: Wanted | None = None
        self._touched = NOTHING
        self._suspicion: Suspicion | None = None
        self._known = False
        self._debt = Debt()
        self._left_out: dict[ServiceKey, str] = {}
        self._trying: ServiceKey | None = None
        self._warnings: tuple[Problem, ...] = ()
        self.account = Account()
        self._settings_problem: tuple[Problem, ...] = ()
        self._counted_services = 0

    # What happened ----------------------------------------------------------------------------------------------------

    def take(self, events: Iterable[Event]) -> None:
        """Take events into the state; the next pass acts on them."""
        for event in events:
            self._touched |= self.state.apply(event)

    def suspect(self, suspicion: Suspicion) -> None:
        """Take note of what another process may have changed; the next pass looks there."""
        self._suspicion = suspicion if self._suspicion is None else self._suspicion | suspicion

    # What there is ----------------------------------------------------------------------------------------------------

    @property
    def elements(self) -> Mapping[Family, int]:
        """How many elements each table is to have, without those that packets record."""
        return self._wanted.counts if self._wanted is not None else {}

    @property
    def layout(self) -> str:
        """The layout of the tables, "" before there are any."""
        return self._wanted.layout if self._wanted is not None else ""

    @property
    def waiting(self) -> bool:
        """Whether there is something to do for a pass."""
        return bool(self._touched) or self._suspicion is not None or not self._known

    @property
    def plans(self) -> Mapping[ServiceKey, ServicePlan]:
        """The plan of each Service."""
        return self._planner.plans if self._planner is not None else {}

    @property
    def settings(self) -> NodeSettings | None:
        """The settings in force, None before the first pass."""
        return self._planner.settings if self._planner is not None else None

    @property
    def ruleset(self) -> Ruleset:
        """The whole ruleset that is wanted, without what packets record; made anew whenever it is asked for."""
        return self._wanted.ruleset if self._wanted is not None else EMPTY

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Warnings about all that was read, and the Services that the kernel refuses."""
        refused = (
            Problem(f"left out: {reason}", "", _ref(key), severity=Severity.ERROR)
            for key, reason in self._left_out.items()
        )
        return tuple(sorted((*refused, *self.account.problems, *self._warnings, *self._settings_problem), key=str))

    # Passes -----------------------------------------------------------------------------------------------------------

    def step(self, *, verify: bool = False) -> Progress:
        """Do one pass; never raises NftsvcError.

        `verify` asks for a comparison of everything with what the kernel has, whether or not anything is suspected.
        """
        touched = self._touched
        suspicion, self._suspicion = self._suspicion, None
        self._door.reset()
        kind, services = PassKind.FIRST, 0
        try:
            settings = self._new_settings(touched)
            kind = self._kind(settings, touched, suspicion, verify=verify)
            if kind is PassKind.CHANGE or (suspicion is not None and suspicion.sets and kind is PassKind.REPAIR):
                if suspicion is not None and suspicion.sets:
                    self._repair(suspicion.sets)
                services = self._change_and_try_again(touched) if touched else 0
            else:
                services = self._everything(settings, touched)
                if kind is PassKind.VERIFY:
                    services += self._try_again(tuple(self._left_out))
        except NftsvcError as error:
            self._known = False
            left_out = ""
            if isinstance(error, KernelRefused) and (kind is PassKind.RETRY or self._trying is not None):
                left_out = self._leave_out(error)
            return replace(self._progress(kind, services, error), left_out=left_out)
        finally:
            self._trying = None
        self._known = True
        return self._progress(kind, services)

    def start_afresh(self, error: Exception) -> Progress:
        """Forget all that was computed, but not what is known of the cluster; return the pass as one that failed."""
        self._planner = self._wanted = None
        self._touched = self._touched | Touched(node=True, everything=True)
        self._known = False
        self._door.remembers = True
        self.account = Account()
        return self._progress(PassKind.RETRY, 0, NftsvcError(f"a bug: {type(error).__name__}: {error}"))

    def _progress(self, kind: PassKind, services: int, error: NftsvcError | None = None) -> Progress:
        stale, served = self._debt.taken() if error is None else (NONE_TRACKED, NONE_TRACKED)
        door = self._door
        counts = (services, door.added, door.removed, door.transactions, door.operations, door.bytes)
        return Progress(kind, *counts, stale, error, served=served)

    def _new_settings(self, touched: Touched) -> NodeSettings:
        """Return the settings to go by: the old ones where what has changed makes none."""
        if self._settings is not None and not touched.node:
            return self._settings
        try:
            self._settings = self._settings_of(self.state)
        except UsageError as error:
            if self._settings is None:
                raise
            self._settings_problem = (Problem(str(error)),)
        else:
            self._settings_problem = ()
        return self._settings

    def _kind(self, settings: NodeSettings, touched: Touched, suspicion: Suspicion | None, *, verify: bool) -> PassKind:
        if self._planner is None or self._wanted is None:
            kind = PassKind.FIRST if self._planner is None else PassKind.RETRY
        elif not self._known:
            kind = PassKind.RETRY
        elif touched.everything or settings != self._planner.settings:
            kind = PassKind.FULL
        elif suspicion is not None:
            kind = PassKind.REPAIR
        elif verify:
            kind = PassKind.VERIFY
        else:
            kind = PassKind.CHANGE
        return kind

    def _change_and_try_again(self, touched: Touched) -> int:
        """Send what changes; Services that are left out and have changed come last."""
        again = touched.services & self._left_out.keys()
        count = self._change(replace(touched, services=touched.services - again))
        return count + self._try_again(again)

    def _try_again(self, keys: Iterable[ServiceKey]) -> int:
        """Send Services that were left out, each on its own: the kernel may take them now, and the rest is in place."""
        count = 0
        for key in sorted(keys):
            self._trying = key
            del self._left_out[key]
            count += self._change(Touched(frozenset((key,))))
        self._trying = None
        return count

    def _change(self, touched: Touched) -> int:
        """Plan the touched Services anew and send what that changes; return how many they were."""
        assert self._planner is not None  # noqa: S101 - said by the kind of pass
        assert self._wanted is not None  # noqa: S101
        replanned = self._planner.update(self.state, touched.services, self._left_out)
        self._touched = NOTHING
        self.account.change(*replanned)
        if sorted(replanned.old, key=_service) != sorted(replanned.new, key=_service):
            self._debt.changed(*replanned)
            part = self._wanted.change(*replanned)
            if part.records_in_doubt:
                self._send(self._wanted.without_stale_records(part.before, part, self._records()))
                self._send(self._wanted.without_stale_records(part.after, part, self._records()))
            else:
                self._send(part)
        return len(replanned.new)

    def _records(self) -> Ruleset:
        """Return what packets have recorded: of each client the endpoint it had."""
        assert self._planner is not None  # noqa: S101
        return self._door.read_sets(dict.fromkeys(self._planner.settings.families, AFFINITY_MAPS))

    def _send(self, part: Part, changes: Changes | None = None) -> None:
        self._door.send(self._renderer, part, self._limit, changes)

    def _repair(self, names: Mapping[Family, frozenset[str]]) -> None:
        """Put some sets right: compare them with what the kernel has in them."""
        wanted = self.ruleset.tables
        names = {family: group - {*AFFINITY_MAPS} for family, group in names.items() if family in wanted}
        found = self._door.read_sets(names)
        before: dict[Family, Table] = {}
        after: dict[Family, Table] = {}
        for family, table in wanted.items():
            here = found.tables[family].elements if family in found.tables else {}
            checked = [one.name for one in table.sets if one.name in here]
            empty: dict[str, Elements] = {one.name: {} for one in table.sets}
            before[family] = replace(table, elements={**empty, **{name: here[name] for name in checked}})
            after[family] = replace(table, elements={**empty, **{name: table.elements[name] for name in checked}})
        part = Part(Ruleset(before), Ruleset(after))
        self._debt.remade(part, self.plans.values())
        self._send(part)

    def _everything(self, settings: NodeSettings, touched: Touched) -> int:
        """Compare everything with what the kernel has, and send the difference; return how many Services that is."""
        before = self._planner
        afresh = before is None or touched.everything or before.settings != settings
        planner = self._planner = Planner(settings) if before is None or afresh else before
        old = tuple(before.plans.values()) if before is not None and afresh else ()
        keys = self.state.services if afresh else touched.services | self._left_out.keys()
        counted = self._counted(planner.updates(self.state, keys, self._left_out, SERVICES_AT_ONCE), old)
        self._touched = NOTHING
        try:
            if self._wanted is not None and not afresh:
                wanted = self._wanted
                for part in counted:
                    wanted.change(*part)
                self._compare(wanted, self._door.read(wanted.families))
            else:
                self._wanted = None
                if not afresh:
                    deque(counted, maxlen=0)
                made = counted if afresh else iter((Replanned((), tuple(planner.plans.values())),))
                self._make_anew(planner, made)
        finally:
            deque(counted, maxlen=0)  # whatever goes wrong, the plans are those of the state
        return self._counted_services

    def _counted(self, updates: Iterator[Replanned], old: Sequence[ServicePlan]) -> Iterator[Replanned]:
        """Count plans as they are made; in the end take note of the flows to be looked at because of them."""
        self._counted_services = 0
        self.account.change(old, ())
        gone, come = list(old), list[ServicePlan]()
        for part in updates:
            self._counted_services += len(part.new)
            self.account.change(*part)
            if not self._door.remembers:
                gone += part.old
                come += part.new
            yield part
        if not self._door.remembers:
            self._debt.changed(gone, come)

    def _make_anew(self, planner: Planner, updates: Iterator[Replanned]) -> None:
        """Bring the kernel from whatever it has to what the plans come to, endpoints in the slots that it has."""
        families = planner.settings.families
        try:
            found = self._door.read(families)
        except KernelRefused:
            self._door.preflight(families)  # it knows what a kernel lacks that cannot even list
            raise
        differs = True
        if found.tables:
            wanted = Wanted(planner.settings)
            whole = wanted.adopt((one for part in updates for one in part.new), found)
            differs = self._compare(wanted, found, whole, owing=not self._door.remembers)
        else:
            self._door.preflight(families)
            wanted = Wanted(planner.settings, hooked=False)
            load(self._door, self._renderer, wanted, updates, self._limit)
            if not self._door.remembers:
                self._debt.remade(Part(found, wanted.frame), self.plans.values())
        self._wanted = wanted
        self._warnings = planner.warnings()
        if self._door.remembers:
            plans = planner.plans.values()
            if differs:
                self._debt.changed((), plans, found)
            if self._door.first is not found:
                self._debt.changed((), plans, self._door.first)
            self._door.remembers, self._door.first = False, None

    def _compare(self, wanted: Wanted, found: Ruleset, whole: Ruleset | None = None, *, owing: bool = True) -> bool:
        """Send the difference between the ruleset that is wanted and all that the kernel has; tell if there is any.

        `whole` is the ruleset that is wanted, where somebody has it already. `owing` says that flows at frontends that
        something was missing of are to be looked at.
        """
        part = wanted.against(found, whole)
        changes = compare(*part)
        if not changes:
            return False
        if changes.structure:
            self._door.preflight(wanted.families)
        if owing:
            self._debt.remade(part, self.plans.values())
        self._send(part, changes)
        if part.records_in_doubt:
            self._send(wanted.without_stale_records(part.after, part, self._records()))
        return True

    # Services that the kernel refuses ---------------------------------------------------------------------------------

    def _leave_out(self, refusal: KernelRefused) -> str:
        """Go on without a Service that the kernel refuses even after a comparison with what it has; return which.

        Some refusals tell nothing about the object they name: memory is short, or somebody else was faster.
        """
        key = _named(refusal.source)
        if key is None or key not in self.state.services or any(one in refusal.reason for one in _INNOCENT):
            return ""
        self._left_out[key] = refusal.reason
        return str(key)


def _service(plan: ServicePlan) -> ServiceKey:
    return plan.service


def _ref(key: ServiceKey) -> ObjectRef:
    return ObjectRef(Service.KIND, *key)


def _named(source: str) -> ServiceKey | None:
    """Return the Service that a refusal names, None if it names something else."""
    kind, _, name = source.partition(" ")
    namespace, slash, rest = name.partition("/")
    return ServiceKey(namespace, rest) if kind == Service.KIND and slash else None
