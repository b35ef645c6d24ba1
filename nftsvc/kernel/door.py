"""The way to the kernel's tables: read them back, run a transaction.

A libnftables context belongs to one thread. So there is a worker thread for all that must not overlap, and one for
counters, which nobody should wait for; where asked to, they live in another network namespace. Only nftsvc's own tables
are ever listed.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from nftsvc.errors import KernelRefused
from nftsvc.kernel import tables
from nftsvc.kernel.context import Context, Refusal
from nftsvc.kernel.monitor import Monitor
from nftsvc.kernel.namespaces import enter
from nftsvc.kernel.netlink import NETFILTER, Malformed, Request, Socket
from nftsvc.kernel.preflight import missing_feature
from nftsvc.kernel.writing import element_requests, run_transaction, size_of
from nftsvc.render import Script
from nftsvc.ruleset import NFT_FAMILY, Key, Ruleset
from nftsvc.values import FAMILIES, Family

_log = logging.getLogger(__name__)
_Result = TypeVar("_Result")


class _Worker:
    """A thread with a libnftables context of its own, made when it is first needed."""

    def __init__(self, namespace: Path | None, name: str) -> None:
        self._namespace = namespace
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._context: Context | None = None

    def do(self, work: Callable[[Context], _Result]) -> _Result:
        """Have something done on the thread and return what comes of it."""
        return self.begin(work).result()

    def begin(self, work: Callable[[Context], _Result]) -> "Future[_Result]":
        """Have something done on the thread."""
        return self._thread.submit(lambda: work(self._open()))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def _open(self) -> Context:
        if self._context is None:
            if self._namespace is not None:
                enter(self._namespace)
            self._context = Context()
        return self._context


class Kernel:
    """nftables in one network namespace: this process's own, or the one that `namespace` (a file) names.

    Safe to call from any thread. Every method may raise KernelUnavailable.
    """

    def __init__(self, namespace: Path | None = None) -> None:
        self._worker = _Worker(namespace, "nftables")
        self._counter = _Worker(namespace, "counters")
        self._socket: Socket | None = None  # of the worker's thread
        self._told = False

    def __enter__(self) -> Self:
        """Use the kernel for a while."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the threads."""
        self.close()

    def close(self) -> None:
        """End the worker threads; what is in the kernel stays."""
        self._worker.close()
        self._counter.close()
        self._close_socket()

    def read(self, families: Iterable[Family] = FAMILIES) -> Ruleset:
        """Return nftsvc's tables as the kernel has them; a family without one is not in the result."""
        wanted = tuple(families)
        return self._worker.do(lambda _: tables.read(wanted))

    def read_sets(self, names: Mapping[Family, Collection[str]]) -> Ruleset:
        """Return some sets and maps as the kernel has them, without their tables' chains; absent ones are left out."""
        return self._worker.do(lambda _: tables.read_sets(names))

    def counters(self, names: Mapping[Family, Collection[str]]) -> Mapping[Family, Mapping[str, Mapping[Key, int]]]:
        """Return how many packets have met each element of some maps that count them.

        Waits for none of the other methods, and none of them for it.
        """
        return self._counter.do(lambda _: tables.counters(names))

    def begin(self, script: Script) -> Callable[[], int]:
        """Begin to run one transaction and return what waits for its end, and returns the bytes that were sent.

        It takes effect as a whole or, with KernelRefused, not at all. The error names the object that was refused.
        """
        requests = None if script.verbatim else element_requests(script.operations)
        if requests is not None:
            return self._worker.begin(lambda context: self._send(context, requests, script)).result
        text = script.text  # written here, while the worker is busy with the transaction before
        return self._worker.begin(lambda context: _run(context, text, script)).result

    def run(self, script: Script) -> None:
        """Run one transaction to its end; raises what `begin` does."""
        self.begin(script)()

    def present(self) -> tuple[Family, ...]:
        """Return the families that have a table of ours, whatever is in it."""
        return self._worker.do(lambda _: tables.present())

    def preflight(self, families: tuple[Family, ...] = FAMILIES) -> None:
        """Raise FeatureMissing if this kernel or this nft lacks something that rulesets need. Leaves nothing behind."""
        wanted = tuple(NFT_FAMILY[family] for family in families)
        self._worker.do(lambda context: missing_feature(context, families=wanted))

    def _send(self, context: Context, requests: Sequence[Request], script: Script) -> int:
        """Send messages and return their size; where they are refused nft is asked, which can say what is wrong."""
        try:
            if self._socket is None:
                self._socket = Socket(NETFILTER)
            run_transaction(self._socket, requests)
        except (OSError, Malformed) as error:
            self._close_socket()
            size = _run(context, script.text, script)
            if not self._told:
                self._told = True
                _log.info("messages were refused that nft had no difficulty with, which takes longer: %s", error)
            return size
        return size_of(requests)

    def _close_socket(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def identify(self, monitor: Monitor) -> None:
        """Let a monitor learn which transactions are this one's. KernelError if it cannot.

        To be called before anything else reads the monitor, and again for a monitor made later. The worker thread stays
        the same until `close`.
        """
        self._worker.do(lambda context: monitor.introduce(context.run))


def _run(context: Context, text: str, script: Script) -> int:
    """Run nft commands and return their size."""
    try:
        context.run(text)
    except Refusal as refusal:
        raise KernelRefused(refusal.reason, refusal.line, script.source(refusal.number)) from refusal
    return len(text)
