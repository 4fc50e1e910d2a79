"""``count``: the shards count their keys of a range in slices, which are summed.

Each slice is one question that a shard answers in bounded time, so that point requests never wait long behind it;
shards count side by side. The slices must all be of one layout: where they are not, the count starts anew by a newer
topology, for at most ``failover_hold_s``.
"""

import math

import msgpack

from sherd.common.errors import NotLeader, Unavailable, WireError, WrongShard
from sherd.common.wire.encode import uint
from sherd.proxy.asking import Ask
from sherd.proxy.follower_read import ask_reader
from sherd.proxy.routes import Retry, Routes
from sherd.proxy.scan_request import ScanRequest
from sherd.proxy.session import Session

_COUNT_SLICE = b"count_slice"


class Count(Retry):
    """One count for one request of ``session``."""

    def __init__(self, routes: Routes, session: Session, msgid: bytes, size: int, request: ScanRequest) -> None:
        self._routes = routes
        self._session = session
        self._msgid = msgid
        self._size = size
        self._request = request
        self._deadline = routes.now + request.deadline_ms / 1000 if request.deadline_ms else math.inf
        self._give_up_at = 0.0
        self._layout = 0
        self._asked = 0
        self._total = 0
        self._recut = self._ended = False

    def begin(self) -> None:
        """Ask every shard for its first slice. To be called once."""
        self._session.begin(self._size)
        self.retry()

    def retry(self) -> None:
        """Start to count, by the present topology."""
        if self._give_up_at and self._routes.now >= self._give_up_at:
            self._end(Unavailable("the layout keeps changing, or a shard has no leader; the count was not finished"))
            return
        self._recut = False
        self._total = 0
        self._layout = self._routes.topology.layout.counter
        request, token_map = self._request, self._routes.map
        stretches: list[tuple[bytes | None, bytes | None, int]] = []
        if not request.is_empty and token_map.hashed:
            stretches = [(request.start, request.end, shard) for shard in token_map.owners()]
        elif not request.is_empty:
            stretches = token_map.runs_of_range(request.start, request.end)
        if not stretches:
            self._end(None)
        for start, end, shard in stretches:
            self._ask(shard, start, end)

    def _ask(self, shard: int, start: bytes | None, end: bytes | None) -> None:
        if self._ended:
            return
        self._asked += 1
        deadline = min(self._routes.now + self._routes.bounds.request_timeout_s, self._deadline)

        def take(result: bytes, error: WireError | None) -> None:
            self._asked -= 1
            if not self._ended:
                self._take(shard, end, result, error)

        request = self._request
        params = msgpack.packb([start, end, request.staleness] if request.staleness else [start, end])
        ask_reader(self._routes, shard, Ask(_COUNT_SLICE, params, deadline, take), request.stale_ms, request.at)

    def _take(self, shard: int, end: bytes | None, result: bytes, error: WireError | None) -> None:
        resume: bytes | None = None
        if isinstance(error, (WrongShard, NotLeader)):
            self._recut = True
        elif error is not None:
            self._end(error)
            return
        else:
            layout, resume, count = msgpack.unpackb(result)
            self._total += count
            self._recut = self._recut or layout != self._layout
        if resume is not None and not self._recut and not self._session.closed:
            self._ask(shard, resume, end)
        elif self._asked == 0 and self._recut:
            if not self._give_up_at:
                self._give_up_at = self._routes.now + self._routes.bounds.failover_hold_s
            self._routes.later(self)
        elif self._asked == 0:
            self._end(None)

    def _end(self, error: WireError | None) -> None:
        self._ended = True
        if error is None:
            self._session.reply(self._msgid, uint(self._total))
        else:
            self._session.fail(self._msgid, error)
        self._session.finish(self._size)
