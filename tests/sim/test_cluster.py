"""A cluster on many hosts in the simulator: under faults by chance, and through those that chance seldom finds."""

import asyncio
import os
from typing import Any

import pytest
from support.survival import Survival

from sherd.common.errors import BadRequest, SherdError
from sherd.common.net.stream import ask_once
from sherd.common.world import World
from sim.chaos import run
from sim.cluster import LEASE_SECONDS, PORT, Cluster, Kept, Shape
from sim.replay import digest_of
from sim.shapes import SHAPES
from sim.simulation import Simulation

SEEDS = int(os.environ.get("SHERD_SIM_SEEDS", "4"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.timeout(1200)
def test_what_is_promised_holds_under_faults(shape: str, seed: int) -> None:
    with Simulation(seed) as sim:
        found = run(sim, SHAPES[shape])
        assert found.succeeded > 100


def test_a_seed_repeats_in_another_interpreter() -> None:
    assert digest_of("sim.test_cluster:short", 3) == digest_of("sim.test_cluster:short", 3)


def short(sim: Simulation) -> None:
    """A life of which the trace is compared."""
    run(sim, Shape(), 20.0)


class Asker:
    """Asks the cluster's proxy from a host of its own."""

    def __init__(self, sim: Simulation, cluster: Cluster) -> None:
        self.sim = sim
        self._address = cluster.proxy_address(1)
        self._number = 0

    def ask(self, method: str, *params: Any, seconds_max: float = 20.0) -> Any:
        """The answer, or the error it was."""
        told: list[Any] = []

        async def main(world: World) -> None:
            try:
                async with asyncio.timeout(seconds_max):
                    told.append(await self._ask(world, method, list(params), seconds_max))
            except (SherdError, TimeoutError) as error:
                told.append(error)

        self._number += 1
        self.sim.run_to_end(self.sim.host("asker").start(f"asker-{self._number}", main), seconds_max + 1.0)
        return told[0]

    async def _ask(self, world: World, method: str, params: list[Any], seconds_max: float) -> Any:
        while True:
            try:
                return await ask_once(world.network, self._address, method, params, seconds_max)
            except ConnectionError:
                await asyncio.sleep(0.1)


def in_sync(asker: Asker) -> list[str]:
    found: list[str] = asker.ask("topology")["shards"]["1"]["in_sync"]
    return sorted(found)


def address_of(asker: Asker, replica: str) -> str:
    found: str = asker.ask("topology")["shards"]["1"]["replicas"][replica]
    return found


def test_who_has_lost_its_tail_does_not_lead_for_one_that_has_not() -> None:
    with Simulation(5) as sim:
        cluster = Cluster(sim, Shape(fsync="interval:100s"))
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 0)
        sim.run(5.0)
        assert in_sync(asker) == ["1", "2"]
        leader, follower = cluster.replicas
        acknowledged = asker.ask("put", "a", 1)
        follower.host.power_cut(Survival("none", "none"))  # with all that was not synced
        follower.host.boot()
        leader.process.pause()  # before it could send that again
        sim.run(4 * LEASE_SECONDS)
        assert isinstance(asker.ask("get", "a", seconds_max=15.0), Exception)  # rather than an older value
        leader.process.resume()
        assert asker.ask("get", "a", {"meta": True})[:2] == [1, acknowledged]


def test_a_leader_that_has_lost_its_tail_waits_for_one_that_has_not() -> None:
    with Simulation(8) as sim:
        cluster = Cluster(sim, Shape(fsync="interval:100s"))
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 0)
        sim.run(5.0)
        assert in_sync(asker) == ["1", "2"]
        leader, follower = cluster.replicas
        acknowledged = asker.ask("put", "a", 1)
        leader.host.power_cut(Survival("none", "none"))
        leader.host.boot()
        sim.fabric.isolate(follower.host.name)
        sim.run(4 * LEASE_SECONDS)
        assert isinstance(asker.ask("get", "a", seconds_max=15.0), Exception)  # rather than an older value
        sim.fabric.heal_all()
        assert asker.ask("get", "a", {"meta": True})[:2] == [1, acknowledged]


