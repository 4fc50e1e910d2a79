"""etcd, for orientation only: a different kind of store, driven by a plain HTTP/JSON client that limits what is seen.

It syncs every write before it answers, groups them, and keeps every key's history.
"""

import base64
import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

from peers.processes import free_ports
from peers.rows import Sample
from peers.server import Server
from peers.targets import ETCD

THREADS = 8
VALUE_BYTES = 100
TIMEOUT_SECONDS = 10.0
KEYS = 10_000


class EtcdServer(Server):
    """One member, which is its whole cluster."""

    name = ETCD
    protocol = "resp"  # never asked for: `hammer` drives it
    programs = ("etcd",)

    def serve(self, directory: Path) -> None:
        client_port, peer_port = free_ports(2)
        client, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
        options = {
            "data-dir": str(directory / "data"),
            "listen-client-urls": client,
            "advertise-client-urls": client,
            "listen-peer-urls": peer,
            "initial-advertise-peer-urls": peer,
            "initial-cluster": f"default={peer}",
            "log-level": "error",
        }
        command = ["etcd", *(f"--{name}={value}" for name, value in options.items())]
        self.spawn(command, directory, "etcd").wait_for_port(client_port)
        self.address = f"127.0.0.1:{client_port}"


class Caller:
    """One kept-alive connection to the JSON gateway."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)

    def put(self, key: bytes, value: bytes) -> None:
        self._post("/v3/kv/put", {"key": _base64(key), "value": _base64(value)})

    def get(self, key: bytes) -> bytes | None:
        found = self._post("/v3/kv/range", {"key": _base64(key)}).get("kvs")
        return base64.b64decode(found[0]["value"]) if found else None

    def _post(self, path: str, body: dict[str, str]) -> dict[str, list[dict[str, str]]]:
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        data = response.read()
        if response.status != http.client.OK:
            raise RuntimeError(f"etcd answered {response.status}: {data[:200]!r}")
        answer: dict[str, list[dict[str, str]]] = json.loads(data)
        return answer

    def close(self) -> None:
        self._connection.close()


def hammer(server: Server, workload: str, seconds: float) -> Sample:
    """``put`` or ``get`` by THREADS threads of this process for so long; p50 is in the details."""
    latencies: list[float] = []
    failures: list[Exception] = []
    stop_at = time.perf_counter() + seconds
    before = server.usage()

    def work(seed: int) -> None:
        try:
            latencies.extend(_calls(server.address, workload, seed, stop_at))
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    used = server.usage().since(before)
    count = len(latencies)
    cpu_us = {role: spent / count * 1e6 for role, spent in used.items()}
    return Sample(count / seconds, cpu_us, {"requests": count, "p50_us": round(sorted(latencies)[count // 2] * 1e6)})


def _calls(address: str, workload: str, seed: int, stop_at: float) -> list[float]:
    rng = random.Random(seed)
    value = rng.randbytes(VALUE_BYTES)
    caller = Caller(address)
    call: Callable[[bytes], object] = caller.get if workload == "get" else lambda key: caller.put(key, value)
    latencies = []
    try:
        while (now := time.perf_counter()) < stop_at:
            call(b"%016d" % rng.randrange(KEYS))
            latencies.append(time.perf_counter() - now)
    finally:
        caller.close()
    return latencies


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
