"""The world as a process meets it, handed in from its ``main`` down: so that the same code runs in a simulated one."""

import os
import random as random_module
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

from sherd.common.clock import Clock, SystemClock
from sherd.common.disk import Disk, RealDisk
from sherd.common.net.network import Network, SystemNetwork


@dataclass(frozen=True, slots=True)
class World:
    """``thread`` starts a thread of the given name for work that blocks; ``pid`` is this process's number."""

    disk: Disk
    clock: Clock
    network: Network
    random: random_module.Random
    thread: Callable[[str], Executor]
    pid: int


def system_world() -> World:
    """The operating system's."""

    def thread(name: str) -> Executor:
        return ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    return World(RealDisk(), SystemClock(), SystemNetwork(), random_module.SystemRandom(), thread, os.getpid())