def test_a_leader_that_is_told_to_stop_leaves_nothing_behind() -> None:
    with Simulation(10) as sim:
        cluster = Cluster(sim, Shape(acks="leader", fsync="interval:100ms"))
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 0)
        sim.run(5.0)
        assert in_sync(asker) == ["1", "2"]
        leader, follower = cluster.replicas
        sim.fabric.cut_between(leader.host.name, follower.host.name)
        asker.ask("put", "a", 1)
        cluster.workers[leader.name].stop()
        sim.run(0.5)
        sim.fabric.heal_all()
        sim.run_until(lambda: not cluster.workers[follower.name].engine.following, 2 * LEASE_SECONDS)
        assert asker.ask("get", "a") == 1


def test_an_operator_may_say_who_leads_when_those_in_sync_are_gone() -> None:
    with Simulation(9) as sim:
        cluster = Cluster(sim, Shape(fsync="interval:100s"))
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 0)
        sim.run(5.0)
        leader, follower = cluster.replicas
        assert isinstance(asker.ask("failover", 1, "2", True), BadRequest)  # it is led
        follower.process.kill()
        leader.host.power_cut()
        sim.run(4 * LEASE_SECONDS)
        assert isinstance(asker.ask("get", "a", seconds_max=15.0), Exception)
        assert asker.ask("failover", 1, "2", True)["leader"] == "2"
        assert asker.ask("get", "a") == 0


def lose_data(kept: Kept) -> None:
    """The disk of a replica that does not run is replaced by an empty one."""
    for name in [name for name in kept.host.disk.image.names if name.startswith("/data")]:
        del kept.host.disk.image.names[name]


def test_the_only_one_in_sync_does_not_lead_without_its_disk() -> None:
    with Simulation(5) as sim:
        cluster = Cluster(sim, Shape())
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 1)
        sim.run(5.0)
        leader, follower = cluster.replicas
        follower.process.pause()
        sim.run_until(lambda: in_sync(asker) == ["1"], 10.0)
        leader.process.kill()
        lose_data(leader)
        follower.process.resume()
        sim.run(4 * LEASE_SECONDS)
        assert isinstance(asker.ask("get", "a", seconds_max=15.0), Exception)  # rather than nothing
        assert asker.ask("failover", 1, "2", True)["leader"] == "2"
        assert asker.ask("get", "a") == 1
        sim.run_until(lambda: in_sync(asker) == ["1", "2"], 20.0)


def test_a_process_that_takes_the_name_of_another_waits_for_its_end() -> None:
    with Simulation(3) as sim:
        cluster = Cluster(sim, Shape())
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 1)
        sim.run(5.0)
        leader, _ = cluster.replicas
        double = cluster.double(1, "1", "double")
        sim.run(3 * LEASE_SECONDS)
        assert address_of(asker, "1") == f"s1r1:{PORT}"
        assert asker.ask("put", "a", 2) > 0
        assert not cluster.workers[leader.name].engine.following
        assert double.name not in cluster.workers
        leader.host.power_cut()
        sim.run_until(lambda: address_of(asker, "1") == f"double:{PORT}" and in_sync(asker) == ["1", "2"], 30.0)
        assert asker.ask("get", "a") == 2


def test_followers_that_are_added_later_are_filled_by_the_leader_that_was_there() -> None:
    with Simulation(4) as sim:
        cluster = Cluster(sim, Shape(followers=0))
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 1)
        sim.run(5.0)
        (leader,) = cluster.replicas
        led = cluster.workers[leader.name]
        cluster.resize(followers=1)
        sim.run_until(lambda: in_sync(asker) == ["1", "2"], 30.0)
        assert cluster.workers[leader.name] is led
        assert not led.engine.following
        leader.host.power_cut()
        assert asker.ask("get", "a") == 1


def test_a_replica_whose_disk_was_lost_does_not_lead() -> None:
    with Simulation(6) as sim:
        cluster = Cluster(sim, Shape())
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 1)
        sim.run(5.0)
        leader, follower = cluster.replicas
        follower.process.kill()
        lose_data(follower)
        leader.process.pause()
        sim.run(4 * LEASE_SECONDS)
        leader.process.resume()
        assert asker.ask("get", "a") == 1


def test_a_planned_failover_between_hosts() -> None:
    with Simulation(7) as sim:
        cluster = Cluster(sim, Shape())
        asker = Asker(sim, cluster)
        asker.ask("put", "a", 1)
        sim.run(5.0)
        done = asker.ask("failover", 1, None, False)
        assert done["leader"] == "2"
        assert asker.ask("get", "a") == 1
