"""The shard process: one event loop around one engine.

Start: read the topology, open the engine (which recovers), lead if the topology calls this replica to or else follow,
start the janitor, listen, tell the supervisor. Stop, in this order and why: (1) close the listener, so
that no new peer comes; (2) stop reading, so that no new request is staged; (3) commit, sync and release what is
staged, so that every request taken gets its answer; (4) close connections, which sends what is buffered; (5) stop the
janitor, whose unfinished output is only temporary files; (6) close the engine, which records a clean close and gives
up the lock.
"""

import asyncio
import logging
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from sherd.common.build import is_compiled
from sherd.common.errors import ConfigError, StoreCorrupt, StoreError, Unavailable
from sherd.common.exit_codes import ExitCode
from sherd.common.logs import event
from sherd.common.net.address import Address, parse_address
from sherd.common.net.loop import loop_factory, loop_name
from sherd.common.process import die_with_parent, settle_collector
from sherd.common.ready import announce_ready
from sherd.common.topology.state import ShardState, Topology
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import ShardId
from sherd.common.version import VERSION
from sherd.common.world import World, system_world
from sherd.shard.admin import ShardAdmin
from sherd.shard.background import Background
from sherd.shard.belonging import check_belongs, note_owner, owner_of
from sherd.shard.config import ShardConfig
from sherd.shard.janitor_process import SpawnJanitor, spawn_janitor
from sherd.shard.linked_proxies import latest_of_each
from sherd.shard.listener import Connections, ShardProtocol
from sherd.shard.lsm.adoption import adopt
from sherd.shard.lsm.cutting import PastFork, cut_log
from sherd.shard.lsm.engine import Engine
from sherd.shard.replication.beginning_anew import begin_anew
from sherd.shard.replication.follower import Copied, Cut
from sherd.shard.replication.role import Replication, SteppedDown, Stranded
from sherd.shard.replication.role_changes import RoleChanges
from sherd.shard.replication.seat import Seat
from sherd.shard.replies import ReplyGate
from sherd.shard.service import ShardService
from sherd.shard.sync_place import SyncPlace
from sherd.shard.turn import Turn, gate_slack

log = logging.getLogger(__name__)

CLOSE_SECONDS_MAX = 5.0
WATCH_SECONDS = 0.025
"""Between looks at the topology: a follower that is to lead notices it within that."""
LOOKS_PER_MEMTABLE = 64
"""At background work and back-pressure, while one memtable is filled."""

