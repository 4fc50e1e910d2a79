"""Questions to single replicas go through a proxy: to the one that is named, and only those that tools ask."""

import asyncio
from pathlib import Path

from support.proxy_run import Cluster, drive

from sherd.common.topology.state import ShardState
from sherd.common.types import ShardId, Term


def test_only_known_questions_reach_replicas_that_are_known(tmp_path: Path) -> None:
    async def main() -> None:
        async with Cluster(tmp_path, count=1) as cluster:
            client = await cluster.client()

            async def refused(*params: object) -> list[object]:
                answer = await client.call("ask_replica", *params)
                assert isinstance(answer, list)
                assert answer[0] == "error"
                found: list[object] = answer[1]
                return found

            for params in ([1], ["1", "1", "position", []], [1, "1", "position", 5], [1, 1, "position", []]):
                assert (await refused(*params))[0] == 1
            assert b"asked" in (await refused(1, "1", "put", ["k", 1]))[1]  # type: ignore[operator]
            assert b"no replica" in (await refused(1, "2", "position", []))[1]  # type: ignore[operator]
            assert b"no replica" in (await refused(9, "1", "position", []))[1]  # type: ignore[operator]
            # A dict shard knows none of these methods; that it says so shows that it was asked.
            assert (await refused(1, "1", "position", []))[0] == 2
            replicas = {"1": cluster.topology.shards[ShardId(1)].leader_address, "2": "", "3": f"unix:{tmp_path}/none"}
            state = ShardState(ShardId(1), Term(2), "1", replicas, ("1",))
            cluster.publish(cluster.topology.with_shard(state))
            while set(cluster.proxy.routes.topology.shards[ShardId(1)].replicas) != {"1", "2", "3"}:
                await asyncio.sleep(0.01)
            assert b"is not up" in (await refused(1, "2", "position", []))[1]  # type: ignore[operator]
            assert b"does not answer" in (await refused(1, "3", "position", []))[1]  # type: ignore[operator]

    drive(main)
