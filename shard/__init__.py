"""One shard: an LSM engine, its service, group commit, the janitor and the worker process."""
