"""A host's disk under its processes: what death and a power cut leave, locks, time, and room."""

import asyncio
import errno

import pytest
from support.crash_disk import Crash
from support.survival import SURVIVALS, Survival

from sherd.common.world import World
from sim.host import disk_of
from sim.simulation import Simulation

NOTHING = Survival("none", "none")


def world_on(sim: Simulation, name: str = "p") -> World:
    host = sim.host("a")
    return host.world(host.spawn(name))


def test_a_killed_process_leaves_what_it_has_written_and_no_lock() -> None:
    with Simulation(seed=1) as sim:
        one, other = world_on(sim, "one"), world_on(sim, "other")
        file = one.disk.create("/f")
        file.write(b"abc")
        lock = one.disk.lock("/LOCK")
        with pytest.raises(BlockingIOError):
            other.disk.lock("/LOCK")
        assert other.disk.open_read("/f").pread(3, 0) == b"abc"
        sim.processes[0].kill()
        with pytest.raises(Crash):
            file.write(b"d")
        with pytest.raises(Crash):
            one.disk.exists("/f")
        assert other.disk.open_read("/f").pread(9, 0) == b"abc"
        held = other.disk.lock("/LOCK")
        lock.release()  # of the dead: means nothing
        file.close()
        with pytest.raises(BlockingIOError):
            other.disk.lock("/LOCK")
        held.release()
        other.disk.lock("/LOCK")


def test_a_power_cut_takes_what_was_not_synced() -> None:
    with Simulation(seed=1) as sim:
        world = world_on(sim)
        file = world.disk.create("/f")
        file.write(b"synced")
        file.sync()
        world.disk.sync_dir("/")
        file.write(b", not synced")
        world.disk.create("/g").close()
        world.disk.lock("/LOCK")
        sim.host("a").power_cut(NOTHING)
        sim.host("a").boot()
        after = world_on(sim).disk
        assert after.open_read("/f").pread(100, 0) == b"synced"
        assert not after.exists("/g")
        after.lock("/LOCK")


def test_what_a_power_cut_takes_is_the_seeds_choice() -> None:
    def left(seed: int) -> bytes:
        with Simulation(seed) as sim:
            world = world_on(sim)
            file = world.disk.create("/f")
            world.disk.sync_dir("/")
            file.write(b"0123456789")
            sim.host("a").power_cut()
            sim.host("a").boot()
            return world_on(sim).disk.open_read("/f").pread(100, 0)

    assert len({left(seed) for seed in range(30)}) > 3
    assert [left(seed) for seed in range(5)] == [left(seed) for seed in range(5)]
    assert len(SURVIVALS) > 5


@pytest.mark.parametrize(("when", "found"), [("before", b"a"), ("midway", b"abb"), ("after", b"abbbb")])
def test_a_process_dies_at_an_operation(when: str, found: bytes) -> None:
    async def main(world: World) -> None:
        disk = disk_of(world)
        disk.die_in(2, when)  # type: ignore[arg-type]
        try:
            file = disk.create("/f")
            file.write(b"a")
            file.write(b"bbbb")
        finally:
            await asyncio.sleep(1.0)

    with Simulation(seed=1) as sim:
        process = sim.host("a").start("p", main)
        sim.run(5.0)
        assert not process.alive
        assert world_on(sim).disk.open_read("/f").pread(100, 0) == found


def test_operations_take_time_and_a_slow_disk_more() -> None:
    async def main(world: World) -> None:
        file = world.disk.create("/f")
        for _ in range(100):
            file.write(b"x" * 1000)
            file.sync()

    def seconds(sync_seconds: float) -> float:
        with Simulation(seed=1) as sim:
            sim.host("a").disk.pace.sync_seconds = sync_seconds
            sim.run_to_end(sim.host("a").start("p", main), 100.0)
            return sim.now

    assert 0.01 < seconds(0.0002) < 0.05
    assert 10.0 < seconds(0.2) < 40.0


def test_who_blocks_sees_the_time_pass() -> None:
    async def main(world: World) -> None:
        file = world.disk.create("/f")
        before = world.clock.monotonic()
        file.sync()
        assert world.clock.monotonic() > before

    with Simulation(seed=1) as sim:
        sim.run_to_end(sim.host("a").start("p", main), 1.0)


def test_a_full_disk_has_no_room_for_anybody() -> None:
    with Simulation(seed=1) as sim:
        one, other = world_on(sim, "one"), world_on(sim, "other")
        file = one.disk.create("/f")
        file.write(b"x" * 100)
        sim.host("a").disk.capacity_bytes = 150
        assert other.disk.free_bytes("/") == 50
        with pytest.raises(OSError, match="No space") as caught:
            other.disk.create("/g").write(b"y" * 60)
        assert caught.value.errno == errno.ENOSPC
        one.disk.unlink("/f")
        assert other.disk.free_bytes("/") == 0, "an open file keeps its room"
        sim.processes[0].kill()
        assert other.disk.free_bytes("/") == 100
