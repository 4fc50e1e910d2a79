"""A proxy without I/O: sessions, router, links, and dict shards that answer when told to; time stands still."""

import msgpack

from sherd.common.clock import ManualClock
from sherd.common.limits import Limits
from sherd.common.topology.state import ShardState, Topology
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import ShardId, Term
from sherd.common.wire.encode import request
from sherd.common.wire.scanner import Scanner
from sherd.proxy.admin import Admin
from sherd.proxy.bounds import Bounds
from sherd.proxy.config import ProxyConfig
from sherd.proxy.introduction import Introduction
from sherd.proxy.link import Link
from sherd.proxy.outlet import Turn
from sherd.proxy.router import Router
from sherd.proxy.routes import Routes
from sherd.proxy.session import Budget, Session
from support.dict_shard import DictShard, answer
from support.proxy_run import make_layout


class RecordingSink:
    """A transport that keeps what it is given. ``unread`` is what it says its buffer holds."""

    def __init__(self) -> None:
        self.written = b""
        self.unread = 0
        self.events: list[str] = []

    def write(self, data: bytes, /) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unread

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")

    def close(self) -> None:
        self.events.append("close")

    def abort(self) -> None:
        self.events.append("abort")

    def take(self) -> bytes:
        written, self.written = self.written, b""
        return written

    def responses(self) -> list[list[object]]:
        """What was written, as responses; takes it."""
        unpacker = msgpack.Unpacker(raw=True, strict_map_key=False, max_buffer_size=2**30)
        unpacker.feed(self.take())
        return list(unpacker)


class Rig:
    """All of a proxy but its shells. ``followers`` are what a shard has beside its leader; they share its values."""

    def __init__(
        self,
        mode: str = "hash",
        shards: int = 3,
        limits: Limits | None = None,
        bounds: Bounds | None = None,
        *,
        followers: int = 0,
        stale_ms: int = 0,
        read_only: bool = False,
    ) -> None:
        self.limits = limits or Limits()
        self.bounds = bounds or Bounds()
        self.now = 100.0
        self._soon: list[object] = []
        self.turn = Turn(self._soon.append)
        names = [str(number) for number in range(1, followers + 2)]
        states = {
            ShardId(n): ShardState(
                ShardId(n), Term(1), "1", {name: f"unix:/s{n}.{name}" for name in names}, tuple(names)
            )
            for n in range(1, shards + 1)
        }
        self.topology = Topology(1, "test", make_layout(mode, shards), states)
        self.routes = Routes(self.turn, self.topology, self.bounds, self.limits.batch_frame_bytes_max, stale_ms)
        self.clock = ManualClock()
        self.connections = 1
        self.introduction = Introduction("proxy-1", lambda: self.connections, self.clock)
        config = ProxyConfig("127.0.0.1:0", "none", limits=self.limits, bounds=self.bounds)
        self.admin = Admin(self.routes, config, self.introduction)
        self.router = Router(self.routes, self.limits, lambda: self.now, self.admin.calls, read_only)
        self.budget = Budget(self.bounds.total_bytes_max)
        self.shards = {n: DictShard(n, TokenMap(self.topology.layout)) for n in range(1, shards + 1)}
        self.followers: dict[tuple[int, str], DictShard] = {}
        for n, shard in self.shards.items():
            for name in names[1:]:
                self.followers[n, name] = follower = DictShard(n, shard.token_map)
                follower.values = shard.values
        for link in self.routes.links:
            self.open(link)

    def server_of(self, link: Link) -> DictShard:
        return self.followers[link.shard, link.replica] if link.replica else self.shards[link.shard]

    def open_followers(self) -> None:
        """Open the links to followers that have been made by now."""
        for link in self.routes.followers.links:
            self.open(link)

    def open(self, link: Link) -> None:
        link.sink = RecordingSink()
        link.open(Scanner(self.limits, responses=True), self.now)

    def lose(self, link: Link) -> None:
        link.lose(self.now)

    def link(self, shard: int, purpose: str = "point") -> Link:
        return next(link for link in self.routes.links if link.shard == shard and link.purpose == purpose)

    def session(self) -> tuple[Session, RecordingSink]:
        session = Session(self.turn, self.router, self.limits, self.budget)
        sink = RecordingSink()
        session.sink = sink
        return session, sink

    def flush(self) -> None:
        """End loop turns until nothing is left to do in them."""
        while self._soon:
            todo = list(self._soon)
            self._soon.clear()
            for action in todo:
                assert callable(action)
                action()

    def serve(self, *only: int) -> None:
        """Let the shards answer what they were sent, until all is quiet."""
        busy = True
        while busy:
            self.flush()
            busy = False
            for link in self.routes.links:
                if link.sink is None or (only and link.shard not in only):
                    continue
                assert isinstance(link.sink, RecordingSink)
                replies = answer(self.server_of(link), link.sink.take())
                if replies:
                    busy = True
                    link.feed(replies, self.now)
        self.flush()

    def tick(self, seconds: float) -> None:
        """Let time pass, and what is due at the end of it happen."""
        self.now += seconds
        self.routes.step(self.now)
        for link in self.routes.links:
            link.expire(self.now)
        self.flush()

    def call(self, method: str, *params: object) -> object:
        """One request on a connection of its own: its result, or ["error", error]."""
        session, sink = self.session()
        session.feed(request(7, method, params))
        self.serve()
        [[kind, msgid, error, result]] = sink.responses()
        assert (kind, msgid) == (1, 7)
        return result if error is None else ["error", error]

    def key_of(self, shard: int, name: str = "key") -> bytes:
        """A key that a shard owns."""
        token_map = TokenMap(self.routes.topology.layout)
        for number in range(100_000):
            key = b"%c%s%d" % (32 + number % 95, name.encode(), number)
            if token_map.owner(key) == shard:
                return key
        raise LookupError(shard)
