"""Values that can be checked: each tells which key it was put under; otherwise random, so that it won't compress.

A value is 8 bytes that only its key's number gives, 4 bytes (big-endian) that say where in a pool of random bytes the
rest was cut out, and that rest; a value shorter than 12 bytes is the beginning of such a one. The pool is the same in
every run, so that one run can check what another put.
"""

import random

import cython

if cython.compiled:
    from cython.cimports.cpython.bytes import PyBytes_AS_STRING
    from cython.cimports.libc.string import memcmp
    from cython.cimports.sherd.cli.bench.outgoing import Outgoing
    from cython.cimports.sherd.cli.bench.random_source import RandomSource, mix64
    from cython.cimports.sherd.cli.bench.value_sizes import ValueSizes
    from cython.cimports.sherd.common.wire.primitives import big_endian
else:
    from sherd.cli.bench.outgoing import Outgoing
    from sherd.cli.bench.random_source import RandomSource, mix64
    from sherd.cli.bench.value_sizes import ValueSizes
    from sherd.common.wire.primitives import big_endian

POOL_BYTES_MIN = 1 << 20
POOL_SEED = 20
HEAD_BYTES = 12

_HEAD_BYTES = cython.declare(cython.Py_ssize_t, HEAD_BYTES)


@cython.final
@cython.cclass
class Values:
    """Makes and checks values of the given sizes."""

    def __init__(self, sizes: ValueSizes, source: RandomSource) -> None:
        self.sizes = sizes
        self._random = source
        # Larger pools begin with the same bytes as smaller ones.
        self._pool = random.Random(POOL_SEED).randbytes(max(POOL_BYTES_MIN, 2 * sizes.high))

    @cython.cfunc
    @cython.exceptval(-1)
    def draw_size(self) -> cython.Py_ssize_t:
        """The size of the next value."""
        return self.sizes.draw(self._random)

    @cython.cfunc
    def append(self, out: Outgoing, number: cython.ulonglong, size: cython.Py_ssize_t) -> None:
        """Append a value of ``size`` bytes for key ``number``; room for ``size`` + 12 is reserved."""
        body: cython.Py_ssize_t = size - _HEAD_BYTES
        start: cython.Py_ssize_t = cython.cast(cython.Py_ssize_t, self._random.below(len(self._pool) - max(body, 0)))
        out.put_big(mix64(number), 8)
        out.put_big(start, 4)
        if body > 0:
            out.put_range(self._pool, start, start + body)
        else:
            out.used += body

    @cython.cfunc
    @cython.exceptval(-1)
    def check(
        self, data: bytes, start: cython.Py_ssize_t, end: cython.Py_ssize_t, number: cython.ulonglong
    ) -> cython.int:
        """Whether ``data[start:end]`` is a value that a put of key ``number`` can have written, of a size in use."""
        size: cython.Py_ssize_t = end - start
        if size < self.sizes.low or size > self.sizes.high or start < 0 or end > len(data):
            return 0
        known: cython.int = cython.cast(cython.int, min(size, 8))
        if known and big_endian(data, start, known) != mix64(number) >> (64 - 8 * known):
            return 0
        body: cython.Py_ssize_t = size - _HEAD_BYTES
        if body <= 0:
            return 1
        cut: cython.Py_ssize_t = cython.cast(cython.Py_ssize_t, big_endian(data, start + 8, 4))
        if cut > len(self._pool) - body:
            return 0
        if cython.compiled:
            return memcmp(PyBytes_AS_STRING(data) + start + 12, PyBytes_AS_STRING(self._pool) + cut, body) == 0
        else:
            return data[start + HEAD_BYTES : end] == self._pool[cut : cut + body]
