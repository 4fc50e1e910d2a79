"""etcd as the settings name it."""

from sherd.cluster.etcd.api import Etcd
from sherd.cluster.etcd.config import EtcdConfig
from sherd.common.errors import ConfigError


def open_etcd(config: EtcdConfig) -> Etcd:
    """The etcd of the settings, for the running event loop. Nothing is asked of it yet.

    ConfigError if endpoints are missing, certificates can't be used, or Sherd was installed without what it takes.
    """
    try:
        from sherd.cluster.etcd.gateway import GatewayEtcd
    except ModuleNotFoundError as error:
        if error.name != "aiohttp":
            raise
        raise ConfigError("etcd needs aiohttp, which is not installed: pip install 'sherd[etcd]'") from None
    return GatewayEtcd(config)
