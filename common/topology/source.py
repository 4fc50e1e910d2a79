"""Where a process that only follows the topology has it from: a file on one host, etcd on many."""

from typing import Protocol

from sherd.common.topology.state import Topology


class TopologySource(Protocol):
    """One reader's view: what it has been shown, and what is newer."""

    async def read(self) -> Topology:
        """The topology as it is now. FileNotFoundError, StoreFormat, StoreCorrupt or another SherdError if there is
        none to be had.
        """
        ...

    def look(self) -> Topology | None:
        """The topology, if it has changed since it was last shown. To be called often; it does not wait."""
        ...

    async def close(self) -> None:
        """Look no more."""
        ...
