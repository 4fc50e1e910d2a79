"""What a data command works on: a running cluster, or with ``--data`` a directory that no process has open."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

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


def open_target(connect: str, data: str | None) -> "Client | Store":
    """A client of the cluster or the directory's store, with the same methods; to be used in ``with``."""
    if data is None:
        from sherd.client.sync import Client

        return Client(connect)
    from sherd.shard.lsm.store import Store

    check_store_directory(data)
    return Store.open(data)


def check_store_directory(path: str) -> None:
    """Refuse what is no engine's directory: a command line must not make one by a typing error."""
    if os.path.exists(os.path.join(path, "topology.json")):
        raise ConfigError(f"{path} is a cluster's directory; name one of its shards, such as {path}/shard-1")
    if not os.path.exists(os.path.join(path, "MANIFEST")):
        raise StoreFormat(f"{path} is not the directory of a Store or of a shard: it has no MANIFEST")
