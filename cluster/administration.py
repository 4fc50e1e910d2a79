"""What the coordinator does when it is asked to: the methods of ``Control``."""

from collections.abc import Mapping

from sherd.cluster.control import Method
from sherd.cluster.handover import Promote, hand_over
from sherd.cluster.topology_store import TopologyStore
from sherd.common.errors import BadRequest, Unavailable
from sherd.common.net.network import Network


def administration(store: TopologyStore, network: Network, promote: Promote) -> Mapping[str, Method]:
    """The methods by name. ``promote`` names the next leader of a shard that was handed over."""

    async def failover(params: list[object]) -> object:
        """``[shard, replica or nil]``: the shard's state after."""
        match params:
            case [int(shard), None | str() as successor]:
                state = await hand_over(store, network, promote, shard, successor or "")
                return {"shard": shard, "leader": state.leader, "term": state.term}
        raise BadRequest("failover takes a shard and the name of the replica that is to lead, or nil")

    return {"failover": failover}


def standing_by() -> Mapping[str, Method]:
    """The same methods where another process coordinates, or none does yet."""

    async def refuse(params: list[object]) -> object:
        raise Unavailable("this coordinator stands by: the active one changes the cluster")

    return {"failover": refuse}