Born = Callable[["Worker"], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a worker's life ended: with an exit code, or to begin another one (None): its log cut behind ``cut_lsn``, or
    its store made anew of what was ``copied``.
    """

    code: int | None
    cut_lsn: int | None = None
    copied: Copied | None = None


class Worker:
    """One life of a shard's replica, from open to close, as its leader or as a follower that may become it."""

    def __init__(
        self,
        config: ShardConfig,
        seat: Seat,
        topology: Topology,
        world: World,
        spawn: SpawnJanitor,
        changes: RoleChanges,
    ) -> None:
        """In the running event loop. ConfigError or StoreError if the replica can't serve."""
        self._config = config
        self._seat = seat
        self._changes = changes
        self._topology = topology
        self._world = world
        self._loop = loop = asyncio.get_running_loop()
        self._clock = world.clock
        self._started = self._clock.monotonic()
        self._state()
        owner = owner_of(topology.cluster_id, ShardId(config.id))
        check_belongs(world.disk, config.data, owner)
        self.engine = Engine.open(
            config.data, config.engine, world.disk, world.clock, random=world.random.randbytes, follow=True
        )
        note_owner(self.engine, owner)
        policy = config.engine.fsync_policy
        self._gate = ReplyGate(gate_slack(policy), self.engine.synced_lsn, config.acks == "insync", config.min_insync)
        self.turn = Turn(self.engine, self._gate, policy, loop, self._after_commit, self._on_poison, world, SyncPlace())
        self._background = Background(
            self.engine, config, world, spawn, loop, self._look_soon, self.turn.poison, self._on_background_failure
        )
        self._admin = ShardAdmin(self.describe, self._refresh_layout, self._background.force)
        token_map = TokenMap(topology.layout)
        self._service = ShardService(config.id, self.engine, self._gate, token_map, self._admin, config.limits)
        self._replication = Replication(config, seat, world, loop, self._service, self.turn, changes)
        self._connections = Connections(config.limits.connections_max)
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._outcome = Outcome(0)
        self._segment = 0
        self._look_at_bytes = 0
        self._look_bytes = config.engine.memtable_bytes // LOOKS_PER_MEMTABLE

    def _state(self) -> ShardState:
        """Of this shard, in the topology; ConfigError if it or this replica of it is not there."""
        state = self._topology.shards.get(ShardId(self._config.id))
        if state is None:
            raise ConfigError(f"the topology has no shard {self._config.id}")
        if self._config.replica not in state.replicas:
            raise ConfigError(f"shard {self._config.id} has no replica {self._config.replica!r} in the topology")
        return state

    async def serve(self) -> Outcome:
        """Serve until told to stop, poisoned, or until another life has to begin."""
        await self._background.start()
        self.turn.start()
        server, bound = await self._world.network.listen(self._protocol, parse_address(self._config.listen))
        await self._replication.begin(self._state())
        self._announce(bound)
        watch = self._loop.create_task(self._watch_topology(str(bound)))
        watch.add_done_callback(self._on_watch_end)
        await self._stopping.wait()
        if self._outcome.code == 0:
            await self._replication.let_others_have_all()
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)  # _on_watch_end has taken up how it ended
        await self._replication.stop()
        server.close()
        await self._close()
        return self._outcome

    def stop(self) -> None:
        """Stop in order."""
        self._stopping.set()

    def _protocol(self) -> ShardProtocol:
        return ShardProtocol(self._service, self.turn, self._connections)

    def _announce(self, bound: Address) -> None:
        status = self.engine.status()
        event(
            log, logging.INFO, "shard serves", shard=self._config.id, replica=self._config.replica, address=bound,
            role="follower" if self.engine.following else "leader", term=self.engine.term,
            keys=status["keys_estimate"], open_seconds=round(self._clock.monotonic() - self._started, 3),
        )  # fmt: skip
        if self._config.ready_fd is not None:
            announce_ready(self._config.ready_fd, str(bound))

    async def _watch_topology(self, address: str) -> None:
        """Follow the topology, and the leader, until this life has to end (``Cut``, ``Copied``, ``SteppedDown``)."""
        await self._seat.enlist(self._config.advertise or address)
        while True:
            if (topology := self._seat.look()) is not None:
                self._take_topology(topology)
            await self._replication.adopt(self._state())
            await asyncio.sleep(WATCH_SECONDS)

    def _on_watch_end(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Cut):
            self._outcome = Outcome(None, error.lsn)
        elif isinstance(error, Copied):
            self._outcome = Outcome(None, copied=error)
        elif isinstance(error, SteppedDown):
            self._outcome = Outcome(None)
        elif isinstance(error, Stranded):
            event(log, logging.ERROR, "ending, so that another leads", reason=error)
            self._outcome = Outcome(ExitCode.SERVER_ERROR)
        elif isinstance(error, ConfigError):
            event(log, logging.ERROR, "no place in the topology any more", reason=error)
            self._outcome = Outcome(ExitCode.BAD_CONFIG)
        elif error is not None:
            log.critical("following the topology has failed", exc_info=error)
            self._failure = error
            self._outcome = Outcome(1)
        if error is not None:
            self._refuse(str(error))

    def _refuse(self, why: str) -> None:
        """Answer nothing more; break the connections, so that nobody waits."""
        self._service.refusal = Unavailable(f"shard {self._config.id} is stopping: {why}")
        for connection in self._connections:
            connection.abort()
        self._stopping.set()

    async def _close(self) -> None:
        for connection in self._connections:
            connection.stop_reading()
        await self.turn.stop()
        for connection in self._connections:
            connection.close()
        if not await self._connections.gone(CLOSE_SECONDS_MAX):
            for connection in self._connections:
                connection.abort()
        await self._background.stop()
        await self._seat.resign()
        self.engine.close(clean=self._replication.complete)
        event(log, logging.INFO, "shard closed", shard=self._config.id, clean=self._failure is None)

    def _after_commit(self) -> None:
        """Look at background work and back-pressure: at once after a roll of the log or news of a job, else when
        enough has been written to change either.
        """
        self._replication.after_turn()
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
        self.turn.schedule()

    def _on_poison(self, error: StoreError) -> None:
        """Nobody gets an answer any more."""
        self._failure = error
        self._outcome = Outcome(1)
        self._refuse(str(error))

    def _on_background_failure(self, error: BaseException) -> None:
        self._failure = error
        self._outcome = Outcome(1)
        self._stopping.set()

    def _refresh_layout(self, announced: int) -> None:
        """A proxy knows a later layout: look for it now."""
        if (topology := self._seat.look()) is not None:
            self._take_topology(topology)

    def _take_topology(self, topology: Topology) -> None:
        if topology.version > self._topology.version:
            self._topology = topology
        if topology.layout.counter > self._service.token_map.layout.counter:
            self._service.token_map = TokenMap(topology.layout)
            event(log, logging.INFO, "layout taken", counter=topology.layout.counter)

    def describe(self) -> dict[str, object]:
        """What ``status`` answers for this shard."""
        return {
            **self.engine.status(),
            "cluster": self._topology.cluster_id,
            "id": self._config.id,
            "pid": self._world.pid,
            "term": self.engine.term,
            "replica": self._config.replica,
            "acks": self._config.acks,
            **self._replication.describe(),
            "role_changes": self._changes.describe(),
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


async def live(config: ShardConfig, seat: Seat, world: World, spawn: SpawnJanitor, born: Born) -> int:
    """One life after the other, until one ends with an exit code. ConfigError or StoreError if one can't begin.

    Who stops leading, or follows with a log that has to be cut, goes on here with another life of the same process. So
    does who finds its store damaged and is counted on by nobody; but not once it has served, for then somebody may have
    begun to: that is for the next process. ``born`` is told of each life.
    """
    served = False
    changes = RoleChanges()
    await seat.enter()
    while True:
        topology = await seat.read()
        try:
            worker = Worker(config, seat, topology, world, spawn, changes)
        except StoreCorrupt as error:
            if served:
                raise
            begin_anew(world.disk, config, await seat.withdraw(), error)
            changes.began_anew += 1
            continue
        born(worker)
        outcome = await worker.serve()
        if outcome.code is not None:
            return outcome.code
        changes.cut += outcome.cut_lsn is not None
        changes.copied += outcome.copied is not None
        mend(config, world, outcome)
        config = replace(config, ready_fd=None)
        served = True


def mend(config: ShardConfig, world: World, outcome: Outcome) -> None:
    """Between two lives: make the store one that can go on from its leader's log."""
    if outcome.cut_lsn is not None:
        try:
            cut_log(world.disk, config.data, outcome.cut_lsn)
        except PastFork as error:  # a flush has ended since; as it follows again, it is told to copy
            event(log, logging.INFO, "log not cut", shard=config.id, why=error)
    if outcome.copied is not None:
        adopt(world.disk, config.data, outcome.copied.state, world.random.randbytes, outcome.copied.fork_lsn)


def run(config: ShardConfig, take_seat: Callable[[World], Seat]) -> int:
    """Run one shard process until SIGTERM or SIGINT; its exit code. ConfigError or StoreError if it can't start."""
    if config.parent_pid is not None:
        die_with_parent(config.parent_pid)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(_main(config, take_seat))


async def _main(config: ShardConfig, take_seat: Callable[[World], Seat]) -> int:
    loop = asyncio.get_running_loop()
    world = system_world()
    seat = take_seat(world)
    present: Worker | None = None
    told_to_stop = False

    def stop() -> None:
        nonlocal told_to_stop
        told_to_stop = True
        if present is None:
            living.cancel()  # it waits for a topology
        else:
            present.stop()

    def born(worker: Worker) -> None:
        nonlocal present
        present = worker
        settle_collector()
        if told_to_stop:  # between two lives
            worker.stop()

    living = loop.create_task(live(config, seat, world, spawn_janitor, born))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await living
    except asyncio.CancelledError:
        event(log, logging.INFO, "stopping before a topology was seen")
        return 0
    finally:
        await seat.close()
