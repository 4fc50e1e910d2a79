"""Random histories with dying links, refusals, timeouts and moved partitions. # FAULTS 17, 24, 29

What must hold in each: every request is answered exactly once; writes of one connection to one key are executed in the
order sent and each at most once; a read sees the writes its connection sent before and none sent after it; a write
answered UNAVAILABLE was not executed; one answered with a version was.
"""

import random
from dataclasses import replace

import pytest
from support.dict_shard import answer
from support.proxy_core import RecordingSink, Rig

from sherd.common.topology.layout import Layout
from sherd.common.topology.token_map import TokenMap
from sherd.common.types import LayoutCounter, ShardId
from sherd.common.wire.encode import request
from sherd.proxy.bounds import Bounds
from sherd.proxy.session import Session

pytestmark = pytest.mark.core

BOUNDS = Bounds(request_timeout_s=1.0, failover_hold_s=0.5)


class Connection:
    """One client that writes ascending numbers to its own keys, and reads them."""

    def __init__(self, rig: Rig, number: int, rng: random.Random) -> None:
        self.session, self.sink = self.open(rig)
        self.rng = rng
        self.keys = [f"{number}-{key}".encode() for key in range(3)]
        self.sent: dict[int, tuple[str, list[bytes], int]] = {}
        self.outcomes: dict[int, tuple[object, object]] = {}
        self.next = 1

    def open(self, rig: Rig) -> tuple[Session, RecordingSink]:
        return rig.session()

    def send(self) -> None:
        number = self.next
        self.next += 1
        kind = self.rng.choice(["put", "put", "get", "mget", "batch"])
        key = self.rng.choice(self.keys)
        if kind == "put":
            frame, keys = request(number, "put", [key, number]), [key]
        elif kind == "get":
            frame, keys = request(number, "get", [key]), [key]
        elif kind == "mget":
            frame, keys = request(number, "mget", [self.keys]), self.keys
        else:
            frame, keys = request(number, "batch", [[["put", found, number] for found in self.keys]]), self.keys
        self.sent[number] = (kind, keys, number)
        self.session.feed(frame)

    def collect(self) -> None:
        for _, msgid, error, result in self.sink.responses():
            assert isinstance(msgid, int)
            assert msgid not in self.outcomes
            self.outcomes[msgid] = (error, result)


def watch(rig: Rig) -> dict[bytes, list[object]]:
    """What is executed on each key, in order: written numbers."""
    executed: dict[bytes, list[object]] = {}
    for shard in rig.shards.values():
        original = shard.do_put

        def put(key, value, options=None, original=original):  # type: ignore[no-untyped-def]
            result = original(key, value, options)
            executed.setdefault(key, []).append(value)
            return result

        shard.do_put = put  # type: ignore[method-assign]
    return executed


def move(rig: Rig) -> None:
    """Hand every partition to the next shard, as one committed move: data first, then who serves, then who knows."""
    old = rig.routes.topology.layout if rig.routes.topology.version > rig.topology.version else rig.topology.layout
    count = len(rig.shards)
    layout = Layout(
        LayoutCounter(old.counter + 1),
        old.mode,
        tuple(replace(part, owner=ShardId(part.owner % count + 1)) for part in old.partitions),
    )
    everything = {key: value for shard in rig.shards.values() for key, value in shard.values.items()}
    version = max(shard.version for shard in rig.shards.values())
    token_map = TokenMap(layout)
    for shard in rig.shards.values():
        shard.token_map = token_map
        shard.version = version
        shard.values = {key: value for key, value in everything.items() if token_map.owner(key) == shard.shard}
    rig.topology = replace(rig.topology, version=rig.topology.version + 1, layout=layout)


def step(rig: Rig, rng: random.Random, connections: list[Connection]) -> None:
    roll = rng.random()
    link = rng.choice(rig.routes.links)
    if roll < 0.5:
        for _ in range(rng.randint(1, 6)):
            rng.choice(connections).send()
    elif roll < 0.75:
        rig.flush()
        rig.serve(rng.randint(1, len(rig.shards)))
    elif roll < 0.85:
        rig.tick(rng.choice([0.01, 0.05, 0.2]))
    elif roll < 0.92:
        if link.up:
            rig.flush()
            assert isinstance(link.sink, RecordingSink)
            if rng.random() < 0.7:
                answer(rig.shards[link.shard], link.sink.take())  # executed, and the answers are lost
            rig.lose(link)
        else:
            rig.open(link)
    elif roll < 0.96:
        move(rig)
    else:
        rig.routes.adopt(rig.topology)


def check(connection: Connection, executed: dict[bytes, list[object]]) -> None:
    assert set(connection.outcomes) == set(connection.sent)
    for key in connection.keys:
        numbers = [number for number in executed.get(key, []) if isinstance(number, int)]
        assert numbers == sorted(set(numbers)), f"{key!r}: out of order or twice: {numbers}"
    for number, (kind, keys, _) in connection.sent.items():
        error, result = connection.outcomes[number]
        code = error[0] if isinstance(error, list) else None
        done = [number in executed.get(key, []) for key in keys]
        if kind == "put":
            assert code in (None, 21, 22)
            assert done[0] if code is None else (code == 22 or not done[0])
        elif kind == "batch" and isinstance(error, list):
            assert code in (5, 21, 22)
            if code == 5:
                details = error[2]
                assert all(done[position] for position in details[b"done"])
                assert not any(done[position] for position, _, _ in details[b"failed"])
        elif kind == "batch":
            assert all(done)
        elif error is None:
            values = [result] if kind == "get" else result
            assert isinstance(values, list)
            for key, value in zip(keys, values, strict=True):
                before = [found for found in executed.get(key, []) if isinstance(found, int) and found < number]
                assert value == (before[-1] if before else None), f"read {number} of {key!r} saw {value}"


@pytest.mark.parametrize("mode", ["hash", "range"])
@pytest.mark.parametrize("seed", range(60))
def test_random_history(mode: str, seed: int) -> None:
    rng = random.Random(f"{mode} {seed}")
    rig = Rig(mode, shards=3, bounds=BOUNDS)
    executed = watch(rig)
    connections = [Connection(rig, number, rng) for number in range(3)]
    for _ in range(150):
        step(rig, rng, connections)
    rig.routes.adopt(rig.topology)
    for link in rig.routes.links:
        if not link.up:
            rig.open(link)
    for _ in range(30):
        rig.serve()
        rig.tick(0.1)
    rig.serve()
    for connection in connections:
        connection.collect()
        check(connection, executed)
        assert connection.session.inflight == 0
    assert rig.budget.bytes == 0
    left = [(link.shard, link.purpose, link.live, link.held, link.held_bytes) for link in rig.routes.links]
    assert all(found[2:] == (0, 0, 0) for found in left), left
