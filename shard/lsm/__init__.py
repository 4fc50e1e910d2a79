"""The storage engine of one shard: synchronous, single-threaded, free of any network."""
