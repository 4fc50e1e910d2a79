"""A proxy process: its parts put together, and its life from start to SIGTERM.

Everything periodic - timeouts, slow clients, the topology file, retries - is driven by one task that ticks fast while
something is under way and slowly when nothing is.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine

from sherd.common.logs import event
from sherd.common.net.address import parse_address
from sherd.common.net.loop import loop_factory, loop_name
from sherd.common.process import die_with_parent, settle_collector
from sherd.common.ready import announce_ready
from sherd.common.topology.source import TopologySource
from sherd.common.topology.state import Topology
from sherd.common.world import World, system_world
from sherd.proxy.admin import Admin
from sherd.proxy.config import ProxyConfig
from sherd.proxy.connector import Connector
from sherd.proxy.coordination import Coordination
from sherd.proxy.forwarding import Forwarding
from sherd.proxy.introduction import Introduction
from sherd.proxy.link import Link
from sherd.proxy.listener import Listener
from sherd.proxy.outlet import Turn
from sherd.proxy.relay import Relay
from sherd.proxy.router import Router
from sherd.proxy.routes import Routes
from sherd.proxy.topology_follower import TopologyFollower

logger = logging.getLogger("sherd.proxy")

TICK_BUSY_S = 0.02
TICK_IDLE_S = 0.1


def run(config: ProxyConfig, source_of: Callable[[World], TopologySource]) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Refuses to start with OSError, ConfigError or StoreError."""
    if config.parent_pid is not None:
        die_with_parent(config.parent_pid)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_serve(config, source_of))
    return 0


async def _serve(config: ProxyConfig, source_of: Callable[[World], TopologySource]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    world = system_world()
    source = source_of(world)
    reading = loop.create_task(source.read())

    def stop() -> None:
        stopped.set()
        reading.cancel()  # it waits for a topology perhaps

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        try:
            topology = await reading
        except asyncio.CancelledError:
            event(logger, logging.INFO, "stopping before a topology was seen")
            return
        async with asyncio.TaskGroup() as group:
            proxy = Proxy(config, world, source, topology, group)
            address = await proxy.start()
            settle_collector()
            event(logger, logging.INFO, "serving", address=address, loop=loop_name())
            if config.ready_fd is not None:
                announce_ready(config.ready_fd, address)
            await stopped.wait()
            event(logger, logging.INFO, "stopping")
            await proxy.stop()
    finally:
        await source.close()


class Proxy:
    """A whole proxy in a running event loop; its tasks belong to ``group``. ``topology`` is what ``source`` had."""

    def __init__(
        self, config: ProxyConfig, world: World, source: TopologySource, topology: Topology, group: asyncio.TaskGroup
    ) -> None:
        self._config = config
        self._world = world
        self._clock = clock = world.clock
        self._group = group
        self._tasks: list[asyncio.Task[None]] = []
        self._follower = TopologyFollower(source)
        turn = Turn(asyncio.get_running_loop().call_soon)
        self.routes = Routes(
            turn, topology, config.bounds, config.limits.batch_frame_bytes_max, config.default_stale_ms
        )
        self._introduction = Introduction(config.name, lambda: len(self.listener.sessions), clock)
        self.admin = Admin(self.routes, config, self._introduction)
        self._forwarding = forwarding = Forwarding(world.network, group)
        coordination, relay = Coordination(self.routes, forwarding), Relay(self.routes, forwarding)
        calls = {**self.admin.calls, **coordination.calls, **relay.calls}
        self.router = Router(self.routes, config.limits, clock.monotonic, calls, config.read_only)
        self.listener = Listener(turn, self.router, config.limits, config.bounds, world)
        self._connectors: dict[Link, Connector] = {}

    async def start(self) -> str:
        """Open links and listen; the address that clients reach it at. OSError if it can't listen there."""
        self.routes.now = self._clock.monotonic()
        address = await self.listener.start(parse_address(self._config.listen))
        self._introduction.address = str(address)
        self._connect_links()
        self._spawn(self._tick())
        return str(address)

    async def stop(self) -> None:
        """Accept no more, finish what is under way (bounded), close every connection, end the tasks."""
        self.router.stopping = True
        await self.listener.stop()
        self._forwarding.stop()
        for task in self._tasks:
            task.cancel()

    def _connect_links(self) -> None:
        for link in self.routes.links:
            if link not in self._connectors:
                connector = Connector(link, self.routes, self._config.limits, self._introduction, self._world)
                self._connectors[link] = connector
                self._spawn(connector.run())

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        self._tasks.append(self._group.create_task(work))

    async def _tick(self) -> None:
        while True:
            now = self._clock.monotonic()
            self._follower.follow(self.routes, now)
            self._connect_links()
            self.routes.step(now)
            for connector in self._connectors.values():
                connector.check(now)
            self.listener.check(now)
            self._introduction.repeat(self.routes, now)
            await asyncio.sleep(TICK_BUSY_S if self.routes.busy else TICK_IDLE_S)
