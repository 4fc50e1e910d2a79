"""The targets of the project as data, and the verdict on each: met, not met, or not measured.

Names of rows are made by the sections; a target whose row or peer is absent says so and is never counted as met.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from peers.rows import SHERD, Better, Results, Row

REDIS = "Redis AOF everysec"
REDIS_ALWAYS = "Redis AOF always"
NUTCRACKER = "nutcracker + 4 Redis AOF everysec"
TARANTOOL = "Tarantool vinyl"
TARANTOOL_FSYNC = "Tarantool vinyl, wal fsync"
VSHARD = "Tarantool vinyl behind vshard"
C_FORWARDER = "C forwarder before C echo servers"
ETCD = "etcd"
REDIS_PY = "redis-py on Redis"
ROCKSDB, LEVELDB, LMDB = "RocksDB", "LevelDB", "LMDB"

Verdict = Literal["met", "not met", "not measured"]


@dataclass(frozen=True, slots=True)
class Target:
    """``row``: where ours and the peers' medians stand. ``bound``: of ours/peer, or of ours alone without ``peers``.

    Of several peers the best in the row counts, and all of them have to be there. Where a row is better when higher,
    the bound is a least; otherwise a most.
    """

    work: str
    row: str
    bound: float
    peers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """A target, what was measured of it, and the verdict; ``figure`` is the ratio or, without peers, our median."""

    target: Target
    verdict: Verdict
    figure: float | None = None
    ours: float | None = None
    peer: str = ""
    theirs: float | None = None
    unit: str = ""
    better: Better | Literal[""] = ""
    """Empty where there is no row to say."""


def request_row(workload: str, value_bytes: int, connections: int, pipeline: int) -> str:
    """The name of a row of requests to a server."""
    size = f"{value_bytes} B" if value_bytes < 1024 else f"{value_bytes // 1024} KiB"
    return f"{workload} {size}, {connections} x {pipeline}"


def _against(peer: str, bounds: dict[str, dict[int, float]], value_bytes: int = 100) -> Iterable[Target]:
    for workload, by_pipeline in bounds.items():
        for pipeline, bound in by_pipeline.items():
            row = request_row(workload, value_bytes, 50, pipeline)
            yield Target(row, row, bound, (peer,))


def _engine(row: str, bound: float = 1.0) -> Target:
    return Target(row, row, bound, (ROCKSDB, LEVELDB))


ENGINE_ROWS = (
    "put",
    "batch of 1,000",
    "synced put",
    "synced batch of 100",
    "random warm get",
    "full scan",
    "WAL replay",
    "compaction",
)
CLIENT_ROWS = ("client get", "client put", "client pipeline of 100")

TARGETS: tuple[Target, ...] = (
    *_against(NUTCRACKER, {work: {1: 1.1, 16: 1.6, 64: 2.0} for work in ("set", "get")}),
    *_against(REDIS, {"set": {1: 0.8, 16: 1.1, 64: 1.1}, "get": {1: 0.8, 16: 0.8, 64: 0.8}}),
    *_against(TARANTOOL, {work: {1: 1.5, 16: 1.5, 64: 1.5} for work in ("set", "get")}),
    *_against(VSHARD, {work: {1: 3.0, 16: 3.0} for work in ("set", "get")}),
    *_against(C_FORWARDER, {work: {1: 0.6} for work in ("set", "get")}),
    Target("set, fsync always", request_row("set always", 100, 50, 1), 1.0, (REDIS_ALWAYS,)),
    *_against(NUTCRACKER, {work: {1: 1.2, 16: 1.2, 64: 1.2} for work in ("set", "get")}, 1024),
    Target("set, one in flight, p50", "set p50, 1 x 1", 1.0, (NUTCRACKER,)),
    Target("get, one in flight, p50", "get p50, 1 x 1", 1.0, (NUTCRACKER,)),
    Target("scan of 1,000 rows, p50", "scan of 1,000 rows, p50", 1500),
    Target("scan of 1,000 rows, 8 connections", "scan of 1,000 rows, 8 connections", 1_000_000),
    Target("full scan through the proxy", "full scan through the proxy", 1_500_000),
    Target("mget of 100 keys", "mget of 100", 1_000_000),
    Target("batch of 100 keys", "batch of 100", 600_000),
    *(_engine(row) for row in ENGINE_ROWS),
    *(Target(row, row, 1.0, (REDIS_PY,)) for row in CLIENT_ROWS),
    Target("write amplification of random puts", "write amplification, puts", 1.0, (LEVELDB,)),
    Target("open after kill with 64 MiB of WAL", "open after kill", 0.5),
)


def judge(target: Target, results: Results, subject: str = SHERD) -> Judgement:
    """Compare medians. A ratio is of ours to the best of the peers."""
    row = results.row(target.row)
    ours = row.median(subject) if row else None
    if row is None or ours is None:
        return Judgement(target, "not measured")
    if not target.peers:
        return Judgement(target, _verdict(row, ours, target.bound), ours, ours, unit=row.unit, better=row.better)
    peer = best_of(row, target.peers)
    if peer is None:
        return Judgement(target, "not measured", ours=ours, unit=row.unit, better=row.better)
    theirs = row.median(peer)
    if not theirs:
        return Judgement(target, "not measured", None, ours, peer, theirs, row.unit, row.better)
    ratio = ours / theirs
    return Judgement(target, _verdict(row, ratio, target.bound), ratio, ours, peer, theirs, row.unit, row.better)


def best_of(row: Row, peers: tuple[str, ...]) -> str | None:
    """The peer with the best median; None unless every one of them has a median."""
    medians = {peer: median for peer in peers if (median := row.median(peer)) is not None}
    if len(medians) < len(peers):
        return None
    choose = max if row.better == "higher" else min
    return choose(medians, key=lambda peer: medians[peer])


def _verdict(row: Row, figure: float, bound: float) -> Verdict:
    met = figure >= bound if row.better == "higher" else figure <= bound
    return "met" if met else "not met"
