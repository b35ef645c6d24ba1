"""Which Service an element serves.

In: the elements of a table. Out: a Service, "" for what several may need. The comment of a verdict says whose its
frontend is, and all other elements of a Service have a frontend in their keys.
"""

from collections.abc import Callable, Mapping
from functools import cached_property

from nftsvc.ruleset.elements import UNCUT_BYTES
from nftsvc.ruleset.names import BY_ADDRESS, CLUSTER_IPS, POOL_OF_MAP, frontend_key
from nftsvc.ruleset.objects import Elements, Key


class Owners:
    """The Services behind the elements of a table, before a change and after it; found out when somebody asks."""

    def __init__(self, *tables: Mapping[str, Elements]) -> None:
        self._tables = tables

    def within(self, name: str) -> Callable[[Key], str]:
        """Return what says whom the elements of a set serve: `namespace/name`, "" for many."""
        owners = self._by_frontend
        if name == CLUSTER_IPS:
            return lambda key: owners.get(key, "")
        pool = POOL_OF_MAP.get(name)
        if pool is not None:
            protocol = pool.protocol
            if pool.way is BY_ADDRESS:
                return lambda key: owners.get((key[0], protocol, key[1]), "")
            return lambda key: owners.get((protocol, key[0]), "")
        return lambda key: owners.get(frontend, "") if (frontend := frontend_key(name, key)) is not None else ""

    @cached_property
    def _by_frontend(self) -> dict[Key, str]:
        """The Service behind each frontend, less the port, and behind each cluster IP.

        Of names so long that comments are cut only the part counts that no cut takes away.
        """
        owners: dict[Key, str] = {}
        for table in self._tables:
            for entries in table.values():
                for key, entry in entries.items():
                    if entry.comment:
                        owners[key] = owners[key[:1]] = entry.comment[:UNCUT_BYTES].partition(":")[0]
        return owners
