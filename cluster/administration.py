"""What the coordinator does when it is asked to: the methods of ``Control``."""

from collections.abc import Mapping

from sherd.cluster.control import Method
from sherd.cluster.handover import Promote, force, hand_over
from sherd.cluster.topology_store import TopologyStore
from sherd.common.errors import BadRequest, Unavailable
from sherd.common.net.network import Network


def administration(store: TopologyStore, network: Network, promote: Promote, *, leased: bool) -> Mapping[str, Method]:
    """The methods by name. ``promote`` names the next leader of a shard; ``leased``: leaders hold leases."""

    async def failover(params: list[object]) -> object:
        """``[shard, replica or nil, forced]``: the shard's leader and term after."""
        match params:
            case [int(shard), None | str() as successor, False]:
                state = await hand_over(store, network, promote, shard, successor or "")
            case [int(shard), str(successor), True]:
                state = await force(store, network, promote, shard, successor, leased=leased)
            case _:
                raise BadRequest("failover takes a shard, who is to lead or nil, and whether that is forced; then who")
        return {"shard": shard, "leader": state.leader, "term": state.term}

    return {"failover": failover}


def standing_by() -> Mapping[str, Method]:
    """The same methods where another process coordinates, or none does yet."""

    async def refuse(params: list[object]) -> object:
        raise Unavailable("this coordinator stands by: the active one changes the cluster")

    return {"failover": refuse}
