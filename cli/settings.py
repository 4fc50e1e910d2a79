"""Command-line options made from the config classes, so that each setting is written down once.

A command names the sections whose settings it takes as flags; a config file and the environment may hold any section
of any process, and each process picks its own.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from sherd.cluster.config import ClusterConfig
from sherd.cluster.coordinator_config import CoordinatorConfig
from sherd.cluster.etcd.config import EtcdConfig
from sherd.common.config import Sources
from sherd.common.limits import Limits
from sherd.common.setting import Setting, settings_of
from sherd.proxy.bounds import Bounds
from sherd.proxy.config import ProxyConfig
from sherd.shard.config import ShardConfig
from sherd.shard.lsm.options import EngineOptions

F = TypeVar("F", bound=Callable[..., Any])

SECTIONS: Mapping[str, type] = {
    "cluster": ClusterConfig,
    "etcd": EtcdConfig,
    "engine": EngineOptions,
    "limits": Limits,
    "bounds": Bounds,
    "shard": ShardConfig,
    "proxy": ProxyConfig,
    "coordinator": CoordinatorConfig,
}
"""Every section there is, by the name that files and the environment use."""


def setting_options(*sections: str) -> Callable[[F], F]:
    """Decorate a command with ``--config`` and a flag for every setting of the sections. The command hands the values
    that it gets by keyword to ``sources_of``."""

    def decorate(command: F) -> F:
        options = [setting for section in sections for setting in settings_of(section, SECTIONS[section])]
        flags = [setting.flag for setting in options]
        if len(set(flags)) != len(flags):
            raise TypeError(f"two settings of {', '.join(sections)} have the same flag")
        for setting in reversed(options):
            command = click.option(
                setting.flag,
                _parameter(setting.section, setting.name),
                metavar=_metavar(setting),
                help=_help(setting),
                hidden=setting.plumbing,
            )(command)
        config = click.option("--config", "config_file", metavar="FILE", help="TOML file with settings.")
        return config(command)

    return decorate


def sources_of(config_file: str | None, values: Mapping[str, str | None]) -> Sources:
    """The settings a command was given: its flags, the environment, its config file."""
    flags: dict[tuple[str, str], str] = {}
    for parameter, value in values.items():
        if value is not None:
            section, _, name = parameter.partition("__")
            flags[section, name] = value
    return Sources(SECTIONS, file=config_file, flags=flags)


def _parameter(section: str, name: str) -> str:
    return f"{section}__{name}"


def _metavar(setting: Setting) -> str:
    if setting.choices:
        return "|".join(setting.choices)
    if setting.unit:
        return {"bytes": "SIZE", "bytes/s": "SIZE", "seconds": "TIME"}[setting.unit]
    return {int: "N", float: "X", str: "TEXT", bool: "BOOL", tuple: "TEXT,..."}[setting.kind]


def _help(setting: Setting) -> str:
    default = f" [default: {setting.default_text}]" if setting.default_text else ""
    return setting.help.replace("``", "") + default
