"""From an error to one line on stderr and an exit code."""

import click

from sherd.common.errors import BadRequest, ConfigError, SherdError, TooLarge, Unavailable
from sherd.common.exit_codes import ExitCode


def report_failure(error: SherdError | OSError) -> ExitCode:
    """Say what is wrong; the exit code of a command that ends by it."""
    click.echo(f"sherd: {describe(error)}", err=True)
    return failure_code(error)


def describe(error: SherdError | OSError) -> str:
    """The error on one line."""
    if isinstance(error, OSError) and not isinstance(error, SherdError):
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    else:
        text = str(error) or type(error).__name__
    if is_unreachable(error):
        text += "; is the cluster up (`sherd up`), and --connect or SHERD_CONNECT right?"
    return " ".join(text.split())


def failure_code(error: SherdError | OSError) -> ExitCode:
    """The exit code for an error."""
    if isinstance(error, (ConfigError, BadRequest, TooLarge)):
        return ExitCode.USAGE
    return ExitCode.UNREACHABLE if is_unreachable(error) else ExitCode.SERVER_ERROR


def is_unreachable(error: BaseException) -> bool:
    """Whether no server was reached: the client says so by what the error was raised from."""
    return isinstance(error, ConnectionError) or (isinstance(error, Unavailable) and error.__cause__ is not None)
