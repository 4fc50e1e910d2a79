"""One connection's end of a protocol: requests into bytes, bytes into replies, replies into verdicts.

``feed`` takes what was received; ``next`` finds the next whole reply and says which slot it answers; ``judge`` checks
that reply and says what it is. What a reply held is added to ``rows``, ``keys`` and ``missing``, which their owner
resets.
"""

import cython

from sherd.cli.bench.outgoing import KEY_BYTES

if cython.compiled:
    from cython.cimports.sherd.cli.bench.outgoing import Outgoing
    from cython.cimports.sherd.cli.bench.slots import Slots
    from cython.cimports.sherd.cli.bench.values import Values
else:
    from sherd.cli.bench.outgoing import Outgoing
    from sherd.cli.bench.slots import Slots
    from sherd.cli.bench.values import Values

GOOD, MORE, BAD = 0, 1, 2
"""Verdicts: the answer is right; it is, and the rest has to be asked for in the same slot; it is wrong or an error."""

_KEY_BYTES = cython.declare(cython.Py_ssize_t, KEY_BYTES)


@cython.cclass
class Dialect:
    """Base of the protocols."""

    def __init__(self, values: Values) -> None:
        self.values = values
        self.rows = self.keys = self.missing = 0
        self.problem = ""

    @cython.cfunc
    def append(self, out: Outgoing, slots: Slots, slot: cython.int) -> None:
        """Append the request that ``slot`` describes."""
        raise NotImplementedError

    @cython.cfunc
    def feed(self, data: bytes) -> None:
        """Take the bytes received next."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1)
    def next(self, slots: Slots) -> cython.int:
        """The slot that the next whole reply answers, or -1 if there is none yet. SherdError if it is not a reply."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1)
    def judge(self, slots: Slots, slot: cython.int) -> cython.int:
        """GOOD, MORE or BAD: the reply that ``next`` found; if BAD, ``problem`` says why in words."""
        raise NotImplementedError

    @cython.cfunc
    @cython.exceptval(-1)
    def wrong(self, problem: str) -> cython.int:
        """BAD, because of ``problem``."""
        self.problem = problem
        return BAD

    @cython.cfunc
    @cython.exceptval(-1)
    def key_number(self, data: bytes, at: cython.Py_ssize_t) -> cython.longlong:
        """The number that the 16 bytes at ``at``, a key, say in decimal digits, or -1 if they are none."""
        number: cython.longlong = 0
        digit: cython.int
        i: cython.Py_ssize_t
        for i in range(at, at + _KEY_BYTES):
            digit = data[i] - 48
            if digit < 0 or digit > 9:
                return -1
            number = number * 10 + digit
        return number
