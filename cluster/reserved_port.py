"""The port that all proxies of a host share, held for the whole run.

The supervisor binds it first, without listening: with port 0 every proxy, restarted ones too, gets the same number;
a port in use is met before anything starts; and no other program can slip in while a proxy restarts. A socket that
does not listen gets no connections, so those go to the proxies, which bind the port again with SO_REUSEPORT.
"""

import errno
import socket

from sherd.common.errors import SherdError
from sherd.common.net.address import Address


class AddressTaken(SherdError):
    """Somebody else listens there."""


class ReservedPort:
    """``address`` bound until ``close``; its port is never 0. AddressTaken if it cannot be bound."""

    def __init__(self, address: Address) -> None:
        family, target = _resolve(address)
        # SO_REUSEPORT alone would share the port with another cluster of the same user, so first bind without it; with
        # SO_REUSEADDR, as connections of an earlier run may linger.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(probe, target, address)
            port = probe.getsockname()[1]
        # This one without SO_REUSEADDR, so that another cluster's probe fails even while no proxy listens here.
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            _bind(self._socket, (target[0], port, *target[2:]), address)
        except AddressTaken:
            self._socket.close()
            raise
        self.address = address.with_port(port)

    def close(self) -> None:
        self._socket.close()


def _resolve(address: Address) -> tuple[int, tuple[str | int, ...]]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise AddressTaken(f"cannot listen on {address}: {error.strerror or error}") from error
    family, _, _, _, target = found[0]
    return family, tuple(part for part in target if not isinstance(part, bytes))


def _bind(listener: socket.socket, target: tuple[str | int, ...], address: Address) -> None:
    try:
        listener.bind(target)
    except OSError as error:
        reason = "in use by another process; choose another with --listen" if error.errno == errno.EADDRINUSE else error
        raise AddressTaken(f"cannot listen on {address}: {reason}") from error
