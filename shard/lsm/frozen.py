"""A memtable that takes no more writes, with the log segments that hold the same operations, until both are flushed."""

from dataclasses import dataclass, field

from sherd.shard.lsm.memtable import Memtable


@dataclass(slots=True, eq=False)
class FrozenMemtable:
    """``last_lsn`` ends the last of the ``segments`` (its term record, if it has no operation); ``logged_ms`` is the
    latest time in them.
    """

    memtable: Memtable
    segments: list[int] = field(default_factory=list)
    last_lsn: int = 0
    logged_ms: int = 0
