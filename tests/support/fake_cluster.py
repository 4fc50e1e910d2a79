"""A supervisor over fake children, as a program of its own: ``python fake_cluster.py SCRIPT_DIR up-flags...``."""

import asyncio
import os
import sys
from pathlib import Path

from sherd.cli.up import ready_line
from sherd.cluster.config import ClusterConfig
from sherd.cluster.supervisor import Programs, Supervisor
from sherd.common.config import Sources
from sherd.common.errors import SherdError
from sherd.common.logs import configure_logs
from sherd.common.world import system_world

CHILD = Path(__file__).with_name("fake_child.py")


def programs(script_dir: str) -> Programs:
    """Fake children that follow the scripts in ``script_dir``."""
    command = [sys.executable, str(CHILD)]
    return Programs([*command, "shard", script_dir], [*command, "proxy", script_dir], os.environ)


def main() -> int:
    script_dir, *rest = sys.argv[1:]
    flags = {"followers": "0"} | dict(flag.removeprefix("--").split("=", 1) for flag in rest)
    sources = Sources({"cluster": ClusterConfig}, environ={}, flags={("cluster", k): v for k, v in flags.items()})
    configure_logs("info", "supervisor")
    supervisor = Supervisor(
        sources.load("cluster", ClusterConfig),
        programs(script_dir),
        lambda address, topology: print(ready_line(address, topology, "interval:100ms"), flush=True),
        system_world(),
        probe=None,
    )
    try:
        code = asyncio.run(supervisor.run())
    except SherdError as error:
        print(f"sherd: {error}", file=sys.stderr)
        return 64
    for refusal in supervisor.refusals:
        print(f"refused {refusal.name}: {refusal.reason}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
