"""The way to the kernel's tables: read them back, run a transaction.

One worker thread owns the libnftables context and, where asked to, lives in another network namespace. Only nftsvc's
own tables are ever listed.
"""

from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from nftsvc.errors import KernelRefused
from nftsvc.kernel.context import Context, Refusal
from nftsvc.kernel.listing import parse_table
from nftsvc.kernel.monitor import Monitor
from nftsvc.kernel.namespaces import enter
from nftsvc.kernel.preflight import missing_feature
from nftsvc.render import Script
from nftsvc.ruleset import NFT_FAMILY, TABLE, Ruleset, Table
from nftsvc.values import FAMILIES, Family


class Kernel:
    """nftables in one network namespace: this process's own, or the one that `namespace` (a file) names.

    Safe to call from any thread. Every method may raise KernelUnavailable.
    """

    def __init__(self, namespace: Path | None = None) -> None:
        self._namespace = namespace
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nftables")
        self._context: Context | None = None

    def __enter__(self) -> Self:
        """Use the kernel for a while."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the worker thread."""
        self.close()

    def close(self) -> None:
        """End the worker thread; what is in the kernel stays."""
        self._worker.shutdown()

    def read(self, families: Iterable[Family] = FAMILIES) -> Ruleset:
        """Return nftsvc's tables as the kernel has them; a family without one is not in the result."""
        return self._worker.submit(self._read, tuple(families)).result()

    def read_sets(self, names: Mapping[Family, Collection[str]]) -> Ruleset:
        """Return some sets and maps as the kernel has them, without their tables' chains; absent ones are left out."""
        return self._worker.submit(self._read_sets, names).result()

    def run(self, script: Script) -> None:
        """Run one transaction: all of it or, with KernelRefused, none. The error names the object that was refused."""
        self._worker.submit(self._run, script).result()

    def present(self) -> tuple[Family, ...]:
        """Return the families that have a table of ours, whatever is in it."""
        return self._worker.submit(
            lambda: tuple(family for family in FAMILIES if self._list(family) is not None)
        ).result()

    def preflight(self, families: tuple[Family, ...] = FAMILIES) -> None:
        """Raise FeatureMissing if this kernel or this nft lacks something that rulesets need. Leaves nothing behind."""
        wanted = tuple(NFT_FAMILY[family] for family in families)
        self._worker.submit(lambda: missing_feature(self._open(), families=wanted)).result()

    def identify(self, monitor: Monitor) -> None:
        """Let a monitor learn which transactions are this one's. KernelError if it cannot.

        To be called before anything else reads the monitor, and again for a monitor made later. The worker thread stays
        the same until `close`.
        """
        self._worker.submit(lambda: monitor.introduce(self._open().run)).result()

    def _list(self, family: Family) -> str | None:
        return self._open().list_table(NFT_FAMILY[family], TABLE)

    def _open(self) -> Context:
        if self._context is None:
            if self._namespace is not None:
                enter(self._namespace)
            self._context = Context()
        return self._context

    def _read(self, families: tuple[Family, ...]) -> Ruleset:
        listed = {family: self._list(family) for family in families}
        return Ruleset({family: parse_table(text, family) for family, text in listed.items() if text is not None})

    def _read_sets(self, names: Mapping[Family, Collection[str]]) -> Ruleset:
        tables: dict[Family, Table] = {}
        for family, group in names.items():
            listed = [self._open().list_set(NFT_FAMILY[family], TABLE, name) for name in sorted(group)]
            parts = [parse_table(text, family) for text in listed if text is not None]
            elements = {name: entries for part in parts for name, entries in part.elements.items()}
            tables[family] = Table(family, tuple(one for part in parts for one in part.sets), (), elements)
        return Ruleset(tables)

    def _run(self, script: Script) -> None:
        try:
            self._open().run(script.text)
        except Refusal as refusal:
            raise KernelRefused(refusal.reason, refusal.line, script.source(refusal.number)) from refusal
