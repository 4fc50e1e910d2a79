"""Putting a log record's operations back into a memtable; compiled, for it decides how fast a shard starts."""

import cython

if cython.compiled:
    from cython.cimports.sherd.shard.lsm.entry import make_entry
    from cython.cimports.sherd.shard.lsm.memtable import Memtable
    from cython.cimports.sherd.shard.lsm.record_body import OpReader
else:
    from sherd.shard.lsm.entry import make_entry
    from sherd.shard.lsm.memtable import Memtable
    from sherd.shard.lsm.record_body import OpReader


def replay_body(body: bytes, memtable: Memtable) -> tuple[int, int]:
    """Apply every operation of ``body``; returns the record's (term, time in ms). Corruption if it is malformed."""
    ops: OpReader = OpReader(body)
    while ops.next():
        memtable.insert(ops.key, make_entry(ops.lsn, ops.kind, ops.expiry_ms, ops.value))
    return ops.term, ops.time_ms
