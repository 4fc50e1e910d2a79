"""etcd as the topology store of a cluster on many hosts."""
