"""The hash that stands for IPv6 addresses in records of affinity, against numbers that a kernel (6.18) computed.

`tests/kernel/test_jhash.py` asks the kernel that the tests run on.
"""

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nftsvc.ruleset.jhash import MODULUS, jhash
from nftsvc.ruleset.records import hashed_address

# An address, and its hashes with the seeds 1 and 2.
ADDRESSES = (
    ("::2", 1347518929, 2039050431),
    ("100::", 3048939768, 3990126761),
    ("2001:db8::", 2684271278, 1516767147),
    ("fd00:96::a", 579642369, 4260398962),
    ("fd00:96::ffff", 3539447638, 2086429327),
    ("fcff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 2429606225, 4062069228),
    ("2127:cdb4:7d29:ab75:8ccd:dbe7:7a5e:11dc", 684950206, 3469357364),
    ("362f:7d3e:769d:e91b:b927:a62d:f7ed:3555", 3574825182, 260474254),
    ("34ad:5de0:1428:ab83:13d7:e5bf:54a:f87", 685024182, 333237488),
    ("3b56:606a:1ccb:b052:8aef:b090:aec5:8b72", 3648342980, 1482183227),
    ("2a02:a898:2d89:c9f3:1cc:3768:b7c7:4f09", 945980094, 1021677388),
    ("2459:98c3:5be9:797b:3c44:a041:7864:d58d", 1042354426, 68052464),
    ("3bbb:a989:7391:1c0b:8277:9522:2bd1:a958", 3173806661, 3439253283),
    ("21d1:d19a:9be6:467e:a786:7586:79d5:b1b7", 4209266446, 119070508),
    ("371d:687b:5f66:cc2b:c538:cb76:9720:e963", 4087069925, 2740094152),
    ("2359:f9c4:c2d3:70c:b94c:adce:199c:7bba", 1792168726, 2052943492),
    ("2c7b:719a:7a7c:7546:f937:905d:ec50:5ceb", 376728379, 3942238478),
    ("3038:b4fc:8591:b162:6935:c629:db6c:ea4e", 2442227474, 3458900729),
    ("2a80:76df:440e:a03d:38e6:1ab5:2fd1:857b", 3515785487, 1597049013),
    ("2ad9:f8aa:f196:36fb:f7a0:4271:e42a:5aa2", 1126234213, 3465661025),
    ("30ef:e54c:c17a:e13f:c7e:ae68:5c89:f313", 3421207635, 1934807528),
    ("2fd3:83ef:3c4d:7238:8a01:61ce:b4f9:c187", 1442010249, 1077779271),
    ("2c7f:b5ee:d842:f6a7:8c1a:ad62:5e67:6324", 358599178, 712576917),
    ("2488:ef55:6ae6:bb65:ca26:1cc9:d80d:494f", 810821108, 1080668074),
    ("3c92:6fa6:fe82:a447:4da3:f6b:fd5d:e09", 470277049, 630668166),
    ("2133:2832:3cb0:45a7:776:a13e:ade9:4093", 3158153025, 2826403358),
    ("27da:f81e:6afa:365d:c84c:6c47:f9e0:24ba", 3309200385, 3575146215),
    ("2ea6:76f0:beef:a7ce:f972:c8c6:b93e:2fa5", 900094133, 2530497975),
    ("2bcd:4574:9643:545d:8a48:3358:6037:3697", 516693072, 1034962747),
    ("38f7:ec79:ae00:d720:319e:3c09:522b:461f", 826138361, 2907441370),
    ("2f93:39af:b799:d8be:c9d3:1bc1:f170:9fd8", 2071125819, 756721293),
    ("3b40:2d23:198e:58db:bb4e:4471:d439:a1a0", 101067901, 2570675965),
    ("2530:29d9:84b7:4e69:7dc2:825d:43ab:38eb", 1856310723, 3765461251),
    ("2225:4267:a293:bb51:e46b:2e19:ebec:bc23", 511251432, 2593368672),
    ("2f1e:be3b:2a24:2810:5c8f:834e:f59b:1240", 3911481897, 2274266005),
    ("35ef:596a:dcf3:a346:f764:db09:6b16:1f3b", 250310845, 1286565634),
)

# Bytes, a seed, the hash: 4, 8, 12 and 32 bytes, so that each number of rounds and each end of the data occurs.
BYTES = (
    ("0a000000", 1, 32529952),
    ("0a000000", 2, 2184239324),
    ("0a000000", 0, 1030482288),
    ("0a000000", 4294967295, 3770663149),
    ("c000020b0a000000", 1, 359874899),
    ("c000020b0a000000", 2, 4110955532),
    ("c000020b0a000000", 0, 1043441000),
    ("c000020b0a000000", 4294967295, 2074063288),
    ("c000020b0a00000012670000", 1, 3027640480),
    ("c000020b0a00000012670000", 2, 247636118),
    ("c000020b0a00000012670000", 0, 1561745704),
    ("c000020b0a00000012670000", 4294967295, 2715893165),
    ("0a600001", 1, 1811648755),
    ("0a600001", 2, 1016209762),
    ("0a600001", 0, 1422821975),
    ("0a600001", 4294967295, 968347958),
    ("c000020b0a600001", 1, 1330945781),
    ("c000020b0a600001", 2, 1831022952),
    ("c000020b0a600001", 0, 424329419),
    ("c000020b0a600001", 4294967295, 3689451357),
    ("c000020b0a60000112670000", 1, 1791524157),
    ("c000020b0a60000112670000", 2, 151669347),
    ("c000020b0a60000112670000", 0, 3101024268),
    ("c000020b0a60000112670000", 4294967295, 2935599175),
    ("20010db800000000000000000000001100000000000000000000000000000002", 1, 3985908061),
    ("20010db800000000000000000000001100000000000000000000000000000002", 2, 3992588339),
    ("20010db800000000000000000000001100000000000000000000000000000002", 0, 3354638066),
    ("20010db800000000000000000000001100000000000000000000000000000002", 4294967295, 1779444943),
    ("20010db800000000000000000000001101000000000000000000000000000000", 1, 3220371594),
    ("20010db800000000000000000000001101000000000000000000000000000000", 2, 2771555013),
    ("20010db800000000000000000000001101000000000000000000000000000000", 0, 3288736585),
    ("20010db800000000000000000000001101000000000000000000000000000000", 4294967295, 3609219248),
)


@pytest.mark.parametrize(("address", "first", "second"), ADDRESSES)
def test_an_address_has_the_kernels_hashes(address: str, first: int, second: int) -> None:
    packed = ipaddress.IPv6Address(address).packed
    assert (jhash(packed, 1), jhash(packed, 2)) == hashed_address(address) == (first, second)


@pytest.mark.parametrize(("data", "seed", "expected"), BYTES)
def test_bytes_of_any_length_have_the_kernels_hash(data: str, seed: int, expected: int) -> None:
    assert jhash(bytes.fromhex(data), seed) == expected


def test_nothing_has_a_hash_that_depends_on_the_seed_alone() -> None:
    """The initial value of lookup3 plus the seed, scaled to the modulus."""
    assert jhash(b"", 0) == 0xDEADBEEF * MODULUS >> 32
    assert jhash(b"", 0xFFFFFFFF) == 0xDEADBEEE * MODULUS >> 32


@given(st.binary(max_size=64), st.integers(0, 0xFFFFFFFF))
@settings(max_examples=300, derandomize=True, deadline=None)
def test_a_hash_is_below_the_modulus(data: bytes, seed: int) -> None:
    assert 0 <= jhash(data, seed) < MODULUS


def test_addresses_that_differ_in_one_bit_have_different_hashes() -> None:
    base = int(ipaddress.IPv6Address("fd00:96::a"))
    near = [str(ipaddress.IPv6Address(base ^ 1 << bit)) for bit in range(128)]
    assert len({hashed_address(one) for one in near}) == len(near)


def test_spellings_of_one_address_have_one_hash() -> None:
    assert hashed_address("FD00:0096:0:0:0:0:0:A") == hashed_address("fd00:96::a")
