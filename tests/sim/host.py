"""A machine: a name on the network, a disk, clocks, and the processes on it."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from support.survival import SURVIVALS, Survival

from sherd.common.world import World
from sim.clock import drifting_clock
from sim.disk import HostDisk, ProcessDisk
from sim.executor import SimExecutor
from sim.network import SimNetwork
from sim.process import Process

if TYPE_CHECKING:
    from sim.simulation import Simulation

Main = Callable[[World], Coroutine[Any, Any, object]]


class Host:
    """Made by ``Simulation.host``. ``name`` is also its address."""

    def __init__(self, simulation: "Simulation", name: str) -> None:
        self.name = name
        self.clock = drifting_clock(simulation.scheduler, name)
        self.disk = HostDisk(simulation.scheduler, name)
        self.processes: list[Process] = []
        self._simulation = simulation
        self._scheduler = simulation.scheduler
        self._fabric = simulation.fabric
        self._dice = simulation.scheduler.dice("host", name)
        self._fabric.add_host(name)

    def start(self, name: str, main: Main) -> Process:
        """Start a process that runs ``main(world)`` and ends with it."""
        process = self.spawn(name)
        world = self.world(process)
        self._scheduler.note(name, "starts")
        process.start(lambda: main(world))
        return process

    def spawn(self, name: str, parent: Process | None = None) -> Process:
        """A process that does nothing yet; it dies with its ``parent``."""
        if not self._fabric.is_up(self.name):
            raise RuntimeError(f"{self.name} is down")
        pid = self._simulation.next_pid()
        process = Process(self._scheduler, self.clock, self.name, name, pid)
        self.processes.append(process)
        if parent is not None:
            parent.children.append(process)
        return process

    def world(self, process: Process) -> World:
        """What ``process`` is handed of this host."""
        network = SimNetwork(self._fabric, process)
        process.loop.network = network
        process.loop.default_executor = SimExecutor(process, "default")
        return World(
            disk=self.disk.view(process),
            clock=self.clock,
            network=network,
            random=self._scheduler.dice("random", process.name, process.pid),
            thread=lambda name: SimExecutor(process, name),
            pid=process.pid,
        )

    @property
    def running(self) -> list[Process]:
        return [process for process in self.processes if process.alive]

    def power_cut(self, survival: Survival | None = None) -> None:
        """Everything stops at once; peers hear nothing. Of what was not synced stays what ``survival`` says."""
        chosen = self._dice.choice(SURVIVALS) if survival is None else survival
        self._scheduler.note(self.name, f"power cut {chosen}")
        self._fabric.go_down(self.name)
        for process in self.running:
            process.kill()
        self.disk.power_cut(chosen)

    def boot(self) -> None:
        """The host is there again, without processes."""
        self._scheduler.note(self.name, "boots")
        self._fabric.come_up(self.name)

    def fall_asleep(self) -> None:
        """Suspend the machine: nothing runs on it, and its monotonic clock stands still."""
        self.clock.fall_asleep()
        for process in self.running:
            process.pause()

    def wake(self) -> None:
        self.clock.wake()
        for process in self.running:
            process.resume()


def disk_of(world: World) -> ProcessDisk:
    """The disk of a simulated world, with what tests want of it."""
    if not isinstance(world.disk, ProcessDisk):
        raise TypeError("this world is not simulated")
    return world.disk
