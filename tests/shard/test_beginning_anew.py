"""Only a replica that neither leads nor is in sync may give its damaged store up, and only before it serves."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, open_engine

from sherd.common.errors import StoreCorrupt
from sherd.common.topology.file import encode_topology
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.topology.watched_file import WatchedTopology
from sherd.common.types import ShardId, Term
from sherd.common.world import system_world
from sherd.shard.config import ShardConfig
from sherd.shard.janitor_process import spawn_janitor
from sherd.shard.lsm.format import MANIFEST_NAME
from sherd.shard.replication.beginning_anew import begin_anew
from sherd.shard.replication.seat import SupervisedSeat
from sherd.shard.worker import Outcome, Worker, live

pytestmark = pytest.mark.core

ADDRESSES = {"1": "unix:/one", "2": "unix:/two"}
CONFIG = ShardConfig(1, DIRECTORY, "unix:/two", "/topology.json", replica="2")
ERROR = StoreCorrupt("/data/000003.sst offset 0: the table is missing")


def topology(state: ShardState) -> Topology:
    return Topology(1, "test", range_layout(1), {state.id: state})


def store() -> CrashDisk:
    disk = CrashDisk()
    engine = open_engine(disk)
    engine.put(b"k", b"\x01")
    engine.close()
    return disk


@pytest.mark.parametrize(
    "state",
    [
        ShardState(ShardId(1), Term(3), "2", ADDRESSES, ("2",)),
        ShardState(ShardId(1), Term(3), "2", ADDRESSES, ("1", "2")),
        ShardState(ShardId(1), Term(3), "1", ADDRESSES, ("1", "2")),
        ShardState(ShardId(1), Term(3), "1", {"1": "unix:/one"}, ("1",)),
    ],
    ids=["leads", "leads and is followed", "is in sync", "is none of the shard's"],
)
def test_others_refuse_and_touch_nothing(state: ShardState) -> None:
    disk = store()
    with pytest.raises(StoreCorrupt, match="is missing"):
        begin_anew(disk, CONFIG, topology(state), ERROR)
    assert disk.exists(f"{DIRECTORY}/{MANIFEST_NAME}")
    with pytest.raises(StoreCorrupt):
        begin_anew(disk, replace(CONFIG, id=7), topology(state), ERROR)


def test_a_follower_that_is_not_in_sync_sets_its_store_aside() -> None:
    disk = store()
    begin_anew(disk, CONFIG, topology(ShardState(ShardId(1), Term(3), "1", ADDRESSES, ("1",))), ERROR)
    assert not disk.exists(f"{DIRECTORY}/{MANIFEST_NAME}")


class Lives:
    """A replica's lives in this process, as its shard's topology has it follow and not be in sync."""

    def __init__(self, folder: Path) -> None:
        self.manifest = folder / "data" / MANIFEST_NAME
        state = ShardState(ShardId(1), Term(3), "1", {"1": "", "2": ""}, ("1",))
        (folder / "topology.json").write_bytes(encode_topology(topology(state)))
        self.config = ShardConfig(
            1, str(folder / "data"), f"unix:{folder}/two", str(folder / "topology.json"), replica="2"
        )
        self.begun = 0

    def run(self, lives_max: int) -> int:
        """Each life ends as soon as it serves, all but the last to be followed by another."""
        self.begun = 0

        def born(worker: Worker) -> None:
            self.begun += 1
            if self.begun < lives_max:
                worker._outcome = Outcome(None)
            worker.stop()

        async def main() -> int:
            world = system_world()
            seat = SupervisedSeat(WatchedTopology(world.disk, self.config.topology))
            return await live(self.config, seat, world, spawn_janitor, born)

        return asyncio.run(asyncio.wait_for(main(), 20))


def test_a_process_gives_a_damaged_store_up_before_it_serves_and_not_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lives = Lives(tmp_path)
    assert lives.run(2) == 0
    assert lives.begun == 2
    lives.manifest.unlink()
    assert lives.run(1) == 0
    kept = list((tmp_path / "data" / "quarantine").iterdir())
    assert kept
    monkeypatch.setattr("sherd.shard.worker.mend", lambda *_: lives.manifest.unlink())
    with pytest.raises(StoreCorrupt):
        lives.run(2)
    assert lives.begun == 1
    assert list((tmp_path / "data" / "quarantine").iterdir()) == kept
