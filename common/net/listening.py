"""Bound sockets for listeners: TCP, shared between processes where asked, or unix."""

import contextlib
import os
import socket
import stat

from sherd.common.errors import ConfigError
from sherd.common.net.address import Address

BACKLOG = 1024


def bind(address: Address, shared: bool = False) -> tuple[socket.socket, Address]:
    """A listening socket and the address it got (a port of 0 is chosen by the system).

    ``shared`` sets SO_REUSEPORT, so that several processes accept on one port. A unix socket's stale path is removed
    first; its file is readable and writable by its owner only. OSError if the address is taken.
    """
    if address.is_unix:
        return _bind_unix(address), address
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    if not found:
        raise ConfigError(f"the host {address.host!r} has no address")
    family, kind, protocol, _, target = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(target)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock, address.with_port(sock.getsockname()[1])


def _bind_unix(address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(os.stat(address.path).st_mode):
                os.unlink(address.path)
        before = os.umask(0o177)
        try:
            sock.bind(address.path)
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock
