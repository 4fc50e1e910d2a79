"""``scan``: one page of rows in key order over the whole cluster.

In hash mode every shard may hold rows of any range: all are asked at once, each for its share of the page and some
slack, and merged; a shard whose answer runs out is asked for more, alone. In range mode the range is a sequence of
stretches with one owner each, which are asked one after the other, each for what is left of the page.

Answers carry the layout they were given under. One that is not the layout the range was cut by, or a refusal, means
that ownership is changing: what is on the page stays, for each row was owned when it was read, and the rest of the
range is cut anew by a newer topology, for at most ``failover_hold_s``.

Invariants: ``_asked`` questions are open; the page holds exactly the rows below (in reverse, above) the position.
"""

import math
from collections import deque

import msgpack

from sherd.common.errors import Internal, NotLeader, Unavailable, WireError, WrongShard
from sherd.common.wire.encode import NIL, array_header, bin_header
from sherd.proxy.asking import Ask
from sherd.proxy.cursor import Cursor
from sherd.proxy.follower_read import ask_reader
from sherd.proxy.merge import Merge, Run
from sherd.proxy.routes import Retry, Routes
from sherd.proxy.scan_request import LIMIT_MAX, ScanRequest
from sherd.proxy.session import Session

_FETCH = b"fetch"
_SLACK_DEVIATIONS = 3.0
_SLACK_ROWS = 8
_SLACK_BYTES = 2048
_FULL_ENOUGH = 8
"""A page that ``max_bytes`` alone bounds ends when all but an eighth is there and a shard had to be asked again."""


