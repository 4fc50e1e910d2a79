"""One cluster for all tests of a kind; each test finds it whole. What its processes said lies in its directory.

``SHERD_HOSTS_ROUNDS`` says how often every test is run, one round after the other on the same cluster.
"""

import os
from collections.abc import Iterator

import pytest
from support.host_cluster import HostCluster, host_cluster

ROUNDS = int(os.environ.get("SHERD_HOSTS_ROUNDS", "1"))


@pytest.fixture(params=range(ROUNDS), autouse=True)
def round_number(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="session")
def insync_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostCluster]:
    with host_cluster(tmp_path_factory.mktemp("insync"), "insync") as cluster:
        yield cluster


@pytest.fixture
def insync(insync_cluster: HostCluster) -> HostCluster:
    """Its writes wait for all replicas in sync, so nothing that was acknowledged may ever be lost."""
    insync_cluster.begin()
    return insync_cluster
