"""A request on its way to one shard.

A ``Pending`` belongs to one link at a time: held by it, or sent in one of its slots. It ends exactly once, by
``answer`` (what the shard said) or ``refuse`` (an error of the proxy's own); ``done`` says that it has.
"""

import cython

from sherd.common.errors import WireError

if cython.compiled:
    from cython.cimports.sherd.common.topology.token_map import TokenMap
    from cython.cimports.sherd.common.wire.primitives import piece
    from cython.cimports.sherd.common.wire.scanner import Scanner
    from cython.cimports.sherd.proxy.session import Session
else:
    from sherd.common.topology.token_map import TokenMap
    from sherd.common.wire.primitives import piece
    from sherd.common.wire.scanner import Scanner
    from sherd.proxy.session import Session

_NO_KEYS = cython.declare(list, [])


@cython.cclass
class Pending:
    """One request to one shard; what becomes of its end is the subclasses' part.

    ``payload`` is its encoded method and params, ``key`` the key that routes it, and ``keys`` all that it touches,
    empty if that is ``key`` alone. ``order`` is the link's sequence number; ``deadline`` and ``hold_until`` are
    monotonic seconds, the latter 0 until it had to be held.
    """

    @cython.cfunc
    def begin(self, payload: bytes, key: bytes, deadline: cython.double) -> None:
        """Set every field; to be called first."""
        self.payload = payload
        self.key = key
        self.keys = _NO_KEYS
        self.order = 0
        self.deadline = deadline
        self.hold_until = 0.0
        self.writes = False
        self.done = False

    @cython.cfunc
    def answer(self, data: bytes, error: cython.Py_ssize_t, result: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        """The shard's response: ``data[error:result]`` is its error and ``data[result:end]`` its result."""
        raise NotImplementedError

    @cython.ccall
    def refuse(self, error: WireError) -> None:
        """The proxy gives up on the request, with ``error``."""
        raise NotImplementedError

    @cython.ccall
    def split(self, token_map: TokenMap) -> list:  # type: ignore[type-arg]
        """Requests that together do what is left of this one, each for one shard of ``token_map``, in order."""
        return [self]


@cython.final
@cython.cclass
class Forward(Pending):
    """A request whose answer goes to its client as it is: the ordinary case, and the hot one."""

    @cython.cfunc
    def come_from(self, session: Session, msgid: bytes, size: cython.Py_ssize_t) -> None:
        """Whose request it is; ``size`` is its bytes as it came."""
        self.session = session
        self.msgid = msgid
        self.size = size

    @cython.cfunc
    def answer(self, data: bytes, error: cython.Py_ssize_t, result: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        self.done = True
        self.session.forward(self.msgid, data, error, result, end)
        self.session.finish(self.size)

    @cython.ccall
    def refuse(self, error: WireError) -> None:
        self.done = True
        self.payload = b""
        self.session.fail(self.msgid, error)
        self.session.finish(self.size)


@cython.cfunc
@cython.inline
def _method_field(scanner: Scanner) -> cython.Py_ssize_t:
    """Where the method field of the request begins: behind the array's header, the type and the msgid."""
    head: cython.uint = scanner.data[scanner.frame_start]
    width: cython.Py_ssize_t = 1 if head <= 0x9F else (3 if head == 0xDC else 5)
    return scanner.frame_start + width + 1 + len(scanner.msgid)


@cython.cfunc
def begin_forward(
    session: Session, scanner: Scanner, key: bytes, deadline: cython.double, writes: cython.bint
) -> Forward:
    """The request that ``scanner`` stands at, under way as it is."""
    pending: Forward = Forward.__new__(Forward)
    pending.begin(piece(scanner.data, _method_field(scanner), scanner.frame_end), key, deadline)
    pending.come_from(session, scanner.msgid, scanner.frame_end - scanner.frame_start)
    pending.writes = writes
    session.begin(pending.size)
    return pending
