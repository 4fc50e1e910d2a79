"""The simulated etcd: what etcd promises, and every way in which a process does not hear of it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from sherd.cluster.etcd.api import (
    Absent,
    Change,
    Delete,
    Etcd,
    EtcdRefused,
    EtcdUnavailable,
    Holds,
    KeyValue,
    Put,
    WatchLost,
)
from sherd.common.world import World
from sim.etcd import ETCD_HOST, REQUEST_SECONDS
from sim.simulation import Simulation

Play = Callable[[Etcd], Awaitable[Any]]


class Clients:
    """Processes that do what they are told with an etcd, and keep what came of it."""

    def __init__(self, sim: Simulation) -> None:
        self.sim = sim
        self.outcomes: list[Any] = []

    def start(self, play: Play, host: str = "a") -> None:
        holder: list[Etcd] = []

        async def main(world: World) -> None:
            try:
                self.outcomes.append(await play(holder[0]))
            except Exception as error:  # noqa: BLE001 - an outcome like any other
                self.outcomes.append(error)

        process = self.sim.host(host).start(f"client on {host}", main)
        holder.append(self.sim.etcd.client(process))

    def ask(self, play: Play, seconds: float = 5.0) -> Any:
        """What ``play`` gives, or raises."""
        count = len(self.outcomes)
        self.start(play)
        self.sim.run_until(lambda: len(self.outcomes) > count, seconds)
        found = self.outcomes.pop()
        if isinstance(found, Exception):
            raise found
        return found


def keys(found: tuple[int, list[KeyValue]]) -> dict[str, bytes]:
    return {one.key: one.value for one in found[1]}


def test_transactions_are_one_revision_or_nothing() -> None:
    async def play(etcd: Etcd) -> None:
        first, none = await etcd.read_prefix("/")
        assert none == []
        assert await etcd.transact([Absent("/a")], [Put("/a", b"1"), Put("/b", b"2")])
        assert await etcd.read_prefix("/") == (
            first + 1,
            [KeyValue("/a", b"1", first + 1), KeyValue("/b", b"2", first + 1)],
        )
        assert not await etcd.transact([Absent("/a")], [Put("/a", b"x")])
        assert not await etcd.transact([Holds("/a", b"1"), Holds("/c", b"")], [Put("/a", b"x")])
        assert await etcd.transact([Holds("/a", b"1"), Absent("/c")], [Put("/a", b"3"), Delete("/b"), Delete("/none")])
        assert await etcd.read_prefix("/") == (first + 2, [KeyValue("/a", b"3", first + 2)])
        assert await etcd.transact([], [Delete("/none")])
        assert (await etcd.read_prefix("/"))[0] == first + 2, "nothing has changed"

    with Simulation(seed=1) as sim:
        Clients(sim).ask(play)


@pytest.mark.parametrize(
    "changes",
    [
        [Put("/a", b""), Delete("/a")],
        [Put("/a", b"", 77)],
        [Put(f"/{n}", b"") for n in range(129)],
        [Put("/a", bytes(2 << 20))],
        [Put("", b"")],
    ],
)
def test_what_etcd_does_not_take(changes: Sequence[Put | Delete]) -> None:
    with Simulation(seed=1) as sim, pytest.raises(EtcdRefused):
        Clients(sim).ask(lambda etcd: etcd.transact([], changes))


def test_leases_end_with_their_keys_unless_they_are_renewed() -> None:
    async def play(etcd: Etcd) -> None:
        lease = await etcd.grant(1)
        assert lease.ttl_seconds == 2, "no shorter ones are given"
        await etcd.transact([], [Put("/a", b"", lease.id), Put("/b", b"", lease.id)])
        for _ in range(5):
            await asyncio.sleep(1.5)
            assert await etcd.keep_alive(lease.id) == 2
        revision, found = await etcd.read_prefix("/")
        assert [one.lease for one in found] == [lease.id] * 2
        await asyncio.sleep(2.1)
        assert await etcd.keep_alive(lease.id) == 0
        await asyncio.sleep(0.6)
        assert await etcd.read_prefix("/") == (revision + 1, [])
        await etcd.revoke(lease.id)
        other = await etcd.grant(60)
        await etcd.transact([], [Put("/a", b"", other.id), Put("/b", b"", other.id)])
        await etcd.transact([], [Put("/b", b"free")])
        await etcd.revoke(other.id)
        assert keys(await etcd.read_prefix("/")) == {"/b": b"free"}
        with pytest.raises(EtcdRefused):
            await etcd.grant(0)

    with Simulation(seed=1) as sim:
        Clients(sim).ask(play, 60.0)


def test_a_new_leader_counts_leases_anew() -> None:
    with Simulation(seed=1) as sim:
        clients = Clients(sim)
        lease = clients.ask(lambda etcd: etcd.grant(10))
        clients.ask(lambda etcd: etcd.transact([], [Put("/a", b"", lease.id)]))
        sim.run(9.0)
        sim.etcd.change_leader(3.0)
        sim.run(12.0)
        assert keys(clients.ask(lambda etcd: etcd.read_prefix("/")))
        sim.run(5.0)
        assert not keys(clients.ask(lambda etcd: etcd.read_prefix("/")))


def watching(seen: list[list[Change]], revision: int = 1) -> Callable[[Etcd], Coroutine[Any, Any, None]]:
    async def play(etcd: Etcd) -> None:
        async for changes in etcd.watch("/w", revision):
            seen.append(list(changes))

    return play


def test_watches_see_every_change_in_order() -> None:
    async def write(etcd: Etcd) -> None:
        for number in range(20):
            await etcd.transact([], [Put("/w/a", b"%d" % number), Put("/w/b", b"%d" % number), Put("/x", b"")])
        await etcd.transact([], [Delete("/w/a")])

    with Simulation(seed=1) as sim:
        clients, early, late = Clients(sim), list[list[Change]](), list[list[Change]]()
        clients.start(watching(early))
        clients.ask(write)
        clients.start(watching(late, 3))
        sim.run(1.0)
        wanted = [
            Change(key, b"%d" % number, number + 2) for number in range(20) for key in ("/w/a", "/w/b")
        ] + [Change("/w/a", None, 22)]  # fmt: skip
        assert [change for changes in early for change in changes] == wanted
        assert [change for changes in late for change in changes] == wanted[2:]
        for changes in early + late:
            assert len(changes) % 2 == 0 or changes[-1].revision == 22, "a revision comes whole"


def test_a_compacted_watch_is_lost() -> None:
    with Simulation(seed=1) as sim:
        clients, seen = Clients(sim), list[list[Change]]()
        for number in range(5):
            clients.ask(lambda etcd, n=number: etcd.transact([], [Put("/w", b"%d" % n)]))  # type: ignore[misc]
        sim.etcd.compact()
        with pytest.raises(WatchLost):
            clients.ask(watching(seen, 3))
        clients.start(watching(seen, 6))
        clients.ask(lambda etcd: etcd.transact([], [Put("/w", b"last")]))
        sim.run(1.0)
        assert [change.value for changes in seen for change in changes] == [b"4", b"last"]


def test_a_cut_path_means_unavailable_whether_or_not_it_was_done() -> None:
    done = set()
    for seed in range(12):
        for way in ((ETCD_HOST, "a"), ("a", ETCD_HOST)):
            with Simulation(seed) as sim:
                clients = Clients(sim)
                sim.host("a")
                sim.fabric.cut(*way)
                began = sim.now
                with pytest.raises(EtcdUnavailable):
                    clients.ask(lambda etcd: etcd.transact([], [Put("/a", b"")]))
                assert sim.now - began == pytest.approx(REQUEST_SECONDS, abs=0.01)
                at_once = bool(sim.etcd.store.read_prefix("/")[1])
                sim.fabric.heal_all()
                sim.run(5.0)
                done.add((way[0], at_once, bool(sim.etcd.store.read_prefix("/")[1])))
    assert done == {(ETCD_HOST, True, True), ("a", False, False), ("a", False, True)}


def test_a_cut_holds_a_watch_back_and_ends_it_if_it_lasts() -> None:
    for seconds, ends in ((3.0, False), (30.0, True)):
        with Simulation(seed=2) as sim:
            watcher, writer, seen = Clients(sim), Clients(sim), list[list[Change]]()
            watcher.start(watching(seen), host="b")
            sim.run(1.0)
            sim.fabric.cut(ETCD_HOST, "b")
            writer.ask(lambda etcd: etcd.transact([], [Put("/w", b"")]))
            sim.run(seconds)
            assert not seen
            sim.fabric.heal_all()
            sim.run(5.0)
            assert len(seen) == (0 if ends else 1)
            assert [type(one) for one in watcher.outcomes] == ([EtcdUnavailable] if ends else [])


def test_down_for_everybody() -> None:
    with Simulation(seed=2) as sim:
        clients, seen = Clients(sim), list[list[Change]]()
        clients.start(watching(seen))
        clients.ask(lambda etcd: etcd.transact([], [Put("/w", b"kept")]))
        sim.run(1.0)
        sim.etcd.stop()
        sim.run(1.0)
        assert isinstance(clients.outcomes[0], EtcdUnavailable)
        with pytest.raises(EtcdUnavailable):
            clients.ask(lambda etcd: etcd.read_prefix("/"))
        sim.etcd.start()
        assert keys(clients.ask(lambda etcd: etcd.read_prefix("/"))) == {"/w": b"kept"}
