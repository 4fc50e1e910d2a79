"""The words of the design as types, so that positions, terms and epochs cannot be mixed up."""

from typing import NewType

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
