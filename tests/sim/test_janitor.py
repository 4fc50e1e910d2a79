"""The simulated janitor does production's jobs, and dies as a child process does."""

import asyncio
from collections.abc import Awaitable, Callable

from support.segment_run import install, write_segment

from sherd.common.errors import Corruption
from sherd.common.world import World
from sherd.shard.janitor_protocol import MessageBuffer, answer_of, encode_message, job_message, pace_message
from sherd.shard.lsm.format import KIND_PUT, TEMPORARY_SUFFIX, segment_name
from sherd.shard.lsm.job_types import CompactJob, CompactResult, FlushJob, FlushResult, Job, PrepareJob, PrepareResult
from sherd.shard.lsm.options import EngineOptions
from sim.host import Host
from sim.janitor import SimJanitor
from sim.process import Process
from sim.simulation import Simulation

OPTIONS = EngineOptions(compression="none")
DIRECTORY = "/data"
FLUSH = FlushJob(1, "i", (1,), 1, 40)
PREPARE = PrepareJob(2, "i", 9, 4096, 1)


def with_janitor(play: Callable[[SimJanitor, World], Awaitable[None]], seed: int = 1) -> Simulation:
    """Runs ``play`` in a process that has a janitor, on a host with segment 1 of 40 values."""
    sim = Simulation(seed)
    host = sim.host("a")
    process: list[Process] = []

    async def main(world: World) -> None:
        world.disk.mkdir(DIRECTORY)
        turns = [[(b"%03d" % n, KIND_PUT, 0, b"\xc4\x64" + bytes(100))] for n in range(40)]
        write_segment(world.disk, DIRECTORY, 1, turns)
        await play(SimJanitor(host, process[0], DIRECTORY, OPTIONS), world)

    with sim:
        process.append(host.start("shard", main))
        sim.run_to_end(process[0], 60.0)
    return sim


async def outcomes(janitor: SimJanitor, count: int) -> dict[int, object]:
    """The next ``count`` answers by job."""
    buffer, found = MessageBuffer(), dict[int, object]()
    while len(found) < count:
        data = await janitor.read()
        assert data, "the janitor is dead"
        buffer.feed(data)
        while (message := buffer.next()) is not None:
            job_id, outcome = answer_of(message)
            found[job_id] = outcome
    return found


def give(janitor: SimJanitor, *jobs: Job) -> None:
    data = b"".join(encode_message(job_message(job)) for job in jobs)
    for start in range(0, len(data), 7):
        janitor.write(data[start : start + 7])


def temporaries(world: World) -> list[str]:
    return [name for name in world.disk.listdir(DIRECTORY) if name.endswith(TEMPORARY_SUFFIX)]


def test_it_does_jobs() -> None:
    async def play(janitor: SimJanitor, world: World) -> None:
        janitor.write(encode_message(pace_message(20, 1000)))
        give(janitor, FLUSH, PREPARE)
        found = await outcomes(janitor, 2)
        flushed = found[1]
        assert isinstance(flushed, FlushResult)
        assert isinstance(found[2], PrepareResult)
        (meta,) = install(world.disk, DIRECTORY, flushed, 5, 0)
        assert meta.entries == 40
        give(janitor, CompactJob(3, "i", ((meta,),), 1, (), 0, 1 << 20))
        compacted = (await outcomes(janitor, 1))[3]
        assert isinstance(compacted, CompactResult)
        assert compacted.tables[0].properties.entries == 40
        janitor.close()
        assert await janitor.wait() == 0
        assert await janitor.read() == b""

    with_janitor(play)


def test_a_failed_job_is_told_and_leaves_nothing() -> None:
    async def play(janitor: SimJanitor, world: World) -> None:
        damaged = world.disk.open_append(f"{DIRECTORY}/{segment_name(1)}", 200)
        damaged.write(b"damage")
        give(janitor, FLUSH, FlushJob(7, "i", (88,), 1, 40))
        found = await outcomes(janitor, 2)
        assert isinstance(found[1], Corruption)
        assert isinstance(found[7], FileNotFoundError)
        assert temporaries(world) == []

    with_janitor(play)


def test_killed_it_answers_nothing_and_may_leave_temporaries() -> None:
    left = set()
    operations = 0

    async def play(janitor: SimJanitor, world: World) -> None:
        janitor.disk.die_in(operations)
        give(janitor, FLUSH)
        assert await janitor.read() == b""
        assert await janitor.wait() == -9
        assert janitor.busy() is None
        janitor.write(b"lost")
        left.add(len(temporaries(world)))

    for operations in range(3):  # noqa: B007 - ``play`` reads it
        with_janitor(play)
    assert left == {0, 1}


def test_a_janitor_that_hangs_uses_no_processor_time() -> None:
    async def play(janitor: SimJanitor, world: World) -> None:
        janitor.job_seconds = 10.0
        idle = janitor.busy()
        await asyncio.sleep(1.0)
        assert janitor.busy() == idle
        give(janitor, FLUSH)
        await asyncio.sleep(1.0)
        busy = janitor.busy()
        await asyncio.sleep(0.5)
        assert busy != janitor.busy()
        janitor.process.pause()
        busy = janitor.busy()
        await asyncio.sleep(30.0)
        assert janitor.busy() == busy
        janitor.kill()
        assert await janitor.wait() == -9

    with_janitor(play)


def test_it_dies_with_its_parent() -> None:
    with Simulation(seed=1) as sim:
        host: Host = sim.host("a")
        parent = host.spawn("shard")
        janitor = SimJanitor(host, parent, DIRECTORY, OPTIONS)
        parent.kill()
        assert not janitor.process.alive
