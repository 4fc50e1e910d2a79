"""One Python client, one thread, in a process of its own; rates as one JSON object on stdout.

python -m peers.client_child '{"client": "Sherd", "address": "127.0.0.1:7700", "keys": 100000, "seconds": 2}'
"""

import json
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from peers.rows import SHERD
from peers.targets import REDIS_PY

PIPELINE = 100
VALUE_BYTES = 100
CALLS_BETWEEN_LOOKS = 50


@dataclass(frozen=True, slots=True)
class Order:
    """``seconds`` for each kind of call. The keys are loaded: 0 to ``keys`` - 1, as 16 digits."""

    client: str
    address: str
    keys: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Calls:
    """A client's calls; ``put_many`` sends so many puts in one pipeline and reads all answers."""

    get: Callable[[bytes], object]
    put: Callable[[bytes, bytes], object]
    put_many: Callable[[list[bytes], bytes], object]


def sherd_calls(address: str) -> Calls:
    from sherd import Client

    client = Client(address)

    def put_many(keys: list[bytes], value: bytes) -> object:
        pipeline = client.pipeline()
        for key in keys:
            pipeline.put(key, value)
        return pipeline.execute()

    return Calls(client.get, client.put, put_many)


def redis_calls(address: str) -> Calls:
    import redis

    host, _, port = address.rpartition(":")
    client = redis.Redis(host, int(port))

    def put_many(keys: list[bytes], value: bytes) -> object:
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.set(key, value)
        return pipeline.execute()

    return Calls(client.get, client.set, put_many)


CLIENTS: dict[str, Callable[[str], Calls]] = {SHERD: sherd_calls, REDIS_PY: redis_calls}


def per_second(call: Callable[[], object], seconds: float) -> float:
    """How often ``call`` is done in a second."""
    done = 0
    started = now = time.perf_counter()
    while now - started < seconds:
        for _ in range(CALLS_BETWEEN_LOOKS):
            call()
        done += CALLS_BETWEEN_LOOKS
        now = time.perf_counter()
    return done / (now - started)


def rates(order: Order) -> dict[str, float]:
    """By the row's name, in keys a second."""
    calls = CLIENTS[order.client](order.address)
    rng = random.Random(1)
    value = rng.randbytes(VALUE_BYTES)
    keys = [b"%016d" % number for number in rng.choices(range(order.keys), k=10_000)]
    if len(calls.get(keys[0]) or b"") != VALUE_BYTES:  # type: ignore[arg-type]
        raise RuntimeError("the keys are not loaded")
    turn = iter(keys * 1000)
    groups = [keys[at : at + PIPELINE] for at in range(0, len(keys), PIPELINE)]
    group_turn = iter(groups * 1000)
    return {
        "client get": per_second(lambda: calls.get(next(turn)), order.seconds),
        "client put": per_second(lambda: calls.put(next(turn), value), order.seconds),
        "client pipeline of 100": PIPELINE * per_second(lambda: calls.put_many(next(group_turn), value), order.seconds),
    }


def main() -> int:
    print(json.dumps(rates(Order(**json.loads(sys.argv[1])))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
