"""A private directory for unix sockets, gone when the cluster is.

A socket's path must fit 107 bytes, so sockets do not lie in the data directory, whose path may be long. The directory
has mode 0700: who may connect to a shard is decided by who may enter it.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterable

from sherd.common.errors import ConfigError
from sherd.common.net.address import UNIX_PATH_BYTES_MAX, UNIX_PREFIX

_PREFIX = "sherd-"
_NAME_BYTES = 32  # room for the socket's own name


class RuntimeDir:
    """A directory made for this run. ``remove`` takes it away with the sockets in it."""

    def __init__(self, environ: dict[str, str]) -> None:
        places = [environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"]
        self.path = ""
        for place in places:
            if place and len(os.fsencode(place)) + len(_PREFIX) + 8 + _NAME_BYTES <= UNIX_PATH_BYTES_MAX:
                with contextlib.suppress(OSError):
                    self.path = tempfile.mkdtemp(prefix=_PREFIX, dir=place)
                    break
        if not self.path:
            raise ConfigError("no directory for unix sockets could be made; set TMPDIR to a short, writable path")

    def socket_address(self, name: str) -> str:
        """The address of a socket in the directory."""
        return f"{UNIX_PREFIX}{self.path}/{name}.sock"

    def remove(self) -> None:
        remove_sockets(self.path)


def remove_sockets(directory: str) -> None:
    """Remove the sockets in a runtime directory, and it if nothing else is there."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            if name.endswith(".sock"):
                os.unlink(os.path.join(directory, name))
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def remove_stale(addresses: Iterable[str]) -> None:
    """Remove the runtime directories that a killed run left behind, told by the addresses its shards had.

    Only for the holder of the cluster's lock: no process of that run is alive then.
    """
    directories = {
        os.path.dirname(text.removeprefix(UNIX_PREFIX)) for text in addresses if text.startswith(UNIX_PREFIX)
    }
    for directory in directories:
        if os.path.basename(directory).startswith(_PREFIX) and not os.path.islink(directory):
            with contextlib.suppress(OSError):
                if os.stat(directory).st_uid == os.getuid():
                    remove_sockets(directory)
