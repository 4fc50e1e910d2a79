"""``sherd get``, ``put`` and ``delete``: one key each."""

import sys

import click

from sherd.cli.display import json_text, parse_json
from sherd.cli.entries import key_argument
from sherd.cli.target import acks_option, cluster_only, open_target, stale_option, target_options
from sherd.common.exit_codes import ExitCode


@click.command("get")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Print str and bin as JSON too.")
@stale_option
@target_options
def get_command(key: str, as_json: bool, stale_ms: int | None, connect: str, data: str | None) -> int:
    """Print the value of KEY: str and bin as they are, others as JSON. Exit code 1 if there is none."""
    options = cluster_only(data, stale_ms=stale_ms)
    with open_target(connect, data) as target:
        value = target.get(key_argument(key), **options)
    if value is None:
        click.echo(f"sherd: no such key: {key}", err=True)
        return ExitCode.MISSING_KEY
    if isinstance(value, str) and not as_json:
        value = value.encode("utf-8", "surrogateescape")
    shown = value if isinstance(value, bytes) and not as_json else json_text(value).encode()
    # A newline would be part of the value for whoever reads it from a file or a pipe.
    ending = b"\n" if sys.stdout.isatty() or not isinstance(value, bytes) else b""
    click.echo(shown + ending, nl=False)
    return ExitCode.OK


@click.command("put")
@click.argument("key")
@click.argument("value")
@click.option("--json", "as_json", is_flag=True, help="VALUE is JSON; store what it means.")
@acks_option
@target_options
def put_command(key: str, value: str, as_json: bool, acks: str | None, connect: str, data: str | None) -> int:
    """Set KEY to VALUE, or to what stdin holds if VALUE is '-'. UTF-8 is stored as str, other bytes as bin."""
    options = cluster_only(data, acks=acks)
    raw = sys.stdin.buffer.read() if value == "-" else value.encode("utf-8", "surrogateescape")
    try:
        text: str | None = raw.decode()
    except UnicodeDecodeError:
        text = None
    stored: object = raw if text is None else text
    if as_json:
        stored = parse_json(raw)
    name = key_argument(key)
    with open_target(connect, data, writing=True, key=name) as target:
        target.put(name, stored, **options)
    return ExitCode.OK


@click.command("delete")
@click.argument("key")
@acks_option
@target_options
def delete_command(key: str, acks: str | None, connect: str, data: str | None) -> int:
    """Remove KEY. Exit code 1 if there is no such key."""
    name = key_argument(key)
    options = cluster_only(data, acks=acks)
    with open_target(connect, data, writing=True, key=name) as target:
        existed = target.delete(name, **options)
    if not existed:
        click.echo(f"sherd: no such key: {key}", err=True)
        return ExitCode.MISSING_KEY
    return ExitCode.OK
