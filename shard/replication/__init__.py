"""Replication of one shard: a leader that is followed, and a follower."""
