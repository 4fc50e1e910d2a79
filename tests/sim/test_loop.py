"""Virtual time and the event loop on it: asyncio works as it does elsewhere, and processes live, stop and die."""

import asyncio
import gc
import signal

import pytest

from sherd.common.process import settle_collector
from sherd.common.world import World
from sim.host import Main
from sim.scheduler import Deadlock, Overdue, Scheduler
from sim.simulation import Simulation


def test_events_run_in_the_order_of_their_times() -> None:
    scheduler = Scheduler(1)
    seen: list[object] = []
    scheduler.at(2.0, seen.append, "b")

    def first() -> None:
        seen.append("a")
        scheduler.after(0.5, seen.append, "between")

    scheduler.at(1.0, first)
    scheduler.at(3.0, seen.append, "cancelled").cancel()
    scheduler.at(9.0, seen.append, "later")
    scheduler.run(5.0)
    assert seen == ["a", "between", "b"]
    assert scheduler.now == 5.0


def test_the_seed_decides_among_events_of_one_time() -> None:
    def order(seed: int) -> list[int]:
        scheduler, seen = Scheduler(seed), list[int]()
        for number in range(6):
            scheduler.at(1.0, seen.append, number)
        scheduler.run(2.0)
        return seen

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 5


def test_it_says_when_nothing_can_come_and_when_it_takes_too_long() -> None:
    scheduler = Scheduler(1)
    with pytest.raises(Deadlock, match="nothing is scheduled"):
        scheduler.run_until(lambda: False, 10.0)
    scheduler.at(20.0, print)
    with pytest.raises(Overdue, match=r"not within 10\.0 s"):
        scheduler.run_until(lambda: False, 10.0)


async def everything(world: World) -> list[object]:
    """A tour of asyncio; what it showed."""
    loop = asyncio.get_running_loop()
    seen: list[object] = []
    queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
    condition = asyncio.Condition()

    async def fill() -> None:
        for number in range(5):
            await queue.put(number)
            await asyncio.sleep(0.1)
        async with condition:
            condition.notify_all()

    async def drain() -> None:
        for _ in range(5):
            seen.append(await queue.get())

    began = loop.time()
    async with asyncio.TaskGroup() as group:
        group.create_task(fill())
        group.create_task(drain())
        async with condition:
            await condition.wait()
    seen.append(round(loop.time() - began, 2))
    with pytest.raises(TimeoutError):
        await sleep_at_most(1.0)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 1.0)
    seen.append(round(loop.time() - began, 2))
    with pytest.raises(ExceptionGroup):
        await fail_in_a_group()
    seen += await asyncio.gather(asyncio.sleep(0.2, "x"), asyncio.sleep(0.1, "y"))
    seen.append(await loop.run_in_executor(None, lambda: 6 * 7))
    seen.append(await asyncio.to_thread(lambda: "thread"))
    seen.append(await asyncio.wrap_future(world.thread("own").submit(lambda: "own thread")))
    done, pending = await asyncio.wait([asyncio.create_task(asyncio.sleep(0.1)), loop.create_task(asyncio.sleep(9.0))],
                                       timeout=1.0)  # fmt: skip
    seen += [len(done), len(pending)]
    for task in pending:
        task.cancel()
    seen.append(round(loop.time() - began, 1))
    return seen


async def sleep_at_most(seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await asyncio.sleep(5.0)


async def fail_in_a_group() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(100.0))
        group.create_task(fail_after(0.5))


async def fail_after(seconds: float) -> None:
    await asyncio.sleep(seconds)
    raise ValueError("failed")


def test_asyncio_works() -> None:
    seen: list[object] = []

    async def main(world: World) -> None:
        seen.extend(await everything(world))

    with Simulation(seed=3) as sim:
        sim.run_to_end(sim.host("a").start("tour", main), 60.0)
    assert seen == [0, 1, 2, 3, 4, 0.5, 2.5, "x", "y", 42, "thread", "own thread", 1, 1, 4.2]


def test_callbacks_of_a_turn_run_in_order_and_what_they_add_runs_in_the_next() -> None:
    seen: list[str] = []

    async def main(world: World) -> None:
        loop = asyncio.get_running_loop()

        def first(number: int) -> None:
            seen.append(f"first {number}")
            loop.call_soon(seen.append, f"second {number}")

        for number in range(3):
            loop.call_soon(first, number)
        await asyncio.sleep(1.0)

    with Simulation(seed=3) as sim:
        sim.run_to_end(sim.host("a").start("p", main), 5.0)
    assert seen == ["first 0", "first 1", "first 2", "second 0", "second 1", "second 2"]


def ticking(ticks: list[float], sim: Simulation) -> Main:
    async def main(world: World) -> None:
        while True:
            ticks.append(sim.now)
            await asyncio.sleep(1.0)

    return main


