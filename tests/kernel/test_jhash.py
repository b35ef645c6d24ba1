"""Our jhash against the kernel's: it hashes the destinations of packets, we hash the same bytes."""

import hashlib
import ipaddress
import json
import socket
import subprocess
from collections.abc import Iterable, Iterator

import pytest

from nftsvc.lab import Namespace, namespaces
from nftsvc.ruleset.jhash import MODULUS, jhash
from nftsvc.ruleset.records import hashed_address

SEEDS = (1, 2, 0, 4294967295)
SOURCE, SOURCE_6 = "192.0.2.11", "2001:db8::11"
PORT = 4711

EDGES_6 = ("::2", "100::", "2001:db8::", "fd00:96::a", "fd00:96::ffff", "fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
EDGES = ("10.0.0.0", "10.96.0.1", "100.64.0.1", "203.0.113.255", "223.255.255.255")


def drawn(count: int, six: bool) -> list[str]:
    """Return addresses that look random and are the same in every run; packets can be sent to all of them."""
    digests = [hashlib.sha256(f"{six} {number}".encode()).digest() for number in range(count)]
    if six:
        return [str(ipaddress.IPv6Address(bytes([0x20 + digest[0] % 32]) + digest[1:16])) for digest in digests]
    return [str(ipaddress.IPv4Address(bytes([11 + digest[0] % 100]) + digest[1:4])) for digest in digests]


ADDRESSES_6 = (*EDGES_6, *drawn(48, six=True))
ADDRESSES = (*EDGES, *drawn(24, six=False))


def table(family: str) -> str:
    """Return a table that notes what the kernel makes of the packets sent here, for every hashed text and seed."""
    address = "ipv6_addr" if family == "ip6" else "ipv4_addr"
    sets, rules = "", ""
    for number, text in enumerate(hashed_texts(family)):
        for seed in SEEDS:
            name = f"h{number}-{seed}"
            sets += f"set {name} {{ type {address} . mark; size 1024; flags dynamic; }}\n"
            rules += f"meta mark set jhash {text} mod {MODULUS} seed {seed} "
            rules += f"update @{name} {{ {family} daddr . meta mark }}\n"
    chain = "type filter hook output priority 0; policy accept;\n"
    chain += f"meta l4proto != udp accept\nudp dport != {PORT} accept\n"
    return f"table {family} hashes {{\n{sets}chain c {{\n{chain}{rules}}}\n}}\n"


def hashed_texts(family: str) -> tuple[str, ...]:
    """Return expressions of one, two and more steps of the hash: 4, 8 and 12 bytes, or 16 and 32."""
    if family == "ip6":
        return ("ip6 daddr", "ip6 saddr . ip6 daddr")
    return ("ip daddr", "ip saddr . ip daddr", "ip saddr . ip daddr . udp dport")


def hashed_bytes(family: str, destination: str) -> tuple[bytes, ...]:
    """Return the bytes that those stand for."""
    there = ipaddress.ip_address(destination).packed
    if family == "ip6":
        return (there, ipaddress.ip_address(SOURCE_6).packed + there)
    both = ipaddress.ip_address(SOURCE).packed + there
    return (there, both, both + PORT.to_bytes(2, "big") + bytes(2))


@pytest.fixture(scope="module")
def namespace() -> Iterator[Namespace]:
    with namespaces("jhash") as (made,):
        made.configure(
            f"address add {SOURCE}/32 dev lo",
            f"route add default dev lo src {SOURCE}",
            f"address add {SOURCE_6}/128 dev lo nodad",
            f"route add ::/0 dev lo src {SOURCE_6}",
        )
        yield made


def nft(namespace: Namespace, *arguments: str, text: str = "") -> str:
    command = ["ip", "netns", "exec", namespace.name, "nft", *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def send(namespace: Namespace, family: str, addresses: Iterable[str]) -> None:
    def work() -> None:
        kind, source = (socket.AF_INET6, SOURCE_6) if family == "ip6" else (socket.AF_INET, SOURCE)
        with socket.socket(kind, socket.SOCK_DGRAM) as sender:
            sender.bind((source, 0))
            for address in addresses:
                sender.sendto(b"", (address, PORT))

    namespace.call(work)


def noted(namespace: Namespace, family: str) -> dict[tuple[str, str], int]:
    """Return the kernel's hashes by set and address."""
    listed = json.loads(nft(namespace, "-j", "list", "table", family, "hashes"))["nftables"]
    found: dict[tuple[str, str], int] = {}
    for one in listed:
        for element in one.get("set", {}).get("elem", ()):
            address, number = element.get("elem", {}).get("val", element)["concat"]
            found[one["set"]["name"], address] = int(number)
    return found


@pytest.mark.parametrize(("family", "addresses"), [("ip", ADDRESSES), ("ip6", ADDRESSES_6)])
def test_we_hash_as_the_kernel_does(family: str, addresses: tuple[str, ...], namespace: Namespace) -> None:
    nft(namespace, "-f", "-", text=f"table {family} hashes\ndelete table {family} hashes\n{table(family)}")
    send(namespace, family, addresses)
    ours = {
        (f"h{number}-{seed}", address): jhash(data, seed)
        for address in addresses
        for number, data in enumerate(hashed_bytes(family, address))
        for seed in SEEDS
    }
    assert noted(namespace, family) == ours


def test_what_records_have_in_place_of_an_address_is_what_the_kernel_writes(namespace: Namespace) -> None:
    nft(namespace, "-f", "-", text=f"table ip6 hashes\ndelete table ip6 hashes\n{table('ip6')}")
    send(namespace, "ip6", ADDRESSES_6)
    found = noted(namespace, "ip6")
    written = {address: (found["h0-1", address], found["h0-2", address]) for address in ADDRESSES_6}
    assert written == {address: hashed_address(address) for address in ADDRESSES_6}
