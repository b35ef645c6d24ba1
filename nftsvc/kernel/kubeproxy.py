"""What kube-proxy has left on a node, in any of its modes, and its removal.

Rules that are left go on forwarding as they did at their last, so nobody notices at first; then endpoints change. A
kube-proxy that still runs makes them anew: it has to be stopped first. What belongs to the kubelet, to network plugins
or to anybody else stays as it is, and so do sysctls and tracked connections.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nftsvc.errors import KernelError
from nftsvc.kernel import foreign, ipvs, xtables
from nftsvc.kernel.ipvs import VirtualServer
from nftsvc.kernel.kubechains import Removal, is_kube_proxys, is_own, removal
from nftsvc.kernel.netlink import Request, inside
from nftsvc.ruleset import NFT_FAMILY
from nftsvc.values import FAMILIES, Family

TABLE = "kube-proxy"

_IPTABLES = ("nat", "filter", "mangle")  # where kube-proxy has chains

Teller = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Chains:
    """kube-proxy's chains in one iptables table; `legacy` says that it is iptables of the old kind."""

    family: Family
    table: str
    legacy: bool
    names: tuple[str, ...]

    @property
    def place(self) -> str:
        """Write `ip nat`, or `ip nat (iptables-legacy)`."""
        kind = f" ({xtables.PROGRAMS[self.family]}-legacy)" if self.legacy else ""
        return f"{NFT_FAMILY[self.family]} {self.table}{kind}"


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is there of kube-proxy: false if nothing is.

    `tables` are the families with a table of its nftables mode, `chains` are of its iptables and ipvs modes.
    `interface` is the number of its ipvs mode's interface, `servers` are the virtual servers there, `sets` its sets of
    addresses.
    """

    tables: tuple[Family, ...] = ()
    chains: tuple[Chains, ...] = ()
    interface: int | None = None
    servers: tuple[VirtualServer, ...] = ()
    sets: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anything is there."""
        return bool(self.words)

    @property
    def words(self) -> tuple[str, ...]:
        """Say what is there: `iptables mode: 12 chains KUBE-* in ip nat`."""
        mode = "iptables" if self.interface is None and not self.sets else "ipvs"
        things = [_counted(one.names, "chain", " KUBE-*") + f" in {one.place}" for one in self.chains]
        if self.interface is not None:
            things.append(f"interface {ipvs.INTERFACE}")
        if self.servers:
            things.append(_counted(self.servers, "virtual server"))
        if self.sets:
            things.append(_counted(self.sets, "ipset", " KUBE-*"))
        tables = (f"nftables mode: table {NFT_FAMILY[family]} {TABLE}" for family in self.tables)
        return (*tables, *(f"{mode} mode: {one}" for one in things))


def _counted(things: Sequence[object], noun: str, which: str = "") -> str:
    return f"{len(things)} {noun}{'s' * (len(things) != 1)}{which}"


def find_leftovers(namespace: Path | None = None) -> Leftovers:
    """Look for what kube-proxy has left. It needs no program, only CAP_NET_ADMIN; KernelError if the kernel refuses.

    `namespace` is the network namespace to look into, as a file; None is the calling thread's own.
    """
    try:
        return inside(namespace, _find)
    except OSError as error:
        raise KernelError(f"cannot look for what kube-proxy has left: {error.strerror or error}") from error


def _find() -> Leftovers:
    number = ipvs.interface()
    return Leftovers(
        tables=tuple(family for family in FAMILIES if TABLE in foreign.tables(family)),
        chains=tuple(one for family in FAMILIES for one in (*_nft_chains(family), *_legacy_chains(family))),
        interface=number,
        servers=ipvs.kube_proxys(ipvs.virtual_servers(), number) if number is not None else (),
        sets=ipvs.address_sets(),
    )


def _nft_chains(family: Family) -> tuple[Chains, ...]:
    listed: dict[str, list[str]] = {}
    for one in foreign.chains(family):
        if one.table in _IPTABLES:
            listed.setdefault(one.table, []).append(one.name)
    return _kube_proxys(family, listed, legacy=False)


def _legacy_chains(family: Family) -> tuple[Chains, ...]:
    in_use = [table for table in xtables.table_names(family) if table in _IPTABLES]
    return _kube_proxys(family, {table: xtables.chain_names(family, table) for table in in_use}, legacy=True)


def _kube_proxys(family: Family, listed: Mapping[str, Sequence[str]], *, legacy: bool) -> tuple[Chains, ...]:
    """Return kube-proxy's chains, if any is there that nobody else makes."""
    if not any(is_own(chain) for chains in listed.values() for chain in chains):
        return ()
    found = {table: tuple(filter(is_kube_proxys, chains)) for table, chains in listed.items()}
    return tuple(Chains(family, table, legacy, names) for table, names in sorted(found.items()) if names)


