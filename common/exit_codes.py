"""Exit codes: what a command says to the shell, and a child process to its supervisor.

0 to 4 are those of every command. The others say why a process refused to start, so that a supervisor can tell what a
restart may mend from what it can't.
"""

import enum

from sherd.common.errors import ConfigError, SherdError, StoreCorrupt, StoreFormat, StoreLocked, StoreReadOnly


class ExitCode(enum.IntEnum):
    """The exit codes of Sherd's processes."""

    OK = 0
    MISSING_KEY = 1
    USAGE = 2
    UNREACHABLE = 3
    SERVER_ERROR = 4
    BAD_CONFIG = 64
    LOCKED = 65
    CORRUPT = 66
    OTHER_FORMAT = 67
    READ_ONLY = 68
    ADDRESS_TAKEN = 69


LASTING = frozenset(
    {
        ExitCode.BAD_CONFIG,
        ExitCode.LOCKED,
        ExitCode.CORRUPT,
        ExitCode.OTHER_FORMAT,
        ExitCode.READ_ONLY,
        ExitCode.ADDRESS_TAKEN,
    }
)
"""Refusals that starting again can't mend."""

_BY_ERROR: tuple[tuple[type[SherdError], ExitCode], ...] = (
    (ConfigError, ExitCode.BAD_CONFIG),
    (StoreLocked, ExitCode.LOCKED),
    (StoreCorrupt, ExitCode.CORRUPT),
    (StoreFormat, ExitCode.OTHER_FORMAT),
    (StoreReadOnly, ExitCode.READ_ONLY),
)


def exit_code_of(error: SherdError) -> ExitCode:
    """With which code a process ends that can't start, or go on, because of ``error``."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.SERVER_ERROR)
