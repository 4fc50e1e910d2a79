"""From a client's request to what carries it out.

A single-key request is checked, given to the link of the key's shard with its bytes as they are, and its answer comes
back the same way; neither key nor value is re-encoded. What needs several shards is split and gathered elsewhere.

No request ends unanswered: what can't be carried out is answered with the error that says why, and an unforeseen
failure is logged and answered with INTERNAL.
"""

import logging
from collections.abc import Callable

import cython

from sherd.common.errors import Forbidden, Internal, Overloaded, UnknownMethod, WireError
from sherd.common.limits import Limits

if cython.compiled:
    from cython.cimports.sherd.common.wire.primitives import piece
    from cython.cimports.sherd.common.wire.requests import RequestReader
    from cython.cimports.sherd.common.wire.scanner import Scanner
    from cython.cimports.sherd.proxy.follower_read import submit_read
    from cython.cimports.sherd.proxy.gather import begin_gather
    from cython.cimports.sherd.proxy.pending import begin_forward
    from cython.cimports.sherd.proxy.routes import Routes
    from cython.cimports.sherd.proxy.session import Dispatcher, Session
else:
    from sherd.common.wire.primitives import piece
    from sherd.common.wire.requests import RequestReader
    from sherd.common.wire.scanner import Scanner
    from sherd.proxy.follower_read import submit_read
    from sherd.proxy.gather import begin_gather
    from sherd.proxy.pending import begin_forward
    from sherd.proxy.routes import Routes
    from sherd.proxy.session import Dispatcher, Session

logger = logging.getLogger("proxy.router")

Call = Callable[[Session, bytes, bytes], None]
"""Carries out a request that is not on the hot path: session, msgid, encoded params."""

_GET = cython.declare(cython.int, 1)
_PUT = cython.declare(cython.int, 2)
_DELETE = cython.declare(cython.int, 3)
_MGET = cython.declare(cython.int, 4)
_BATCH = cython.declare(cython.int, 5)
_POINT_METHODS = {b"get": 1, b"put": 2, b"delete": 3, b"mget": 4, b"batch": 5}


@cython.cclass
class Router(Dispatcher):
    """Dispatches the requests of all sessions. ``calls`` are the methods other than get, put, delete, mget, batch.

    ``read_only``: those that write are refused.
    """

    def __init__(
        self,
        routes: Routes,
        limits: Limits,
        monotonic: Callable[[], float],
        calls: dict[bytes, Call],
        read_only: bool = False,
    ) -> None:
        self._routes = routes
        self._reader = RequestReader(limits)
        self._monotonic = monotonic
        self._calls = calls
        self._methods = dict(_POINT_METHODS)
        self._timeout_s = routes.bounds.request_timeout_s
        self.requests = 0
        self.stopping = False
        self._read_only = read_only

    @cython.cfunc
    def look_at_clock(self) -> None:
        self._routes.now = self._monotonic()

    @cython.cfunc
    def dispatch(self, session: Session, scanner: Scanner) -> None:
        self.requests += 1
        method: cython.int = 0
        name: bytes = b""
        if scanner.method_start >= 0:
            name = piece(scanner.data, scanner.method_start, scanner.method_end)
            method = self._methods.get(name, 0)
        try:
            if self.stopping:
                raise Overloaded("this proxy is shutting down; use another")
            if session.budget.bytes > session.budget.bytes_max:
                raise Overloaded("the proxy's memory for requests is used up")
            if self._read_only and method in (_PUT, _DELETE, _BATCH):
                raise Forbidden("this proxy is read only; write to another")
            if method == 0:
                self._call(session, scanner, name)
            elif method in (_MGET, _BATCH):
                deadline = self._routes.now + self._timeout_s
                begin_gather(self._routes, session, scanner, self._reader, deadline, method == _BATCH)
            else:
                self._forward(session, scanner, method)
        except WireError as error:
            session.fail(scanner.msgid, error)
        except Exception:
            logger.exception("request failed method=%s client=%s", name[:64], session.name)
            session.fail(scanner.msgid, Internal("the proxy failed on this request; see its log"))

    @cython.cfunc
    def _forward(self, session: Session, scanner: Scanner, method: cython.int) -> None:
        data: bytes = scanner.data
        reader: RequestReader = self._reader
        if method == _GET:
            reader.read_get(data, scanner.params_start, scanner.frame_end)
        elif method == _PUT:
            reader.read_put(data, scanner.params_start, scanner.frame_end)
        else:
            reader.read_delete(data, scanner.params_start, scanner.frame_end)
        routes: Routes = self._routes
        deadline: cython.double = self._timeout_s if reader.deadline_ms == 0 else reader.deadline_ms / 1000.0
        pending = begin_forward(session, scanner, reader.key, routes.now + deadline, method != _GET)
        if method == _GET and (reader.stale_ms > 0 or reader.at_shard > 0 or routes.stale_ms > 0):
            submit_read(routes, pending, reader)
        else:
            routes.link_of(reader.key).submit(pending, routes.now)

    @cython.cfunc
    def _call(self, session: Session, scanner: Scanner, name: bytes) -> None:
        call = self._calls.get(name)
        if call is None:
            raise UnknownMethod("the method's name must be str or bin" if not name else repr(name)[1:66])
        call(session, scanner.msgid, scanner.data[scanner.params_start : scanner.frame_end])
