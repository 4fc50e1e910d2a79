"""Threads of a simulated process: work runs later, in order, at one moment of its time, and not after death."""

import asyncio
from concurrent.futures import CancelledError

import pytest

from sherd.common.world import World
from sim.executor import SimExecutor
from sim.simulation import Simulation


def executor(sim: Simulation) -> SimExecutor:
    return SimExecutor(sim.host("a").spawn("p"), "thread")


def test_work_runs_in_order_and_later() -> None:
    with Simulation(seed=1) as sim:
        thread, seen = executor(sim), list[int]()
        futures = [thread.submit(seen.append, number) for number in range(5)]
        assert not seen
        sim.run(1.0)
        assert seen == [0, 1, 2, 3, 4]
        assert all(future.done() for future in futures)


def test_results_errors_and_cancellation() -> None:
    with Simulation(seed=1) as sim:
        thread = executor(sim)
        good, bad, cancelled = thread.submit(pow, 2, 5), thread.submit(lambda: 1 // 0), thread.submit(print)
        assert cancelled.cancel()
        sim.run(1.0)
        assert good.result() == 32
        assert isinstance(bad.exception(), ZeroDivisionError)
        with pytest.raises(CancelledError):
            cancelled.result()


def test_no_loop_runs_in_a_thread() -> None:
    async def main(world: World) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(RuntimeError, match="no running event loop"):
            await loop.run_in_executor(world.thread("x"), asyncio.get_running_loop)

    with Simulation(seed=1) as sim:
        sim.run_to_end(sim.host("a").start("p", main), 1.0)


def test_shutdown_runs_what_is_left() -> None:
    with Simulation(seed=1) as sim:
        thread, seen = executor(sim), list[int]()
        futures = [thread.submit(seen.append, number) for number in range(5)]
        sim.run(0.0002)
        thread.shutdown(wait=True)
        assert seen == [0, 1, 2, 3, 4]
        assert all(future.done() for future in futures)
        with pytest.raises(RuntimeError, match="after shutdown"):
            thread.submit(print)
        sim.run(1.0)
        assert seen == [0, 1, 2, 3, 4]


def test_shutdown_without_waiting_and_with_cancelling() -> None:
    with Simulation(seed=1) as sim:
        one, other = executor(sim), executor(sim)
        kept, dropped = one.submit(pow, 2, 2), other.submit(pow, 2, 2)
        one.shutdown(wait=False)
        other.shutdown(wait=True, cancel_futures=True)
        assert dropped.cancelled()
        assert not kept.done()
        sim.run(1.0)
        assert kept.result() == 4


def test_work_waits_while_the_process_is_stopped() -> None:
    with Simulation(seed=1) as sim:
        process = sim.host("a").spawn("p")
        thread, seen = SimExecutor(process, "thread"), list[int]()
        process.pause()
        thread.submit(seen.append, 1)
        sim.run(10.0)
        assert not seen
        process.resume()
        sim.run(0.1)
        assert seen == [1]


def test_a_process_may_die_before_its_work_after_it_or_when_it_knows_of_it() -> None:
    done_and_told = set()
    for seed in range(40):
        with Simulation(seed) as sim:
            process = sim.host("a").spawn("p")
            thread, seen = SimExecutor(process, "thread", work_seconds=1.0), list[int]()
            future = thread.submit(seen.append, 1)
            sim.run(0.7)
            process.kill()
            at_death = len(seen)
            sim.run(10.0)
            assert len(seen) == at_death
            done_and_told.add((bool(seen), future.done()))
    assert done_and_told == {(False, False), (True, False), (True, True)}
