"""What a replica does whose store is damaged: set it aside and have it anew from its leader, if nobody counts on it.

A leader's store is never given up here, nor that of a follower in sync: it may be the last to hold something that was
acknowledged. Such a process refuses to start, with the exit code that says why; whoever keeps it has the others do
without this replica first, if they can, and starts it again.
"""

import logging

from sherd.common.disk import Disk
from sherd.common.errors import StoreCorrupt
from sherd.common.logs import event
from sherd.common.topology.state import Topology
from sherd.common.types import ShardId
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.setting_aside import set_aside

log = logging.getLogger(__name__)


def begin_anew(disk: Disk, config: ShardConfig, topology: Topology, error: StoreCorrupt) -> None:
    """Set the store aside that is damaged as ``error`` says; raises ``error`` again if it may not be given up."""
    state = topology.shards.get(ShardId(config.id))
    if state is None or config.replica not in state.followers or config.replica in state.in_sync:
        event(
            log, logging.ERROR, "store damaged, not given up while others may count on it", shard=config.id,
            replica=config.replica, topology=None if state is None else state.to_json(), error=error,
        )  # fmt: skip
        raise error
    event(
        log, logging.ERROR, "store damaged, beginning anew with a copy of the leader's", shard=config.id,
        replica=config.replica, leader=state.leader, directory=config.data, error=error,
    )  # fmt: skip
    set_aside(disk, config.data)
