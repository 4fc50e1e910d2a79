"""Faults in a simulated cluster: several at a time, each with its end, by chance; then peace, and what must hold.

A replica loses its power only while every other one of its shard has what it has, unless syncs are ``always``: what
``insync`` promises is kept by the members that survive, and there has to be one.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from support.engine_run import contents
from support.survival import SURVIVALS

from sherd.common.world import World
from sherd.shard.lsm.engine import Engine
from sim.cluster import LEASE_SECONDS, Cluster, Kept, Shape, explain
from sim.counterexample import check
from sim.history import History, Outcome
from sim.simulation import Simulation
from sim.witness import Witness
from sim.workload import ClusterClient

KEYS = [b"a", b"b", b"c", b"d"]
PEACE_SECONDS_MAX = 60.0
SYNC_SECONDS = 200e-6
SLOW_SYNC_SECONDS = 0.5
FAULTS_PER_SECOND = 0.5
LULL_CHANCE = 0.1
"""That a fault is followed by time enough for everything to recover."""
LULL_SECONDS = 12.0


@dataclass
class Found:
    """What one run has seen."""

    operations: int = 0
    succeeded: int = 0
    terms: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    digest: str = ""


class Chaos:
    """A cluster with clients, and what is done to them."""

    def __init__(self, sim: Simulation, shape: Shape, clients: int = 3, rate: float = 5.0) -> None:
        self.sim = sim
        self.cluster = Cluster(sim, shape)
        self.witness = Witness(self.cluster)
        self.history = History()
        self.dice = sim.scheduler.dice("chaos")
        self.done: dict[str, int] = {}
        self._faults: Sequence[Callable[[], None]] = (
            self.kill, self.kill, self.kill, self.kill_at_write, self.kill_at_write, self.power_cut, self.power_cut,
            self.pause, self.pause, self.cut_one_way, self.cut_one_way, self.cut_both_ways, self.isolate,
            self.slow_disk, self.etcd_election, self.etcd_down, self.full_disk, self.reset, self.sleep,
        )  # fmt: skip
        proxies = [self.cluster.proxy_address(n) for n in range(1, shape.proxies + 1)]
        for n in range(clients):
            self._start_client(f"client{n}", proxies, rate)

    def _start_client(self, name: str, proxies: list[str], rate: float) -> None:
        async def main(world: World) -> None:
            await ClusterClient(world, name, proxies, self.history, KEYS).work(rate)

        self.sim.host(name).start(name, main)

    def run(self, seconds: float) -> None:
        """Faults, for so much virtual time."""
        end = self.sim.now + seconds
        while self.sim.now < end:
            calm = LULL_SECONDS if self.dice.random() < LULL_CHANCE else 0.0
            self.sim.run(calm + self.dice.expovariate(FAULTS_PER_SECOND))
            fault = self.dice.choice(self._faults)
            name = getattr(fault, "__name__", "")
            self.done[name] = self.done.get(name, 0) + 1
            self.sim.scheduler.note("chaos", name)
            fault()

    # -- faults -------------------------------------------------------------------------------------------------------

    def kill(self) -> None:
        self._some().process.kill()

    def kill_at_write(self) -> None:
        """A replica's process dies around one of its next operations on the disk."""
        worker = self.cluster.workers.get(self._replica().name)
        if worker is not None:
            worker.engine.disk.die_in(self.dice.randrange(60), self.dice.choice(("before", "midway", "after")))

    def power_cut(self) -> None:
        kept = self._replica()
        if self.sim.fabric.is_up(kept.host.name) and self._may_lose(kept):
            kept.host.power_cut(self.dice.choice(SURVIVALS))
            self._later(kept.host.boot)

    def pause(self) -> None:
        """SIGSTOP, often for longer than a lease."""
        process = self._some().process
        process.pause()
        self._later(process.resume)

    def sleep(self) -> None:
        """A machine that is suspended: its monotonic clock stands still, its lease does not."""
        host = self._replica().host
        if self.sim.fabric.is_up(host.name) and host.name not in self._asleep():
            host.fall_asleep()
            self._later(lambda: host.wake() if host.clock.asleep_since is not None else None)

    def cut_one_way(self) -> None:
        one, other = self.dice.sample(self._places(), 2)
        self.sim.fabric.cut(one, other)
        self._later(lambda: self.sim.fabric.heal(one, other))

    def cut_both_ways(self) -> None:
        one, other = self.dice.sample(self._places(), 2)
        self.sim.fabric.cut_between(one, other)
        self._later(lambda: self.sim.fabric.heal_between(one, other))

    def isolate(self) -> None:
        name = self._some().host.name
        self.sim.fabric.isolate(name)

        def heal() -> None:
            for other in [*self.sim.hosts, "etcd"]:
                if other != name:
                    self.sim.fabric.heal_between(name, other)

        self._later(heal)

    def reset(self) -> None:
        one, other = self.dice.sample(self._places(), 2)
        self.sim.fabric.reset_between(one, other)

    def slow_disk(self) -> None:
        pace = self._replica().host.disk.pace
        pace.sync_seconds = SLOW_SYNC_SECONDS
        self._later(lambda: setattr(pace, "sync_seconds", SYNC_SECONDS))

    def full_disk(self) -> None:
        disk = self._replica().host.disk
        disk.capacity_bytes = disk.used_bytes()
        self._later(lambda: setattr(disk, "capacity_bytes", 1 << 40))

    def etcd_election(self) -> None:
        if self.sim.etcd.up:
            self.sim.etcd.change_leader(self.dice.uniform(0.2, 2.0))

    def etcd_down(self) -> None:
        if self.sim.etcd.up:
            self.sim.etcd.stop()
            self._later(lambda: None if self.sim.etcd.up else self.sim.etcd.start())

    def _later(self, end: Callable[[], object]) -> None:
        """The end of a fault, after a while that is short, about a lease, or long."""
        seconds = self.dice.choice((0.5, LEASE_SECONDS * 2.0, 15.0)) * self.dice.random()
        self.sim.scheduler.after(seconds, end)

    def _some(self) -> Kept:
        return self.dice.choice(self.cluster.kept)

    def _replica(self) -> Kept:
        return self.dice.choice(self.cluster.replicas)

    def _places(self) -> list[str]:
        return [*(kept.host.name for kept in self.cluster.kept), "etcd"]

    def _asleep(self) -> list[str]:
        return [name for name, host in self.sim.hosts.items() if host.clock.asleep_since is not None]

    def _may_lose(self, kept: Kept) -> bool:
        """Whether what a replica has is elsewhere too, or on its stable storage."""
        if self.cluster.shape.fsync == "always":
            return True
        shard = kept.name.partition("r")[0]
        of_shard = [other for other in self.cluster.replicas if other.name.partition("r")[0] == shard]
        lsns = {other.name: self._lsn(other) for other in of_shard}
        return all(lsn is not None and lsn >= (lsns[kept.name] or 0) for lsn in lsns.values())

    def _lsn(self, kept: Kept) -> int | None:
        """What a replica that runs has written; None for one that does not."""
        worker = self.cluster.workers.get(kept.name)
        return worker.engine.written_lsn if worker is not None and kept.process.alive else None

    # -- what must hold -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Peace: everything serves again by itself, in bounded time, and all replicas come to have the same."""
        self.sim.run(15.0)  # by then every fault has had its end
        self.sim.fabric.heal_all()
        before = self._succeeded()
        self.sim.run_until(lambda: self._succeeded() > before + 20, PEACE_SECONDS_MAX)
        self.sim.run_until(self._alike, PEACE_SECONDS_MAX)

    def check(self) -> None:
        """No bug ended a process, leaders were alone, clients saw one register a key."""
        failures = [failure for kept in self.cluster.kept for failure in explain(kept.failures)]
        if failures:
            raise BaseExceptionGroup("processes were ended by", failures)
        self.witness.check()
        if self.cluster.shape.acks == "insync":
            check(self.history.operations)

    def found(self) -> Found:
        operations = self.history.operations
        return Found(len(operations), self._succeeded(), self.witness.terms, self.done, self.sim.digest)

    def _succeeded(self) -> int:
        return sum(op.outcome is Outcome.OK for op in self.history.operations)

    def _alike(self) -> bool:
        """Whether all replicas of each shard are at one LSN; AssertionError if they do not hold the same then."""
        for shard in range(1, self.cluster.shape.shards + 1):
            engines = self._engines(shard)
            if len({engine.last_lsn for engine in engines}) != 1 or any(engine.staged for engine in engines):
                return False
            one, *others = (contents(engine) for engine in engines)
            if any(other != one for other in others):
                raise AssertionError(f"replicas of shard {shard} differ at LSN {engines[0].last_lsn}")
        return True

    def _engines(self, shard: int) -> list[Engine]:
        return [worker.engine for name, worker in self.cluster.workers.items() if name.startswith(f"s{shard}r")]


def run(sim: Simulation, shape: Shape | None = None, seconds: float | None = None) -> Found:
    """A whole life: faults, peace, and the checks."""
    chaos = Chaos(sim, shape or Shape())
    chaos.run(float(os.environ.get("SHERD_SIM_SECONDS", "60")) if seconds is None else seconds)
    chaos.settle()
    chaos.check()
    return chaos.found()
