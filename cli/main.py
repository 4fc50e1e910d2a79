"""The ``sherd`` command: which subcommands there are, and how errors end.

Subcommands are imported when they are called, so that ``sherd get`` does not load the engine. Every failure is one or
two lines on stderr and an exit code (``sherd.common.exit_codes``), never a traceback.
"""

import importlib
import os
import sys

import click

from sherd.cli.failure import report_failure
from sherd.common.errors import SherdError
from sherd.common.exit_codes import ExitCode
from sherd.common.version import VERSION

COMMANDS = {
    "up": ("sherd.cli.up", "a whole cluster on this machine, in the foreground"),
    "get": ("sherd.cli.keys", "print the value of a key"),
    "put": ("sherd.cli.keys", "set the value of a key"),
    "delete": ("sherd.cli.keys", "remove a key"),
    "scan": ("sherd.cli.ranges", "print the entries of a range, in key order"),
    "count": ("sherd.cli.ranges", "print how many keys a range has"),
    "import": ("sherd.cli.importing", "write JSON Lines into the store"),
    "export": ("sherd.cli.exporting", "print a range as JSON Lines that import reads"),
    "status": ("sherd.cli.status", "shards, sizes, positions, warnings"),
    "ping": ("sherd.cli.ping", "ask one process whether it serves"),
    "flush": ("sherd.cli.maintenance", "write every shard's memtable to a table"),
    "compact": ("sherd.cli.maintenance", "compact every shard"),
    "repair": ("sherd.cli.repair", "compare followers with their leaders, mend those that differ"),
    "failover": ("sherd.cli.failover", "have another replica lead a shard, without loss or error"),
    "verify": ("sherd.cli.inspection", "check every checksum of a stopped shard"),
    "dump": ("sherd.cli.inspection", "print a log segment, table or manifest readably"),
    "bench": ("sherd.cli.bench.command", "load a running cluster and report throughput and latency"),
    "shard": ("sherd.cli.processes", "one replica of one shard"),
    "proxy": ("sherd.cli.processes", "one proxy process"),
    "coordinator": ("sherd.cli.processes", "one coordinator of a cluster on many hosts"),
}
"""Each command's module, which has it under the name ``<command>_command``, and its summary."""

NO_CYTHON = "the interpreted sources need Cython: pip install 'sherd[interpreted]', or unset SHERD_INTERPRETED"


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[name][0]), f"{name}_command")
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, message="sherd %(version)s")
def sherd() -> None:
    """Sherd: a sharded, ordered, durable key-value store."""


def run(arguments: list[str]) -> int:
    """Run one command; its exit code."""
    try:
        result = sherd.main(args=arguments, prog_name="sherd", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.OK
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return 128 + 2
    except BrokenPipeError:
        # Whoever read our output has enough, as `head` does. Nothing more can be said there, at exit neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except (SherdError, OSError) as error:
        return report_failure(error)
    except ModuleNotFoundError as error:
        if error.name != "cython":
            raise
        click.echo(f"sherd: {NO_CYTHON}", err=True)
        return ExitCode.USAGE


def main() -> None:
    """The entry point."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
