"""A read that a follower may answer, because it says how old its answer may be or what it has to show.

It goes to a follower first. Whatever that one does not answer with a result - its state is too old, it is not there
yet, it does not answer in time - goes to the leader as if it had never been elsewhere. Such a read is outside the order
of its connection's requests, which is what its client has given up with it.
"""

import cython

from sherd.common.errors import WireError
from sherd.proxy.follower_links import READ, READ_SCAN, REST_S

if cython.compiled:
    from cython.cimports.sherd.common.wire.requests import RequestReader
    from cython.cimports.sherd.proxy.asking import Ask
    from cython.cimports.sherd.proxy.link import Link
    from cython.cimports.sherd.proxy.pending import Pending
    from cython.cimports.sherd.proxy.routes import Routes
else:
    from sherd.common.wire.requests import RequestReader
    from sherd.proxy.asking import Ask
    from sherd.proxy.link import Link
    from sherd.proxy.pending import Pending
    from sherd.proxy.routes import Routes


@cython.final
@cython.cclass
class FollowerRead(Pending):
    """``read`` on its way to the follower at ``link``; the answer is its answer, and its deadline bounds all of it."""

    def __init__(self, routes: Routes, link: Link, read: Pending) -> None:
        self.begin(read.payload, read.key, min(read.deadline, routes.now + routes.bounds.follower_timeout_s))
        self._routes = routes
        self._link = link
        self._read = read

    @cython.cfunc
    def answer(self, data: bytes, error: cython.Py_ssize_t, result: cython.Py_ssize_t, end: cython.Py_ssize_t) -> None:
        self.done = True
        if data[error] == 0xC0:
            self._read.answer(data, error, result, end)
        else:
            self._ask_leader()

    @cython.ccall
    def refuse(self, error: WireError) -> None:
        self.done = True
        self._link.retry_at = self._routes.now + REST_S
        self._ask_leader()

    @cython.cfunc
    def _ask_leader(self) -> None:
        if isinstance(self._read, Ask):
            self._routes.ask(self._link.shard, self._read)
        else:
            self._routes.place(self._read)


@cython.cfunc
def submit_read(routes: Routes, read: Pending, reader: RequestReader) -> None:
    """Send a read of one shard's keys, which are in ``read``, to a follower if ``reader`` has what allows it."""
    shard: cython.long = routes.map.owner(read.key)
    if reader.stale_ms > 0 or routes.stale_ms > 0 or reader.at_shard == shard:
        link = routes.followers.pick(routes.topology, shard, READ, routes.now)
        if link is not None:
            cython.cast(Link, link).submit(FollowerRead(routes, link, read), routes.now)
            return
    routes.link_of(read.key).submit(read, routes.now)


def ask_reader(routes: Routes, shard: int, question: Ask, stale_ms: int, at: tuple[int, int, int] | None) -> None:
    """``routes.ask``, of a follower if these bounds on its state allow it."""
    if stale_ms or routes.stale_ms or (at is not None and at[0] == shard):
        link = routes.followers.pick(routes.topology, shard, READ_SCAN, routes.now)
        if link is not None:
            link.submit(FollowerRead(routes, link, question), routes.now)
            return
    routes.ask(shard, question)
