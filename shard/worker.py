"""The shard process: one event loop around one engine.

Start: read the topology, open the engine (which recovers) with the term that the topology gives this shard, start the
janitor, listen, tell the supervisor. Stop, in this order and why: (1) close the listener, so that no new peer comes;
(2) stop reading, so that no new request is staged; (3) commit, sync and release what is staged, so that every request
taken gets its answer; (4) close connections, which sends what is buffered; (5) stop the janitor, whose unfinished
output is only temporary files; (6) close the engine, which records a clean close and gives up the lock.
"""

import asyncio
import logging
import os
import signal

from sherd.common.build import is_compiled
from sherd.common.clock import SystemClock
from sherd.common.disk import RealDisk
from sherd.common.errors import ConfigError, StoreError, Unavailable
from sherd.common.logs import event
from sherd.common.net.address import Address, parse_address
from sherd.common.net.listening import bind
from sherd.common.net.loop import loop_factory, loop_name
from sherd.common.process import die_with_parent, settle_collector
from sherd.common.ready import announce_ready
from sherd.common.topology.file import read_topology
from sherd.common.topology.state import Topology
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import ShardId
from sherd.common.version import VERSION
from sherd.shard.admin import ShardAdmin
from sherd.shard.background import Background
from sherd.shard.config import ShardConfig
from sherd.shard.linked_proxies import latest_of_each
from sherd.shard.listener import Connections, ShardProtocol
from sherd.shard.lsm.engine import Engine
from sherd.shard.replies import ReplyGate
from sherd.shard.service import ShardService
from sherd.shard.sync_place import SyncPlace
from sherd.shard.turn import Turn, gate_slack

log = logging.getLogger(__name__)

CLOSE_SECONDS_MAX = 5.0
LOOKS_PER_MEMTABLE = 64
"""At background work and back-pressure, while one memtable is filled."""


class Worker:
    """One shard, from open to close."""

    def __init__(self, config: ShardConfig, loop: asyncio.AbstractEventLoop) -> None:
        self._config = config
        self._loop = loop
        self._disk = RealDisk()
        self._clock = SystemClock()
        self._started = self._clock.monotonic()
        topology = read_topology(self._disk, config.topology)
        state = topology.shards.get(ShardId(config.id))
        if state is None:
            raise ConfigError(f"the topology in {config.topology} has no shard {config.id}")
        self._term = state.term
        self.engine = Engine.open(config.data, config.engine, self._disk, self._clock, term=self._term)
        policy = config.engine.fsync_policy
        self._gate = ReplyGate(gate_slack(policy), self.engine.synced_lsn)
        self._turn = Turn(
            self.engine, self._gate, policy, loop, self._after_commit, self._on_poison, self._clock, SyncPlace()
        )
        self._background = Background(
            self.engine, config, loop, self._look_soon, self._turn.poison, self._on_background_failure
        )
        admin = ShardAdmin(self.describe, self._refresh_layout, self._background.force)
        token_map = TokenMap(topology.layout)
        self._service = ShardService(config.id, self.engine, self._gate, token_map, admin, config.limits)
        self._connections = Connections(config.limits.connections_max)
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._segment = 0
        self._look_at_bytes = 0
        self._look_bytes = config.engine.memtable_bytes // LOOKS_PER_MEMTABLE

    async def serve(self) -> int:
        """Serve until told to stop; 0 after a clean close, 1 when the shard was poisoned."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._loop.add_signal_handler(number, self._stopping.set)
        await self._background.start()
        address = parse_address(self._config.listen)
        sock, bound = bind(address)
        server = (
            await self._loop.create_server(self._protocol, sock=sock)
            if not address.is_unix
            else (await self._loop.create_unix_server(self._protocol, sock=sock))
        )
        self._turn.start()
        self._announce(bound)
        await self._stopping.wait()
        server.close()
        return await self._close()

    def _protocol(self) -> ShardProtocol:
        return ShardProtocol(self._service, self._turn, self._connections)

    def _announce(self, bound: Address) -> None:
        status = self.engine.status()
        settle_collector()
        event(
            log, logging.INFO, "shard serves", shard=self._config.id, address=bound, term=self._term,
            keys=status["keys_estimate"], open_seconds=round(self._clock.monotonic() - self._started, 3),
        )  # fmt: skip
        if self._config.ready_fd is not None:
            announce_ready(self._config.ready_fd, str(bound))

    async def _close(self) -> int:
        for connection in self._connections:
            connection.stop_reading()
        await self._turn.stop()
        for connection in self._connections:
            connection.close()
        if not await self._connections.gone(CLOSE_SECONDS_MAX):
            for connection in self._connections:
                connection.abort()
        await self._background.stop()
        self.engine.close()
        event(log, logging.INFO, "shard closed", shard=self._config.id, clean=self._failure is None)
        return 0 if self._failure is None else 1

    def _after_commit(self) -> None:
        """Look at background work and back-pressure: at once after a roll of the log or news of a job, else when
        enough has been written to change either.
        """
        segment, written = self.engine.segment, self.engine.log_bytes
        if segment == self._segment and written < self._look_at_bytes:
            return
        self._segment = segment
        self._look_at_bytes = written + self._look_bytes
        self._background.poke()
        pressure = self.engine.pressure()
        self._background.set_pace(1.0 if pressure.delay_seconds > 0 else self.engine.urgency())
        self._gate.write_delay_seconds = pressure.delay_seconds
        self._service.overloaded = pressure.overloaded

    def _look_soon(self) -> None:
        """Background work has changed: look at it, and at the pressure, at the end of this turn."""
        self._look_at_bytes = 0
        self._turn.schedule()

    def _on_poison(self, error: StoreError) -> None:
        """Nobody gets an answer any more; the connections break, so that nobody waits for one."""
        self._failure = error
        self._service.refusal = Unavailable(f"shard {self._config.id} is stopping: {error}")
        for connection in self._connections:
            connection.abort()
        self._stopping.set()

    def _on_background_failure(self, error: BaseException) -> None:
        self._failure = error
        self._stopping.set()

    def _refresh_layout(self, announced: int) -> None:
        try:
            topology: Topology = read_topology(self._disk, self._config.topology)
        except (OSError, StoreError) as error:
            event(log, logging.ERROR, "topology not readable", path=self._config.topology, error=error)
            return
        if topology.layout.counter > self._service.token_map.layout.counter:
            self._service.token_map = TokenMap(topology.layout)
            event(log, logging.INFO, "layout taken", counter=topology.layout.counter, announced=announced)

    def describe(self) -> dict[str, object]:
        """What ``status`` answers for this shard."""
        return {
            **self.engine.status(),
            "id": self._config.id,
            "pid": os.getpid(),
            "term": self._term,
            "version": VERSION,
            "compiled": is_compiled(),
            "fsync": self._config.engine.fsync,
            "address": self._config.listen,
            "uptime_seconds": round(self._clock.monotonic() - self._started, 1),
            "janitor_pid": self._background.janitor_pid,
            "connections": len(self._connections),
            "proxies": latest_of_each(connection.proxy for connection in self._connections),
            "layout": self._service.token_map.layout.counter,
            "loop": loop_name(),
        }


def run(config: ShardConfig) -> int:
    """Run one shard process until SIGTERM or SIGINT; its exit code. ConfigError or StoreError if it can't start."""
    if config.parent_pid is not None:
        die_with_parent(config.parent_pid)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_main(config))


async def _main(config: ShardConfig) -> int:
    return await Worker(config, asyncio.get_running_loop()).serve()
