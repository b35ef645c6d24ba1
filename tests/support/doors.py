"""A door to nftables in memory, which counts, refuses and is meddled with on demand."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from nftsvc.errors import KernelRefused
from nftsvc.render import Script
from nftsvc.ruleset import EMPTY, Ruleset
from nftsvc.values import FAMILIES, Family
from tests.support.model import Model


class ModelDoor:
    """What `nftsvc.kernel.Kernel` is to the sync, in memory.

    A change that does not fit is a failure of the test, but a refusal once somebody has `meddled` with the tables.
    `refuse` decides about each script, and returns what the refused line was made from; `reads` counts whole readings.
    """

    def __init__(self, start: Ruleset = EMPTY) -> None:
        self.model = Model(start)
        self.scripts: list[Script] = []
        self.refuse: Callable[[Script], str | None] = lambda _: None
        self.reads = 0
        self.reason = "no"
        self.meddled = False

    def present(self) -> tuple[Family, ...]:
        return tuple(self.model.ruleset().tables)

    def read(self, families: tuple[Family, ...] = FAMILIES) -> Ruleset:
        self.reads += 1
        return Ruleset({family: one for family, one in self.model.ruleset().tables.items() if family in families})

    def read_sets(self, names: Mapping[Family, Collection[str]]) -> Ruleset:
        return Ruleset(
            {
                family: replace(one, elements={name: found for name, found in one.elements.items() if name in wanted})
                for family, one in self.model.ruleset().tables.items()
                if (wanted := names.get(family)) is not None
            }
        )

    def begin(self, script: Script) -> Callable[[], int]:
        source = self.refuse(script)
        if source is not None:
            raise KernelRefused(self.reason, "", source)
        tried = Model(self.model.ruleset())
        try:
            tried.run([script.operations])
        except (AssertionError, KeyError) as error:
            if not self.meddled:
                raise
            raise KernelRefused(str(error)) from error
        self.model = tried
        self.scripts.append(script)
        return lambda: len(script.text)

    def preflight(self, families: tuple[Family, ...] = FAMILIES) -> None:
        pass
