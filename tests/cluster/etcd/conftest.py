"""One etcd for all tests here that do it no harm; each takes a prefix of its own."""

import itertools
from collections.abc import Iterator

import pytest
from support.etcd_process import EtcdMember, etcd_cluster

NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def etcd(tmp_path_factory) -> Iterator[EtcdMember]:
    with etcd_cluster(tmp_path_factory.mktemp("etcd")) as (member,):
        yield member


@pytest.fixture
def prefix() -> str:
    """What nobody else's keys begin with."""
    return f"test-{next(NUMBERS)}"
