"""The words of the design as types, so that positions, terms and epochs cannot be mixed up."""

from typing import Any, NamedTuple, NewType

Lsn = NewType("Lsn", int)
"""Log sequence number: a uint64 that only grows; the version of the key it last wrote."""

Term = NewType("Term", int)
"""Raised at every start as leader; a uint64."""

Epoch = NewType("Epoch", int)
"""Counts the owners a partition has had."""

LayoutCounter = NewType("LayoutCounter", int)
"""Changes only when ownership or boundaries of partitions do."""

ShardId = NewType("ShardId", int)
"""A shard's number, 1 and up; never reused within one cluster."""


class Versioned(NamedTuple):
    """What a read with ``meta`` gives in place of a bare value, in clients and ``Store`` alike."""

    value: Any
    version: int
    """Log position of the write; grows with every write of the key."""
    seconds_left: float | None
    """Until the entry expires; None if it does not."""


class At(NamedTuple):
    """A place in a shard's log: a read that is given it (``at``) shows that write, wherever it is answered."""

    shard: int
    term: int
    lsn: int


class Written(NamedTuple):
    """What a write with ``meta`` gives in place of its bare result."""

    result: Any
    """A put's version; whether a delete's key was there, or its old value."""
    at: At
