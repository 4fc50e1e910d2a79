"""One cluster for all tests of a kind; each test finds it whole. What its processes said lies in its directory.

``SHERD_HOSTS_ROUNDS`` says how often every test is run, one round after the other on the same cluster.
"""

import os
from collections.abc import Iterator

import pytest
from support.host_cluster import MEMTABLE_BYTES, RETAIN_LOG_BYTES, HostCluster, host_cluster
from support.small_disk import small_disk

DISK = "96m"
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


@pytest.fixture(scope="session")
def leader_acks_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostCluster]:
    directory = tmp_path_factory.mktemp("leader")
    with small_disk(directory / "replica1", DISK), small_disk(directory / "replica2", DISK):
        flags = [f"--memtable-bytes={MEMTABLE_BYTES}", f"--retain-log-bytes={RETAIN_LOG_BYTES}"]
        with host_cluster(directory, "leader", flags) as cluster:
            yield cluster


@pytest.fixture
def leader_acks(leader_acks_cluster: HostCluster) -> HostCluster:
    """Its writes wait for the leader only. Little log is retained, and the disks of its replicas are small."""
    leader_acks_cluster.begin()
    return leader_acks_cluster
