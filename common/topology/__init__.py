"""Tokens, partitions, layouts and shard states: immutable values every process holds a copy of."""
