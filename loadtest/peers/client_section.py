"""Python clients, one thread; and etcd behind a plain HTTP client, for orientation."""

import importlib.util
from functools import partial

from peers.alternation import alternate, in_turns, tell
from peers.child import run_child
from peers.client_child import VALUE_BYTES
from peers.etcd import THREADS, EtcdServer, hammer
from peers.quiet import Watch
from peers.redis_servers import RedisServer
from peers.rows import SHERD, Results, Sample
from peers.settings import Settings
from peers.sherd_server import SherdServer
from peers.standing import fill, standing
from peers.targets import CLIENT_ROWS, REDIS, REDIS_PY

KEYS_MAX = 100_000


def client_section(settings: Settings, results: Results) -> None:
    """Get, put, and pipelines of 100 puts, each client in a fresh process against its own server."""
    keys = min(settings.keys, KEYS_MAX)
    rows = {name: results.open_row("client", name, "keys/s") for name in CLIENT_ROWS}
    with standing(settings, results, [SherdServer(), RedisServer()], "client") as serving:
        fill(serving, keys, VALUE_BYTES)
        subjects = [(SHERD if name == SHERD else REDIS_PY, server) for name, server in serving]
        subjects = [(name, server) for name, server in subjects if name == SHERD or _redis_py(results)]
        for name, server in in_turns(settings.rounds, subjects):
            order = {"client": name, "address": server.address, "keys": keys, "seconds": settings.seconds}
            watch, before = Watch.start(), server.usage()
            found = run_child("peers.client_child", order)
            detail = watch.detail(sum(server.usage().since(before).values()))
            for row_name, value in found.items():
                rows[row_name].add(name, Sample(value, {}, detail))
            server.calm_down()
    if REDIS in results.absent:
        results.absent[REDIS_PY] = results.absent[REDIS]
    tell(rows.values())
    _etcd_rows(settings, results)


def _redis_py(results: Results) -> bool:
    if importlib.util.find_spec("redis"):
        return True
    results.absent[REDIS_PY] = "Python module redis not installed"
    return False


def _etcd_rows(settings: Settings, results: Results) -> None:
    with standing(settings, results, [EtcdServer()], "etcd") as serving:
        for workload in ("put", "get") if serving else ():
            title = f"{workload} over HTTP/JSON, {THREADS} threads, bounded by the client"
            row = results.open_row("orientation", title, "requests/s")
            alternate(row, settings.rounds, serving, partial(hammer, workload=workload, seconds=settings.seconds))
