"""Writes ``docs/configuration.md`` from the config classes, to stdout: ``python -m sherd.cli.reference``."""

import sys

from sherd.cli.settings import SECTIONS
from sherd.common.setting import Setting, settings_of

_HEAD = """# Configuration

Made from the code by `python -m sherd.cli.reference`; change the settings' own words there.

A setting comes from a TOML file (`--config FILE`), the environment, or a flag; a flag goes before the environment, the
environment before the file. In the file each section below is a table, as in

```toml
[cluster]
shards = 8

[engine]
fsync = "always"
cache_bytes = "256MiB"
```

in the environment that is `SHERD_CLUSTER_SHARDS=8` and `SHERD_ENGINE_FSYNC=always`, on the command line `--shards 8`
and `--fsync always`. Sizes may be written as `4096`, `64KiB`, `1.5GiB`, durations as `0.1`, `100ms`, `5min`. An unknown
name is an error. One file may serve every process: each takes the sections that concern it.
"""

_ABOUT = {
    "cluster": "A cluster on one host: `sherd up`. The shape (`shards`, `partition`, `split_at`) is fixed when the "
    "directory is made.",
    "etcd": "Where the topology of a cluster on many hosts lives, in place of a file. The flags begin with `--etcd-`. "
    "Needs `pip install 'sherd[etcd]'`.",
    "engine": "The storage engine of every shard: `sherd up`, `sherd shard`.",
    "limits": "What a process accepts from its peers: `sherd up`, `sherd shard`, `sherd proxy`.",
    "bounds": "The proxy's times and memory: `sherd up`, `sherd proxy`.",
    "shard": "One shard process on its own: `sherd shard`. `sherd up` sets these itself.",
    "proxy": "One proxy process on its own: `sherd proxy`. `sherd up` sets these itself.",
    "coordinator": "One coordinator of a cluster on many hosts: `sherd coordinator`.",
}


def reference() -> str:
    """The page."""
    parts = [_HEAD]
    for section, config in SECTIONS.items():
        parts.append(f"\n## [{section}]\n\n{_ABOUT[section]}\n\n")
        parts.append("| setting | default | unit | effect |\n|---|---|---|---|\n")
        parts += [_row(setting) for setting in settings_of(section, config) if not setting.plumbing]
    return "".join(parts)


def _row(setting: Setting) -> str:
    default = "required" if setting.required else setting.default_text
    effect = setting.help.replace("``", "`").replace("|", "\\|")
    if setting.durability:
        effect += " **Bears on durability.**"
    return f"| `{setting.name}` | {default or 'none'} | {setting.unit or '-'} | {effect} |\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
