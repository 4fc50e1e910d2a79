"""What a data command works on: a running cluster, or with ``--data`` a directory that no process has open."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sherd.common.disk import RealDisk
from sherd.common.errors import ConfigError, StoreFormat

if TYPE_CHECKING:
    from sherd.client.sync import Client
    from sherd.shard.lsm.store import Store

CONNECT_DEFAULT = "127.0.0.1:7700"

F = TypeVar("F", bound=Callable[..., Any])


def connect_option(command: F) -> F:
    """``--connect``, with its environment variable and default."""
    return click.option(
        "--connect",
        metavar="HOST:PORT,...",
        envvar="SHERD_CONNECT",
        default=CONNECT_DEFAULT,
        show_default=True,
        help="The cluster, by any of its proxies; also from SHERD_CONNECT.",
    )(command)


def target_options(command: F) -> F:
    """``--connect`` and ``--data``."""
    data = click.option(
        "--data", metavar="DIR", help="Work on this directory of a Store, or of a stopped shard, in place of a cluster."
    )
    return connect_option(data(command))


def stale_option(command: F) -> F:
    """``--stale-ms``, of commands that read."""
    return click.option(
        "--stale-ms", metavar="N", type=click.IntRange(min=1), help="A follower may answer that is at most N ms behind."
    )(command)


def acks_option(command: F) -> F:
    """``--acks``, of commands that write."""
    return click.option(
        "--acks", type=click.Choice(["leader", "insync"]), help="insync: done when every replica in sync has it."
    )(command)


@contextlib.contextmanager
def open_target(
    connect: str, data: str | None, *, writing: bool = False, key: bytes | None = None
) -> Iterator["Client | Store"]:
    """A client of the cluster or the directory's store, with the same methods. ``key`` is what will be written."""
    if data is None:
        from sherd.client.sync import Client

        with Client(connect) as client:
            yield client
        return
    from sherd.cluster.stopped_shard import StoppedShard, is_shard_of_a_cluster
    from sherd.shard.lsm.store import Store

    check_store_directory(data)
    if not writing or not is_shard_of_a_cluster(RealDisk(), data):
        with Store.open(data, create=False, read_only=not writing) as store:
            yield store
        return
    with StoppedShard(RealDisk(), data) as shard:
        if key is not None:
            shard.check_owns(key)
        with Store.open(data, create=False, term=shard.term) as store:
            yield store


def cluster_only(data: str | None, **options: object) -> dict[str, Any]:
    """Those of the options that were given; UsageError with ``--data``, where there are no followers."""
    given = {name: value for name, value in options.items() if value is not None}
    if given and data is not None:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise click.UsageError(f"{flags} has no meaning with --data")
    return given


def check_store_directory(path: str) -> None:
    """Refuse what is no engine's directory."""
    if os.path.exists(os.path.join(path, "topology.json")):
        raise ConfigError(f"{path} is a cluster's directory; name one of its shards, such as {path}/shard-1")
    if not os.path.exists(os.path.join(path, "MANIFEST")):
        raise StoreFormat(f"{path} is not the directory of a Store or of a shard: it has no MANIFEST")


def check_no_shard(path: str) -> None:
    """Refuse to import into one shard: only the cluster knows which keys are whose."""
    cluster = os.path.dirname(os.path.abspath(path))
    if os.path.exists(os.path.join(cluster, "topology.json")):
        raise ConfigError(
            f"{path} is a shard of the cluster in {cluster}: start that with `sherd up` and use --connect"
        )
