"""The hash that nft's `jhash` expression computes, to know which address is behind a hash in a map.

Source: Bob Jenkins' lookup3, as Linux has it in include/linux/jhash.h, scaled to the modulus by multiplication.
"""

import sys

# nft takes no modulus over 2^32-1.
MODULUS = 0xFFFFFFFF
_MASK = 0xFFFFFFFF
_INITIAL = 0xDEADBEEF
_BLOCK = 12


def jhash(data: bytes, seed: int) -> int:
    """Return what `jhash DATA mod 4294967295 seed SEED` is."""
    return _lookup3(data, seed) * MODULUS >> 32


def _lookup3(data: bytes, seed: int) -> int:
    a = b = c = (_INITIAL + len(data) + seed) & _MASK
    while len(data) > _BLOCK:
        words = (int.from_bytes(data[at : at + 4], sys.byteorder) for at in (0, 4, 8))
        a, b, c = _mixed(*((one + word) & _MASK for one, word in zip((a, b, c), words, strict=True)))
        data = data[_BLOCK:]
    if not data:
        return c
    rest = data.ljust(_BLOCK, b"\0")
    words = (int.from_bytes(rest[at : at + 4], "little") for at in (0, 4, 8))
    return _final(*((one + word) & _MASK for one, word in zip((a, b, c), words, strict=True)))


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _MASK


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in (4, 6, 8, 16, 19, 4):
        a, c = ((a - c) & _MASK) ^ _rotated(c, bits), (c + b) & _MASK
        a, b, c = b, c, a
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in (14, 11, 25, 16, 4, 14, 24):
        c = ((c ^ b) - _rotated(b, bits)) & _MASK
        a, b, c = b, c, a
    return b
