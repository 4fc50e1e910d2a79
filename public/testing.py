"""A real small cluster for tests: ``Cluster`` as a context manager, and pytest fixtures over it.

    with sherd.testing.Cluster(shards=4) as cluster, cluster.client() as db:
        db.put("k", 1)

    def test_mine(sherd_cluster):           # an empty cluster, shared by the tests of a session
        sherd_cluster.client().put("k", 1)

    def test_other(sherd_cluster_factory):  # clusters of other shapes; they stop when the session ends
        cluster = sherd_cluster_factory(shards=1, partition="range")

pytest loads this module in every run where Sherd is installed, so it imports next to nothing until it is used. When a
test that uses a cluster fails, the report has the last of what the cluster logged.
"""

import sys
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from sherd.local_cluster import Cluster as Cluster
    from sherd.local_cluster import ClusterError as ClusterError

LOG_CHARACTERS_MAX = 20_000
CLEAR_KEYS = 5_000

MakeCluster: TypeAlias = "Callable[..., Cluster]"


def __getattr__(name: str) -> object:
    if name not in ("Cluster", "ClusterError"):
        raise AttributeError(f"module 'sherd.testing' has no attribute {name!r}")
    from sherd import local_cluster

    found: object = getattr(local_cluster, name)
    return found


def clear(cluster: "Cluster") -> None:
    """Delete every key of a cluster."""
    with cluster.client() as db:
        while keys := list(db.scan(limit=CLEAR_KEYS, keys_only=True)):
            db.batch([("delete", key) for key in keys])


try:
    import pytest
except ModuleNotFoundError:
    pass  # Cluster serves without it
else:

    @pytest.fixture(scope="session")
    def sherd_cluster_factory() -> Iterator[MakeCluster]:
        """Starts clusters, ``sherd_cluster_factory(shards=..., ...)`` as ``Cluster`` takes it; all stop at the end."""
        from contextlib import ExitStack

        from sherd.local_cluster import Cluster

        with ExitStack() as stack:

            def make(**options: object) -> "Cluster":
                return stack.enter_context(Cluster(**options))  # type: ignore[arg-type]

            yield make

    @pytest.fixture(scope="session")
    def _sherd_shared_cluster(sherd_cluster_factory: MakeCluster) -> "Cluster":
        return sherd_cluster_factory()

    @pytest.fixture
    def sherd_cluster(_sherd_shared_cluster: "Cluster") -> "Cluster":
        """A cluster of two shards, empty and serving. A test may stop, kill and restart it."""
        if not _sherd_shared_cluster.is_running:
            _sherd_shared_cluster.start()
        clear(_sherd_shared_cluster)
        return _sherd_shared_cluster

    @pytest.hookimpl(hookwrapper=True)  # the older form of wrappers, which every pytest in use knows
    def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
        """Put a cluster's log beside the failure of a test that uses it."""
        outcome = yield
        report: pytest.TestReport = outcome.get_result()
        arguments = getattr(item, "funcargs", None) if report.failed else None
        if arguments and "sherd.local_cluster" in sys.modules:
            from sherd.local_cluster import Cluster

            for name, value in arguments.items():
                if isinstance(value, Cluster):
                    report.sections.append((f"log of {name}", value.log()[-LOG_CHARACTERS_MAX:]))
