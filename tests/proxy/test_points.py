"""Single-key requests through the real listener to dict shards."""

from pathlib import Path

import pytest
from support.proxy_run import Cluster, drive

pytestmark = pytest.mark.core


@pytest.mark.parametrize("mode", ["hash", "range"])
def test_put_get_delete(tmp_path: Path, mode: str) -> None:
    async def work() -> None:
        async with Cluster(tmp_path, mode) as cluster:
            client = await cluster.client()
            for number in range(200):
                key = b"%c-%d" % (32 + number % 95, number)
                version = await client.call("put", key, {"n": number})
                assert version == cluster.shard_of(key).version
                assert await client.call("get", key) == {b"n": number}
            assert await client.call("delete", b" -0") is True
            assert await client.call("delete", b" -0") is False
            assert await client.call("get", b" -0") is None
            assert all(shard.values for shard in cluster.shards.values())

    drive(work)
