"""Whose a store is. The logs of two shards look alike, with the same terms and with LSNs that go on from each other. A
directory that was mixed up with another's must not be served, and not be filled further.
"""

from sherd.common.disk import Disk
from sherd.common.errors import StoreFormat
from sherd.common.types import ShardId
from sherd.shard.lsm.engine import Engine
from sherd.shard.lsm.manifest import read_manifest
from sherd.shard.lsm.opening import as_store_errors


def owner_of(cluster_id: str, shard: ShardId) -> str:
    """As the MANIFEST has it."""
    return f"{cluster_id}/{shard}"


def check_belongs(disk: Disk, directory: str, owner: str) -> None:
    """StoreFormat if there is a store that belongs to another; StoreCorrupt if its MANIFEST can't be read."""
    with as_store_errors(directory):
        manifest = read_manifest(disk, directory) if disk.exists(directory) else None
    if manifest is None or manifest.owner in ("", owner):
        return
    (cluster, _, shard), (our_cluster, _, our_shard) = manifest.owner.partition("/"), owner.partition("/")
    if cluster != our_cluster:
        raise StoreFormat(
            f"{directory} belongs to cluster {cluster}, and the topology is that of cluster {our_cluster}: it is "
            "another cluster's directory, or the topology was lost and made anew; restore that from a backup"
        )
    raise StoreFormat(f"{directory} holds shard {shard}, and this is shard {our_shard}: are two directories mixed up?")


def note_owner(engine: Engine, owner: str) -> None:
    """Have the store say whose it is, if it does not yet. Raises as ``Installer.write`` does."""
    if engine.installer.manifest.owner != owner:
        engine.installer.write(owner=owner)
