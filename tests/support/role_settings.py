"""The settings that a process's environment gives it, checked by the classes that check them in production."""

from collections.abc import Mapping

from sherd.cli.processes import check_place
from sherd.cli.settings import SECTIONS
from sherd.cluster.coordinator_config import CoordinatorConfig
from sherd.cluster.etcd.config import EtcdConfig
from sherd.common.config import Sources
from sherd.common.limits import Limits
from sherd.proxy.bounds import Bounds
from sherd.proxy.config import ProxyConfig
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.options import EngineOptions

OTHERS = {"SHERD_CONNECT"}
"""Variables of ours that are no settings."""


def etcd_of(environ: Mapping[str, str]) -> EtcdConfig:
    return _sources(environ).load("etcd", EtcdConfig)


def coordinator_of(environ: Mapping[str, str]) -> CoordinatorConfig:
    return _sources(environ).load("coordinator", CoordinatorConfig)


def shard_of(environ: Mapping[str, str]) -> ShardConfig:
    sources = _sources(environ)
    engine, limits = sources.load("engine", EngineOptions), sources.load("limits", Limits)
    config = sources.load("shard", ShardConfig, engine=engine, limits=limits)
    check_place(config.topology, etcd_of(environ))
    return config


def proxy_of(environ: Mapping[str, str]) -> ProxyConfig:
    sources = _sources(environ)
    limits, bounds = sources.load("limits", Limits), sources.load("bounds", Bounds)
    config = sources.load("proxy", ProxyConfig, limits=limits, bounds=bounds)
    check_place(config.topology, etcd_of(environ))
    return config


def _sources(environ: Mapping[str, str]) -> Sources:
    known = tuple(f"SHERD_{section.upper()}_" for section in SECTIONS)
    strange = [name for name in environ if name.startswith("SHERD_") and not name.startswith(known)]
    assert set(strange) <= OTHERS, "the loader looks at the names of its own sections alone"
    return Sources(SECTIONS, environ=environ)
