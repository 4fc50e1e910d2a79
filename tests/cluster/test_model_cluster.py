"""Random operations against a real cluster and a sorted dict: both clients, hash and range, 1 to 5 shards, memtables so
small that everything is flushed and compacted and so large that nothing is, restarts and kills in between.

The seed is in the test's name: the same seed gives the same operations.
"""

import os
import random
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.faces import FACES, Face

from sherd.common.errors import Conflict, Overloaded, Partial
from sherd.common.types import Versioned
from sherd.testing import Cluster

ROUNDS = 400 if os.environ.get("SHERD_SOAK", "") in ("", "0") else 20_000
TINY = {"engine.memtable_bytes": 65_536, "engine.table_bytes": 16_384, "engine.level_base_bytes": 65_536}

SHAPES: dict[str, dict[str, Any]] = {
    "hash 1": {"shards": 1, "partition": "hash"},
    "hash 3 tiny": {"shards": 3, "partition": "hash", "settings": TINY},
    "hash 5": {"shards": 5, "partition": "hash"},
    "range 2 tiny": {"shards": 2, "partition": "range", "split_at": ["k2"], "settings": TINY},
    "range 4": {"shards": 4, "partition": "range", "split_at": ["c", "k1", "k3"], "proxies": 2},
}


class Model:
    """What the cluster must hold: key -> (value, version). Values here never expire within a test."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.data: dict[bytes, tuple[Any, int]] = {}
        self.highest: dict[bytes, int] = {}  # of each key, also deleted ones: versions must only grow

    def wrote(self, key: bytes, value: Any, version: int) -> None:
        assert version > self.highest.get(key, 0), f"the version of {key!r} did not grow"
        self.highest[key] = version
        self.data[key] = (value, version)

    def version(self, key: bytes) -> int:
        return self.data.get(key, (None, 0))[1]

    def value(self, key: bytes) -> Any:
        return self.data.get(key, (None, 0))[0]

    def range(self, start: bytes | None, end: bytes | None, prefix: bytes | None) -> list[bytes]:
        keys = sorted(self.data)
        low = 0 if start is None else bisect_left(keys, start)
        high = len(keys) if end is None else bisect_left(keys, end)
        return [key for key in keys[low : max(low, high)] if prefix is None or key.startswith(prefix)]

    # Random arguments

    def key(self) -> bytes:
        kind = self.rng.random()
        if kind < 0.7:
            return b"k%d" % self.rng.randrange(400)
        if kind < 0.9:
            return self.rng.choice([b"a", b"c", b"k", b"k2", b"z"]) + self.rng.choice(
                [b"", b"\0", b"\xff", b"\xff\xff"]
            )
        if kind < 0.98:
            return self.rng.randbytes(self.rng.randint(1, 3))
        return b"long" + bytes([self.rng.randrange(256)]) * self.rng.choice([100, 4092])

    def present_key(self) -> bytes:
        return self.rng.choice(list(self.data)) if self.data and self.rng.random() < 0.7 else self.key()

    def any_value(self) -> Any:
        rng = self.rng
        return rng.choice(
            [
                rng.randrange(-(2**40), 2**40),
                rng.randbytes(rng.randrange(200)),
                "тext" * rng.randrange(10),
                {"n": [rng.random(), None, True], "b": rng.randbytes(3)},
                rng.randbytes(rng.choice([1, 5_000, 70_000])) if rng.random() < 0.2 else False,
            ]
        )

    def bounds(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        rng = self.rng
        start = self.key() if rng.random() < 0.6 else None
        end = self.key() if rng.random() < 0.6 else None
        prefix = rng.choice([b"k", b"k1", b"k2", b"a", b"\xff", b"zz"]) if rng.random() < 0.3 else None
        return start, end, prefix


class Driver:
    """Does random operations on both sides and compares."""

    def __init__(self, face: Face, cluster: Cluster, model: Model) -> None:
        self.face, self.cluster, self.model, self.rng = face, cluster, model, model.rng
        self.kinds: list[tuple[int, Callable[[], None]]] = [
            (30, self.put), (10, self.get), (12, self.delete), (8, self.mget), (10, self.batch),
            (10, self.scan), (4, self.count), (6, self.conditional), (6, self.pipeline), (1, self.flush),
        ]  # fmt: skip

    def step(self) -> None:
        weights = [weight for weight, _ in self.kinds]
        self.rng.choices([do for _, do in self.kinds], weights)[0]()

    def put(self) -> None:
        key, value = self.model.key(), self.model.any_value()
        options: dict[str, Any] = self.rng.choice([{}, {}, {"ttl": 10_000}, {"sync": True}])
        self.model.wrote(key, value, self.face.put(key, value, **options))

    def get(self) -> None:
        key = self.model.present_key()
        assert self.face.get(key) == self.model.value(key)
        entry = self.face.get(key, meta=True)
        if key not in self.model.data:
            assert entry is None
        else:
            assert entry[:2] == self.model.data[key]

    def delete(self) -> None:
        key = self.model.present_key()
        if self.rng.random() < 0.3:
            old = self.model.value(key) if key in self.model.data else False
            assert self.face.delete(key, return_value=True) == old
        else:
            assert self.face.delete(key) is (key in self.model.data)
        self.model.data.pop(key, None)

    def mget(self) -> None:
        keys = [self.model.present_key() for _ in range(self.rng.randrange(30))]
        if self.rng.random() < 0.5:
            assert self.face.mget(keys) == [self.model.value(key) for key in keys]
        else:
            found = self.face.mget(keys, meta=True)
            assert [entry and entry[:2] for entry in found] == [self.model.data.get(key) for key in keys]

    def batch(self) -> None:
        ops: list[tuple[Any, ...]] = []
        for _ in range(self.rng.randrange(20)):
            if self.rng.random() < 0.7:
                ops.append(("put", self.model.key(), self.model.any_value()))
            else:
                ops.append(("delete", self.model.present_key()))
        try:
            results = self.face.batch(ops)
        except Partial as error:
            self.partly_overloaded(ops, error)
            return
        for op, result in zip(ops, results, strict=True):
            if op[0] == "put":
                self.model.wrote(op[1], op[2], result)
            else:
                assert result is (op[1] in self.model.data)
                self.model.data.pop(op[1], None)

    def partly_overloaded(self, ops: list[tuple[Any, ...]], error: Partial) -> None:
        """A tiny memtable fills faster than it is flushed: that shard may shed its part, and then all of its part."""
        assert {code for _, code, _ in error.failed} == {Overloaded.code}
        assert sorted([*error.done, *(position for position, _, _ in error.failed)]) == list(range(len(ops)))
        done = {ops[position][1]: ops[position] for position in error.done}  # the last operation on each key counts
        assert not done.keys() & {ops[position][1] for position, _, _ in error.failed}
        for (key, op), entry in zip(done.items(), self.face.mget(list(done), meta=True), strict=True):
            if op[0] == "put":
                assert entry.value == op[2]
                self.model.wrote(key, op[2], entry.version)
            else:
                assert entry is None
                self.model.data.pop(key, None)

    def conditional(self) -> None:
        key, value = self.model.present_key(), self.model.any_value()
        present = self.model.version(key)
        self.model.wrote(key, value, self.face.put(key, value, if_version=present))
        with pytest.raises(Conflict) as caught:
            self.face.put(key, "never", if_version=present)
        assert caught.value.version == self.model.version(key)
        with pytest.raises(Conflict):
            self.face.delete(key, if_version=present)
        other = self.model.key()
        if other != key:
            self.failed_batch(key, present, other)
        assert self.face.delete(key, if_version=self.model.version(key)) is True
        del self.model.data[key]

    def failed_batch(self, key: bytes, wrong_version: int, other: bytes) -> None:
        """A condition that fails takes its shard's part with it, and no other's."""
        ops = [("put", other, "other"), ("put", key, "never", {"if_version": wrong_version})]
        with pytest.raises((Conflict, Partial)) as caught:
            self.face.batch(ops)
        error = caught.value
        if isinstance(error, Partial):
            failed = {position: code for position, code, _ in error.failed}
            assert failed.pop(1) == Conflict.code
            assert not error.unknown
            if error.done:
                assert error.done == [0]
                assert not failed
                self.model.wrote(other, "other", self.face.get(other, meta=True).version)
            else:
                assert failed == {0: Overloaded.code}
        assert self.face.get(other) == self.model.value(other)
        assert self.face.get(key) == self.model.value(key)

    def scan(self) -> None:
        start, end, prefix = self.model.bounds()
        reverse, keys_only = self.rng.random() < 0.5, self.rng.random() < 0.3
        limit = self.rng.choice([None, None, 1, 7, 100])
        page_bytes = self.rng.choice([None, 1, 50, 1000])
        wanted = self.model.range(start, end, prefix)
        if reverse:
            wanted.reverse()
        found = self.face.scan(
            start, end, prefix=prefix, reverse=reverse, limit=limit, keys_only=keys_only, page_bytes=page_bytes
        )
        rows = wanted[:limit]
        assert found == (rows if keys_only else [(key, self.model.value(key)) for key in rows])

    def count(self) -> None:
        start, end, prefix = self.model.bounds()
        assert self.face.count(start, end, prefix=prefix) == len(self.model.range(start, end, prefix))

    def pipeline(self) -> None:
        """Requests of one connection that touch the same key take effect in the order sent."""
        keys = [self.model.key() for _ in range(5)]
        plan = [(self.rng.choice(keys), self.rng.choice(["put", "get", "delete"]), n) for n in range(40)]

        def fill(p: Any) -> None:
            for key, kind, number in plan:
                p.put(key, number) if kind == "put" else p.get(key) if kind == "get" else p.delete(key)

        results = self.face.pipeline(fill, raise_on_error=False)
        for (key, kind, number), result in zip(plan, results, strict=True):
            if isinstance(result, Overloaded):  # not executed, and not tried again behind what came after it
                assert kind != "get"
            elif kind == "put":
                self.model.wrote(key, number, result)
            elif kind == "get":
                assert result == self.model.value(key)
            else:
                assert result is (key in self.model.data)
                self.model.data.pop(key, None)

    def flush(self) -> None:
        self.face.flush()
        if self.rng.random() < 0.3:
            self.face.compact()

    def everything(self) -> None:
        """The whole store, both ways, and by key."""
        wanted = [(key, self.model.value(key)) for key in sorted(self.model.data)]
        assert self.face.scan() == wanted
        assert self.face.scan(reverse=True) == wanted[::-1]
        assert self.face.count() == len(wanted)
        keys = list(self.model.highest)
        assert self.face.mget(keys) == [self.model.value(key) for key in keys]
        for key in self.rng.sample(keys, min(20, len(keys))):
            if key in self.model.data:
                assert self.face.get(key, meta=True)[:2] == self.model.data[key]

    def restart(self) -> None:
        if self.rng.random() < 0.5:
            self.cluster.restart()
        else:  # kill -9 of every process loses nothing that was acknowledged, under any fsync policy
            self.cluster.kill()
            self.cluster.start()


@pytest.fixture(params=list(SHAPES))
def shaped_cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with Cluster(**SHAPES[request.param]) as cluster:
        yield cluster


@pytest.mark.parametrize("seed", [1])
def test_random_operations(shaped_cluster: Cluster, seed: int) -> None:
    rng = random.Random(seed)
    model = Model(rng)
    for kind in [*FACES, *FACES]:
        face = FACES[kind](shaped_cluster.address, timeout=30)
        try:
            driver = Driver(face, shaped_cluster, model)
            for _ in range(ROUNDS // 4):
                driver.step()
            driver.everything()
            driver.restart()
            driver.everything()
        finally:
            face.close()


def test_a_time_to_live_is_told_and_kept(sherd_cluster: Cluster) -> None:
    with sherd_cluster.client() as db:
        version = db.put("k", "v", ttl=1000)
        entry = db.get("k", meta=True)
        assert isinstance(entry, Versioned)
        assert (entry.value, entry.version) == ("v", version)
        assert entry.seconds_left is not None
        assert 990 < entry.seconds_left <= 1000
        db.put("k", "v")
        assert db.get("k", meta=True).seconds_left is None
        short = db.put("short", "v", ttl=0.05)
        while db.get("short") is not None:
            pass
        assert db.count() == 1
        assert db.put("short", "again", if_version=0) > short  # "k" may be another shard's, with versions of its own