def test_a_stopped_process_does_nothing_until_it_is_resumed() -> None:
    ticks: list[float] = []
    with Simulation(seed=5) as sim:
        process = sim.host("a").start("p", ticking(ticks, sim))
        sim.run(3.5)
        assert len(ticks) == 4
        process.pause()
        sim.run(10.0)
        assert len(ticks) == 4
        process.resume()
        sim.run(0.1)
        assert len(ticks) == 5
        assert ticks[-1] == pytest.approx(13.5, abs=0.01)


def test_a_killed_process_leaves_no_trace_of_its_tasks() -> None:
    cleaned: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100.0)
        finally:
            try:
                await asyncio.sleep(100.0)
            finally:
                cleaned.append("never while it is simulated")

    async def main(world: World) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(stubborn())
            group.create_task(fail_after(0.5))

    with Simulation(seed=5) as sim:
        process = sim.host("a").start("p", main)
        sim.run(0.2)
        process.kill()
        sim.run(100.0)
        gc.collect()
        assert not cleaned
        assert process.failure is None
    gc.collect()  # what is left of it is destroyed without a word


def test_a_slow_process_takes_longer() -> None:
    async def main(world: World) -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    with Simulation(seed=5) as sim:
        slow = sim.host("a").start("slow", main)
        slow.callback_seconds = 0.1
        fast = sim.host("a").start("fast", main)
        sim.run_to_end(fast, 1.0)
        assert slow.alive
        sim.run_to_end(slow, 20.0)
        assert sim.now > 10.0


def test_a_spinning_process_holds_up_nobody() -> None:
    async def spin(world: World) -> None:
        while True:
            await asyncio.sleep(0)

    async def sleep(world: World) -> None:
        await asyncio.sleep(0.05)

    with Simulation(seed=5) as sim:
        sim.host("a").start("spin", spin)
        sim.run_to_end(sim.host("a").start("sleep", sleep), 0.2)


def test_signals_reach_handlers_or_kill() -> None:
    async def main(world: World) -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        await stopped.wait()

    with Simulation(seed=5) as sim:
        process = sim.host("a").start("p", main)
        sim.run(1.0)
        process.signal(signal.SIGTERM)
        sim.run_to_end(process, 1.0)
        other = sim.host("a").start("p", main)
        sim.run(1.0)
        other.signal(signal.SIGINT)
        assert not other.alive


def test_what_nobody_handles_fails_the_simulation() -> None:
    async def main(world: World) -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1.0)

    async def lost_task(world: World) -> None:
        asyncio.get_running_loop().create_task(fail_after(0.1))
        await asyncio.sleep(1.0)

    for main_function, message in ((main, "ZeroDivisionError"), (lost_task, "never retrieved")):
        sim = Simulation(seed=5)
        sim.host("a").start("p", main_function)
        sim.run(0.5)
        with pytest.raises(AssertionError, match=message):
            sim.__exit__(None, None, None)


def test_who_waits_for_what_is_told() -> None:
    async def main(world: World) -> None:
        await asyncio.Event().wait()

    with Simulation(seed=5) as sim:
        process = sim.host("a").start("p", main)
        with pytest.raises(Deadlock) as caught:
            sim.run_to_end(process, 1.0)
    assert "main of p at" in "".join(caught.value.__notes__)


def test_clocks_differ_between_hosts_and_stop_in_sleep() -> None:
    with Simulation(seed=5) as sim:
        one, other = sim.host("a"), sim.host("b")
        assert one.clock.monotonic() != other.clock.monotonic()
        start, wall = one.clock.monotonic(), one.clock.now_ms()
        boot = one.clock.boottime()
        sim.run(100.0)
        assert one.clock.monotonic() - start == pytest.approx(100.0, abs=0.02)
        assert one.clock.monotonic() - start != 100.0
        assert one.clock.now_ms() - wall == pytest.approx(100_000, abs=20)
        one.clock.step(-5.0)
        assert one.clock.now_ms() - wall == pytest.approx(95_000, abs=20)
        ticks: list[float] = []
        one.start("p", ticking(ticks, sim))
        sim.run(10.5)
        one.fall_asleep()
        sim.run(1000.0)
        one.wake()
        sim.run(10.0)
        assert len(ticks) == 21, "timers did not run while it slept"
        assert one.clock.boottime() - boot == pytest.approx(1120.5, abs=0.2)
        assert one.clock.monotonic() - start == pytest.approx(120.5, abs=0.2)


def test_what_a_process_does_to_the_collector_ends_with_the_simulation() -> None:
    before = (gc.get_threshold(), gc.get_freeze_count())

    async def main(world: World) -> None:
        settle_collector()

    with Simulation(seed=5) as sim:
        sim.run_to_end(sim.host("a").start("p", main), 1.0)
        assert gc.get_freeze_count() > before[1]
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_one_seed_one_run() -> None:
    def run(seed: int) -> tuple[str, int]:
        async def main(world: World) -> None:
            await everything(world)

        with Simulation(seed) as sim:
            process = sim.host("a").start("tour", main)
            sim.run_to_end(process, 60.0)
            return sim.digest, sim.scheduler.events

    assert run(1) == run(1)
    assert run(1) != run(2)