class Scan(Retry):
    """One page for one request of ``session``."""

    def __init__(self, routes: Routes, session: Session, msgid: bytes, size: int, request: ScanRequest) -> None:
        self._routes = routes
        self._session = session
        self._msgid = msgid
        self._size = size
        self._request = request
        self._start = request.start
        self._end = request.end
        self._merge = Merge(request.reverse, request.limit, request.max_bytes)
        self._deadline = routes.now + request.deadline_ms / 1000 if request.deadline_ms else math.inf
        self._give_up_at = 0.0
        self._layout = 0
        self._stretches: deque[tuple[bytes | None, bytes | None, int]] = deque()
        self._runs: list[Run] = []
        self._asked = 0
        self._ended = False
        self._recut = False

    def begin(self) -> None:
        """Ask for the first rows. To be called once."""
        self._session.begin(self._size)
        self.retry()

    def retry(self) -> None:
        """Cut what is left of the range by the present topology, and go on."""
        if self._ended:
            return
        if self._give_up_at and self._routes.now >= self._give_up_at:
            self._fail(Unavailable("the layout keeps changing, or a shard has no leader; the scan was not finished"))
            return
        self._recut = False
        self._layout = self._routes.topology.layout.counter
        token_map = self._routes.map
        self._runs = []
        self._stretches.clear()
        if self._end is not None and self._end <= (self._start or b""):
            pass
        elif token_map.hashed:
            self._runs = [Run(shard, self._start, self._end) for shard in token_map.owners()]
        else:
            stretches = token_map.runs_of_range(self._start, self._end)
            self._stretches.extend(reversed(stretches) if self._request.reverse else stretches)
        self._merge.drop_runs()
        self._go_on()

    def _go_on(self) -> None:
        """Move what rows there are to the page, and ask for more where they are missing."""
        while not self._ended:
            if not self._runs and self._stretches:
                start, end, shard = self._stretches.popleft()
                self._runs = [Run(shard, start, end)]
            dry = [run for run in self._runs if run.dry]
            if dry:
                if self._is_full_enough():
                    self._finish()
                    return
                for run in dry:
                    if not run.asked and not self._ended:
                        self._ask(run)
                return
            run_out = self._merge.fill()
            if self._merge.full:
                self._finish()
            elif run_out is None:
                self._runs = []
                if not self._stretches:
                    self._finish()
            elif run_out.exhausted:
                self._runs.remove(run_out)

    def _is_full_enough(self) -> bool:
        merge, request = self._merge, self._request
        if merge.count == 0:
            return False
        if merge.rows_left == 0 or merge.bytes_left == 0:
            return True
        if request.limit < LIMIT_MAX:
            return False
        return merge.bytes_left * _FULL_ENOUGH < request.max_bytes

    def _ask(self, run: Run) -> None:
        limit, max_bytes = self._share()
        request = self._request
        options: dict[str, object] = {"limit": limit, "max_bytes": max_bytes, **request.staleness}
        for name, wanted in (
            ("reverse", request.reverse),
            ("keys_only", request.keys_only),
            ("meta", request.meta and not request.keys_only),
        ):
            if wanted:
                options[name] = True
        params = msgpack.packb([run.resume_start, run.resume_end, options])
        deadline = min(self._routes.now + self._routes.bounds.request_timeout_s, self._deadline)
        run.asked = True
        self._asked += 1
        layout = self._layout

        def take(result: bytes, error: WireError | None) -> None:
            self._take(run, layout, result, error)

        ask_reader(self._routes, run.shard, Ask(_FETCH, params, deadline, take), request.stale_ms, request.at)

    def _share(self) -> tuple[int, int]:
        """Rows and bytes to ask one shard for: what is missing, or in hash mode its likely share of that."""
        rows, size = self._merge.rows_left, max(self._merge.bytes_left, 1)
        shards = len(self._runs)
        if shards > 1:
            mean = rows / shards
            rows = min(rows, math.ceil(mean + _SLACK_DEVIATIONS * math.sqrt(mean)) + _SLACK_ROWS)
            size = min(size, size * 9 // (8 * shards) + _SLACK_BYTES)
        return rows, size

    def _take(self, run: Run, layout: int, result: bytes, error: WireError | None) -> None:
        """The answer to ``_ask``."""
        self._asked -= 1
        run.asked = False
        if self._ended:
            return
        if isinstance(error, (WrongShard, NotLeader)):
            self._recut = True
        elif error is not None:
            self._fail(error)
            return
        else:
            self._load(run, layout, result)
        if self._asked > 0 or self._ended:
            return
        if self._session.closed:
            self._end_request()
        elif self._recut:
            self._cut_later()
        else:
            self._go_on()

    def _load(self, run: Run, layout: int, result: bytes) -> None:
        answered_by, resume, _, rows = msgpack.unpackb(result)
        if answered_by != layout:
            self._recut = True
            return
        if resume is None:
            run.exhausted = True
        elif self._request.reverse:
            run.resume_end = resume
        else:
            run.resume_start = resume
        try:
            run.load(rows)
        except Internal as error:
            self._fail(error)
            return
        if run.has_row:
            self._merge.add(run)
        elif run.exhausted:
            self._runs.remove(run)

    def _cut_later(self) -> None:
        if not self._give_up_at:
            self._give_up_at = self._routes.now + self._routes.bounds.failover_hold_s
        self._set_position()
        self._routes.later(self)

    def _set_position(self) -> None:
        """Take what is on the page out of the range that is left."""
        if self._merge.count == 0:
            return
        if self._request.reverse:
            self._end = self._merge.last_key
        else:
            self._start = self._merge.last_key + b"\0"

    def _finish(self) -> None:
        more = bool(self._runs) or bool(self._stretches)
        self._set_position()
        count = self._merge.count
        cursor = NIL
        if more:
            request = self._request
            encoded = Cursor(self._start, self._end, request.reverse, request.keys_only, request.meta).encode()
            cursor = bin_header(len(encoded)) + encoded
        self._session.reply(self._msgid, b"".join((b"\x92", array_header(count), self._merge.take(), cursor)))
        self._end_request()

    def _fail(self, error: WireError) -> None:
        self._session.fail(self._msgid, error)
        self._end_request()

    def _end_request(self) -> None:
        self._ended = True
        self._runs = []
        self._session.finish(self._size)
