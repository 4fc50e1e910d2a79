"""Bloom filter of a whole table: tells most absent keys without reading a block. Layout: FORMAT.md, "Filter".

Bits are picked from one 64-bit hash by double hashing (Kirsch and Mitzenmacher, "Less Hashing, Same Performance",
2006): probe ``i`` looks at the 32-bit number ``low + i * high``, scaled to the number of bits by a multiplication
(Lemire, "Fast Random Integer Generation in an Interval", 2019) so that no division is needed.
"""

from typing import Final

import cython
from xxhash import xxh3_64_intdigest

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.block import load_u32, load_u64
    from cython.cimports.sherd.shard.lsm.pauses import Pauses
else:
    from sherd.shard.lsm.block import load_u32, load_u64
    from sherd.shard.lsm.pauses import Pauses

_HEAD_BYTES = cython.declare(cython.Py_ssize_t, 4)  # the u32 number of probes; the bits follow
_LOW32 = cython.declare(cython.ulonglong, 0xFFFFFFFF)  # as a literal it would be a Python integer
PROBES_MAX: Final = 30
_FILTER_BITS_MAX: Final = (1 << 32) - 8


def hash_key(key: bytes) -> int:
    """The hash that filters are asked with: computed once a get, for all tables."""
    return xxh3_64_intdigest(key)


def probes_for(bits_per_key: int) -> int:
    """The number of probes with the fewest false positives: ``bits_per_key * ln 2``."""
    return max(1, min(PROBES_MAX, round(bits_per_key * 0.69)))


def build_filter(key_hashes: bytes, bits_per_key: int, pauses: Pauses | None = None) -> bytes:
    """The filter of the keys whose ``hash_key`` is in ``key_hashes``, as u64 each."""
    count: cython.Py_ssize_t = len(key_hashes) // 8
    wanted = (count * bits_per_key + 7) // 8 * 8
    size: cython.ulonglong = max(64, min(wanted, _FILTER_BITS_MAX))
    probes: cython.uint = probes_for(bits_per_key)
    bits: bytearray = bytearray(_HEAD_BYTES + size // 8)
    bits[0] = probes
    hashes: cython.p_uchar = key_hashes
    raw: cython.p_uchar = bits
    key_hash: cython.ulonglong
    probe: cython.ulonglong
    step: cython.ulonglong
    place: cython.ulonglong
    k: cython.Py_ssize_t
    _: cython.uint
    for k in range(count):
        if pauses is not None:
            pauses.spend(8)
        key_hash = load_u64(hashes, 8 * k)
        probe = key_hash & _LOW32
        step = key_hash >> 32 | 1
        for _ in range(probes):
            place = (probe * size) >> 32
            raw[_HEAD_BYTES + (place >> 3)] |= 1 << (place & 7)
            probe = (probe + step) & _LOW32
    return bytes(bits)


def check_filter(data: bytes) -> None:
    """ValueError unless ``data`` is a filter that ``may_contain`` can be asked about."""
    if len(data) < _HEAD_BYTES + 8 or len(data) - _HEAD_BYTES > _FILTER_BITS_MAX // 8:
        raise ValueError(f"a filter of {len(data)} bytes")
    if not 1 <= load_u32(data, 0) <= PROBES_MAX:
        raise ValueError(f"a filter of {load_u32(data, 0)} probes")


@cython.cfunc
def may_contain(filter: bytes, key_hash: cython.ulonglong) -> cython.bint:
    """False if no key of this hash was put into the (checked) filter."""
    if len(filter) <= _HEAD_BYTES:
        return True
    raw: cython.p_uchar = filter
    size: cython.ulonglong = (len(filter) - _HEAD_BYTES) * 8
    probe: cython.ulonglong = key_hash & _LOW32
    step: cython.ulonglong = key_hash >> 32 | 1
    place: cython.ulonglong
    _: cython.uint
    for _ in range(load_u32(raw, 0)):
        place = (probe * size) >> 32
        if not raw[_HEAD_BYTES + (place >> 3)] & (1 << (place & 7)):
            return False
        probe = (probe + step) & _LOW32
    return True


def filter_passes(filter: bytes, key_hash: int) -> bool:
    """``may_contain`` for Python callers."""
    return may_contain(filter, key_hash)