def remove_leftovers(tell: Teller, namespace: Path | None = None) -> None:
    """Remove what kube-proxy has left, and `tell` of each thing that is done, in words.

    What cannot be removed keeps nothing else from being removed. In the end KernelError names all that is left and what
    helps. Where there is nothing, nothing is done.
    """
    steps = tuple(_steps(find_leftovers(namespace)))
    failures = inside(namespace, lambda: [failure for step in steps for failure in _failures(step, tell)])
    if failures:
        raise KernelError("kube-proxy has left what could not be removed:\n  " + "\n  ".join(failures))


def _failures(step: Callable[[Teller], None], tell: Teller) -> Iterator[str]:
    """Take a step; yield what went wrong."""
    try:
        step(tell)
    except KernelError as error:
        yield str(error)


def _steps(found: Leftovers) -> Iterator[Callable[[Teller], None]]:
    if found.tables:
        yield partial(_remove_tables, found.tables)
    for family in FAMILIES:
        for legacy, remove in ((False, _remove_nft_chains), (True, _remove_legacy_chains)):
            chains = [one for one in found.chains if one.family is family and one.legacy is legacy]
            if chains:
                yield partial(remove, family, chains)
    if found.interface is not None:
        yield partial(_remove_interface, found.interface, found.servers)
    if found.sets:  # after the rules that use them
        yield partial(_remove_sets, found.sets)


def _remove_tables(families: Sequence[Family], tell: Teller) -> None:
    with _named("tables of its nftables mode"):
        foreign.commit([foreign.delete_table(family, TABLE) for family in families])
    for family in families:
        tell(f"removed table {NFT_FAMILY[family]} {TABLE}")


def _remove_nft_chains(family: Family, found: Sequence[Chains], tell: Teller) -> None:
    """Remove chains from the tables of a family, in one transaction."""
    with _named(f"chains in {NFT_FAMILY[family]} tables"):
        base: dict[str, set[str]] = {one.table: set() for one in found}
        for chain in foreign.chains(family):
            if chain.base and chain.table in base:
                base[chain.table].add(chain.name)
        removals = {one.table: removal(one.names, base[one.table], foreign.jumps(family, one.table)) for one in found}
        foreign.commit([one for table, each in removals.items() for one in _requests(family, table, each)])
    _tell_of_chains(found, removals, tell)


def _requests(family: Family, table: str, each: Removal) -> Iterator[Request]:
    for jump in each.unlink:
        yield foreign.delete_rule(family, table, jump)
    for chain in (*each.delete, *each.empty):
        yield foreign.empty_chain(family, table, chain)
    for chain in each.delete:
        yield foreign.delete_chain(family, table, chain)


def _remove_legacy_chains(family: Family, found: Sequence[Chains], tell: Teller) -> None:
    """Remove chains of iptables of the old kind; each table in one go."""
    with _named(f"chains of {xtables.PROGRAMS[family]}-legacy"):
        saved = {one.table: xtables.saved(family, one.table) for one in found}
        removals = {table: removal(*one) for table, one in saved.items()}
        xtables.remove(family, removals)
    _tell_of_chains(found, removals, tell)


def _tell_of_chains(found: Sequence[Chains], removals: Mapping[str, Removal], tell: Teller) -> None:
    """Tell what was done to chains; KernelError for those that are kube-proxy's and stay."""
    stay: list[str] = []
    for one in found:
        each = removals[one.table]
        tell(f"removed {_counted(each.delete, 'chain', ' KUBE-*')} from {one.place}")
        for chain, user in each.kept:
            if chain in each.empty:
                stay.append(f"{chain} in {one.place}: emptied, but the chain {user} leads to it")
            else:
                tell(f"left {chain} in {one.place}: the chain {user} leads to it")
    if stay:
        raise KernelError("\n  ".join(stay))


def _remove_interface(number: int, servers: Sequence[VirtualServer], tell: Teller) -> None:
    """Remove the virtual servers, and the interface once they are gone: it tells which are kube-proxy's."""
    with _named("its ipvs mode"):
        if servers:
            ipvs.remove_servers(servers)
            tell(f"removed {_counted(servers, 'virtual server')} of ipvs")
        ipvs.remove_interface(number)
    tell(f"removed interface {ipvs.INTERFACE}")


def _remove_sets(sets: Sequence[str], tell: Teller) -> None:
    with _named("ipsets KUBE-*"):
        ipvs.remove_sets(sets)
    tell(f"removed {_counted(sets, 'ipset', ' KUBE-*')}")


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Say what it was that could not be removed."""
    try:
        yield
    except KernelError as error:
        raise KernelError(f"{what}: {error}") from error
    except OSError as error:
        raise KernelError(f"{what}: {error.strerror or error}") from error
