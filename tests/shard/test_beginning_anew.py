"""Only a replica that neither leads nor is in sync may give its damaged store up."""

from dataclasses import replace

import pytest
from support.crash_disk import CrashDisk
from support.engine_run import DIRECTORY, open_engine

from sherd.common.errors import StoreCorrupt
from sherd.common.topology.ranges import range_layout
from sherd.common.topology.state import ShardState, Topology
from sherd.common.types import ShardId, Term
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.format import MANIFEST_NAME
from sherd.shard.replication.beginning_anew import begin_anew

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
