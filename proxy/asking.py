"""A question of the proxy's own to one shard: its encoded answer, or the error, goes to a callable."""

from collections.abc import Callable
from typing import Optional

import cython
import msgpack

from sherd.common.errors import WireError, from_wire

if cython.compiled:
    from cython.cimports.sherd.proxy.pending import Pending
else:
    from sherd.proxy.pending import Pending

Then = Callable[[bytes, Optional[WireError]], None]  # noqa: UP045
"""Gets the encoded result and None, or nothing and the error."""


@cython.final
@cython.cclass
class Ask(Pending):
    """``method`` with encoded ``params``; its end is handed to ``then``."""

    def __init__(self, method: bytes, params: bytes, deadline: float, then: Then) -> None:
        self.begin(bytes((0xA0 | len(method),)) + method + params, b"", deadline)
        self._then = then

    @cython.cfunc
    def answer(self, data: bytes, error: cython.Py_ssize_t, result: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        self.done = True
        if data[error] == 0xC0:
            self._then(data[result:end], None)
        else:
            self._then(b"", from_wire(msgpack.unpackb(data[error:result], strict_map_key=False)))

    @cython.ccall
    def refuse(self, error: WireError) -> None:
        self.done = True
        self._then(b"", error)
