"""Our tables as the kernel has them, read through netlink, in the network namespace of the calling thread.

libnftables is no way to read them: it starts anew whenever anybody changes any table of the namespace meanwhile, and
with ten thousand Services and a few foreign transactions a second it never comes to an end.

Here each set is read on its own, and again if there was a transaction meanwhile; after some times what was read last is
good enough. A transaction that leaves our table alone changes neither the elements nor the order they are listed in,
and one that does not is what the Monitor reports: the agent reads the set again. Elements come twice or are left out
only where the set itself changes: by packets (session affinity), or as the kernel rearranges one that has just grown.
"""

import errno
import os
from collections.abc import Collection, Mapping

from nftsvc.errors import KernelRefused
from nftsvc.kernel.datatypes import Undecodable
from nftsvc.kernel.elements import Declared, counted, entries
from nftsvc.kernel.netlink import NETFILTER, Message, Socket, attribute, name, netfilter_header
from nftsvc.kernel.notifications import NFTABLES
from nftsvc.kernel.structure import chains, table_flags
from nftsvc.ruleset import NFT_FAMILY, TABLE, Elements, Key, Ruleset, Table
from nftsvc.values import FAMILIES, Family

_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET, _GET_ELEMENT = (NFTABLES << 8 | kind for kind in (1, 4, 7, 10, 13))
_OF_TABLE = attribute(1, name(TABLE))  # in every message
_SET_OF_ELEMENTS = 2
_TIMES = 5

# Of struct nfgenmsg: the lower half of the ruleset's generation, which each transaction makes a new one. It is looked
# at because the kernel (6.18) does not tell of a dump of elements that it was interrupted (NLM_F_DUMP_INTR).
_GENERATION = slice(2, 4)


def read(families: Collection[Family]) -> Ruleset:
    """Return our tables of some families; a family without one is not in the result.

    What we would not have made makes the table one that we would not want: a set with elements that none of ours can
    have is read as an empty one, and told among the table's flags. KernelRefused if the kernel does not tell.
    """
    with Socket(NETFILTER) as asked:
        found = {family: _table(asked, family) for family in families}
    return Ruleset({family: one for family, one in found.items() if one is not None})


def read_sets(names: Mapping[Family, Collection[str]]) -> Ruleset:
    """Return some sets and maps of our tables, without chains. Left out are those that are not there or not like ours.

    KernelRefused if the kernel does not tell.
    """
    found: dict[Family, Table] = {}
    with Socket(NETFILTER) as asked:
        for family, group in names.items():
            declared = [one for one in _declared(asked, family) or () if one.name in group]
            elements = {one.name: _entries(asked, family, one) for one in declared}
            known = {name: listed for name, listed in elements.items() if listed is not None}
            found[family] = Table(family, tuple(one.named for one in declared if one.name in known), (), known)
    return Ruleset(found)


def counters(names: Mapping[Family, Collection[str]]) -> dict[Family, dict[str, dict[Key, int]]]:
    """Return how many packets have met each element of some maps that count them; KernelRefused as for `read`."""
    found: dict[Family, dict[str, dict[Key, int]]] = {}
    with Socket(NETFILTER) as asked:
        for family, group in names.items():
            found[family] = {}
            for one in _declared(asked, family) or ():
                listed = _elements(asked, family, one) if one.name in group else None
                if listed is not None:
                    found[family][one.name] = _counted(one, listed)
    return found


def present() -> tuple[Family, ...]:
    """Return the families that have a table of ours, whatever is in it; KernelRefused as for `read`."""
    with Socket(NETFILTER) as asked:
        return tuple(family for family in FAMILIES if _flags(asked, family) is not None)


def _table(asked: Socket, family: Family) -> Table | None:
    flags = _flags(asked, family)
    declared = _declared(asked, family)
    if flags is None or declared is None:
        return None
    sets = [one for one in declared if not one.anonymous]
    found = _dump(asked, _GET_CHAIN, family)
    rules = _dump(asked, _GET_RULE, family, _OF_TABLE)
    # `{ tcp, udp }` in a rule is a set whose name tells nothing; a map there leads somewhere, and none of ours does.
    looked_into = {one.name for one in declared if one.is_map or not one.anonymous}
    made = chains(found or (), rules or (), TABLE, looked_into)
    elements = {one.name: _entries(asked, family, one) for one in sets}
    odd = tuple(f"odd set {name}" for name, listed in elements.items() if listed is None)
    known = {name: listed or {} for name, listed in elements.items()}
    return Table(family, tuple(one.named for one in sets), made, known, (*flags, *odd))


def _flags(asked: Socket, family: Family) -> tuple[str, ...] | None:
    return table_flags(_dump(asked, _GET_TABLE, family) or (), TABLE)


def _declared(asked: Socket, family: Family) -> list[Declared] | None:
    """Return the sets of our table, those of rules among them; None if there is no table."""
    found = _dump(asked, _GET_SET, family, _OF_TABLE)
    return None if found is None else list({one.name: one for one in map(Declared.of, found)}.values())


def _entries(asked: Socket, family: Family, declared: Declared) -> Elements | None:
    """Return the elements of a set; None if it is gone, or has such as no set of ours has."""
    found = _elements(asked, family, declared)
    try:
        return None if found is None else entries(declared, found)
    except Undecodable:
        return None


def _counted(declared: Declared, found: list[Message]) -> dict[Key, int]:
    try:
        return counted(declared, found)
    except Undecodable:
        return {}


def _elements(asked: Socket, family: Family, declared: Declared) -> list[Message] | None:
    return _dump(asked, _GET_ELEMENT, family, _OF_TABLE + attribute(_SET_OF_ELEMENTS, name(declared.name)))


def _dump(asked: Socket, kind: int, family: Family, wanted: bytes = b"") -> list[Message] | None:
    """Return what there is of something, read again a few times if anything changed; None if there is no such thing.

    Nothing is looked into before all of it has come, which keeps the time short in which something can change.
    """
    found: list[Message] = []
    for _ in range(_TIMES):
        found = []
        try:
            for message in asked.dump(kind, netfilter_header(family) + wanted):
                found.append(message)  # one by one, to have them also where the end is InterruptedError
        except InterruptedError:
            continue
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise KernelRefused(f"cannot read table {NFT_FAMILY[family]} {TABLE}: {_reason(error)}") from error
        if len({message.body[_GENERATION] for message in found}) <= 1:
            break
    return found


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
